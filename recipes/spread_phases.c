#include "recipes/spread.h"

#include "core/json.h"

#include <math.h>

enum { MOST_RUNS = 100 };

static const cJSON *get(const cJSON *j, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

/* A number of phase `index` of every run, spread over the seeds; `task` NULL: of the phase itself,
 * else how much the task's metric changed in it. */
static gf_spread spread_of(const cJSON *recipe, int index, const char *task, const char *key) {
    double values[MOST_RUNS];
    int64_t n = 0;
    const cJSON *run;
    cJSON_ArrayForEach(run, get(recipe, "runs")) {
        const cJSON *phase = cJSON_GetArrayItem(get(run, "phases"), index);
        const cJSON *at = task ? get(get(phase, "tasks"), task) : phase;
        const cJSON *now = get(at, key), *before = get(at, "before");
        if (n == MOST_RUNS || !cJSON_IsNumber(now) || (task && !cJSON_IsNumber(before))) continue;
        values[n++] = now->valuedouble - (task ? before->valuedouble : 0);
    }
    return gf_spread_of(values, n);
}

static bool add_value(gf_text *out, const char *what, gf_spread v, gf_err *e) {
    bool ok = gf_text_add(out, e, " %s ", what);
    if (v.n == 0) return ok && gf_text_add(out, e, "%-14s", "-");
    ok = ok && gf_text_add(out, e, "%.4f", v.mean);
    return ok && (isnan(v.sd) || gf_text_add(out, e, " ±%.4f", v.sd));
}

/* The tasks that were there before a phase and did not train in it. */
static bool add_left_out(const cJSON *recipe, const cJSON *phase, int index, gf_text *out,
                         gf_err *e) {
    const cJSON *task;
    bool ok = true;
    cJSON_ArrayForEach(task, get(phase, "tasks")) {
        gf_spread change = spread_of(recipe, index, task->string, "after");
        const char *metric = cJSON_GetStringValue(get(task, "metric"));
        if (cJSON_IsTrue(get(task, "trained")) || change.n == 0) continue;
        ok = ok &&
             gf_text_add(out, e, "    %s, not trained here: %s %+.4f", task->string,
                         metric ? metric : "", change.mean) &&
             (isnan(change.sd) || gf_text_add(out, e, " ±%.4f", change.sd)) &&
             gf_text_add(out, e, "\n");
    }
    return ok;
}

static bool add_recipe(const cJSON *recipe, const cJSON *phases, gf_text *out, bool *any,
                       gf_err *e) {
    const char *name = cJSON_GetStringValue(get(recipe, "name"));
    const cJSON *phase;
    int index = 0;
    bool ok = true;
    cJSON_ArrayForEach(phase, phases) {
        gf_spread before = spread_of(recipe, index, NULL, "cosine");
        const char *title = cJSON_GetStringValue(get(phase, "name"));
        if (before.n > 0)
            ok = ok && gf_text_add(out, e, "  %s, %s:", name ? name : "", title ? title : "") &&
                 add_value(out, "to before", before, e) &&
                 add_value(out, "to the base", spread_of(recipe, index, NULL, "cosine_base"), e) &&
                 gf_text_add(out, e, "\n");
        *any |= before.n > 0;
        ok = ok && add_left_out(recipe, phase, index, out, e);
        index++;
    }
    return ok;
}

bool gf_spread_phases(const cJSON *report, gf_text *out, gf_err *e) {
    size_t length = out->length;
    const cJSON *recipe, *run;
    bool any = false, ok;
    ok = gf_text_add(out, e, "\nforgetting by phase: mean cosine of dev texts' embeddings\n");
    cJSON_ArrayForEach(recipe, get(report, "recipes")) {
        const cJSON *phases = NULL;
        cJSON_ArrayForEach(run, get(recipe, "runs")) if (!phases) phases = get(run, "phases");
        ok = ok && add_recipe(recipe, phases, out, &any, e);
    }
    if (any || !ok) return ok;
    out->data[out->length = length] = 0;
    return true;
}
