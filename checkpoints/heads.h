/* heads: which heads a model has, as JSON, and their values.
 *
 * heads.json beside heads.safetensors in a model folder:
 *     {"version": 1, "tasks": [
 *         {"name": "category", "type": "classification", "classes": ["a", "b"]},
 *         {"name": "topics", "type": "multi_label", "classes": ["x"], "thresholds": [0.4]},
 *         {"name": "stars", "type": "regression", "classes": []}]}
 * The types are those of model/task.h; thresholds are 0.5 where they are left out. The tensors are
 * heads.<task>.weight [O, E] and heads.<task>.bias [O], with as many logits O as the type says.
 * The same JSON stands in a checkpoint. Failures are GF_E_MODEL and name file and task. */
#ifndef GF_CHECKPOINTS_HEADS_H
#define GF_CHECKPOINTS_HEADS_H

#include "core/json.h"
#include "core/log.h"
#include "model/model.h"

/* A new object for cJSON_Delete(). */
cJSON *gf_heads_to_json(const gf_model *m, gf_err *e);
/* Adds the heads that j lists to the model, without values. */
bool gf_heads_from_json(gf_model *m, const cJSON *j, const char *where, gf_err *e);
/* Adds and fills the heads of a model folder; one without both files has none. */
bool gf_heads_read(gf_model *m, const char *folder, const gf_log *log, gf_err *e);
/* Writes both files; nothing for a model without heads. */
bool gf_heads_write(const gf_model *m, const char *folder, gf_err *e);
/* Fills the heads the model has from a safetensors file, which must hold them all. */
bool gf_heads_init_read(gf_model *m, const char *path, gf_err *e);

#endif
