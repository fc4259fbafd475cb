/* build/bench/ops: every op of the tape on tensors as they are in a training step: nanoseconds an
 * element forward and backward, and how long memcpy takes to move as many bytes. bench/README.md
 * says how to read it. B texts, T tokens, H hidden width. */
#include "autograd/cost.h"
#include "autograd/graph.h"
#include "bench/machine.h"
#include "bench/measure.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: ops [--json] [--save FILE] [--tokens N]\n"
    "Measures every op, forward and backward, on one thread: nanoseconds an element of its result\n"
    "(losses: of their logits), beside what memcpy takes to move as many bytes, and GF/s of those\n"
    "that are matrix products. --tokens: of the 32 texts of a batch together (default: 2816).\n"
    "--json prints one JSON object instead of tables, --save writes it to FILE.\n";

enum { TEXTS = 32, CLASSES = 28, VOCABULARY = 30522, POSITIONS = 512, RUNS = 5 };

static const struct model {
    const char *name;
    int64_t hidden, heads;
} models[] = {{"MiniLM", 384, 12}, {"BERT-base", 768, 12}};
enum { N_MODELS = sizeof models / sizeof *models };

/* One op and what it works on. */
typedef struct bench {
    gf_bench_report report;
    cJSON *list;
    gf_graph *graph;
    gf_pool *pool;
    const char *save;
    int64_t tokens;
    int32_t start[TEXTS + 1], labels[TEXTS];
    int32_t *ids;                     /* [T] */
    gf_real targets[TEXTS * CLASSES]; /* 0 and 1 */
    gf_param in[GF_MAX_IN];
    int n_in;
    gf_attr attr;
    gf_real *slope; /* what every backward run starts from, [elements of the result] */
    gf_node *y;
    gf_err *e;
    bool ok;
} bench;

/* ---- what each op works on ---- */

static void add_input(bench *b, gf_shape shape) {
    gf_param *p = &b->in[b->n_in++];
    gf_rng r = gf_rng_new(1, (uint64_t)b->n_in);
    int64_t n = gf_shape_count(&shape);
    *p = (gf_param){.name = (char *)(uintptr_t) "input", .shape = shape, .trainable = true};
    if (!b->ok || !(p->owned = gf_alloc_array(n, sizeof *p->owned, b->e)) ||
        !(p->grad = gf_alloc_array(n, sizeof *p->grad, b->e))) {
        b->ok = false;
        return;
    }
    for (int64_t i = 0; i < n; i++) p->owned[i] = gf_rng_uniform(&r) - 0.5f;
    p->value = p->owned;
}

static void add_matrix(bench *b, int64_t rows, int64_t columns) {
    add_input(b, gf_shape2(rows, columns));
}

static void add_vectors(bench *b, int count, int64_t n) {
    for (int i = 0; i < count; i++) add_input(b, gf_shape1(n));
}

static void use_dropout(bench *b) { b->attr.dropout = gf_dropout_make(0.1, 1, 2, 3); }

static void add_linear(bench *b, int64_t inputs, int64_t outputs, gf_activation act) {
    add_matrix(b, b->tokens, inputs);
    add_matrix(b, outputs, inputs);
    add_vectors(b, 1, outputs);
    b->attr.kind = (int)act;
}

static void for_linear(bench *b, int64_t h) { add_linear(b, h, h, GF_ACT_NONE); }
static void for_up(bench *b, int64_t h) { add_linear(b, h, 4 * h, GF_ACT_GELU); }
static void for_down(bench *b, int64_t h) { add_linear(b, 4 * h, h, GF_ACT_NONE); }

static void for_embedding(bench *b, int64_t h) {
    add_matrix(b, VOCABULARY, h);
    add_matrix(b, POSITIONS, h);
    add_matrix(b, 2, h);
    add_vectors(b, 2, h);
    b->attr.ids = b->ids;
    use_dropout(b);
}

static void for_attention(bench *b, int64_t h) {
    for (int i = 0; i < 3; i++) add_matrix(b, b->tokens, h);
    use_dropout(b);
}

static void for_residual_norm(bench *b, int64_t h) {
    for (int i = 0; i < 2; i++) add_matrix(b, b->tokens, h);
    add_vectors(b, 2, h);
    use_dropout(b);
}

static void for_layer_norm(bench *b, int64_t h) {
    add_matrix(b, b->tokens, h);
    add_vectors(b, 2, h);
}

static void for_pool(bench *b, int64_t h) { add_matrix(b, b->tokens, h); }
static void for_l2_normalize(bench *b, int64_t h) { add_matrix(b, TEXTS, h); }

/* As many rows as a masked language model asks for. */
static void for_rows(bench *b, int64_t h) {
    add_matrix(b, b->tokens, h);
    for (int64_t t = 0; t < b->tokens; t++) b->ids[t] %= (int32_t)b->tokens;
    b->attr.ids = b->ids;
    b->attr.n_ids = b->tokens * 15 / 100;
}

static void for_classes(bench *b, int64_t h) {
    (void)h;
    add_matrix(b, TEXTS, CLASSES);
    b->attr.ids = b->labels;
}

static void for_sets(bench *b, int64_t h) {
    (void)h;
    add_matrix(b, TEXTS, CLASSES);
    b->attr.target = b->targets;
}

static void for_value(bench *b, int64_t h) {
    (void)h;
    add_matrix(b, TEXTS, 1);
    b->attr.target = b->targets;
}

static const struct work {
    const gf_op *op;
    const char *note; /* what tells it from others of the op */
    void (*make)(bench *b, int64_t hidden);
} works[] = {{&gf_op_embedding, "", for_embedding},
             {&gf_op_linear, " H to H", for_linear},
             {&gf_op_linear, " H to 4H, GELU", for_up},
             {&gf_op_linear, " 4H to H", for_down},
             {&gf_op_attention, "", for_attention},
             {&gf_op_residual_norm, "", for_residual_norm},
             {&gf_op_layer_norm, "", for_layer_norm},
             {&gf_op_rows, "", for_rows},
             {&gf_op_pool, "", for_pool},
             {&gf_op_l2_normalize, "", for_l2_normalize},
             {&gf_op_cross_entropy, "", for_classes},
             {&gf_op_binary_cross_entropy, "", for_sets},
             {&gf_op_squared_error, "", for_value},
             {&gf_op_ordinal, "", for_classes}};
enum { N_WORKS = sizeof works / sizeof *works };

static const gf_op *const ops[] = {
#define GF_OP(name) &gf_op_##name,
#include "autograd/ops.def"
#undef GF_OP
};
enum { N_OPS = sizeof ops / sizeof *ops };

/* ---- measuring ---- */

static void clear(bench *b) {
    for (int i = 0; i < b->n_in; i++) {
        gf_free(b->in[i].owned);
        gf_free(b->in[i].grad);
    }
    gf_free(b->slope);
    b->slope = NULL;
    b->n_in = 0;
}

static bool make(bench *b, const struct work *w, const struct model *m) {
    gf_node *in[GF_MAX_IN];
    gf_rng r = gf_rng_new(2, 1);
    b->attr = (gf_attr){.heads = m->heads,
                        .eps = 1e-12,
                        .divisor = TEXTS,
                        .start = b->start,
                        .sequences = TEXTS,
                        .dropout = {.keep = 65536}};
    for (int64_t t = 0; t < b->tokens; t++) b->ids[t] = (int32_t)gf_rng_below(&r, VOCABULARY);
    w->make(b, m->hidden);
    gf_graph_reset(b->graph);
    gf_graph_retain(b->graph);
    for (int i = 0; b->ok && i < b->n_in; i++) in[i] = gf_graph_param(b->graph, &b->in[i]);
    if (!b->ok) return false;
    b->y = gf_graph_call(b->graph, w->op, &b->attr, in, b->n_in);
    if (!gf_graph_plan(b->graph, &b->y, 1, b->e) ||
        !(b->slope = gf_alloc_array(b->y->count, sizeof *b->slope, b->e)))
        return false;
    for (int64_t i = 0; i < b->y->count; i++) b->slope[i] = gf_rng_uniform(&r) - 0.5f;
    return true;
}

/* The fastest run, in ns; a backward run uses up the slope it begins with. */
static double measure_way(bench *b, gf_way way) {
    double begun = gf_bench_now(), best = 1e30;
    for (int i = 0; i < RUNS + 1 || gf_bench_now() - begun < 0.02; i++) {
        double start, took;
        if (way == GF_WAY_BACKWARD)
            memcpy(b->y->g, b->slope, (size_t)b->y->count * sizeof *b->slope);
        start = gf_bench_now();
        if (way == GF_WAY_BACKWARD)
            gf_graph_backward(b->graph, NULL);
        else
            gf_graph_forward(b->graph);
        took = gf_bench_now() - start;
        if (i > 0 && took < best) best = took;
    }
    return 1e9 * best;
}

static bool tell(bench *b, const struct work *w, const struct model *m, gf_way way) {
    const gf_bench_report *r = &b->report;
    int64_t elements = b->y->shape.n > 0 ? b->y->count : b->in[0].shape.dim[0];
    gf_span cost = gf_cost_of(b->y, way);
    double ns = measure_way(b, way), n = (double)elements, copy = cost.bytes / r->copy;
    cJSON *j = gf_json_object(b->list, NULL, b->e);
    char name[48], products[40] = "";
    if (b->y->shape.n == 0) n *= (double)b->in[0].shape.dim[1];
    snprintf(name, sizeof name, "%s%s", w->op->name, w->note);
    if (cost.flops > 0)
        snprintf(products, sizeof products, "  %6.1f GF/s %3.0f %%", cost.flops / ns,
                 100 * cost.flops / ns / r->peak);
    if (r->print)
        printf("%-9s %-22s %-8s %9.3f %9.3f %6.1fx%s\n", m->name, name,
               way == GF_WAY_BACKWARD ? "backward" : "forward", ns / n, copy / n, ns / copy,
               products);
    return j && gf_json_string(j, "model", m->name, b->e) &&
           gf_json_string(j, "op", w->op->name, b->e) && gf_json_string(j, "work", name, b->e) &&
           gf_json_string(j, "way", way == GF_WAY_BACKWARD ? "backward" : "forward", b->e) &&
           gf_json_number(j, "elements", n, b->e) && gf_json_number(j, "ns", ns / n, b->e) &&
           gf_json_number(j, "copy_ns", copy / n, b->e) &&
           (cost.flops <= 0 || gf_json_number(j, "gflops", cost.flops / ns, b->e));
}

/* Ops that nobody has thought of a shape for are named, not passed over. */
static bool name_missing(bench *b) {
    cJSON *missing = gf_json_array(b->report.json, "not_measured", b->e);
    for (int i = 0; i < N_OPS; i++) {
        bool found = false;
        for (int k = 0; k < N_WORKS; k++) found |= works[k].op == ops[i];
        if (found) continue;
        if (b->report.print) printf("not measured: %s\n", ops[i]->name);
        if (missing && !gf_json_string(missing, NULL, ops[i]->name, b->e)) return false;
    }
    return missing != NULL;
}

static bool measure_all(bench *b) {
    if (!(b->list = gf_json_array(b->report.json, "ops", b->e))) return false;
    if (b->report.print)
        printf(
            "\nops on %lld tokens in %d texts: ns an element on one thread, and those of a memcpy "
            "that moves as many bytes\n%-9s %-22s %-8s %9s %9s %7s\n",
            (long long)b->tokens, TEXTS, "model", "op", "", "ns", "copy", "ratio");
    for (int m = 0; m < N_MODELS; m++)
        for (int w = 0; b->ok && w < N_WORKS; w++) {
            b->ok = make(b, &works[w], &models[m]) &&
                    tell(b, &works[w], &models[m], GF_WAY_FORWARD) &&
                    tell(b, &works[w], &models[m], GF_WAY_BACKWARD);
            clear(b);
        }
    return b->ok && name_missing(b);
}

static bool run(bench *b) {
    b->ok = true;
    for (int i = 0; i < TEXTS; i++) {
        b->start[i + 1] = (int32_t)(b->tokens * (i + 1) / TEXTS);
        b->labels[i] = i % (CLASSES - 1);
    }
    for (int i = 0; i < TEXTS * CLASSES; i++) b->targets[i] = (gf_real)(i % 3 == 0);
    return gf_bench_machine(&b->report, b->e) &&
           (b->ids = gf_alloc_array(b->tokens, sizeof *b->ids, b->e)) &&
           (b->pool = gf_pool_new(1, b->e)) &&
           (b->graph = gf_graph_new(b->pool, gf_vec_best(), b->e)) && measure_all(b) &&
           gf_bench_give_json(&b->report, b->save, b->e);
}

int main(int argc, char **argv) {
    gf_err e = {0};
    bench b = {.report = {.print = true, .threads = 1}, .tokens = 2816, .e = &e};
    bool ok;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            b.report.print = false;
        else if (strcmp(argv[i], "--save") == 0 && i + 1 < argc)
            b.save = argv[++i];
        else if (strcmp(argv[i], "--tokens") == 0 && i + 1 < argc && atoi(argv[i + 1]) >= TEXTS &&
                 atoi(argv[i + 1]) <= TEXTS * POSITIONS)
            b.tokens = atoi(argv[++i]);
        else {
            bool help = strcmp(argv[i], "--help") == 0;
            fputs(usage, help ? stdout : stderr);
            return help ? 0 : 2;
        }
    }
    ok = run(&b);
    clear(&b);
    gf_graph_free(b.graph);
    gf_pool_free(b.pool);
    gf_free(b.ids);
    cJSON_Delete(b.report.json);
    if (!ok) fprintf(stderr, "ops: error: %s\n", e.text);
    return ok ? 0 : gf_err_status(e.code);
}
