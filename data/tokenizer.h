/* tokenizer: what a gf_tokenizer is made of, for the files that read, write and run it (callers use
 * data/wordpiece.h).
 *
 * A reader fills in the vocabulary, rules, added tokens and names; gf_tokenizer_finish() then
 * resolves the names to ids, checks them and prepares the patterns. */
#ifndef GF_DATA_TOKENIZER_H
#define GF_DATA_TOKENIZER_H

#include "data/added.h"
#include "data/bert_text.h"
#include "data/vocab.h"
#include "data/wordpiece.h"

#include <cjson/cJSON.h>

enum {
    GF_LONGEST_WORD = 1000,     /* the largest max_input_chars_per_word that is read */
    GF_LONGEST_PREFIX = 60,     /* bytes of continuing_subword_prefix */
    GF_MOST_ADDED = 10000,      /* added tokens: they are searched one by one */
    GF_TOKENIZER_FILE = 1 << 26 /* bytes of the largest file that is read */
};

struct gf_tokenizer {
    gf_vocab vocab;      /* of the model; added tokens beyond it are in `added` alone */
    gf_added_list added; /* in the order of their ids */
    gf_bert_rules rules; /* as stated, but for strip_accents */
    int strip_accents;   /* 0, 1, or -1: as lowercase */
    gf_bert bert;        /* made of both by gf_tokenizer_finish() */
    char *prefix;        /* of pieces inside a word, "##" */
    int64_t max_chars;
    char *name[GF_SPECIALS]; /* of the special tokens */
    int32_t special[GF_SPECIALS];
    int64_t size, max_length;
};

/* tokenizer_config.json's word for a special token: "unk_token" ... */
const char *gf_tokenizer_key(gf_special which);
/* With the defaults of BertTokenizer: uncased, "##", 100 characters, [UNK] ...; no vocabulary. */
gf_tokenizer *gf_tokenizer_new(gf_err *e);
/* Replaces a special token's name. */
bool gf_tokenizer_rename(gf_tokenizer *t, gf_special which, const char *name, gf_err *e);
bool gf_tokenizer_finish(gf_tokenizer *t, const char *where, gf_err *e);

/* An entry of "added_tokens" or "added_tokens_decoder", or a special token written as an object,
 * added if no token of this content is there yet. id -1: the vocabulary's id, and nothing is added
 * if it has none. */
bool gf_tokenizer_add_token(gf_tokenizer *t, const cJSON *j, int64_t id, bool special,
                            const char *where, gf_err *e);
/* Fills a new tokenizer from the text of a tokenizer.json. */
bool gf_tokenizer_read_json(gf_tokenizer *t, const char *text, size_t size, const char *where,
                            gf_err *e);

#endif
