/* sentence: what a sentence-transformers folder adds to a BERT: where the transformer lies, how
 * tokens are pooled, whether the embedding is normalised, the longest text.
 *
 *     gf_sentence s = {0};
 *     if (!gf_sentence_read(&s, folder, log, e)) goto done;      (no modules.json: the defaults)
 *     ...
 *     gf_sentence_free(&s);
 *
 * Reads both dialects of modules.json and 1_Pooling/config.json: the one of versions 2 to 5.3,
 * which every reader knows, and the one since 5.4. What graft cannot compute is refused by name. */
#ifndef GF_CHECKPOINTS_SENTENCE_H
#define GF_CHECKPOINTS_SENTENCE_H

#include "core/log.h"
#include "model/model.h"

typedef struct gf_sentence {
    bool present;      /* the folder has a modules.json */
    char *transformer; /* folder of config.json, weights and tokenizer */
    gf_pooling pooling;
    bool normalize;
    int64_t max_length; /* of sentence_bert_config.json; 0 when it says nothing */
} gf_sentence;

/* s must be zeroed; free it also after a failure. Without modules.json: mean pooling, L2 norm. */
bool gf_sentence_read(gf_sentence *s, const char *folder, const gf_log *log, gf_err *e);
void gf_sentence_free(gf_sentence *s);
/* Writes the old dialect: modules.json, 1_Pooling/, 2_Normalize/, the two configs. */
bool gf_sentence_write(const gf_model *m, const char *folder, gf_err *e);

#endif
