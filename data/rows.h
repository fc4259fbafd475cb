/* rows: the rows of a data file, one at a time, whatever its format.
 *
 *     const char *fields[] = {"text", "category", "sentiment"};
 *     gf_cell cells[3];
 *     gf_rows *r = gf_rows_open("train.jsonl", fields, 3, e);
 *     int got;
 *     while (r && (got = gf_rows_next(r, cells, e)) == 1)
 *         if (cells[1].kind == GF_CELL_STRING) ... cells[1].text, cells[1].size ...
 *     gf_rows_close(r);
 *
 * The ending of the path, in any case, tells the format:
 *   .jsonl .ndjson  JSON Lines: one object a line; empty lines are skipped
 *   .csv            RFC 4180: a header line, then records; a quoted field may hold commas, newlines
 *                   and doubled quotes
 *   .tsv            a header line, then lines cut at tabs; a quote is a plain character
 *   .h5 .hdf5       1-D datasets of one length in one group, named as the columns, or one compound
 *                   1-D dataset whose members are the columns (data/rows_hdf5.c); read by a child
 *                   process, since libhdf5 crashes on damaged files
 *   others and "-"  plain text, a row a line, an empty line too; only fields[0] is filled
 * In CSV and TSV, too, empty lines are skipped. Lines end with \n or \r\n; a UTF-8 byte order mark
 * at the start is skipped. Files are read as a stream: a line, record or row over 16 MiB is an
 * error.
 *
 * fields[0] is the text: every row must have it, as a string, which may be empty. It may be NULL
 * when only labels are wanted. The other fields are labels, and one that is NULL is not looked for:
 * an absent JSON key, an empty field, an HDF5 string that is empty and an HDF5 number that is NaN
 * are GF_CELL_MISSING. Numbers come from JSON and from integer and float columns of HDF5, lists
 * from JSON alone; a CSV or TSV field is always a string. A wanted column that a header does not
 * name is an error. Invalid UTF-8 in a wanted field is an error too, but not in plain text and
 * texts in memory, where it passes through and the tokenizer replaces it.
 *
 * A file that cannot be read is GF_E_MODEL, one whose content is wrong GF_E_INVALID; both sentences
 * begin with the file and, where there is one, the line. */
#ifndef GF_DATA_ROWS_H
#define GF_DATA_ROWS_H

#include "core/err.h"

#include <stdint.h>

typedef enum gf_cell_kind {
    GF_CELL_MISSING,
    GF_CELL_NULL,
    GF_CELL_STRING,
    GF_CELL_NUMBER,
    GF_CELL_OTHER,
    GF_CELL_LIST
} gf_cell_kind;

typedef struct gf_cell {
    gf_cell_kind kind;
    const char *text; /* [size], valid until the next row; may hold 0 bytes. If the kind is not */
    size_t size;      /* STRING: the kind in words, for messages ("a number"), and size 0 */
    double number;    /* NUMBER: its value */
    const char *const *items; /* LIST: [n_items] strings, valid until the next row */
    const size_t *sizes;      /* [n_items] */
    int64_t n_items;
} gf_cell;

typedef struct gf_rows gf_rows;

/* Copies the names. NULL on failure. */
gf_rows *gf_rows_open(const char *path, const char *const *fields, int64_t n_fields, gf_err *e);
/* Rows of one field from texts that the caller keeps alive. */
gf_rows *gf_rows_from_texts(const char *const *texts, int64_t count, gf_err *e);
/* 1: cells[n_fields] is the next row; 0: there is none; -1: failure. */
int gf_rows_next(gf_rows *r, gf_cell *cells, gf_err *e);
/* Of the row last read, from 1: its line, the first of them for CSV; for HDF5 the row's number. */
int64_t gf_rows_line(const gf_rows *r);
/* From now on a wanted field may hold any bytes; data/unicode reads what is malformed. */
void gf_rows_take_any_bytes(gf_rows *r);
/* After that, of the row last read: where its first malformed UTF-8 is, as an offset from 0 in the
 * file, for HDF5 in the field. -1: the wanted fields have none. */
int64_t gf_rows_bad_byte(const gf_rows *r);
/* The file as messages name it: its path, "standard input" or "command line". */
const char *gf_rows_path(const gf_rows *r);
void gf_rows_close(gf_rows *r);

/* The columns of a file in their order, read from its head: the header, for JSON Lines the keys of
 * the first row, none for plain text. Free with gf_io_free_names(). */
char **gf_rows_columns(const char *path, int64_t *count, gf_err *e);
/* True for CSV, TSV and HDF5: a column that is missing is missing in every row. */
bool gf_rows_has_header(const char *path);
/* The column whose name is nearest to this one, for "did you mean"; NULL if none is near or the
 * file cannot be read. Free with gf_free(). */
char *gf_rows_nearest_column(const char *path, const char *name);

#endif
