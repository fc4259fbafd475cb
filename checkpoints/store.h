/* store: a training run's state in one HDF5 file: the model, the optimizer's moments, the
 * recipe, and where the run stands.
 *
 *     if (!gf_store_write("checkpoints/step-000000123.h5", &m, recipe, state, e)) goto done;
 *     ...
 *     gf_model m = {0};
 *     char *recipe = NULL, *state = NULL;
 *     if (!gf_store_read(&m, path, &recipe, &state, e)) goto done;
 *
 * Written as PATH.tmp, stamped with the SHA-256 of its bytes in a user block of 512, synced and
 * renamed: a reader sees the old file or the new one. Equal input gives equal bytes. Nothing of a
 * file is parsed before its digest is found to hold; docs/formats.md has the layout; what is
 * missing at reading is an error that names it. A digest is no signature: do not open checkpoints
 * of strangers, libhdf5 does not survive every hostile file. */
#ifndef GF_CHECKPOINTS_STORE_H
#define GF_CHECKPOINTS_STORE_H

#include "model/model.h"

enum { GF_STORE_FORMAT = 2 };

/* All parameters must have values. `also`, unless NULL, is a further name under which the file is
 * published just before PATH. recipe_json and state_json may be NULL: they are left out then. A
 * parameter's moments are written when it has them. Failures are GF_E_IO. */
bool gf_store_write(const char *path, const char *also, const gf_model *m, const char *recipe_json,
                    const char *state_json, gf_err *e);
/* m must be zeroed; free it also after a failure: GF_E_MODEL, or GF_E_VERIFY when the digest does
 * not hold. The texts, wanted unless the pointer is NULL, are the caller's to gf_free(); NULL where
 * the writer gave none. */
bool gf_store_read(gf_model *m, const char *path, char **recipe_json, char **state_json, gf_err *e);
/* The texts alone, which must be there; both are NULL or the caller's, also after a failure. */
bool gf_store_read_texts(const char *path, char **recipe_json, char **state_json, gf_err *e);
/* Whether the digest holds. */
bool gf_store_is_whole(const char *path, gf_err *e);
/* The same, and where it does not, the error names the damaged tensor if it can be told. */
bool gf_store_verify(const char *path, gf_err *e);
/* About how many bytes a checkpoint of this model takes. */
int64_t gf_store_size(const gf_model *m);
/* True when the file begins as a checkpoint does. */
bool gf_store_is_checkpoint(const char *path);

#endif
