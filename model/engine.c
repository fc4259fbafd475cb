#include "model/engine.h"

#include "core/gemm.h"
#include "core/mem.h"

#include <string.h>

bool gf_engine_start(gf_engine *n, int threads, gf_err *e) {
    if (!gf_gemm_start(e)) return false;
    n->vec = gf_vec_best();
    if (!(n->pool = gf_pool_new(threads, e))) return false;
    return (n->graph = gf_graph_new(n->pool, n->vec, e)) != NULL;
}

const char *const gf_precision_names[] = {"fp32", "bf16", NULL};

bool gf_engine_precision(gf_engine *n, gf_precision precision, gf_err *e) {
    gf_onednn_options how = {.type = GF_ONEDNN_BF16, .threads = gf_pool_threads(n->pool)};
    if (precision == GF_PRECISION_FP32) return true;
    if (!(n->onednn = gf_onednn_open(&how, e))) return false;
    gf_graph_set_onednn(n->graph, n->onednn);
    return true;
}

const char *gf_engine_products(const gf_engine *n, char *text, int size) {
    return n->onednn ? gf_onednn_name(n->onednn, text, size) : gf_gemm_name(text, size);
}

void gf_engine_stop(gf_engine *n) {
    gf_graph_free(n->graph);
    gf_onednn_close(n->onednn);
    gf_pool_free(n->pool);
    *n = (gf_engine){0};
}

void gf_engine_profile(gf_engine *n, gf_profile *p) {
    n->profile = p;
    gf_graph_set_profile(n->graph, p);
}

/* Runs what is on the tape; the values of x are copied out. */
static bool run(gf_engine *n, gf_node *x, gf_real *out, gf_err *e) {
    gf_graph_keep(x);
    if (!gf_graph_plan(n->graph, NULL, 0, e)) return false;
    gf_graph_forward(n->graph);
    memcpy(out, x->x, (size_t)x->count * sizeof *out);
    return true;
}

bool gf_engine_embed(gf_engine *n, gf_model *m, const gf_batch *b, gf_real *out, gf_err *e) {
    gf_graph_reset(n->graph);
    return run(n, gf_model_embed(n->graph, m, b, &(gf_mode){0}), out, e);
}

bool gf_engine_heads(gf_engine *n, const gf_model *m, int64_t rows, const gf_real *embeddings,
                     gf_real *const *logits, gf_err *e) {
    gf_node *x, **z = gf_alloc_array(m->n_heads, sizeof *z, e);
    bool ok = z != NULL;
    gf_graph_reset(n->graph);
    x = gf_graph_input(n->graph, gf_shape2(rows, m->embedding_size), embeddings);
    for (int64_t h = 0; ok && h < m->n_heads; h++)
        gf_graph_keep(z[h] = gf_head_logits(n->graph, &m->heads[h], x));
    ok = ok && gf_graph_plan(n->graph, NULL, 0, e);
    if (ok) gf_graph_forward(n->graph);
    for (int64_t h = 0; ok && h < m->n_heads; h++)
        memcpy(logits[h], z[h]->x, (size_t)z[h]->count * sizeof *logits[h]);
    gf_free(z);
    return ok;
}

int64_t gf_engine_take_rows(const gf_dataset *d, const int64_t *order, int64_t count,
                            int64_t max_rows) {
    int64_t taken = 0, tokens = 0;
    while (taken < count && taken < max_rows) {
        tokens += d->start[order[taken] + 1] - d->start[order[taken]];
        if (taken > 0 && tokens > GF_BATCH_TOKENS) break;
        taken++;
    }
    return taken;
}

/* ---- whole data sets ---- */

void gf_known_gather(const gf_known *k, const gf_dataset *d, const gf_batch *b, int64_t width,
                     gf_real *out) {
    for (int64_t i = 0; i < b->sequences; i++) {
        int64_t row = b->row[i], first = k->layers ? d->start[row] : row;
        int64_t count = (k->layers ? d->start[row + 1] - first : 1) * width;
        memcpy(out, k->x + first * width, (size_t)count * sizeof *out);
        out += count;
    }
}

typedef struct sweep {
    gf_engine *engine;
    gf_model *model;
    const gf_dataset *data;
    const gf_sweep *how;
    gf_batch batch;
    gf_real *x, *known; /* what take() gets of a batch, and what is known of it */
    int64_t capacity, known_capacity;
} sweep;

/* Room for `count` values, whatever was there. */
static bool make_room(gf_real **x, int64_t *capacity, int64_t count, gf_err *e) {
    if (count <= *capacity) return true;
    gf_free(*x);
    *capacity = 0;
    if (!(*x = gf_alloc_array(count, sizeof **x, e))) return false;
    *capacity = count;
    return true;
}

static bool run_batch(sweep *s, gf_err *e) {
    const gf_batch *b = &s->batch;
    const gf_sweep *how = s->how;
    gf_graph *g = s->engine->graph;
    gf_mode mode = {.layers = how->known.layers};
    int64_t hidden = b->tokens * s->model->config.hidden_size, wide = s->model->embedding_size;
    bool embeddings = how->known.x && how->known.layers == 0;
    if (!make_room(&s->x, &s->capacity, how->behind ? hidden : b->sequences * wide, e))
        return false;
    if (embeddings) {
        gf_known_gather(&how->known, s->data, b, wide, s->x);
        return true;
    }
    if (how->known.x) {
        if (!make_room(&s->known, &s->known_capacity, hidden, e)) return false;
        gf_known_gather(&how->known, s->data, b, s->model->config.hidden_size, s->known);
        mode.hidden = s->known;
    }
    gf_graph_reset(g);
    return run(s->engine,
               how->behind ? gf_model_hidden_behind(g, s->model, b, &mode, how->behind)
                           : gf_model_embed(g, s->model, b, &mode),
               s->x, e);
}

bool gf_engine_sweep_as(gf_engine *n, gf_model *m, const gf_dataset *d, const gf_sweep *how,
                        gf_take_batch *take, void *context, gf_err *e) {
    sweep s = {.engine = n, .model = m, .data = d, .how = how};
    int64_t *order = gf_alloc_array(d->rows, sizeof *order, e);
    bool ok = order && gf_order_by_length(order, d, e);
    for (int64_t i = 0; ok && i < d->rows;) {
        int64_t rows = gf_engine_take_rows(d, order + i, d->rows - i, how->max_rows);
        gf_profile_begin(n->profile);
        ok = gf_batch_fill(&s.batch, d, order + i, rows, e);
        gf_profile_end(n->profile, "batch filling");
        ok = ok && run_batch(&s, e) && take(context, &s.batch, s.x, e);
        i += rows;
    }
    gf_free(order);
    gf_free(s.x);
    gf_free(s.known);
    gf_batch_free(&s.batch);
    return ok;
}

bool gf_engine_sweep(gf_engine *n, gf_model *m, const gf_dataset *d, int64_t max_rows,
                     gf_take_batch *take, void *context, gf_err *e) {
    return gf_engine_sweep_as(n, m, d, &(gf_sweep){.max_rows = max_rows}, take, context, e);
}
