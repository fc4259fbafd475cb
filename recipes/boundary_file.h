/* boundary_file: what a frozen part of the network makes of a data set, as a file that is mapped.
 *
 *     gf_boundary_file what = {key, tokens, hidden_size};
 *     if (!gf_boundary_file_open(&features, path, &what, true, e)) {       (missing, damaged, ...)
 *         gf_boundary_writer w = {0};
 *         ok = gf_boundary_file_begin(&w, path, &what, e);
 *         ... gf_boundary_file_put(&w, first, count, x, e)    for all of it, in any order
 *         ok = gf_boundary_file_end(&w, ok, e) && gf_boundary_file_open(&f, path, &what, false, e);
 *     }
 *     gf_features_free(&features);                                         (unmaps)
 *
 * A file is GF_BOUNDARY_HEAD bytes of head, then `count` vectors of `width` floats:
 *
 *     bytes   0.. 7  "GFBOUND1"
 *           8..15  0x0102030405060708, which another byte order reads otherwise
 *          16..31  count, width (int64)
 *          32..95  the key, 64 hexadecimal digits
 *          96..159 SHA-256 of all floats
 *         160..223 SHA-256 of the bytes 0..159
 *
 * and zeros to the end of the head. It is written beside its place, digested, synced and renamed,
 * so that a reader sees a whole file or none; a file is never written again in place, and one that
 * is removed stays readable to those who mapped it. Opening compares the key, the size and, with
 * `check`, the digest of everything: what does not hold is GF_E_VERIFY and for nobody to use. The
 * file lies on the machine that made it: nothing is converted. */
#ifndef GF_RECIPES_BOUNDARY_FILE_H
#define GF_RECIPES_BOUNDARY_FILE_H

#include "core/io.h"
#include "core/sha256.h"
#include "recipes/evaluate.h"

enum { GF_BOUNDARY_HEAD = 4096 };

typedef struct gf_boundary_file {
    const char *key; /* 64 digits: what the values are a function of */
    int64_t count, width;
} gf_boundary_file;

/* Maps it as f, whose layers are the caller's; GF_E_VERIFY or GF_E_MODEL with the reason. */
bool gf_boundary_file_open(gf_features *f, const char *path, const gf_boundary_file *what,
                           bool check, gf_err *e);

typedef struct gf_boundary_writer {
    const char *path; /* the caller's */
    gf_boundary_file what;
    char *tmp; /* PATH.tmp */
    gf_file *file;
} gf_boundary_writer;

/* The caller holds the lock on PATH.lock. */
bool gf_boundary_file_begin(gf_boundary_writer *w, const char *path, const gf_boundary_file *what,
                            gf_err *e);
/* Vectors first .. first + count - 1. */
bool gf_boundary_file_put(gf_boundary_writer *w, int64_t first, int64_t count, const gf_real *x,
                          gf_err *e);
/* Publishes what was written if `ok`; else, and after a failure, nothing of it is left. */
bool gf_boundary_file_end(gf_boundary_writer *w, bool ok, gf_err *e);

#endif
