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
    return (j->sum = gf_alloc_array(r->n_tasks, sizeof *j->sum, e)) &&
           (j->mean = gf_alloc_array(r->n_tasks, sizeof *j->mean, e)) &&
           (j->count = gf_alloc_array(r->n_tasks, sizeof *j->count, e));
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

void gf_journal_restart(gf_journal *j, const gf_recipe *r) {
    for (int64_t t = 0; t < r->n_tasks; t++) {
        j->sum[t] = 0;
        j->count[t] = 0;
    }
    gf_journal_resume(j);
}

void gf_journal_add(gf_journal *j, gf_step_view *v) {
    double passed = gf_seconds() - j->since;
    int64_t done = v->at->phase_update, every = v->recipe->log_every;
    for (int64_t t = 0; t < v->recipe->n_tasks; t++) {
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
    if (p->updates_per_epoch) epoch = (double)at->phase_update / (double)p->updates_per_epoch;
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
    for (int64_t t = 0; ok && t < v->recipe->n_tasks; t++) {
        const char *name = v->recipe->tasks[t].name;
        ok = add_number(raw, name, v->mean_loss[t], e) &&
             add_number(weighted, name, v->mean_loss[t] * v->phase->recipe->loss_weights[t], e);
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
    gf_journal_restart(j, v->recipe);
    return ok;
}

bool gf_journal_write_eval(gf_run_folder *f, const gf_eval_view *v, gf_err *e) {
    cJSON *line = begin_line("eval", v->phase, v->at, e);
    bool ok = line && gf_metrics_to_json(v->dev, false, line, "dev", e) &&
              add_number(line, "selected_by", v->value, e) &&
              gf_json_bool(line, "best", v->is_best, e) && gf_run_folder_log(f, line, e);
    cJSON_Delete(line);
    return ok;
}
