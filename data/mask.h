/* mask: batches for the masked language model (Devlin et al. 2019, section 3.1 and appendix A.1):
 * some tokens are chosen, what stands in their places is mostly hidden, and they are to be found
 * again.
 *
 *     gf_masker masker = {0};
 *     gf_masked masked = {0};
 *     gf_mask_settings s = GF_MASK_DEFAULTS;
 *     if (!gf_masker_make(&masker, tokenizer, &s, e)) goto done;
 *     ...
 *     gf_mask_place place = {seed, phase, epoch};
 *     if (!gf_mask_make(&masked, &masker, &batch, &place, e)) goto done;       (once a batch)
 *     ... masked.batch: the batch with other ids; masked.positions[i] was masked.labels[i] ...
 *     gf_masked_free(&masked);
 *     gf_masker_free(&masker);
 *
 * By tokens (as transformers' DataCollatorForLanguageModeling): each token that is not special is
 * chosen with `probability`, independently; a row may have none. By whole words (as BERT's
 * create_pretraining_data.py): a word is a piece and those behind it that continue it ("##");
 * words are chosen in a random order, leaving out those that would be too many, until
 * round(probability x the row's tokens), at least 1, are; of a row in which no word is that short
 * the first of that order is chosen, so that long words, a domain's own, are not always spared.
 *
 * A chosen token becomes [MASK] with mask_share, a random one of the vocabulary with random_share,
 * and stays as it is else. All that is random about a token is one block of Philox at (place, row
 * in the data set, token in the row): neither the batch a row came in, nor threads, nor a resume
 * change it. [UNK] counts as special, as in transformers. */
#ifndef GF_DATA_MASK_H
#define GF_DATA_MASK_H

#include "data/batch.h"
#include "data/wordpiece.h"

typedef struct gf_mask_settings {
    double probability;              /* share of tokens chosen, above 0, at most 1 */
    double mask_share, random_share; /* of the chosen; not negative, together at most 1 */
    bool whole_word;
} gf_mask_settings;

#define GF_MASK_DEFAULTS ((gf_mask_settings){0.15, 0.8, 0.1, false}) /* BERT's */

/* What is to be known of a tokenizer: nothing of it is kept. */
typedef struct gf_masker {
    gf_mask_settings settings;
    unsigned char *kind; /* [size] by id: a word's start, its continuation, special */
    int64_t size;        /* of the vocabulary */
    int32_t mask;        /* [MASK] */
} gf_masker;

typedef struct gf_mask_place {
    uint64_t seed;
    int64_t phase, epoch;
} gf_mask_place;

typedef struct gf_masked_word {
    uint32_t key;         /* of the random order */
    int32_t first, count; /* tokens */
} gf_masked_word;

typedef struct gf_masked {
    gf_batch batch;        /* ids are `ids`, all else is the batch's; not to be freed */
    int64_t count;         /* M: tokens chosen, may be 0 */
    int32_t *positions;    /* [M] rows of the packed batch, rising */
    int32_t *labels;       /* [M] the ids that stood there */
    int32_t *ids;          /* [tokens] */
    unsigned char *chosen; /* [tokens] scratch */
    gf_masked_word *words; /* [tokens] scratch */
    int64_t capacity_tokens;
} gf_masked;

/* GF_E_INVALID for settings out of bounds, GF_E_MODEL for a vocabulary without [MASK]. */
bool gf_masker_make(gf_masker *k, const gf_tokenizer *t, const gf_mask_settings *s, gf_err *e);
void gf_masker_free(gf_masker *k);
/* Fails for lack of memory only. The batch is not changed and must stay as long as the result; the
 * result's memory is reused and only grows. */
bool gf_mask_make(gf_masked *out, const gf_masker *k, const gf_batch *b, const gf_mask_place *place,
                  gf_err *e);
void gf_masked_free(gf_masked *out);

#endif
