/* wordpiece: BERT's tokenizer, equal id for id to the fast one of Hugging Face.
 *
 *     gf_tokenizer *t = gf_tokenizer_open("all-MiniLM-L6-v2", e);
 *     gf_ids ids = {0};
 *     gf_encoding enc;
 *     if (!t || !gf_tokenizer_encode(t, text, size, 128, &ids, &enc, e)) goto done;
 *     ... ids.id[enc.first] is [CLS], ids.id[enc.first + enc.count - 1] is [SEP] ...
 *     gf_free(ids.id);
 *     gf_tokenizer_free(t);
 *
 * A text goes through these steps: added tokens ("[MASK]") are cut out; what is between is
 * normalised and divided into words (data/bert_text); a word becomes the longest piece of the
 * vocabulary that it begins with, then the longest "##" piece that follows, and so on, or [UNK] as
 * a whole when that fails or it has more than max_input_chars_per_word characters (Wu et al. 2016;
 * Devlin et al. 2018). A malformed sequence of UTF-8 is read as U+FFFD, which the usual rules drop.
 *
 * Reading a folder. tokenizer.json is taken if it is there, else vocab.txt. What
 * tokenizer_config.json states (do_lower_case, strip_accents, tokenize_chinese_chars, the names of
 * the special tokens, added_tokens_decoder) wins over tokenizer.json, as in transformers 5, unless
 * its tokenizer_class is PreTrainedTokenizerFast or TokenizersBackend: then tokenizer.json wins.
 * (transformers 5 goes further and lowercases when do_lower_case is stated nowhere, whatever
 * tokenizer.json says; graft then keeps to tokenizer.json.) special_tokens_map.json and
 * added_tokens.json are read as well. Truncation and padding in tokenizer.json are ignored: they
 * are the caller's. Special tokens are added tokens where the vocabulary holds them.
 *
 * Refused by name with GF_E_MODEL: normalisers, pre-tokenizers, models, decoders, post-processors
 * and tokenizer classes other than BERT's; a vocabulary without [UNK], [CLS] or [SEP]; ids that are
 * out of bounds, taken twice, or other than the Hugging Face library would give; malformed files.
 */
#ifndef GF_DATA_WORDPIECE_H
#define GF_DATA_WORDPIECE_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gf_tokenizer gf_tokenizer;

typedef enum gf_special { GF_UNK, GF_CLS, GF_SEP, GF_PAD, GF_MASK } gf_special;
enum { GF_SPECIALS = 5 };

/* A growing row of ids, zeroed at first; the caller frees `id` with gf_free(). */
typedef struct gf_ids {
    int32_t *id;
    int64_t count, capacity;
} gf_ids;

typedef struct gf_encoding {
    int64_t first, count; /* where in gf_ids, special tokens included */
    int64_t pieces;       /* before truncation, without special tokens */
    int64_t unknown;      /* [UNK] among the kept ones */
    bool truncated;
} gf_encoding;

/* Reads the tokenizer of a model folder; NULL on failure. */
gf_tokenizer *gf_tokenizer_open(const char *folder, gf_err *e);
void gf_tokenizer_free(gf_tokenizer *t); /* NULL is allowed */

/* Appends [CLS] pieces [SEP] to ids, truncated on the right to max_length in all (at least 2), and
 * describes it in *out. Many threads may use one tokenizer. Fails for lack of memory or for a wrong
 * max_length; ids then hold what they held before. */
bool gf_tokenizer_encode(const gf_tokenizer *t, const char *text, size_t size, int64_t max_length,
                         gf_ids *ids, gf_encoding *out, gf_err *e);

/* The token of an id, owned by the tokenizer; NULL outside and for ids without a token. */
const char *gf_tokenizer_token(const gf_tokenizer *t, int32_t id);
/* Largest id + 1: the rows that a word embedding must have at least. */
int64_t gf_tokenizer_size(const gf_tokenizer *t);
/* model_max_length of tokenizer_config.json; 0 when absent or absurd (transformers writes 1e30). */
int64_t gf_tokenizer_max_length(const gf_tokenizer *t);
/* The id of a special token, -1 when the vocabulary lacks it. */
int32_t gf_tokenizer_special(const gf_tokenizer *t, gf_special which);

/* Writes vocab.txt, tokenizer.json, tokenizer_config.json and special_tokens_map.json into an
 * existing folder, from which AutoTokenizer and tokenizers give the same ids. model_max_length is
 * max_length, or left out for 0. The bytes depend on the tokenizer alone. */
bool gf_tokenizer_save(const gf_tokenizer *t, const char *folder, int64_t max_length, gf_err *e);

/* The whole tokenizer as one JSON text, for checkpoints: the bytes of its tokenizer.json. Free with
 * gf_free(). */
char *gf_tokenizer_to_json(const gf_tokenizer *t, size_t *size, gf_err *e);
/* And back, taken as it stands; `where` names it in errors. model_max_length is not in it. */
gf_tokenizer *gf_tokenizer_from_json(const char *json, size_t size, const char *where, gf_err *e);

#endif
