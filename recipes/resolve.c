#include "recipes/resolve.h"

#include "core/io.h"
#include "core/mem.h"
#include "core/text.h"
#include "optim/pattern.h"
#include "recipes/suggest.h"
#include "recipes/unused.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A name that stands twice among names[n], which are put in order; NULL if none. */
static const char *find_repeated(const char **names, int64_t n) {
    qsort(names, (size_t)n, sizeof *names, by_bytes);
    for (int64_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0) return names[i];
    return NULL;
}

/* The names of n structs of this size that begin with a char *; free with gf_free(). */
static const char **gather_names(const void *items, int64_t n, size_t size, gf_err *e) {
    const char **names = gf_alloc_array(n, sizeof *names, e);
    for (int64_t i = 0; names && i < n; i++)
        memcpy(&names[i], (const char *)items + (size_t)i * size, sizeof *names);
    return names;
}

static bool check_names_differ(const gf_recipe *r, const void *items, int64_t n, size_t size,
                               const char *what, gf_err *e) {
    const char **names = gather_names(items, n, size, e), *twice;
    if (!names) return false;
    twice = find_repeated(names, n);
    gf_free(names);
    if (!twice) return true;
    return gf_fail(e, GF_E_INVALID, "%s: %s holds \"%s\" twice; give each a name of its own",
                   r->path, what, twice);
}

/* Task names become parts of parameter names, and a leading '_' would make a comment of them. */
static bool is_task_name(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    if (!strchr(letters, name[0])) return false;
    for (; *name; name++)
        if (!strchr(letters, *name) && *name != '_' && *name != '-') return false;
    return true;
}

/* FILE: tasks[i].KEY WHAT */
static bool fail_task(const gf_recipe *r, int64_t i, const char *key, const char *what, gf_err *e) {
    return gf_fail(e, GF_E_INVALID, "%s: tasks[%lld].%s %s", r->path, (long long)i, key, what);
}

/* Keys that mean nothing for the task's type. */
static bool check_task_type(const gf_recipe *r, int64_t i, gf_err *e) {
    const gf_recipe_task *t = &r->tasks[i];
    bool sets = t->type == GF_TASK_MULTI_LABEL;
    bool classes = sets || t->type == GF_TASK_CLASSIFICATION;
    static const char names_none[] = "is for tasks of the types classification and multi_label; "
                                     "leave it out";
    static const char sets_only[] = "is for tasks of the type multi_label; leave it out";
    if (t->type == GF_TASK_REGRESSION && t->n_classes > 0)
        return fail_task(r, i, "classes", "is given, but a regression has none; leave it out", e);
    if (!classes && (t->n_class_weights > 0 || t->balanced))
        return fail_task(r, i, "class_weights", names_none, e);
    if (!classes && t->label_smoothing > 0)
        return fail_task(r, i, "label_smoothing", names_none, e);
    if (!classes && t->focal_gamma > 0) return fail_task(r, i, "focal_gamma", names_none, e);
    if (t->label_smoothing > 0 && t->focal_gamma > 0)
        return fail_task(r, i, "focal_gamma",
                         "cannot be combined with label_smoothing; leave one of them out", e);
    if (!sets && t->separator) return fail_task(r, i, "separator", sets_only, e);
    if (!sets && !isnan(t->threshold)) return fail_task(r, i, "threshold", sets_only, e);
    return true;
}

/* A class weight whose class the recipe does not list is a misspelling; without a list it is seen
 * when the data are read. */
static bool check_class_weights(const gf_recipe *r, int64_t i, gf_err *e) {
    const gf_recipe_task *t = &r->tasks[i];
    char tail[256];
    for (int64_t k = 0; t->n_classes > 0 && k < t->n_class_weights; k++) {
        const char *name = t->class_weights[k].name;
        int64_t c = 0;
        while (c < t->n_classes && strcmp(t->classes[c], name) != 0) c++;
        if (c == t->n_classes)
            return gf_fail(
                e, GF_E_INVALID, "%s: tasks[%lld].class_weights names no class with \"%s\"; %s",
                r->path, (long long)i, name,
                gf_suggest(name, (const char *const *)t->classes, t->n_classes, tail, sizeof tail));
    }
    return true;
}

static bool check_own_data(const gf_recipe *r, int64_t i, gf_err *e) {
    const gf_recipe_task *t = &r->tasks[i];
    if (strcmp(t->label, t->text ? t->text : r->text) == 0)
        return fail_task(r, i, "label",
                         "is the field that holds the text; name the one with the labels", e);
    if (t->train || (!t->dev && !t->test && !t->text)) return true;
    return fail_task(r, i, "data.train", "is missing; a task with data of its own trains on it", e);
}

static bool resolve_task(const gf_recipe *r, int64_t i, gf_err *e) {
    gf_recipe_task *t = &r->tasks[i];
    char *where;
    bool ok;
    if (strcmp(t->name, "text") == 0)
        return fail_task(r, i, "name",
                         "is \"text\", which predictions call the text itself; choose another name",
                         e);
    if (!is_task_name(t->name))
        return gf_fail(
            e, GF_E_INVALID,
            "%s: tasks[%lld].name is \"%s\"; use letters, digits, '-' and '_', beginning "
            "with a letter or digit",
            r->path, (long long)i, t->name);
    if (!t->label && !(t->label = gf_strdup(t->name, e))) return false;
    if (!(where = gf_format(e, "tasks[%lld].classes", (long long)i))) return false;
    ok = check_names_differ(r, t->classes, t->n_classes, sizeof *t->classes, where, e);
    gf_free(where);
    return ok && check_task_type(r, i, e) && check_class_weights(r, i, e) &&
           check_own_data(r, i, e);
}

static bool fail_unknown_task(const gf_recipe *r, int64_t phase, const char *name, gf_err *e) {
    const char **names = gather_names(r->tasks, r->n_tasks, sizeof *r->tasks, e);
    char tail[256];
    if (names)
        gf_fail(e, GF_E_INVALID, "%s: phases[%lld].loss_weights names no task with \"%s\"; %s",
                r->path, (long long)phase, name,
                gf_suggest(name, names, r->n_tasks, tail, sizeof tail));
    gf_free(names);
    return false;
}

static int64_t find_task(const gf_recipe *r, const char *name) {
    int64_t t = 0;
    while (t < r->n_tasks && strcmp(r->tasks[t].name, name) != 0) t++;
    return t;
}

static bool resolve_weights(const gf_recipe *r, int64_t i, gf_err *e) {
    gf_recipe_phase *p = &r->phases[i];
    double sum = 0;
    if (!(p->loss_weights = gf_alloc_array(r->n_tasks, sizeof *p->loss_weights, e))) return false;
    for (int64_t t = 0; t < r->n_tasks; t++) p->loss_weights[t] = r->tasks[t].weight;
    for (int64_t k = 0; k < p->n_own_weights; k++) {
        int64_t t = find_task(r, p->own_weights[k].name);
        if (t == r->n_tasks) return fail_unknown_task(r, i, p->own_weights[k].name, e);
        p->loss_weights[t] = p->own_weights[k].weight;
    }
    for (int64_t t = 0; t < r->n_tasks; t++) sum += p->loss_weights[t];
    if (sum > 0 || p->n_rules == 0 || p->objective == GF_OBJECTIVE_MLM) return true;
    return gf_fail(
        e, GF_E_INVALID,
        "%s: phases[%lld].loss_weights leaves every task with weight 0; nothing could be "
        "learned, so give one a weight or make \"trainable\" {}",
        r->path, (long long)i);
}

/* FILE: phases[i].KEY WHAT */
static bool fail_phase(const gf_recipe *r, int64_t i, const char *key, const char *what,
                       gf_err *e) {
    return gf_fail(e, GF_E_INVALID, "%s: phases[%lld].%s %s", r->path, (long long)i, key, what);
}

static bool begins(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

static bool check_unfreeze(const gf_recipe *r, int64_t i, gf_err *e) {
    gf_recipe_phase *p = &r->phases[i];
    if (p->unfreeze_layers == 0 && (p->unfreeze_epochs || p->unfreeze_steps))
        return fail_phase(r, i, "unfreeze.layers",
                          "is missing; it says how many encoder layers open at a time", e);
    if (p->unfreeze_layers == 0) return true;
    if (p->unfreeze_epochs && p->unfreeze_steps)
        return fail_phase(r, i, "unfreeze.every_steps",
                          "cannot be combined with every_epochs; leave one of them out", e);
    if (!p->unfreeze_epochs && !p->unfreeze_steps) p->unfreeze_epochs = 1;
    for (int64_t k = 0; k < p->n_rules; k++)
        if (!begins(p->rules[k].pattern, "heads.")) return true;
    return fail_phase(
        r, i, "unfreeze",
        "has nothing to unfreeze when \"trainable\" names no part of the encoder; add "
        "a pattern such as \"*\"",
        e);
}

static bool check_rules(const gf_recipe *r, int64_t i, gf_err *e) {
    const gf_recipe_phase *p = &r->phases[i];
    bool mlm = p->objective == GF_OBJECTIVE_MLM;
    for (int64_t k = 0; k < p->n_rules; k++) {
        if (mlm && begins(p->rules[k].pattern, "heads."))
            return fail_phase(r, i, "trainable",
                              "names heads, which get no gradient in an mlm phase; leave them out",
                              e);
        if (!mlm && begins(p->rules[k].pattern, "cls."))
            return fail_phase(r, i, "trainable",
                              "names the decoder of masked words, which gets a gradient in mlm "
                              "phases only; leave it out",
                              e);
        if (p->rules[k].l2_sp > 0 && p->rules[k].lr == 0)
            return gf_fail(
                e, GF_E_INVALID,
                "%s: phases[%lld].trainable.%s.l2_sp pulls at nothing when lr is 0; give "
                "it a rate or leave it out",
                r->path, (long long)i, p->rules[k].pattern);
    }
    return true;
}

static bool check_objective(const gf_recipe *r, int64_t i, gf_err *e) {
    const gf_recipe_phase *p = &r->phases[i];
    if (p->objective == GF_OBJECTIVE_TASKS) {
        if (r->n_tasks > 0) return true;
        return fail_phase(r, i, "objective",
                          "is \"tasks\", but \"tasks\" lists none; name a task "
                          "or make it \"mlm\"",
                          e);
    }
    if (p->n_own_weights > 0)
        return fail_phase(r, i, "loss_weights", "means nothing in an mlm phase; leave it out", e);
    return true;
}

static bool check_schedule(const gf_recipe *r, int64_t i, gf_err *e) {
    const gf_schedule *s = &r->phases[i].schedule;
    if (s->kind == GF_SCHEDULE_REDUCE_ON_PLATEAU && !gf_recipe_has_dev(r))
        return fail_phase(r, i, "schedule.type",
                          "is \"reduce_on_plateau\", which watches data.dev, and that is missing; "
                          "name a dev file or choose another schedule",
                          e);
    if (s->kind == GF_SCHEDULE_ONE_CYCLE && s->warmup > 0)
        return fail_phase(r, i, "schedule.warmup",
                          "cannot be combined with \"one_cycle\", which rises itself; set "
                          "schedule.peak instead",
                          e);
    return true;
}

static bool resolve_phase(const gf_recipe *r, int64_t i, gf_err *e) {
    gf_recipe_phase *p = &r->phases[i];
    if (!p->name && !(p->name = gf_format(e, "phase%lld", (long long)i + 1))) return false;
    for (int64_t k = 0; k < p->n_rules; k++)
        if (!gf_pattern_check(p->rules[k].pattern, e)) {
            gf_err_prefix(e, "%s: phases[%lld].trainable", r->path, (long long)i);
            return false;
        }
    return check_unfreeze(r, i, e) && check_objective(r, i, e) && check_rules(r, i, e) &&
           check_schedule(r, i, e) && resolve_weights(r, i, e);
}

static const char *metric_of(const gf_recipe_task *t) {
    return gf_metric_list[gf_metric_default(t->type)].name;
}

/* Whether dev has rows for the task. */
static bool is_measured(const gf_recipe *r, int64_t i) {
    const gf_recipe_task *t = &r->tasks[i];
    return t->train ? t->dev != NULL : r->dev || r->split_dev > 0;
}

/* The mean over all tasks on dev of their types' metric; the final weights when no dev file
 * measures it. */
static char *default_metric(const gf_recipe *r, gf_err *e) {
    gf_text t = {0};
    int64_t n = 0;
    bool ok = true;
    if (!gf_recipe_has_dev(r)) return gf_strdup("last", e);
    if (r->n_tasks == 0) return gf_strdup("loss", e);
    for (int64_t i = 0; ok && i < r->n_tasks; i++)
        if (is_measured(r, i))
            ok = gf_text_add(&t, e, "%s%s.%s", n++ ? ", " : "", r->tasks[i].name,
                             metric_of(&r->tasks[i]));
    if (ok && n == 1) return t.data;
    if (ok) {
        char *mean = gf_format(e, "mean(%s)", t.data);
        gf_text_free(&t);
        return mean;
    }
    gf_text_free(&t);
    return NULL;
}

static bool parse_metric(gf_recipe *r, gf_err *e) {
    const char **names = gather_names(r->tasks, r->n_tasks, sizeof *r->tasks, e);
    gf_task_type *types = gf_alloc_array(r->n_tasks, sizeof *types, e);
    bool ok = names && types;
    for (int64_t i = 0; ok && i < r->n_tasks; i++) types[i] = r->tasks[i].type;
    ok = ok && gf_select_parse(&r->select, r->select_metric, names, types, r->n_tasks, e);
    if (names && types && !ok) gf_err_prefix(e, "%s: select.metric", r->path);
    gf_free(types);
    gf_free(names);
    return ok;
}

/* "last" measures nothing that a schedule could watch. */
static bool check_plateaus(const gf_recipe *r, gf_err *e) {
    for (int64_t i = 0; i < r->n_phases; i++)
        if (r->phases[i].schedule.kind == GF_SCHEDULE_REDUCE_ON_PLATEAU &&
            r->phases[i].objective == GF_OBJECTIVE_TASKS && r->select.kind == GF_SELECT_LAST)
            return fail_phase(r, i, "schedule.type",
                              "is \"reduce_on_plateau\", which has nothing to watch when "
                              "select.metric is \"last\"; choose another metric or schedule",
                              e);
    return true;
}

/* What select.metric and select.patience need. */
static bool check_select(const gf_recipe *r, gf_err *e) {
    const gf_select *s = &r->select;
    if (s->kind != GF_SELECT_LAST && !gf_recipe_has_dev(r))
        return gf_fail(e, GF_E_INVALID,
                       "%s: select.metric is \"%s\", which is measured on data.dev, and that is "
                       "missing; name a dev file or use \"last\"",
                       r->path, r->select_metric);
    for (int64_t i = 0; i < s->n_terms; i++)
        if (!is_measured(r, s->terms[i].task))
            return gf_fail(e, GF_E_INVALID,
                           "%s: select.metric names the task \"%s\", whose data have no dev file; "
                           "name one or leave the task out",
                           r->path, r->tasks[s->terms[i].task].name);
    if (r->patience >= 0 && !gf_recipe_has_dev(r))
        return gf_fail(e, GF_E_INVALID,
                       "%s: select.patience needs data.dev, which is missing; name a dev file or "
                       "leave it out",
                       r->path);
    if (r->patience >= 0 && s->kind == GF_SELECT_LAST)
        return gf_fail(e, GF_E_INVALID,
                       "%s: select.patience has nothing to watch when select.metric is \"last\"; "
                       "choose another metric or leave it out",
                       r->path);
    return true;
}

static bool resolve_select(gf_recipe *r, gf_err *e) {
    if (!r->select_metric && !(r->select_metric = default_metric(r, e))) return false;
    if (r->n_tasks == 0 && strcmp(r->select_metric, "loss") != 0 &&
        strcmp(r->select_metric, "last") != 0)
        return gf_fail(e, GF_E_INVALID,
                       "%s: select.metric is \"%s\", and there is no task to measure it on; use "
                       "\"loss\", that of masked words, or \"last\"",
                       r->path, r->select_metric);
    return parse_metric(r, e) && check_select(r, e) && check_plateaus(r, e);
}

/* runs/NAME beside the recipe, NAME its file name without ".json". */
static char *default_output(const gf_recipe *r, const char *folder, gf_err *e) {
    const char *slash = strrchr(r->path, '/'), *name = slash ? slash + 1 : r->path;
    const char *end = strrchr(name, '.');
    char *relative, *output;
    if (!end || end == name) end = name + strlen(name);
    relative = gf_format(e, "runs/%.*s", (int)(end - name), name);
    output = relative ? gf_io_join(folder, relative, e) : NULL;
    gf_free(relative);
    return output;
}

static bool fail_key(const gf_recipe *r, const char *key, const char *what, gf_err *e) {
    return gf_fail(e, GF_E_INVALID, "%s: %s %s", r->path, key, what);
}

static bool has_own_data(const gf_recipe *r) {
    for (int64_t i = 0; i < r->n_tasks; i++)
        if (r->tasks[i].train) return true;
    return false;
}

static bool is_same(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

/* Whether the tasks' rows come from different files, which can be mixed. */
static bool has_two_sources(const gf_recipe *r) {
    const gf_recipe_task *t = r->tasks;
    for (int64_t i = 1; i < r->n_tasks; i++)
        if (!is_same(t[i].train, t[0].train) || !is_same(t[i].text, t[0].text)) return true;
    return false;
}

/* Files of the recipe that no task looks at. */
static bool check_unread(const gf_recipe *r, gf_err *e) {
    static const char what[] =
        "is read by no task, since each has data of its own; leave it out or "
        "name it in the tasks' \"data\"";
    if (r->train) return fail_key(r, "data.train", what, e);
    if (r->dev) return fail_key(r, "data.dev", what, e);
    return !r->test || fail_key(r, "data.test", what, e);
}

static bool check_split(const gf_recipe *r, bool own, gf_err *e) {
    if (r->split_dev == 0 && r->split_test == 0) return true;
    if (r->split_dev > 0 && r->dev)
        return fail_key(r, "data.split.dev",
                        "cannot be combined with data.dev; leave one of them out", e);
    if (r->split_test > 0 && r->test)
        return fail_key(r, "data.split.test",
                        "cannot be combined with data.test; leave one of them out", e);
    if (r->split_dev + r->split_test >= 1)
        return fail_key(r, "data.split",
                        "leaves nothing to train on; the shares must sum to less than 1", e);
    if (own)
        return fail_key(r, "data.split",
                        "cannot be combined with tasks that have data of their own; name their dev "
                        "and test files",
                        e);
    return r->train ||
           fail_key(r, "data.split",
                    "divides data.train, which is missing; name it or leave this out", e);
}

/* Every task must find its rows somewhere. */
static bool check_data(const gf_recipe *r, gf_err *e) {
    bool own = has_own_data(r), all = own;
    for (int64_t i = 0; i < r->n_tasks; i++) all &= r->tasks[i].train != NULL;
    if (!r->train && !all && (r->n_tasks > 0 || !r->mlm_data))
        return fail_key(r, "data.train", "is missing; it is the file to train on", e);
    if ((all && !check_unread(r, e)) || !check_split(r, own, e)) return false;
    if (r->mix.kind != GF_MIX_PROPORTIONAL && !own)
        return fail_key(
            r, "mix.type",
            "mixes tasks with data of their own, and no task has \"data\"; leave it out", e);
    if (r->mix.kind != GF_MIX_PROPORTIONAL && !has_two_sources(r))
        return fail_key(r, "mix.type",
                        "mixes data of several files, and all tasks read the same; leave it out",
                        e);
    return true;
}

/* What needs two tasks at least. */
static bool check_tasks_together(const gf_recipe *r, gf_err *e) {
    static const char alone[] = "needs two tasks at least; leave it out";
    if (r->n_tasks >= 2) return true;
    if (r->balance_method != 0) return fail_key(r, "balance.method", alone, e);
    if (r->surgery != GF_SURGERY_NONE) return fail_key(r, "surgery.method", alone, e);
    if (r->conflict_every) return fail_key(r, "conflicts.every_steps", alone, e);
    return true;
}

static bool check_optimizer(const gf_recipe *r, gf_err *e) {
    bool trains = false;
    for (int64_t i = 0; i < r->n_phases; i++) trains |= r->phases[i].n_rules > 0;
    if (r->nesterov && r->momentum == 0)
        return fail_key(r, "optimizer.nesterov", "needs a momentum above 0", e);
    if (r->ema > 0 && !trains)
        return fail_key(r, "optimizer.ema",
                        "has nothing to average, since no phase trains; leave it out", e);
    return true;
}

/* A run with tasks must train them, in its last phase too: of what an mlm phase makes behind it,
 * nothing would be kept. */
static bool check_objectives(const gf_recipe *r, gf_err *e) {
    int64_t last = -1;
    if (r->n_tasks == 0)
        return !r->heads_init ||
               fail_key(r, "model.heads_init",
                        "is for heads, and \"tasks\" lists none; leave it out", e);
    for (int64_t i = 0; i < r->n_phases; i++)
        if (r->phases[i].objective == GF_OBJECTIVE_TASKS) last = i;
    if (last < 0)
        return fail_key(
            r, "tasks",
            "is given, but the objective of every phase is \"mlm\"; add a phase for the "
            "tasks or make it []",
            e);
    if (last == r->n_phases - 1) return true;
    return fail_phase(r, last + 1, "objective",
                      "is \"mlm\" behind the last phase for the tasks, so that nothing of it would "
                      "be kept; move it before",
                      e);
}

bool gf_recipe_has_dev(const gf_recipe *r) {
    bool any = r->dev != NULL || r->split_dev > 0;
    for (int64_t i = 0; i < r->n_tasks; i++) any |= r->tasks[i].dev != NULL;
    return any;
}

bool gf_recipe_has_mlm(const gf_recipe *r) {
    for (int64_t i = 0; i < r->n_phases; i++)
        if (r->phases[i].objective == GF_OBJECTIVE_MLM) return true;
    return false;
}

bool gf_recipe_resolve(gf_recipe *r, const char *folder, gf_err *e) {
    if (!r->batch_size && !r->batch_tokens) r->batch_size = GF_DEFAULT_BATCH_SIZE;
    if (r->balance.lr == 0)
        r->balance.lr = gf_balance_defaults(gf_balance_names[r->balance_method]).lr;
    for (int64_t i = 0; i < r->n_tasks; i++)
        if (!resolve_task(r, i, e)) return false;
    if (!check_names_differ(r, r->tasks, r->n_tasks, sizeof *r->tasks, "tasks", e)) return false;
    for (int64_t i = 0; i < r->n_phases; i++)
        if (!resolve_phase(r, i, e)) return false;
    if (!check_names_differ(r, r->phases, r->n_phases, sizeof *r->phases, "phases", e))
        return false;
    if (!r->output && !(r->output = default_output(r, folder, e))) return false;
    return check_data(r, e) && check_tasks_together(r, e) && check_optimizer(r, e) &&
           check_objectives(r, e) && resolve_select(r, e) && gf_recipe_check_unused(r, e);
}
