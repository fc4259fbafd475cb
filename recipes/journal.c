#include "recipes/journal.h"

#include "core/mem.h"

#include <math.h>
#include <time.h>

double gf_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool gf_journal_start(gf_journal *j, const gf_recipe *r, gf_err *e) {
    j->losses = r->n_tasks > 0 ? r->n_tasks : 1;
    return (j->sum = gf_alloc_array(j->losses, sizeof *j->sum, e)) &&
           (j->mean = gf_alloc_array(j->losses, sizeof *j->mean, e)) &&
           (j->count = gf_alloc_array(j->losses, sizeof *j->count, e));
}

void gf_journal_free(gf_journal *j) {
    gf_free(j->sum);
    gf_free(j->mean);
    gf_free(j->count);
    *j = (gf_journal){0};
}

void gf_journal_resume(gf_journal *j) {
    j->tokens = 0;
    j->rows = 0;
    j->steps = 0;
    j->since = gf_seconds();
}

void gf_journal_restart(gf_journal *j) {
    for (int64_t t = 0; t < j->losses; t++) {
        j->sum[t] = 0;
        j->count[t] = 0;
    }
    gf_journal_resume(j);
}

void gf_journal_add(gf_journal *j, gf_step_view *v) {
    double passed = gf_seconds() - j->since;
    int64_t done = v->at->phase_update, every = v->recipe->log_every;
    for (int64_t t = 0; t < v->phase->n_losses; t++) {
        if (!isnan(v->update->loss[t])) {
            j->sum[t] += v->update->loss[t];
            j->count[t]++;
        }
        j->mean[t] = j->count[t] ? j->sum[t] / (double)j->count[t] : NAN;
    }
    j->tokens += v->update->tokens;
    j->rows += v->update->rows;
    j->steps++;
    v->mean_loss = j->mean;
    v->tokens_per_second = (double)(j->tokens ? j->tokens : j->rows) / fmax(passed, 1e-9);
    v->seconds_left = passed / (double)j->steps * (double)(v->phase->updates - done);
    v->logged = done % every == 0 || done == v->phase->updates;
}

static bool add_number(cJSON *j, const char *name, double v, gf_err *e) {
    return (isfinite(v) ? gf_json_number(j, name, v, e) : gf_json_null(j, name, e)) != NULL;
}

static cJSON *begin_line(const char *type, const gf_phase *p, const gf_progress *at, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    double epoch = (double)at->epoch;
    if (p->updates_per_epoch && !p->epoch_updates)
        epoch = (double)at->phase_update / (double)p->updates_per_epoch;
    else if (p->epoch_updates && at->epoch < p->recipe->epochs)
        epoch += (double)at->update / (double)gf_phase_updates_in(p, at->epoch);
    if (j && gf_json_string(j, "type", type, e) && gf_json_string(j, "phase", p->recipe->name, e) &&
        gf_json_number(j, "step", (double)at->step, e) && gf_json_number(j, "epoch", epoch, e))
        return j;
    cJSON_Delete(j);
    return NULL;
}

/* Rules share a pattern's key; with layer_decay it shows the largest of its rates. */
static bool add_rates(cJSON *line, const gf_step_view *v, gf_err *e) {
    cJSON *j = gf_json_object(line, "lr", e);
    bool ok = j != NULL;
    for (int64_t r = 0; ok && r < v->phase->recipe->n_rules; r++) {
        const char *pattern = v->phase->recipe->rules[r].pattern;
        ok = add_number(j, pattern, gf_phase_rate(v->phase, r) * v->update->factor, e);
    }
    return ok;
}

static bool add_losses(cJSON *line, const gf_step_view *v, gf_err *e) {
    cJSON *raw = gf_json_object(line, "loss", e);
    cJSON *weighted = raw ? gf_json_object(line, "weighted", e) : NULL;
    bool ok = weighted != NULL;
    for (int64_t t = 0; ok && t < v->phase->n_losses; t++) {
        const char *name = gf_phase_loss_name(v->phase, v->recipe, t);
        ok = add_number(raw, name, v->mean_loss[t], e) &&
             add_number(weighted, name, v->mean_loss[t] * v->update->weight[t], e);
    }
    return ok;
}

bool gf_journal_write_step(gf_journal *j, gf_run_folder *f, const gf_step_view *v, gf_err *e) {
    cJSON *line = begin_line("step", v->phase, v->at, e);
    bool ok = line && add_losses(line, v, e) && add_number(line, "total", v->update->total, e) &&
              add_rates(line, v, e) && add_number(line, "grad_norm", v->update->grad_norm, e) &&
              add_number(line, "tokens_per_s", v->update->tokens ? v->tokens_per_second : NAN, e) &&
              gf_run_folder_log(f, line, e);
    cJSON_Delete(line);
    gf_journal_restart(j);
    return ok;
}

/* The cosine of two tasks' gradients over these places; NaN where one is zero. */
static double cosine(const gf_apart *a, int64_t i, int64_t k, int64_t first, int64_t last) {
    double xy = 0, xx = 0, yy = 0;
    for (int64_t p = first; p <= last; p++) {
        const double *gram = a->grams + p * a->tasks * a->tasks;
        xy += gram[i * a->tasks + k];
        xx += gram[i * a->tasks + i];
        yy += gram[k * a->tasks + k];
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

bool gf_journal_write_conflict(gf_run_folder *f, const gf_step_view *v, const gf_apart *a,
                               gf_err *e) {
    cJSON *line = begin_line("conflict", v->phase, v->at, e);
    cJSON *pairs = line ? gf_json_array(line, "pairs", e) : NULL, *pair, *places;
    bool ok = pairs != NULL;
    for (int64_t i = 0; ok && i < a->tasks; i++)
        for (int64_t k = i + 1; ok && k < a->tasks; k++) {
            ok = (pair = gf_json_object(pairs, NULL, e)) &&
                 gf_json_string(pair, "a", v->recipe->tasks[i].name, e) &&
                 gf_json_string(pair, "b", v->recipe->tasks[k].name, e) &&
                 add_number(pair, "cosine", cosine(a, i, k, 0, a->places - 1), e) &&
                 (places = gf_json_array(pair, "places", e));
            for (int64_t p = 0; ok && p < a->places; p++)
                ok = add_number(places, NULL, cosine(a, i, k, p, p), e);
        }
    ok = ok && gf_run_folder_log(f, line, e);
    cJSON_Delete(line);
    return ok;
}

bool gf_journal_write_phase(gf_run_folder *f, const gf_phase *p, const gf_progress *at,
                            const cJSON *done, gf_err *e) {
    cJSON *line = begin_line("phase", p, at, e), *copy;
    static const char *const keys[] = {"cosine", "cosine_base", "tasks"};
    bool ok = line != NULL;
    for (int i = 0; ok && i < 3; i++) {
        copy = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(done, keys[i]), true);
        ok = copy && cJSON_AddItemToObject(line, keys[i], copy);
        if (!ok) gf_fail(e, GF_E_NOMEM, "out of memory while writing the log");
        if (!ok) cJSON_Delete(copy);
    }
    ok = ok && gf_run_folder_log(f, line, e);
    cJSON_Delete(line);
    return ok;
}

bool gf_journal_write_eval(gf_run_folder *f, const gf_eval_view *v, gf_err *e) {
    cJSON *line = begin_line("eval", v->phase, v->at, e);
    bool ok = line && gf_metrics_to_json(v->dev, false, line, "dev", e) &&
              (isnan(v->mlm) || gf_json_number(line, "mlm_loss", v->mlm, e)) &&
              add_number(line, "selected_by", v->value, e) &&
              gf_json_bool(line, "best", v->is_best, e) && gf_run_folder_log(f, line, e);
    cJSON_Delete(line);
    return ok;
}
