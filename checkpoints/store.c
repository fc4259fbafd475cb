#include "checkpoints/store.h"

#include "checkpoints/h5.h"
#include "checkpoints/heads.h"
#include "checkpoints/outline.h"
#include "core/child.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "core/version.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = 512 }; /* bytes of the HDF5 user block */

static const char begin[] = "graft checkpoint "; /* of the user block, before the format */

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
    write_json(h, "outline", gf_outline_to_json(m, h->e));
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

/* What training keeps of a parameter beside its value, and what it is called in its group. Usually
 * a group holds m and v; one that holds anything else says so in "holds", a sum of bits. */
static const struct kept {
    const char *name;
    size_t at; /* of the pointer in gf_param */
} kept[] = {{"m", offsetof(gf_param, moment1)},
            {"v", offsetof(gf_param, moment2)},
            {"average", offsetof(gf_param, average)},
            {"anchor", offsetof(gf_param, anchor)}};
enum { N_KEPT = sizeof kept / sizeof *kept, USUAL = 1 | 2 };

static gf_real **kept_of(const gf_param *p, int which) {
    return (gf_real **)(void *)((char *)(uintptr_t)p + kept[which].at);
}

static int64_t holds(const gf_param *p) {
    int64_t bits = 0;
    for (int k = 0; k < N_KEPT; k++) bits |= *kept_of(p, k) ? 1 << k : 0;
    return bits;
}

static void write_moments(gf_h5 *h, const gf_model *m) {
    char group[256];
    gf_h5_write_group(h, "/moments");
    for (int64_t i = 0; h->ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        int64_t bits = holds(p);
        if (!bits) continue;
        gf_h5_write_group(h, moments_of(p, group));
        if (bits != USUAL) gf_h5_write_int(h, group, "holds", bits);
        gf_h5_write_int(h, group, "updates", p->updates);
        for (int k = 0; k < N_KEPT; k++)
            if (bits >> k & 1) gf_h5_write_reals(h, group, kept[k].name, &p->shape, *kept_of(p, k));
    }
}

static bool write_file(const char *path, const gf_model *m, const char *recipe_json,
                       const char *state_json, gf_err *e) {
    gf_h5 h = gf_h5_create(path, BLOCK, e);
    gf_h5_write_int(&h, "/", "format", GF_STORE_FORMAT);
    gf_h5_write_word(&h, "/", "graft", GF_VERSION);
    if (h.ok) write_model(&h, m);
    if (recipe_json) gf_h5_write_text(&h, "/", "recipe", recipe_json);
    if (state_json) gf_h5_write_text(&h, "/", "state", state_json);
    write_params(&h, m);
    write_moments(&h, m);
    return gf_h5_close(&h);
}

/* The user block that belongs to a file's bytes: it says their number and digest, and has no byte
 * that is free to be another. */
static void make_block(char block[BLOCK], const unsigned char *bytes, size_t size) {
    char hex[GF_SHA256_HEX];
    memset(block, 0, BLOCK);
    gf_sha256_of(bytes + BLOCK, size - BLOCK, hex);
    snprintf(block, BLOCK, "%s%d\nsha256 %s\nbytes %zu\n", begin, GF_STORE_FORMAT, hex, size);
}

static bool stamp(const char *path, gf_err *e) {
    char block[BLOCK];
    gf_map map = {0};
    gf_file *f = NULL;
    bool ok = gf_io_map(&map, path, e);
    if (ok && map.size < BLOCK)
        ok = gf_fail(e, GF_E_IO, "%s: it was cut short while it was written", path);
    if (ok) make_block(block, map.data, map.size);
    ok = ok && (f = gf_io_open_random(path, false, e)) && gf_io_write_at(f, 0, block, BLOCK, e);
    ok = gf_io_close(f, e) && ok;
    gf_io_unmap(&map);
    return ok;
}

bool gf_store_write(const char *path, const char *also, const gf_model *m, const char *recipe_json,
                    const char *state_json, gf_err *e) {
    gf_err unheard = {0}; /* writing tells a failure by the gf_err alone (h5_driver.h) */
    char *tmp = gf_format(e ? e : (e = &unheard), "%s.tmp", path);
    bool ok = tmp && write_file(tmp, m, recipe_json, state_json, e) && stamp(tmp, e) &&
              (!also || gf_io_link(tmp, also, e)) && gf_io_publish(tmp, path, e);
    if (!ok && tmp) gf_io_remove(tmp, NULL);
    gf_free(tmp);
    return ok;
}

/* ---- reading ---- */

static bool begins(const unsigned char *bytes, size_t size) {
    return size >= sizeof begin - 1 && memcmp(bytes, begin, sizeof begin - 1) == 0;
}

/* GF_E_MODEL for what is no checkpoint, GF_E_VERIFY for one whose bytes are not those written. */
static bool check_digest(const unsigned char *bytes, size_t size, const char *path, gf_err *e) {
    char block[BLOCK];
    if (!begins(bytes, size))
        return gf_fail(e, GF_E_MODEL, "%s: it is no checkpoint of graft: its user block is missing",
                       path);
    if (size <= BLOCK)
        return gf_fail(e, GF_E_VERIFY,
                       "%s: it is cut short after %zu bytes; use another checkpoint", path, size);
    make_block(block, bytes, size);
    if (memcmp(block, bytes, BLOCK) == 0) return true;
    if (memcmp(block, bytes, strcspn(block, "\n")) != 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: its format is not this graft's %d; use the graft that wrote it", path,
                       GF_STORE_FORMAT);
    return gf_fail(
        e, GF_E_VERIFY,
        "%s: its %zu bytes do not have the SHA-256 that was stamped on them; the file is "
        "damaged, use another checkpoint",
        path, size);
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

static void read_outline(gf_h5 *h, gf_model *m) {
    cJSON *j = read_json(h, "outline");
    if (j && !gf_outline_apply(m, j, h->path, h->e)) h->ok = false;
    cJSON_Delete(j);
}

static void read_model(gf_h5 *h, gf_model *m) {
    read_config(h, m);
    if (h->ok) read_outline(h, m);
    if (h->ok) read_heads(h, m);
    if (h->ok && gf_h5_has(h, "/params", "cls.predictions.bias") && !gf_model_add_mlm(m, h->e))
        h->ok = false;
    if (h->ok) read_tokenizer(h, m);
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
    int64_t count = gf_param_count(p), bits = USUAL;
    p->updates = gf_h5_read_int(h, group, "updates");
    if (h->ok && p->updates < 0) gf_h5_fail(h, group, "updates", "it is negative");
    if (gf_h5_has_attribute(h, group, "holds")) bits = gf_h5_read_int(h, group, "holds");
    if (h->ok && (bits <= 0 || bits >> N_KEPT)) gf_h5_fail(h, group, "holds", "it is out of range");
    for (int k = 0; h->ok && k < N_KEPT; k++) {
        gf_real **array = kept_of(p, k);
        if (!(bits >> k & 1)) continue;
        if (!(*array = gf_alloc_array(count, sizeof **array, h->e)))
            h->ok = false;
        else
            gf_h5_read_reals(h, group, kept[k].name, &p->shape, *array);
    }
}

static void read_moments(gf_h5 *h, gf_model *m) {
    char group[256];
    check_members(h, m, "/moments");
    for (int64_t i = 0; h->ok && i < m->params.count; i++) {
        gf_param *p = m->params.items[i];
        if (gf_h5_has(h, "/moments", p->name)) read_moments_of(h, p, moments_of(p, group));
    }
}

static bool read_checked(gf_model *m, const gf_map *map, const char *path, char **recipe_json,
                         char **state_json, gf_err *e) {
    char *recipe = NULL, *state = NULL;
    gf_h5 h = gf_h5_open_bytes(map->data, map->size, path, e);
    check_format(&h);
    read_model(&h, m);
    read_params(&h, m);
    read_moments(&h, m);
    if (recipe_json && gf_h5_has(&h, "/", "recipe")) recipe = gf_h5_read_text(&h, "/", "recipe");
    if (state_json && gf_h5_has(&h, "/", "state")) state = gf_h5_read_text(&h, "/", "state");
    if (gf_h5_close(&h)) {
        if (recipe_json) *recipe_json = recipe, recipe = NULL; /* the caller owns them now */
        if (state_json) *state_json = state, state = NULL;
    }
    gf_free(recipe);
    gf_free(state);
    return h.ok;
}

bool gf_store_read(gf_model *m, const char *path, char **recipe_json, char **state_json,
                   gf_err *e) {
    gf_map map = {0};
    bool ok = gf_io_map(&map, path, e) && check_digest(map.data, map.size, path, e) &&
              read_checked(m, &map, path, recipe_json, state_json, e);
    gf_io_unmap(&map);
    return ok;
}

bool gf_store_read_texts(const char *path, char **recipe_json, char **state_json, gf_err *e) {
    gf_map map = {0};
    bool ok = gf_io_map(&map, path, e) && check_digest(map.data, map.size, path, e);
    if (ok) {
        gf_h5 h = gf_h5_open_bytes(map.data, map.size, path, e);
        *recipe_json = gf_h5_read_text(&h, "/", "recipe");
        *state_json = gf_h5_read_text(&h, "/", "state");
        ok = gf_h5_close(&h);
    }
    gf_io_unmap(&map);
    return ok;
}

bool gf_store_is_whole(const char *path, gf_err *e) {
    gf_map map = {0};
    bool ok = gf_io_map(&map, path, e) && check_digest(map.data, map.size, path, e);
    gf_io_unmap(&map);
    return ok;
}

int64_t gf_store_size(const gf_model *m) {
    int64_t bytes = 4 << 20; /* tokenizer, recipe, the file's own */
    for (int64_t i = 0; i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        int64_t arrays = 1;
        for (int k = 0; k < N_KEPT; k++) arrays += *kept_of(p, k) != NULL;
        bytes += gf_param_count(p) * (int64_t)sizeof(float) * arrays + 4096;
    }
    return bytes;
}

bool gf_store_is_checkpoint(const char *path) {
    unsigned char bytes[sizeof begin];
    gf_file *f = gf_io_is_file(path) ? gf_io_open(path, NULL) : NULL;
    int64_t n = f ? gf_io_read(f, bytes, sizeof bytes, NULL) : -1;
    gf_io_close(f, NULL);
    return n > 0 && begins(bytes, (size_t)n);
}

/* ---- where a damaged file is damaged ---- */

typedef struct place {
    const char *path;
    const gf_map *map;
} place;

/* The first tensor of a group that cannot be read or has another digest; false with its name. */
static bool check_tensors(gf_h5 *h, const gf_model *m, gf_err *e) {
    for (int64_t i = 0; i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        char group[256];
        bool ok = gf_h5_has_digest(h, "/params", p->name, &p->shape, p->value);
        moments_of(p, group);
        for (int k = 0; ok && k < N_KEPT; k++)
            if (*kept_of(p, k))
                ok = gf_h5_has_digest(h, group, kept[k].name, &p->shape, *kept_of(p, k));
        if (!ok) return gf_fail(e, GF_E_VERIFY, "the damage is in %s", p->name);
    }
    return gf_fail(e, GF_E_VERIFY, "every tensor is as it was written; the damage is elsewhere");
}

/* In a process of its own: libhdf5 can crash on what it finds. */
static bool find_damage(void *context, gf_err *e) {
    const place *at = context;
    gf_err found = {0};
    gf_model m = {0};
    if (!read_checked(&m, at->map, at->path, NULL, NULL, &found))
        return gf_fail(e, GF_E_VERIFY, "the damage keeps it from being read: %s", found.text);
    gf_h5 h = gf_h5_open_bytes(at->map->data, at->map->size, at->path, &found);
    check_tensors(&h, &m, e);
    return false;
}

bool gf_store_verify(const char *path, gf_err *e) {
    gf_map map = {0};
    gf_err digest = {0}, damage = {0};
    gf_child child = {0};
    place at = {path, &map};
    bool ok = gf_io_map(&map, path, e);
    if (ok && !check_digest(map.data, map.size, path, &digest)) {
        ok = digest.code == GF_E_VERIFY && gf_child_start(&child, find_damage, &at, &damage) &&
             gf_child_wait(&child, "libhdf5 cannot read it", &damage);
        gf_fail(e, digest.code, damage.text[0] ? "%s (%s)" : "%s", digest.text, damage.text);
    }
    gf_io_unmap(&map);
    return ok;
}
