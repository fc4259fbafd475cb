#include "checkpoints/weights.h"

#include "checkpoints/safetensors.h"
#include "checkpoints/tensors.h"
#include "core/mem.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>

/* A file at hand, and which of its tensors were used. */
typedef struct source {
    const char *path;
    gf_tensors tensors;
    char prefix[96]; /* before every encoder parameter's name: "", "bert.", "0.auto_model.", ... */
    bool *used;      /* [tensors.count] */
    bool mapped;     /* some parameter points into the file */
    bool classifier; /* the model takes the classifier, too */
} source;

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

static const gf_tensor *find(const source *s, const char *name) {
    char text[320];
    for (int old = 0; old < 2; old++) {
        const gf_tensor *t = spell(text, sizeof text, s->prefix, name, old)
                                 ? gf_tensors_find(&s->tensors, text)
                                 : NULL;
        if (t) return t;
    }
    return NULL;
}

/* What stands before the word embeddings' name stands before all: models wrap each other. */
static bool find_prefix(source *s, gf_err *e) {
    static const char words[] = "embeddings.word_embeddings.weight";
    const char *found = NULL;
    for (int64_t i = 0; i < s->tensors.count; i++) {
        const char *name = s->tensors.items[i].name;
        size_t n = strlen(name) - (gf_text_ends_with(name, words) ? strlen(words) : strlen(name));
        if (!gf_text_ends_with(name, words) || (n && name[n - 1] != '.')) continue;
        if (found)
            return gf_fail(e, GF_E_MODEL,
                           "%s: it holds two encoders, \"%s\" and \"%s\"; save the one that is "
                           "wanted alone",
                           s->path, found, name);
        if (n >= sizeof s->prefix)
            return gf_fail(e, GF_E_MODEL, "%s: tensor \"%s\": the name is too long", s->path, name);
        memcpy(s->prefix, name, n);
        found = name;
    }
    return true;
}

/* Whether a parameter may point at the data: they lie in one of the mapped files. */
static bool can_stay(const gf_tensors *s, const gf_tensor *t) {
    bool mapped = false;
    for (int64_t i = 0; !mapped && i < s->n_maps; i++)
        mapped = t->data >= s->maps[i].data && t->data < s->maps[i].data + s->maps[i].size;
    return mapped && GF_REAL_IS_FLOAT && t->dtype == GF_DTYPE_F32 &&
           (uintptr_t)t->data % sizeof(float) == 0;
}

/* Fills a parameter from the tensor of this name. */
static bool take(source *s, gf_param *p, const char *name, gf_err *e) {
    const gf_tensor *t = find(s, name);
    char wanted[128], found[128];
    gf_shape shape;
    gf_shape_text(&p->shape, wanted, sizeof wanted);
    if (!t)
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" of shape %s is missing; does the file belong to this "
                       "config.json?",
                       s->path, name, wanted);
    if (!gf_tensor_shape(t, &shape, s->path, e)) return false;
    if (!gf_shape_equal(&shape, &p->shape))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" has the shape %s, %s is wanted; does the file belong to "
                       "this config.json?",
                       s->path, t->name, gf_shape_text(&shape, found, sizeof found), wanted);
    s->used[t - s->tensors.items] = true;
    if (can_stay(&s->tensors, t)) {
        gf_param_borrow(p, (const gf_real *)(const void *)t->data);
        return s->mapped = true;
    }
    return gf_param_own(p, e) && gf_tensor_to_real(t, p->owned, s->path, e);
}

typedef enum unused { SILENT, NOTED, UNKNOWN } unused;

/* What of a BERT file a sentence encoder does without: every file has the first two, and nobody
 * needs to hear of them; heads of other kinds are worth a note. */
static unused kind_of_unused(const source *s, const char *name) {
    static const char *const parts[] = {"embeddings.position_ids", "pooler.", "cls.",
                                        "classifier."};
    size_t n = strlen(s->prefix);
    if (strncmp(name, "heads.", 6) == 0) return SILENT; /* who wants heads reads them himself */
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (strncmp(name, parts[k], strlen(parts[k])) == 0 || /* cls.* stands outside bert.* */
            (strncmp(name, s->prefix, n) == 0 &&
             strncmp(name + n, parts[k], strlen(parts[k])) == 0))
            return k < 2 || (k == 3 && s->classifier) ? SILENT : NOTED;
    return UNKNOWN;
}

/* One line that lists the unused tensors of one kind; long lists end in a count. */
static bool say_unused(const source *s, unused kind, const gf_log *log, gf_err *e) {
    gf_text names = {0};
    int64_t n = 0, shown = 4;
    bool ok = true;
    for (int64_t i = 0; ok && i < s->tensors.count; i++) {
        const char *name = s->tensors.items[i].name;
        if (s->used[i] || kind_of_unused(s, name) != kind) continue;
        if (n++ < shown) ok = gf_text_add(&names, e, "%s%s", n > 1 ? ", " : "", name);
    }
    if (ok && n > shown) ok = gf_text_add(&names, e, " and %lld more", (long long)(n - shown));
    if (ok && n > 0)
        gf_log_say(log, kind == NOTED ? GF_LOG_NOTE : GF_LOG_WARNING, "%s: %s: %s", s->path,
                   kind == NOTED ? "unused" : "unknown tensors are ignored", names.data);
    gf_text_free(&names);
    return ok;
}

static bool open_source(source *s, const char *path, gf_err *e) {
    *s = (source){.path = path};
    return gf_tensors_open(&s->tensors, path, e) &&
           (s->used = gf_alloc_array(s->tensors.count, sizeof *s->used, e));
}

/* Leaves the maps to the model where its parameters point into them. */
static bool close_source(source *s, gf_model *m, bool ok, gf_err *e) {
    for (int64_t i = 0; ok && s->mapped && i < s->tensors.n_maps; i++)
        ok = gf_model_keep_map(m, &s->tensors.maps[i], e);
    gf_free(s->used);
    gf_tensors_close(&s->tensors);
    return ok;
}

static bool read_params(gf_model *m, bool heads, const char *path, const gf_log *log, gf_err *e) {
    source s;
    bool ok = open_source(&s, path, e) && (heads || find_prefix(&s, e));
    s.classifier = !heads && m->n_heads > 0;
    for (int64_t i = 0; ok && i < m->params.count; i++) {
        gf_param *p = m->params.items[i];
        if (gf_weights_is_head(p) == heads && !gf_model_is_dense(m, p) && !gf_model_is_mlm(m, p))
            ok = take(&s, p, p->name, e);
    }
    ok = ok && say_unused(&s, NOTED, log, e) && say_unused(&s, UNKNOWN, log, e);
    return close_source(&s, m, ok, e);
}

bool gf_weights_read_encoder(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    return read_params(m, false, path, log, e);
}

bool gf_weights_read_heads(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    return read_params(m, true, path, log, e);
}

bool gf_weights_read_all(gf_model *m, const char *path, gf_err *e) {
    source s;
    bool ok = open_source(&s, path, e);
    for (int64_t i = 0; ok && i < m->params.count; i++)
        ok = take(&s, m->params.items[i], m->params.items[i]->name, e);
    return close_source(&s, m, ok, e);
}

/* True when the file has a tensor PREFIX NAME, or NAME; then that is how it is found. */
static bool settle_prefix(source *s, const char *name) {
    if (find(s, name)) return true;
    s->prefix[0] = 0;
    return find(s, name) != NULL;
}

bool gf_weights_read_linear(gf_model *m, const gf_linear *l, const char *name, const char *path,
                            gf_err *e) {
    char *weight = gf_format(e, "%s.weight", name);
    char *bias = weight ? gf_format(e, "%s.bias", name) : NULL;
    source s = {0};
    bool ok = bias && open_source(&s, path, e) && find_prefix(&s, e);
    if (ok) settle_prefix(&s, weight);
    ok = ok && take(&s, l->weight, weight, e) && (!l->bias || take(&s, l->bias, bias, e));
    ok = close_source(&s, m, ok, e);
    gf_free(bias);
    gf_free(weight);
    return ok;
}

/* ---- the masked language model ---- */

static const char *const mlm_names[] = {
    "cls.predictions.transform.dense.weight", "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.bias"};
enum { MLM_NAMES = sizeof mlm_names / sizeof *mlm_names };

static bool has_mlm(const source *s) {
    for (int i = 0; i < MLM_NAMES; i++)
        if (find(s, mlm_names[i])) return true;
    return false;
}

/* From the encoder's prefix "outer.bert." to that of cls.*: the same, "outer.", or nothing. */
static void find_mlm_prefix(source *s) {
    size_t n = strlen(s->prefix);
    if (has_mlm(s)) return;
    if (n > 0) n--;
    while (n > 0 && s->prefix[n - 1] != '.') n--;
    s->prefix[n] = 0;
    if (!has_mlm(s)) s->prefix[0] = 0;
}

/* Files written from untied models: only the word embeddings are used, and that should be heard. */
static bool check_decoder(const source *s, const gf_model *m, const gf_log *log, gf_err *e) {
    const gf_tensor *t = find(s, "cls.predictions.decoder.weight");
    gf_real *values = NULL;
    gf_shape shape;
    bool ok = true, same = false;
    if (!t || !m->words->value) return true;
    if (gf_tensor_shape(t, &shape, s->path, NULL) && gf_shape_equal(&shape, &m->words->shape)) {
        ok = (values = gf_alloc_array(t->count, sizeof *values, e)) &&
             gf_tensor_to_real(t, values, s->path, e);
        same = ok && memcmp(values, m->words->value, (size_t)t->count * sizeof *values) == 0;
    }
    if (ok && !same)
        gf_log_say(log, GF_LOG_WARNING,
                   "%s: \"%s\" is another matrix than the word embeddings, which are used in its "
                   "place",
                   s->path, t->name);
    gf_free(values);
    return ok;
}

static bool take_mlm(source *s, gf_model *m, const gf_log *log, gf_err *e) {
    gf_text missing = {0};
    bool ok = true;
    for (int i = 0; ok && i < MLM_NAMES; i++) {
        gf_param *p = gf_params_find(&m->params, mlm_names[i]);
        const char *name = mlm_names[i];
        if (i == MLM_NAMES - 1 && !find(s, name)) name = "cls.predictions.decoder.bias"; /* alias */
        ok = find(s, name) ? take(s, p, name, e)
                           : gf_text_add(&missing, e, "%s%s", missing.length ? ", " : "", p->name);
    }
    if (ok && missing.length > 0)
        gf_log_say(log, GF_LOG_NOTE, "%s: it lacks %s; they start from the seed", s->path,
                   missing.data);
    gf_text_free(&missing);
    return ok;
}

bool gf_weights_read_mlm(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    source s;
    bool ok = open_source(&s, path, e) && find_prefix(&s, e);
    if (ok) find_mlm_prefix(&s);
    ok = ok && take_mlm(&s, m, log, e) && check_decoder(&s, m, log, e);
    return close_source(&s, m, ok, e);
}

bool gf_weights_rows(const char *path, const char *name, int64_t *rows, gf_err *e) {
    source s;
    bool ok = open_source(&s, path, e) && find_prefix(&s, e);
    const gf_tensor *t = ok && settle_prefix(&s, name) ? find(&s, name) : NULL;
    *rows = t && t->n_dims > 0 ? t->dim[0] : 0;
    gf_free(s.used);
    gf_tensors_close(&s.tensors);
    return ok;
}

bool gf_weights_write(const gf_model *m, bool heads, gf_dtype dtype, const char *path, gf_err *e) {
    gf_named_tensor *items = gf_alloc_array(m->params.count, sizeof *items, e);
    int64_t n = 0;
    bool ok = items != NULL;
    for (int64_t i = 0; ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        if (gf_weights_is_head(p) != heads || gf_model_is_mlm(m, p)) continue;
        if (gf_model_is_dense(m, p) && m->pooling != GF_POOL_POOLER) continue;
        items[n++] = (gf_named_tensor){p->name, p->shape, p->value};
        if (!p->value)
            ok = gf_fail(e, GF_E_INTERNAL, "%s: parameter \"%s\" has no value to be written", path,
                         p->name);
    }
    ok = ok && gf_safetensors_write_as(path, items, n, dtype, NULL, e);
    gf_free(items);
    return ok;
}

bool gf_weights_write_linear(const gf_linear *l, const char *name, const char *path, gf_err *e) {
    const gf_param *params[] = {l->weight, l->bias};
    static const char *const parts[] = {"weight", "bias"};
    gf_named_tensor items[2];
    char names[2][128];
    int n = 0;
    for (int i = 0; i < 2; i++) {
        if (!params[i]) continue;
        if (!params[i]->value)
            return gf_fail(e, GF_E_INTERNAL, "%s: parameter \"%s\" has no value to be written",
                           path, params[i]->name);
        snprintf(names[n], sizeof names[n], "%s.%s", name, parts[i]);
        items[n] = (gf_named_tensor){names[n], params[i]->shape, params[i]->value};
        n++;
    }
    return gf_safetensors_write(path, items, n, e);
}
