#include "checkpoints/onnx.h"

#include "checkpoints/heads.h"
#include "checkpoints/onnx_graph.h"
#include "core/io.h"
#include "core/mem.h"
#include "core/version.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* B batch, S sequence, H hidden_size, E embedding_size, A heads of attention, D = H / A. */

enum { IR_VERSION = 8, OPSET = 17 };

/* What a graph is built of, and the values that several parts use. Where two calls add to the
 * graph, they are two statements: C leaves the order of arguments to the compiler. */
typedef struct builder {
    const gf_model *m;
    gf_onnx_graph g;
    const char *ids, *mask, *types; /* the inputs, int64 [B, S] */
    const char *kept;               /* the mask as float [B, S] */
    const char *penalty;            /* [B, 1, 1, S] what attention adds to its scores */
} builder;

static const char *unary(builder *b, const char *op, const char *where, const char *x) {
    return gf_onnx_node(&b->g, op, where, x, NULL, NULL);
}

static const char *binary(builder *b, const char *op, const char *where, const char *x,
                          const char *y) {
    return gf_onnx_node(&b->g, op, where, x, y, NULL);
}

static const char *scalar(builder *b, const char *name, double value) {
    return gf_onnx_scalar(&b->g, name, value);
}

/* A list of one number, as operators take axes. */
static const char *one_int(builder *b, const char *name, int64_t value) {
    return gf_onnx_int64s(&b->g, name, &value, 1);
}

static const char *transpose(builder *b, const char *where, const char *x, int64_t n,
                             const int64_t *order) {
    const char *y = unary(b, "Transpose", where, x);
    gf_onnx_set_ints(&b->g, "perm", order, n);
    return y;
}

static const char *linear(builder *b, const char *where, const gf_linear *l, const char *x) {
    const char *weight =
        transpose(b, where, gf_onnx_param(&b->g, l->weight), 2, (const int64_t[]){1, 0});
    const char *y = binary(b, "MatMul", where, x, weight);
    return binary(b, "Add", where, y, gf_onnx_param(&b->g, l->bias));
}

/* The same for x [B, in]; the bias may be missing. */
static const char *linear_of_rows(builder *b, const char *where, const gf_linear *l,
                                  const char *x) {
    const char *weight = gf_onnx_param(&b->g, l->weight);
    const char *bias = l->bias ? gf_onnx_param(&b->g, l->bias) : NULL;
    const char *y = gf_onnx_node(&b->g, "Gemm", where, x, weight, bias);
    gf_onnx_set_int(&b->g, "transB", 1);
    return y;
}

static const char *norm(builder *b, const char *where, const gf_norm *n, const char *x) {
    const char *weight = gf_onnx_param(&b->g, n->weight), *bias = gf_onnx_param(&b->g, n->bias);
    const char *y = gf_onnx_node(&b->g, "LayerNormalization", where, x, weight, bias);
    gf_onnx_set_int(&b->g, "axis", -1);
    gf_onnx_set_float(&b->g, "epsilon", b->m->config.layer_norm_eps);
    return y;
}

static const char *activation(builder *b, const char *where, const char *x) {
    const char *half = scalar(b, "half", 0.5), *one = scalar(b, "one", 1), *y;
    if (b->m->config.gelu_tanh) { /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
        y = binary(b, "Mul", where, binary(b, "Mul", where, x, x), x);
        y = binary(b, "Mul", where, y, scalar(b, "gelu_cubic", 0.044715));
        y = binary(b, "Add", where, x, y);
        y = binary(b, "Mul", where, y, scalar(b, "gelu_scale", 0.79788456080286535588));
        y = unary(b, "Tanh", where, y);
    } else { /* x/2 (1 + erf(x / sqrt(2))) */
        y = binary(b, "Div", where, x, scalar(b, "sqrt_2", 1.41421356237309504880));
        y = unary(b, "Erf", where, y);
    }
    y = binary(b, "Mul", where, x, binary(b, "Add", where, y, one));
    return binary(b, "Mul", where, y, half);
}

static const char *embeddings(builder *b) {
    static const char where[] = "embeddings";
    gf_onnx_graph *g = &b->g;
    const char *words = binary(b, "Gather", where, gf_onnx_param(g, b->m->words), b->ids);
    const char *types = binary(b, "Gather", where, gf_onnx_param(g, b->m->types), b->types);
    const char *x = binary(b, "Add", where, words, types), *positions, *first, *length;
    length = unary(b, "Shape", where, b->ids); /* [S] alone */
    gf_onnx_set_int(g, "start", 1);
    gf_onnx_set_int(g, "end", 2);
    positions = gf_onnx_param(g, b->m->positions);
    first = one_int(b, "list_0", 0);
    positions = gf_onnx_node(g, "Slice", where, positions, first, length);
    x = binary(b, "Add", where, x, positions);
    return norm(b, where, &b->m->embedding_norm, x);
}

/* Padding gets the score of least weight, as in transformers: exp() of it is 0 beside any other,
 * and a row of padding alone is a plain mean, not 0/0. */
static void make_mask(builder *b) {
    static const char where[] = "attention_mask";
    const char *x;
    b->kept = unary(b, "Cast", where, b->mask);
    gf_onnx_set_int(&b->g, "to", GRAFT_ONNX__DATA_TYPE__FLOAT);
    x = binary(b, "Sub", where, scalar(b, "one", 1), b->kept);
    x = binary(b, "Mul", where, x, scalar(b, "least", -3.4028234663852886e38));
    b->penalty = binary(b, "Unsqueeze", where, x,
                        gf_onnx_int64s(&b->g, "list_1_2", (const int64_t[]){1, 2}, 2));
}

/* [B, S, H] to [B, A, S, D], or in the other order that is asked for. */
static const char *split(builder *b, const char *where, const char *x, const int64_t *order) {
    int64_t heads = b->m->config.num_attention_heads;
    int64_t shape[4] = {0, 0, heads, b->m->config.hidden_size / heads}; /* 0: as it is */
    const char *list = gf_onnx_int64s(&b->g, "split_heads", shape, 4);
    return transpose(b, where, binary(b, "Reshape", where, x, list), 4, order);
}

static const char *attention(builder *b, const char *where, const gf_bert_layer *l, const char *x) {
    static const int64_t rows[4] = {0, 2, 1, 3}, columns[4] = {0, 2, 3, 1};
    int64_t width = b->m->config.hidden_size, merged[3] = {0, 0, width};
    double d = (double)(width / b->m->config.num_attention_heads);
    const char *query = split(b, where, linear(b, where, &l->query, x), rows);
    const char *key = split(b, where, linear(b, where, &l->key, x), columns);
    const char *value = split(b, where, linear(b, where, &l->value, x), rows), *y;
    y = binary(b, "MatMul", where, query, key);
    y = binary(b, "Div", where, y, scalar(b, "sqrt_head_size", sqrt(d)));
    y = unary(b, "Softmax", where, binary(b, "Add", where, y, b->penalty));
    gf_onnx_set_int(&b->g, "axis", -1);
    y = transpose(b, where, binary(b, "MatMul", where, y, value), 4, rows);
    y = binary(b, "Reshape", where, y, gf_onnx_int64s(&b->g, "merge_heads", merged, 3));
    return linear(b, where, &l->attention_out, y);
}

static const char *layer(builder *b, int64_t i, const char *x) {
    const gf_bert_layer *l = &b->m->layers[i];
    char where[64];
    const char *y;
    snprintf(where, sizeof where, "encoder.layer.%lld.attention", (long long)i);
    y = binary(b, "Add", where, attention(b, where, l, x), x);
    x = norm(b, where, &l->attention_norm, y);
    snprintf(where, sizeof where, "encoder.layer.%lld", (long long)i);
    y = activation(b, where, linear(b, where, &l->intermediate, x));
    y = binary(b, "Add", where, linear(b, where, &l->output, y), x);
    return norm(b, where, &l->output_norm, y);
}

/* [B, S] to [B, S, 1] */
static const char *as_column(builder *b, const char *where, const char *x) {
    return binary(b, "Unsqueeze", where, x, one_int(b, "list_2", 2));
}

/* [B, S, H] to [B, H]: the sum over the tokens divided by their number. */
static const char *pool_mean(builder *b, const char *where, const char *x) {
    const char *axis = one_int(b, "list_1", 1), *sum, *count;
    x = binary(b, "Mul", where, x, as_column(b, where, b->kept));
    sum = binary(b, "ReduceSum", where, x, axis);
    gf_onnx_set_int(&b->g, "keepdims", 0);
    count = binary(b, "ReduceSum", where, b->kept, axis);
    gf_onnx_set_int(&b->g, "keepdims", 1);
    count = binary(b, "Max", where, count, scalar(b, "least_count", 1e-9));
    return binary(b, "Div", where, sum, count);
}

static const char *pool_cls(builder *b, const char *where, const char *x) {
    const char *first = one_int(b, "list_0", 0);
    x = binary(b, "Gather", where, x, first); /* [B, 1, H] */
    gf_onnx_set_int(&b->g, "axis", 1);
    return binary(b, "Squeeze", where, x, one_int(b, "list_1", 1));
}

/* Padding counts as -1e9, as in sentence-transformers, so that a row of padding stays finite. */
static const char *pool_max(builder *b, const char *where, const char *x) {
    const char *y = binary(b, "Sub", where, scalar(b, "one", 1), b->kept);
    y = binary(b, "Mul", where, y, scalar(b, "never_largest", -1e9));
    x = binary(b, "Add", where, x, as_column(b, where, y));
    x = unary(b, "ReduceMax", where, x);
    gf_onnx_set_ints(&b->g, "axes", (const int64_t[]){1}, 1);
    gf_onnx_set_int(&b->g, "keepdims", 0);
    return x;
}

static const char *pool(builder *b, const char *x) {
    static const char where[] = "pooling";
    switch (b->m->pooling) {
    case GF_POOL_POOLER: /* the rest of it is the projection */
    case GF_POOL_CLS: return pool_cls(b, where, x);
    case GF_POOL_MAX: return pool_max(b, where, x);
    default: return pool_mean(b, where, x);
    }
}

static const char *project(builder *b, const char *x) {
    static const char where[] = "projection";
    x = linear_of_rows(b, where, &b->m->dense, x);
    return b->m->dense_activation == GF_DENSE_TANH ? unary(b, "Tanh", where, x) : x;
}

static const char *normalize(builder *b, const char *x) {
    static const char where[] = "normalize";
    const char *length = unary(b, "ReduceL2", where, x);
    gf_onnx_set_ints(&b->g, "axes", (const int64_t[]){-1}, 1);
    gf_onnx_set_int(&b->g, "keepdims", 1);
    length = binary(b, "Max", where, length, scalar(b, "least_length", 1e-12));
    return binary(b, "Div", where, x, length);
}

/* What follows the encoder: pooling, projection, normalisation, heads. */
static void sentence(builder *b, const char *x) {
    char name[192];
    x = pool(b, x);
    if (b->m->dense.weight) x = project(b, x);
    if (b->m->normalize) x = normalize(b, x);
    x = gf_onnx_rename(&b->g, "sentence_embedding");
    gf_onnx_output(&b->g, x, false, b->m->embedding_size);
    for (int64_t i = 0; i < b->m->n_heads; i++) {
        const gf_head *h = &b->m->heads[i];
        snprintf(name, sizeof name, "heads.%s", h->name);
        linear_of_rows(b, name, &h->linear, x);
        snprintf(name, sizeof name, "logits_%s", h->name);
        gf_onnx_output(&b->g, gf_onnx_rename(&b->g, name), false, h->outputs);
    }
}

static void build(builder *b, bool encoder_only) {
    const GraftOnnx__DataType type = GRAFT_ONNX__DATA_TYPE__INT64;
    const char *x;
    b->ids = gf_onnx_input(&b->g, "input_ids", type, true, 0);
    b->mask = gf_onnx_input(&b->g, "attention_mask", type, true, 0);
    b->types = gf_onnx_input(&b->g, "token_type_ids", type, true, 0);
    make_mask(b);
    x = embeddings(b);
    for (int64_t i = 0; i < b->m->config.num_hidden_layers; i++) x = layer(b, i, x);
    x = gf_onnx_rename(&b->g, "last_hidden_state");
    gf_onnx_output(&b->g, x, true, b->m->config.hidden_size);
    if (!encoder_only) sentence(b, x);
}

/* Where protobuf-c puts its bytes. It cannot be told of a failure, which waits in ok. */
typedef struct sink {
    ProtobufCBuffer base;
    gf_file *f;
    gf_err *e;
    bool ok;
} sink;

static void append(ProtobufCBuffer *buffer, size_t size, const uint8_t *bytes) {
    sink *s = (sink *)buffer;
    s->ok = s->ok && gf_io_write(s->f, bytes, size, s->e);
}

static bool write_message(const ProtobufCMessage *message, const char *path, gf_err *e) {
    sink s = {{append}, NULL, e, true};
    char *tmp = gf_format(e, "%s.tmp", path);
    bool ok = tmp && (s.f = gf_io_create(tmp, e));
    if (ok) {
        protobuf_c_message_pack_to_buffer(message, &s.base);
        ok = gf_io_close(s.f, e) && s.ok && gf_io_publish(tmp, path, e);
        if (!ok) gf_io_remove(tmp, NULL);
    }
    gf_free(tmp);
    return ok;
}

/* The whole file as a message around the graph. */
static bool write_model(GraftOnnx__Graph *graph, char *heads, const char *path, gf_err *e) {
    GraftOnnx__Model model = GRAFT_ONNX__MODEL__INIT;
    GraftOnnx__Operators operators = GRAFT_ONNX__OPERATORS__INIT, *all[1] = {&operators};
    GraftOnnx__Entry entry = GRAFT_ONNX__ENTRY__INIT, *metadata[1] = {&entry};
    char producer[] = "graft", version[] = GF_VERSION, name[] = "bert", domain[] = "";
    char key[] = "heads";
    size_t size;
    operators.domain = domain;
    operators.has_version = true;
    operators.version = OPSET;
    entry.key = key;
    entry.value = heads;
    graph->name = name;
    model.has_ir_version = true;
    model.ir_version = IR_VERSION;
    model.producer_name = producer;
    model.producer_version = version;
    model.graph = graph;
    model.n_opset_import = 1;
    model.opset_import = all;
    model.n_metadata_props = heads ? 1 : 0;
    model.metadata_props = metadata;
    size = protobuf_c_message_get_packed_size(&model.base);
    if (size > INT32_MAX)
        return gf_fail(e, GF_E_MODEL,
                       "%s: the model takes %zu bytes, an ONNX file holds less than 2 GiB; export "
                       "it as safetensors",
                       path, size);
    return write_message(&model.base, path, e);
}

bool gf_onnx_write(const gf_model *m, bool encoder_only, const char *path, gf_err *e) {
    builder b = {.m = m, .g = {.e = e, .ok = true}};
    char *heads = NULL;
    cJSON *j = NULL;
    bool ok = true;
    if (m->n_heads && !encoder_only)
        ok = (j = gf_heads_to_json(m, e)) && (heads = gf_json_print(j, e));
    if (ok) build(&b, encoder_only);
    ok = ok && b.g.ok && write_model(&b.g.message, heads, path, e);
    gf_onnx_graph_free(&b.g);
    cJSON_Delete(j);
    gf_free(heads);
    return ok;
}
