#include "checkpoints/onnx_graph.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(gf_real) == sizeof(float), "initializers are the parameters' own bytes");

void *gf_onnx_keep(gf_onnx_graph *g, int64_t count, size_t size) {
    void *p = NULL;
    g->ok = g->ok && gf_grow(&g->owned, g->n_owned, &g->owned_capacity, sizeof *g->owned, g->e) &&
            (p = gf_alloc_array(count, size, g->e));
    if (g->ok) g->owned[g->n_owned++] = p;
    return g->ok ? p : NULL;
}

static char *keep_text(gf_onnx_graph *g, const char *text) {
    char *copy = gf_onnx_keep(g, (int64_t)strlen(text) + 1, 1);
    return copy ? memcpy(copy, text, strlen(text) + 1) : NULL;
}

/* Makes room for one element more in one of the message's lists. */
static bool grow(gf_onnx_graph *g, void *items, size_t count, int64_t *capacity) {
    if (g->message.base.descriptor == NULL) graft_onnx__graph__init(&g->message);
    g->ok = g->ok && gf_grow(items, (int64_t)count, capacity, sizeof(void *), g->e);
    return g->ok;
}

static GraftOnnx__Dimension *make_dimension(gf_onnx_graph *g, const char *param, int64_t value) {
    GraftOnnx__Dimension *d = gf_onnx_keep(g, 1, sizeof *d);
    if (!d) return NULL;
    graft_onnx__dimension__init(d);
    d->has_dim_value = param == NULL;
    d->dim_value = value;
    d->dim_param = param ? keep_text(g, param) : NULL;
    return d;
}

static GraftOnnx__Shape *make_shape(gf_onnx_graph *g, bool sequence, int64_t width) {
    GraftOnnx__Shape *s = gf_onnx_keep(g, 1, sizeof *s);
    GraftOnnx__Dimension **dim = s ? gf_onnx_keep(g, 3, sizeof(void *)) : NULL;
    if (!dim) return NULL;
    graft_onnx__shape__init(s);
    s->dim = dim;
    dim[s->n_dim++] = make_dimension(g, "batch", 0);
    if (sequence) dim[s->n_dim++] = make_dimension(g, "sequence", 0);
    if (width) dim[s->n_dim++] = make_dimension(g, NULL, width);
    return s;
}

static GraftOnnx__ValueInfo *make_value(gf_onnx_graph *g, const char *name,
                                        GraftOnnx__DataType type, bool sequence, int64_t width) {
    GraftOnnx__ValueInfo *v = gf_onnx_keep(g, 1, sizeof *v);
    GraftOnnx__Type *t = gf_onnx_keep(g, 1, sizeof *t);
    GraftOnnx__TensorType *tensor = gf_onnx_keep(g, 1, sizeof *tensor);
    if (!g->ok) return NULL;
    graft_onnx__value_info__init(v);
    graft_onnx__type__init(t);
    graft_onnx__tensor_type__init(tensor);
    v->name = keep_text(g, name);
    v->type = t;
    t->tensor_type = tensor;
    tensor->has_elem_type = true;
    tensor->elem_type = type;
    tensor->shape = make_shape(g, sequence, width);
    return v;
}

const char *gf_onnx_input(gf_onnx_graph *g, const char *name, GraftOnnx__DataType type,
                          bool sequence, int64_t width) {
    GraftOnnx__ValueInfo *v = make_value(g, name, type, sequence, width);
    if (!grow(g, &g->message.input, g->message.n_input, &g->input_capacity)) return "";
    g->message.input[g->message.n_input++] = v;
    return v->name;
}

void gf_onnx_output(gf_onnx_graph *g, const char *name, bool sequence, int64_t width) {
    GraftOnnx__ValueInfo *v = make_value(g, name, GRAFT_ONNX__DATA_TYPE__FLOAT, sequence, width);
    if (grow(g, &g->message.output, g->message.n_output, &g->output_capacity))
        g->message.output[g->message.n_output++] = v;
}

static const char *find_initializer(const gf_onnx_graph *g, const char *name) {
    for (size_t i = 0; g->ok && i < g->message.n_initializer; i++)
        if (strcmp(g->message.initializer[i]->name, name) == 0)
            return g->message.initializer[i]->name;
    return NULL;
}

/* `data` are not copied. */
static const char *add_initializer(gf_onnx_graph *g, const char *name, GraftOnnx__DataType type,
                                   const int64_t *dims, int n_dims, const void *data,
                                   size_t bytes) {
    GraftOnnx__Tensor *t = gf_onnx_keep(g, 1, sizeof *t);
    int64_t *copy = gf_onnx_keep(g, n_dims, sizeof *copy);
    if (!grow(g, &g->message.initializer, g->message.n_initializer, &g->initializer_capacity))
        return "";
    graft_onnx__tensor__init(t);
    if (!(t->name = keep_text(g, name))) return "";
    t->dims = copy;
    for (t->n_dims = 0; t->n_dims < (size_t)n_dims; t->n_dims++) copy[t->n_dims] = dims[t->n_dims];
    t->has_data_type = true;
    t->data_type = type;
    t->has_raw_data = true;
    t->raw_data.len = bytes;
    t->raw_data.data = (uint8_t *)(uintptr_t)data; /* protobuf-c has no const; it only reads */
    g->message.initializer[g->message.n_initializer++] = t;
    return t->name;
}

const char *gf_onnx_param(gf_onnx_graph *g, const gf_param *p) {
    const char *known = find_initializer(g, p->name);
    if (g->ok && !p->value)
        g->ok =
            gf_fail(g->e, GF_E_INTERNAL, "parameter \"%s\" has no value to be written", p->name);
    return known ? known
                 : add_initializer(g, p->name, GRAFT_ONNX__DATA_TYPE__FLOAT, p->shape.dim,
                                   p->shape.n, p->value, (size_t)gf_param_count(p) * sizeof(float));
}

const char *gf_onnx_int64s(gf_onnx_graph *g, const char *name, const int64_t *values, int64_t n) {
    const char *known = find_initializer(g, name);
    int64_t *copy = known ? NULL : gf_onnx_keep(g, n, sizeof *copy);
    if (known) return known;
    if (copy) memcpy(copy, values, (size_t)n * sizeof *copy);
    return add_initializer(g, name, GRAFT_ONNX__DATA_TYPE__INT64, &n, 1, copy,
                           (size_t)n * sizeof *copy);
}

const char *gf_onnx_scalar(gf_onnx_graph *g, const char *name, double value) {
    const char *known = find_initializer(g, name);
    float *copy = known ? NULL : gf_onnx_keep(g, 1, sizeof *copy);
    if (known) return known;
    if (copy) *copy = (float)value;
    return add_initializer(g, name, GRAFT_ONNX__DATA_TYPE__FLOAT, NULL, 0, copy, sizeof *copy);
}

const char *gf_onnx_node(gf_onnx_graph *g, const char *op, const char *where, const char *a,
                         const char *b, const char *c) {
    GraftOnnx__Node *n = gf_onnx_keep(g, 1, sizeof *n);
    char **input = gf_onnx_keep(g, 3, sizeof *input), **output = gf_onnx_keep(g, 1, sizeof *output);
    const char *const inputs[3] = {a, b, c};
    char name[320];
    snprintf(name, sizeof name, "%s/%s_%zu", where, op, g->message.n_node);
    if (!grow(g, &g->message.node, g->message.n_node, &g->node_capacity)) return "";
    graft_onnx__node__init(n);
    n->op_type = keep_text(g, op);
    n->name = keep_text(g, name);
    n->input = input;
    while (n->n_input < 3 && inputs[n->n_input]) {
        input[n->n_input] = keep_text(g, inputs[n->n_input]);
        n->n_input++;
    }
    n->output = output;
    n->n_output = 1;
    output[0] = n->name;
    if (!g->ok) return "";
    g->message.node[g->message.n_node++] = n;
    return n->name;
}

static GraftOnnx__Node *last_node(const gf_onnx_graph *g) {
    return g->message.node[g->message.n_node - 1];
}

static GraftOnnx__Attribute *add_attribute(gf_onnx_graph *g, const char *name,
                                           GraftOnnx__Attribute__Kind kind) {
    enum { MOST = 2 };
    GraftOnnx__Attribute *a = gf_onnx_keep(g, 1, sizeof *a);
    GraftOnnx__Node *n = a ? last_node(g) : NULL;
    char *copy = keep_text(g, name);
    if (copy && !n->attribute) n->attribute = gf_onnx_keep(g, MOST, sizeof(void *));
    if (!g->ok) return NULL;
    graft_onnx__attribute__init(a);
    a->name = copy;
    a->has_type = true;
    a->type = kind;
    n->attribute[n->n_attribute++] = a;
    return a;
}

void gf_onnx_set_int(gf_onnx_graph *g, const char *name, int64_t value) {
    GraftOnnx__Attribute *a = add_attribute(g, name, GRAFT_ONNX__ATTRIBUTE__KIND__INT);
    if (!a) return;
    a->has_i = true;
    a->i = value;
}

void gf_onnx_set_float(gf_onnx_graph *g, const char *name, double value) {
    GraftOnnx__Attribute *a = add_attribute(g, name, GRAFT_ONNX__ATTRIBUTE__KIND__FLOAT);
    if (!a) return;
    a->has_f = true;
    a->f = (float)value;
}

void gf_onnx_set_ints(gf_onnx_graph *g, const char *name, const int64_t *values, int64_t n) {
    GraftOnnx__Attribute *a = add_attribute(g, name, GRAFT_ONNX__ATTRIBUTE__KIND__INTS);
    int64_t *copy = gf_onnx_keep(g, n, sizeof *copy);
    if (!copy) return;
    memcpy(copy, values, (size_t)n * sizeof *copy);
    a->ints = copy;
    a->n_ints = (size_t)n;
}

const char *gf_onnx_rename(gf_onnx_graph *g, const char *name) {
    char *copy = keep_text(g, name);
    if (!copy) return "";
    last_node(g)->output[0] = copy;
    return copy;
}

void gf_onnx_graph_free(gf_onnx_graph *g) {
    for (int64_t i = 0; i < g->n_owned; i++) gf_free(g->owned[i]);
    gf_free(g->owned);
    gf_free(g->message.node);
    gf_free(g->message.initializer);
    gf_free(g->message.input);
    gf_free(g->message.output);
    *g = (gf_onnx_graph){0};
}
