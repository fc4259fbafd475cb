/* open: a model from whatever a user calls one.
 *
 *     gf_model m = {0};
 *     if (!gf_model_open(&m, "runs/two-phase", log, e)) goto done;
 *
 * PATH may be a Hugging Face or sentence-transformers folder, an exported folder, a run folder (its
 * model/, else its checkpoints/best.h5) or a checkpoint file. m must be zeroed; free it also
 * after a failure, which is GF_E_MODEL and says what was looked for. */
#ifndef GF_CHECKPOINTS_OPEN_H
#define GF_CHECKPOINTS_OPEN_H

#include "core/log.h"
#include "model/model.h"

typedef enum gf_place_kind {
    GF_PLACE_NONE,
    GF_PLACE_MODEL,      /* a model folder */
    GF_PLACE_RUN,        /* a run folder */
    GF_PLACE_CHECKPOINT, /* a checkpoint of graft, by its user block */
    GF_PLACE_HDF5,       /* another file that begins as HDF5 does */
    GF_PLACE_TENSORS     /* a file of tensors, or an index of several */
} gf_place_kind;

/* What lies at a path, by its looks. */
gf_place_kind gf_place_find(const char *path);
bool gf_model_open(gf_model *m, const char *path, const gf_log *log, gf_err *e);

#endif
