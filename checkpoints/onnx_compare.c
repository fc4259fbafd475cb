#include "checkpoints/onnx.h"

#include "checkpoints/onnx_read.h"
#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value of the graph and the node that makes it, -1 for inputs and initializers. */
typedef struct made {
    const char *name;
    int64_t node;
} made;

typedef struct made_list {
    made *items; /* [count] by name */
    int64_t count, capacity;
} made_list;

static bool add(made_list *v, const char *name, int64_t node, gf_err *e) {
    if (!gf_grow(&v->items, v->count, &v->capacity, sizeof *v->items, e)) return false;
    v->items[v->count++] = (made){name ? name : "", node};
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const made *)a)->name, ((const made *)b)->name);
}

static bool collect(made_list *v, const GraftOnnx__Graph *g, gf_err *e) {
    bool ok = true;
    for (size_t i = 0; ok && i < g->n_input; i++) ok = add(v, g->input[i]->name, -1, e);
    for (size_t i = 0; ok && i < g->n_initializer; i++) ok = add(v, g->initializer[i]->name, -1, e);
    for (size_t i = 0; ok && i < g->n_node; i++)
        for (size_t k = 0; ok && k < g->node[i]->n_output; k++)
            ok = add(v, g->node[i]->output[k], (int64_t)i, e);
    if (ok && v->count) qsort(v->items, (size_t)v->count, sizeof *v->items, by_name);
    for (int64_t i = 1; ok && i < v->count; i++)
        if (by_name(&v->items[i - 1], &v->items[i]) == 0)
            ok = gf_fail(e, GF_E_VERIFY, "value \"%s\" is made twice", v->items[i].name);
    return ok;
}

static const made *find(const made_list *v, const char *name) {
    made key = {name, 0};
    return v->count ? bsearch(&key, v->items, (size_t)v->count, sizeof key, by_name) : NULL;
}

static bool check_nodes(const made_list *v, const GraftOnnx__Graph *g, gf_err *e) {
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_input; k++) {
            const made *x = find(v, g->node[i]->input[k]);
            if (!x || x->node >= (int64_t)i)
                return gf_fail(e, GF_E_VERIFY,
                               "node \"%s\" uses \"%s\", which nothing before it makes",
                               g->node[i]->name ? g->node[i]->name : "", g->node[i]->input[k]);
        }
    return true;
}

static bool check_outputs(const made_list *v, const GraftOnnx__Graph *g, gf_err *e) {
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = g->output[i]->name ? g->output[i]->name : "";
        const made *x = find(v, name);
        if (!x || x->node < 0)
            return gf_fail(e, GF_E_VERIFY, "no node makes the output \"%s\"", name);
    }
    return true;
}

static bool has_output(const GraftOnnx__Graph *g, const char *name) {
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name && strcmp(g->output[i]->name, name) == 0) return true;
    return false;
}

static bool want_output(const GraftOnnx__Graph *g, const char *name, gf_err *e) {
    return has_output(g, name) || gf_fail(e, GF_E_VERIFY, "it has no output \"%s\"", name);
}

/* An encoder-only graph has one output. */
static bool want_outputs(const gf_model *m, const GraftOnnx__Graph *g, gf_err *e) {
    char name[192];
    bool ok = want_output(g, "last_hidden_state", e);
    if (!ok || g->n_output == 1) return ok;
    ok = want_output(g, "sentence_embedding", e);
    for (int64_t i = 0; ok && i < m->n_heads; i++) {
        snprintf(name, sizeof name, "logits_%s", m->heads[i].name);
        ok = want_output(g, name, e);
    }
    return ok;
}

static bool check_graph(const gf_model *m, const GraftOnnx__Graph *g, gf_err *e) {
    made_list v = {0};
    bool ok = collect(&v, g, e) && check_nodes(&v, g, e) && check_outputs(&v, g, e) &&
              want_outputs(m, g, e);
    gf_free(v.items);
    return ok;
}

static bool is_encoder(const gf_param *p) {
    return strncmp(p->name, "embeddings.", 11) == 0 || strncmp(p->name, "encoder.", 8) == 0;
}

static bool same_shape(const gf_tensor *x, const gf_shape *s) {
    bool same = x->n_dims == s->n;
    for (int i = 0; same && i < s->n; i++) same = x->dim[i] == s->dim[i];
    return same;
}

/* The parameter's initializer as a tensor. */
static bool find_param(gf_tensor *x, const GraftOnnx__Graph *g, const gf_param *p, gf_err *e) {
    char found[128], wanted[128];
    size_t i = 0;
    while (i < g->n_initializer &&
           (!g->initializer[i]->name || strcmp(g->initializer[i]->name, p->name) != 0))
        i++;
    if (i == g->n_initializer || g->initializer[i]->data_type != GRAFT_ONNX__DATA_TYPE__FLOAT)
        return gf_fail(e, GF_E_VERIFY, "parameter \"%s\" is not in it as FLOAT", p->name);
    if (!gf_onnx_tensor(x, g->initializer[i], "initializer", e)) return false;
    if (!same_shape(x, &p->shape) || x->bytes / sizeof(float) != (size_t)x->count)
        return gf_fail(e, GF_E_VERIFY, "parameter \"%s\" has the shape %s and %zu bytes, not %s",
                       p->name, gf_tensor_shape_text(x, found, sizeof found), x->bytes,
                       gf_shape_text(&p->shape, wanted, sizeof wanted));
    return true;
}

static double difference(double a, double b) {
    double d = fabs(a - b);
    if (!isnan(d)) return d;
    return a == b || (isnan(a) && isnan(b)) ? 0 : (double)INFINITY;
}

static bool compare_param(const GraftOnnx__Graph *g, const gf_param *p, double *largest,
                          gf_err *e) {
    gf_tensor x;
    gf_real *values = NULL;
    bool ok = find_param(&x, g, p, e) && (values = gf_alloc_array(x.count, sizeof *values, e)) &&
              gf_tensor_to_real(&x, values, "initializer", e);
    for (int64_t i = 0; ok && i < x.count; i++)
        *largest = fmax(*largest, difference((double)values[i], (double)p->value[i]));
    gf_free(values);
    return ok;
}

static bool compare_all(const gf_model *m, const GraftOnnx__Graph *g, double *largest, gf_err *e) {
    bool ok = check_graph(m, g, e);
    for (int64_t i = 0; ok && i < m->params.count; i++)
        if (g->n_output > 1 || is_encoder(m->params.items[i]))
            ok = compare_param(g, m->params.items[i], largest, e);
    return ok;
}

bool gf_onnx_compare(const gf_model *m, const char *path, double *largest, gf_err *e) {
    const GraftOnnx__Model *message = NULL;
    gf_tensors memory = {0}; /* the message's */
    gf_map map = {0};
    gf_err why = {0};
    bool ok = gf_io_map(&map, path, e) &&
              (message = gf_onnx_unpack(&memory, map.data, map.size, path, e));
    *largest = 0;
    if (ok && !(ok = compare_all(m, message->graph, largest, &why)))
        gf_fail(e, why.code, "%s: %s", path, why.text);
    gf_tensors_close(&memory);
    gf_io_unmap(&map);
    return ok;
}
