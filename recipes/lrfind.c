#include "recipes/lrfind.h"

#include "core/mem.h"
#include "recipes/step.h"
#include "recipes/suggest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* fastai's: weight of the past in the smoothed loss, and how far it may rise above its lowest. */
static const double beta = 0.98, too_high = 4;
enum { DROPPED_AT_END = 5 };

const char *const gf_lr_rule_names[GF_LR_RULES] = {"valley", "steep", "minimum"};

/* ---- which phase ---- */

static bool trains(const gf_recipe_phase *p) { return p->n_rules > 0; }

static bool find_named(const gf_recipe *r, const char *name, int64_t *index, gf_err *e) {
    const char **names;
    char near[256], *end = NULL;
    long long number;
    for (*index = 0; *index < r->n_phases; (*index)++)
        if (strcmp(r->phases[*index].name, name) == 0) return true;
    number = strtoll(name, &end, 10);
    if (end != name && !*end && number >= 0 && number < r->n_phases) {
        *index = number;
        return true;
    }
    if (!(names = gf_alloc_array(r->n_phases, sizeof *names, e))) return false;
    for (int64_t i = 0; i < r->n_phases; i++) names[i] = r->phases[i].name;
    gf_fail(e, GF_E_USAGE, "--phase %s: %s has no phase of this name or number (from 0); %s", name,
            r->path, gf_suggest(name, names, r->n_phases, near, sizeof near));
    gf_free((void *)(uintptr_t)names);
    return false;
}

static bool fail_idle(const gf_recipe *r, int64_t index, gf_err *e) {
    gf_text which = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < r->n_phases; i++)
        if (i != index && trains(&r->phases[i]))
            ok = gf_text_add(&which, e, "%s\"%s\" (%lld)", which.length ? ", " : "",
                             r->phases[i].name, (long long)i);
    if (ok)
        gf_fail(e, GF_E_USAGE, "%s: phase \"%s\" (%lld) trains nothing%s%s", r->path,
                r->phases[index].name, (long long)index,
                which.length ? "; those that do: " : ", and no other does; see \"trainable\"",
                which.length ? which.data : "");
    gf_text_free(&which);
    return false;
}

static bool find_phase(const gf_recipe *r, const char *name, int64_t *index, gf_err *e) {
    *index = 0;
    if (name && !find_named(r, name, index, e)) return false;
    while (!name && *index < r->n_phases - 1 && !trains(&r->phases[*index])) (*index)++;
    return trains(&r->phases[*index]) || fail_idle(r, *index, e);
}

/* ---- the test ---- */

typedef struct test {
    gf_lrfind *out;
    const gf_lrfind_options *o;
    gf_recipe recipe; /* the caller's, but for what rates do not rise with; borrows its parts */
    gf_run run;
    gf_engine engine;
    gf_phase phase;
    gf_boundary boundary;
    gf_stepper stepper;
    gf_progress at;
    gf_epoch epoch;
    gf_update update;
    double *rates; /* [groups] in the recipe */
    double sum;    /* smoothed, before its bias is taken out */
    double lowest; /* smoothed loss so far */
} test;

/* Rates alone decide here: no schedule, no average; and nothing is observed that costs time. */
static bool borrow_recipe(test *t, const gf_recipe *recipe, gf_err *e) {
    gf_recipe_phase *p;
    t->recipe = *recipe;
    t->recipe.phases = gf_alloc_array(recipe->n_phases, sizeof *recipe->phases, e);
    if (!t->recipe.phases) return false;
    memcpy(t->recipe.phases, recipe->phases, (size_t)recipe->n_phases * sizeof *recipe->phases);
    p = &t->recipe.phases[t->out->phase];
    p->schedule = gf_schedule_make(GF_SCHEDULE_CONSTANT);
    t->recipe.ema = 0;
    t->recipe.conflict_every = 0;
    return true;
}

static bool go_on(const test *t, gf_err *e) {
    const gf_lrfind_watch *w = &t->o->watch;
    gf_code code = w->stop ? w->stop(w->context) : GF_OK;
    return code == GF_OK ||
           gf_fail(e, code,
                   "%s: interrupted behind update %lld of %lld; nothing was "
                   "written, so begin again when there is time",
                   t->recipe.path, (long long)t->at.step, (long long)t->out->steps);
}

static bool tell_rows(void *context, int64_t done, int64_t all, gf_err *e) {
    const test *t = context;
    if (t->o->watch.encoding) t->o->watch.encoding(t->o->watch.context, done, all);
    return go_on(t, e);
}

/* The rates as the recipe has them. */
static bool keep_rates(test *t, gf_err *e) {
    const gf_recipe_phase *c = t->phase.recipe;
    gf_lrfind *f = t->out;
    if (!(t->rates = gf_alloc_array(t->phase.groups.count, sizeof *t->rates, e)) ||
        !(f->patterns = gf_alloc_array(c->n_rules, sizeof *f->patterns, e)))
        return false;
    for (int64_t i = 0; i < t->phase.groups.count; i++) {
        t->rates[i] = t->phase.groups.items[i].lr;
        if (t->rates[i] > f->largest) f->largest = t->rates[i];
    }
    for (; f->n_patterns < c->n_rules; f->n_patterns++) {
        gf_lr_pattern *p = &f->patterns[f->n_patterns];
        if (!(p->pattern = gf_strdup(c->rules[f->n_patterns].pattern, e))) return false;
        if (gf_phase_rate(&t->phase, f->n_patterns) > 0) p->lr = c->rules[f->n_patterns].lr;
    }
    return f->largest > 0 ||
           gf_fail(e, GF_E_INVALID,
                   "%s: every lr of phase \"%s\" is 0, so that none can be multiplied; give them "
                   "the ratio they shall have",
                   t->recipe.path, c->name);
}

static void say_what_differs(const test *t) {
    const gf_log *log = &t->o->log;
    const char *name = t->phase.recipe->name;
    double epochs = (double)t->out->steps / (double)t->phase.updates_per_epoch;
    if (t->out->phase > 0)
        gf_log_say(log, GF_LOG_NOTE,
                   "phase \"%s\" is tested on the base's weights and new heads: what the phases "
                   "before it would learn is not there",
                   name);
    if (t->phase.recipe->unfreeze_layers)
        gf_log_say(log, GF_LOG_NOTE, "all layers that phase \"%s\" opens one by one are open",
                   name);
    if (epochs > 10)
        gf_log_say(log, GF_LOG_WARNING,
                   "%lld updates are %.0f epochs of %lld rows: the loss falls as rows are learned "
                   "by heart, too; fewer --steps or more rows tell more",
                   (long long)t->out->steps, epochs, (long long)t->phase.data->rows);
}

/* Texts of a frozen encoder are encoded once if each would be encoded more often without that. */
static bool prepare(test *t, gf_err *e) {
    gf_tell tell = {tell_rows, t};
    int64_t losses = t->recipe.n_tasks > 0 ? t->recipe.n_tasks : 1;
    if (!gf_phase_assign(&t->phase, &t->run, t->out->phase, e)) return false;
    if (!t->phase.trains) return fail_idle(&t->recipe, t->out->phase, e);
    if (t->phase.data->rows == 0 || t->phase.updates_per_epoch == 0)
        return gf_fail(e, GF_E_INVALID, "%s: there are no rows to train on; see \"data\"",
                       t->recipe.path);
    say_what_differs(t);
    /* the last stage, whichever that is */
    return gf_phase_open(&t->phase, &t->run, t->phase.recipe->unfreeze_layers ? INT64_MAX : 0, e) &&
           keep_rates(t, e) && (t->update.loss = gf_alloc_array(losses, sizeof(double), e)) &&
           (t->update.weight = gf_alloc_array(losses, sizeof(double), e)) &&
           gf_stepper_start(&t->stepper, &t->run, e) &&
           gf_stepper_begin(&t->stepper, &t->run, &t->engine, &t->phase, e) &&
           (t->out->steps <= t->phase.updates_per_epoch ||
            gf_phase_make_features(&t->phase, &t->run, &t->engine, &t->boundary,
                                   (t->out->steps - 1) / t->phase.updates_per_epoch + 1, &tell, e));
}

static bool open_run(test *t, gf_err *e) {
    if (!gf_engine_start(&t->engine, t->o->threads, e) ||
        (t->o->pin && !gf_pool_pin(t->engine.pool, e)) ||
        !gf_engine_precision(&t->engine, t->recipe.precision, e) ||
        !gf_run_open(&t->run, &t->recipe, NULL, &t->o->log, e))
        return false;
    gf_dataset_free(&t->run.dev); /* nothing is evaluated */
    gf_dataset_free(&t->run.test);
    return gf_boundary_start(&t->boundary, &t->recipe, NULL, NULL, &t->o->log, e);
}

/* libm's pow makes one number an update. */
static void set_rate(test *t) {
    gf_lrfind *f = t->out;
    double part = (double)t->at.step / (double)(f->steps - 1);
    f->last_rate = t->at.step == f->steps - 1 ? f->end : f->start * pow(f->end / f->start, part);
    for (int64_t i = 0; i < t->phase.groups.count; i++)
        t->phase.groups.items[i].lr = t->rates[i] / f->largest * f->last_rate;
}

static bool has_loss(const test *t) {
    for (int64_t i = 0; i < t->phase.n_losses; i++)
        if (!isnan(t->update.loss[i]) && t->update.weight[i] != 0) return true;
    return false;
}

static void add_point(test *t) {
    gf_lrfind *f = t->out;
    gf_lr_point *p = &f->points[f->count];
    if (!has_loss(t)) return;
    f->count++;
    t->sum = beta * t->sum + (1 - beta) * t->update.total;
    *p = (gf_lr_point){f->last_rate, t->update.total, t->sum / (1 - pow(beta, (double)f->count))};
    if (f->count == 1 || p->smoothed < t->lowest) t->lowest = p->smoothed;
    if (p->smoothed - t->lowest > (too_high - 1) * fabs(t->lowest)) f->how = GF_LR_DIVERGED;
}

/* What is wrong was there before any rate was tried. The step's advice is about rates. */
static bool fail_at_once(const test *t, const gf_err *why, gf_err *e) {
    const char *advice = strrchr(why->text, ';');
    int length = advice ? (int)(advice - why->text) : (int)strlen(why->text);
    return gf_fail(e, GF_E_NUMERIC,
                   "%s: %.*s; that is before any lr was tried: look at the base's weights, the "
                   "labels and the loss weights",
                   t->recipe.path, length, why->text);
}

static bool step(test *t, gf_err *e) {
    int64_t each = t->recipe.accumulate, first = t->at.update * each;
    int64_t left = t->epoch.batches - first;
    gf_err why = {0};
    set_rate(t);
    if (!gf_step_run(&t->stepper, &t->run, &t->engine, &t->phase, &t->at, &t->epoch, first,
                     left < each ? left : each, &t->update, &why)) {
        if (why.code != GF_E_NUMERIC) return gf_fail(e, why.code, "%s", why.text);
        if (t->at.step == 0) return fail_at_once(t, &why, e);
        t->out->how = GF_LR_NOT_FINITE;
        return true;
    }
    add_point(t);
    if (t->o->watch.step)
        t->o->watch.step(t->o->watch.context, t->at.step, t->out->steps,
                         t->out->count ? &t->out->points[t->out->count - 1] : NULL);
    return go_on(t, e);
}

static bool is_over(const test *t) {
    return t->at.step >= t->out->steps || t->out->how != GF_LR_FINISHED;
}

static bool run_epoch(test *t, gf_err *e) {
    int64_t epoch = t->at.epoch;
    if (t->recipe.mix.kind == GF_MIX_ANNEALED) epoch %= t->phase.recipe->epochs;
    if (!gf_phase_make_epoch(&t->phase, &t->run, epoch, &t->epoch, e)) return false;
    while (!is_over(t) && t->at.update * t->recipe.accumulate < t->epoch.batches)
        if (!step(t, e)) return false;
    if (t->phase.recipe->objective == GF_OBJECTIVE_TASKS) gf_balance_end_epoch(&t->stepper.balance);
    t->at.update = 0;
    t->at.epoch++;
    return true;
}

static void free_test(test *t) {
    gf_epoch_free(&t->epoch);
    gf_phase_end(&t->phase);
    gf_boundary_end(&t->boundary, true);
    if (t->run.recipe) {
        gf_stepper_free(&t->stepper, &t->run);
        gf_run_close(&t->run);
    }
    gf_engine_stop(&t->engine);
    gf_free(t->update.loss);
    gf_free(t->update.weight);
    gf_free(t->rates);
    gf_free(t->recipe.phases);
}

static bool check_options(const gf_lrfind_options *o, gf_err *e) {
    if (!(o->start > 0 && isfinite(o->end) && o->start < o->end))
        return gf_fail(e, GF_E_USAGE,
                       "--start %g --end %g: the lr rises from one to the other; "
                       "give 0 < start < end",
                       o->start, o->end);
    if (o->steps < GF_LRFIND_LEAST || o->steps > GF_LRFIND_MOST)
        return gf_fail(e, GF_E_USAGE, "--steps %lld: between %d and %d updates make a curve",
                       (long long)o->steps, GF_LRFIND_LEAST, GF_LRFIND_MOST);
    return true;
}

bool gf_lrfind_run(gf_lrfind *f, const gf_recipe *recipe, const gf_lrfind_options *o, gf_err *e) {
    test t = {.out = f, .o = o, .at.plateau = gf_plateau_start()};
    bool ok;
    f->start = o->start;
    f->end = o->end;
    f->steps = o->steps;
    ok = check_options(o, e) && find_phase(recipe, o->phase, &f->phase, e) &&
         (f->phase_name = gf_strdup(recipe->phases[f->phase].name, e)) &&
         (f->points = gf_alloc_array(o->steps, sizeof *f->points, e)) &&
         borrow_recipe(&t, recipe, e) && open_run(&t, e) && prepare(&t, e) && go_on(&t, e);
    while (ok && !is_over(&t)) ok = run_epoch(&t, e);
    ok = ok && gf_lrfind_suggest(f->points, f->count, f->steps, f->hints, e);
    free_test(&t);
    return ok;
}

void gf_lrfind_free(gf_lrfind *f) {
    for (int64_t i = 0; i < f->n_patterns; i++) gf_free(f->patterns[i].pattern);
    gf_free(f->patterns);
    gf_free(f->phase_name);
    gf_free(f->points);
    *f = (gf_lrfind){0};
}

/* ---- suggestions ---- */

/* length[i]: of the longest strictly falling subsequence that ends at point i. */
static int64_t find_valley(const gf_lr_point *p, int64_t n, int64_t *length) {
    int64_t last = 0, first, at;
    for (int64_t i = 0; i < n; i++) {
        length[i] = 1;
        for (int64_t k = 0; k < i; k++)
            if (p[i].smoothed < p[k].smoothed && length[k] >= length[i]) length[i] = length[k] + 1;
        if (length[i] > length[last]) last = i;
    }
    /* fastai sets the start of the valley only once a point falls below another */
    first = length[last] > 1 ? last - length[last] : 0;
    at = first + (last - first) / 3 + (last - first) / 6;
    return at < 0 ? 0 : at;
}

static int64_t find_steepest(const gf_lr_point *p, int64_t n) {
    int64_t best = 0;
    double smallest = INFINITY;
    for (int64_t i = 0; i + 1 < n; i++) {
        double slope = (p[i + 1].smoothed - p[i].smoothed) / (log(p[i + 1].rate) - log(p[i].rate));
        if (slope < smallest) {
            smallest = slope;
            best = i;
        }
    }
    return best;
}

static int64_t find_lowest(const gf_lr_point *p, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (p[i].smoothed < p[best].smoothed) best = i;
    return best;
}

bool gf_lrfind_suggest(const gf_lr_point *points, int64_t count, int64_t steps, gf_lr_hint *hints,
                       gf_err *e) {
    int64_t skip = steps / 10, n = count - DROPPED_AT_END - skip, *length;
    const gf_lr_point *p = points + skip;
    for (int i = 0; i < GF_LR_RULES; i++) hints[i] = (gf_lr_hint){NAN, -1};
    if (n < 2) return true;
    if (!(length = gf_alloc_array(n, sizeof *length, e))) return false;
    hints[GF_LR_VALLEY].point = find_valley(p, n, length);
    hints[GF_LR_STEEP].point = find_steepest(p, n);
    hints[GF_LR_MINIMUM].point = find_lowest(p, n);
    for (int i = 0; i < GF_LR_RULES; i++) {
        hints[i].rate = p[hints[i].point].rate;
        hints[i].point += skip;
    }
    hints[GF_LR_MINIMUM].rate /= 10;
    gf_free(length);
    return true;
}
