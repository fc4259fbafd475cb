/* sentence: what a sentence-transformers folder adds to a BERT: where the transformer lies, how
 * tokens are pooled, what they are projected to, whether the embedding is normalised, the longest
 * text.
 *
 *     gf_sentence s = {0};
 *     if (!gf_sentence_read(&s, folder, log, e)) goto done;      (no modules.json: the defaults)
 *     ...
 *     gf_sentence_free(&s);
 *
 * Reads both dialects of modules.json and 1_Pooling/config.json: the one of versions 2 to 5.3,
 * which every reader knows, and the one since 5.4. What graft cannot compute is refused by name.
 *
 * BERT's pooler has no pooling mode of that library; it is written as what it is there, the cls
 * token and a Dense module with tanh, whose name in modules.json is "pooler". Under that name it is
 * read back as the pooler. */
#ifndef GF_CHECKPOINTS_SENTENCE_H
#define GF_CHECKPOINTS_SENTENCE_H

#include "core/log.h"
#include "model/model.h"

/* A Dense module: activation(x weightᵀ + bias). */
typedef struct gf_sentence_dense {
    char *folder; /* of its config.json and weights; NULL: there is none */
    int64_t in, out;
    bool bias, named_pooler;
    gf_dense_activation activation;
} gf_sentence_dense;

typedef struct gf_sentence {
    bool present;      /* the folder has a modules.json */
    char *transformer; /* folder of config.json, weights and tokenizer */
    gf_pooling pooling;
    gf_sentence_dense dense;
    bool normalize;
    int64_t max_length; /* of sentence_bert_config.json; 0 when it says nothing */
} gf_sentence;

/* s must be zeroed; free it also after a failure. Without modules.json: mean pooling, L2 norm. */
bool gf_sentence_read(gf_sentence *s, const char *folder, const gf_log *log, gf_err *e);
void gf_sentence_free(gf_sentence *s);
/* Gives the model the pooling and, without values, the projection that s tells of. */
bool gf_sentence_apply(const gf_sentence *s, gf_model *m, gf_err *e);
/* Fills the projection of a model to which s was applied. */
bool gf_sentence_read_dense(const gf_sentence *s, gf_model *m, gf_err *e);
/* Writes the old dialect: modules.json, 1_Pooling/, 2_Dense/, 2_Normalize/ (3_Normalize/ behind a
 * Dense), the two configs. */
bool gf_sentence_write(const gf_model *m, const char *folder, gf_err *e);

#endif
