#include "recipes/progress.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *key;
    size_t offset;
} integers[] = {
#define FIELD(name)                                                                                \
    { #name, offsetof(gf_progress, name) }
    FIELD(phase),
    FIELD(epoch),
    FIELD(update),
    FIELD(phase_update),
    FIELD(step),
    FIELD(batches),
    FIELD(best_step),
    FIELD(stale),
    FIELD(lines),
#undef FIELD
    {"plateau_stale", offsetof(gf_progress, plateau.stale)},
};
enum { N_INTEGERS = sizeof integers / sizeof *integers };

bool gf_progress_add(const gf_progress *p, cJSON *j, gf_err *e) {
    for (int i = 0; i < N_INTEGERS; i++)
        if (!gf_json_number(j, integers[i].key,
                            (double)*(const int64_t *)((const char *)p + integers[i].offset), e))
            return false;
    return gf_json_bool(j, "phase_over", p->phase_over, e) &&
           gf_json_bool(j, "has_best", p->has_best, e) &&
           gf_json_exact(j, "best_value", p->best_value, e) &&
           gf_json_bool(j, "plateau_has_best", p->plateau.has_best, e) &&
           gf_json_exact(j, "plateau_best", p->plateau.best, e) &&
           gf_json_exact(j, "plateau_factor", p->plateau.factor, e);
}

static const cJSON *find(const cJSON *j, const char *key, const char *where, gf_err *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (cJSON_IsNumber(item) || cJSON_IsBool(item)) return item;
    gf_fail(e, GF_E_MODEL, "%s: the run state lacks \"%s\"", where, key);
    return NULL;
}

bool gf_progress_read(gf_progress *p, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *over, *has, *value, *item, *seen, *best, *factor;
    for (int i = 0; i < N_INTEGERS; i++) {
        if (!(item = find(j, integers[i].key, where, e))) return false;
        *(int64_t *)((char *)p + integers[i].offset) = (int64_t)item->valuedouble;
    }
    over = find(j, "phase_over", where, e);
    has = over ? find(j, "has_best", where, e) : NULL;
    value = has ? find(j, "best_value", where, e) : NULL;
    seen = value ? find(j, "plateau_has_best", where, e) : NULL;
    best = seen ? find(j, "plateau_best", where, e) : NULL;
    factor = best ? find(j, "plateau_factor", where, e) : NULL;
    if (!factor) return false;
    p->plateau.has_best = cJSON_IsTrue(seen);
    p->plateau.best = best->valuedouble;
    p->plateau.factor = factor->valuedouble;
    p->phase_over = cJSON_IsTrue(over);
    p->has_best = cJSON_IsTrue(has);
    p->best_value = value->valuedouble;
    return true;
}

bool gf_progress_is_between(const gf_progress *p, int64_t save_every) {
    return p->update > 0 && (save_every == 0 || p->step % save_every != 0);
}
