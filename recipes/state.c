#include "recipes/state.h"

#include "core/gemm.h"
#include "core/mem.h"

#include <string.h>

/* Which generator draws what. Another one would give other numbers. */
static const struct {
    const char *what, *generator;
} generators[] = {{"order", "pcg32"},
                  {"init", "pcg32"},
                  {"dropout", "philox4x32-10"},
                  {"masks", "philox4x32-10"}};
enum { N_GENERATORS = sizeof generators / sizeof *generators };

/* The sums by the losses' order in the phase: the tasks', or that of masked language modelling. */
static bool add_journal(const gf_state *s, cJSON *j, gf_err *e) {
    cJSON *list = gf_json_array(j, "log_sums", e), *one;
    bool ok = list != NULL;
    for (int64_t t = 0; ok && t < s->journal->losses; t++)
        ok = (one = gf_json_object(list, NULL, e)) &&
             gf_json_exact(one, "loss", s->journal->sum[t], e) &&
             gf_json_number(one, "updates", (double)s->journal->count[t], e);
    return ok;
}

static bool add_numbers(cJSON *j, const char *name, const double *values, int64_t n, gf_err *e) {
    cJSON *list = gf_json_array(j, name, e);
    bool ok = list != NULL;
    for (int64_t i = 0; ok && i < n; i++) ok = gf_json_exact(list, NULL, values[i], e);
    return ok;
}

static bool add_learned(const gf_state *s, cJSON *j, gf_err *e) {
    double *values;
    int64_t n;
    gf_balance_state(&s->stepper->balance, &values, &n);
    if (!add_numbers(j, "balance", values, n, e)) return false;
    if (!s->stepper->conflict.state) return true;
    gf_conflict_state(&s->stepper->conflict, &values, &n);
    return add_numbers(j, "conflicts", values, n, e);
}

static bool add_generators(const gf_recipe *r, cJSON *j, gf_err *e) {
    cJSON *random = gf_json_object(j, "random", e);
    bool ok = random && gf_json_number(random, "seed", (double)r->seed, e);
    for (int i = 0; ok && i < N_GENERATORS; i++)
        ok = gf_json_string(random, generators[i].what, generators[i].generator, e);
    return ok;
}

char *gf_state_to_json(const gf_state *s, const gf_recipe *r, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e), *inputs = NULL;
    char kernels[128], *text = NULL;
    bool ok =
        j && gf_progress_add(s->at, j, e) && add_journal(s, j, e) &&
        gf_history_add(s->history, r, j, e) && add_learned(s, j, e) && add_generators(r, j, e) &&
        gf_json_string(j, "kernels", gf_engine_products(s->engine, kernels, sizeof kernels), e);
    if (ok && (!(inputs = cJSON_Duplicate(s->inputs, true)) ||
               !cJSON_AddItemToObject(j, "inputs", inputs))) {
        cJSON_Delete(inputs);
        ok = gf_fail(e, GF_E_NOMEM, "out of memory while writing the run state");
    }
    if (ok) text = gf_json_print(j, e);
    cJSON_Delete(j);
    return text;
}

static const cJSON *find(const cJSON *j, const char *key, int kind, const char *where, gf_err *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (item && (item->type & 0xff) == kind) return item;
    gf_fail(e, GF_E_MODEL, "%s: the run state lacks \"%s\"", where, key);
    return NULL;
}

static bool read_journal(gf_journal *journal, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *list = find(j, "log_sums", cJSON_Array, where, e);
    for (int64_t t = 0; list && t < journal->losses; t++) {
        const cJSON *one = cJSON_GetArrayItem(list, (int)t);
        const cJSON *loss = find(one, "loss", cJSON_Number, where, e);
        const cJSON *count = loss ? find(one, "updates", cJSON_Number, where, e) : NULL;
        if (!count) return false;
        journal->sum[t] = loss->valuedouble;
        journal->count[t] = (int64_t)count->valuedouble;
    }
    return list != NULL;
}

static bool read_numbers(const cJSON *j, const char *name, double *values, int64_t n,
                         const char *where, gf_err *e) {
    const cJSON *list = find(j, name, cJSON_Array, where, e), *item;
    int64_t i = 0;
    if (!list) return false;
    if (cJSON_GetArraySize(list) != n)
        return gf_fail(e, GF_E_MODEL, "%s: \"%s\" in the run state has another length", where,
                       name);
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsNumber(item))
            return gf_fail(e, GF_E_MODEL, "%s: \"%s\" in the run state holds %s", where, name,
                           gf_json_kind(item));
        values[i++] = item->valuedouble;
    }
    return true;
}

/* The weights of the phase the run stands in, or of the last one that trained tasks: setting them
 * later would change what is read here. */
static bool set_weights(const gf_state *s, const gf_recipe *r, gf_err *e) {
    int64_t p = s->at->phase < r->n_phases ? s->at->phase : r->n_phases - 1;
    while (p >= 0 && r->phases[p].objective != GF_OBJECTIVE_TASKS) p--;
    return p < 0 || gf_balance_set_fixed(&s->stepper->balance, r->phases[p].loss_weights, e);
}

static bool read_learned(const gf_state *s, const gf_recipe *r, const cJSON *j, const char *where,
                         gf_err *e) {
    double *values;
    int64_t n;
    if (!set_weights(s, r, e)) return false;
    gf_balance_state(&s->stepper->balance, &values, &n);
    if (!read_numbers(j, "balance", values, n, where, e)) return false;
    if (!s->stepper->conflict.state) return true;
    gf_conflict_state(&s->stepper->conflict, &values, &n);
    return read_numbers(j, "conflicts", values, n, where, e);
}

static bool read_generators(const cJSON *j, const char *where, gf_err *e) {
    const cJSON *random = find(j, "random", cJSON_Object, where, e);
    for (int i = 0; random && i < N_GENERATORS; i++) {
        const cJSON *name = find(random, generators[i].what, cJSON_String, where, e);
        if (!name) return false;
        if (strcmp(name->valuestring, generators[i].generator) != 0)
            return gf_fail(e, GF_E_MODEL,
                           "%s: its %s was drawn by \"%s\", this graft draws by %s; use the graft "
                           "that wrote it",
                           where, generators[i].what, name->valuestring, generators[i].generator);
    }
    return random != NULL;
}

static bool check_kernels(const gf_engine *n, const cJSON *j, const char *where, const gf_log *log,
                          gf_err *e) {
    char now[128];
    const cJSON *then = find(j, "kernels", cJSON_String, where, e);
    if (!then) return false;
    gf_engine_products(n, now, sizeof now);
    if (strcmp(then->valuestring, now) != 0)
        gf_log_say(log, GF_LOG_WARNING,
                   "%s was written with %s, this is %s: the last bits of what follows can differ",
                   where, then->valuestring, now);
    return true;
}

cJSON *gf_state_read_inputs(const char *json, const char *where, gf_err *e) {
    cJSON *j = gf_json_parse(json, strlen(json), where, 1, GF_E_MODEL, e), *inputs = NULL;
    if (j && find(j, "inputs", cJSON_Object, where, e))
        inputs = cJSON_DetachItemFromObjectCaseSensitive(j, "inputs");
    cJSON_Delete(j);
    return inputs;
}

bool gf_state_from_json(const gf_state *s, const gf_recipe *r, const char *json, const char *where,
                        const gf_log *log, gf_err *e) {
    cJSON *j = gf_json_parse(json, strlen(json), where, 1, GF_E_MODEL, e);
    bool ok = j && gf_progress_read(s->at, j, where, e) && read_journal(s->journal, j, where, e) &&
              gf_history_read(s->history, r, j, where, e) && read_learned(s, r, j, where, e) &&
              read_generators(j, where, e) && check_kernels(s->engine, j, where, log, e);
    cJSON_Delete(j);
    return ok;
}
