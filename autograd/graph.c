#include "autograd/graph.h"

#include "autograd/cost.h"
#include "autograd/plan.h"
#include "core/mem.h"

#include <string.h>

struct gf_graph {
    gf_pool *pool;
    gf_profile *profile;
    const gf_vec *vec;
    gf_node **nodes; /* [n], reused from batch to batch: capacity nodes exist */
    int64_t n, made, capacity;
    gf_plan plan;
    gf_real *arena;
    size_t arena_size; /* elements */
    gf_node *const *losses;
    int n_losses;
    bool retain; /* for more than one backward run */
    gf_err err;  /* the first node that did not fit */
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

void gf_graph_reset(gf_graph *g) {
    g->n = 0;
    g->retain = false;
    g->err = (gf_err){0};
}

const gf_vec *gf_node_vec(const gf_node *n) { return n->graph->vec; }
gf_pool *gf_node_pool(const gf_node *n) { return n->graph->pool; }
int gf_graph_size(const gf_graph *g) { return (int)g->n; }
const gf_node *gf_graph_node(const gf_graph *g, int i) { return g->nodes[i]; }
size_t gf_graph_bytes(const gf_graph *g) { return g->plan.elements * sizeof(gf_real); }

static gf_node *next_node(gf_graph *g) {
    gf_node *n;
    if (g->n == g->made) {
        if (!gf_grow(&g->nodes, g->made, &g->capacity, sizeof *g->nodes, &g->err)) return NULL;
        if (!(g->nodes[g->made] = gf_alloc(sizeof *n, &g->err))) return NULL;
        g->made++;
    }
    n = g->nodes[g->n];
    *n = (gf_node){.graph = g, .index = (int)g->n};
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

void gf_graph_retain(gf_graph *g) { g->retain = true; }

static void place(gf_graph *g) {
    for (int64_t i = 0; i < g->plan.n; i++) {
        const gf_place *p = &g->plan.places[i];
        gf_real *at = g->arena + p->offset;
        if (p->what == GF_PLACE_X) p->node->x = at;
        if (p->what == GF_PLACE_G) p->node->g = at;
        if (p->what == GF_PLACE_AUX) p->node->aux = at;
    }
}

bool gf_graph_plan(gf_graph *g, gf_node *const *losses, int n_losses, gf_err *e) {
    if (g->err.code != GF_OK) return gf_fail(e, g->err.code, "%s", g->err.text);
    g->losses = losses;
    g->n_losses = n_losses;
    if (!gf_plan_make(&g->plan, g->nodes, (int)g->n, losses, n_losses, g->retain, e)) return false;
    if (g->plan.elements > g->arena_size) {
        gf_free(g->arena); /* before asking for more: a peak of both would be the true peak */
        g->arena_size = 0;
        /* alloc, not alloc_array: pages nobody touches stay out of memory */
        if (!(g->arena = gf_alloc(g->plan.elements * sizeof(gf_real), e))) return false;
        g->arena_size = g->plan.elements;
    }
    place(g);
    return true;
}

void gf_graph_forward(gf_graph *g) {
    gf_way way = g->n_losses > 0 ? GF_WAY_FORWARD : GF_WAY_INFERENCE;
    for (int64_t i = 0; i < g->n; i++) {
        gf_node *n = g->nodes[i];
        n->scratch = g->arena + g->plan.scratch[i].forward;
        if (!n->op) continue;
        gf_profile_begin(g->profile);
        n->op->forward(n);
        gf_cost_end(g->profile, n, way);
    }
}

/* The losses this run starts from: those that count. */
static void reach_losses(gf_graph *g, const double *weights) {
    for (int64_t i = 0; i < g->n; i++) g->plan.scratch[i].reached = false;
    for (int i = 0; i < g->n_losses; i++) {
        gf_node *loss = g->losses[i];
        if (!loss->g || (weights && weights[i] == 0)) continue;
        if (weights) loss->g[0] = (gf_real)weights[i];
        g->plan.scratch[loss->index].reached = true;
    }
}

/* A gradient's memory is free until its first writer of this run comes; it starts at zero then. */
static void reach_inputs(gf_graph *g, const gf_node *n) {
    for (int i = 0; i < n->op->n_in; i++) {
        gf_node *in = n->in[i];
        if (!in->op || !in->g || g->plan.scratch[in->index].reached) continue;
        memset(in->g, 0, (size_t)in->count * sizeof *in->g);
        g->plan.scratch[in->index].reached = true;
    }
}

void gf_graph_backward(gf_graph *g, const double *weights) {
    reach_losses(g, weights);
    for (int64_t i = g->n - 1; i >= 0; i--) {
        gf_node *n = g->nodes[i];
        if (!n->op || !g->plan.scratch[i].reached) continue;
        gf_profile_begin(g->profile);
        reach_inputs(g, n);
        n->scratch = g->arena + g->plan.scratch[i].backward;
        n->op->backward(n);
        gf_cost_end(g->profile, n, GF_WAY_BACKWARD);
    }
}
