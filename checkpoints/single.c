#include "checkpoints/single.h"

#include "checkpoints/gguf_bert.h"
#include "checkpoints/heads.h"
#include "checkpoints/outline.h"
#include "checkpoints/safetensors.h"
#include "checkpoints/tensors.h"
#include "checkpoints/weights.h"
#include "core/mem.h"

#include <string.h>

/* The metadata's keys. */
static const char *const CONFIG = "graft.config", *const OUTLINE = "graft.outline";
static const char *const HEADS = "graft.heads", *const TOKENIZER = "graft.tokenizer";

/* Adds a JSON value as a string and deletes it. */
static bool add_json(cJSON *metadata, const char *key, cJSON *value, gf_err *e) {
    char *text = value ? cJSON_PrintUnformatted(value) : NULL;
    bool ok = text ? gf_json_string(metadata, key, text, e) != NULL
                   : value && gf_fail(e, GF_E_NOMEM, "out of memory while writing \"%s\"", key);
    cJSON_free(text);
    cJSON_Delete(value);
    return ok;
}

static bool add_tokenizer(cJSON *metadata, const gf_tokenizer *t, gf_err *e) {
    size_t size = 0;
    char *text = gf_tokenizer_to_json(t, &size, e);
    bool ok = text && gf_json_string(metadata, TOKENIZER, text, e);
    gf_free(text);
    return ok;
}

bool gf_single_write(const gf_model *m, const char *path, gf_dtype dtype, gf_err *e) {
    cJSON *metadata = gf_json_object(NULL, NULL, e);
    gf_named_tensor *items = gf_alloc_array(m->params.count, sizeof *items, e);
    int64_t n = 0;
    bool ok = metadata && items &&
              add_json(metadata, CONFIG, gf_bert_config_to_json(&m->config, e), e) &&
              add_json(metadata, OUTLINE, gf_outline_to_json(m, e), e) &&
              add_json(metadata, HEADS, gf_heads_to_json(m, e), e) &&
              add_tokenizer(metadata, m->tokenizer, e);
    for (int64_t i = 0; ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        if (!gf_model_is_mlm(m, p)) items[n++] = (gf_named_tensor){p->name, p->shape, p->value};
    }
    ok = ok && gf_safetensors_write_as(path, items, n, dtype, metadata, e);
    gf_free(items);
    cJSON_Delete(metadata);
    return ok;
}

static const char *text_of(const gf_tensors *t, const char *key, const char *path, gf_err *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(t->metadata, key);
    if (cJSON_IsString(item)) return item->valuestring;
    gf_fail(e, GF_E_MODEL,
            "%s: tensors alone are no model, and its metadata have no \"%s\"; give the folder that "
            "also holds config.json and the tokenizer",
            path, key);
    return NULL;
}

static cJSON *json_of(const gf_tensors *t, const char *key, const char *path, gf_err *e) {
    const char *text = text_of(t, key, path, e);
    return text ? gf_json_parse(text, strlen(text), path, 1, GF_E_MODEL, e) : NULL;
}

static bool read_config(gf_model *m, const gf_tensors *t, const char *path, gf_err *e) {
    cJSON *j = json_of(t, CONFIG, path, e);
    gf_bert_config config;
    bool ok = j && gf_bert_config_read(&config, j, path, e) && gf_model_make(m, &config, e);
    cJSON_Delete(j);
    return ok;
}

static bool read_outline(gf_model *m, const gf_tensors *t, const char *path, gf_err *e) {
    cJSON *j = json_of(t, OUTLINE, path, e);
    bool ok = j && gf_outline_apply(m, j, path, e);
    cJSON_Delete(j);
    return ok;
}

static bool read_heads(gf_model *m, const gf_tensors *t, const char *path, gf_err *e) {
    cJSON *j = json_of(t, HEADS, path, e);
    bool ok = j && gf_heads_from_json(m, j, path, e);
    cJSON_Delete(j);
    return ok;
}

static bool read_tokenizer(gf_model *m, const gf_tensors *t, const char *path, gf_err *e) {
    const char *text = text_of(t, TOKENIZER, path, e);
    if (!text || !(m->tokenizer = gf_tokenizer_from_json(text, strlen(text), path, e)))
        return false;
    if (gf_tokenizer_size(m->tokenizer) <= m->config.vocab_size) return true;
    return gf_fail(e, GF_E_MODEL, "%s: the tokenizer has more tokens than the model's vocab_size",
                   path);
}

bool gf_single_open(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    gf_tensors t = {0};
    bool gguf = false;
    bool ok = gf_tensors_open(&t, path, e);
    gguf = ok && t.format && strcmp(t.format, "GGUF") == 0;
    ok = ok && !gguf && read_config(m, &t, path, e) && read_outline(m, &t, path, e) &&
         read_heads(m, &t, path, e) && read_tokenizer(m, &t, path, e);
    gf_tensors_close(&t);
    if (gguf) return gf_gguf_open_model(m, path, log, e);
    return ok && gf_weights_read_all(m, path, e);
}
