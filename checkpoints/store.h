/* store: a training run's state in one HDF5 file: the model, the optimizer's moments, the
 * recipe, and where the run stands.
 *
 *     if (!gf_store_write("checkpoints/step-000000123.h5", &m, recipe, state, e)) goto done;
 *     ...
 *     gf_model m = {0};
 *     char *recipe = NULL, *state = NULL;
 *     if (!gf_store_read(&m, path, &recipe, &state, e)) goto done;
 *
 * Written as PATH.tmp, synced and renamed: a reader sees the old file or the new one. Equal
 * input gives equal bytes. docs/formats.md has the layout; what is missing at reading is an
 * error that names it. A checkpoint is trusted: libhdf5 does not survive every hostile file. */
#ifndef GF_CHECKPOINTS_STORE_H
#define GF_CHECKPOINTS_STORE_H

#include "model/model.h"

enum { GF_STORE_FORMAT = 1 };

/* All parameters must have values. recipe_json and state_json may be NULL: they are left out then.
 * A parameter's moments are written when it has them. Failures are GF_E_IO. */
bool gf_store_write(const char *path, const gf_model *m, const char *recipe_json,
                    const char *state_json, gf_err *e);
/* m must be zeroed; free it also after a failure (GF_E_MODEL). The texts, wanted unless the
 * pointer is NULL, are the caller's to gf_free(). */
bool gf_store_read(gf_model *m, const char *path, char **recipe_json, char **state_json, gf_err *e);
/* True when the file begins as HDF5 files do. */
bool gf_store_is_hdf5(const char *path);

#endif
