#include "autograd/graph.h"

#include "autograd/cost.h"
#include "autograd/plan.h"
#include "core/mem.h"

#include <string.h>

struct gf_graph {
    gf_pool *pool;
    gf_profile *profile;
    gf_onednn *onednn;
    const gf_vec *vec;
    gf_node **nodes; /* [n], reused from batch to batch: capacity nodes exist */
    int64_t n, made, capacity;
    gf_plan plan;
    gf_real *arena;
    size_t arena_size; /* elements */
    gf_node *const *losses;
    int n_losses;
    unsigned how; /* GF_PLAN_* */
    int segment;  /* of the next node */
    gf_err err;   /* the first node that did not fit */
};

gf_graph *gf_graph_new(gf_pool *pool, const gf_vec *vec, gf_err *e) {
    gf_graph *g = gf_alloc_array(1, sizeof *g, e);
    if (!g) return NULL;
    g->pool = pool;
    g->vec = vec;
    return g;
}

void gf_graph_free(gf_graph *g) {
    if (!g) return;
    for (int64_t i = 0; i < g->made; i++) gf_free(g->nodes[i]);
    gf_free(g->nodes);
    gf_free(g->arena);
    gf_plan_free(&g->plan);
    gf_free(g);
}

void gf_graph_set_profile(gf_graph *g, gf_profile *p) { g->profile = p; }

void gf_graph_set_onednn(gf_graph *g, gf_onednn *o) { g->onednn = o; }

void gf_graph_reset(gf_graph *g) {
    g->n = 0;
    g->how = 0;
    g->segment = 0;
    g->err = (gf_err){0};
}

const gf_vec *gf_node_vec(const gf_node *n) { return n->graph->vec; }
gf_pool *gf_node_pool(const gf_node *n) { return n->graph->pool; }
gf_onednn *gf_node_onednn(const gf_node *n) { return n->graph->onednn; }
int gf_graph_size(const gf_graph *g) { return (int)g->n; }
const gf_node *gf_graph_node(const gf_graph *g, int i) { return g->nodes[i]; }
size_t gf_graph_bytes(const gf_graph *g) { return g->plan.elements * sizeof(gf_real); }
size_t gf_graph_live_bytes(const gf_graph *g) { return gf_plan_live(&g->plan) * sizeof(gf_real); }

static gf_node *next_node(gf_graph *g) {
    gf_node *n;
    if (g->n == g->made) {
        if (!gf_grow(&g->nodes, g->made, &g->capacity, sizeof *g->nodes, &g->err)) return NULL;
        if (!(g->nodes[g->made] = gf_alloc(sizeof *n, &g->err))) return NULL;
        g->made++;
    }
    n = g->nodes[g->n];
    *n = (gf_node){.graph = g, .index = (int)g->n, .segment = g->segment};
    g->n++;
    return n;
}

gf_node *gf_graph_input(gf_graph *g, gf_shape shape, const gf_real *x) {
    gf_node *n = next_node(g);
    if (!n) return NULL;
    n->shape = shape;
    n->count = gf_shape_count(&shape);
    n->x = x;
    return n;
}

gf_node *gf_graph_param(gf_graph *g, gf_param *p) {
    gf_node *n = gf_graph_input(g, p->shape, p->value);
    if (!n) return NULL;
    n->param = p;
    n->g = p->grad;
    n->wants_grad = p->trainable;
    return n;
}

static gf_node *refuse(gf_graph *g, const gf_node *n, const char *why) {
    char shapes[256] = "", one[64];
    for (int i = 0; i < n->op->n_in; i++) {
        gf_shape_text(&n->in[i]->shape, one, sizeof one);
        strncat(shapes, i ? " " : "", sizeof shapes - strlen(shapes) - 1);
        strncat(shapes, one, sizeof shapes - strlen(shapes) - 1);
    }
    gf_fail(&g->err, GF_E_INTERNAL, "op %s over %s: %s", n->op->name, shapes, why);
    return NULL;
}

gf_node *gf_graph_call(gf_graph *g, const gf_op *op, const gf_attr *attr, gf_node *const *in,
                       int n_in) {
    gf_node *n;
    const char *why;
    for (int i = 0; i < n_in; i++)
        if (!in[i]) return NULL;
    if (!(n = next_node(g))) return NULL;
    n->op = op;
    n->attr = *attr;
    for (int i = 0; i < n_in; i++) {
        n->in[i] = in[i];
        n->wants_grad |= in[i]->wants_grad;
    }
    why = n_in == op->n_in ? op->infer(n) : "it has another number of inputs";
    if (why) return refuse(g, n, why);
    n->count = gf_shape_count(&n->shape);
    return n->count < 0 ? refuse(g, n, "the result is too large") : n;
}

void gf_graph_keep(gf_node *n) {
    if (n) n->output = true;
}

void gf_graph_retain(gf_graph *g) { g->how |= GF_PLAN_RETAIN; }
void gf_graph_checkpoint(gf_graph *g) { g->how |= GF_PLAN_CHECKPOINT; }
void gf_graph_segment(gf_graph *g) { g->segment++; }

/* ---- where things are ---- */

static gf_real *address(const gf_graph *g, int64_t place) {
    return g->arena + g->plan.places[place].offset;
}

/* Values and what is saved are looked for in their first or second life, where they have it. */
static void enter_life(gf_graph *g, gf_node *n, int life) {
    const gf_plan_node *s = &g->plan.of[n->index];
    if (s->x[life] >= 0) n->x = address(g, s->x[life]);
    if (s->aux[life] >= 0) n->aux = address(g, s->aux[life]);
}

static void enter_first_lives(gf_graph *g) {
    for (int64_t i = 0; i < g->n; i++) enter_life(g, g->nodes[i], 0);
}

static bool reserve_arena(gf_graph *g, gf_err *e) {
    size_t size = g->plan.elements + g->plan.elements / 2;
    if (g->plan.elements <= g->arena_size) return true;
    if (size > SIZE_MAX / sizeof(gf_real))
        return gf_fail(e, GF_E_NOMEM, "an arena of %zu numbers is too large", size);
    gf_free(g->arena); /* before asking for more: a peak of both would be the true peak */
    g->arena_size = 0;
    /* alloc, not alloc_array: pages nobody touches stay out of memory. So room for batches somewhat
     * larger than this one costs nothing, and saves touching all pages anew for each of them. */
    if (!(g->arena = gf_alloc(size * sizeof(gf_real), e))) return false;
    g->arena_size = size;
    return true;
}

bool gf_graph_plan(gf_graph *g, gf_node *const *losses, int n_losses, gf_err *e) {
    if (g->err.code != GF_OK) return gf_fail(e, g->err.code, "%s", g->err.text);
    g->losses = losses;
    g->n_losses = n_losses;
    if (!gf_plan_make(&g->plan, g->nodes, (int)g->n, losses, n_losses, g->how, e)) return false;
    if (!reserve_arena(g, e)) return false;
    enter_first_lives(g);
    for (int64_t i = 0; i < g->n; i++)
        if (g->plan.of[i].g >= 0) g->nodes[i]->g = address(g, g->plan.of[i].g);
    return true;
}

/* ---- runs ---- */

/* A gradient's memory is free until its first writer of this run comes. That one writes over what
 * lies there, or it starts at zero. */
static void reach_inputs(gf_graph *g, gf_node *n) {
    n->fresh = 0;
    for (int i = 0; i < n->op->n_in; i++) {
        gf_node *in = n->in[i];
        bool once = true;
        if (!in->op || !in->g || g->plan.of[in->index].reached) continue;
        for (int k = 0; k < n->op->n_in; k++) once = once && (k == i || n->in[k] != in);
        if (once && n->overwrites >> i & 1)
            n->fresh |= 1u << i;
        else
            memset(in->g, 0, (size_t)in->count * sizeof *in->g);
        g->plan.of[in->index].reached = true;
    }
}

static gf_way way_of(const gf_graph *g, const gf_plan_step *step) {
    if (step->what == GF_STEP_BACKWARD) return GF_WAY_BACKWARD;
    if (step->what == GF_STEP_REBUILD) return GF_WAY_REBUILD;
    return g->n_losses > 0 ? GF_WAY_FORWARD : GF_WAY_INFERENCE;
}

static void run_step(gf_graph *g, const gf_plan_step *step) {
    gf_node *n = step->node;
    bool backward = step->what == GF_STEP_BACKWARD;
    n->scratch = g->arena + step->scratch;
    if (backward && !g->plan.of[n->index].reached) return;
    gf_profile_begin(g->profile);
    if (backward) {
        reach_inputs(g, n);
        n->op->backward(n);
    } else {
        if (step->what != GF_STEP_FORWARD) enter_life(g, n, 1);
        (step->what == GF_STEP_REBUILD ? n->rebuild : n->op->forward)(n);
    }
    gf_cost_end(g->profile, n, way_of(g, step));
}

void gf_graph_forward(gf_graph *g) {
    for (int64_t i = 0; i < g->plan.backward; i++) run_step(g, &g->plan.steps[i]);
}

/* The losses this run starts from: those that count. */
static void reach_losses(gf_graph *g, const double *weights) {
    for (int64_t i = 0; i < g->n; i++) g->plan.of[i].reached = false;
    for (int i = 0; i < g->n_losses; i++) {
        gf_node *loss = g->losses[i];
        if (!loss->g || (weights && weights[i] == 0)) continue;
        if (weights) loss->g[0] = (gf_real)weights[i];
        g->plan.of[loss->index].reached = true;
    }
}

void gf_graph_backward(gf_graph *g, const double *weights) {
    reach_losses(g, weights);
    for (int64_t i = g->plan.backward; i < g->plan.n_steps; i++) run_step(g, &g->plan.steps[i]);
    enter_first_lives(g);
}
