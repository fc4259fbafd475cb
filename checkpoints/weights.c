#include "checkpoints/weights.h"

#include "checkpoints/safetensors.h"
#include "core/mem.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>

/* A file at hand, and which of its tensors were used. */
typedef struct source {
    const char *path;
    gf_safetensors tensors;
    bool *used;  /* [tensors.count] */
    bool mapped; /* some parameter points into the file */
} source;

static const char *const prefixes[] = {"", "bert.", "model."};

bool gf_weights_is_head(const gf_param *p) { return strncmp(p->name, "heads.", 6) == 0; }

/* Writes PREFIX NAME into out, with LayerNorm.weight spelt LayerNorm.gamma if `old`; false when
 * that does not apply or fit. */
static bool spell(char *out, size_t size, const char *prefix, const char *name, bool old) {
    static const char norm[] = "LayerNorm.";
    const char *kind = strstr(name, norm), *tail = kind ? kind + strlen(norm) : NULL;
    int n;
    if (!old)
        n = snprintf(out, size, "%s%s", prefix, name);
    else if (kind)
        n = snprintf(out, size, "%s%.*s%s", prefix, (int)(tail - name), name,
                     strcmp(tail, "weight") == 0 ? "gamma" : "beta");
    else
        return false;
    return n > 0 && (size_t)n < size;
}

static const gf_tensor *find(const gf_safetensors *s, const char *name) {
    char text[256];
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        for (int old = 0; old < 2; old++) {
            const gf_tensor *t = spell(text, sizeof text, prefixes[i], name, old)
                                     ? gf_safetensors_find(s, text)
                                     : NULL;
            if (t) return t;
        }
    return NULL;
}

static bool can_stay(const gf_tensor *t) {
    return GF_REAL_IS_FLOAT && t->dtype == GF_DTYPE_F32 && (uintptr_t)t->data % sizeof(float) == 0;
}

static bool take(source *s, gf_param *p, gf_err *e) {
    const gf_tensor *t = find(&s->tensors, p->name);
    char wanted[128], found[128];
    gf_shape shape;
    gf_shape_text(&p->shape, wanted, sizeof wanted);
    if (!t)
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" of shape %s is missing; does the file belong to this "
                       "config.json?",
                       s->path, p->name, wanted);
    if (!gf_tensor_shape(t, &shape, s->path, e)) return false;
    if (!gf_shape_equal(&shape, &p->shape))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" has the shape %s, %s is wanted; does the file belong to "
                       "this config.json?",
                       s->path, t->name, gf_shape_text(&shape, found, sizeof found), wanted);
    s->used[t - s->tensors.items] = true;
    if (can_stay(t)) {
        gf_free(p->owned);
        p->owned = NULL;
        p->value = (const gf_real *)(const void *)t->data;
        return s->mapped = true;
    }
    return gf_param_own(p, e) && gf_tensor_to_real(t, p->owned, s->path, e);
}

typedef enum unused { SILENT, NOTED, UNKNOWN } unused;

/* What of a BERT file a sentence encoder does without: every file has the first two, and nobody
 * needs to hear of them; heads of other kinds are worth a note. */
static unused kind_of_unused(const char *name) {
    static const char *const parts[] = {"embeddings.position_ids", "pooler.", "cls.",
                                        "classifier."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            size_t n = strlen(prefixes[i]);
            if (strncmp(name, prefixes[i], n) == 0 &&
                strncmp(name + n, parts[k], strlen(parts[k])) == 0)
                return k < 2 ? SILENT : NOTED;
        }
    return UNKNOWN;
}

/* One line that lists the unused tensors of one kind; long lists end in a count. */
static bool say_unused(const source *s, unused kind, const gf_log *log, gf_err *e) {
    gf_text names = {0};
    int64_t n = 0, shown = 4;
    bool ok = true;
    for (int64_t i = 0; ok && i < s->tensors.count; i++) {
        const char *name = s->tensors.items[i].name;
        if (s->used[i] || kind_of_unused(name) != kind) continue;
        if (n++ < shown) ok = gf_text_add(&names, e, "%s%s", n > 1 ? ", " : "", name);
    }
    if (ok && n > shown) ok = gf_text_add(&names, e, " and %lld more", (long long)(n - shown));
    if (ok && n > 0)
        gf_log_say(log, kind == NOTED ? GF_LOG_NOTE : GF_LOG_WARNING, "%s: %s: %s", s->path,
                   kind == NOTED ? "unused" : "unknown tensors are ignored", names.data);
    gf_text_free(&names);
    return ok;
}

static bool read_params(gf_model *m, bool heads, const char *path, const gf_log *log, gf_err *e) {
    source s = {.path = path};
    bool ok = gf_safetensors_open(&s.tensors, path, e) &&
              (s.used = gf_alloc_array(s.tensors.count, sizeof *s.used, e));
    for (int64_t i = 0; ok && i < m->params.count; i++)
        if (gf_weights_is_head(m->params.items[i]) == heads) ok = take(&s, m->params.items[i], e);
    ok = ok && say_unused(&s, NOTED, log, e) && say_unused(&s, UNKNOWN, log, e);
    if (ok && s.mapped) ok = gf_model_keep_map(m, &s.tensors.map, e);
    gf_free(s.used);
    gf_safetensors_close(&s.tensors);
    return ok;
}

bool gf_weights_read_encoder(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    return read_params(m, false, path, log, e);
}

bool gf_weights_read_heads(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    return read_params(m, true, path, log, e);
}

bool gf_weights_write(const gf_model *m, bool heads, const char *path, gf_err *e) {
    gf_named_tensor *items = gf_alloc_array(m->params.count, sizeof *items, e);
    int64_t n = 0;
    bool ok = items != NULL;
    for (int64_t i = 0; ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        if (gf_weights_is_head(p) != heads) continue;
        items[n++] = (gf_named_tensor){p->name, p->shape, p->value};
        if (!p->value)
            ok = gf_fail(e, GF_E_INTERNAL, "%s: parameter \"%s\" has no value to be written", path,
                         p->name);
    }
    ok = ok && gf_safetensors_write(path, items, n, e);
    gf_free(items);
    return ok;
}
