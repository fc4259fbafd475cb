#include "recipes/strategies.h"

#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "recipes/suggest.h"

#include <string.h>

static const gf_strategy strategies[] = {
#include "recipes/ready.inc" /* made by the Makefile: a {name, text} for each line of the .def */
};
enum { N_STRATEGIES = sizeof strategies / sizeof *strategies };

const gf_strategy *gf_strategy_at(int64_t i) {
    return i >= 0 && i < N_STRATEGIES ? &strategies[i] : NULL;
}

const gf_strategy *gf_strategy_find(const char *name, gf_err *e) {
    const char *names[N_STRATEGIES];
    char hint[256];
    for (int64_t i = 0; i < N_STRATEGIES; i++) {
        if (strcmp(strategies[i].name, name) == 0) return &strategies[i];
        names[i] = strategies[i].name;
    }
    gf_fail(e, GF_E_USAGE, "--strategies: \"%s\" is no strategy; %s", name,
            gf_suggest(name, names, N_STRATEGIES, hint, sizeof hint));
    return NULL;
}

static cJSON *parse(const gf_strategy *s, gf_err *e) {
    return gf_json_parse(s->json, strlen(s->json), s->name, 1, GF_E_INTERNAL, e);
}

char *gf_strategy_summary(const gf_strategy *s, gf_err *e) {
    cJSON *j = parse(s, e);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, "_"));
    char *summary = j ? gf_strndup(text ? text : "", text ? strcspn(text, ".:") : 0, e) : NULL;
    cJSON_Delete(j);
    return summary;
}

/* ---- tasks: those that the phases name are the other recipe's, by their places ---- */

static const char *name_of(const cJSON *tasks, int i) {
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(cJSON_GetArrayItem(tasks, i), "name");
    return cJSON_GetStringValue(name);
}

/* The place of the task that this key of trainable ("heads.NAME.*") or of loss_weights ("NAME")
 * names, -1 if none. *prefix is set to what stands before the name. */
static int task_in(const cJSON *tasks, const char *key, size_t *prefix) {
    static const char heads[] = "heads.";
    *prefix = strncmp(key, heads, sizeof heads - 1) == 0 ? sizeof heads - 1 : 0;
    for (int i = 0; i < cJSON_GetArraySize(tasks); i++) {
        const char *name = name_of(tasks, i);
        size_t n = name ? strlen(name) : 0;
        char behind = n && strncmp(key + *prefix, name, n) == 0 ? key[*prefix + n] : 'x';
        if (behind == 0 || (behind == '.' && *prefix)) return i;
    }
    return -1;
}

typedef struct fitting {
    const cJSON *from, *to; /* the tasks of the strategy, of the recipe */
    const char *strategy, *path;
} fitting;

/* The same key, for the other recipe's task. */
static char *fit_key(const fitting *f, const char *key, gf_err *e) {
    size_t prefix;
    int task = task_in(f->from, key, &prefix), wanted = cJSON_GetArraySize(f->from);
    const char *to = task < 0 ? NULL : name_of(f->to, task);
    if (task < 0) return gf_strdup(key, e);
    if (to && cJSON_GetArraySize(f->to) == wanted)
        return gf_format(e, "%.*s%s%s", (int)prefix, key, to,
                         key + prefix + strlen(name_of(f->from, task)));
    gf_fail(e, GF_E_USAGE,
            "%s: the strategy \"%s\" is for %d tasks, the recipe has %d; leave it out, or write "
            "its phases into a recipe of your own",
            f->path, f->strategy, wanted, cJSON_GetArraySize(f->to));
    return NULL;
}

/* Gives all keys of an object of the phase their fitted names. */
static bool fit_keys(const fitting *f, cJSON *phase, const char *name, gf_err *e) {
    cJSON *old = cJSON_DetachItemFromObjectCaseSensitive(phase, name);
    cJSON *fitted = old ? gf_json_object(phase, name, e) : NULL, *item;
    bool ok = !old || fitted;
    while (ok && old && (item = old->child)) {
        char *key = fit_key(f, item->string, e);
        item = cJSON_DetachItemViaPointer(old, item);
        ok = key && (cJSON_AddItemToObject(fitted, key, item) ||
                     gf_fail(e, GF_E_NOMEM, "out of memory while building JSON"));
        if (!ok) cJSON_Delete(item);
        gf_free(key);
    }
    cJSON_Delete(old);
    return ok;
}

static bool fit_tasks(const fitting *f, cJSON *phases, gf_err *e) {
    cJSON *phase;
    bool ok = true;
    cJSON_ArrayForEach(phase, phases) {
        ok = ok && fit_keys(f, phase, "trainable", e) && fit_keys(f, phase, "loss_weights", e);
    }
    return ok;
}

/* ---- applying ---- */

/* Moves a part of the strategy into the recipe; one that it has not is no part of it. */
static bool take(cJSON *recipe, cJSON *from, const char *name, bool replaces, gf_err *e) {
    cJSON *part = cJSON_DetachItemFromObjectCaseSensitive(from, name);
    bool is_there = cJSON_HasObjectItem(recipe, name);
    if (!part) return true;
    if (is_there && !replaces) {
        cJSON_Delete(part);
        return true;
    }
    if (is_there ? cJSON_ReplaceItemInObjectCaseSensitive(recipe, name, part)
                 : cJSON_AddItemToObject(recipe, name, part))
        return true;
    cJSON_Delete(part);
    return gf_fail(e, GF_E_NOMEM, "out of memory while building JSON");
}

/* Masked words' settings are refused in a recipe without masked words. */
static bool take_mlm(cJSON *recipe, cJSON *from, gf_err *e) {
    if (!cJSON_HasObjectItem(from, "mlm")) cJSON_DeleteItemFromObjectCaseSensitive(recipe, "mlm");
    return take(recipe, from, "mlm", false, e);
}

char *gf_strategy_apply(const gf_strategy *s, const char *recipe, size_t size, const char *path,
                        gf_err *e) {
    cJSON *to = gf_json_parse(recipe, size, path, 1, GF_E_INVALID, e), *from = NULL;
    fitting f = {.strategy = s->name, .path = path};
    char *text = NULL;
    bool ok = to && (from = parse(s, e));
    if (ok && !cJSON_IsObject(to))
        ok = gf_fail(e, GF_E_INVALID, "%s: a recipe is an object, this is %s", path,
                     gf_json_kind(to));
    f.from = cJSON_GetObjectItemCaseSensitive(from, "tasks");
    f.to = cJSON_GetObjectItemCaseSensitive(to, "tasks");
    ok = ok && fit_tasks(&f, cJSON_GetObjectItemCaseSensitive(from, "phases"), e) &&
         take(to, from, "phases", true, e) && take(to, from, "optimizer", true, e) &&
         take_mlm(to, from, e);
    if (ok) text = gf_json_print(to, e);
    cJSON_Delete(to);
    cJSON_Delete(from);
    return text;
}
