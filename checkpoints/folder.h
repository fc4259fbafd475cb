/* folder: models as folders, as Hugging Face and sentence-transformers lay them out.
 *
 *     gf_model m = {0};
 *     if (!gf_folder_open(&m, "models/minilm", GF_OPEN_WEIGHTS, log, e)) goto done;
 *     ...
 *     if (!gf_folder_save(&m, "out", e)) goto done;
 *     gf_model_free(&m);
 *
 * Read: config.json, the tokenizer's files, model.safetensors; modules.json and what it names, if
 * there is one, else mean pooling and L2 norm; heads.json with heads.safetensors, if they are
 * there. docs/formats.md has the details. */
#ifndef GF_CHECKPOINTS_FOLDER_H
#define GF_CHECKPOINTS_FOLDER_H

#include "core/log.h"
#include "model/model.h"

typedef enum gf_open_what {
    GF_OPEN_WEIGHTS,   /* everything */
    GF_OPEN_NO_WEIGHTS /* configuration and tokenizer: parameters without values, no heads */
} gf_open_what;

/* m must be zeroed; free it also after a failure (GF_E_MODEL, naming file, tensor or key). What is
 * left unused goes to the log. */
bool gf_folder_open(gf_model *m, const char *path, gf_open_what what, const gf_log *log, gf_err *e);

/* Fills the pooler that gf_model_set_pooling() gave to a model opened without one. */
bool gf_folder_read_pooler(gf_model *m, const char *path, gf_err *e);

/* True when FOLDER/NAME exists. */
bool gf_folder_holds(const char *folder, const char *name);

/* Writes a sentence-transformers folder that also holds the heads. It is built as PATH.tmp and
 * exchanged with PATH, which is never half a model; a model folder or an empty folder at PATH is
 * replaced, anything else is left alone and an error. Equal models give equal bytes. */
bool gf_folder_save(const gf_model *m, const char *path, gf_err *e);

#endif
