#include "recipes/trainer.h"

#include "checkpoints/folder.h"
#include "checkpoints/store.h"
#include "core/mem.h"
#include "optim/average.h"
#include "recipes/folder.h"
#include "recipes/inputs.h"
#include "recipes/plan.h"
#include "recipes/report.h"
#include "recipes/saver.h"
#include "recipes/state.h"
#include "recipes/verify.h"

#include <math.h>

typedef struct trainer {
    const gf_recipe *recipe;
    const gf_trainer_options *o;
    gf_engine engine;
    gf_run run;
    gf_run_folder folder;
    gf_phase phase;
    gf_stepper stepper;
    gf_journal journal;
    gf_progress at;
    gf_update update;
    gf_metrics dev, before; /* the last two evaluations */
    gf_history history;
    gf_forgetting forgetting;
    gf_boundary boundary;
    gf_epoch epoch; /* rows of the present epoch */
    gf_saver saver;
    gf_progress durable; /* what the checkpoints on the disk say of the best model */
    cJSON *inputs;       /* digests of what the run reads */
    bool averaged;       /* averages stand in for the weights just now, to be measured */
    bool is_best;        /* the model at hand is the best so far, and not yet saved */
    int64_t saved_step;  /* of the newest checkpoint, saved or being saved, -1 if none */
    int64_t sought_step; /* of the save under way */
    int64_t spare_step; /* of the interruption's checkpoint that the run goes on from, -1 if none */
    gf_tell tell;
} trainer;

static double select_value(const gf_recipe *c, const gf_metrics *m) {
    const gf_select *s = &c->select;
    double sum = 0;
    if (s->kind == GF_SELECT_LOSS)
        for (int64_t t = 0; t < m->n_tasks; t++)
            sum += m->tasks[t].support ? c->tasks[t].weight * m->tasks[t].value[GF_METRIC_LOSS] : 0;
    return s->kind == GF_SELECT_MEAN ? gf_select_mean(s, m) : sum;
}

/* "last" takes every evaluation as the best so far. */
static bool is_better(const trainer *t, double value) {
    if (t->recipe->select.kind == GF_SELECT_LAST || !t->at.has_best) return true;
    return t->recipe->select.higher_is_better ? value > t->at.best_value : value < t->at.best_value;
}

/* The save under way failed: the best model is the one that is on the disk, or still at hand for
 * another try. */
static void forget_save(trainer *t) {
    t->saved_step = -1;
    t->is_best = t->at.has_best && t->at.best_step == t->at.step;
    if (t->is_best || gf_run_folder_best_step(&t->folder) == t->at.best_step) return;
    t->at.has_best = t->durable.has_best;
    t->at.best_step = t->durable.best_step;
    t->at.best_value = t->durable.best_value;
}

/* Waits for the save under way; false with its failure. */
static bool settle(trainer *t, gf_err *e) {
    gf_progress tried = t->at;
    bool ok;
    if (!t->saver.path) return true;
    gf_profile_begin(t->o->profile);
    ok = gf_saver_settle(&t->saver, e);
    gf_profile_end(t->o->profile, "waiting for a save");
    if (ok)
        t->durable = tried;
    else
        forget_save(t);
    return ok;
}

static void warn(const trainer *t, const gf_err *why) {
    gf_log_say(&t->o->log, GF_LOG_WARNING,
               "step %lld was not saved: %s; training goes on and saves again later",
               (long long)t->sought_step, why->text);
}

/* The same in mid-run, where a failure is a warning: the old checkpoints are as they were. */
static void settle_or_warn(trainer *t) {
    gf_err why = {0};
    if (!settle(t, &why)) warn(t, &why);
}

static void keep_if_best(trainer *t, double value, bool *is_best) {
    settle_or_warn(t); /* what is the best so far depends on it */
    *is_best = is_better(t, value);
    if (!*is_best) {
        t->at.stale++;
        t->at.phase_over = t->recipe->patience >= 0 && t->at.stale >= t->recipe->patience;
        return;
    }
    t->at.has_best = true;
    t->at.best_step = t->at.step;
    t->at.best_value = value;
    t->at.stale = 0;
    t->is_best = true;
}

static gf_state state_of(trainer *t) {
    return (gf_state){&t->at, &t->journal, t->inputs, &t->history, &t->stepper, &t->engine};
}

/* Starts a save of the run as it stands. */
static bool start_save(trainer *t, gf_err *e) {
    gf_save_job job = {.model = &t->run.model,
                       .recipe_json = t->folder.stored,
                       .also = t->is_best ? t->folder.best : NULL,
                       .folder = t->folder.checkpoints,
                       .keep = t->recipe->keep,
                       .step = t->at.step};
    gf_state all = state_of(t);
    char *state = gf_state_to_json(&all, t->recipe, e);
    char *path = state ? gf_run_folder_step_path(&t->folder, t->at.step, e) : NULL, *spare = NULL;
    bool ok;
    gf_profile_begin(t->o->profile);
    gf_stepper_flush(&t->run, &t->engine);
    if (t->spare_step == t->at.step) t->spare_step = -1;
    if (path && t->spare_step >= 0) spare = gf_run_folder_step_path(&t->folder, t->spare_step, e);
    job.spare = spare;
    job.state_json = state;
    t->saved_step = t->sought_step = t->at.step;
    t->is_best = false;
    ok = path && (spare || t->spare_step < 0) && gf_saver_start(&t->saver, path, &job, e);
    if (!ok) forget_save(t);
    gf_profile_end(t->o->profile, "saving");
    gf_free(spare);
    gf_free(path);
    gf_free(state);
    return ok;
}

static void save(trainer *t) {
    gf_err why = {0};
    settle_or_warn(t);
    if (!start_save(t, &why)) warn(t, &why);
}

/* The last save of a run: it is waited for, and its failure counts. */
static bool save_now(trainer *t, gf_err *e) {
    settle_or_warn(t);
    return (t->at.step == t->saved_step || start_save(t, e)) && settle(t, e);
}

static void swap_averages(trainer *t) {
    gf_average_swap(&t->run.model.params);
    t->averaged = !t->averaged;
}

/* False with GF_E_SIGINT or GF_E_SIGTERM when the caller wants to stop; the run is saved. */
static bool go_on(trainer *t, gf_err *e) {
    gf_code code = t->o->watch.stop ? t->o->watch.stop(t->o->watch.context) : GF_OK;
    if (code == GF_OK) return true;
    if (t->at.step == 0)
        return gf_fail(e, code, "%s: interrupted before the first step; start again with --force",
                       t->folder.path);
    if (t->averaged) swap_averages(t); /* a checkpoint holds each in its place */
    if (!save_now(t, e)) return false;
    return gf_fail(e, code, "%s: interrupted at step %lld and saved; go on with graft resume %s",
                   t->folder.path, (long long)t->at.step, t->folder.path);
}

/* Called while texts are encoded, which can take minutes. */
static bool tell_rows(void *context, int64_t done, int64_t all, gf_err *e) {
    trainer *t = context;
    if (t->o->watch.encoding) t->o->watch.encoding(t->o->watch.context, done, all);
    return go_on(t, e);
}

/* Thresholds of multi_label tasks that the recipe leaves to dev. */
static bool choose_thresholds(trainer *t, gf_err *e) {
    bool any = false;
    for (int64_t i = 0; i < t->recipe->n_tasks; i++) {
        gf_head *h = &t->run.model.heads[i];
        if (!h->thresholds || !isnan(t->recipe->tasks[i].threshold)) continue;
        if (!gf_metrics_choose_thresholds(&t->dev, i, h->thresholds, e)) return false;
        any = true;
    }
    return !any || gf_metrics_finish(&t->dev, e);
}

static bool evaluate_mlm(trainer *t, double *loss, gf_err *e) {
    /* the same masks at each evaluation of the run, so that the losses can be compared */
    gf_mask_place place = {t->recipe->seed, -1, 0};
    *loss = NAN;
    return t->phase.recipe->objective != GF_OBJECTIVE_MLM ||
           gf_evaluate_mlm(loss, &t->engine, &t->run.model, t->stepper.masker, &place, &t->run.dev,
                           &t->tell, e);
}

/* Measures on dev; the average of the weights stands in for them where there is one. */
static bool measure(trainer *t, gf_eval_view *v, gf_err *e) {
    bool ok;
    gf_metrics_free(&t->before);
    t->before = t->dev;
    t->dev = (gf_metrics){0};
    swap_averages(t);
    gf_profile_begin(t->o->profile);
    ok = (t->recipe->n_tasks == 0 || gf_evaluate(&t->dev, &t->engine, &t->run.model, &t->run.dev,
                                                 &t->phase.dev, GF_EVAL_ROWS, &t->tell, e)) &&
         choose_thresholds(t, e) && evaluate_mlm(t, &v->mlm, e);
    gf_profile_end(t->o->profile, "evaluation");
    if (t->averaged) swap_averages(t);
    if (!ok) return false;
    gf_metrics_forget_rows(&t->dev);
    gf_history_see(&t->history, t->recipe, &t->dev);
    v->dev = &t->dev;
    v->before = t->before.n_tasks ? &t->before : NULL;
    return true;
}

/* In a run with tasks the weights of an mlm phase are a step on the way, never the best. */
static void judge(trainer *t, gf_eval_view *v) {
    bool mlm = t->phase.recipe->objective == GF_OBJECTIVE_MLM;
    v->value = mlm && t->recipe->n_tasks == 0 ? v->mlm : select_value(t->recipe, &t->dev);
    if (mlm && t->recipe->n_tasks > 0)
        v->value = NAN;
    else
        keep_if_best(t, v->value, &v->is_best);
    gf_plateau_see(&t->at.plateau, &t->phase.recipe->schedule, mlm ? v->mlm : v->value,
                   !mlm && t->recipe->select.higher_is_better);
}

static bool evaluate(trainer *t, gf_err *e) {
    gf_eval_view v = {.recipe = t->recipe, .phase = &t->phase, .at = &t->at, .mlm = NAN};
    gf_stepper_flush(&t->run, &t->engine);
    if (!t->run.dev.rows) {
        judge(t, &v);
        return true;
    }
    if (!measure(t, &v, e)) return false;
    judge(t, &v);
    if (t->o->watch.evaluated) t->o->watch.evaluated(t->o->watch.context, &v);
    t->at.lines++;
    return gf_journal_write_eval(&t->folder, &v, e);
}

static bool make_features(trainer *t, gf_err *e) {
    bool ok;
    gf_profile_begin(t->o->profile);
    ok = gf_phase_make_features(&t->phase, &t->run, &t->engine, &t->boundary,
                                gf_phase_visits(&t->phase, &t->at), &t->tell, e);
    gf_profile_end(t->o->profile, "encoding features");
    return ok;
}

/* Opens the layers whose turn it is. */
static bool open_stage(trainer *t, gf_err *e) {
    int64_t stage = gf_phase_stage_at(&t->phase, &t->at);
    if (stage == t->phase.stage) return true;
    gf_stepper_flush(&t->run, &t->engine);
    return gf_phase_open(&t->phase, &t->run, stage, e) &&
           gf_stepper_begin(&t->stepper, &t->run, &t->engine, &t->phase, e) && make_features(t, e);
}

/* One update with all that belongs to it. */
static bool step(trainer *t, gf_err *e) {
    int64_t each = t->recipe->accumulate, first = t->at.update * each;
    int64_t left = t->epoch.batches - first;
    gf_step_view v = {t->recipe, &t->phase, &t->at, &t->update, NULL, 0, 0, false};
    if (!open_stage(t, e) ||
        !gf_step_run(&t->stepper, &t->run, &t->engine, &t->phase, &t->at, &t->epoch, first,
                     left < each ? left : each, &t->update, e))
        return false;
    gf_journal_add(&t->journal, &v);
    if (t->o->watch.step) t->o->watch.step(t->o->watch.context, &v);
    t->at.lines += v.logged + t->update.measured;
    if (v.logged && !gf_journal_write_step(&t->journal, &t->folder, &v, e)) return false;
    if (t->update.measured && !gf_journal_write_conflict(&t->folder, &v, &t->stepper.apart, e))
        return false;
    if (gf_saver_has_news(&t->saver)) settle_or_warn(t);
    if (t->recipe->save_every && t->at.step % t->recipe->save_every == 0) save(t);
    return true;
}

static bool is_phase_over(const trainer *t) { return gf_phase_is_over(&t->phase, &t->at); }

static gf_forgetting_place forgetting_place(trainer *t, const gf_tell *tell) {
    return (gf_forgetting_place){&t->engine, &t->run.model, &t->run.dev, tell, &t->o->log};
}

/* What the phase did is told once its weights are what they stay: the average, if there is one. No
 * stop is heeded here, between the evaluation and the save that belong together. */
static bool end_phase(trainer *t, gf_err *e) {
    gf_forgetting_place place = forgetting_place(t, NULL);
    gf_cosines cosines;
    bool moved = t->phase.moves_encoder && t->run.dev.rows, ok;
    gf_params_take_averages(&t->run.model.params);
    gf_profile_begin(t->o->profile);
    ok = !moved || gf_forgetting_end(&t->forgetting, &place, &cosines, e);
    gf_profile_end(t->o->profile, "measuring forgetting");
    if (!ok) return false;
    t->at.lines++;
    return gf_history_end_phase(&t->history, &t->phase, t->recipe, &t->run.model,
                                moved ? &cosines : NULL, e) &&
           gf_journal_write_phase(&t->folder, &t->phase, &t->at,
                                  cJSON_GetArrayItem(t->history.phases, (int)t->at.phase), e);
}

static bool run_epoch(trainer *t, gf_err *e) {
    int64_t updates = t->phase.trains ? gf_phase_updates_in(&t->phase, t->at.epoch) : 0;
    if (t->phase.trains && !gf_phase_make_epoch(&t->phase, &t->run, t->at.epoch, &t->epoch, e))
        return false;
    while (t->at.update < updates)
        if (!step(t, e) || !go_on(t, e)) return false;
    if (!evaluate(t, e)) return false;
    if (t->phase.trains && t->phase.recipe->objective == GF_OBJECTIVE_TASKS)
        gf_balance_end_epoch(&t->stepper.balance);
    t->at.phase_over |= !t->phase.trains; /* nothing changes: one evaluation says it all */
    t->at.update = 0;
    t->at.epoch++;
    if (is_phase_over(t) && !end_phase(t, e)) return false;
    save(t);
    return go_on(t, e);
}

static bool begin_phase(trainer *t, gf_err *e) {
    bool fresh = t->at.phase_update == 0 && t->at.epoch == 0, ok = true;
    gf_forgetting_place place = forgetting_place(t, &t->tell);
    gf_profile_phase(t->o->profile);
    if (!gf_phase_begin(&t->phase, &t->run, t->at.phase, &t->at, e) ||
        !gf_stepper_begin(&t->stepper, &t->run, &t->engine, &t->phase, e))
        return false;
    if (t->o->watch.phase) t->o->watch.phase(t->o->watch.context, t->recipe, &t->phase);
    if (fresh) gf_history_begin_phase(&t->history);
    gf_profile_begin(t->o->profile);
    if (t->phase.moves_encoder && t->run.dev.rows)
        ok = gf_forgetting_begin(&t->forgetting, t->at.phase, fresh, !gf_history_moved(&t->history),
                                 &place, e);
    gf_profile_end(t->o->profile, "measuring forgetting");
    if (!ok) return false;
    if (t->at.phase_update > 0)
        gf_journal_resume(&t->journal);
    else
        gf_journal_restart(&t->journal);
    return is_phase_over(t) || make_features(t, e);
}

static bool run_phase(trainer *t, gf_err *e) {
    if (!begin_phase(t, e)) return false;
    while (!is_phase_over(t))
        if (!run_epoch(t, e)) return false;
    return true;
}

static void next_phase(gf_progress *at) {
    at->phase++;
    at->epoch = 0;
    at->update = 0;
    at->phase_update = 0;
    at->stale = 0;
    at->phase_over = false;
    at->plateau = gf_plateau_start();
}

/* The best model alone, without gradients and moments, in place of the one that trained. */
static bool take_best(trainer *t, gf_err *e) {
    gf_phase_end(&t->phase);
    gf_boundary_end(&t->boundary, true);
    gf_graph_reset(t->engine.graph);
    gf_model_free(&t->run.model);
    if (!gf_store_read(&t->run.model, t->folder.best, NULL, NULL, e)) return false;
    gf_params_take_averages(&t->run.model.params);
    gf_model_drop_mlm(&t->run.model);
    return true;
}

static bool add_best(const trainer *t, cJSON *j, gf_err *e) {
    bool known = t->run.dev.rows && t->recipe->select.kind != GF_SELECT_LAST;
    cJSON *best = gf_json_object(j, "best", e);
    return best && gf_json_number(best, "step", (double)t->at.best_step, e) &&
           (known ? gf_json_number(best, "metric", t->at.best_value, e)
                  : gf_json_null(best, "metric", e)) &&
           gf_json_string(best, "name", t->recipe->select_metric, e);
}

static bool add_phases(const trainer *t, cJSON *j, gf_err *e) {
    cJSON *phases = cJSON_Duplicate(t->history.phases, true);
    if (phases && cJSON_AddItemToObject(j, "phases", phases)) return true;
    cJSON_Delete(phases);
    return gf_fail(e, GF_E_NOMEM, "out of memory while writing the metrics");
}

static bool write_metrics(trainer *t, const gf_metrics *dev, const gf_metrics *test, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    char *text = NULL;
    bool ok = j && add_best(t, j, e);
    if (t->run.dev.rows && t->recipe->n_tasks)
        ok = ok && gf_metrics_to_json(dev, false, j, "dev", e);
    if (t->run.test.rows) ok = ok && gf_metrics_to_json(test, false, j, "test", e);
    if (t->run.dev.rows) ok = ok && add_phases(t, j, e);
    ok = ok && gf_report_conflicts(&t->stepper, t->recipe, j, e) && (text = gf_json_print(j, e)) &&
         gf_run_folder_write(&t->folder, "metrics.json", text, e);
    gf_free(text);
    cJSON_Delete(j);
    return ok;
}

/* Tells the caller; what it is told must live as long as the call. */
static bool tell_end(trainer *t, const gf_metrics *dev, const gf_metrics *test, gf_err *e) {
    gf_text forgetting = {0}, conflicts = {0};
    bool ok = gf_history_table(t->history.phases, &forgetting, e) &&
              gf_report_conflict_table(&t->stepper, &t->run, &conflicts, e);
    gf_end_view v = {dev->n_tasks ? dev : NULL, test->n_tasks ? test : NULL, t->folder.path,
                     forgetting.data ? forgetting.data : "", conflicts.data ? conflicts.data : ""};
    if (ok && t->o->watch.finished) t->o->watch.finished(t->o->watch.context, &v);
    gf_text_free(&forgetting);
    gf_text_free(&conflicts);
    return ok;
}

static bool finish(trainer *t, gf_err *e) {
    gf_metrics dev = {0}, test = {0};
    char *folder = gf_io_join(t->folder.path, "model", e);
    bool ok = folder && save_now(t, e);
    gf_profile_begin(t->o->profile);
    ok = ok && take_best(t, e) && gf_folder_save(&t->run.model, folder, e);
    gf_profile_end(t->o->profile, "writing the model");
    gf_profile_begin(t->o->profile);
    if (t->run.dev.rows && t->recipe->n_tasks)
        ok = ok && gf_evaluate(&dev, &t->engine, &t->run.model, &t->run.dev, NULL, GF_EVAL_ROWS,
                               &t->tell, e);
    if (t->run.test.rows)
        ok = ok && gf_evaluate(&test, &t->engine, &t->run.model, &t->run.test, NULL, GF_EVAL_ROWS,
                               &t->tell, e);
    gf_profile_end(t->o->profile, "evaluation");
    ok = ok && write_metrics(t, &dev, &test, e) && gf_verify_write_sums(t->folder.path, e) &&
         tell_end(t, &dev, &test, e);
    gf_metrics_free(&dev);
    gf_metrics_free(&test);
    gf_free(folder);
    return ok;
}

/* Refuses to go on with other data, another base or another recipe, unless forced. */
static bool check_unchanged(trainer *t, const cJSON *then, const char *recipe, bool *same,
                            gf_err *e) {
    gf_err why = {0};
    *same = (t->inputs = gf_inputs_digest(t->recipe, &why)) &&
            gf_inputs_compare(then, t->inputs, recipe, t->folder.stored, t->recipe->output, &why);
    if (*same) return true;
    if (!t->o->force) return gf_fail(e, why.code, "%s", why.text);
    gf_log_say(&t->o->log, GF_LOG_WARNING, "--force: %s", why.text);
    return t->inputs || (t->inputs = cJSON_Duplicate(then, true)) ||
           gf_fail(e, GF_E_NOMEM, "out of memory while resuming");
}

static bool read_state(trainer *t, const char *state, const char *path, gf_err *e) {
    gf_state all = state_of(t);
    return gf_state_from_json(&all, t->recipe, state, path, &t->o->log, e);
}

static bool open_resumed(trainer *t, gf_err *e) {
    char *state = NULL, *recipe = NULL, *path = NULL;
    cJSON *then = NULL;
    bool rewind = t->o->at_step >= 0, same = false, ok;
    ok = gf_run_folder_lock(&t->folder, t->recipe, e) &&
         (path = gf_run_folder_newest(&t->folder, t->o->at_step, &t->o->log, e)) &&
         gf_store_read_texts(path, &recipe, &state, e) &&
         (then = gf_state_read_inputs(state, path, e)) &&
         check_unchanged(t, then, recipe, &same, e) &&
         gf_run_open(&t->run, t->recipe, path, &t->o->log, e) &&
         gf_stepper_start(&t->stepper, &t->run, e) && read_state(t, state, path, e) &&
         gf_run_folder_check_best(&t->folder, &t->at, same, &t->o->log, e) &&
         gf_run_folder_reopen(&t->folder, &t->at, t->recipe, rewind, e) &&
         (same || gf_run_folder_write(&t->folder, "recipe.json", t->folder.recipe, e));
    t->durable = t->at;
    t->saved_step = t->at.step;
    t->spare_step = gf_progress_is_between(&t->at, t->recipe->save_every) ? t->at.step : -1;
    if (ok)
        gf_log_say(&t->o->log, GF_LOG_NOTE, "going on from %s, step %lld", path,
                   (long long)t->at.step);
    cJSON_Delete(then);
    gf_free(path);
    gf_free(recipe);
    gf_free(state);
    return ok;
}

/* What the run will write must fit, told before the first step. */
static bool check_space(trainer *t, int64_t needed, gf_err *e) {
    int64_t there = gf_io_free_space(t->folder.path);
    if (there < 0 || there >= needed) return true;
    return gf_fail(e, GF_E_IO,
                   "%s: the run writes up to %lld MiB and %lld MiB are free; free some, lower "
                   "save.keep, or choose another --output",
                   t->folder.path, (long long)(needed >> 20), (long long)(there >> 20));
}

/* The plan first: a recipe that cannot be carried out leaves no folder, and removes none. */
static bool open_new(trainer *t, gf_err *e) {
    gf_text plan = {0};
    int64_t disk = 0;
    bool ok = gf_run_open(&t->run, t->recipe, NULL, &t->o->log, e) &&
              gf_run_plan(&t->run, &t->engine, &plan, &disk, e) &&
              (t->inputs = gf_inputs_digest(t->recipe, e)) &&
              gf_run_folder_create(&t->folder, t->recipe, t->o->force, e) &&
              check_space(t, disk, e) &&
              gf_run_folder_write(&t->folder, "plan.txt", plan.data, e) &&
              gf_stepper_start(&t->stepper, &t->run, e);
    gf_text_free(&plan);
    return ok;
}

static bool open_run(trainer *t, gf_err *e) {
    int64_t losses = t->recipe->n_tasks > 0 ? t->recipe->n_tasks : 1;
    bool ok;
    if (!gf_engine_start(&t->engine, t->o->threads, e) ||
        (t->o->pin && !gf_pool_pin(t->engine.pool, e)) ||
        !gf_engine_precision(&t->engine, t->recipe->precision, e))
        return false;
    gf_engine_profile(&t->engine, t->o->profile);
    if (!gf_journal_start(&t->journal, t->recipe, e)) return false;
    if (!gf_history_start(&t->history, t->recipe, e)) return false;
    if (!(t->update.loss = gf_alloc_array(losses, sizeof *t->update.loss, e)) ||
        !(t->update.weight = gf_alloc_array(losses, sizeof *t->update.weight, e)))
        return false;
    t->at.plateau = gf_plateau_start();
    gf_profile_begin(t->o->profile);
    ok = (t->o->resume ? open_resumed : open_new)(t, e);
    gf_profile_end(t->o->profile, "opening");
    if (!ok) return false;
    t->forgetting.folder = t->folder.path;
    return gf_boundary_start(&t->boundary, t->recipe, t->folder.path, t->o->cache_folder,
                             &t->o->log, e);
}

/* What was kept of the texts stays for the resumed run after an interruption only. */
static void close_run(trainer *t, gf_code code) {
    gf_saver_settle(&t->saver, NULL); /* after a failure; otherwise there is none left */
    cJSON_Delete(t->inputs);
    gf_metrics_free(&t->dev);
    gf_metrics_free(&t->before);
    gf_phase_end(&t->phase);
    if (t->run.recipe) gf_stepper_free(&t->stepper, &t->run);
    gf_history_free(&t->history);
    gf_forgetting_free(&t->forgetting);
    gf_boundary_end(&t->boundary, code != GF_E_SIGINT && code != GF_E_SIGTERM);
    gf_journal_free(&t->journal);
    gf_run_folder_close(&t->folder);
    gf_epoch_free(&t->epoch);
    gf_free(t->update.loss);
    gf_free(t->update.weight);
    gf_run_close(&t->run);
    gf_engine_stop(&t->engine);
}

/* Also of a run that ended early. It is about the run, not of it: a failure is a warning. */
static void write_profile(trainer *t) {
    gf_text table = {0}, trace = {0};
    gf_err why = {0};
    if (!t->o->profile) return;
    if (!gf_profile_table(t->o->profile, &table, &why) ||
        !gf_profile_trace(t->o->profile, &trace, &why) ||
        !gf_run_folder_write(&t->folder, "profile.txt", table.data, &why) ||
        !gf_run_folder_write(&t->folder, "profile.json", trace.data, &why))
        gf_log_say(&t->o->log, GF_LOG_WARNING, "the profile was not written: %s", why.text);
    gf_text_free(&table);
    gf_text_free(&trace);
}

bool gf_train(const gf_recipe *recipe, const gf_trainer_options *o, gf_err *e) {
    trainer t = {.recipe = recipe, .o = o, .saved_step = -1, .spare_step = -1};
    bool ok, opened;
    t.tell = (gf_tell){tell_rows, &t};
    t.stepper.dense = o->dense;
    opened = ok = open_run(&t, e);
    while (ok && t.at.phase < recipe->n_phases) {
        ok = run_phase(&t, e);
        if (ok) next_phase(&t.at);
    }
    ok = ok && finish(&t, e);
    if (opened) write_profile(&t);
    close_run(&t, e ? e->code : GF_OK);
    return ok;
}
