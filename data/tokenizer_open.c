#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/tokenizer.h"
#include "data/unicode.h"

#include <stdlib.h>
#include <string.h>

/* Reads the tokenizer files of a model folder. */

enum { LINE = 8 }; /* bytes of vocab.txt a token, about */

typedef struct folder {
    const char *path;
    cJSON *config, *specials, *added; /* each NULL where its file is absent */
    char *config_path, *specials_path, *added_path;
    bool json_wins; /* over tokenizer_config.json */
} folder;

static const cJSON *get(const cJSON *j, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

static bool read_optional(const char *path, const char *name, char **where, cJSON **j, gf_err *e) {
    if (!(*where = gf_io_join(path, name, e))) return false;
    if (!gf_io_exists(*where)) return true;
    if (!(*j = gf_json_read(*where, GF_TOKENIZER_FILE, e))) return false;
    if (cJSON_IsObject(*j)) return true;
    return gf_fail(e, GF_E_MODEL, "%s: it is %s; an object was expected", *where, gf_json_kind(*j));
}

static bool check_config(folder *f, gf_err *e) {
    static const char *const known[] = {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
                                        "MobileBertTokenizer"};
    const char *name = cJSON_GetStringValue(get(f->config, "tokenizer_class"));
    size_t size = name ? strlen(name) : 0;
    if (cJSON_IsTrue(get(f->config, "split_special_tokens")))
        return gf_fail(e, GF_E_MODEL, "%s: split_special_tokens is true, which graft cannot do",
                       f->config_path);
    if (!name) return true;
    f->json_wins =
        strcmp(name, "PreTrainedTokenizerFast") == 0 || strcmp(name, "TokenizersBackend") == 0;
    if (f->json_wins) return true;
    if (size > 4 && strcmp(name + size - 4, "Fast") == 0) size -= 4;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i]) == size && memcmp(known[i], name, size) == 0) return true;
    return gf_fail(e, GF_E_MODEL, "%s: tokenizer_class is \"%s\"; graft reads BERT's",
                   f->config_path, name);
}

static void read_limit(gf_tokenizer *t, const cJSON *config) {
    const cJSON *j = get(config, "model_max_length");
    if (cJSON_IsNumber(j) && j->valuedouble >= 1 && j->valuedouble <= 1e9)
        t->max_length = (int64_t)j->valuedouble;
}

/* The bytes of a line without the white space at its end, as the library trims it. */
static size_t trimmed(const char *line, size_t size) {
    while (size > 0) {
        size_t before = gf_unicode_back(line, size), at = before;
        if (!(gf_unicode_class(gf_unicode_decode(line, size, &at)) & GF_UNICODE_SPACE)) break;
        size = before;
    }
    return size;
}

static bool read_vocab_lines(gf_tokenizer *t, const char *text, size_t size, const char *path,
                             gf_err *e) {
    int64_t id = 0;
    for (size_t at = 0; at < size; id++) {
        const char *line = text + at, *end = memchr(line, '\n', size - at);
        size_t length = end ? (size_t)(end - line) : size - at;
        at += length + 1;
        if (!gf_vocab_add(&t->vocab, line, trimmed(line, length), id, path, e)) return false;
    }
    return true;
}

static bool read_vocab(gf_tokenizer *t, const char *path, gf_err *e) {
    size_t size = 0;
    char *text = gf_io_read_all(path, GF_TOKENIZER_FILE, &size, e);
    bool ok = text && gf_vocab_reserve(&t->vocab, size / LINE, e) &&
              read_vocab_lines(t, text, size, path, e);
    gf_free(text);
    return ok;
}

/* tokenizer.json if there is one, else vocab.txt. */
static bool read_main(gf_tokenizer *t, const char *path, gf_err *e) {
    char *json = gf_io_join(path, "tokenizer.json", e);
    char *vocab = json ? gf_io_join(path, "vocab.txt", e) : NULL;
    char *text = NULL;
    size_t size = 0;
    bool ok = false;
    if (!vocab) goto done;
    if (gf_io_exists(json)) {
        ok = (text = gf_io_read_all(json, GF_TOKENIZER_FILE, &size, e)) != NULL &&
             gf_tokenizer_read_json(t, text, size, json, e);
    } else if (gf_io_exists(vocab)) {
        ok = read_vocab(t, vocab, e);
    } else {
        gf_fail(e, GF_E_MODEL, "%s: it has no tokenizer.json and no vocab.txt; add one", path);
    }
done:
    gf_free(text);
    gf_free(json);
    gf_free(vocab);
    return ok;
}

static void apply_rules(gf_tokenizer *t, const cJSON *config) {
    const cJSON *lower = get(config, "do_lower_case"), *strip = get(config, "strip_accents");
    const cJSON *chinese = get(config, "tokenize_chinese_chars");
    if (cJSON_IsBool(lower)) t->rules.lowercase = cJSON_IsTrue(lower);
    if (cJSON_IsBool(chinese)) t->rules.chinese = cJSON_IsTrue(chinese);
    if (strip) t->strip_accents = cJSON_IsBool(strip) ? cJSON_IsTrue(strip) : -1;
}

typedef struct numbered {
    int64_t id;
    const cJSON *token;
} numbered;

static int by_id(const void *a, const void *b) {
    const numbered *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Adds the tokens of an object in the order of their ids: added_tokens_decoder has {id: token},
 * added_tokens.json {content: id}. */
static bool add_numbered(gf_tokenizer *t, const cJSON *j, bool by_key, const char *where,
                         gf_err *e) {
    int64_t count = cJSON_GetArraySize(j), n = 0;
    numbered *list = gf_alloc_array(count, sizeof *list, e);
    const cJSON *item;
    bool ok = list != NULL;
    cJSON_ArrayForEach(item, j) {
        char *end = NULL;
        double id = by_key ? strtod(item->string, &end) : item->valuedouble;
        if (!ok) break;
        ok = (by_key ? end != item->string && !*end : cJSON_IsNumber(item)) && id >= 0 &&
             id < GF_VOCAB_MOST;
        if (!ok)
            gf_fail(e, GF_E_MODEL, "%s: \"%s\": an added token's id is not a number from 0 to %d",
                    where, item->string, GF_VOCAB_MOST - 1);
        else
            list[n++] = (numbered){(int64_t)id, item};
    }
    if (ok && n) qsort(list, (size_t)n, sizeof *list, by_id);
    for (int64_t i = 0; ok && i < n; i++) {
        cJSON content = {.type = cJSON_String, .valuestring = list[i].token->string};
        bool special = false;
        for (int k = 0; !by_key && k < GF_SPECIALS; k++)
            special |= strcmp(t->name[k], content.valuestring) == 0;
        ok = gf_tokenizer_add_token(t, by_key ? list[i].token : &content, list[i].id, special,
                                    where, e);
    }
    gf_free(list);
    return ok;
}

/* What a file states of a special token: a string or an object; NULL if nothing. */
static const cJSON *stated(const folder *f, const char *key) {
    const cJSON *j = get(f->config, "added_tokens_decoder") ? NULL : get(f->specials, key);
    if (!cJSON_IsString(j) && !cJSON_IsObject(j)) j = get(f->config, key);
    return cJSON_IsString(j) || cJSON_IsObject(j) ? j : NULL;
}

static bool apply_names(gf_tokenizer *t, const folder *f, gf_err *e) {
    for (int i = f->json_wins ? GF_PAD : GF_UNK; i < GF_SPECIALS; i++) {
        const cJSON *j = stated(f, gf_tokenizer_key((gf_special)i));
        const char *name = cJSON_GetStringValue(cJSON_IsObject(j) ? get(j, "content") : j);
        if (name && !gf_tokenizer_rename(t, (gf_special)i, name, e)) return false;
    }
    return true;
}

/* The special tokens become added tokens where the vocabulary holds them. */
static bool add_specials(gf_tokenizer *t, const folder *f, gf_err *e) {
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    const cJSON *item;
    for (int i = 0; i < GF_SPECIALS; i++) {
        const cJSON *j = stated(f, gf_tokenizer_key((gf_special)i));
        cJSON name = {.type = cJSON_String, .valuestring = t->name[i]};
        if (!j && f->json_wins) continue;
        if (!gf_tokenizer_add_token(t, j ? j : &name, -1, true, f->config_path, e)) return false;
    }
    for (int i = 0; i < 2; i++)
        cJSON_ArrayForEach(item, get(f->config, lists[i])) if (!gf_tokenizer_add_token(
                                                                   t, item, -1, true,
                                                                   f->config_path, e)) return false;
    return true;
}

static bool apply_added(gf_tokenizer *t, const folder *f, gf_err *e) {
    const cJSON *decoder = get(f->config, "added_tokens_decoder");
    if (decoder && !f->json_wins) gf_added_free(&t->added);
    if (decoder) return add_numbered(t, decoder, true, f->config_path, e);
    return !f->added || add_numbered(t, f->added, false, f->added_path, e);
}

static void free_folder(folder *f) {
    cJSON_Delete(f->config);
    cJSON_Delete(f->specials);
    cJSON_Delete(f->added);
    gf_free(f->config_path);
    gf_free(f->specials_path);
    gf_free(f->added_path);
}

gf_tokenizer *gf_tokenizer_open(const char *path, gf_err *e) {
    folder f = {.path = path};
    gf_tokenizer *t = gf_tokenizer_new(e);
    bool ok = t && read_optional(path, "tokenizer_config.json", &f.config_path, &f.config, e) &&
              read_optional(path, "special_tokens_map.json", &f.specials_path, &f.specials, e) &&
              read_optional(path, "added_tokens.json", &f.added_path, &f.added, e) &&
              check_config(&f, e) && read_main(t, path, e);
    if (ok) {
        read_limit(t, f.config);
        if (!f.json_wins) apply_rules(t, f.config);
        ok = apply_names(t, &f, e) && apply_added(t, &f, e) && add_specials(t, &f, e) &&
             gf_tokenizer_finish(t, path, e);
    }
    free_folder(&f);
    if (ok) return t;
    gf_tokenizer_free(t);
    return NULL;
}
