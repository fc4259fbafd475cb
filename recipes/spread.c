#include "recipes/spread.h"

#include "core/json.h"
#include "core/mem.h"
#include "core/version.h"

#include <math.h>
#include <string.h>

gf_spread gf_spread_of(const double *values, int64_t count) {
    gf_spread s = {.mean = NAN, .sd = NAN};
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i])) {
            s.n++;
            sum += values[i];
        }
    if (s.n) s.mean = sum / (double)s.n;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i])) squares += (values[i] - s.mean) * (values[i] - s.mean);
    if (s.n > 1) s.sd = sqrt(squares / (double)(s.n - 1));
    return s;
}

/* ---- reading metrics.json ---- */

static const cJSON *get(const cJSON *j, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

static double number(const cJSON *j) { return cJSON_IsNumber(j) ? j->valuedouble : NAN; }

/* "a.macro_f1" in "mean(a.macro_f1, b.loss)": copies "macro_f1" for task "a" into metric. */
static bool find_term(const char *select, const char *task, char metric[64]) {
    size_t n = strlen(task);
    for (const char *p = select; p && (p = strstr(p, task)); p += n) {
        bool starts = p == select || p[-1] == '(' || p[-1] == ' ' || p[-1] == ',';
        size_t length = strcspn(p + n + (p[n] == '.'), ",) ");
        if (!starts || p[n] != '.' || length == 0 || length >= 64) continue;
        memcpy(metric, p + n + 1, length);
        metric[length] = 0;
        return true;
    }
    return false;
}

static const char *choose_metric(const cJSON *metrics, const cJSON *task, char metric[64]) {
    static const char *const usual[] = {"macro_f1", "spearman", "accuracy"};
    const char *select = cJSON_GetStringValue(get(get(metrics, "best"), "name"));
    if (find_term(select, task->string, metric)) return metric;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (cJSON_IsNumber(get(task, usual[i]))) return usual[i];
    return "loss";
}

/* Of a metric or a select.metric: whether it is, or names, an error or a loss. */
static bool lower_is_better(const char *text) {
    static const char *const errors[] = {"loss", "mae", "rmse", "ece"};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        for (const char *p = text; (p = strstr(p, errors[i])); p++) {
            char end = p[strlen(errors[i])];
            if ((p == text || p[-1] == '.') && (end == 0 || strchr(",) ", end))) return true;
        }
    return false;
}

/* ---- the report ---- */

typedef struct report {
    const gf_compare *c;
    cJSON *root, *metrics; /* metrics: {task: metric} */
    const char *criterion; /* what all finished runs select by, NULL if that differs */
    double *values;        /* [n_seeds] */
} report;

static bool add_spread(cJSON *parent, const char *name, gf_spread s, gf_err *e) {
    cJSON *j = gf_json_object(parent, name, e);
    return j && gf_json_number(j, "mean", s.mean, e) && gf_json_number(j, "sd", s.sd, e) &&
           gf_json_number(j, "n", (double)s.n, e);
}

/* Every task of any run, with its metric. */
static bool find_metrics(report *r, gf_err *e) {
    static const char *const splits[] = {"dev", "test"};
    char metric[64];
    const cJSON *task;
    for (int64_t i = 0; i < r->c->n * r->c->n_seeds; i++) {
        const cJSON *m = r->c->entries[i / r->c->n_seeds].runs[i % r->c->n_seeds].metrics;
        for (size_t s = 0; s < 2; s++) cJSON_ArrayForEach(task, get(m, splits[s])) {
                if (get(r->metrics, task->string)) continue;
                if (!gf_json_string(r->metrics, task->string, choose_metric(m, task, metric), e))
                    return false;
            }
    }
    return true;
}

/* select.metric, when all finished runs have the same and a value of it. */
static void find_criterion(report *r) {
    bool first = true;
    for (int64_t i = 0; i < r->c->n * r->c->n_seeds; i++) {
        const cJSON *m = r->c->entries[i / r->c->n_seeds].runs[i % r->c->n_seeds].metrics;
        const char *name = cJSON_GetStringValue(get(get(m, "best"), "name"));
        if (!m) continue;
        if (!name || !cJSON_IsNumber(get(get(m, "best"), "metric")) ||
            (!first && (!r->criterion || strcmp(name, r->criterion) != 0)))
            name = NULL;
        r->criterion = name;
        first = false;
        if (!name) return;
    }
}

/* The mean of a run's figures on dev; NaN when some are better high and others low. */
static double mean_figure(const report *r, const cJSON *metrics) {
    const cJSON *metric;
    double sum = 0;
    int64_t n = 0, low = 0;
    cJSON_ArrayForEach(metric, r->metrics) {
        double v = number(get(get(get(metrics, "dev"), metric->string), metric->valuestring));
        if (isnan(v)) continue;
        low += lower_is_better(metric->valuestring);
        sum += v;
        n++;
    }
    return n && (low == 0 || low == n) ? sum / (double)n : NAN;
}

static bool add_select(report *r, const gf_compare_entry *entry, cJSON *j, gf_err *e) {
    for (int64_t i = 0; i < r->c->n_seeds; i++) {
        const cJSON *m = entry->runs[i].metrics;
        r->values[i] = !m             ? NAN
                       : r->criterion ? number(get(get(m, "best"), "metric"))
                                      : mean_figure(r, m);
    }
    return add_spread(j, "select", gf_spread_of(r->values, r->c->n_seeds), e);
}

static bool add_split(report *r, const gf_compare_entry *entry, const char *split, cJSON *j,
                      gf_err *e) {
    cJSON *into = gf_json_object(j, split, e);
    const cJSON *metric;
    bool ok = into != NULL;
    cJSON_ArrayForEach(metric, r->metrics) {
        gf_spread s;
        for (int64_t i = 0; i < r->c->n_seeds; i++)
            r->values[i] = number(
                get(get(get(entry->runs[i].metrics, split), metric->string), metric->valuestring));
        s = gf_spread_of(r->values, r->c->n_seeds);
        ok = ok && (s.n == 0 || add_spread(into, metric->string, s, e));
    }
    return ok;
}

/* The cosine between the dev texts' embeddings in the base and in the end: of the last phase that
 * moved them. */
static double kept_by(const gf_compare_run *run) {
    const cJSON *phase;
    double kept = NAN;
    cJSON_ArrayForEach(phase, get(run->metrics, "phases")) {
        double v = number(get(phase, "cosine_base"));
        if (!isnan(v)) kept = v;
    }
    return kept;
}

static bool add_costs(report *r, const gf_compare_entry *entry, cJSON *j, gf_err *e) {
    int64_t trainable = 0, parameters = 0, n = r->c->n_seeds;
    double peak = NAN;
    gf_spread seconds, kept;
    for (int64_t i = 0; i < n; i++) {
        const gf_compare_run *run = &entry->runs[i];
        if (run->trainable > trainable) trainable = run->trainable;
        if (run->parameters > parameters) parameters = run->parameters;
        r->values[i] = run->metrics && run->seconds > 0 ? run->seconds : NAN;
        if (run->metrics && run->peak_mib > 0) peak = fmax(peak, run->peak_mib);
    }
    seconds = gf_spread_of(r->values, n);
    for (int64_t i = 0; i < n; i++) r->values[i] = kept_by(&entry->runs[i]);
    kept = gf_spread_of(r->values, n);
    return gf_json_number(j, "trainable", parameters ? (double)trainable : NAN, e) &&
           gf_json_number(j, "parameters", parameters ? (double)parameters : NAN, e) &&
           add_spread(j, "seconds", seconds, e) && gf_json_number(j, "peak_mib", peak, e) &&
           add_spread(j, "kept", kept, e);
}

/* A part of metrics.json as it stands there. */
static bool add_copy(cJSON *j, const cJSON *metrics, const char *part, gf_err *e) {
    const cJSON *item = get(metrics, part);
    cJSON *copy = item ? cJSON_Duplicate(item, true) : NULL;
    if (!item || (copy && cJSON_AddItemToObject(j, part, copy))) return true;
    cJSON_Delete(copy);
    return gf_fail(e, GF_E_NOMEM, "out of memory while building JSON");
}

static bool add_run(const gf_compare_run *run, cJSON *runs, gf_err *e) {
    static const char *const parts[] = {"best", "dev", "test", "phases"};
    const char *state = run->metrics ? "done" : run->error ? "failed" : "unfinished";
    cJSON *j = gf_json_object(runs, NULL, e);
    bool ok = j && gf_json_number(j, "seed", (double)run->seed, e) &&
              gf_json_string(j, "folder", run->folder, e) && gf_json_string(j, "state", state, e);
    if (ok && !run->metrics && run->error)
        ok = gf_json_string(j, "error", run->error, e) &&
             gf_json_number(j, "status", run->status, e);
    ok = ok && gf_json_number(j, "seconds", run->seconds > 0 ? run->seconds : NAN, e) &&
         gf_json_number(j, "peak_mib", run->peak_mib > 0 ? run->peak_mib : NAN, e);
    for (size_t i = 0; ok && i < sizeof parts / sizeof *parts; i++)
        ok = add_copy(j, run->metrics, parts[i], e);
    return ok;
}

static bool add_entry(report *r, const gf_compare_entry *entry, cJSON *recipes, gf_err *e) {
    cJSON *j = gf_json_object(recipes, NULL, e), *runs;
    bool ok = j && gf_json_string(j, "name", entry->name, e) &&
              gf_json_string(j, "recipe", entry->path, e);
    if (ok && entry->summary) ok = gf_json_string(j, "strategy", entry->summary, e);
    ok = ok && add_select(r, entry, j, e) && add_split(r, entry, "dev", j, e) &&
         add_split(r, entry, "test", j, e) && add_costs(r, entry, j, e) &&
         (runs = gf_json_array(j, "runs", e));
    for (int64_t i = 0; ok && i < r->c->n_seeds; i++) ok = add_run(&entry->runs[i], runs, e);
    return ok;
}

/* The first of the best. */
static const char *find_best(const cJSON *recipes, bool lower) {
    const cJSON *j;
    const char *best = NULL;
    double value = NAN;
    cJSON_ArrayForEach(j, recipes) {
        double v = number(get(get(j, "select"), "mean"));
        if (isnan(v) || (best && (lower ? v >= value : v <= value))) continue;
        value = v;
        best = cJSON_GetStringValue(get(j, "name"));
    }
    return best;
}

/* Whether low figures are good where there is no common criterion: all metrics must agree. */
static bool metrics_are_low(const cJSON *metrics) {
    const cJSON *first = metrics->child;
    return first && lower_is_better(first->valuestring);
}

static bool fill(report *r, gf_err *e) {
    cJSON *recipes;
    const char *best;
    bool lower, ok;
    if (!gf_json_string(r->root, "graft", GF_VERSION, e)) return false;
    if (!(r->metrics = gf_json_object(r->root, "metrics", e)) || !find_metrics(r, e)) return false;
    find_criterion(r);
    lower = r->criterion ? lower_is_better(r->criterion) : metrics_are_low(r->metrics);
    ok = gf_json_string(r->root, "criterion",
                        r->criterion ? r->criterion : "mean of the tasks' dev metrics", e) &&
         gf_json_bool(r->root, "lower_is_better", lower, e) &&
         (recipes = gf_json_array(r->root, "recipes", e));
    for (int64_t i = 0; ok && i < r->c->n; i++) ok = add_entry(r, &r->c->entries[i], recipes, e);
    if (!ok) return false;
    best = find_best(recipes, lower);
    return best ? gf_json_string(r->root, "best", best, e) : gf_json_null(r->root, "best", e);
}

cJSON *gf_spread_report(const gf_compare *c, gf_err *e) {
    report r = {.c = c, .root = gf_json_object(NULL, NULL, e)};
    bool ok = r.root && (r.values = gf_alloc_array(c->n_seeds, sizeof *r.values, e)) && fill(&r, e);
    gf_free(r.values);
    if (ok) return r.root;
    cJSON_Delete(r.root);
    return NULL;
}
