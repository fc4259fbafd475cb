/* The encoder, pooling, heads, losses and every gradient against PyTorch + transformers, over the
 * cases of tests/golden/ (its README says what they are). Run from the project's root. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "checkpoints/safetensors.h"
#include "core/json.h"
#include "core/mem.h"
#include "model/engine.h"

enum { MAX_TASKS = 4 };

typedef struct golden {
    char folder[128];
    cJSON *json;
    gf_model model;
    gf_engine engine;
    gf_safetensors expected;
    gf_batch batch;
    int32_t *labels[MAX_TASKS];
    int n_tasks;
    double weight[MAX_TASKS], present[MAX_TASKS];
    gf_node *hidden, *embedding, *logits[MAX_TASKS], *loss[MAX_TASKS];
} golden;

static const char *path_in(const golden *g, const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", g->folder, name);
    return path;
}

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

static const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("case.json lacks %s", key);
    return item;
}

/* All of the case's sequences as one packed batch. */
static void read_batch(golden *g) {
    const cJSON *ids = get(g->json, "ids"), *sequence, *id;
    int64_t tokens = 0, n = 0;
    cJSON_ArrayForEach(sequence, ids) tokens += cJSON_GetArraySize(sequence);
    g->batch.ids = gf_alloc_array(tokens, sizeof(int32_t), NULL);
    g->batch.start = gf_alloc_array(cJSON_GetArraySize(ids) + 1, sizeof(int32_t), NULL);
    g->batch.row = gf_alloc_array(cJSON_GetArraySize(ids), sizeof(int64_t), NULL);
    cJSON_ArrayForEach(sequence, ids) {
        cJSON_ArrayForEach(id, sequence) g->batch.ids[n++] = id->valueint;
        g->batch.start[++g->batch.sequences] = (int32_t)n;
    }
    g->batch.tokens = n;
}

static void read_task(golden *g, const cJSON *task) {
    const char *names[16], *name = get(task, "name")->valuestring;
    const cJSON *classes = get(task, "classes"), *label;
    int n = 0, row = 0, t = g->n_tasks++;
    gf_err e = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, classes) names[n++] = item->valuestring;
    if (!gf_model_find_head(&g->model, name)) /* a classifier's folder brings its head */
        check(gf_model_add_head(&g->model, name, names, n, &e), &e);
    g->weight[t] = get(task, "weight")->valuedouble;
    g->labels[t] = gf_alloc_array(g->batch.sequences, sizeof(int32_t), NULL);
    cJSON_ArrayForEach(label, get(get(g->json, "labels"), name)) {
        g->labels[t][row] = -1;
        for (int c = 0; c < n && cJSON_IsString(label); c++)
            if (strcmp(names[c], label->valuestring) == 0) g->labels[t][row] = c;
        g->present[t] += g->labels[t][row++] >= 0;
    }
}

static void open_case(golden *g, const char *name, int threads) {
    gf_err e = {0};
    const cJSON *task;
    gf_pooling pooling;
    *g = (golden){0};
    snprintf(g->folder, sizeof g->folder, "tests/golden/%s", name);
    check((g->json = gf_json_read(path_in(g, "case.json"), 1 << 20, &e)) != NULL, &e);
    check(gf_folder_open(&g->model, path_in(g, "model"), GF_OPEN_WEIGHTS, NULL, &e), &e);
    check(gf_pooling_find(get(g->json, "pooling")->valuestring, &pooling), &e);
    check(gf_model_set_pooling(&g->model, pooling, &e), &e);
    g->model.normalize = cJSON_IsTrue(get(g->json, "normalize"));
    read_batch(g);
    cJSON_ArrayForEach(task, get(g->json, "tasks")) read_task(g, task);
    if (gf_io_exists(path_in(g, "heads.safetensors")))
        check(gf_heads_init_read(&g->model, path_in(g, "heads.safetensors"), &e), &e);
    check(gf_safetensors_open(&g->expected, path_in(g, "expected.safetensors"), &e), &e);
    check(gf_engine_start(&g->engine, threads, &e), &e);
}

static void close_case(golden *g) {
    gf_engine_stop(&g->engine);
    gf_model_free(&g->model);
    gf_safetensors_close(&g->expected);
    gf_batch_free(&g->batch);
    for (int t = 0; t < g->n_tasks; t++) gf_free(g->labels[t]);
    cJSON_Delete(g->json);
}

static void build(golden *g) {
    gf_graph *graph = g->engine.graph;
    gf_err e = {0};
    gf_graph_reset(graph);
    g->embedding = gf_model_embed(graph, &g->model, &g->batch, &(gf_mode){0});
    gf_graph_keep(g->embedding);
    for (int t = 0; t < g->n_tasks; t++) {
        gf_attr attr = {.ids = g->labels[t], .divisor = g->present[t]};
        g->logits[t] = gf_head_logits(graph, &g->model.heads[t], g->embedding);
        g->loss[t] = gf_call(graph, cross_entropy, &attr, g->logits[t]);
        gf_graph_keep(g->logits[t]);
        gf_graph_keep(g->loss[t]);
    }
    check(gf_graph_plan(graph, g->loss, g->n_tasks, &e), &e);
    gf_graph_forward(graph);
}

/* Largest difference relative to the largest expected element, or to `scale` if that is larger. */
static void compare(const golden *g, const char *name, const gf_real *got, int64_t count,
                    double scale) {
    const gf_tensor *t = gf_safetensors_find(&g->expected, name);
    gf_real *wanted;
    double worst = 0;
    gf_err e = {0};
    if (!t || t->count != count)
        fail_msg("%s: expected.safetensors has no such %s", g->folder, name);
    wanted = gf_alloc_array(count, sizeof *wanted, &e);
    check(gf_tensor_to_real(t, wanted, name, &e), &e);
    for (int64_t i = 0; i < count; i++) scale = fmax(scale, fabs((double)wanted[i]));
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)got[i] - (double)wanted[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    gf_free(wanted);
    if (!(worst <= 1e-5 * scale))
        fail_msg("%s: %s is off by %g of %g", g->folder, name, worst, scale);
}

static const char *const cases[] = {"mean_gelu", "cls_gelu_new", "max_eps",        "cased_f16",
                                    "mean_bf16", "dense_tanh",   "dense_identity", "classifier"};

static void each_case(void (*run)(golden *)) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        golden g;
        open_case(&g, cases[i], 2);
        run(&g);
        close_case(&g);
    }
}

static void forward_agrees(golden *g) {
    char name[96];
    double total = 0;
    gf_real sum;
    build(g);
    compare(g, "embedding", g->embedding->x, g->embedding->count, 0);
    for (int t = 0; t < g->n_tasks; t++) {
        snprintf(name, sizeof name, "logits/%s", g->model.heads[t].name);
        compare(g, name, g->logits[t]->x, g->logits[t]->count, 0);
        snprintf(name, sizeof name, "loss/%s", g->model.heads[t].name);
        compare(g, name, g->loss[t]->x, 1, 0);
        total += g->weight[t] * (double)g->loss[t]->x[0];
    }
    sum = (gf_real)total;
    compare(g, "loss", &sum, 1, 0);
}

static void test_embeddings_logits_and_losses(void **state) {
    (void)state;
    each_case(forward_agrees);
}

static void hidden_agrees(golden *g) {
    gf_err e = {0};
    gf_graph_reset(g->engine.graph);
    g->hidden = gf_model_hidden(g->engine.graph, &g->model, &g->batch, &(gf_mode){0});
    gf_graph_keep(g->hidden);
    check(gf_graph_plan(g->engine.graph, NULL, 0, &e), &e);
    gf_graph_forward(g->engine.graph);
    compare(g, "last_hidden_state", g->hidden->x, g->hidden->count, 0);
}

static void test_last_hidden_states(void **state) {
    (void)state;
    each_case(hidden_agrees);
}

static double largest(const gf_param *p) {
    double most = 0;
    for (int64_t i = 0; i < gf_param_count(p); i++) most = fmax(most, fabs((double)p->grad[i]));
    return most;
}

/* A key bias shifts all scores of a row alike, which softmax ignores: its gradient is zero, and
 * what is computed is noise on the scale of the query bias' gradient. */
static double scale_of(const golden *g, const gf_param *p) {
    char query[192];
    const char *at = strstr(p->name, "key.bias");
    if (!at) return 0;
    snprintf(query, sizeof query, "%.*squery.bias", (int)(at - p->name), p->name);
    return largest(gf_params_find(&g->model.params, query));
}

static void gradients_agree(golden *g) {
    char name[224];
    gf_err e = {0};
    for (int64_t i = 0; i < g->model.params.count; i++) {
        gf_param *p = g->model.params.items[i];
        p->trainable = true;
        p->grad = gf_alloc_array(gf_param_count(p), sizeof *p->grad, &e);
    }
    build(g);
    gf_graph_backward(g->engine.graph, g->weight);
    for (int64_t i = 0; i < g->model.params.count; i++) {
        gf_param *p = g->model.params.items[i];
        snprintf(name, sizeof name, "grad/%s", p->name);
        compare(g, name, p->grad, gf_param_count(p), scale_of(g, p));
    }
}

static void test_every_gradient(void **state) {
    (void)state;
    each_case(gradients_agree);
}

/* With only the last layer's biases trainable the tape is cut there: no node below has a gradient,
 * and those gradients have the same bits as before. */
static void test_the_tape_is_cut_below_the_lowest_trainable(void **state) {
    golden g;
    gf_err e = {0};
    gf_param *p;
    size_t whole, cut;
    (void)state;
    open_case(&g, "mean_gelu", 2);
    gradients_agree(&g);
    whole = gf_graph_bytes(g.engine.graph);
    for (int64_t i = 0; i < g.model.params.count; i++) {
        p = g.model.params.items[i];
        p->trainable = strcmp(p->name, "encoder.layer.1.output.dense.bias") == 0;
        if (p->trainable)
            memset(p->grad, 0, (size_t)gf_param_count(p) * sizeof *p->grad);
        else
            gf_free(p->grad), p->grad = NULL;
    }
    build(&g);
    cut = gf_graph_bytes(g.engine.graph);
    gf_graph_backward(g.engine.graph, g.weight);
    for (int i = 0; i < gf_graph_size(g.engine.graph); i++) {
        const gf_node *n = gf_graph_node(g.engine.graph, i);
        if (n->op && !n->wants_grad) assert_null(n->g);
    }
    assert_non_null(p = gf_params_find(&g.model.params, "encoder.layer.1.output.dense.bias"));
    compare(&g, "grad/encoder.layer.1.output.dense.bias", p->grad, gf_param_count(p), 0);
    assert_true(cut < whole / 2);
    assert_int_equal(e.code, GF_OK);
    close_case(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_hidden_states),
        cmocka_unit_test(test_embeddings_logits_and_losses),
        cmocka_unit_test(test_every_gradient),
        cmocka_unit_test(test_the_tape_is_cut_below_the_lowest_trainable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
