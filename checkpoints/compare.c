#include "checkpoints/compare.h"

#include "checkpoints/open.h"
#include "checkpoints/store.h"
#include "checkpoints/tensors.h"
#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One side: values by name, from a model or from a file of tensors. */
typedef struct item {
    char name[224];
    gf_shape shape;
    const gf_real *values;
} item;

typedef struct side {
    const char *name;
    gf_model model;
    bool is_model;
    gf_tensors tensors;
    gf_real **converted; /* [n_converted] values of the tensors */
    int64_t n_converted;
    item *items;
    int64_t count, capacity;
} side;

static bool add_item(side *s, const char *name, const char *part, const gf_shape *shape,
                     const gf_real *values, gf_err *e) {
    item *x;
    if (!values) return true;
    if (!gf_grow(&s->items, s->count, &s->capacity, sizeof *s->items, e)) return false;
    x = &s->items[s->count++];
    snprintf(x->name, sizeof x->name, "%s%s", name, part);
    x->shape = *shape;
    x->values = values;
    return true;
}

static bool list_model(side *s, const gf_model *m, bool moments, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        ok = add_item(s, p->name, "", &p->shape, p->value, e) &&
             (!moments || (add_item(s, p->name, " m", &p->shape, p->moment1, e) &&
                           add_item(s, p->name, " v", &p->shape, p->moment2, e) &&
                           add_item(s, p->name, " average", &p->shape, p->average, e) &&
                           add_item(s, p->name, " anchor", &p->shape, p->anchor, e)));
    }
    return ok;
}

/* Tensors of whole numbers and other kinds are left out. */
static bool list_tensors(side *s, const char *path, gf_err *e) {
    const gf_tensors *t = &s->tensors;
    if (!(s->converted = gf_alloc_array(t->count, sizeof *s->converted, e))) return false;
    for (int64_t i = 0; i < t->count; i++) {
        gf_shape shape;
        gf_real *values;
        if (!gf_tensor_shape(&t->items[i], &shape, path, NULL)) continue;
        if (!(values = gf_alloc_array(t->items[i].count, sizeof *values, e))) return false;
        s->converted[s->n_converted++] = values;
        if (gf_tensor_to_real(&t->items[i], values, path, NULL) &&
            !add_item(s, t->items[i].name, "", &shape, values, e))
            return false;
    }
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const item *)a)->name, ((const item *)b)->name);
}

static bool open_side(side *s, const char *path, bool moments, const gf_log *log, gf_err *e) {
    bool ok;
    s->name = path;
    s->is_model = gf_place_find(path) != GF_PLACE_TENSORS;
    if (s->is_model)
        ok = (moments ? gf_store_read(&s->model, path, NULL, NULL, e)
                      : gf_model_open(&s->model, path, log, e)) &&
             list_model(s, &s->model, moments, e);
    else
        ok = gf_tensors_open(&s->tensors, path, e) && list_tensors(s, path, e);
    if (ok && s->count) qsort(s->items, (size_t)s->count, sizeof *s->items, by_name);
    return ok;
}

static void close_side(side *s) {
    for (int64_t i = 0; i < s->n_converted; i++) gf_free(s->converted[i]);
    gf_free(s->converted);
    gf_free(s->items);
    gf_tensors_close(&s->tensors);
    if (s->is_model) gf_model_free(&s->model);
}

/* Floats as whole numbers in their order: neighbours differ by 1, and -0 is next to +0. */
static int64_t ordered(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & 0x7fffffff) - 1 : bits;
}

static int64_t distance(float a, float b) {
    if (memcmp(&a, &b, sizeof a) == 0) return 0;
    if (isnan(a) || isnan(b)) return INT64_MAX;
    return llabs(ordered(a) - ordered(b));
}

static bool note_only(gf_comparison *c, const item *x, const side *s, gf_err *e) {
    char shape[96];
    c->different++;
    return gf_text_add(&c->text, e, "%-58s %-14s only in %s\n", x->name,
                       gf_shape_text(&x->shape, shape, sizeof shape), s->name);
}

static bool compare_items(gf_comparison *c, const item *a, const item *b, gf_err *e) {
    char left[96], right[96], ulps[32];
    int64_t count = gf_shape_count(&a->shape), differ = 0, most = 0;
    double largest = 0;
    gf_shape_text(&a->shape, left, sizeof left);
    if (!gf_shape_equal(&a->shape, &b->shape)) {
        c->different++;
        return gf_text_add(&c->text, e, "%-58s %s against %s\n", a->name, left,
                           gf_shape_text(&b->shape, right, sizeof right));
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t d = distance((float)a->values[i], (float)b->values[i]);
        if (d == 0) continue;
        differ++;
        largest = fmax(largest, fabs((double)a->values[i] - (double)b->values[i]));
        if (d > most) most = d;
    }
    c->tensors++;
    c->elements += count;
    c->largest = fmax(c->largest, largest);
    if (most > c->ulps) c->ulps = most;
    if (differ == 0) return true;
    c->different++;
    snprintf(ulps, sizeof ulps, "%lld", (long long)most);
    return gf_text_add(&c->text, e, "%-58s %-14s %lld of %lld differ, by %.3g or %s ULPs\n",
                       a->name, left, (long long)differ, (long long)count, largest,
                       most == INT64_MAX ? "NaN" : ulps);
}

static bool compare_sides(gf_comparison *c, const side *a, const side *b, gf_err *e) {
    int64_t i = 0, k = 0;
    bool ok = true;
    while (ok && (i < a->count || k < b->count)) {
        int order = i == a->count   ? 1
                    : k == b->count ? -1
                                    : strcmp(a->items[i].name, b->items[k].name);
        if (order < 0)
            ok = note_only(c, &a->items[i++], a, e);
        else if (order > 0)
            ok = note_only(c, &b->items[k++], b, e);
        else
            ok = compare_items(c, &a->items[i++], &b->items[k++], e);
    }
    return ok;
}

static bool note_setting(gf_comparison *c, const char *what, const char *a, const char *b,
                         gf_err *e) {
    if (strcmp(a, b) == 0) return true;
    c->different++;
    return gf_text_add(&c->text, e, "%-58s %s against %s\n", what, a, b);
}

static bool note_number(gf_comparison *c, const char *what, double a, double b, gf_err *e) {
    char left[32], right[32];
    snprintf(left, sizeof left, "%.9g", a);
    snprintf(right, sizeof right, "%.9g", b);
    return note_setting(c, what, left, right, e);
}

/* Shapes are compared with the tensors; these are what shapes do not say. */
static bool compare_configs(gf_comparison *c, const gf_model *a, const gf_model *b, gf_err *e) {
    const gf_bert_config *x = &a->config, *y = &b->config;
    return note_number(c, "num_attention_heads", (double)x->num_attention_heads,
                       (double)y->num_attention_heads, e) &&
           note_setting(c, "hidden_act", x->gelu_tanh ? "gelu_new" : "gelu",
                        y->gelu_tanh ? "gelu_new" : "gelu", e) &&
           note_number(c, "layer_norm_eps", x->layer_norm_eps, y->layer_norm_eps, e) &&
           note_setting(c, "pooling", gf_pooling_name(a->pooling), gf_pooling_name(b->pooling),
                        e) &&
           note_setting(c, "normalize", a->normalize ? "true" : "false",
                        b->normalize ? "true" : "false", e) &&
           note_number(c, "max_length", (double)a->max_length, (double)b->max_length, e);
}

/* Of two heads with the same classes. */
static bool compare_thresholds(gf_comparison *c, const gf_head *x, const gf_head *y, gf_err *e) {
    char what[448], left[32], right[32];
    bool ok = true;
    for (int64_t k = 0; ok && x->thresholds && y->thresholds && k < x->n_classes; k++) {
        if (x->thresholds[k] == y->thresholds[k]) continue;
        snprintf(what, sizeof what, "%s threshold of %s", x->name, x->classes[k]);
        snprintf(left, sizeof left, "%.9g", (double)x->thresholds[k]);
        snprintf(right, sizeof right, "%.9g", (double)y->thresholds[k]);
        ok = note_setting(c, what, left, right, e);
    }
    return ok;
}

static bool compare_heads(gf_comparison *c, const gf_model *a, const gf_model *b, gf_err *e) {
    for (int64_t i = 0; i < a->n_heads; i++) {
        const gf_head *x = &a->heads[i], *y = gf_model_find_head(b, x->name);
        bool same = y && x->n_classes == y->n_classes;
        for (int64_t k = 0; same && k < x->n_classes; k++)
            same = strcmp(x->classes[k], y->classes[k]) == 0;
        if (y && !same && !note_setting(c, x->name, "its classes", "other classes", e))
            return false;
        if (y &&
            !note_setting(c, x->name, gf_task_type_names[x->type], gf_task_type_names[y->type], e))
            return false;
        if (same && !compare_thresholds(c, x, y, e)) return false;
    }
    return true;
}

/* Texts that make a tokenizer show its kind: case, accents, CJK, punctuation, the unknown. */
static const char *const probes[] = {
    "The cheese was Tasty, isn't it?", "Caf\xc3\xa9 \xc3\x89 na\xc3\xafve",
    "\xe5\xa4\xa9\xe6\xb0\x97 42!", "antidisestablishmentarianism"};

static bool compare_tokens(gf_comparison *c, const gf_model *a, const gf_model *b, gf_err *e) {
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        gf_ids x = {0}, y = {0};
        gf_encoding one;
        size_t n = strlen(probes[i]);
        bool ok = gf_tokenizer_encode(a->tokenizer, probes[i], n, 64, &x, &one, e) &&
                  gf_tokenizer_encode(b->tokenizer, probes[i], n, 64, &y, &one, e);
        bool same =
            ok && x.count == y.count && memcmp(x.id, y.id, (size_t)x.count * sizeof *x.id) == 0;
        gf_free(x.id);
        gf_free(y.id);
        if (!ok) return false;
        if (!same) return note_setting(c, "token ids of a text", "these", "others", e);
    }
    return true;
}

static bool compare_settings(gf_comparison *c, const gf_model *a, const gf_model *b, gf_err *e) {
    return compare_configs(c, a, b, e) && compare_heads(c, a, b, e) && compare_tokens(c, a, b, e);
}

bool gf_compare_paths(const char *a, const char *b, const gf_log *log, gf_comparison *c,
                      gf_err *e) {
    side x = {0}, y = {0};
    bool moments = gf_store_is_checkpoint(a) && gf_store_is_checkpoint(b);
    bool ok = open_side(&x, a, moments, log, e) && open_side(&y, b, moments, log, e) &&
              compare_sides(c, &x, &y, e);
    if (ok && x.is_model && y.is_model) ok = compare_settings(c, &x.model, &y.model, e);
    close_side(&x);
    close_side(&y);
    return ok;
}

bool gf_compare_models(const gf_model *a, const gf_model *b, const char *name_a, const char *name_b,
                       gf_comparison *c, gf_err *e) {
    side x = {.name = name_a}, y = {.name = name_b};
    bool ok = list_model(&x, a, false, e) && list_model(&y, b, false, e);
    if (ok && x.count) qsort(x.items, (size_t)x.count, sizeof *x.items, by_name);
    if (ok && y.count) qsort(y.items, (size_t)y.count, sizeof *y.items, by_name);
    ok = ok && compare_sides(c, &x, &y, e) && compare_settings(c, a, b, e);
    close_side(&x);
    close_side(&y);
    return ok;
}

void gf_comparison_free(gf_comparison *c) {
    gf_text_free(&c->text);
    *c = (gf_comparison){0};
}
