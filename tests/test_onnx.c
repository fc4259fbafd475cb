/* checkpoints/onnx: the graphs that ONNX Runtime was seen to compute golden values with (listed by
 * tests/golden/make_onnx.py), a file of the onnx package, damaged graphs, and hostile bytes. If
 * other programs run what is written is for tests/peers/test_onnx.py to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "checkpoints/onnx.h"
#include "checkpoints/onnx_read.h"
#include "core/text.h"
#include "core/io_fault.h"
#include "tests/scratch.h"

#include <math.h>

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

/* The heads of a golden case, whose values are in a file of their own. */
static void open_heads(gf_model *m, const char *name) {
    char path[128];
    const cJSON *task, *item;
    cJSON *j;
    gf_err e = {0};
    snprintf(path, sizeof path, "tests/golden/%s/case.json", name);
    check((j = gf_json_read(path, 1 << 20, &e)) != NULL, &e);
    cJSON_ArrayForEach(task, cJSON_GetObjectItem(j, "tasks")) {
        const char *classes[16];
        int n = 0;
        cJSON_ArrayForEach(item, cJSON_GetObjectItem(task, "classes")) classes[n++] =
            item->valuestring;
        check(gf_model_add_head(m, cJSON_GetObjectItem(task, "name")->valuestring, classes, n, &e),
              &e);
    }
    cJSON_Delete(j);
    snprintf(path, sizeof path, "tests/golden/%s/heads.safetensors", name);
    check(gf_heads_init_read(m, path, &e), &e);
}

/* A golden case. Its folder may say what its pooling is, and hold a head. */
static void open_case(gf_model *m, const char *name, gf_pooling pooling, bool normalize) {
    char path[128];
    gf_err e = {0};
    snprintf(path, sizeof path, "tests/golden/%s/model", name);
    check(gf_folder_open(m, path, GF_OPEN_WEIGHTS, NULL, &e), &e);
    if (!m->dense.weight) m->pooling = pooling;
    if (!m->dense.weight) m->normalize = normalize;
    if (!m->n_heads) open_heads(m, name);
}

/* As small as a BERT can be, with a head. */
static void make_tiny(gf_model *m) {
    static const char *const classes[] = {"no", "yes"};
    const gf_bert_config config = {.vocab_size = 3,
                                   .hidden_size = 2,
                                   .num_hidden_layers = 1,
                                   .num_attention_heads = 1,
                                   .intermediate_size = 2,
                                   .max_position_embeddings = 2,
                                   .type_vocab_size = 1,
                                   .initializer_range = 0.5,
                                   .layer_norm_eps = 1e-12};
    gf_err e = {0};
    *m = (gf_model){0};
    check(gf_model_make(m, &config, &e) && gf_model_add_head(m, "t", classes, 2, &e) &&
              gf_model_init(m, 7, &e),
          &e);
}

static void add_shape(gf_text *t, const GraftOnnx__Shape *s) {
    for (size_t i = 0; i < s->n_dim; i++)
        if (s->dim[i]->dim_param)
            gf_text_add(t, NULL, "%s%s", i ? "," : "", s->dim[i]->dim_param);
        else
            gf_text_add(t, NULL, "%s%lld", i ? "," : "", (long long)s->dim[i]->dim_value);
}

static void list_value(gf_text *t, const char *kind, const GraftOnnx__ValueInfo *v) {
    const GraftOnnx__TensorType *x = v->type->tensor_type;
    gf_text_add(t, NULL, "%s %s %d [", kind, v->name, (int)x->elem_type);
    add_shape(t, x->shape);
    gf_text_add(t, NULL, "]\n");
}

static void list_initializer(gf_text *t, const GraftOnnx__Tensor *x) {
    bool whole = x->data_type == GRAFT_ONNX__DATA_TYPE__INT64;
    size_t size = whole ? sizeof(int64_t) : sizeof(float);
    gf_text_add(t, NULL, "initializer %s %d [", x->name, (int)x->data_type);
    for (size_t i = 0; i < x->n_dims; i++)
        gf_text_add(t, NULL, "%s%lld", i ? "," : "", (long long)x->dims[i]);
    gf_text_add(t, NULL, "]");
    for (size_t i = 0; !strchr(x->name, '.') && i < x->raw_data.len / size; i++) {
        float f;
        int64_t n;
        memcpy(whole ? (void *)&n : &f, x->raw_data.data + i * size, size);
        gf_text_add(t, NULL, " %.9g", whole ? (double)n : (double)f);
    }
    gf_text_add(t, NULL, "\n");
}

static void list_node(gf_text *t, const GraftOnnx__Node *n) {
    gf_text_add(t, NULL, "%s", n->op_type);
    for (size_t i = 0; i < n->n_input; i++) gf_text_add(t, NULL, " %s", n->input[i]);
    gf_text_add(t, NULL, " ->");
    for (size_t i = 0; i < n->n_output; i++) gf_text_add(t, NULL, " %s", n->output[i]);
    for (size_t i = 0; i < n->n_attribute; i++) {
        const GraftOnnx__Attribute *a = n->attribute[i];
        gf_text_add(t, NULL, " %s=", a->name);
        if (a->has_i) gf_text_add(t, NULL, "%lld", (long long)a->i);
        if (a->has_f) gf_text_add(t, NULL, "%.9g", (double)a->f);
        for (size_t k = 0; k < a->n_ints; k++)
            gf_text_add(t, NULL, "%s%lld", k ? "," : "", (long long)a->ints[k]);
    }
    gf_text_add(t, NULL, "\n");
}

/* A file's bytes, and its message in memory of t's. */
static GraftOnnx__Model *load(gf_tensors *t, const char *path) {
    size_t size = 0;
    gf_err e = {0};
    char *bytes = gf_io_read_all(path, 1 << 20, &size, &e);
    check(bytes != NULL, &e);
    GraftOnnx__Model *m = gf_onnx_unpack(t, (unsigned char *)bytes, size, path, &e);
    check(m != NULL, &e);
    gf_free(bytes);
    return m;
}

static void check_listing(const char *path, const char *golden) {
    gf_tensors memory = {0};
    gf_text t = {0};
    const GraftOnnx__Model *m = load(&memory, path);
    const GraftOnnx__Graph *g = m->graph;
    assert_int_equal(m->ir_version, 8);
    assert_int_equal(m->opset_import[0]->version, 17);
    for (size_t i = 0; i < g->n_input; i++) list_value(&t, "input", g->input[i]);
    for (size_t i = 0; i < g->n_output; i++) list_value(&t, "output", g->output[i]);
    for (size_t i = 0; i < g->n_initializer; i++) list_initializer(&t, g->initializer[i]);
    for (size_t i = 0; i < g->n_node; i++) list_node(&t, g->node[i]);
    size_t size = 0;
    char *wanted = gf_io_read_all(golden, 1 << 20, &size, NULL);
    assert_non_null(wanted);
    assert_string_equal(t.data, wanted);
    gf_free(wanted);
    gf_text_free(&t);
    gf_tensors_close(&memory);
}

static const struct {
    const char *name;
    gf_pooling pooling;
    bool normalize;
} cases[] = {{"mean_gelu", GF_POOL_MEAN, true},
             {"cls_gelu_new", GF_POOL_CLS, true},
             {"max_eps", GF_POOL_MAX, false},
             {"dense_tanh", GF_POOL_MEAN, true},
             {"classifier", GF_POOL_POOLER, false}};

static void test_writes_graphs_that_were_seen_to_run(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char golden[96];
        double largest = -1;
        gf_model m = {0};
        gf_err e = {0};
        open_case(&m, cases[i].name, cases[i].pooling, cases[i].normalize);
        snprintf(golden, sizeof golden, "tests/data/onnx/%s.txt", cases[i].name);
        check(gf_onnx_write(&m, false, path_of("a.onnx"), &e), &e);
        check_listing(path_of("a.onnx"), golden);
        check(gf_onnx_compare(&m, path_of("a.onnx"), &largest, &e), &e);
        assert_true(largest == 0);
        gf_model_free(&m);
    }
}

static void test_serves_as_weights(void **state) {
    (void)state;
    gf_tensors t = {0};
    gf_model m = {0};
    gf_err e = {0};
    open_case(&m, "mean_gelu", GF_POOL_MEAN, true);
    check(gf_onnx_write(&m, false, path_of("a.onnx"), &e), &e);
    assert_true(gf_tensors_is_known(path_of("a.onnx")));
    check(gf_tensors_open(&t, path_of("a.onnx"), &e), &e);
    assert_string_equal(t.format, "ONNX");
    assert_int_equal(t.count, m.params.count); /* the constants are none */
    for (int64_t i = 0; i < m.params.count; i++) {
        const gf_param *p = m.params.items[i];
        const gf_tensor *x = gf_tensors_find(&t, p->name);
        gf_shape shape;
        assert_non_null(x);
        check(gf_tensor_shape(x, &shape, "f", &e), &e);
        assert_true(gf_shape_equal(&shape, &p->shape));
        assert_memory_equal(x->data, p->value, (size_t)gf_param_count(p) * sizeof(float));
    }
    gf_tensors_close(&t);
    gf_model_free(&m);
}

static void test_leaves_pooling_and_heads_out(void **state) {
    (void)state;
    gf_tensors t = {0};
    gf_model m = {0};
    gf_err e = {0};
    double largest = -1;
    make_tiny(&m);
    check(gf_onnx_write(&m, true, path_of("a.onnx"), &e), &e);
    check(gf_onnx_compare(&m, path_of("a.onnx"), &largest, &e), &e);
    assert_true(largest == 0);
    const GraftOnnx__Model *x = load(&t, path_of("a.onnx"));
    assert_int_equal(x->graph->n_output, 1);
    assert_string_equal(x->graph->output[0]->name, "last_hidden_state");
    assert_int_equal(x->n_metadata_props, 0);
    for (size_t i = 0; i < x->graph->n_initializer; i++)
        assert_null(strstr(x->graph->initializer[i]->name, "heads."));
    gf_tensors_close(&t);
    gf_model_free(&m);
}

static void test_equal_models_give_equal_bytes(void **state) {
    (void)state;
    size_t size[2] = {0};
    char *bytes[2];
    for (int i = 0; i < 2; i++) {
        gf_model m;
        gf_err e = {0};
        make_tiny(&m);
        check(gf_onnx_write(&m, false, path_of("a.onnx"), &e), &e);
        bytes[i] = gf_io_read_all(path_of("a.onnx"), 1 << 20, &size[i], &e);
        gf_model_free(&m);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    gf_free(bytes[0]);
    gf_free(bytes[1]);
}

static void test_reads_what_the_onnx_package_writes(void **state) {
    (void)state;
    static const char *const names[] = {"a.half", "a.listed", "a.raw"}; /* "plain" has no dot */
    gf_tensors t = {0};
    gf_real out[6];
    gf_err e = {0};
    check(gf_tensors_open(&t, "tests/data/onnx/other.onnx", &e), &e);
    assert_int_equal(t.count, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(t.items[i].name, names[i]);
        assert_int_equal(t.items[i].n_dims, 2);
        assert_true(t.items[i].dim[0] == 2 && t.items[i].dim[1] == 3);
        check(gf_tensor_to_real(&t.items[i], out, "f", &e), &e);
        for (int k = 0; k < 6; k++) assert_true(out[k] == (gf_real)k / 2 - 1);
    }
    gf_tensors_close(&t);
}

static void save(const GraftOnnx__Model *m, const char *path) {
    size_t size = graft_onnx__model__get_packed_size(m);
    uint8_t *bytes = malloc(size);
    gf_err e = {0};
    graft_onnx__model__pack(m, bytes);
    check(gf_io_replace_file(path, bytes, size, &e), &e);
    free(bytes);
}

static GraftOnnx__Tensor *initializer(GraftOnnx__Graph *g, const char *name) {
    for (size_t i = 0; i < g->n_initializer; i++)
        if (strcmp(g->initializer[i]->name, name) == 0) return g->initializer[i];
    fail_msg("no initializer %s", name);
    return NULL;
}

static const char query[] = "encoder.layer.0.attention.self.query.weight";

static void rename_param(GraftOnnx__Graph *g) { initializer(g, query)->name[0] = 'x'; }

static void drop_head(GraftOnnx__Graph *g) { initializer(g, "heads.t.bias")->name[0] = 'x'; }

static void flatten_param(GraftOnnx__Graph *g) { initializer(g, query)->n_dims = 1; }

static void cut_param(GraftOnnx__Graph *g) { initializer(g, query)->raw_data.len -= 4; }

static void retype_param(GraftOnnx__Graph *g) {
    initializer(g, query)->data_type = GRAFT_ONNX__DATA_TYPE__FLOAT16;
}

static void swap_nodes(GraftOnnx__Graph *g) {
    GraftOnnx__Node *n = g->node[12];
    assert_string_equal(g->node[13]->input[0], n->output[0]);
    g->node[12] = g->node[13];
    g->node[13] = n;
}

static void drop_node(GraftOnnx__Graph *g) { g->node[3] = g->node[--g->n_node]; }

static void rename_input(GraftOnnx__Graph *g) { g->node[5]->input[0][0] = '?'; }

static void use_itself(GraftOnnx__Graph *g) { g->node[5]->input[0] = g->node[5]->output[0]; }

static void make_twice(GraftOnnx__Graph *g) { g->node[5]->output[0] = g->node[4]->output[0]; }

static void rename_output(GraftOnnx__Graph *g) { g->output[1]->name[0] = '?'; }

static void promise_output(GraftOnnx__Graph *g) {
    GraftOnnx__Node *last = g->node[g->n_node - 1];
    assert_string_equal(last->output[0], "logits_t");
    last->output[0] = last->name;
}

static void drop_logits(GraftOnnx__Graph *g) { g->n_output--; }

static void drop_hidden(GraftOnnx__Graph *g) {
    g->output[0] = g->output[2];
    g->n_output = 2;
}

static void drop_graph_input(GraftOnnx__Graph *g) { g->n_input--; }

static const struct {
    void (*damage)(GraftOnnx__Graph *g);
    const char *reason;
} damages[] = {
    {rename_param, "which nothing before it makes"},
    {drop_head, "which nothing before it makes"},
    {flatten_param, "has the shape [2] and 16 bytes, not [2, 2]"},
    {cut_param, "has the shape [2, 2] and 12 bytes, not [2, 2]"},
    {retype_param, "is not in it as FLOAT"},
    {swap_nodes, "which nothing before it makes"},
    {drop_node, "which nothing before it makes"},
    {rename_input, "which nothing before it makes"},
    {use_itself, "which nothing before it makes"},
    {make_twice, "is made twice"},
    {rename_output, "no node makes the output \"?entence_embedding\""},
    {promise_output, "no node makes the output \"logits_t\""},
    {drop_logits, "it has no output \"logits_t\""},
    {drop_hidden, "it has no output \"last_hidden_state\""},
    {drop_graph_input, "which nothing before it makes"},
};

static void test_finds_damage(void **state) {
    (void)state;
    gf_model m;
    make_tiny(&m);
    check(gf_onnx_write(&m, false, path_of("a.onnx"), NULL), &(gf_err){.text = "write"});
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        gf_tensors memory = {0};
        gf_err e = {0};
        double largest;
        GraftOnnx__Model *x = load(&memory, path_of("a.onnx"));
        damages[i].damage(x->graph);
        save(x, path_of("b.onnx"));
        gf_tensors_close(&memory);
        if (gf_onnx_compare(&m, path_of("b.onnx"), &largest, &e) ||
            !strstr(e.text, damages[i].reason))
            fail_msg("damage %zu: %s", i, e.text[0] ? e.text : "not found");
        assert_int_equal(e.code, GF_E_VERIFY);
        assert_ptr_equal(strstr(e.text, path_of("b.onnx")), e.text);
    }
    gf_model_free(&m);
}

static void test_measures_differences(void **state) {
    (void)state;
    gf_model m;
    gf_err e = {0};
    double largest;
    make_tiny(&m);
    gf_real *last = &m.heads[0].linear.bias->owned[1];
    check(gf_onnx_write(&m, false, path_of("a.onnx"), &e), &e);
    *last += 0.25f;
    check(gf_onnx_compare(&m, path_of("a.onnx"), &largest, &e), &e);
    assert_true(largest == 0.25);
    *last = NAN;
    check(gf_onnx_compare(&m, path_of("a.onnx"), &largest, &e), &e);
    assert_true(isinf(largest));
    check(gf_onnx_write(&m, false, path_of("a.onnx"), &e), &e);
    check(gf_onnx_compare(&m, path_of("a.onnx"), &largest, &e), &e);
    assert_true(largest == 0);
    gf_model_free(&m);
}

static void test_refuses_what_does_not_fit(void **state) {
    (void)state;
    gf_model m;
    gf_err e = {0};
    make_tiny(&m);
    gf_real *bias = m.heads[0].linear.bias->owned;
    const gf_real *words = m.words->value;
    m.heads[0].linear.bias->value = NULL;
    assert_false(gf_onnx_write(&m, false, path_of("no.onnx"), &e));
    assert_non_null(strstr(e.text, "\"heads.t.bias\" has no value"));
    m.heads[0].linear.bias->value = bias;
    e.code = GF_OK;
    m.words->shape.dim[0] = 1 << 28; /* [2^28, 2] floats: refused before any of them is read */
    assert_false(gf_onnx_write(&m, false, path_of("no.onnx"), &e));
    assert_int_equal(e.code, GF_E_MODEL);
    assert_non_null(strstr(e.text, "less than 2 GiB"));
    assert_false(gf_io_exists(path_of("no.onnx")) || gf_io_exists(path_of("no.onnx.tmp")));
    m.words->shape.dim[0] = 3;
    assert_ptr_equal(m.words->value, words);
    gf_model_free(&m);
}

static const struct {
    int32_t data_location;
    int64_t dims[2];
    const char *reason;
} unusable[] = {
    {1, {2, 2}, "query.weight\" lies in another file"},
    {0, {-2, -2}, "query.weight\" has a shape that is too large or negative"},
    {0, {0, -1}, "query.weight\" has a shape that is too large or negative"},
    {0, {INT64_MAX, 3}, "query.weight\" has a shape that is too large or negative"},
    {0, {INT64_MAX / 4, 4}, "do not fill 16 bytes"}, /* the size in bytes overflows */
    {0, {2, 3}, "do not fill 16 bytes"},
};

static void test_refuses_unusable_tensors(void **state) {
    (void)state;
    gf_model m;
    make_tiny(&m);
    check(gf_onnx_write(&m, false, path_of("a.onnx"), NULL), &(gf_err){.text = "write"});
    for (size_t i = 0; i < sizeof unusable / sizeof *unusable; i++) {
        gf_tensors memory = {0}, t = {0};
        gf_err e = {0};
        GraftOnnx__Model *x = load(&memory, path_of("a.onnx"));
        GraftOnnx__Tensor *w = initializer(x->graph, query);
        w->has_data_location = true;
        w->data_location = unusable[i].data_location;
        memcpy(w->dims, unusable[i].dims, sizeof unusable[i].dims);
        save(x, path_of("b.onnx"));
        if (gf_tensors_open(&t, path_of("b.onnx"), &e) || !strstr(e.text, unusable[i].reason))
            fail_msg("tensor %zu: %s", i, e.text[0] ? e.text : "accepted");
        assert_int_equal(e.code, GF_E_MODEL);
        gf_tensors_close(&t);
        gf_tensors_close(&memory);
    }
    gf_model_free(&m);
}

/* Bytes in exactly as much memory, so that ASan sees the end; whether they were read. */
static bool try_bytes(const unsigned char *bytes, size_t size) {
    unsigned char *exact = malloc(size + !size);
    gf_tensors t = {0};
    gf_err e = {0};
    memcpy(exact, bytes, size);
    bool ok = gf_onnx_read(&t, exact, size, "f", &e);
    if (!ok) assert_int_equal(e.code, GF_E_MODEL);
    for (int64_t i = 0; i < t.count; i++) {
        gf_real *out = malloc((size_t)t.items[i].count * sizeof *out + 1);
        assert_true(gf_tensor_to_real(&t.items[i], out, "f", NULL));
        free(out);
    }
    gf_tensors_close(&t);
    free(exact);
    return ok;
}

/* Damaged graphs come to gf_onnx_compare(), too. */
static void try_compare(const gf_model *m, const unsigned char *bytes, size_t size) {
    double largest;
    FILE *f = fopen(path_of("b.onnx"), "wb");
    assert_true(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
    gf_onnx_compare(m, path_of("b.onnx"), &largest, NULL);
}

static void test_survives_mutations(void **state) {
    (void)state;
    static const unsigned char flips[] = {0x01, 0x08, 0x80, 0xff};
    size_t size = 0, accepted = 0, tried = 0;
    gf_model m;
    make_tiny(&m);
    check(gf_onnx_write(&m, false, path_of("a.onnx"), NULL), &(gf_err){.text = "write"});
    unsigned char *bytes = (unsigned char *)gf_io_read_all(path_of("a.onnx"), 1 << 20, &size, NULL);
    assert_true(try_bytes(bytes, size));
    for (size_t i = 0; i < size; i++) {
        unsigned char flip = flips[i % 4];
        bytes[i] ^= flip;
        accepted += try_bytes(bytes, size);
        if (i % 3 == 0) try_compare(&m, bytes, size);
        bytes[i] ^= flip;
        tried++;
    }
    for (size_t n = 0; n < size; n++) accepted += try_bytes(bytes, n), tried++;
    assert_in_range(accepted, tried / 10, tried - tried / 10);
    gf_free(bytes);
    gf_model_free(&m);
}

static void test_survives_lack_of_memory(void **state) {
    (void)state;
    gf_model m;
    make_tiny(&m);
    int64_t before = gf_mem_get_stats().live_blocks, k = 0;
    bool ok = false;
    while (!ok) {
        gf_tensors t = {0};
        gf_err e = {0};
        double largest;
        gf_mem_fail_at(++k, false);
        ok = gf_onnx_write(&m, false, path_of("a.onnx"), &e) &&
             gf_onnx_compare(&m, path_of("a.onnx"), &largest, &e) &&
             gf_tensors_open(&t, path_of("a.onnx"), &e);
        assert_true(ok == !gf_mem_fault_fired());
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        gf_tensors_close(&t);
        assert_int_equal(gf_mem_get_stats().live_blocks, before);
    }
    gf_mem_fail_at(0, false);
    assert_true(k > 1000);
    gf_model_free(&m);
}

static void test_write_keeps_the_old_file(void **state) {
    (void)state;
    gf_model m;
    make_tiny(&m);
    for (int kind = GF_FAULT_EIO; kind <= GF_FAULT_ENOSPC; kind++)
        for (int64_t k = 1; k < 4; k++) { /* create, write, sync: before the rename */
            gf_err e = {0};
            write_file(path_of("c.onnx"), "old");
            gf_io_fail_at(k, (gf_io_fault)kind);
            assert_false(gf_onnx_write(&m, false, path_of("c.onnx"), &e));
            assert_true(gf_io_fault_fired());
            gf_io_fail_at(0, GF_FAULT_EIO);
            assert_int_equal(e.code, GF_E_IO);
            assert_file(path_of("c.onnx"), "old");
            assert_false(gf_io_exists(path_of("c.onnx.tmp")));
        }
    gf_model_free(&m);
}

/* Whatever call fails, the writer says so, and what is in place is whole. */
static void test_survives_every_fault_of_the_disk(void **state) {
    (void)state;
    gf_model m = {0};
    int64_t k = 0;
    bool ok = false;
    open_case(&m, "mean_gelu", GF_POOL_MEAN, true); /* more than a buffer holds */
    check(gf_onnx_write(&m, false, path_of("c.onnx"), NULL), &(gf_err){.text = "write"});
    while (!ok) {
        double largest;
        gf_err e = {0};
        gf_io_fail_at(++k, GF_FAULT_ENOSPC);
        ok = gf_onnx_write(&m, false, path_of("c.onnx"), &e);
        assert_true(ok == !gf_io_fault_fired());
        gf_io_fail_at(0, GF_FAULT_EIO);
        e = (gf_err){0};
        check(gf_onnx_compare(&m, path_of("c.onnx"), &largest, &e), &e);
        assert_false(gf_io_exists(path_of("c.onnx.tmp")));
    }
    assert_true(k > 5);
    gf_model_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_graphs_that_were_seen_to_run),
        cmocka_unit_test(test_serves_as_weights),
        cmocka_unit_test(test_leaves_pooling_and_heads_out),
        cmocka_unit_test(test_equal_models_give_equal_bytes),
        cmocka_unit_test(test_reads_what_the_onnx_package_writes),
        cmocka_unit_test(test_finds_damage),
        cmocka_unit_test(test_measures_differences),
        cmocka_unit_test(test_refuses_what_does_not_fit),
        cmocka_unit_test(test_refuses_unusable_tensors),
        cmocka_unit_test(test_survives_mutations),
        cmocka_unit_test(test_survives_lack_of_memory),
        cmocka_unit_test(test_write_keeps_the_old_file),
        cmocka_unit_test(test_survives_every_fault_of_the_disk),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
