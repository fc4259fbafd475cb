/* h5_rows: a float32 dataset [rows, width] of an HDF5 file that grows while its rows are made.
 *
 *     gf_h5 h = gf_h5_create("embeddings.h5.tmp", e);
 *     gf_h5_rows r = gf_h5_rows_create(&h, "embeddings", 384);
 *     gf_h5_rows_append(&r, 32, x);
 *     gf_h5_rows_close(&r);
 *     ok = gf_h5_close(&h);
 *
 * Failure is sticky in h, as checkpoints/h5.h says. */
#ifndef GF_CHECKPOINTS_H5_ROWS_H
#define GF_CHECKPOINTS_H5_ROWS_H

#include "checkpoints/h5.h"

typedef struct gf_h5_rows {
    gf_h5 *h;
    const char *name; /* in the root group; must outlive it */
    hid_t dataset;
    int64_t rows, width;
} gf_h5_rows;

gf_h5_rows gf_h5_rows_create(gf_h5 *h, const char *name, int64_t width);
/* x [rows, width]. */
void gf_h5_rows_append(gf_h5_rows *r, int64_t rows, const gf_real *x);
void gf_h5_rows_close(gf_h5_rows *r);

/* "1.10.8", of the library at hand. */
const char *gf_h5_version(char *text, int size);

#endif
