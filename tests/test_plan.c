/* The plan of a tape: what is read is what was written last, places do not collide, and neither
 * second lives nor segments that run again change a bit of any gradient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "autograd/graph.h"
#include "autograd/plan.h"
#include "core/gemm.h"
#include "core/mem.h"
#include "core/rng.h"

enum { T = 37, H = 16, WIDE = 64, V = 11, LAYERS = 4, CLASSES = 3, MOST_PARAMS = 128 };

static const int32_t start[] = {0, 9, 10, 30, T};
static const int32_t labels[2][4] = {{0, 2, -1, 1}, {1, 1, 0, 2}};
static int32_t ids[T];

/* A BERT of LAYERS layers with two heads; parameters are made in the order in which it asks. */
typedef struct bert {
    gf_pool *pool;
    gf_graph *graph;
    gf_params params;
    int64_t next; /* parameter of the tape being built */
    gf_node *losses[2];
    int64_t elements;
} bert;

static gf_dropout drop(uint32_t site) { return gf_dropout_make(0.1, 5, 2, site); }

static gf_node *param(bert *b, gf_shape shape, double middle) {
    gf_err e = {0};
    gf_param *p;
    if (b->next == b->params.count) {
        gf_rng r = gf_rng_new(4, (uint64_t)b->next);
        int64_t n = gf_shape_count(&shape);
        assert_non_null(p = gf_params_add(&b->params, "p", &shape, &e));
        assert_true(gf_param_own(p, &e));
        assert_non_null(p->grad = gf_alloc_array(n, sizeof *p->grad, &e));
        for (int64_t i = 0; i < n; i++)
            p->owned[i] = (gf_real)(middle + 0.5 * gf_rng_uniform(&r) - 0.25);
        p->trainable = true;
        b->elements += n;
    }
    return gf_graph_param(b->graph, b->params.items[b->next++]);
}

static gf_node *linear(bert *b, gf_node *x, int64_t in, int64_t out, gf_activation kind) {
    gf_node *w = param(b, gf_shape2(out, in), 0), *bias = param(b, gf_shape1(out), 0);
    return gf_call(b->graph, linear, &(gf_attr){.kind = (int)kind}, x, w, bias);
}

static gf_node *norm(bert *b, gf_node *x, gf_node *r, uint32_t site) {
    gf_node *gamma = param(b, gf_shape1(H), 1), *beta = param(b, gf_shape1(H), 0);
    return gf_call(b->graph, residual_norm, (&(gf_attr){.eps = 1e-5, .dropout = drop(site)}), x, r,
                   gamma, beta);
}

static gf_node *layer(bert *b, gf_node *x, uint32_t site) {
    gf_attr attr = {.heads = 2, .start = start, .sequences = 4, .dropout = drop(site)};
    gf_node *q = linear(b, x, H, H, GF_ACT_NONE), *k = linear(b, x, H, H, GF_ACT_NONE);
    gf_node *v = linear(b, x, H, H, GF_ACT_NONE);
    gf_node *y = linear(b, gf_call(b->graph, attention, &attr, q, k, v), H, H, GF_ACT_NONE);
    x = norm(b, y, x, site + 1);
    y = linear(b, x, H, WIDE, GF_ACT_GELU);
    return norm(b, linear(b, y, WIDE, H, GF_ACT_NONE), x, site + 2);
}

static void build(bert *b, bool keep_hidden) {
    gf_attr attr = {.ids = ids, .start = start, .sequences = 4, .eps = 1e-5, .dropout = drop(0)};
    gf_node *words, *positions, *types, *gamma, *x;
    gf_graph_reset(b->graph);
    b->next = 0;
    words = param(b, gf_shape2(V, H), 0);
    positions = param(b, gf_shape2(T, H), 0);
    types = param(b, gf_shape2(2, H), 0);
    gamma = param(b, gf_shape1(H), 1);
    x = gf_call(b->graph, embedding, &attr, words, positions, types, gamma,
                param(b, gf_shape1(H), 0));
    for (uint32_t i = 0; i < LAYERS; i++) {
        gf_graph_segment(b->graph);
        if (keep_hidden) gf_graph_keep(x);
        x = layer(b, x, 3 * i + 1);
    }
    x = gf_call(b->graph, l2_normalize, &attr, gf_call(b->graph, pool, &attr, x));
    for (int i = 0; i < 2; i++) {
        b->losses[i] =
            gf_call(b->graph, cross_entropy, (&(gf_attr){.ids = labels[i], .divisor = 3}),
                    linear(b, x, H, CLASSES, GF_ACT_NONE));
        gf_graph_keep(b->losses[i]);
    }
}

static void begin(bert *b, int threads) {
    gf_err e = {0};
    *b = (bert){.pool = gf_pool_new(threads, &e)};
    assert_non_null(b->pool);
    assert_non_null(b->graph = gf_graph_new(b->pool, gf_vec_best(), &e));
    for (int i = 0; i < T; i++) ids[i] = i * 7 % V;
    build(b, false);
    assert_true(b->params.count < MOST_PARAMS);
}

static void end(bert *b) {
    gf_graph_free(b->graph);
    gf_params_free(&b->params);
    gf_pool_free(b->pool);
}

/* ---- what is read is what was written last ---- */

/* Whose value each element of the arena holds: the number of a buffer, 0 none. A buffer is a node's
 * x, g or aux; it is the same one in either life. */
typedef struct memory {
    const gf_plan *plan;
    int *owner; /* [plan->elements] */
} memory;

enum { X, G, AUX, KINDS };

static int number(const gf_node *n, int kind) { return n->index * KINDS + kind + 1; }

static void write_place(memory *m, int64_t place, int owner) {
    const gf_place *p = &m->plan->places[place];
    for (size_t i = 0; i < p->size; i++) m->owner[p->offset + i] = owner;
}

static void read_place(const memory *m, int64_t place, int owner, const char *what, int64_t t) {
    const gf_place *p = &m->plan->places[place];
    assert_true(p->offset + p->size <= m->plan->elements);
    for (size_t i = 0; i < p->size; i++)
        if (m->owner[p->offset + i] != owner)
            fail_msg("step %d reads another value for %s of a %s", (int)t, what, p->node->op->name);
}

/* `life` [nodes]: which life of its x is on. */
static void read_x(const memory *m, const int *life, const gf_node *n, int64_t t) {
    if (n->op && n->count > 0)
        read_place(m, m->plan->of[n->index].x[life[n->index]], number(n, X), "x", t);
}

static void run_step(memory *m, int *life, bool *has_g, int64_t t) {
    const gf_plan_step *s = &m->plan->steps[t];
    const gf_node *n = s->node;
    const gf_plan_node *of = &m->plan->of[n->index];
    bool forward = s->what == GF_STEP_FORWARD || s->what == GF_STEP_AGAIN;
    if (s->what == GF_STEP_REBUILD) read_place(m, of->aux[0], number(n, AUX), "aux", t);
    if (forward)
        for (int k = 0; k < n->op->n_in; k++) read_x(m, life, n->in[k], t);
    if (s->what != GF_STEP_BACKWARD) {
        life[n->index] = s->what != GF_STEP_FORWARD;
        if (n->count > 0) write_place(m, of->x[life[n->index]], number(n, X));
        if (forward && n->n_aux > 0) write_place(m, of->aux[life[n->index]], number(n, AUX));
        if (forward) /* what the input and output are not */
            for (int64_t i = 0; i < n->n_forward; i++) m->owner[s->scratch + (size_t)i] = -1;
        if (forward) read_x(m, life, n, t);
        return;
    }
    for (int k = 0; k < n->op->n_in; k++)
        if (n->in[k]->op && n->in[k]->g && !has_g[n->in[k]->index]) {
            write_place(m, m->plan->of[n->in[k]->index].g, number(n->in[k], G));
            has_g[n->in[k]->index] = true;
        }
    for (int64_t i = 0; i < n->n_backward; i++) m->owner[s->scratch + (size_t)i] = -1;
    for (int k = 0; k < n->op->n_in; k++) {
        if (n->keeps >> k & 1) read_x(m, life, n->in[k], t);
        if (n->in[k]->op && n->in[k]->g)
            read_place(m, m->plan->of[n->in[k]->index].g, number(n->in[k], G), "a gradient", t);
    }
    if (n->keeps & GF_KEEPS_X) read_x(m, life, n, t);
    if (n->n_aux > 0) read_place(m, of->aux[of->aux[1] >= 0], number(n, AUX), "aux", t);
    read_place(m, of->g, number(n, G), "its gradient", t);
}

/* One forward run and `repeats` backward runs, on paper. */
static void run_plan(const gf_plan *p, gf_node **nodes, int n, gf_node *const *losses,
                     int repeats) {
    memory m = {p, gf_alloc_array((int64_t)p->elements, sizeof *m.owner, NULL)};
    int *life = gf_alloc_array(n, sizeof *life, NULL);
    bool *has_g = gf_alloc_array(n, sizeof *has_g, NULL);
    for (int64_t t = 0; t < p->backward; t++) run_step(&m, life, has_g, t);
    for (int r = 0; r < repeats; r++) {
        memset(has_g, 0, (size_t)n * sizeof *has_g);
        memset(life, 0, (size_t)n * sizeof *life);
        for (int i = 0; i < 2; i++) {
            write_place(&m, p->of[losses[i]->index].g, number(losses[i], G));
            has_g[losses[i]->index] = true;
        }
        for (int64_t t = p->backward; t < p->n_steps; t++) run_step(&m, life, has_g, t);
    }
    for (int i = 0; i < n; i++) {
        life[i] = 0;
        if (nodes[i]->output) read_x(&m, life, nodes[i], p->n_steps);
    }
    gf_free(m.owner);
    gf_free(life);
    gf_free(has_g);
}

static void nothing_is_read_that_was_written_over(void **state) {
    static gf_node *nodes[256];
    gf_plan p = {0};
    gf_err e = {0};
    bert b;
    (void)state;
    begin(&b, 2);
    for (unsigned how = 0; how < 8; how++) { /* the third bit: hidden states outlive the run */
        /* steps that run again: embedding, 9 a layer, 6 from pooling to the losses */
        static const int agains[] = {0, 0, 1 + 9 * (LAYERS - 1), 1 + 9 * LAYERS + 6};
        /* in each layer GELU, the norm before it and what enters: the last norm's x is not read */
        static const int rebuilds[] = {3 * LAYERS, 3 * LAYERS, 2, 0};
        int n, again = 0, rebuilt = 0;
        build(&b, how >> 2);
        n = gf_graph_size(b.graph);
        for (int i = 0; i < n; i++) nodes[i] = (gf_node *)(uintptr_t)gf_graph_node(b.graph, i);
        assert_true(gf_plan_make(&p, nodes, n, b.losses, 2, how & 3, &e));
        run_plan(&p, nodes, n, b.losses, how & GF_PLAN_RETAIN ? 3 : 1);
        for (int64_t t = 0; t < p.n_steps; t++) {
            again += p.steps[t].what == GF_STEP_AGAIN;
            rebuilt += p.steps[t].what == GF_STEP_REBUILD;
        }
        assert_int_equal(again, agains[how & 3]);
        assert_int_equal(rebuilt, rebuilds[how & 3] - (how >> 2 && (how & 3) < 2 ? LAYERS : 0));
        assert_true(gf_plan_live(&p) <= p.elements && p.elements <= gf_plan_live(&p) * 21 / 20);
    }
    gf_plan_free(&p);
    end(&b);
}

/* ---- bits ---- */

static gf_real *pull(bert *b, unsigned how, const double *weights, int repeats, size_t *bytes) {
    gf_real *all = gf_alloc_array(b->elements, sizeof *all, NULL), *at = all;
    gf_err e = {0};
    build(b, false);
    if (how & GF_PLAN_RETAIN) gf_graph_retain(b->graph);
    if (how & GF_PLAN_CHECKPOINT) gf_graph_checkpoint(b->graph);
    assert_true(gf_graph_plan(b->graph, b->losses, 2, &e));
    *bytes = gf_graph_bytes(b->graph);
    gf_graph_forward(b->graph);
    for (int r = 0; r < repeats; r++) {
        for (int64_t i = 0; i < b->params.count; i++)
            memset(b->params.items[i]->grad, 0,
                   (size_t)gf_param_count(b->params.items[i]) * sizeof *at);
        gf_graph_backward(b->graph, weights);
    }
    for (int64_t i = 0; i < b->params.count; i++) {
        int64_t n = gf_param_count(b->params.items[i]);
        memcpy(at, b->params.items[i]->grad, (size_t)n * sizeof *at);
        at += n;
    }
    return all;
}

static void no_way_to_plan_changes_a_bit(void **state) {
    static const double weights[][2] = {{1, 0.5}, {0, 2}};
    size_t bytes[4], unused;
    (void)state;
    for (int w = 0; w < 2; w++) {
        gf_real *plain, *other;
        bert b;
        begin(&b, 1);
        plain = pull(&b, 0, weights[w], 1, &bytes[0]);
        for (unsigned how = 1; how < 4; how++) {
            other = pull(&b, how, weights[w], how & GF_PLAN_RETAIN ? 3 : 1, &bytes[how]);
            assert_memory_equal(plain, other, (size_t)b.elements * sizeof *plain);
            gf_free(other);
        }
        end(&b);
        begin(&b, 3);
        other = pull(&b, GF_PLAN_CHECKPOINT, weights[w], 1, &unused);
        assert_memory_equal(plain, other, (size_t)b.elements * sizeof *plain);
        gf_free(other);
        gf_free(plain);
        end(&b);
        assert_true(bytes[GF_PLAN_CHECKPOINT] * 2 < bytes[0]);
        assert_true(bytes[GF_PLAN_CHECKPOINT | GF_PLAN_RETAIN] * 3 < bytes[GF_PLAN_RETAIN] * 2);
    }
}

static void every_allocation_may_fail(void **state) {
    int64_t fired = 0;
    bool ok = false;
    (void)state;
    for (int64_t k = 1; !ok; k++) {
        gf_err e = {0};
        bert b;
        begin(&b, 1);
        gf_graph_checkpoint(b.graph);
        gf_mem_fail_at(k, false);
        ok = gf_graph_plan(b.graph, b.losses, 2, &e);
        assert_true(ok != gf_mem_fault_fired());
        gf_mem_fail_at(0, false);
        assert_true(ok || e.code == GF_E_NOMEM);
        fired += !ok;
        end(&b);
    }
    assert_true(fired > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_read_that_was_written_over),
        cmocka_unit_test(no_way_to_plan_changes_a_bit),
        cmocka_unit_test(every_allocation_may_fail),
    };
    gf_err e = {0};
    if (!gf_gemm_start(&e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
