#include "data/tokenizer.h"

#include "core/json.h"
#include "core/mem.h"
#include "data/vocab_json.h"

#include <string.h>

/* Reads tokenizer.json, the serialization of Hugging Face tokenizers. */

static const cJSON *get(const cJSON *j, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

static const char *type_of(const cJSON *j) {
    const cJSON *type = get(j, "type");
    return cJSON_IsString(type) ? type->valuestring : "";
}

static bool refuse(const char *where, const char *part, const cJSON *j, const char *wanted,
                   gf_err *e) {
    return gf_fail(e, GF_E_MODEL, "%s: its %s is %s%s; graft reads %s", where, part,
                   *type_of(j) ? "" : gf_json_kind(j), type_of(j), wanted);
}

/* Takes the one element of a Sequence, or j itself. */
static const cJSON *unwrap(const cJSON *j, const char *list) {
    const cJSON *inner = get(j, list);
    if (strcmp(type_of(j), "Sequence") != 0 || cJSON_GetArraySize(inner) != 1) return j;
    return cJSON_GetArrayItem(inner, 0);
}

static bool read_normalizer(gf_tokenizer *t, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *strip;
    j = unwrap(j, "normalizers");
    t->rules = (gf_bert_rules){0};
    t->strip_accents = 0;
    if (!j || cJSON_IsNull(j)) return true; /* the text as it stands */
    if (strcmp(type_of(j), "Lowercase") == 0) {
        t->rules.lowercase = true;
        return true;
    }
    if (strcmp(type_of(j), "BertNormalizer") != 0)
        return refuse(where, "normalizer", j, "BertNormalizer, Lowercase and null", e);
    t->rules.clean_text = cJSON_IsTrue(get(j, "clean_text"));
    t->rules.chinese = cJSON_IsTrue(get(j, "handle_chinese_chars"));
    t->rules.lowercase = cJSON_IsTrue(get(j, "lowercase"));
    strip = get(j, "strip_accents");
    t->strip_accents = cJSON_IsBool(strip) ? cJSON_IsTrue(strip) : -1;
    return true;
}

static bool read_vocab(gf_tokenizer *t, const cJSON *vocab, const char *where, gf_err *e) {
    const cJSON *item;
    if (!cJSON_IsObject(vocab))
        return gf_fail(e, GF_E_MODEL, "%s: model.vocab is %s; graft reads an object token: id",
                       where, gf_json_kind(vocab));
    cJSON_ArrayForEach(item, vocab) {
        double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(id >= 0 && id < GF_VOCAB_MOST && id == (double)(int64_t)id))
            return gf_fail(e, GF_E_MODEL, "%s: the id of \"%s\" is not a number from 0 to %d",
                           where, item->string, GF_VOCAB_MOST - 1);
        if (!gf_vocab_add(&t->vocab, item->string, strlen(item->string), (int64_t)id, where, e))
            return false;
    }
    return true;
}

static bool read_model(gf_tokenizer *t, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *prefix = get(j, "continuing_subword_prefix"), *unk = get(j, "unk_token");
    const cJSON *chars = get(j, "max_input_chars_per_word");
    char *copy;
    /* Old files lack the type; the prefix tells a WordPiece model then. */
    if (strcmp(type_of(j), "WordPiece") != 0 && (*type_of(j) || !cJSON_IsString(prefix)))
        return refuse(where, "model", j, "WordPiece", e);
    if (cJSON_IsString(prefix)) {
        if (strlen(prefix->valuestring) > GF_LONGEST_PREFIX)
            return gf_fail(e, GF_E_MODEL, "%s: continuing_subword_prefix has more than %d bytes",
                           where, GF_LONGEST_PREFIX);
        if (!(copy = gf_strdup(prefix->valuestring, e))) return false;
        gf_free(t->prefix);
        t->prefix = copy;
    }
    if (cJSON_IsString(unk) && !gf_tokenizer_rename(t, GF_UNK, unk->valuestring, e)) return false;
    if (chars) {
        if (!cJSON_IsNumber(chars) || !(chars->valuedouble >= 0) ||
            chars->valuedouble > GF_LONGEST_WORD)
            return gf_fail(e, GF_E_MODEL,
                           "%s: max_input_chars_per_word is not a number from 0 to %d", where,
                           GF_LONGEST_WORD);
        t->max_chars = (int64_t)chars->valuedouble;
    }
    return read_vocab(t, get(j, "vocab"), where, e);
}

/* The name of the special token at a place of a template, NULL if it is something else. */
static const char *template_token(const cJSON *single, int place) {
    const cJSON *id = get(get(cJSON_GetArrayItem(single, place), "SpecialToken"), "id");
    return cJSON_IsString(id) ? id->valuestring : NULL;
}

/* [CLS] A [SEP], as BertProcessing or as a template; null leaves the names as they are. */
static bool read_post_processor(gf_tokenizer *t, const cJSON *j, const char *where, gf_err *e) {
    const char *cls = NULL, *sep = NULL;
    if (!j || cJSON_IsNull(j)) return true;
    if (strcmp(type_of(j), "BertProcessing") == 0) {
        cls = cJSON_GetStringValue(cJSON_GetArrayItem(get(j, "cls"), 0));
        sep = cJSON_GetStringValue(cJSON_GetArrayItem(get(j, "sep"), 0));
    } else if (strcmp(type_of(j), "TemplateProcessing") == 0) {
        const cJSON *single = get(j, "single");
        if (cJSON_GetArraySize(single) == 3 && get(cJSON_GetArrayItem(single, 1), "Sequence")) {
            cls = template_token(single, 0);
            sep = template_token(single, 2);
        }
    }
    if (!cls || !sep)
        return refuse(where, "post_processor", j,
                      "BertProcessing and a TemplateProcessing of [CLS] A [SEP]", e);
    return gf_tokenizer_rename(t, GF_CLS, cls, e) && gf_tokenizer_rename(t, GF_SEP, sep, e);
}

static bool read_added(gf_tokenizer *t, const cJSON *list, const char *where, gf_err *e) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        const cJSON *id = get(item, "id");
        double number = cJSON_IsNumber(id) ? id->valuedouble : -1;
        if (!(number >= 0 && number < GF_VOCAB_MOST))
            return gf_fail(e, GF_E_MODEL,
                           "%s: the id of an added token is not a number from 0 to %d", where,
                           GF_VOCAB_MOST - 1);
        if (!gf_tokenizer_add_token(t, item, (int64_t)number, false, where, e)) return false;
    }
    return true;
}

static bool read_parts(gf_tokenizer *t, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *pre = unwrap(get(j, "pre_tokenizer"), "pretokenizers");
    const cJSON *decoder = get(j, "decoder");
    if (!cJSON_IsObject(j))
        return gf_fail(e, GF_E_MODEL, "%s: it is %s; a tokenizer is an object", where,
                       gf_json_kind(j));
    if (strcmp(type_of(pre), "BertPreTokenizer") != 0)
        return refuse(where, "pre_tokenizer", pre, "BertPreTokenizer", e);
    if (decoder && !cJSON_IsNull(decoder) && strcmp(type_of(decoder), "WordPiece") != 0)
        return refuse(where, "decoder", decoder, "WordPiece", e);
    return read_model(t, get(j, "model"), where, e) &&
           read_normalizer(t, get(j, "normalizer"), where, e) &&
           read_post_processor(t, get(j, "post_processor"), where, e) &&
           read_added(t, get(j, "added_tokens"), where, e);
}

static bool read_whole(gf_tokenizer *t, const char *text, size_t size, const char *where,
                       gf_err *e) {
    cJSON *j = gf_json_parse(text, size, where, 1, GF_E_MODEL, e);
    bool ok = j && read_parts(t, j, where, e);
    cJSON_Delete(j);
    return ok;
}

bool gf_tokenizer_read_json(gf_tokenizer *t, const char *text, size_t size, const char *where,
                            gf_err *e) {
    gf_text rest = {0};
    gf_err why = {0};
    bool ok = false;
    if (!gf_vocab_take_json(&t->vocab, text, size, where, &rest, e)) goto done;
    if (rest.length && (ok = read_whole(t, rest.data, rest.length, where, &why))) goto done;
    if (why.code == GF_E_NOMEM) {
        gf_fail(e, why.code, "%s", why.text);
        goto done;
    }
    /* What is wrong, and where, is said of the text itself. */
    gf_vocab_free(&t->vocab);
    gf_added_free(&t->added);
    ok = read_whole(t, text, size, where, e);
done:
    gf_text_free(&rest);
    return ok;
}

gf_tokenizer *gf_tokenizer_from_json(const char *json, size_t size, const char *where, gf_err *e) {
    gf_tokenizer *t = gf_tokenizer_new(e);
    if (t && gf_tokenizer_read_json(t, json, size, where, e) && gf_tokenizer_finish(t, where, e))
        return t;
    gf_tokenizer_free(t);
    return NULL;
}
