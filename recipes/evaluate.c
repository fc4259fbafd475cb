#include "recipes/evaluate.h"

#include "core/mem.h"
#include "model/loss.h"
#include "model/mlm.h"

#include <math.h>
#include <string.h>

typedef struct counting {
    const gf_tell *tell;
    int64_t done, all;
} counting;

static bool count_rows(counting *c, int64_t rows, gf_err *e) {
    c->done += rows;
    return !c->tell || c->tell->rows(c->tell->context, c->done, c->all, e);
}

typedef struct keeping {
    gf_features *features;
    counting count;
} keeping;

static bool keep_embeddings(void *context, const gf_batch *b, const gf_real *x, gf_err *e) {
    keeping *k = context;
    gf_features *f = k->features;
    for (int64_t i = 0; i < b->sequences; i++)
        memcpy(f->owned + b->row[i] * f->width, x + i * f->width, (size_t)f->width * sizeof *x);
    return count_rows(&k->count, b->sequences, e);
}

bool gf_features_make(gf_features *f, gf_engine *n, gf_model *m, const gf_dataset *d,
                      int64_t max_rows, const gf_tell *tell, gf_err *e) {
    keeping k = {f, {tell, 0, d->rows}};
    int64_t count;
    f->rows = d->rows;
    f->width = m->embedding_size;
    if (!gf_mul_i64(f->rows, f->width, &count))
        return gf_fail(e, GF_E_NOMEM, "too many rows to keep their embeddings");
    f->layers = 0;
    if (!(f->x = f->owned = gf_alloc_array(count, sizeof *f->owned, e))) return false;
    return gf_engine_sweep(n, m, d, max_rows, keep_embeddings, &k, e);
}

void gf_features_free(gf_features *f) {
    gf_free(f->owned);
    gf_io_unmap(&f->map);
    *f = (gf_features){0};
}

typedef struct scoring {
    gf_metrics *metrics;
    gf_engine *engine;
    const gf_model *model;
    const gf_dataset *data;
    counting count;
    int32_t *labels;  /* [rows of a batch] */
    gf_real *targets; /* [rows of a batch, target width] */
    int64_t capacity, target_capacity;
} scoring;

/* The labels of these rows, and what they add to the divisor of a plain loss. */
static bool read_labels(scoring *s, int64_t task, int64_t count, const int64_t *rows,
                        double *divisor, gf_err *e) {
    const gf_head *h = &s->model->heads[task];
    int64_t width = gf_loss_target_width(h);
    while (s->capacity < count)
        if (!gf_grow(&s->labels, s->capacity, &s->capacity, sizeof *s->labels, e)) return false;
    while (s->target_capacity < count * width)
        if (!gf_grow(&s->targets, s->target_capacity, &s->target_capacity, sizeof *s->targets, e))
            return false;
    *divisor = 0;
    for (int64_t i = 0; i < count; i++) {
        s->labels[i] = s->data->label[task][rows[i]];
        *divisor += gf_loss_share(h, &(gf_loss_rule){0}, s->labels[i]);
        if (width == 0) continue;
        memcpy(s->targets + i * width, s->data->target[task] + rows[i] * width,
               (size_t)width * sizeof *s->targets);
        if (s->labels[i] < 0) s->targets[i * width] = (gf_real)NAN;
    }
    return true;
}

static bool add_rows(scoring *s, int64_t task, int64_t count, const gf_real *logits, gf_err *e) {
    const gf_head *h = &s->model->heads[task];
    int64_t width = gf_loss_target_width(h);
    for (int64_t i = 0; i < count; i++)
        if (s->labels[i] >= 0 &&
            !gf_metrics_add(s->metrics, task, s->labels[i], width ? s->targets + i * width : NULL,
                            logits + i * h->outputs, e))
            return false;
    return true;
}

/* One head over embeddings x [count, E] of these rows. The loss is the plain one: without class
 * weights, label smoothing and the like, so that a model's figures do not depend on how it was
 * trained. */
static bool score_task(scoring *s, int64_t task, int64_t count, const int64_t *rows,
                       const gf_real *x, gf_err *e) {
    gf_graph *g = s->engine->graph;
    const gf_head *head = &s->model->heads[task];
    gf_labelling l;
    gf_node *z, *loss;
    double divisor;
    if (!read_labels(s, task, count, rows, &divisor, e)) return false;
    if (divisor == 0) return true;
    l = (gf_labelling){s->labels, s->targets};
    gf_graph_reset(g);
    z = gf_head_logits(g, head, gf_graph_input(g, gf_shape2(count, s->model->embedding_size), x));
    loss = gf_loss_make(g, head, &(gf_loss_rule){0}, &l, divisor, z);
    gf_graph_keep(z);
    gf_graph_keep(loss);
    if (!gf_graph_plan(g, NULL, 0, e)) return false;
    gf_graph_forward(g);
    gf_metrics_add_loss(s->metrics, task, (double)loss->x[0] * divisor, divisor);
    return add_rows(s, task, count, z->x, e);
}

static bool score_batch(void *context, const gf_batch *b, const gf_real *x, gf_err *e) {
    scoring *s = context;
    for (int64_t h = 0; h < s->model->n_heads; h++)
        if (!score_task(s, h, b->sequences, b->row, x, e)) return false;
    return count_rows(&s->count, b->sequences, e);
}

bool gf_evaluate(gf_metrics *out, gf_engine *n, gf_model *m, const gf_dataset *d,
                 const gf_features *features, int64_t max_rows, const gf_tell *tell, gf_err *e) {
    scoring s = {.metrics = out, .engine = n, .model = m, .data = d, .count = {tell, 0, d->rows}};
    gf_sweep how = {.max_rows = max_rows};
    bool ok;
    if (features) how.known = (gf_known){features->x, features->layers};
    ok = gf_metrics_start(out, m, n->vec, e) &&
         gf_engine_sweep_as(n, m, d, &how, score_batch, &s, e) && gf_metrics_finish(out, e);
    gf_free(s.labels);
    gf_free(s.targets);
    return ok;
}

/* ---- the masked language model ---- */

bool gf_evaluate_mlm(double *loss, gf_engine *n, gf_model *m, const gf_masker *k,
                     const gf_mask_place *place, const gf_dataset *d, const gf_tell *tell,
                     gf_err *e) {
    int64_t *order = gf_alloc_array(d->rows, sizeof *order, e), done = 0;
    counting count = {tell, 0, d->rows};
    gf_masked masked = {0};
    gf_batch b = {0};
    double sum = 0, tokens = 0;
    bool ok = order && gf_order_by_length(order, d, e);
    while (ok && done < d->rows) {
        int64_t rows = gf_engine_take_rows(d, order + done, d->rows - done, GF_MLM_ROWS);
        gf_attr attr = {.divisor = 1};
        gf_node *z, *each;
        ok = gf_batch_fill(&b, d, order + done, rows, e) && gf_mask_make(&masked, k, &b, place, e);
        if (!ok) break;
        gf_graph_reset(n->graph);
        attr.ids = masked.labels;
        z = gf_model_hidden(n->graph, m, &masked.batch, &(gf_mode){0});
        z = gf_mlm_logits(n->graph, m, z, masked.positions, masked.count);
        gf_graph_keep(each = gf_call(n->graph, cross_entropy, &attr, z));
        ok = gf_graph_plan(n->graph, NULL, 0, e);
        if (!ok) break;
        gf_graph_forward(n->graph);
        sum += (double)each->x[0];
        tokens += (double)masked.count;
        done += rows;
        ok = count_rows(&count, rows, e);
    }
    *loss = tokens > 0 ? sum / tokens : NAN;
    gf_batch_free(&b);
    gf_masked_free(&masked);
    gf_free(order);
    return ok;
}
