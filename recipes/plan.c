#include "recipes/plan.h"

#include "core/gemm.h"
#include "core/mem.h"
#include "recipes/journal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* 1234567 as "1,234,567". */
static const char *grouped(int64_t v, char text[32]) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)v), used = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-') text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = 0;
    return text;
}

static double mebibytes(int64_t bytes) { return (double)bytes / (1 << 20); }

static int64_t encoder_elements(const gf_model *m) {
    int64_t sum = 0;
    for (int64_t i = 0; i < m->params.count; i++)
        if (strncmp(m->params.items[i]->name, "heads.", 6) != 0 &&
            !gf_model_is_mlm(m, m->params.items[i]))
            sum += gf_param_count(m->params.items[i]);
    return sum;
}

static int64_t all_elements(const gf_params *p, bool only_trainable) {
    int64_t sum = 0;
    for (int64_t i = 0; i < p->count; i++)
        if (!only_trainable || p->items[i]->trainable) sum += gf_param_count(p->items[i]);
    return sum;
}

static bool add_data_line(const gf_run *r, const char *name, const gf_dataset *d, gf_text *out,
                          gf_err *e) {
    char number[32];
    bool ok;
    if (!d->rows) return true;
    ok = gf_text_add(out, e, "%-8s %s rows, %.1f tokens each", name, grouped(d->rows, number),
                     (double)d->ids.count / (double)d->rows);
    for (int64_t t = 0; ok && t < r->recipe->n_tasks; t++) {
        int64_t present = 0;
        for (int64_t i = 0; i < d->rows; i++) present += d->label[t][i] >= 0;
        ok = gf_text_add(out, e, "; %s: %s labels", r->recipe->tasks[t].name,
                         grouped(present, number));
    }
    return ok && gf_text_add(out, e, "\n");
}

static bool add_header(const gf_run *r, const gf_engine *n, gf_text *out, gf_err *e) {
    const gf_bert_config *c = &r->model.config;
    char a[32], b[32], projection[64] = "", products[128];
    int64_t encoder = encoder_elements(&r->model);
    if (r->model.dense.weight && r->model.pooling != GF_POOL_POOLER)
        snprintf(projection, sizeof projection, ", projected to %lld (%s)",
                 (long long)r->model.embedding_size,
                 gf_dense_activation_name(r->model.dense_activation));
    bool ok = gf_text_add(out, e, "recipe   %s\nmodel    %s\n", r->recipe->path, r->recipe->base) &&
              gf_text_add(out, e,
                          "         BERT of %lld layers, hidden %lld, %lld heads; %s pooling%s%s; "
                          "max_length %lld\n",
                          (long long)c->num_hidden_layers, (long long)c->hidden_size,
                          (long long)c->num_attention_heads, gf_pooling_name(r->model.pooling),
                          projection, r->model.normalize ? ", L2 norm" : "",
                          (long long)r->model.max_length) &&
              gf_text_add(out, e, "         %s parameters in the encoder, %s in the heads\n",
                          grouped(encoder, a),
                          grouped(all_elements(&r->model.params, false) - encoder, b)) &&
              add_data_line(r, "train", &r->train, out, e) &&
              add_data_line(r, "dev", &r->dev, out, e) &&
              add_data_line(r, "test", &r->test, out, e);
    if (ok && n->onednn)
        ok = gf_text_add(out, e, "products %s\n", gf_engine_products(n, products, sizeof products));
    return ok &&
           gf_text_add(out, e, "select   %s; seed %llu; output %s\n", r->recipe->select_metric,
                       (unsigned long long)r->recipe->seed, r->recipe->output);
}

/* The rows of the training batch with the most tokens in any epoch of a phase; they lie in *made.
 */
static bool find_largest(const gf_run *r, const gf_phase *p, gf_epoch *made, const int64_t **rows,
                         int64_t *count, int64_t *of_epoch, gf_err *e) {
    int64_t most = -1, first = 0;
    for (int64_t epoch = 0; epoch < p->recipe->epochs; epoch++) {
        if (!gf_phase_make_epoch(p, r, epoch, made, e)) return false;
        for (int64_t i = 0; i < made->batches; i++) {
            const int64_t *row = made->row + made->start[i];
            int64_t n = made->start[i + 1] - made->start[i], tokens = 0;
            for (int64_t k = 0; k < n; k++)
                tokens += p->data->start[row[k] + 1] - p->data->start[row[k]];
            if (tokens <= most) continue;
            most = tokens;
            *count = n;
            *of_epoch = epoch;
            first = made->start[i];
        }
    }
    if (!gf_phase_make_epoch(p, r, *of_epoch, made, e)) return false;
    *rows = made->row + first;
    return true;
}

typedef struct planning {
    gf_run *run;
    gf_engine *engine;
    gf_stepper stepper;
    gf_phase *phases; /* [n_phases], with their groups as assigned */
    int *group;       /* [n_phases][params]: group of a parameter in a phase, -1 frozen */
    bool *born;       /* [params]: has moments by then */
    gf_epoch epoch;
} planning;

static bool planning_start(planning *s, gf_run *r, gf_engine *n, gf_err *e) {
    int64_t params = r->model.params.count;
    *s = (planning){.run = r, .engine = n};
    return gf_stepper_start(&s->stepper, r, e) &&
           (s->phases = gf_alloc_array(r->recipe->n_phases, sizeof *s->phases, e)) &&
           (s->group = gf_alloc_array(r->recipe->n_phases * params, sizeof *s->group, e)) &&
           (s->born = gf_alloc_array(params, sizeof *s->born, e));
}

static void planning_end(planning *s) {
    for (int64_t i = 0; s->phases && i < s->run->recipe->n_phases; i++) gf_phase_end(&s->phases[i]);
    gf_stepper_free(&s->stepper, s->run);
    gf_free(s->phases);
    gf_free(s->group);
    gf_free(s->born);
    gf_epoch_free(&s->epoch);
    for (int64_t i = 0; i < s->run->model.params.count; i++) {
        s->run->model.params.items[i]->trainable = false;
        s->run->model.params.items[i]->group = -1;
    }
}

/* Bytes of the optimizer's state by the end of this phase, of values copied out of a mapping, and
 * of the tasks' own gradients. */
static int64_t add_state(planning *s, const gf_phase *p) {
    const gf_params *params = &s->run->model.params;
    const gf_recipe *c = s->run->recipe;
    int64_t bytes = 0, moments = c->optimizer == GF_OPTIMIZER_SGD ? 1 : 2;
    bool apart = gf_step_is_apart(&s->stepper, s->run, p) ||
                 (c->conflict_every && !p->encoder_frozen && p->n_losses > 1);
    for (int64_t i = 0; i < params->count; i++) {
        const gf_param *q = params->items[i];
        int64_t size = gf_param_count(q) * (int64_t)sizeof(gf_real);
        s->born[i] |= q->trainable;
        if (q->trainable) bytes += size; /* gradient */
        if (q->trainable && apart) bytes += size * p->n_losses;
        if (q->trainable && c->ema > 0) bytes += size;
        if (q->trainable && p->groups.items[q->group].l2_sp > 0) bytes += size;
        if (s->born[i]) bytes += moments * size + (q->owned ? 0 : size);
    }
    return bytes;
}

/* The arena of the phase's largest batch; a tape over kept embeddings needs next to nothing. */
static bool arena_bytes(planning *s, gf_phase *p, int64_t *bytes, gf_err *e) {
    const int64_t *rows = NULL;
    int64_t count = 0, epoch = 0;
    *bytes = 0;
    if (!p->trains) return true;
    if (!find_largest(s->run, p, &s->epoch, &rows, &count, &epoch, e)) return false;
    if (!gf_step_plan_batch(&s->stepper, s->run, s->engine, p, rows, count, epoch, e)) return false;
    *bytes = (int64_t)gf_graph_bytes(s->engine->graph);
    return true;
}

static bool add_epochs(const gf_phase *p, const gf_recipe *c, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "epochs %lld, updates in each %s%lld, of %lld x ",
                          (long long)p->recipe->epochs, p->epoch_updates ? "about " : "",
                          (long long)p->updates_per_epoch, (long long)c->accumulate);
    if (!c->batch_tokens) return ok && gf_text_add(out, e, "%lld rows\n", (long long)c->batch_size);
    return ok && gf_text_add(out, e, "%lld tokens\n", (long long)c->batch_tokens);
}

/* What is not as in every run. */
static bool add_ways(const gf_phase *p, const gf_recipe *c, gf_text *out, gf_err *e) {
    const gf_recipe_phase *r = p->recipe;
    bool mlm = r->objective == GF_OBJECTIVE_MLM, ok = true;
    if (mlm)
        ok = gf_text_add(out, e, "  masked language model: %.3g of the %s masked\n",
                         c->mlm_probability, c->mlm_whole_word ? "whole words" : "tokens");
    if (ok && r->unfreeze_layers)
        ok = gf_text_add(out, e, "  unfreezing %lld layers every %lld %s, from the top\n",
                         (long long)r->unfreeze_layers,
                         (long long)(r->unfreeze_steps ? r->unfreeze_steps : r->unfreeze_epochs),
                         r->unfreeze_steps ? "updates" : "epochs");
    if (ok && c->ema > 0) ok = gf_text_add(out, e, "  weights averaged with decay %.6g\n", c->ema);
    if (ok && !mlm && c->balance_method != 0)
        ok = gf_text_add(out, e, "  losses balanced by %s\n", gf_balance_names[c->balance_method]);
    if (ok && !mlm && c->surgery != GF_SURGERY_NONE && p->moves_encoder)
        ok = gf_text_add(out, e, "  gradients combined by %s\n", gf_surgery_names[c->surgery]);
    return ok;
}

/* What a stage begins with, and where it is kept; adds its bytes in memory to *most if they are
 * more. */
static bool add_point(const planning *s, const gf_phase *p, const gf_boundary *b, int64_t visits,
                      gf_text *out, int64_t *most, gf_err *e) {
    static const char *const places[] = {
        "would fit neither cache.memory_mb nor cache.disk_mb, so each pass begins with the tokens",
        "kept in memory", "kept in a file"};
    const gf_run *r = s->run;
    int64_t point = gf_phase_point(p, r, visits), bytes = gf_boundary_bytes(r, point, p->trains);
    gf_boundary_place place = gf_boundary_choose(b, bytes);
    char what[96] = "embeddings of all texts";
    if (point == GF_POINT_NONE) return true;
    if (point > 0)
        snprintf(what, sizeof what, "what the lowest %lld of %lld layers make of all texts",
                 (long long)point, (long long)r->model.config.num_hidden_layers);
    if (place == GF_BOUNDARY_MEMORY && bytes > *most) *most = bytes;
    if (p->recipe->unfreeze_layers &&
        !gf_text_add(out, e, "  stage %lld:", (long long)p->stage + 1))
        return false;
    return gf_text_add(out, e, "  %s, %.1f MiB, %s\n", what, mebibytes(bytes), places[place]);
}

/* For all stages; the phase is then assigned as before. */
static bool add_points(const planning *s, gf_phase *p, gf_text *out, int64_t *most, gf_err *e) {
    gf_boundary b = {0};
    gf_run *r = s->run;
    int64_t stages = gf_phase_stages(p, r);
    bool ok = gf_boundary_start(&b, r->recipe, r->recipe->output, NULL, NULL, e);
    for (int64_t i = 0; ok && i < stages; i++) {
        gf_progress begin;
        ok = gf_phase_assign_stage(p, r, i, &begin, e) &&
             add_point(s, p, &b, gf_phase_visits(p, &begin), out, most, e);
    }
    gf_boundary_end(&b, false);
    return ok && gf_phase_assign(p, r, p->index, e);
}

static bool add_phase(planning *s, int64_t index, gf_text *out, gf_err *e) {
    gf_phase *p = &s->phases[index];
    const gf_recipe *c = s->run->recipe;
    int64_t arena = 0, kept = 0, state, weights = all_elements(&s->run->model.params, false) * 4;
    char a[32], b[32];
    bool ok = gf_phase_assign(p, s->run, index, e);
    if (!ok) return false;
    for (int64_t i = 0; i < s->run->model.params.count; i++)
        s->group[index * s->run->model.params.count + i] = s->run->model.params.items[i]->group;
    state = add_state(s, p);
    if (!arena_bytes(s, p, &arena, e)) return false;
    ok = gf_text_add(out, e, "\nphase %lld \"%s\": ", (long long)index + 1, p->recipe->name);
    if (!p->trains)
        ok = ok && gf_text_add(out, e, "nothing trains: it evaluates only\n");
    else
        ok = ok && add_epochs(p, c, out, e) &&
             gf_text_add(out, e, "  schedule %s, warm-up %lld of %lld updates\n",
                         gf_schedule_names[p->recipe->schedule.kind], (long long)p->warmup,
                         (long long)p->updates) &&
             add_ways(p, c, out, e);
    ok = ok &&
         gf_text_add(out, e, "  trains %s of %s parameters%s\n",
                     grouped(all_elements(&s->run->model.params, true), a), grouped(weights / 4, b),
                     p->encoder_frozen ? "; the encoder stands still" : "");
    return ok && add_points(s, p, out, &kept, e) &&
           gf_text_add(out, e,
                       "  memory %.0f MiB: weights %.0f, gradients, moments and copies %.0f, "
                       "activations %.0f, kept texts %.0f\n",
                       mebibytes(weights + state + arena + kept), mebibytes(weights),
                       mebibytes(state), mebibytes(arena), mebibytes(kept));
}

static bool has_anchors(const gf_recipe *c) {
    for (int64_t i = 0; i < c->n_phases; i++)
        for (int64_t k = 0; k < c->phases[i].n_rules; k++)
            if (c->phases[i].rules[k].l2_sp > 0) return true;
    return false;
}

static bool add_disk(const planning *s, gf_text *out, int64_t *disk, gf_err *e) {
    const gf_params *params = &s->run->model.params;
    const gf_recipe *c = s->run->recipe;
    int64_t each = (c->optimizer == GF_OPTIMIZER_SGD ? 4 : 8) + (c->ema > 0 ? 4 : 0) +
                   (has_anchors(c) ? 4 : 0);
    int64_t weights = all_elements(params, false) * 4, moments = 0;
    for (int64_t i = 0; i < params->count; i++)
        if (s->born[i]) moments += gf_param_count(params->items[i]) * each;
    *disk = (s->run->recipe->keep + 2) * (weights + moments) + weights;
    return gf_text_add(
        out, e,
        "\ndisk     up to %.0f MiB: %lld checkpoints and the best of %.0f each, one more "
        "while saving, model/ of %.0f\n",
        mebibytes(*disk), (long long)s->run->recipe->keep, mebibytes(weights + moments),
        mebibytes(weights));
}

/* "1e-05 wd 0.01", or "-" for a frozen parameter. */
static bool add_cell(const planning *s, int64_t phase, int64_t param, gf_text *out, gf_err *e) {
    int group = s->group[phase * s->run->model.params.count + param];
    const gf_group *g = group < 0 ? NULL : &s->phases[phase].groups.items[group];
    char cell[48] = "-";
    if (g) snprintf(cell, sizeof cell, "%.3g wd %.3g", g->lr, g->weight_decay);
    return gf_text_add(out, e, "  %-17s", cell);
}

static bool add_table(const planning *s, gf_text *out, gf_err *e) {
    const gf_params *params = &s->run->model.params;
    char number[32];
    bool ok = gf_text_add(out, e, "\n%-52s %12s", "parameter (lr and weight decay, - is frozen)",
                          "elements");
    for (int64_t p = 0; ok && p < s->run->recipe->n_phases; p++)
        ok = gf_text_add(out, e, "  ") &&
             gf_text_add_column(out, s->run->recipe->phases[p].name, 17, e);
    gf_text_trim(out);
    for (int64_t i = 0; ok && i < params->count; i++) {
        ok = gf_text_add(out, e, "\n%-52s %12s", params->items[i]->name,
                         grouped(gf_param_count(params->items[i]), number));
        for (int64_t p = 0; ok && p < s->run->recipe->n_phases; p++) ok = add_cell(s, p, i, out, e);
        gf_text_trim(out);
    }
    return ok && gf_text_add(out, e, "\n");
}

bool gf_run_plan(gf_run *r, gf_engine *n, gf_text *out, int64_t *disk, gf_err *e) {
    planning s;
    bool ok = planning_start(&s, r, n, e) && add_header(r, n, out, e);
    for (int64_t i = 0; ok && i < r->recipe->n_phases; i++) ok = add_phase(&s, i, out, e);
    ok = ok && add_disk(&s, out, disk, e) && add_table(&s, out, e);
    planning_end(&s);
    return ok;
}

/* Multiply-adds of a token through one layer, twice for flops (Kaplan et al. 2020, without
 * attention's own products, small at these lengths). */
static double layer_flops(const gf_bert_config *c) {
    double h = (double)c->hidden_size, wide = (double)c->intermediate_size;
    return 2 * (4 * h * h + 2 * h * wide);
}

/* The lowest layer of which something trains: all layers if none is, 0 with the embeddings. */
static double lowest_trained(const gf_model *m) {
    double below = (double)m->config.num_hidden_layers;
    for (int64_t i = m->params.count - 1; i >= 0; i--) {
        const gf_param *param = m->params.items[i];
        long long layer = -1;
        if (!param->trainable || gf_model_is_dense(m, param) || gf_model_is_mlm(m, param) ||
            strncmp(param->name, "heads.", 6) == 0)
            continue;
        sscanf(param->name, "encoder.layer.%lld.", &layer);
        below = fmin(below, layer < 0 ? 0 : (double)layer);
    }
    return below;
}

/* Flops of a phase's epochs over `tokens` each: forward all layers, or those above what is kept,
 * backward those from the lowest trainable one. */
static double phase_flops(const gf_run *r, const gf_phase *p, const gf_boundary *b, double tokens) {
    const gf_model *m = &r->model;
    double layers = (double)m->config.num_hidden_layers, below = lowest_trained(m),
           forward = layers;
    int64_t point = gf_phase_point(p, r, p->recipe->epochs);
    if (p->encoder_frozen) return 0;
    if (point > 0 &&
        gf_boundary_choose(b, gf_boundary_bytes(r, point, p->trains)) != GF_BOUNDARY_NOWHERE)
        forward -= (double)point;
    return (double)p->recipe->epochs * tokens * layer_flops(&m->config) *
           (forward + 2 * (layers - below));
}

static void measured_product(const gf_engine *n, const gf_product *p) {
    if (n->onednn && p->work)
        gf_onednn_gemm(n->onednn, n->pool, p, NULL, NULL);
    else
        gf_gemm(n->pool, p, NULL, NULL);
}

/* Flops a second over products of the model's own width. */
static double measure_speed(const gf_run *r, gf_engine *n, gf_err *e) {
    int64_t h = r->model.config.hidden_size, rows = 960;
    gf_real *x = gf_alloc_array((2 * rows + h) * h, sizeof *x, e);
    gf_product p = {
        .m = rows, .n = h, .k = h, .a = x, .lda = h, .ldb = h, .ldc = h, .transpose_b = true};
    double start, passed = 0, done = 0;
    int64_t work;
    if (!x) return 0;
    p.b = x + rows * h;
    p.c = x + (rows + h) * h;
    if (n->onednn && (work = gf_onednn_work(n->onednn, &p)) >= 0)
        p.work = gf_alloc_array(work, sizeof *p.work, e);
    measured_product(n, &p);
    for (start = gf_seconds(); passed < 0.1; passed = gf_seconds() - start, done++)
        measured_product(n, &p);
    gf_free(p.work);
    gf_free(x);
    return done * 2 * (double)rows * (double)h * (double)h / passed;
}

bool gf_run_estimate(gf_run *r, gf_engine *n, double *seconds, gf_err *e) {
    const double share = 0.6; /* of the products' speed that a whole step reaches */
    double speed = measure_speed(r, n, e), flops = 0, train = (double)r->train.ids.count;
    double all = train + (double)r->dev.ids.count;
    gf_phase p = {0};
    gf_boundary b = {0};
    bool ok = gf_boundary_start(&b, r->recipe, r->recipe->output, NULL, NULL, e);
    for (int64_t i = 0; ok && i < r->recipe->n_phases; i++) {
        if (!(ok = gf_phase_assign(&p, r, i, e))) break;
        flops += phase_flops(r, &p, &b, (double)p.data->ids.count);
        flops += all * layer_flops(&r->model.config) * (double)r->model.config.num_hidden_layers;
    }
    gf_phase_end(&p);
    gf_boundary_end(&b, false);
    *seconds = speed > 0 ? flops / (share * speed) : 0;
    return ok && speed > 0;
}
