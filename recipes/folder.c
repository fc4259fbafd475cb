#include "recipes/folder.h"

#include "checkpoints/store.h"
#include "core/mem.h"
#include "core/text.h"
#include "recipes/saver.h"

#include <stdlib.h>
#include <string.h>

/* The paths of an object's members, without their folders. */
static void drop_folders(const cJSON *section, const char *const *keys) {
    for (; *keys; keys++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(section, *keys);
        char *path = cJSON_IsString(item) ? item->valuestring : NULL;
        const char *slash = path ? strrchr(path, '/') : NULL;
        if (slash) memmove(path, slash + 1, strlen(slash + 1) + 1);
    }
}

void gf_run_folder_drop_places(cJSON *j) {
    static const char *const model[] = {"base", "heads_init", NULL};
    static const char *const data[] = {"train", "dev", "test", NULL};
    static const char *const mlm[] = {"data", NULL};
    const cJSON *task;
    cJSON_DeleteItemFromObjectCaseSensitive(j, "output");
    cJSON_DeleteItemFromObjectCaseSensitive(j, "cache"); /* where texts wait changes no number */
    drop_folders(cJSON_GetObjectItemCaseSensitive(j, "model"), model);
    drop_folders(cJSON_GetObjectItemCaseSensitive(j, "data"), data);
    drop_folders(cJSON_GetObjectItemCaseSensitive(j, "mlm"), mlm);
    cJSON_ArrayForEach(task, cJSON_GetObjectItemCaseSensitive(j, "tasks"))
        drop_folders(cJSON_GetObjectItemCaseSensitive(task, "data"), data);
}

/* Seconds to wait for a lock: a killed run's last save may still hold it. */
static const double PATIENCE = 2;

static bool name_parts(gf_run_folder *f, const gf_recipe *recipe, gf_err *e) {
    cJSON *j;
    if (!(f->path = gf_strdup(recipe->output, e))) return false;
    if (!(f->checkpoints = gf_io_join(f->path, "checkpoints", e))) return false;
    if (!(f->best = gf_io_join(f->checkpoints, "best.h5", e))) return false;
    if (!(j = gf_recipe_to_json(recipe, e))) return false;
    f->recipe = gf_json_print(j, e);
    gf_run_folder_drop_places(j);
    f->stored = f->recipe ? gf_json_print(j, e) : NULL;
    cJSON_Delete(j);
    return f->stored != NULL;
}

static bool open_log(gf_run_folder *f, gf_err *e) {
    char *path = gf_io_join(f->path, "log.jsonl", e);
    f->log = path ? gf_io_append(path, e) : NULL;
    gf_free(path);
    return f->log != NULL;
}

static bool lies_in(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return path && strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* A run that is replaced must not take along what the new one reads. */
static bool check_not_needed(const gf_recipe *r, gf_err *e) {
    int64_t n = 0;
    gf_recipe_file *files = gf_recipe_files(r, &n, e);
    const char *lost = lies_in(r->base, r->output) ? r->base : NULL;
    for (int64_t i = 0; files && i < n; i++)
        if (!lost && lies_in(files[i].path, r->output)) lost = files[i].path;
    if (files && lost)
        gf_fail(e, GF_E_USAGE,
                "%s: --force would remove %s, which the recipe reads; choose another --output",
                r->output, lost);
    gf_free(files);
    return files && !lost;
}

/* Locks the folder's file "lock", which stays. */
static bool lock_folder(gf_lock *lock, const char *folder, gf_err *e) {
    char *path = gf_io_join(folder, "lock", e);
    bool ok = path && gf_io_lock(lock, path, PATIENCE, e);
    gf_free(path);
    return ok;
}

/* Nothing but what a start leaves that ended before it wrote recipe.json. */
static bool is_unborn(const char *path, char **names, int64_t count) {
    static const char *const parts[] = {"checkpoints", "lock", "recipe.json.tmp"};
    char *checkpoints = gf_io_join(path, parts[0], NULL);
    int64_t inside = 0, known = 0;
    char **within = NULL;
    if (checkpoints && gf_io_is_folder(checkpoints))
        within = gf_io_list(checkpoints, &inside, NULL);
    gf_io_free_names(within, inside);
    for (int64_t i = 0; i < count; i++)
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            known += strcmp(names[i], parts[p]) == 0;
    gf_free(checkpoints);
    return checkpoints && inside == 0 && known == count;
}

/* Removes all in a folder but what make_way() knows a run by, and the lock that is held. */
static bool empty_folder(const char *path, gf_err *e) {
    int64_t count = 0;
    char **names = gf_io_list(path, &count, e);
    bool ok = names != NULL;
    for (int64_t i = 0; ok && i < count; i++) {
        char *item = NULL;
        if (strcmp(names[i], "recipe.json") == 0 || strcmp(names[i], "checkpoints") == 0 ||
            strcmp(names[i], "lock") == 0)
            continue;
        item = gf_io_join(path, names[i], e);
        ok = item && gf_io_remove_tree(item, e);
        gf_free(item);
    }
    gf_io_free_names(names, count);
    return ok;
}

/* In an order in which what is left by a kill can be taken again by the next start, and by no
 * resume. */
static bool remove_run(const char *path, gf_err *e) {
    char *recipe = gf_io_join(path, "recipe.json", e);
    char *checkpoints = gf_io_join(path, "checkpoints", e);
    bool ok = recipe && checkpoints && empty_folder(checkpoints, e) && empty_folder(path, e) &&
              gf_io_remove(recipe, e) && gf_io_remove_tree(path, e);
    gf_free(checkpoints);
    gf_free(recipe);
    return ok;
}

/* A folder is a run's when it holds recipe.json and checkpoints; an empty one is free to take. A
 * run that is replaced stays locked for the caller: it may still be at work. */
static bool make_way(const gf_recipe *r, bool force, gf_lock *lock, gf_err *e) {
    const char *path = r->output;
    int64_t count = 0, signs = 0;
    bool is_free;
    char **names;
    if (!gf_io_exists(path)) return true;
    if (!gf_io_is_folder(path))
        return gf_fail(e, GF_E_USAGE, "%s: it is a file; choose another --output", path);
    if (!(names = gf_io_list(path, &count, e))) return false;
    for (int64_t i = 0; i < count; i++)
        signs += strcmp(names[i], "recipe.json") == 0 || strcmp(names[i], "checkpoints") == 0;
    is_free = is_unborn(path, names, count);
    gf_io_free_names(names, count);
    if (is_free) return true;
    if (signs < 2)
        return gf_fail(e, GF_E_USAGE,
                       "%s: it is not empty and no run of graft; choose another --output", path);
    if (force) return check_not_needed(r, e) && lock_folder(lock, path, e) && remove_run(path, e);
    return gf_fail(
        e, GF_E_USAGE,
        "%s: a run is there already; go on with --resume, replace it with --force, or choose "
        "another --output",
        path);
}

bool gf_run_folder_create(gf_run_folder *f, const gf_recipe *recipe, bool force, gf_err *e) {
    gf_lock old = {0};
    bool ok = name_parts(f, recipe, e) && make_way(recipe, force, &old, e) &&
              gf_io_make_folder(f->checkpoints, e) && lock_folder(&f->lock, f->path, e) &&
              gf_run_folder_write(f, "recipe.json", f->recipe, e) && open_log(f, e);
    gf_io_unlock(&old);
    return ok;
}

bool gf_run_folder_lock(gf_run_folder *f, const gf_recipe *recipe, gf_err *e) {
    if (!gf_io_is_folder(recipe->output))
        return gf_fail(e, GF_E_MODEL,
                       "%s: there is no run to go on with; check the path, or train anew",
                       recipe->output);
    return name_parts(f, recipe, e) && lock_folder(&f->lock, f->path, e);
}

void gf_run_folder_close(gf_run_folder *f) {
    gf_io_close(f->log, NULL);
    gf_io_unlock(&f->lock);
    gf_free(f->path);
    gf_free(f->checkpoints);
    gf_free(f->best);
    gf_free(f->recipe);
    gf_free(f->stored);
    *f = (gf_run_folder){0};
}

bool gf_run_folder_log(gf_run_folder *f, const cJSON *line, gf_err *e) {
    char *text = cJSON_PrintUnformatted(line);
    bool ok = text || gf_fail(e, GF_E_NOMEM, "out of memory while writing log.jsonl");
    ok = ok && gf_io_printf(f->log, e, "%s\n", text) && gf_io_flush(f->log, e);
    cJSON_free(text);
    return ok;
}

bool gf_run_folder_write(gf_run_folder *f, const char *name, const char *text, gf_err *e) {
    char *path = gf_io_join(f->path, name, e);
    bool ok = path && gf_io_replace_file(path, text, strlen(text), e);
    gf_free(path);
    return ok;
}

/* Keeps the first lines, those that the checkpoint knows of. */
static bool cut_log(const char *path, int64_t lines, gf_err *e) {
    size_t size = 0, kept = 0;
    char *text = gf_io_exists(path) ? gf_io_read_all(path, (size_t)1 << 32, &size, e) : NULL;
    bool ok = text || !gf_io_exists(path);
    for (const char *end; text && lines > 0 && (end = strchr(text + kept, '\n')); lines--)
        kept = (size_t)(end - text) + 1;
    ok = ok && gf_io_replace_file(path, text ? text : "", kept, e);
    gf_free(text);
    return ok;
}

/* What a kill left of a save. */
static bool remove_unfinished(const gf_run_folder *f, gf_err *e) {
    int64_t count = 0;
    char **names = gf_io_list(f->checkpoints, &count, e);
    bool ok = names != NULL;
    for (int64_t i = 0; ok && i < count; i++) {
        const char *end = strstr(names[i], ".h5.tmp");
        char *path = NULL;
        if (!end || end[strlen(".h5.tmp")]) continue;
        path = gf_io_join(f->checkpoints, names[i], e);
        ok = path && gf_io_remove(path, e);
        gf_free(path);
    }
    gf_io_free_names(names, count);
    return ok;
}

/* Where a whole checkpoint stands; false without one. */
static bool read_progress(gf_progress *at, const char *path) {
    char *recipe = NULL, *state = NULL;
    gf_err e = {0};
    cJSON *j = NULL;
    bool ok = gf_io_exists(path) && gf_store_read_texts(path, &recipe, &state, &e) &&
              (j = gf_json_parse(state, strlen(state), path, 1, GF_E_MODEL, &e)) &&
              gf_progress_read(at, j, path, &e);
    cJSON_Delete(j);
    gf_free(recipe);
    gf_free(state);
    return ok;
}

/* An interruption's checkpoint goes with the next save (saver.h). When a kill kept it from going
 * there is one too many, and it must not stay in place of one that every run has. */
static bool remove_spares(const gf_run_folder *f, int64_t step, const gf_recipe *r, gf_err *e) {
    int64_t count = 0;
    char **names = gf_checkpoint_list(f->checkpoints, &count, e);
    bool ok = names != NULL;
    for (int64_t i = 0; ok && count > r->keep && i < count; i++) {
        gf_progress at = {0};
        char *path = gf_io_join(f->checkpoints, names[i], e);
        ok = path != NULL;
        if (ok && gf_checkpoint_step(names[i]) < step && read_progress(&at, path) &&
            gf_progress_is_between(&at, r->save_every))
            ok = gf_io_remove(path, e);
        gf_free(path);
    }
    gf_io_free_names(names, count);
    return ok;
}

bool gf_run_folder_reopen(gf_run_folder *f, const gf_progress *at, const gf_recipe *r, bool rewind,
                          gf_err *e) {
    char *log = NULL;
    bool ok = remove_unfinished(f, e) && remove_spares(f, at->step, r, e) &&
              gf_checkpoint_prune(f->checkpoints, r->keep, at->step, rewind, e) &&
              (log = gf_io_join(f->path, "log.jsonl", e)) && cut_log(log, at->lines, e) &&
              open_log(f, e);
    gf_free(log);
    return ok;
}

char *gf_run_folder_step_path(const gf_run_folder *f, int64_t step, gf_err *e) {
    return gf_format(e, "%s/step-%09lld.h5", f->checkpoints, (long long)step);
}

char *gf_run_folder_newest(const gf_run_folder *f, int64_t at_step, const gf_log *log, gf_err *e) {
    int64_t count = 0;
    char *found = NULL, **names = NULL;
    if (!gf_io_is_folder(f->checkpoints))
        gf_fail(e, GF_E_MODEL, "%s: there is no run to go on with; check the path, or train anew",
                f->path);
    else
        names = gf_checkpoint_list(f->checkpoints, &count, e);
    for (int64_t i = count - 1; names && i >= 0 && !found; i--) {
        gf_err why = {0};
        if (at_step >= 0 && gf_checkpoint_step(names[i]) != at_step) continue;
        found = gf_io_join(f->checkpoints, names[i], e);
        if (!found || gf_store_is_whole(found, &why)) continue;
        gf_log_say(log, GF_LOG_WARNING, "skipped a checkpoint: %s", why.text);
        gf_free(found);
        found = NULL;
    }
    if (!found && at_step >= 0)
        gf_fail(e, GF_E_MODEL, "%s: it has no whole checkpoint of step %lld", f->path,
                (long long)at_step);
    if (!found) gf_fail(e, GF_E_MODEL, "%s: it has no whole checkpoint; start a new run", f->path);
    gf_io_free_names(names, count);
    return found;
}

int64_t gf_run_folder_best_step(const gf_run_folder *f) {
    gf_progress at = {0};
    return read_progress(&at, f->best) ? at.step : -1;
}

bool gf_run_folder_check_best(gf_run_folder *f, gf_progress *at, bool same, const gf_log *log,
                              gf_err *e) {
    int64_t step = at->has_best ? gf_run_folder_best_step(f) : -1;
    char *source = NULL;
    bool ok;
    if (!at->has_best || step == at->best_step) return true;
    if (step > at->step && same) return true; /* it will be written again, as it is */
    ok = (source = gf_run_folder_step_path(f, at->best_step, e)) != NULL;
    if (ok && gf_io_exists(source) && gf_store_is_whole(source, NULL))
        ok = gf_io_link(source, f->best, e);
    else if (ok) {
        gf_log_say(log, GF_LOG_WARNING,
                   "%s: the best model so far, of step %lld, is lost; the best of what follows "
                   "will count",
                   f->best, (long long)at->best_step);
        at->has_best = false;
    }
    gf_free(source);
    return ok;
}
