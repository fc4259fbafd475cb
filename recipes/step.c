#include "recipes/step.h"

#include "core/mem.h"
#include "model/mlm.h"
#include "optim/adamw.h"
#include "optim/anchor.h"
#include "optim/average.h"
#include "optim/clip.h"
#include "optim/sgd.h"
#include "optim/sparse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- memory ---- */

static int64_t count_losses(const gf_run *r) {
    return r->recipe->n_tasks > 0 ? r->recipe->n_tasks : 1;
}

/* Room for batches of this many rows. */
static bool reserve_rows(gf_stepper *s, const gf_run *r, int64_t rows, gf_err *e) {
    int64_t tasks = r->recipe->n_tasks, labels, wide, target;
    if (rows <= s->rows) return true;
    if (!gf_mul_i64(tasks, rows, &labels) || !gf_mul_i64(rows, r->model.embedding_size, &wide))
        return gf_fail(e, GF_E_NOMEM, "a batch of %lld rows is too large", (long long)rows);
    gf_free(s->labels);
    gf_free(s->gathered);
    s->rows = 0;
    s->labels = gf_alloc_array(labels, sizeof *s->labels, e);
    s->gathered = s->labels ? gf_alloc_array(wide, sizeof *s->gathered, e) : NULL;
    if (!s->gathered) return false;
    for (int64_t t = 0; t < tasks; t++) {
        int64_t width = gf_loss_target_width(&r->model.heads[t]);
        gf_free(s->targets[t]);
        s->targets[t] = NULL;
        if (width == 0) continue;
        if (!gf_mul_i64(rows, width, &target))
            return gf_fail(e, GF_E_NOMEM, "a batch of %lld rows is too large", (long long)rows);
        if (!(s->targets[t] = gf_alloc_array(target, sizeof **s->targets, e))) return false;
    }
    s->rows = rows;
    return true;
}

static bool start_masker(gf_stepper *s, const gf_run *r, gf_err *e) {
    gf_mask_settings settings = GF_MASK_DEFAULTS;
    if (!gf_recipe_has_mlm(r->recipe)) return true;
    settings.probability = r->recipe->mlm_probability;
    settings.whole_word = r->recipe->mlm_whole_word;
    return (s->masker = gf_alloc_array(1, sizeof *s->masker, e)) &&
           gf_masker_make(s->masker, r->model.tokenizer, &settings, e);
}

static bool start_balance(gf_stepper *s, const gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    double *fixed = gf_alloc_array(c->n_tasks, sizeof *fixed, e);
    bool *regression = gf_alloc_array(c->n_tasks, sizeof *regression, e), ok = fixed && regression;
    for (int64_t t = 0; ok && t < c->n_tasks; t++) {
        fixed[t] = c->tasks[t].weight;
        regression[t] = c->tasks[t].type == GF_TASK_REGRESSION;
    }
    ok = ok && gf_balance_start(&s->balance, gf_balance_names[c->balance_method], &c->balance,
                                c->n_tasks, fixed, regression, e);
    gf_free(fixed);
    gf_free(regression);
    return ok;
}

static bool start_surgery(gf_stepper *s, const gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    return c->n_tasks == 0 || gf_surgery_start(&s->surgery, gf_surgery_names[c->surgery],
                                               c->cagrad_c, c->seed, c->n_tasks, e);
}

bool gf_stepper_start(gf_stepper *s, const gf_run *r, gf_err *e) {
    int64_t losses = count_losses(r), places = r->model.config.num_hidden_layers + 2;
    return (s->losses = gf_alloc_array(losses, sizeof *s->losses, e)) &&
           (s->divisors = gf_alloc_array(losses, sizeof *s->divisors, e)) &&
           (s->after = gf_alloc_array(losses, sizeof *s->after, e)) &&
           (s->norms = gf_alloc_array(losses, sizeof *s->norms, e)) &&
           (s->targets = gf_alloc_array(losses, sizeof *s->targets, e)) && start_masker(s, r, e) &&
           start_balance(s, r, e) && start_surgery(s, r, e) &&
           (!r->recipe->conflict_every ||
            gf_conflict_start(&s->conflict, r->recipe->n_tasks, places, e));
}

void gf_stepper_free(gf_stepper *s, const gf_run *r) {
    for (int64_t t = 0; s->targets && t < r->recipe->n_tasks; t++) gf_free(s->targets[t]);
    gf_free(s->targets);
    gf_batch_free(&s->batch);
    gf_masked_free(&s->masked);
    if (s->masker) gf_masker_free(s->masker);
    gf_free(s->masker);
    gf_free(s->gathered);
    gf_free(s->hidden);
    gf_free(s->labels);
    gf_free(s->losses);
    gf_free(s->divisors);
    gf_free(s->after);
    gf_free(s->norms);
    gf_apart_free(&s->apart);
    gf_balance_free(&s->balance);
    gf_surgery_free(&s->surgery);
    gf_conflict_free(&s->conflict);
    *s = (gf_stepper){0};
}

/* ---- one batch as a tape ---- */

/* What of an update goes on at a time. */
typedef struct update {
    gf_stepper *s;
    gf_run *run;
    gf_engine *engine;
    gf_phase *phase;
    const gf_progress *at;
    const gf_epoch *epoch;
    int64_t first, count; /* batches of the epoch */
    gf_update *out;
} update;

static const int64_t *batch_rows(const update *u, int64_t i, int64_t *count) {
    const int64_t *start = u->epoch->start + u->first + i;
    *count = start[1] - start[0];
    return u->epoch->row + start[0];
}

static gf_mode mode_of(const gf_run *r, int64_t batch) {
    return (gf_mode){.training = true,
                     .hidden_dropout = r->hidden_dropout,
                     .attention_dropout = r->attention_dropout,
                     .seed = r->recipe->seed,
                     .step = (uint64_t)batch};
}

static bool fill_batch(const update *u, const int64_t *rows, int64_t count, gf_err *e) {
    bool ok;
    gf_profile_begin(u->engine->profile);
    ok = gf_batch_fill(&u->s->batch, u->phase->data, rows, count, e);
    gf_profile_end(u->engine->profile, "batch filling");
    return ok;
}

/* The hidden states of s->batch from which the encoder's pass goes on. */
static bool gather_hidden(const update *u, gf_mode *mode, gf_err *e) {
    gf_stepper *s = u->s;
    const gf_features *f = &u->phase->train;
    if (s->batch.tokens > s->tokens) {
        gf_free(s->hidden);
        s->tokens = 0;
        if (!(s->hidden = gf_alloc_array(s->batch.tokens * f->width, sizeof *s->hidden, e)))
            return false;
        s->tokens = s->batch.tokens;
    }
    gf_known_gather(&(gf_known){f->x, f->layers}, u->phase->data, &s->batch, f->width, s->hidden);
    mode->hidden = s->hidden;
    mode->layers = f->layers;
    return true;
}

/* The embeddings of a batch: gathered where the encoder stands still, else a pass of the encoder,
 * or of its upper layers. */
static gf_node *embed(const update *u, const int64_t *rows, int64_t count, int64_t batch,
                      gf_err *e) {
    gf_stepper *s = u->s;
    gf_run *r = u->run;
    const gf_features *f = &u->phase->train;
    gf_mode mode = mode_of(r, batch);
    int64_t width = r->model.embedding_size;
    if (f->x && f->layers == 0) {
        for (int64_t i = 0; i < count; i++)
            memcpy(s->gathered + i * width, f->x + rows[i] * width,
                   (size_t)width * sizeof *s->gathered);
        return gf_graph_input(u->engine->graph, gf_shape2(count, width), s->gathered);
    }
    if (!fill_batch(u, rows, count, e)) return NULL;
    gf_sparse_wake(r->model.words, s->batch.ids, s->batch.start[count], u->engine->vec);
    if (f->x && !gather_hidden(u, &mode, e)) return NULL;
    return gf_model_embed(u->engine->graph, &r->model, &s->batch, &mode);
}

/* The labels of a task in these rows. */
static gf_labelling take_labels(gf_stepper *s, const gf_run *r, int64_t task, const int64_t *rows,
                                int64_t count) {
    int32_t *label = s->labels + task * s->rows;
    int64_t width = gf_loss_target_width(&r->model.heads[task]);
    gf_real *target = s->targets[task];
    for (int64_t i = 0; i < count; i++) {
        label[i] = r->train.label[task][rows[i]];
        if (width == 0) continue;
        if (label[i] < 0)
            target[i * width] = (gf_real)NAN;
        else
            memcpy(target + i * width, r->train.target[task] + rows[i] * width,
                   (size_t)width * sizeof *target);
    }
    return (gf_labelling){label, target};
}

static bool build_tasks(const update *u, const int64_t *rows, int64_t count, int64_t batch,
                        gf_err *e) {
    gf_graph *g = u->engine->graph;
    gf_run *r = u->run;
    gf_node *x = embed(u, rows, count, batch, e);
    for (int64_t t = 0; t < r->recipe->n_tasks; t++) {
        gf_labelling l = take_labels(u->s, r, t, rows, count);
        const gf_head *h = &r->model.heads[t];
        u->s->losses[t] =
            gf_loss_make(g, h, &r->loss_rules[t], &l, u->s->divisors[t], gf_head_logits(g, h, x));
        gf_graph_keep(u->s->losses[t]);
    }
    return x || e->code == GF_OK;
}

static bool mask_batch(const update *u, const int64_t *rows, int64_t count, gf_err *e) {
    gf_mask_place place = {u->run->recipe->seed, u->phase->index, u->at->epoch};
    return fill_batch(u, rows, count, e) &&
           gf_mask_make(&u->s->masked, u->s->masker, &u->s->batch, &place, e);
}

static bool build_mlm(const update *u, const int64_t *rows, int64_t count, int64_t batch,
                      gf_err *e) {
    gf_graph *g = u->engine->graph;
    gf_masked *k = &u->s->masked;
    gf_mode mode = mode_of(u->run, batch);
    gf_attr attr = {.divisor = u->s->divisors[0]};
    gf_node *h;
    if (!mask_batch(u, rows, count, e)) return false;
    attr.ids = k->labels;
    h = gf_model_hidden(g, &u->run->model, &k->batch, &mode);
    u->s->losses[0] = gf_call(g, cross_entropy, &attr,
                              gf_mlm_logits(g, &u->run->model, h, k->positions, k->count));
    gf_graph_keep(u->s->losses[0]);
    return true;
}

static bool lay_out(const update *u, const int64_t *rows, int64_t count, int64_t batch, bool roots,
                    bool again, gf_err *e) {
    bool mlm = u->phase->recipe->objective == GF_OBJECTIVE_MLM;
    gf_graph *g = u->engine->graph;
    if (!reserve_rows(u->s, u->run, count, e)) return false;
    gf_graph_reset(g);
    if (again) gf_graph_retain(g);
    if (u->run->recipe->checkpointing) gf_graph_checkpoint(g);
    if (!(mlm ? build_mlm : build_tasks)(u, rows, count, batch, e)) return false;
    return gf_graph_plan(g, u->s->losses, roots ? (int)u->phase->n_losses : 0, e);
}

/* The tape of one batch, planned: s->losses are its roots. `roots` false: forward only. `again`:
 * backward will run more than once. */
static bool build(const update *u, const int64_t *rows, int64_t count, int64_t batch, bool roots,
                  bool again, gf_err *e) {
    bool ok;
    gf_profile_begin(u->engine->profile);
    ok = lay_out(u, rows, count, batch, roots, again, e);
    gf_profile_end(u->engine->profile, "building tapes");
    return ok;
}

bool gf_step_plan_batch(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, const int64_t *rows,
                        int64_t count, int64_t epoch, gf_err *e) {
    gf_progress at = {.epoch = epoch};
    update u = {.s = s, .run = r, .engine = n, .phase = p, .at = &at};
    for (int64_t t = 0; t < p->n_losses; t++) s->divisors[t] = 1;
    return build(&u, rows, count, 0, true, gf_step_is_apart(s, r, p), e);
}

/* ---- failures ---- */

static bool lose(const update *u, const char *what, const int64_t *rows, int64_t count, gf_err *e) {
    char lines[160] = "";
    size_t used = 0;
    const char *path = NULL, *first = NULL, *last = NULL;
    for (int64_t i = 0; i < count && used < sizeof lines - 24; i++, last = path) {
        int64_t line;
        bool other;
        gf_dataset_place(u->phase->data, rows[i], &path, &line);
        other = last && strcmp(path, last) != 0; /* a batch may hold rows of several files */
        if (!first) first = path;
        used += (size_t)snprintf(lines + used, sizeof lines - used, "%s%s%s%lld", i ? ", " : "",
                                 other ? path : "", other ? ":" : "", (long long)line);
    }
    return gf_fail(
        e, GF_E_NUMERIC,
        "phase \"%s\", step %lld: %s is not finite (rows of %s: lines %s%s); lower the lr or "
        "clip_norm, the last checkpoint is good",
        u->phase->recipe->name, (long long)u->at->step + 1, what, first ? first : "the data", lines,
        used >= sizeof lines - 24 ? ", ..." : "");
}

/* Adds the batch's losses to sums[n_losses]. */
static bool add_losses(const update *u, const int64_t *rows, int64_t count, double *sums,
                       gf_err *e) {
    char what[192];
    for (int64_t t = 0; t < u->phase->n_losses; t++) {
        double loss = (double)u->s->losses[t]->x[0];
        snprintf(what, sizeof what, "the loss of task \"%s\"",
                 gf_phase_loss_name(u->phase, u->run->recipe, t));
        if (!isfinite(loss)) return lose(u, what, rows, count, e);
        sums[t] += loss;
    }
    return true;
}

/* ---- passes over the update's batches ---- */

/* The weights of the losses; where they depend on the losses these are known. */
static void find_weights(const update *u) {
    if (u->phase->recipe->objective == GF_OBJECTIVE_MLM)
        u->out->weight[0] = 1;
    else
        gf_balance_weights(&u->s->balance, u->out->loss, u->out->weight);
}

/* A task without a label in the update has no loss. */
static void mark_absent(const update *u, double *losses) {
    for (int64_t t = 0; t < u->phase->n_losses; t++)
        if (u->s->divisors[t] == 0) losses[t] = NAN;
}

static void start_sums(const update *u, double *losses) {
    for (int64_t t = 0; t < u->phase->n_losses; t++) losses[t] = 0;
}

/* The gradient of the weighted sum. Weights that depend on the losses need them first, which one
 * batch can give. */
static bool run_together(const update *u, gf_err *e) {
    gf_graph *g = u->engine->graph;
    bool after = u->phase->recipe->objective == GF_OBJECTIVE_TASKS &&
                 gf_balance_wants_losses(&u->s->balance);
    start_sums(u, u->out->loss);
    if (!after) find_weights(u);
    for (int64_t i = 0; i < u->count; i++) {
        int64_t count;
        const int64_t *rows = batch_rows(u, i, &count);
        if (!build(u, rows, count, u->at->batches + i, true, false, e)) return false;
        gf_graph_forward(g);
        if (!add_losses(u, rows, count, u->out->loss, e)) return false;
        if (after) {
            mark_absent(u, u->out->loss);
            find_weights(u);
        }
        gf_graph_backward(g, u->out->weight);
    }
    return true;
}

/* Every task's own gradient, of its raw loss. */
static bool run_apart(const update *u, gf_err *e) {
    gf_graph *g = u->engine->graph;
    gf_apart *a = &u->s->apart;
    double *one = u->s->after; /* [n_losses] scratch until the update is done */
    start_sums(u, u->out->loss);
    gf_apart_clear(a);
    for (int64_t i = 0; i < u->count; i++) {
        int64_t count;
        const int64_t *rows = batch_rows(u, i, &count);
        if (!build(u, rows, count, u->at->batches + i, true, true, e)) return false;
        gf_graph_forward(g);
        if (!add_losses(u, rows, count, u->out->loss, e)) return false;
        for (int64_t t = 0; t < u->phase->n_losses; t++) {
            if (u->s->divisors[t] == 0) continue;
            for (int64_t k = 0; k < u->phase->n_losses; k++) one[k] = k == t;
            gf_graph_backward(g, one);
            gf_profile_begin(u->engine->profile);
            gf_apart_take(a, t, u->engine->vec);
            gf_profile_end(u->engine->profile, "gradients by task");
        }
    }
    return true;
}

/* The losses on the same rows, with the same dropout, by the weights as they now are. */
static bool run_losses(const update *u, double *losses, gf_err *e) {
    start_sums(u, losses);
    for (int64_t i = 0; i < u->count; i++) {
        int64_t count;
        const int64_t *rows = batch_rows(u, i, &count);
        if (!build(u, rows, count, u->at->batches + i, false, false, e)) return false;
        gf_graph_forward(u->engine->graph);
        if (!add_losses(u, rows, count, losses, e)) return false;
    }
    mark_absent(u, losses);
    return true;
}

/* ---- one update ---- */

/* Labels a task has in the whole update; or masked tokens. */
static bool count_labels(const update *u, gf_err *e) {
    const gf_run *r = u->run;
    u->out->rows = u->out->tokens = 0;
    for (int64_t t = 0; t < u->phase->n_losses; t++) u->s->divisors[t] = 0;
    for (int64_t b = 0; b < u->count; b++) {
        int64_t count;
        const int64_t *rows = batch_rows(u, b, &count);
        u->out->rows += count;
        for (int64_t i = 0; i < count; i++)
            u->out->tokens += u->phase->data->start[rows[i] + 1] - u->phase->data->start[rows[i]];
        if (u->phase->recipe->objective == GF_OBJECTIVE_MLM) {
            if (!mask_batch(u, rows, count, e)) return false;
            u->s->divisors[0] += (double)u->s->masked.count;
            continue;
        }
        for (int64_t t = 0; t < r->recipe->n_tasks; t++)
            for (int64_t i = 0; i < count; i++)
                u->s->divisors[t] += gf_loss_share(&r->model.heads[t], &r->loss_rules[t],
                                                   r->train.label[t][rows[i]]);
    }
    if (u->phase->train.x && u->phase->train.layers == 0) u->out->tokens = 0;
    return true;
}

/* Whether tasks' gradients are wanted by themselves in every update of the phase. */
bool gf_step_is_apart(const gf_stepper *s, const gf_run *r, const gf_phase *p) {
    const gf_recipe *c = r->recipe;
    if (p->recipe->objective == GF_OBJECTIVE_MLM || c->n_tasks < 2) return false;
    if (gf_balance_wants_losses(&s->balance) && c->accumulate > 1) return true;
    return !p->encoder_frozen &&
           (c->surgery != GF_SURGERY_NONE || gf_balance_wants_norms(&s->balance));
}

/* Whether this update's gradients are compared, for the conflict report. */
static bool is_measured(const update *u) {
    int64_t every = u->run->recipe->conflict_every;
    return every > 0 && u->phase->recipe->objective == GF_OBJECTIVE_TASKS &&
           !u->phase->encoder_frozen && u->at->phase_update % every == 0;
}

/* Whether AdamW may take the word embeddings by rows (optim/sparse.h): their gradient comes from
 * batches' tokens alone, and nobody else looks at it, or at the values, in each update. */
static bool is_sparse(const gf_stepper *s, const gf_run *r, const gf_phase *p) {
    const gf_recipe *c = r->recipe;
    const gf_param *words = r->model.words;
    return !s->dense && !s->apart.n_parts && words->trainable && words->grad &&
           p->recipe->objective == GF_OBJECTIVE_TASKS && c->optimizer == GF_OPTIMIZER_ADAMW &&
           c->eps > 0 && c->ema == 0 && !(p->groups.items[words->group].l2_sp > 0);
}

bool gf_stepper_begin(gf_stepper *s, gf_run *r, gf_engine *n, const gf_phase *p, gf_err *e) {
    bool tasks = p->recipe->objective == GF_OBJECTIVE_TASKS;
    if (tasks && !gf_balance_set_fixed(&s->balance, p->recipe->loss_weights, e)) return false;
    gf_sparse_stop(r->model.words, n->vec, n->pool);
    gf_apart_free(&s->apart);
    if ((gf_step_is_apart(s, r, p) ||
         (tasks && r->recipe->conflict_every && p->trains && !p->encoder_frozen)) &&
        !gf_apart_start(&s->apart, &r->model, p->n_losses, e))
        return false;
    return !is_sparse(s, r, p) || gf_sparse_start(r->model.words, e);
}

void gf_stepper_flush(gf_run *r, gf_engine *n) { gf_sparse_flush(r->model.words, n->vec, n->pool); }

/* Gradients by tasks; observing them alone must not change the run, so the update is then made
 * again as always. */
static bool find_gradients(const update *u, gf_err *e) {
    bool apart = gf_step_is_apart(u->s, u->run, u->phase);
    const gf_vec *vec = u->engine->vec;
    gf_pool *pool = u->engine->pool;
    u->out->measured = is_measured(u);
    if (apart || u->out->measured) {
        if (!run_apart(u, e)) return false;
        if (u->out->measured) gf_apart_measure(&u->s->apart, &u->s->surgery, &u->s->conflict, pool);
    }
    if (!apart) return run_together(u, e);
    mark_absent(u, u->out->loss);
    find_weights(u);
    gf_profile_begin(u->engine->profile);
    if (gf_balance_wants_norms(&u->s->balance))
        gf_apart_norms(&u->s->apart, u->out->weight, vec, u->s->norms);
    gf_apart_combine(&u->s->apart, &u->s->surgery, u->out->weight, u->at->step, vec, pool);
    gf_profile_end(u->engine->profile, "gradient surgery");
    return true;
}

static bool apply(const update *u, gf_err *e) {
    gf_phase *p = u->phase;
    gf_engine *n = u->engine;
    const gf_recipe *c = u->run->recipe;
    double scale;
    gf_profile_begin(n->profile);
    gf_anchor_pull(&p->blocks, &p->groups, n->pool);
    u->out->grad_norm = gf_grad_norm(&p->blocks, n->vec, n->pool);
    gf_profile_end(n->profile, "gradient norm");
    if (!isfinite(u->out->grad_norm)) {
        char what[224];
        int64_t count;
        const int64_t *rows = batch_rows(u, 0, &count);
        const gf_param *bad = gf_grad_find_nonfinite(&u->run->model.params);
        snprintf(what, sizeof what, "the gradient of %s",
                 bad ? bad->name : "all parameters together");
        return lose(u, what, rows, u->out->rows, e);
    }
    scale = gf_grad_scale(u->out->grad_norm, c->clip_norm);
    u->out->factor = gf_schedule_factor(&p->recipe->schedule, p->warmup, p->updates,
                                        u->at->phase_update, &u->at->plateau);
    gf_profile_begin(n->profile);
    if (c->optimizer == GF_OPTIMIZER_SGD)
        gf_sgd_update(&p->blocks, &p->groups, &(gf_sgd_settings){c->momentum, c->nesterov},
                      u->out->factor, scale, n->pool);
    else
        gf_adamw_update(&p->blocks, &p->groups, &(gf_adamw_settings){c->beta1, c->beta2, c->eps},
                        u->out->factor, scale, n->vec, n->pool);
    if (c->ema > 0) gf_average_update(&p->blocks, c->ema, n->pool);
    gf_profile_end(n->profile, "optimizer");
    return true;
}

/* What the balancing learns from the update. */
static bool learn_weights(const update *u, gf_err *e) {
    gf_balance *b = &u->s->balance;
    bool after = gf_balance_wants_after(b), norms = gf_balance_wants_norms(b);
    if (u->phase->recipe->objective == GF_OBJECTIVE_MLM) {
        u->out->total = u->out->loss[0];
        return true;
    }
    u->out->total = gf_balance_total(b, u->out->loss);
    if (after && !run_losses(u, u->s->after, e)) return false;
    gf_balance_see(b, u->out->loss, norms && !u->phase->encoder_frozen ? u->s->norms : NULL,
                   after ? u->s->after : NULL);
    return true;
}

bool gf_step_run(gf_stepper *s, gf_run *r, gf_engine *n, gf_phase *p, gf_progress *at,
                 const gf_epoch *epoch, int64_t first, int64_t count, gf_update *out, gf_err *e) {
    update u = {s, r, n, p, at, epoch, first, count, out};
    if (!count_labels(&u, e) || !find_gradients(&u, e) || !apply(&u, e)) return false;
    mark_absent(&u, out->loss);
    if (!learn_weights(&u, e)) return false;
    at->batches += count;
    at->step++;
    at->update++;
    at->phase_update++;
    gf_profile_update(n->profile);
    return true;
}
