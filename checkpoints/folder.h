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

#include "checkpoints/tensor.h"
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

/* Fills what gf_model_add_mlm() gave from a folder of a BertForMaskedLM or BertForPreTraining; what
 * it lacks stays without a value, for gf_model_init(), and a note names it. */
bool gf_folder_read_mlm(gf_model *m, const char *path, const gf_log *log, gf_err *e);

/* True when FOLDER/NAME exists. */
bool gf_folder_holds(const char *folder, const char *name);

/* How a folder is written. All zero: as sentence-transformers wants it, F32. */
typedef struct gf_folder_style {
    gf_dtype dtype;     /* of the encoder's weights: F32 (also 0), F16 or BF16 */
    bool plain;         /* without modules.json and what it names: as transformers alone wants it */
    bool no_weights;    /* without model.safetensors */
    const char *readme; /* README.md, NULL: none */
} gf_folder_style;

/* Writes a model folder that also holds the heads. It is built as PATH.tmp and exchanged with PATH,
 * which is never half a model; a model folder or an empty folder at PATH is replaced, anything else
 * is left alone and an error. Equal models give equal bytes. */
bool gf_folder_save_as(const gf_model *m, const char *path, const gf_folder_style *style,
                       gf_err *e);
/* In the style that is all zero. */
bool gf_folder_save(const gf_model *m, const char *path, gf_err *e);
/* Writes the same into an existing folder of the caller's, who publishes it. */
bool gf_folder_write(const gf_model *m, const char *folder, const gf_folder_style *style,
                     gf_err *e);
/* Whether a folder may be made at PATH: nothing is there, or a model, or an empty folder. */
bool gf_folder_may_replace(const char *path, gf_err *e);

#endif
