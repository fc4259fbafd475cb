/* rows_format: what a file format gives to the reader of rows. Private to data/rows*.c: rows.c
 * opens a file, finds the wanted columns and checks every cell; a format only cuts the file into
 * cells.
 *
 * Adding a format: one file with one gf_rows_format, one line in rows.c's table of endings. */
#ifndef GF_DATA_ROWS_FORMAT_H
#define GF_DATA_ROWS_FORMAT_H

#include "data/rows.h"

#include <stdbool.h>

enum { GF_ROWS_LONGEST = 16 << 20, GF_ROWS_MOST_COLUMNS = 4096 };

typedef struct gf_rows_format {
    bool any_bytes;                         /* invalid UTF-8 passes through */
    bool has_header;                        /* the columns are known before the first row */
    bool (*open)(gf_rows *r, gf_err *e);    /* makes r->state */
    bool (*columns)(gf_rows *r, gf_err *e); /* gf_rows_add_column() for each; NULL: it has none */
    bool (*start)(gf_rows *r, gf_err *e);   /* once r->source is known; may be NULL */
    int (*next)(gf_rows *r, gf_cell *cells, gf_err *e); /* as gf_rows_next(); sets r->line */
    void (*close)(gf_rows *r); /* all but r->state itself, NULL if open did not come to it */
} gf_rows_format;

struct gf_rows {
    const gf_rows_format *format;
    char *path;      /* to open */
    char *place;     /* for messages */
    char **field;    /* [n_fields] wanted; NULL: not wanted */
    int64_t *source; /* [n_fields] the field's column, -1 if none (only with a header) */
    int64_t n_fields;
    char **column; /* [n_columns] */
    int64_t n_columns, column_capacity;
    int64_t line;
    bool any_bytes;   /* malformed UTF-8 is delivered, */
    int64_t bad_byte; /* and this is where the row has it, -1 if not */
    void *state;      /* the format's own */
};

extern const gf_rows_format gf_rows_jsonl, gf_rows_csv, gf_rows_tsv, gf_rows_text, gf_rows_hdf5;
/* HDF5 in this process; gf_rows_hdf5 runs it in another one. */
extern const gf_rows_format gf_rows_hdf5_direct;

/* The part that formats share, with a copy of the names; NULL on failure. */
gf_rows *gf_rows_make(const gf_rows_format *format, const char *path, const char *place,
                      const char *const *fields, int64_t n_fields, gf_err *e);
/* Opens the file and finds the wanted columns: r's rows can then be read. */
bool gf_rows_start(gf_rows *r, gf_err *e);
bool gf_rows_add_column(gf_rows *r, const char *name, size_t size, gf_err *e);
/* Looks for malformed UTF-8 in a line of the row being read, `offset` bytes into the file. */
void gf_rows_watch_line(gf_rows *r, const char *line, size_t size, int64_t offset);
/* A cell that is no string, with its kind in words. */
gf_cell gf_cell_other(gf_cell_kind kind, const char *words);
/* A string, or MISSING if it is empty and not the text (field 0): for formats without null. */
gf_cell gf_cell_string(int64_t field, const char *text, size_t size);

#endif
