#include "recipes/step.h"

#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool gf_stepper_start(gf_stepper *s, const gf_run *r, gf_err *e) {
    int64_t tasks = r->recipe->n_tasks, batch = r->recipe->batch_size, labels, wide;
    if (!gf_mul_i64(tasks, batch, &labels) || !gf_mul_i64(batch, r->model.embedding_size, &wide))
        return gf_fail(e, GF_E_NOMEM, "a batch of %lld rows is too large", (long long)batch);
    return (s->labels = gf_alloc_array(labels, sizeof *s->labels, e)) &&
           (s->gathered = gf_alloc_array(wide, sizeof *s->gathered, e)) &&
           (s->losses = gf_alloc_array(tasks, sizeof *s->losses, e)) &&
           (s->divisors = gf_alloc_array(tasks, sizeof *s->divisors, e)) &&
           (s->weights = gf_alloc_array(tasks, sizeof *s->weights, e));
}

void gf_stepper_free(gf_stepper *s) {
    gf_batch_free(&s->batch);
    gf_free(s->gathered);
    gf_free(s->labels);
    gf_free(s->losses);
    gf_free(s->divisors);
    gf_free(s->weights);
    *s = (gf_stepper){0};
}

/* The embeddings of a batch: gathered where the encoder stands still, else a pass of the encoder.
 */
static gf_node *embed(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, const gf_progress *at,
                      const int64_t *rows, int64_t count, gf_err *e) {
    gf_mode mode = {.training = true,
                    .hidden_dropout = r->hidden_dropout,
                    .attention_dropout = r->attention_dropout,
                    .seed = r->recipe->seed,
                    .step = (uint64_t)at->batches};
    int64_t width = r->model.embedding_size;
    if (p->train.x) {
        for (int64_t i = 0; i < count; i++)
            memcpy(s->gathered + i * width, p->train.x + rows[i] * width,
                   (size_t)width * sizeof *s->gathered);
        return gf_graph_input(n->graph, gf_shape2(count, width), s->gathered);
    }
    if (!gf_batch_fill(&s->batch, &r->train, rows, count, e)) return NULL;
    return gf_model_embed(n->graph, &r->model, &s->batch, &mode);
}

/* The tape of one batch, planned: s->losses are its roots. */
static bool build(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, const gf_progress *at,
                  const int64_t *rows, int64_t count, gf_err *e) {
    int64_t tasks = r->recipe->n_tasks;
    gf_node *x;
    gf_graph_reset(n->graph);
    x = embed(s, r, n, p, at, rows, count, e);
    for (int64_t t = 0; t < tasks; t++) {
        int32_t *labels = s->labels + t * r->recipe->batch_size;
        gf_attr attr = {.ids = labels, .divisor = s->divisors[t]};
        for (int64_t i = 0; i < count; i++) labels[i] = r->train.label[t][rows[i]];
        s->losses[t] = gf_call(n->graph, cross_entropy, &attr,
                               gf_head_logits(n->graph, &r->model.heads[t], x));
        gf_graph_keep(s->losses[t]);
    }
    return gf_graph_plan(n->graph, s->losses, (int)tasks, e);
}

bool gf_step_plan_batch(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, const int64_t *rows,
                        int64_t count, gf_err *e) {
    for (int64_t t = 0; t < r->recipe->n_tasks; t++) s->divisors[t] = 1;
    return build(s, r, n, p, &(gf_progress){0}, rows, count, e);
}

static bool lose(gf_run *r, const gf_phase *p, const gf_progress *at, const char *what,
                 const int64_t *rows, int64_t count, gf_err *e) {
    char lines[160] = "";
    size_t used = 0;
    const char *path = "", *other;
    int64_t line;
    for (int64_t i = 0; i < count && used < sizeof lines - 24; i++) {
        gf_dataset_place(&r->train, rows[i], i ? &other : &path, &line);
        if (i && other != path) continue; /* the lines of one file do */
        used += (size_t)snprintf(lines + used, sizeof lines - used, "%s%lld", i ? ", " : "",
                                 (long long)line);
    }
    return gf_fail(
        e, GF_E_NUMERIC,
        "phase \"%s\", step %lld: %s is not finite (rows of %s: lines %s%s); lower the lr or "
        "clip_norm, the last checkpoint is good",
        p->recipe->name, (long long)at->step + 1, what, path, lines,
        used >= sizeof lines - 24 ? ", ..." : "");
}

static bool run_batch(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, gf_progress *at,
                      const int64_t *rows, int64_t count, gf_update *u, gf_err *e) {
    char what[192];
    if (!build(s, r, n, p, at, rows, count, e)) return false;
    gf_graph_forward(n->graph);
    for (int64_t t = 0; t < r->recipe->n_tasks; t++) {
        double loss = (double)s->losses[t]->x[0];
        snprintf(what, sizeof what, "the loss of task \"%s\"", r->recipe->tasks[t].name);
        if (!isfinite(loss)) return lose(r, p, at, what, rows, count, e);
        u->loss[t] += loss;
    }
    gf_graph_backward(n->graph, s->weights);
    u->tokens += p->train.x ? 0 : s->batch.tokens;
    at->batches++;
    return true;
}

static void clear_gradients(gf_params *params) {
    for (int64_t i = 0; i < params->count; i++)
        if (params->items[i]->grad)
            memset(params->items[i]->grad, 0,
                   (size_t)gf_param_count(params->items[i]) * sizeof(gf_real));
}

/* Labels a task has in the whole update, and the weights of the losses. */
static void count_labels(gf_stepper *s, const gf_run *r, const gf_phase *p, const int64_t *rows,
                         int64_t count) {
    for (int64_t t = 0; t < r->recipe->n_tasks; t++) {
        s->divisors[t] = 0;
        for (int64_t i = 0; i < count; i++) s->divisors[t] += r->train.label[t][rows[i]] >= 0;
        s->weights[t] = p->recipe->loss_weights[t];
    }
}

static bool apply(gf_run *r, gf_engine *n, gf_phase *p, const gf_progress *at, const int64_t *rows,
                  int64_t count, gf_update *u, gf_err *e) {
    const gf_recipe *c = r->recipe;
    gf_adamw_settings settings = {c->beta1, c->beta2, c->eps};
    u->grad_norm = gf_grad_norm(&p->blocks, n->vec, n->pool);
    if (!isfinite(u->grad_norm)) {
        char what[224];
        const gf_param *bad = gf_grad_find_nonfinite(&r->model.params);
        snprintf(what, sizeof what, "the gradient of %s",
                 bad ? bad->name : "all parameters together");
        return lose(r, p, at, what, rows, count, e);
    }
    u->factor = gf_schedule_factor(p->recipe->schedule, p->warmup, p->updates, at->phase_update);
    gf_adamw_update(&p->blocks, &p->groups, &settings, u->factor,
                    gf_grad_scale(u->grad_norm, c->clip_norm), n->vec, n->pool);
    return true;
}

bool gf_step_run(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, gf_progress *at,
                 const int64_t *rows, int64_t count, gf_update *u, gf_err *e) {
    int64_t tasks = r->recipe->n_tasks, batch = r->recipe->batch_size;
    u->rows = count;
    u->tokens = 0;
    u->total = 0;
    for (int64_t t = 0; t < tasks; t++) u->loss[t] = 0;
    count_labels(s, r, p, rows, count);
    clear_gradients(&r->model.params);
    for (int64_t i = 0; i < count; i += batch)
        if (!run_batch(s, r, n, p, at, rows + i, count - i < batch ? count - i : batch, u, e))
            return false;
    if (!apply(r, n, p, at, rows, count, u, e)) return false;
    for (int64_t t = 0; t < tasks; t++) {
        u->total += s->weights[t] * u->loss[t];
        if (s->divisors[t] == 0) u->loss[t] = NAN;
    }
    at->step++;
    at->update++;
    at->phase_update++;
    return true;
}
