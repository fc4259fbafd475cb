#include "recipes/history.h"

#include "core/mem.h"

#include <math.h>
#include <string.h>

bool gf_history_start(gf_history *h, const gf_recipe *r, gf_err *e) {
    h->n_tasks = r->n_tasks;
    if (!(h->phases = cJSON_CreateArray()))
        return gf_fail(e, GF_E_NOMEM, "out of memory for the run's history");
    if (!(h->start = gf_alloc_array(r->n_tasks, sizeof *h->start, e)) ||
        !(h->last = gf_alloc_array(r->n_tasks, sizeof *h->last, e)))
        return false;
    for (int64_t t = 0; t < r->n_tasks; t++) h->start[t] = h->last[t] = NAN;
    return true;
}

void gf_history_free(gf_history *h) {
    cJSON_Delete(h->phases);
    gf_free(h->start);
    gf_free(h->last);
    *h = (gf_history){0};
}

void gf_history_begin_phase(gf_history *h) {
    for (int64_t t = 0; t < h->n_tasks; t++) h->start[t] = h->last[t];
}

void gf_history_see(gf_history *h, const gf_recipe *r, const gf_metrics *dev) {
    for (int64_t t = 0; t < h->n_tasks; t++)
        h->last[t] = dev->tasks[t].value[gf_metric_default(r->tasks[t].type)];
}

static bool add_number(cJSON *j, const char *name, double v, gf_err *e) {
    return (isfinite(v) ? gf_json_number(j, name, v, e) : gf_json_null(j, name, e)) != NULL;
}

/* A task trains in a phase when its loss counts and some parameter follows it. */
static bool is_trained(const gf_phase *p, const gf_model *m, int64_t task) {
    const gf_linear *l = &m->heads[task].linear;
    return p->recipe->objective == GF_OBJECTIVE_TASKS && p->recipe->loss_weights[task] > 0 &&
           (l->weight->trainable || l->bias->trainable);
}

bool gf_history_end_phase(gf_history *h, const gf_phase *p, const gf_recipe *r, const gf_model *m,
                          const gf_cosines *cosines, gf_err *e) {
    cJSON *j = gf_json_object(h->phases, NULL, e), *tasks, *task;
    bool ok = j && gf_json_string(j, "name", p->recipe->name, e) &&
              add_number(j, "cosine", cosines ? cosines->phase : NAN, e) &&
              add_number(j, "cosine_base", cosines ? cosines->run : NAN, e) &&
              (tasks = gf_json_object(j, "tasks", e));
    for (int64_t t = 0; ok && t < h->n_tasks; t++)
        ok = (task = gf_json_object(tasks, r->tasks[t].name, e)) &&
             gf_json_string(task, "metric",
                            gf_metric_list[gf_metric_default(r->tasks[t].type)].name, e) &&
             add_number(task, "before", h->start[t], e) &&
             add_number(task, "after", h->last[t], e) &&
             gf_json_bool(task, "trained", is_trained(p, m, t), e);
    return ok;
}

bool gf_history_moved(const gf_history *h) {
    const cJSON *phase;
    cJSON_ArrayForEach(phase, h->phases) if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(
                                                 phase, "cosine"))) return true;
    return false;
}

static bool add_exact(cJSON *j, const char *name, double v, gf_err *e) {
    return (isfinite(v) ? gf_json_exact(j, name, v, e) : gf_json_null(j, name, e)) != NULL;
}

bool gf_history_add(const gf_history *h, const gf_recipe *r, cJSON *state, gf_err *e) {
    cJSON *j = gf_json_object(state, "history", e), *tasks, *task, *phases = NULL;
    bool ok = j && (tasks = gf_json_object(j, "tasks", e));
    for (int64_t t = 0; ok && t < h->n_tasks; t++)
        ok = (task = gf_json_object(tasks, r->tasks[t].name, e)) &&
             add_exact(task, "start", h->start[t], e) && add_exact(task, "last", h->last[t], e);
    if (!ok) return false;
    if ((phases = cJSON_Duplicate(h->phases, true)) && cJSON_AddItemToObject(j, "phases", phases))
        return true;
    cJSON_Delete(phases);
    return gf_fail(e, GF_E_NOMEM, "out of memory while writing the run state");
}

static bool fail_missing(const char *where, const char *key, gf_err *e) {
    return gf_fail(e, GF_E_MODEL, "%s: the run state lacks \"%s\"", where, key);
}

static bool read_number(const cJSON *j, const char *key, double *v, const char *where, gf_err *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!cJSON_IsNumber(item) && !cJSON_IsNull(item)) return fail_missing(where, key, e);
    *v = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    return true;
}

bool gf_history_read(gf_history *h, const gf_recipe *r, const cJSON *state, const char *where,
                     gf_err *e) {
    const cJSON *j = cJSON_GetObjectItemCaseSensitive(state, "history");
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(j, "tasks");
    const cJSON *phases = cJSON_GetObjectItemCaseSensitive(j, "phases");
    if (!cJSON_IsArray(phases)) return fail_missing(where, "history", e);
    for (int64_t t = 0; t < h->n_tasks; t++) {
        const cJSON *task = cJSON_GetObjectItemCaseSensitive(tasks, r->tasks[t].name);
        if (!task) return fail_missing(where, r->tasks[t].name, e);
        if (!read_number(task, "start", &h->start[t], where, e) ||
            !read_number(task, "last", &h->last[t], where, e))
            return false;
    }
    cJSON_Delete(h->phases);
    h->phases = cJSON_Duplicate(phases, true);
    return h->phases || gf_fail(e, GF_E_NOMEM, "out of memory while reading the run state");
}

/* ---- the table ---- */

static bool add_cosine(const cJSON *phase, const char *key, gf_text *out, gf_err *e) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(phase, key);
    if (cJSON_IsNumber(v)) return gf_text_add(out, e, " %11.4f", v->valuedouble);
    return gf_text_add(out, e, " %11s", "unmoved");
}

/* A line for each task that was there before and did not train. */
static bool add_left_out(const cJSON *phase, gf_text *out, bool *any, gf_err *e) {
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(phase, "tasks"), *task;
    bool ok = true;
    cJSON_ArrayForEach(task, tasks) {
        const cJSON *before = cJSON_GetObjectItemCaseSensitive(task, "before");
        const cJSON *after = cJSON_GetObjectItemCaseSensitive(task, "after");
        const cJSON *metric = cJSON_GetObjectItemCaseSensitive(task, "metric");
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(task, "trained")) ||
            !cJSON_IsNumber(before) || !cJSON_IsNumber(after) || !cJSON_IsString(metric))
            continue;
        *any = true;
        ok = ok && gf_text_add(out, e, "  %s, not trained here: %s %.4f, was %.4f (%+.4f)\n",
                               task->string, metric->valuestring, after->valuedouble,
                               before->valuedouble, after->valuedouble - before->valuedouble);
    }
    return ok;
}

bool gf_history_table(const cJSON *phases, gf_text *out, gf_err *e) {
    size_t length = out->length;
    bool any = false,
         ok = gf_text_add(out, e,
                          "forgetting: mean cosine of dev texts' embeddings\n%-28s %11s %11s\n",
                          "phase", "to before", "to the base");
    const cJSON *phase;
    cJSON_ArrayForEach(phase, phases) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(phase, "name");
        any |= cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(phase, "cosine"));
        ok = ok && cJSON_IsString(name) && gf_text_add_column(out, name->valuestring, 28, e) &&
             add_cosine(phase, "cosine", out, e) && add_cosine(phase, "cosine_base", out, e) &&
             gf_text_add(out, e, "\n") && add_left_out(phase, out, &any, e);
    }
    if (any || !ok) return ok;
    out->data[out->length = length] = 0;
    return true;
}
