#include "autograd/plan.h"

#include "core/mem.h"

#include <string.h>

enum { LINE = 16 }; /* elements: places begin on cache lines */

/* ---- which nodes get a gradient ---- */

/* Those between a loss and a parameter that trains. Sets a marker in g that placing replaces. */
static void mark_gradients(gf_plan *p, gf_node **nodes, int n, gf_node *const *losses,
                           int n_losses) {
    for (int i = 0; i < n; i++) {
        p->of[i] = (gf_plan_node){.x = {-1, -1}, .aux = {-1, -1}, .g = -1};
        if (nodes[i]->op) nodes[i]->g = NULL;
    }
    for (int i = 0; i < n_losses; i++)
        if (losses[i]->wants_grad) {
            losses[i]->g = &p->marker;
            p->of[losses[i]->index].root = true;
        }
    for (int i = n - 1; i >= 0; i--)
        for (int k = 0; nodes[i]->op && nodes[i]->g && k < nodes[i]->op->n_in; k++)
            if (nodes[i]->in[k]->op && nodes[i]->in[k]->wants_grad) nodes[i]->in[k]->g = &p->marker;
}

/* ---- the order of the steps ---- */

static bool add_step(gf_plan *p, gf_node *node, gf_step_what what, gf_err *e) {
    if (!gf_grow(&p->steps, p->n_steps, &p->steps_capacity, sizeof *p->steps, e)) return false;
    p->steps[p->n_steps++] = (gf_plan_step){.node = node, .what = what};
    if (what == GF_STEP_AGAIN || what == GF_STEP_REBUILD) p->of[node->index].life = 1;
    return true;
}

/* x is about to be read in the backward run. Of a segment that runs again it is there: the reader
 * is in the segment, or in a later one, for which it was kept. */
static bool recall(gf_plan *p, gf_node *node, gf_err *e) {
    bool can =
        node->rebuild && node->g && node->n_aux > 0 && !node->output && node->segment >= p->exempt;
    if (!can || p->of[node->index].life == 1) return true;
    return add_step(p, node, GF_STEP_REBUILD, e);
}

/* What must run again, of the nodes first .. last: those that save something for a backward run or
 * whose value one of these or a backward run reads. */
static void find_wanted(gf_plan *p, gf_node **nodes, int first, int last) {
    for (int i = last; i >= first; i--) {
        const gf_node *node = nodes[i];
        bool *wanted = &p->of[i].wanted;
        if (!node->op) continue;
        *wanted |= node->g && (node->n_aux > 0 || node->keeps & GF_KEEPS_X);
        for (int k = 0; k < node->op->n_in; k++)
            if (*wanted || (node->g && node->keeps >> k & 1))
                p->of[node->in[k]->index].wanted = true;
    }
}

/* Runs the part of a segment up to node `last` forward again. */
static bool add_segment(gf_plan *p, gf_node **nodes, int last, gf_err *e) {
    int first = last;
    bool ok = true;
    while (first > 0 && nodes[first - 1]->segment == nodes[last]->segment) first--;
    find_wanted(p, nodes, first, last);
    for (int i = first; ok && i <= last; i++)
        if (nodes[i]->op && p->of[i].wanted) ok = add_step(p, nodes[i], GF_STEP_AGAIN, e);
    for (int i = 0; i <= last; i++) p->of[i].wanted = false;
    return ok;
}

static bool add_steps(gf_plan *p, gf_node **nodes, int n, unsigned how, gf_err *e) {
    bool ok = true;
    int segment; /* the lowest one whose values are there */
    p->exempt = how & GF_PLAN_CHECKPOINT && n > 0 ? nodes[n - 1]->segment : 0;
    if (how == (GF_PLAN_CHECKPOINT | GF_PLAN_RETAIN)) p->exempt++; /* it would stay to the end */
    segment = p->exempt;
    p->n_steps = 0;
    for (int i = 0; ok && i < n; i++)
        if (nodes[i]->op) ok = add_step(p, nodes[i], GF_STEP_FORWARD, e);
    p->backward = p->n_steps;
    for (int i = n - 1; ok && i >= 0; i--) {
        gf_node *node = nodes[i];
        if (!node->op || !node->g) continue;
        if (node->segment < segment) {
            segment = node->segment;
            ok = add_segment(p, nodes, i, e);
        }
        for (int k = 0; ok && k < node->op->n_in; k++)
            if (node->keeps >> k & 1) ok = recall(p, node->in[k], e);
        if (ok && node->keeps & GF_KEEPS_X) ok = recall(p, node, e);
        ok = ok && add_step(p, node, GF_STEP_BACKWARD, e);
    }
    return ok;
}

/* ---- lives ---- */

/* A place born at step t; its index goes to *where. */
static bool bear(gf_plan *p, int64_t *where, gf_node *node, gf_place_what what, int t, int64_t size,
                 gf_err *e) {
    if (size == 0) return true;
    if (!gf_grow(&p->places, p->n, &p->capacity, sizeof *p->places, e)) return false;
    *where = p->n;
    p->places[p->n++] =
        (gf_place){node, what, t, t, ((size_t)size + LINE - 1) / LINE * LINE, 0, false};
    return true;
}

static void touch(gf_plan *p, int64_t place, int t) {
    if (place >= 0) p->places[place].death = t;
}

static void read_x(gf_plan *p, const gf_node *node, int t) {
    const gf_plan_node *s = &p->of[node->index];
    touch(p, s->x[s->life], t);
}

static bool live_forward(gf_plan *p, gf_node *node, int t, gf_err *e) {
    gf_plan_node *s = &p->of[node->index];
    int64_t scratch;
    s->life = p->steps[t].what == GF_STEP_AGAIN;
    for (int k = 0; k < node->op->n_in; k++) read_x(p, node->in[k], t);
    return bear(p, &s->x[s->life], node, GF_PLACE_X, t, node->count, e) &&
           bear(p, &s->aux[s->life], node, GF_PLACE_AUX, t, node->n_aux, e) &&
           bear(p, &scratch, node, GF_PLACE_SCRATCH, t, node->n_forward, e) &&
           (!s->root || s->life || bear(p, &s->g, node, GF_PLACE_G, t, node->count, e));
}

static bool live_rebuild(gf_plan *p, gf_node *node, int t, gf_err *e) {
    gf_plan_node *s = &p->of[node->index];
    touch(p, s->aux[0], t);
    s->life = 1;
    return bear(p, &s->x[1], node, GF_PLACE_X, t, node->count, e);
}

static bool live_backward(gf_plan *p, gf_node *node, int t, gf_err *e) {
    gf_plan_node *s = &p->of[node->index];
    int64_t scratch;
    touch(p, s->g, t);
    touch(p, s->aux[1] >= 0 ? s->aux[1] : s->aux[0], t);
    if (node->keeps & GF_KEEPS_X) read_x(p, node, t);
    for (int k = 0; k < node->op->n_in; k++) {
        gf_node *in = node->in[k];
        int64_t *g = &p->of[in->index].g;
        if (node->keeps >> k & 1) read_x(p, in, t);
        if (!in->op || !in->g) continue;
        if (*g < 0 && !bear(p, g, in, GF_PLACE_G, t, in->count, e)) return false;
        touch(p, *g, t);
    }
    return bear(p, &scratch, node, GF_PLACE_SCRATCH, t, node->n_backward, e);
}

static bool add_lives(gf_plan *p, gf_node **nodes, int n, unsigned how, gf_err *e) {
    int end = (int)p->n_steps;
    bool ok = true;
    p->n = 0;
    for (int i = 0; i < n; i++) p->of[i].life = 0;
    for (int t = 0; ok && t < end; t++) {
        gf_node *node = p->steps[t].node;
        gf_step_what what = p->steps[t].what;
        ok = what == GF_STEP_REBUILD    ? live_rebuild(p, node, t, e)
             : what == GF_STEP_BACKWARD ? live_backward(p, node, t, e)
                                        : live_forward(p, node, t, e);
    }
    for (int i = 0; i < n; i++)
        if (nodes[i]->output) touch(p, p->of[i].x[0], end);
    for (int64_t i = 0; how & GF_PLAN_RETAIN && i < p->n; i++) {
        gf_place *q = &p->places[i];
        if (q->birth < p->backward && q->death >= p->backward && q->what != GF_PLACE_G)
            q->death = end;
    }
    return ok;
}

/* ---- places ---- */

static bool overlap(const gf_place *a, const gf_place *b) {
    return a->birth <= b->death && b->birth <= a->death;
}

/* Gives the place the smallest gap that holds it between those settled places that live with it;
 * p->settled [count] is in order of offset. */
static void settle(gf_plan *p, int64_t index, int64_t count) {
    gf_place *place = &p->places[index];
    size_t end = 0, best = SIZE_MAX;
    int64_t at = 0;
    for (int64_t k = 0; k < count; k++) {
        const gf_place *q = &p->places[p->settled[k]];
        if (!overlap(place, q)) continue;
        if (q->offset >= end + place->size && q->offset - end < best) {
            best = q->offset - end;
            place->offset = end;
        }
        if (q->offset + q->size > end) end = q->offset + q->size;
    }
    if (best == SIZE_MAX) place->offset = end;
    while (at < count && p->places[p->settled[at]].offset <= place->offset) at++;
    memmove(p->settled + at + 1, p->settled + at, (size_t)(count - at) * sizeof *p->settled);
    p->settled[at] = index;
    place->settled = true;
    if (place->offset + place->size > p->elements) p->elements = place->offset + place->size;
}

static int64_t find_largest(const gf_plan *p) {
    int64_t largest = -1;
    for (int64_t i = 0; i < p->n; i++)
        if (!p->places[i].settled && (largest < 0 || p->places[i].size > p->places[largest].size))
            largest = i;
    return largest;
}

static bool settle_all(gf_plan *p, gf_err *e) {
    while (p->settled_capacity < p->n + 1)
        if (!gf_grow(&p->settled, p->settled_capacity, &p->settled_capacity, sizeof *p->settled, e))
            return false;
    p->elements = 0;
    for (int64_t k = 0; k < p->n; k++) settle(p, find_largest(p), k);
    for (int64_t i = 0; i < p->n; i++)
        if (p->places[i].what == GF_PLACE_SCRATCH)
            p->steps[p->places[i].birth].scratch = p->places[i].offset;
    return true;
}

size_t gf_plan_live(const gf_plan *p) {
    size_t most = 0;
    for (int64_t i = 0; i < p->n; i++) {
        size_t live = 0;
        for (int64_t k = 0; k < p->n; k++)
            if (p->places[k].birth <= p->places[i].birth &&
                p->places[k].death >= p->places[i].birth)
                live += p->places[k].size;
        if (live > most) most = live;
    }
    return most;
}

bool gf_plan_make(gf_plan *p, gf_node **nodes, int n, gf_node *const *losses, int n_losses,
                  unsigned how, gf_err *e) {
    while (p->of_capacity < n)
        if (!gf_grow(&p->of, p->of_capacity, &p->of_capacity, sizeof *p->of, e)) return false;
    mark_gradients(p, nodes, n, losses, n_losses);
    return add_steps(p, nodes, n, how, e) && add_lives(p, nodes, n, how, e) && settle_all(p, e);
}

void gf_plan_free(gf_plan *p) {
    gf_free(p->steps);
    gf_free(p->places);
    gf_free(p->of);
    gf_free(p->settled);
    *p = (gf_plan){0};
}
