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

void gf_engine_stop(gf_engine *n) {
    gf_graph_free(n->graph);
    gf_pool_free(n->pool);
    *n = (gf_engine){0};
}

void gf_engine_profile(gf_engine *n, gf_profile *p) {
    n->profile = p;
    gf_graph_set_profile(n->graph, p);
}

bool gf_engine_embed(gf_engine *n, gf_model *m, const gf_batch *b, gf_real *out, gf_err *e) {
    gf_node *x;
    gf_graph_reset(n->graph);
    gf_graph_keep(x = gf_model_embed(n->graph, m, b, &(gf_mode){0}));
    if (!gf_graph_plan(n->graph, NULL, 0, e)) return false;
    gf_graph_forward(n->graph);
    memcpy(out, x->x, (size_t)x->count * sizeof *out);
    return true;
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

bool gf_engine_sweep(gf_engine *n, gf_model *m, const gf_dataset *d, int64_t max_rows,
                     gf_take_batch *take, void *context, gf_err *e) {
    gf_batch b = {0};
    gf_real *x = NULL; /* [sequences, E] */
    int64_t *order = gf_alloc_array(d->rows, sizeof *order, e), width = m->embedding_size;
    int64_t capacity = 0;
    bool ok = order && gf_order_by_length(order, d, e);
    for (int64_t i = 0; ok && i < d->rows;) {
        int64_t rows = gf_engine_take_rows(d, order + i, d->rows - i, max_rows);
        if (rows > capacity) {
            gf_free(x);
            capacity = rows;
            if (!(x = gf_alloc_array(rows * width, sizeof *x, e))) break;
        }
        gf_profile_begin(n->profile);
        ok = gf_batch_fill(&b, d, order + i, rows, e);
        gf_profile_end(n->profile, "batch filling");
        ok = ok && gf_engine_embed(n, m, &b, x, e) && take(context, &b, x, e);
        i += rows;
    }
    ok = ok && (x || d->rows == 0);
    gf_free(order);
    gf_free(x);
    gf_batch_free(&b);
    return ok;
}
