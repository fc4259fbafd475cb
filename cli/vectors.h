/* vectors: writes embeddings, row by row, in the formats of `graft embed`.
 *
 *     gf_vectors v = {0};
 *     bool ok = gf_vectors_choose(&v, a, e) && gf_vectors_start(&v, 384, e);
 *     while (ok && ...) ok = gf_vectors_add(&v, rows, x, e);
 *     ok = gf_vectors_finish(&v, ok, e);
 *
 * A file is written as FILE.tmp and renamed when all is in it, so that FILE is never half a result;
 * a device or a pipe is written as it is. */
#ifndef GF_CLI_VECTORS_H
#define GF_CLI_VECTORS_H

#include "checkpoints/h5_rows.h"
#include "cli/cli.h"
#include "core/text.h"

typedef struct gf_vectors_format gf_vectors_format;

typedef struct gf_vectors {
    const gf_vectors_format *format;
    const char *path; /* NULL: standard output */
    char *written;    /* what is written to: PATH.tmp, or PATH */
    gf_file *file;    /* all formats but HDF5 */
    gf_h5 h5;
    gf_h5_rows h5_rows;
    int64_t width, rows;
    gf_text text; /* of one row; of a whole .npy for a pipe */
} gf_vectors;

/* The format by --format, else by the ending of --output, else JSON Lines. GF_E_USAGE for an
 * unknown one and for bytes to a terminal. */
bool gf_vectors_choose(gf_vectors *v, const gf_args *a, gf_err *e);
bool gf_vectors_start(gf_vectors *v, int64_t width, gf_err *e);
/* x [rows, width]. */
bool gf_vectors_add(gf_vectors *v, int64_t rows, const gf_real *x, gf_err *e);
/* Publishes what was written when `ok`, removes it otherwise; returns whether all went well. */
bool gf_vectors_finish(gf_vectors *v, bool ok, gf_err *e);

#endif
