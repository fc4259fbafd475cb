/* h5: the little of HDF5 that checkpoints need, with sticky failure.
 *
 *     gf_h5 h = gf_h5_create("x.h5.tmp", e);
 *     gf_h5_write_reals(&h, "/params", "embeddings.LayerNorm.bias", &shape, values);
 *     gf_h5_write_text(&h, "/", "state", json);
 *     ok = gf_h5_close(&h);
 *
 * After a failure every further call does nothing, so that a sequence needs one check at its
 * end. The error names file and object and carries HDF5's own innermost message. Objects are
 * written without times. Input and output go through core/io; libhdf5 has its own
 * memory. */
#ifndef GF_CHECKPOINTS_H5_H
#define GF_CHECKPOINTS_H5_H

#include "core/io.h"
#include "core/real.h"
#include "core/shape.h"

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct gf_h5 {
    hid_t file, driver; /* -1 where there is none */
    const char *path;   /* must outlive it */
    gf_map map;         /* of the file that is read, when this maps it */
    bool writing;
    bool ok; /* false from the first failure on */
    gf_err *e;
} gf_h5;

/* The first `user_block` bytes (0, 512, ...) are left to the caller. e may not be NULL. */
gf_h5 gf_h5_create(const char *path, int64_t user_block, gf_err *e);
gf_h5 gf_h5_open(const char *path, gf_err *e);
/* Reads bytes that stay the caller's and must outlive it; `path` names them in errors. */
gf_h5 gf_h5_open_bytes(const unsigned char *bytes, size_t size, const char *path, gf_err *e);
/* Always closes; true when nothing has failed. */
bool gf_h5_close(gf_h5 *h);
/* Records a failure over the object GROUP/NAME (name may be NULL) and returns false. */
bool gf_h5_fail(gf_h5 *h, const char *group, const char *name, const char *what);

void gf_h5_write_group(gf_h5 *h, const char *path);
/* float32, little endian, contiguous, with the SHA-256 of these bytes as the attribute "sha256". */
void gf_h5_write_reals(gf_h5 *h, const char *group, const char *name, const gf_shape *shape,
                       const gf_real *values);
/* A scalar dataset of one fixed-length UTF-8 string, its final 0 byte included. */
void gf_h5_write_text(gf_h5 *h, const char *group, const char *name, const char *text);
/* Attributes of a group: an int64, or a fixed-length UTF-8 string. */
void gf_h5_write_int(gf_h5 *h, const char *group, const char *name, int64_t value);
void gf_h5_write_word(gf_h5 *h, const char *group, const char *name, const char *text);

/* True when GROUP/NAME exists. */
bool gf_h5_has(gf_h5 *h, const char *group, const char *name);
/* How many objects a group holds, 0 after a failure. */
int64_t gf_h5_members(gf_h5 *h, const char *group);
/* The name of the i-th object, by bytes; free with gf_free(). NULL after a failure. */
char *gf_h5_member(gf_h5 *h, const char *group, int64_t i);
/* True when the group has an attribute of this name. */
bool gf_h5_has_attribute(gf_h5 *h, const char *group, const char *name);
/* Writes what GROUP/NAME is, e.g. "float32 [3, 8]" or "group of 4", and returns it. */
const char *gf_h5_kind(gf_h5 *h, const char *group, const char *name, char *text, size_t size);
/* Shape and element type must be as written. */
void gf_h5_read_reals(gf_h5 *h, const char *group, const char *name, const gf_shape *shape,
                      gf_real *values);
/* Whether the values have the digest that stands beside them; false also without a failure. */
bool gf_h5_has_digest(gf_h5 *h, const char *group, const char *name, const gf_shape *shape,
                      const gf_real *values);
/* Free with gf_free(); NULL after a failure. */
char *gf_h5_read_text(gf_h5 *h, const char *group, const char *name);
int64_t gf_h5_read_int(gf_h5 *h, const char *group, const char *name);
char *gf_h5_read_word(gf_h5 *h, const char *group, const char *name);

#endif
