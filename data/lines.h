/* lines: the lines of a file through a bounded buffer.
 *
 *     gf_lines l = {0};
 *     if (!gf_lines_open(&l, path, e)) ...
 *     while ((got = gf_lines_next(&l, &line, &size, e)) == 1) ... l.number ...
 *     gf_lines_close(&l);
 *
 * A UTF-8 byte order mark at the start is skipped. A line over 16 MiB is GF_E_INVALID. */
#ifndef GF_DATA_LINES_H
#define GF_DATA_LINES_H

#include "core/io.h"

typedef struct gf_lines {
    const char *place; /* for messages */
    gf_file *file;
    char *buffer; /* [capacity]; bytes first .. end are not yet given out */
    int64_t capacity;
    size_t first, end;
    bool ended;
    int64_t number; /* of the line last given, from 1 */
    int64_t offset; /* its first byte in the file, from 0 */
    int64_t given;  /* its size */
} gf_lines;

/* "-" is standard input; `place` must outlive l. */
bool gf_lines_open(gf_lines *l, const char *path, const char *place, gf_err *e);
/* 1: a line with its end, if it has one, valid until the next call; 0: no more; -1: failure. */
int gf_lines_next(gf_lines *l, const char **line, size_t *size, gf_err *e);
/* The size without the \n or \r\n at the end. */
size_t gf_lines_trim(const char *line, size_t size);
void gf_lines_close(gf_lines *l);

#endif
