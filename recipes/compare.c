#include "recipes/compare.h"

#include "checkpoints/store.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "recipes/folder.h"
#include "recipes/inputs.h"
#include "recipes/saver.h"
#include "recipes/state.h"
#include "recipes/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_RECIPE = 1 << 24, LARGEST_JSON = 1 << 26 };

/* ---- adding ---- */

/* The file's name without its folder and without ".json". */
static char *stem_of(const char *path, gf_err *e) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".json") == 0) n -= 5;
    if (n > 0) return gf_strndup(name, n, e);
    gf_fail(e, GF_E_USAGE, "%s: it names no recipe; give the path of a file", path);
    return NULL;
}

/* Takes over the texts, also when it fails. */
static bool add(gf_compare *c, const gf_compare_entry *new, gf_err *e) {
    bool ok = new->name &&new->path &&new->text;
    for (int64_t i = 0; ok && i < c->n; i++)
        if (strcmp(c->entries[i].name, new->name) == 0)
            ok = gf_fail(e, GF_E_USAGE,
                         "%s: a recipe named \"%s\" is there already; each run folder is named "
                         "after its recipe, so rename or leave out one of them",
                         new->path, new->name);
    ok = ok && gf_grow(&c->entries, c->n, &c->capacity, sizeof *c->entries, e);
    if (ok) {
        c->entries[c->n++] = *new;
        return true;
    }
    gf_free(new->name);
    gf_free(new->path);
    gf_free(new->text);
    gf_free(new->summary);
    return false;
}

bool gf_compare_add_recipe(gf_compare *c, const char *path, gf_err *e) {
    size_t size = 0;
    gf_compare_entry new = {.text = gf_io_read_all(path, LARGEST_RECIPE, &size, e)};
    if (new.text && (new.name = stem_of(path, e))) new.path = gf_strdup(path, e);
    return add(c, &new, e);
}

static bool add_strategy(gf_compare *c, const gf_strategy *s, const char *path, const char *text,
                         gf_err *e) {
    gf_compare_entry new = {.text = gf_strategy_apply(s, text, strlen(text), path, e)};
    if (new.text && (new.name = gf_strdup(s->name, e)) && (new.path = gf_strdup(path, e)))
        new.summary = gf_strategy_summary(s, e);
    return add(c, &new, e);
}

static bool add_all(gf_compare *c, const char *path, const char *text, const gf_log *log,
                    gf_err *e) {
    const gf_strategy *s;
    for (int64_t i = 0; (s = gf_strategy_at(i)); i++) {
        gf_err why = {0};
        if (add_strategy(c, s, path, text, &why)) continue;
        if (why.code != GF_E_USAGE) return gf_fail(e, why.code, "%s", why.text);
        gf_log_say(log, GF_LOG_NOTE, "left out: %s", why.text);
    }
    return true;
}

static bool add_named(gf_compare *c, const char *path, const char *text, const char *names,
                      gf_err *e) {
    while (true) {
        size_t n = strcspn(names, ",");
        char *name = gf_strndup(names, n, e);
        const gf_strategy *s = name ? gf_strategy_find(name, e) : NULL;
        bool ok = s && add_strategy(c, s, path, text, e);
        gf_free(name);
        if (!ok || names[n] == 0) return ok;
        names += n + 1;
    }
}

bool gf_compare_add_strategies(gf_compare *c, const char *path, const char *names,
                               const gf_log *log, gf_err *e) {
    size_t size = 0;
    char *text = gf_io_read_all(path, LARGEST_RECIPE, &size, e);
    bool ok = text && (strcmp(names, "all") == 0 ? add_all(c, path, text, log, e)
                                                 : add_named(c, path, text, names, e));
    gf_free(text);
    return ok;
}

/* ---- the recipe of a run ---- */

static bool parse(const gf_compare *c, const gf_compare_entry *entry, const char *output,
                  const char *seed, gf_recipe *r, gf_err *e) {
    const char **sets = gf_alloc_array(c->n_sets + 2, sizeof *sets, e);
    int64_t n = c->n_sets;
    bool ok = sets != NULL;
    if (n && ok) memcpy(sets, c->sets, (size_t)n * sizeof *sets);
    if (ok && output) sets[n++] = output;
    if (ok && seed) sets[n++] = seed;
    ok = ok && gf_recipe_parse(r, entry->text, strlen(entry->text), entry->path, sets, n, e);
    gf_free(sets);
    return ok;
}

bool gf_compare_read(const gf_compare *c, const gf_compare_entry *entry, const gf_compare_run *run,
                     gf_recipe *r, gf_err *e) {
    char *absolute = gf_io_absolute(run->folder, e);
    char *output = absolute ? gf_json_quote("output=", absolute, e) : NULL;
    char *seed = output ? gf_format(e, "seed=%llu", (unsigned long long)run->seed) : NULL;
    bool ok = seed && parse(c, entry, output, seed, r, e);
    gf_free(absolute);
    gf_free(output);
    gf_free(seed);
    return ok;
}

/* ---- what is there of a run ---- */

/* A resolved recipe as text, without its places: moved runs are the same runs. */
static char *without_places(const gf_recipe *r, gf_err *e) {
    cJSON *j = gf_recipe_to_json(r, e);
    char *text = NULL;
    if (j) {
        gf_run_folder_drop_places(j);
        text = gf_json_print(j, e);
    }
    cJSON_Delete(j);
    return text;
}

/* The newest checkpoint whose digest holds; NULL without a failure when there is none. */
static bool find_newest(const char *folder, char **path, gf_err *e) {
    int64_t n = 0;
    char **names = gf_checkpoint_list(folder, &n, e);
    bool ok = names != NULL;
    for (int64_t i = n - 1; ok && i >= 0 && !*path; i--) {
        gf_err why = {0};
        ok = (*path = gf_io_join(folder, names[i], e)) != NULL;
        if (!ok || gf_store_is_whole(*path, &why)) continue;
        gf_free(*path);
        *path = NULL;
        ok = why.code != GF_E_NOMEM || gf_fail(e, why.code, "%s", why.text);
    }
    gf_io_free_names(names, n);
    return ok;
}

/* The checkpoint that tells what the run read: the best of one that is done, else the newest. */
static bool find_checkpoint(const gf_compare_run *run, bool done, char **path, gf_err *e) {
    char *folder = gf_io_join(run->folder, "checkpoints", e);
    bool ok = folder != NULL;
    if (ok && done)
        ok = (*path = gf_io_join(folder, "best.h5", e)) != NULL;
    else if (ok && gf_io_is_folder(folder))
        ok = find_newest(folder, path, e);
    gf_free(folder);
    return ok;
}

/* Whether the run in the folder is of this recipe and of the data and base as they are now; if not,
 * *why says what differs. */
static bool is_same(const gf_compare_run *run, const gf_recipe *r, const cJSON *inputs,
                    const char *checkpoint, gf_err *why) {
    gf_recipe old = {0};
    char *path = gf_io_join(run->folder, "recipe.json", why), *recipe = NULL, *state = NULL;
    char *then = NULL, *now = without_places(r, why);
    cJSON *read = NULL;
    bool ok = path && now && gf_recipe_read(&old, path, NULL, 0, why) &&
              (then = without_places(&old, why));
    if (ok && checkpoint)
        ok = gf_store_read_texts(checkpoint, &recipe, &state, why) &&
             (read = gf_state_read_inputs(state, checkpoint, why));
    ok = ok && gf_inputs_compare(read, read ? inputs : NULL, then, now, run->folder, why);
    cJSON_Delete(read);
    gf_recipe_free(&old);
    gf_free(path);
    gf_free(recipe);
    gf_free(state);
    gf_free(then);
    gf_free(now);
    return ok;
}

/* SHA256SUMS is the last that a run writes. */
static bool has_ended(const gf_compare_run *run, gf_err *e) {
    char *path = gf_io_join(run->folder, "SHA256SUMS", e);
    bool is = path && gf_io_exists(path);
    gf_free(path);
    return is;
}

static bool refuse(const gf_err *why, gf_err *e) {
    const char *end = strstr(why->text, "; go on regardless");
    int n = end ? (int)(end - why->text) : (int)strlen(why->text);
    if (why->code == GF_E_NOMEM) return gf_fail(e, why->code, "%s", why->text);
    return gf_fail(e, GF_E_USAGE, "%.*s; replace it with --force, or choose another --output", n,
                   why->text);
}

/* A run that has recipe.json. */
static bool judge(gf_compare_run *run, const gf_recipe *r, const cJSON *inputs,
                  const gf_compare_options *o, gf_err *e) {
    bool done = has_ended(run, e);
    char *checkpoint = NULL;
    gf_err why = {0};
    gf_text out = {0};
    bool ok = true;
    if (done && !gf_verify(run->folder, &out, &why)) {
        gf_log_say(&o->log, GF_LOG_WARNING, "%s; it is trained anew", why.text);
        run->state = GF_COMPARE_REPLACE;
        done = false;
        ok = why.code != GF_E_NOMEM || gf_fail(e, why.code, "%s", why.text);
    } else if ((ok = find_checkpoint(run, done, &checkpoint, e)))
        run->state = done ? GF_COMPARE_DONE : checkpoint ? GF_COMPARE_STARTED : GF_COMPARE_REPLACE;
    if (ok && !is_same(run, r, inputs, checkpoint, &why)) {
        ok = o->force || refuse(&why, e);
        run->state = GF_COMPARE_REPLACE;
    }
    gf_text_free(&out);
    gf_free(checkpoint);
    return ok;
}

static bool look(gf_compare_run *run, const gf_recipe *r, cJSON **inputs,
                 const gf_compare_options *o, gf_err *e) {
    char *recipe = gf_io_join(run->folder, "recipe.json", e);
    bool ok = recipe != NULL;
    if (ok && gf_io_exists(recipe))
        ok = (*inputs || (*inputs = gf_inputs_digest(r, e))) && judge(run, r, *inputs, o, e);
    gf_free(recipe);
    return ok;
}

/* ---- planning ---- */

static bool name_run(const gf_compare *c, const gf_compare_entry *entry, uint64_t seed,
                     gf_compare_run *run, gf_err *e) {
    run->seed = seed;
    return (run->folder = gf_format(e, "%s/%s/seed-%llu", c->output, entry->name,
                                    (unsigned long long)seed)) &&
           (run->notes = gf_format(e, "%s.json", run->folder));
}

static bool plan_entry(gf_compare *c, gf_compare_entry *entry, const gf_compare_options *o,
                       gf_err *e) {
    gf_recipe r = {0};
    cJSON *inputs = NULL; /* the same for all seeds */
    bool ok = parse(c, entry, NULL, NULL, &r, e);
    uint64_t first = r.seed;
    gf_recipe_free(&r);
    ok = ok && (entry->runs = gf_alloc_array(c->n_seeds, sizeof *entry->runs, e));
    for (int64_t i = 0; ok && i < c->n_seeds; i++) {
        gf_compare_run *run = &entry->runs[i];
        ok = name_run(c, entry, first + (uint64_t)i, run, e) &&
             gf_compare_read(c, entry, run, &r, e) && look(run, &r, &inputs, o, e) &&
             (run->state < GF_COMPARE_STARTED || gf_compare_collect(run, true, e));
        gf_recipe_free(&r);
    }
    cJSON_Delete(inputs);
    return ok;
}

static char *default_output(const gf_compare *c, gf_err *e) {
    const char *first = c->entries[0].path, *slash = strrchr(first, '/');
    return gf_format(e, "%.*sruns/compare", slash ? (int)(slash - first) + 1 : 0, first);
}

bool gf_compare_plan(gf_compare *c, const gf_compare_options *o, gf_err *e) {
    bool ok;
    if (c->n == 0)
        return gf_fail(e, GF_E_USAGE, "compare: no recipe and no strategy is left to compare");
    c->n_seeds = o->seeds;
    c->output = o->output ? gf_strdup(o->output, e) : default_output(c, e);
    ok = c->output != NULL;
    for (int64_t i = 0; ok && i < c->n; i++) ok = plan_entry(c, &c->entries[i], o, e);
    return ok;
}

/* ---- what a run has come to ---- */

bool gf_compare_note(const gf_compare_run *run, double seconds, double peak_mib,
                     const gf_err *error, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    char *text = NULL, *folder = gf_io_folder_of(run->notes, e);
    bool ok = j && folder && gf_io_make_folder(folder, e) &&
              gf_json_number(j, "seconds", seconds, e) &&
              gf_json_number(j, "peak_mib", peak_mib, e);
    if (ok && error)
        ok = gf_json_string(j, "error", error->text, e) &&
             gf_json_number(j, "status", gf_err_status(error->code), e);
    ok =
        ok && (text = gf_json_print(j, e)) && gf_io_replace_file(run->notes, text, strlen(text), e);
    gf_free(text);
    gf_free(folder);
    cJSON_Delete(j);
    return ok;
}

static double number_of(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* Notes that cannot be read are as none: they hold times only. */
static bool read_notes(gf_compare_run *run, gf_err *e) {
    gf_err why = {0};
    cJSON *j = gf_io_exists(run->notes) ? gf_json_read(run->notes, LARGEST_JSON, &why) : NULL;
    const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(j, "error"));
    bool ok = true;
    run->seconds = number_of(j, "seconds");
    run->peak_mib = number_of(j, "peak_mib");
    run->status = (int)number_of(j, "status");
    gf_free(run->error);
    run->error = NULL;
    if (error) ok = (run->error = gf_strdup(error, e)) != NULL;
    cJSON_Delete(j);
    return ok;
}

/* "1,234 of" at *text: the number, and the text behind it. */
static int64_t read_grouped(const char **text) {
    int64_t v = 0;
    for (; (**text >= '0' && **text <= '9') || **text == ','; (*text)++)
        if (**text != ',' && v < INT64_MAX / 10 - 9) v = v * 10 + (**text - '0');
    return v;
}

/* The run's plan has a line "  trains 1,234 of 5,678 parameters" for each phase. */
static bool read_plan(gf_compare_run *run, gf_err *e) {
    static const char trains[] = "\n  trains ", of[] = " of ";
    char *path = gf_io_join(run->folder, "plan.txt", e), *text = NULL;
    size_t size = 0;
    bool ok = path != NULL;
    if (ok && gf_io_exists(path)) ok = (text = gf_io_read_all(path, LARGEST_JSON, &size, e)) != 0;
    for (const char *p = text; p && (p = strstr(p, trains));) {
        int64_t n = (p += sizeof trains - 1, read_grouped(&p));
        if (n > run->trainable) run->trainable = n;
        if (strncmp(p, of, sizeof of - 1) != 0) continue;
        p += sizeof of - 1;
        run->parameters = read_grouped(&p);
    }
    gf_free(text);
    gf_free(path);
    return ok;
}

static bool read_metrics(gf_compare_run *run, gf_err *e) {
    char *path = gf_io_join(run->folder, "metrics.json", e);
    cJSON_Delete(run->metrics);
    run->metrics = path ? gf_json_read(path, LARGEST_JSON, e) : NULL;
    gf_free(path);
    return run->metrics != NULL;
}

static bool prune(const gf_compare_run *run, gf_err *e) {
    char *folder = gf_io_join(run->folder, "checkpoints", e);
    bool ok = folder && gf_checkpoint_prune(folder, 0, INT64_MAX, false, e);
    gf_free(folder);
    return ok;
}

bool gf_compare_collect(gf_compare_run *run, bool keep, gf_err *e) {
    if (!read_notes(run, e) || !read_plan(run, e)) return false;
    return run->state != GF_COMPARE_DONE || (read_metrics(run, e) && (keep || prune(run, e)));
}

void gf_compare_free(gf_compare *c) {
    for (int64_t i = 0; i < c->n; i++) {
        gf_compare_entry *entry = &c->entries[i];
        for (int64_t k = 0; entry->runs && k < c->n_seeds; k++) {
            gf_compare_run *run = &entry->runs[k];
            gf_free(run->folder);
            gf_free(run->notes);
            gf_free(run->error);
            cJSON_Delete(run->metrics);
        }
        gf_free(entry->runs);
        gf_free(entry->name);
        gf_free(entry->path);
        gf_free(entry->text);
        gf_free(entry->summary);
    }
    gf_free(c->entries);
    gf_free(c->output);
    *c = (gf_compare){0};
}
