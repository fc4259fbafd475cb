/* classifier: a Hugging Face folder of a BertForSequenceClassification: an encoder, BERT's pooler
 * and a linear layer over it.
 *
 *     char *path = "bert/model.safetensors";              (NULL: no weights are wanted)
 *     gf_classifier c = {0};
 *     if (!gf_classifier_find(&c, "bert", path, e)) goto done;
 *     if (!gf_classifier_apply(&c, &m, e)) goto done;     (pooling and head, without values)
 *     if (!gf_classifier_read(&c, &m, path, e)) goto done;
 *     gf_classifier_free(&c);
 *
 * Such a folder is told by config.json's "architectures" or, where those name no task, by the
 * tensors classifier.weight and pooler.dense.weight. It opens as a model with the pooling "pooler",
 * without L2 norm, and one head, "classifier", whose classes are those of "id2label" in the order
 * of their numbers. What is no classification with one right class is refused by name (GF_E_MODEL).
 */
#ifndef GF_CHECKPOINTS_CLASSIFIER_H
#define GF_CHECKPOINTS_CLASSIFIER_H

#include "core/json.h"
#include "model/model.h"

/* The head's name. */
#define GF_CLASSIFIER "classifier"

typedef struct gf_classifier {
    bool present;
    cJSON *heads; /* heads.json of the one head; NULL where no weights were asked for */
} gf_classifier;

/* c must be zeroed; free it also after a failure. */
bool gf_classifier_find(gf_classifier *c, const char *folder, const char *weights, gf_err *e);
bool gf_classifier_apply(const gf_classifier *c, gf_model *m, gf_err *e);
/* Fills pooler and head. */
bool gf_classifier_read(const gf_classifier *c, gf_model *m, const char *weights, gf_err *e);
void gf_classifier_free(gf_classifier *c);

#endif
