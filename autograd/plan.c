#include "autograd/plan.h"

#include "core/mem.h"

#include <string.h>

enum { LINE = 16 }; /* elements: places begin on cache lines */

static int later(int a, int b) { return a > b ? a : b; }

static bool add(gf_plan *p, gf_node *node, gf_place_what what, int birth, int death, int64_t size,
                gf_err *e) {
    if (size == 0) return true;
    if (!gf_grow(&p->places, p->n, &p->capacity, sizeof *p->places, e)) return false;
    p->places[p->n++] =
        (gf_place){node, what, birth, death, ((size_t)size + LINE - 1) / LINE * LINE, 0};
    return true;
}

/* Which nodes get a gradient: those between a loss and a parameter that trains. Sets a marker in g
 * that placing replaces, first_writer, and the last reader of every x. */
static void find_lives(gf_plan *p, gf_node **nodes, int n, gf_node *const *losses, int n_losses) {
    for (int i = 0; i < n; i++) {
        p->scratch[i] = (gf_plan_node){.first_writer = -1, .last_reader = i};
        if (nodes[i]->op) nodes[i]->g = NULL;
    }
    for (int i = 0; i < n_losses; i++)
        if (losses[i]->wants_grad) {
            losses[i]->g = &p->marker;
            p->scratch[losses[i]->index].root = true;
        }
    for (int i = n - 1; i >= 0; i--) {
        gf_node *node = nodes[i];
        int back = 2 * n - 1 - i;
        if (!node->op) continue;
        if (node->g && node->keeps & GF_KEEPS_X)
            p->scratch[i].last_reader = later(p->scratch[i].last_reader, back);
        for (int k = 0; k < node->op->n_in; k++) {
            gf_node *in = node->in[k];
            gf_plan_node *s = &p->scratch[in->index];
            s->last_reader = later(s->last_reader, node->g && node->keeps >> k & 1 ? back : i);
            if (!node->g || !in->wants_grad || !in->op) continue;
            if (s->first_writer < 0 && !s->root) s->first_writer = i;
            in->g = &p->marker;
        }
        if (node->output) p->scratch[i].last_reader = 2 * n;
    }
}

static bool add_node(gf_plan *p, gf_node *node, int n, bool retain, gf_err *e) {
    int i = node->index, back = 2 * n - 1 - i, first = p->scratch[i].first_writer;
    int last = p->scratch[i].last_reader, last_of_aux = node->g ? back : i;
    bool ok = add(p, node, GF_PLACE_X, i, retain && last >= n ? 2 * n : last, node->count, e);
    ok = ok && add(p, node, GF_PLACE_AUX, i, retain && last_of_aux >= n ? 2 * n : last_of_aux,
                   node->n_aux, e);
    ok = ok && add(p, node, GF_PLACE_SCRATCH, i, i, node->n_forward, e);
    if (!ok || !node->g) return ok;
    ok = add(p, node, GF_PLACE_G, first < 0 ? i : 2 * n - 1 - first, back, node->count, e);
    return ok && add(p, node, GF_PLACE_SCRATCH, back, back, node->n_backward, e);
}

/* The start of the smallest gap between the active places that holds `size`; *at is where in the
 * list the new place belongs. */
static size_t find_gap(const gf_plan *p, int64_t active, size_t size, int64_t *at) {
    size_t end = 0, best = SIZE_MAX, offset = 0;
    *at = -1;
    for (int64_t k = 0; k < active; k++) {
        const gf_place *q = &p->places[p->active[k]];
        if (q->offset >= end + size && q->offset - end < best) {
            best = q->offset - end;
            offset = end;
            *at = k;
        }
        if (q->offset + q->size > end) end = q->offset + q->size;
    }
    if (*at >= 0) return offset;
    *at = active;
    return end;
}

/* Gives the place its offset; places that died before its birth have left the list. */
static int64_t settle(gf_plan *p, int64_t index, int64_t active) {
    gf_place *place = &p->places[index];
    int64_t kept = 0, at;
    for (int64_t k = 0; k < active; k++)
        if (p->places[p->active[k]].death >= place->birth) p->active[kept++] = p->active[k];
    place->offset = find_gap(p, kept, place->size, &at);
    memmove(p->active + at + 1, p->active + at, (size_t)(kept - at) * sizeof *p->active);
    p->active[at] = index;
    if (place->offset + place->size > p->elements) p->elements = place->offset + place->size;
    return kept + 1;
}

static bool reserve(gf_plan *p, int n, gf_err *e) {
    while (p->scratch_capacity < n)
        if (!gf_grow(&p->scratch, p->scratch_capacity, &p->scratch_capacity, sizeof *p->scratch, e))
            return false;
    return true;
}

/* Births rise over two passes: those of the forward run in tape order, then those of the backward
 * run. */
static bool settle_all(gf_plan *p, int n, gf_err *e) {
    int64_t active = 0;
    while (p->active_capacity < p->n + 1)
        if (!gf_grow(&p->active, p->active_capacity, &p->active_capacity, sizeof *p->active, e))
            return false;
    p->elements = 0;
    for (int64_t i = 0; i < p->n; i++)
        if (p->places[i].birth < n) active = settle(p, i, active);
    for (int t = n; t < 2 * n; t++)
        for (int64_t i = 0; i < p->n; i++)
            if (p->places[i].birth == t) active = settle(p, i, active);
    return true;
}

bool gf_plan_make(gf_plan *p, gf_node **nodes, int n, gf_node *const *losses, int n_losses,
                  bool retain, gf_err *e) {
    p->n = 0;
    if (!reserve(p, n, e)) return false;
    find_lives(p, nodes, n, losses, n_losses);
    for (int i = 0; i < n; i++)
        if (nodes[i]->op && !add_node(p, nodes[i], n, retain, e)) return false;
    if (!settle_all(p, n, e)) return false;
    for (int64_t i = 0; i < p->n; i++) {
        gf_plan_node *s = &p->scratch[p->places[i].node->index];
        if (p->places[i].what != GF_PLACE_SCRATCH) continue;
        if (p->places[i].birth < n)
            s->forward = p->places[i].offset;
        else
            s->backward = p->places[i].offset;
    }
    return true;
}

void gf_plan_free(gf_plan *p) {
    gf_free(p->places);
    gf_free(p->scratch);
    gf_free(p->active);
    *p = (gf_plan){0};
}
