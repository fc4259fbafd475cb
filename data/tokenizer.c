#include "data/tokenizer.h"

#include "core/json.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key, *name;
} specials[GF_SPECIALS] = {
    [GF_UNK] = {"unk_token", "[UNK]"},    [GF_CLS] = {"cls_token", "[CLS]"},
    [GF_SEP] = {"sep_token", "[SEP]"},    [GF_PAD] = {"pad_token", "[PAD]"},
    [GF_MASK] = {"mask_token", "[MASK]"},
};

const char *gf_tokenizer_key(gf_special which) { return specials[which].key; }

void gf_tokenizer_free(gf_tokenizer *t) {
    if (!t) return;
    gf_vocab_free(&t->vocab);
    gf_added_free(&t->added);
    gf_free(t->prefix);
    for (int i = 0; i < GF_SPECIALS; i++) gf_free(t->name[i]);
    gf_free(t);
}

gf_tokenizer *gf_tokenizer_new(gf_err *e) {
    gf_tokenizer *t = gf_alloc_array(1, sizeof *t, e);
    if (!t) return NULL;
    t->rules = (gf_bert_rules){.clean_text = true, .chinese = true, .lowercase = true};
    t->strip_accents = -1;
    t->max_chars = 100;
    if (!(t->prefix = gf_strdup("##", e))) goto fail;
    for (int i = 0; i < GF_SPECIALS; i++)
        if (!(t->name[i] = gf_strdup(specials[i].name, e))) goto fail;
    return t;
fail:
    gf_tokenizer_free(t);
    return NULL;
}

bool gf_tokenizer_rename(gf_tokenizer *t, gf_special which, const char *name, gf_err *e) {
    char *copy = gf_strdup(name, e);
    if (!copy) return false;
    gf_free(t->name[which]);
    t->name[which] = copy;
    return true;
}

/* The id that the library gives to the next token it adds (AddedVocabulary::add_tokens). */
static int64_t next_id(const gf_tokenizer *t) {
    int64_t next = t->vocab.count;
    for (int64_t i = 0; i < t->added.count; i++)
        if (t->added.items[i].id >= next) next = t->added.items[i].id + 1;
    return next;
}

static bool is_on(const cJSON *j, const char *flag) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(j, flag));
}

bool gf_tokenizer_add_token(gf_tokenizer *t, const cJSON *j, int64_t id, bool special,
                            const char *where, gf_err *e) {
    const cJSON *content = cJSON_IsObject(j) ? cJSON_GetObjectItemCaseSensitive(j, "content") : j;
    const cJSON *normalized = cJSON_GetObjectItemCaseSensitive(j, "normalized");
    gf_added a = {.special = special || is_on(j, "special"),
                  .single_word = is_on(j, "single_word"),
                  .lstrip = is_on(j, "lstrip"),
                  .rstrip = is_on(j, "rstrip")};
    int64_t given;
    if (!cJSON_IsString(content) || !*content->valuestring)
        return gf_fail(e, GF_E_MODEL, "%s: the content of an added token is %s; write a string",
                       where, cJSON_IsString(content) ? "empty" : gf_json_kind(content));
    a.content = content->valuestring;
    a.normalized = normalized ? cJSON_IsTrue(normalized) : !a.special;
    if (gf_added_find(&t->added, a.content)) return true;
    if (t->added.count == GF_MOST_ADDED)
        return gf_fail(e, GF_E_MODEL, "%s: it has more than %d added tokens", where, GF_MOST_ADDED);
    given = gf_vocab_find(&t->vocab, a.content, strlen(a.content));
    if (given < 0 && id < 0) return true;
    if (given < 0) given = next_id(t);
    if (given >= GF_VOCAB_MOST || (id >= 0 && given != id))
        return gf_fail(e, GF_E_MODEL,
                       "%s: the added token \"%s\" has id %lld, but the vocabulary makes it %lld; "
                       "correct the file",
                       where, a.content, (long long)id, (long long)given);
    a.id = (int32_t)given;
    return gf_added_add(&t->added, &a, e);
}

static int by_id(const void *a, const void *b) {
    const gf_added *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static bool make_patterns(gf_tokenizer *t, gf_err *e) {
    for (int64_t i = 0; i < t->added.count; i++) {
        gf_added *a = &t->added.items[i];
        size_t size = strlen(a->content);
        a->pattern.length = 0;
        if (a->normalized ? !gf_bert_normalize(&t->bert, a->content, size, &a->pattern, e)
                          : !gf_text_add_bytes(&a->pattern, a->content, size, e))
            return false;
    }
    return true;
}

static int32_t id_of(const gf_tokenizer *t, const char *token) {
    int32_t id = gf_vocab_find(&t->vocab, token, strlen(token));
    const gf_added *a = id < 0 ? gf_added_find(&t->added, token) : NULL;
    return a ? a->id : id;
}

/* An added token beyond the vocabulary must not sit on one of its ids, as holes make possible. */
static bool check_ids(const gf_tokenizer *t, const char *where, gf_err *e) {
    for (int64_t i = 0; i < t->added.count; i++) {
        const gf_added *a = &t->added.items[i];
        const char *token = gf_vocab_token_of(&t->vocab, a->id);
        if (token && strcmp(token, a->content) != 0)
            return gf_fail(e, GF_E_MODEL, "%s: the added token \"%s\" has the id %d of another one",
                           where, a->content, a->id);
    }
    return true;
}

bool gf_tokenizer_finish(gf_tokenizer *t, const char *where, gf_err *e) {
    gf_bert_rules rules = t->rules;
    rules.strip_accents = t->strip_accents < 0 ? rules.lowercase : t->strip_accents > 0;
    t->bert = gf_bert_make(rules);
    if (t->added.count)
        qsort(t->added.items, (size_t)t->added.count, sizeof *t->added.items, by_id);
    t->size = t->vocab.size;
    if (t->added.count && t->added.items[t->added.count - 1].id >= t->size)
        t->size = t->added.items[t->added.count - 1].id + 1;
    for (int i = 0; i < GF_SPECIALS; i++) {
        t->special[i] = id_of(t, t->name[i]);
        if (t->special[i] < 0 && i <= GF_SEP)
            return gf_fail(e, GF_E_MODEL,
                           "%s: the vocabulary has no \"%s\", which BERT needs as its %s; add it",
                           where, t->name[i], specials[i].key);
    }
    return check_ids(t, where, e) && make_patterns(t, e);
}
