#include "checkpoints/store.h"

#include "checkpoints/h5.h"
#include "checkpoints/heads.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/version.h"

#include <stdio.h>
#include <string.h>

/* Writes a JSON value as a text dataset of /model and deletes it. */
static void write_json(gf_h5 *h, const char *name, cJSON *j) {
    char *text = j ? gf_json_print(j, h->e) : NULL;
    if (text)
        gf_h5_write_text(h, "/model", name, text);
    else
        h->ok = false;
    cJSON_Delete(j);
    gf_free(text);
}

static void write_tokenizer(gf_h5 *h, const gf_tokenizer *t) {
    size_t size = 0;
    char *text = h->ok ? gf_tokenizer_to_json(t, &size, h->e) : NULL;
    if (text)
        gf_h5_write_text(h, "/model", "tokenizer", text);
    else
        h->ok = false;
    gf_free(text);
}

static void write_model(gf_h5 *h, const gf_model *m) {
    gf_h5_write_group(h, "/model");
    gf_h5_write_word(h, "/model", "pooling", gf_pooling_name(m->pooling));
    gf_h5_write_int(h, "/model", "normalize", m->normalize);
    gf_h5_write_int(h, "/model", "max_length", m->max_length);
    write_json(h, "config", gf_bert_config_to_json(&m->config, h->e));
    write_json(h, "heads", gf_heads_to_json(m, h->e));
    write_tokenizer(h, m->tokenizer);
}

static void write_params(gf_h5 *h, const gf_model *m) {
    gf_h5_write_group(h, "/params");
    for (int64_t i = 0; h->ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        if (p->value)
            gf_h5_write_reals(h, "/params", p->name, &p->shape, p->value);
        else
            gf_h5_fail(h, "/params", p->name, "the parameter has no value to be written");
    }
}

/* Writes the group's path into text and returns it. Parameters' names are at most 192 bytes. */
static const char *moments_of(const gf_param *p, char text[256]) {
    snprintf(text, 256, "/moments/%s", p->name);
    return text;
}

static void write_moments(gf_h5 *h, const gf_model *m) {
    char group[256];
    gf_h5_write_group(h, "/moments");
    for (int64_t i = 0; h->ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        if (!p->moment1) continue;
        gf_h5_write_group(h, moments_of(p, group));
        gf_h5_write_int(h, group, "updates", p->updates);
        gf_h5_write_reals(h, group, "m", &p->shape, p->moment1);
        gf_h5_write_reals(h, group, "v", &p->shape, p->moment2);
    }
}

static bool write_file(const char *path, const gf_model *m, const char *recipe_json,
                       const char *state_json, gf_err *e) {
    gf_h5 h = gf_h5_create(path, e);
    gf_h5_write_int(&h, "/", "format", GF_STORE_FORMAT);
    gf_h5_write_word(&h, "/", "graft", GF_VERSION);
    if (h.ok) write_model(&h, m);
    if (recipe_json) gf_h5_write_text(&h, "/", "recipe", recipe_json);
    if (state_json) gf_h5_write_text(&h, "/", "state", state_json);
    write_params(&h, m);
    write_moments(&h, m);
    return gf_h5_close(&h);
}

bool gf_store_write(const char *path, const gf_model *m, const char *recipe_json,
                    const char *state_json, gf_err *e) {
    char *tmp = gf_format(e, "%s.tmp", path);
    bool ok = tmp && write_file(tmp, m, recipe_json, state_json, e) && gf_io_publish(tmp, path, e);
    if (!ok && tmp) gf_io_remove(tmp, NULL);
    gf_free(tmp);
    return ok;
}

static void check_format(gf_h5 *h) {
    char what[96];
    int64_t format = gf_h5_read_int(h, "/", "format");
    if (!h->ok || format == GF_STORE_FORMAT) return;
    snprintf(what, sizeof what, "format %lld is not this graft's %d; use the graft that wrote it",
             (long long)format, GF_STORE_FORMAT);
    gf_h5_fail(h, "/", "format", what);
}

/* A text dataset of /model as JSON; NULL after a failure. */
static cJSON *read_json(gf_h5 *h, const char *name) {
    char *text = gf_h5_read_text(h, "/model", name);
    char where[1024];
    cJSON *j = NULL;
    snprintf(where, sizeof where, "%s: /model/%s", h->path, name);
    if (text && !(j = gf_json_parse(text, strlen(text), where, 1, GF_E_MODEL, h->e))) h->ok = false;
    gf_free(text);
    return j;
}

static void read_config(gf_h5 *h, gf_model *m) {
    cJSON *j = read_json(h, "config");
    gf_bert_config config;
    if (j && !(gf_bert_config_read(&config, j, h->path, h->e) && gf_model_make(m, &config, h->e)))
        h->ok = false;
    cJSON_Delete(j);
}

static void read_heads(gf_h5 *h, gf_model *m) {
    cJSON *j = read_json(h, "heads");
    if (j && !gf_heads_from_json(m, j, h->path, h->e)) h->ok = false;
    cJSON_Delete(j);
}

static void read_tokenizer(gf_h5 *h, gf_model *m) {
    char *text = gf_h5_read_text(h, "/model", "tokenizer");
    if (text && !(m->tokenizer = gf_tokenizer_from_json(text, strlen(text), h->path, h->e)))
        h->ok = false;
    if (h->ok && gf_tokenizer_size(m->tokenizer) > m->config.vocab_size)
        gf_h5_fail(h, "/model", "tokenizer", "it has more tokens than the model's vocab_size");
    gf_free(text);
}

static void read_pooling(gf_h5 *h, gf_model *m) {
    char *name = gf_h5_read_word(h, "/model", "pooling");
    int i = 0;
    while (h->ok && i <= GF_POOL_MAX && strcmp(name, gf_pooling_name((gf_pooling)i)) != 0) i++;
    if (h->ok && i > GF_POOL_MAX) gf_h5_fail(h, "/model", "pooling", "mean, cls or max is wanted");
    if (h->ok) m->pooling = (gf_pooling)i;
    gf_free(name);
}

static void read_model(gf_h5 *h, gf_model *m) {
    read_config(h, m);
    if (h->ok) read_heads(h, m);
    if (h->ok) read_tokenizer(h, m);
    read_pooling(h, m);
    m->normalize = gf_h5_read_int(h, "/model", "normalize") != 0;
    m->max_length = gf_h5_read_int(h, "/model", "max_length");
    if (h->ok && (m->max_length < 3 || m->max_length > m->config.max_position_embeddings))
        gf_h5_fail(h, "/model", "max_length", "it must lie between 3 and the model's positions");
}

/* Names in a group that the model does not know: one is enough to distrust the file. */
static void check_members(gf_h5 *h, const gf_model *m, const char *group) {
    int64_t n = gf_h5_members(h, group);
    for (int64_t i = 0; h->ok && i < n; i++) {
        char *name = gf_h5_member(h, group, i);
        if (name && !gf_params_find(&m->params, name))
            gf_h5_fail(h, group, name, "the model has no parameter of this name");
        gf_free(name);
    }
}

static void read_params(gf_h5 *h, gf_model *m) {
    check_members(h, m, "/params");
    for (int64_t i = 0; h->ok && i < m->params.count; i++) {
        gf_param *p = m->params.items[i];
        if (!gf_param_own(p, h->e))
            h->ok = false;
        else
            gf_h5_read_reals(h, "/params", p->name, &p->shape, p->owned);
    }
}

static void read_moments_of(gf_h5 *h, gf_param *p, const char *group) {
    int64_t count = gf_param_count(p);
    p->updates = gf_h5_read_int(h, group, "updates");
    if (h->ok && p->updates < 0) gf_h5_fail(h, group, "updates", "it is negative");
    if (!(p->moment1 = gf_alloc_array(count, sizeof *p->moment1, h->e)) ||
        !(p->moment2 = gf_alloc_array(count, sizeof *p->moment2, h->e)))
        h->ok = false;
    if (h->ok) gf_h5_read_reals(h, group, "m", &p->shape, p->moment1);
    if (h->ok) gf_h5_read_reals(h, group, "v", &p->shape, p->moment2);
}

static void read_moments(gf_h5 *h, gf_model *m) {
    char group[256];
    check_members(h, m, "/moments");
    for (int64_t i = 0; h->ok && i < m->params.count; i++) {
        gf_param *p = m->params.items[i];
        if (gf_h5_has(h, "/moments", p->name)) read_moments_of(h, p, moments_of(p, group));
    }
}

bool gf_store_read(gf_model *m, const char *path, char **recipe_json, char **state_json,
                   gf_err *e) {
    char *recipe = NULL, *state = NULL;
    gf_h5 h = gf_h5_open(path, e);
    check_format(&h);
    read_model(&h, m);
    read_params(&h, m);
    read_moments(&h, m);
    if (recipe_json) recipe = gf_h5_read_text(&h, "/", "recipe");
    if (state_json) state = gf_h5_read_text(&h, "/", "state");
    if (gf_h5_close(&h)) {
        if (recipe_json) *recipe_json = recipe, recipe = NULL; /* the caller owns them now */
        if (state_json) *state_json = state, state = NULL;
    }
    gf_free(recipe);
    gf_free(state);
    return h.ok;
}

bool gf_store_is_hdf5(const char *path) {
    static const char signature[8] = "\x89HDF\r\n\x1a\n";
    char begin[sizeof signature];
    gf_file *f = gf_io_open(path, NULL);
    bool is = f && gf_io_read(f, begin, sizeof begin, NULL) == (int64_t)sizeof begin &&
              memcmp(begin, signature, sizeof begin) == 0;
    gf_io_close(f, NULL);
    return is;
}
