#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/tokenizer.h"

#include <string.h>

/* Writes the tokenizer files of a model folder. Each add_*() below adds to a JSON object and is
 * false when memory is out. */

static bool add_flags(cJSON *j, const gf_added *a, gf_err *e) {
    return gf_json_string(j, "content", a->content, e) &&
           gf_json_bool(j, "single_word", a->single_word, e) &&
           gf_json_bool(j, "lstrip", a->lstrip, e) && gf_json_bool(j, "rstrip", a->rstrip, e) &&
           gf_json_bool(j, "normalized", a->normalized, e) &&
           gf_json_bool(j, "special", a->special, e);
}

static bool add_added(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    cJSON *list = gf_json_array(j, "added_tokens", e), *item;
    for (int64_t i = 0; list && i < t->added.count; i++)
        if (!(item = gf_json_object(list, NULL, e)) ||
            !gf_json_number(item, "id", t->added.items[i].id, e) ||
            !add_flags(item, &t->added.items[i], e))
            return false;
    return list != NULL;
}

static bool add_strip(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    if (t->strip_accents < 0) return gf_json_null(j, "strip_accents", e) != NULL;
    return gf_json_bool(j, "strip_accents", t->strip_accents > 0, e) != NULL;
}

static bool add_normalizer(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    cJSON *n = gf_json_object(j, "normalizer", e);
    return n && gf_json_string(n, "type", "BertNormalizer", e) &&
           gf_json_bool(n, "clean_text", t->rules.clean_text, e) &&
           gf_json_bool(n, "handle_chinese_chars", t->rules.chinese, e) && add_strip(n, t, e) &&
           gf_json_bool(n, "lowercase", t->rules.lowercase, e);
}

/* {"KIND": {"id": name, "type_id": type}} */
static bool add_template_item(cJSON *list, const char *kind, const char *name, int type,
                              gf_err *e) {
    cJSON *item = gf_json_object(list, NULL, e);
    cJSON *inner = item ? gf_json_object(item, kind, e) : NULL;
    return inner && gf_json_string(inner, "id", name, e) &&
           gf_json_number(inner, "type_id", type, e);
}

static bool add_template_token(cJSON *tokens, const char *name, int32_t id, gf_err *e) {
    cJSON *token = gf_json_object(tokens, name, e), *list;
    return token && gf_json_string(token, "id", name, e) &&
           (list = gf_json_array(token, "ids", e)) && gf_json_number(list, NULL, id, e) &&
           (list = gf_json_array(token, "tokens", e)) && gf_json_string(list, NULL, name, e);
}

static bool add_post_processor(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    const char *cls = t->name[GF_CLS], *sep = t->name[GF_SEP];
    cJSON *p = gf_json_object(j, "post_processor", e), *single, *pair, *tokens;
    return p && gf_json_string(p, "type", "TemplateProcessing", e) &&
           (single = gf_json_array(p, "single", e)) &&
           add_template_item(single, "SpecialToken", cls, 0, e) &&
           add_template_item(single, "Sequence", "A", 0, e) &&
           add_template_item(single, "SpecialToken", sep, 0, e) &&
           (pair = gf_json_array(p, "pair", e)) &&
           add_template_item(pair, "SpecialToken", cls, 0, e) &&
           add_template_item(pair, "Sequence", "A", 0, e) &&
           add_template_item(pair, "SpecialToken", sep, 0, e) &&
           add_template_item(pair, "Sequence", "B", 1, e) &&
           add_template_item(pair, "SpecialToken", sep, 1, e) &&
           (tokens = gf_json_object(p, "special_tokens", e)) &&
           add_template_token(tokens, cls, t->special[GF_CLS], e) &&
           (strcmp(cls, sep) == 0 || add_template_token(tokens, sep, t->special[GF_SEP], e));
}

static bool add_model(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    cJSON *m = gf_json_object(j, "model", e), *vocab = NULL;
    bool ok = m && gf_json_string(m, "type", "WordPiece", e) &&
              gf_json_string(m, "unk_token", t->name[GF_UNK], e) &&
              gf_json_string(m, "continuing_subword_prefix", t->prefix, e) &&
              gf_json_number(m, "max_input_chars_per_word", (double)t->max_chars, e) &&
              (vocab = gf_json_object(m, "vocab", e));
    for (int64_t id = 0; ok && id < t->vocab.size; id++) {
        const char *token = gf_vocab_token_of(&t->vocab, id);
        ok = !token || gf_json_number(vocab, token, (double)id, e);
    }
    return ok;
}

static bool add_named_kind(cJSON *j, const char *name, const char *kind, gf_err *e) {
    cJSON *inner = gf_json_object(j, name, e);
    return inner && gf_json_string(inner, "type", kind, e);
}

static bool add_decoder(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    cJSON *d = gf_json_object(j, "decoder", e);
    return d && gf_json_string(d, "type", "WordPiece", e) &&
           gf_json_string(d, "prefix", t->prefix, e) && gf_json_bool(d, "cleanup", true, e);
}

/* Prints and frees j, if it could be built. */
static char *print(cJSON *j, bool ok, size_t *size, gf_err *e) {
    char *text = ok ? gf_json_print(j, e) : NULL;
    cJSON_Delete(j);
    if (text) *size = strlen(text);
    return text;
}

char *gf_tokenizer_to_json(const gf_tokenizer *t, size_t *size, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    bool ok = j && gf_json_string(j, "version", "1.0", e) && gf_json_null(j, "truncation", e) &&
              gf_json_null(j, "padding", e) && add_added(j, t, e) && add_normalizer(j, t, e) &&
              add_named_kind(j, "pre_tokenizer", "BertPreTokenizer", e) &&
              add_post_processor(j, t, e) && add_decoder(j, t, e) && add_model(j, t, e);
    return print(j, ok, size, e);
}

static bool add_names(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    for (int i = 0; i < GF_SPECIALS; i++)
        if (t->special[i] >= 0 &&
            !gf_json_string(j, gf_tokenizer_key((gf_special)i), t->name[i], e))
            return false;
    return true;
}

/* Transformers' BertTokenizer rebuilds the tokenizer from the vocabulary and tokenizer_config.json;
 * whether these can say all of this one. Otherwise its class for any tokenizer.json is named. */
static bool is_plain_bert(const gf_tokenizer *t) {
    return t->rules.clean_text && t->max_chars == 100 && strcmp(t->prefix, "##") == 0 &&
           t->special[GF_PAD] >= 0 && t->special[GF_MASK] >= 0;
}

static bool add_decoder_tokens(cJSON *j, const gf_tokenizer *t, gf_err *e) {
    cJSON *all = gf_json_object(j, "added_tokens_decoder", e);
    for (int64_t i = 0; all && i < t->added.count; i++) {
        char *id = gf_format(e, "%d", t->added.items[i].id);
        cJSON *item = id ? gf_json_object(all, id, e) : NULL;
        gf_free(id);
        if (!item || !add_flags(item, &t->added.items[i], e)) return false;
    }
    return all != NULL;
}

static char *config_text(const gf_tokenizer *t, int64_t max_length, size_t *size, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    bool ok = j && add_decoder_tokens(j, t, e) && add_names(j, t, e) &&
              gf_json_bool(j, "do_lower_case", t->rules.lowercase, e) && add_strip(j, t, e) &&
              gf_json_bool(j, "tokenize_chinese_chars", t->rules.chinese, e) &&
              (!max_length || gf_json_number(j, "model_max_length", (double)max_length, e)) &&
              gf_json_string(j, "tokenizer_class",
                             is_plain_bert(t) ? "BertTokenizer" : "PreTrainedTokenizerFast", e);
    return print(j, ok, size, e);
}

static char *specials_text(const gf_tokenizer *t, size_t *size, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    return print(j, j && add_names(j, t, e), size, e);
}

/* One token a line; a blank line for an id without a token, and for a token that would not be read
 * back as it is (tokenizer.json, which is read first, has it). */
static char *vocab_text(const gf_tokenizer *t, size_t *size, gf_err *e) {
    gf_text text = {0};
    for (int64_t id = 0; id < t->vocab.size; id++) {
        const char *token = gf_vocab_token_of(&t->vocab, id);
        if (!token || strpbrk(token, "\r\n")) token = "";
        if (gf_text_add_bytes(&text, token, strlen(token), e) &&
            gf_text_add_bytes(&text, "\n", 1, e))
            continue;
        gf_text_free(&text);
        return NULL;
    }
    *size = text.length;
    return text.data;
}

/* Takes over the text, which is NULL when it could not be made. */
static bool write_text(const char *folder, const char *name, char *text, size_t size, gf_err *e) {
    char *path = text ? gf_io_join(folder, name, e) : NULL;
    bool ok = path && gf_io_replace_file(path, text, size, e);
    gf_free(path);
    gf_free(text);
    return ok;
}

bool gf_tokenizer_save(const gf_tokenizer *t, const char *folder, int64_t max_length, gf_err *e) {
    size_t size = 0;
    char *text = vocab_text(t, &size, e);
    if (!write_text(folder, "vocab.txt", text, size, e)) return false;
    text = gf_tokenizer_to_json(t, &size, e);
    if (!write_text(folder, "tokenizer.json", text, size, e)) return false;
    text = config_text(t, max_length, &size, e);
    if (!write_text(folder, "tokenizer_config.json", text, size, e)) return false;
    text = specials_text(t, &size, e);
    return write_text(folder, "special_tokens_map.json", text, size, e);
}
