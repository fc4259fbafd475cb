#include "recipes/recipe.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "optim/pattern.h"
#include "recipes/fields.h"
#include "recipes/override.h"
#include "recipes/suggest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the known keys ---- */

#define BELOW_1 0x1.fffffffffffffp-1 /* the largest double below 1 */
#define ABOVE_0 0x1p-1022            /* the smallest normal one above 0 */
#define MOST    1e15 /* larger numbers are typing errors, and doubles hold these exactly */

enum { LARGEST_RECIPE = 1 << 24 };

static const char *const task_types[] = {"classification", NULL};
static const char *const inits[] = {"random", NULL};
static const char *const poolings[] = {"mean", "cls", "max", "pooler", NULL};
static const char *const optimizers[] = {"adamw", NULL};

static const char *const no_class = NULL;
static const gf_recipe_task blank_task = {.weight = 1};
static const gf_recipe_rule blank_rule = {.weight_decay = NAN, .layer_decay = 1};
static const gf_recipe_weight blank_weight = {0};
static const gf_recipe_phase blank_phase = {.epochs = 1, .schedule = GF_SCHEDULE_CONSTANT};

#define AT(type, member) .at = offsetof(type, member)
#define IN(from, to)     .low = (from), .high = (to)
#define NULL_IS(value)   .nullable = true, .null = (value)
#define MANY(type, items, n, element, table, example)                                              \
    AT(type, items), .count_at = offsetof(type, n), .size = sizeof(element), .fields = (table),    \
                     .blank = &(example)

static const gf_field class_fields[] = {{.key = "", .kind = GF_FIELD_STRING}, {0}};

static const gf_field task_fields[] = {
    {.key = "name",
     .kind = GF_FIELD_STRING,
     AT(gf_recipe_task, name),
     .required = "the name of the task's head, e.g. \"category\""},
    {.key = "type",
     .kind = GF_FIELD_CHOICE,
     AT(gf_recipe_task, type),
     .choices = task_types,
     .fallback = "classification"},
    {.key = "label", .kind = GF_FIELD_STRING, AT(gf_recipe_task, label)},
    {.key = "classes",
     .kind = GF_FIELD_LIST,
     MANY(gf_recipe_task, classes, n_classes, char *, class_fields, no_class),
     IN(2, 1e6),
     .range = "2 or more, or be null to learn them from the training data",
     .nullable = true},
    {.key = "weight",
     .kind = GF_FIELD_NUMBER,
     AT(gf_recipe_task, weight),
     IN(0, MOST),
     .range = "0 or more"},
    {0}};

static const gf_field rule_fields[] = {
    {.key = "lr",
     .kind = GF_FIELD_NUMBER,
     AT(gf_recipe_rule, lr),
     IN(0, MOST),
     .range = "0 or more",
     .required = "the learning rate of the parameters that the pattern matches, e.g. 2e-5"},
    {.key = "weight_decay",
     .kind = GF_FIELD_NUMBER,
     AT(gf_recipe_rule, weight_decay),
     IN(0, MOST),
     .range = "0 or more",
     NULL_IS(NAN)},
    {.key = "layer_decay",
     .kind = GF_FIELD_NUMBER,
     AT(gf_recipe_rule, layer_decay),
     IN(ABOVE_0, 1),
     .range = "above 0 and at most 1"},
    {0}};

static const gf_field weight_fields[] = {{.key = "",
                                          .kind = GF_FIELD_NUMBER,
                                          AT(gf_recipe_weight, weight),
                                          IN(0, MOST),
                                          .range = "0 or more"},
                                         {0}};

static const gf_field schedule_fields[] = {{.key = "type",
                                            .kind = GF_FIELD_ENUM,
                                            AT(gf_recipe_phase, schedule),
                                            .choices = gf_schedule_names},
                                           {.key = "warmup",
                                            .kind = GF_FIELD_NUMBER,
                                            AT(gf_recipe_phase, warmup),
                                            IN(0, MOST),
                                            .range = "0 or more"},
                                           {0}};

static const gf_field phase_fields[] = {
    {.key = "name", .kind = GF_FIELD_STRING, AT(gf_recipe_phase, name)},
    {.key = "epochs",
     .kind = GF_FIELD_COUNT,
     AT(gf_recipe_phase, epochs),
     IN(1, 1e6),
     .range = "at least 1"},
    {.key = "trainable",
     .kind = GF_FIELD_MAP,
     MANY(gf_recipe_phase, rules, n_rules, gf_recipe_rule, rule_fields, blank_rule),
     IN(0, 1e4),
     .range = "at most 10000",
     .required =
         "an object of patterns, e.g. {\"heads.*\": {\"lr\": 1e-3}}, or {} to only evaluate"},
    {.key = "schedule", .kind = GF_FIELD_SECTION, .fields = schedule_fields},
    {.key = "loss_weights",
     .kind = GF_FIELD_MAP,
     MANY(gf_recipe_phase, own_weights, n_own_weights, gf_recipe_weight, weight_fields,
          blank_weight),
     IN(0, 1e4),
     .range = "at most 10000"},
    {0}};

static const gf_field model_fields[] = {
    {.key = "base",
     .kind = GF_FIELD_PATH,
     AT(gf_recipe, base),
     .required = "the folder of a BERT model"},
    {.key = "init",
     .kind = GF_FIELD_CHOICE,
     AT(gf_recipe, init),
     .choices = inits,
     .nullable = true},
    {.key = "heads_init", .kind = GF_FIELD_PATH, AT(gf_recipe, heads_init), .nullable = true},
    {.key = "max_length",
     .kind = GF_FIELD_COUNT,
     AT(gf_recipe, max_length),
     IN(3, 1e6),
     .range = "at least 3: [CLS], a token and [SEP]"},
    {.key = "pooling",
     .kind = GF_FIELD_CHOICE,
     AT(gf_recipe, pooling),
     .choices = poolings,
     .nullable = true},
    {.key = "normalize", .kind = GF_FIELD_MAYBE, AT(gf_recipe, normalize), .nullable = true},
    {.key = "dropout",
     .kind = GF_FIELD_NUMBER,
     AT(gf_recipe, dropout),
     IN(0, BELOW_1),
     .range = "at least 0 and below 1",
     NULL_IS(NAN)},
    {0}};

static const gf_field data_fields[] = {
    {.key = "train",
     .kind = GF_FIELD_PATH,
     AT(gf_recipe, train),
     .required = "the file to train on"},
    {.key = "dev", .kind = GF_FIELD_PATH, AT(gf_recipe, dev), .nullable = true},
    {.key = "test", .kind = GF_FIELD_PATH, AT(gf_recipe, test), .nullable = true},
    {.key = "text", .kind = GF_FIELD_STRING, AT(gf_recipe, text), .fallback = "text"},
    {0}};

static const gf_field batch_fields[] = {
    {.key = "size",
     .kind = GF_FIELD_COUNT,
     AT(gf_recipe, batch_size),
     IN(1, 1e6),
     .range = "at least 1"},
    {.key = "accumulate",
     .kind = GF_FIELD_COUNT,
     AT(gf_recipe, accumulate),
     IN(1, 1e6),
     .range = "at least 1"},
    {.key = "bucket", .kind = GF_FIELD_BOOL, AT(gf_recipe, bucket)},
    {0}};

static const gf_field optimizer_fields[] = {{.key = "name",
                                             .kind = GF_FIELD_CHOICE,
                                             AT(gf_recipe, optimizer),
                                             .choices = optimizers,
                                             .fallback = "adamw"},
                                            {.key = "betas",
                                             .kind = GF_FIELD_PAIR,
                                             AT(gf_recipe, beta1),
                                             IN(0, BELOW_1),
                                             .range = "at least 0 and below 1"},
                                            {.key = "eps",
                                             .kind = GF_FIELD_NUMBER,
                                             AT(gf_recipe, eps),
                                             IN(ABOVE_0, 1),
                                             .range = "above 0 and at most 1"},
                                            {.key = "weight_decay",
                                             .kind = GF_FIELD_NUMBER,
                                             AT(gf_recipe, weight_decay),
                                             IN(0, MOST),
                                             .range = "0 or more"},
                                            {.key = "clip_norm",
                                             .kind = GF_FIELD_NUMBER,
                                             AT(gf_recipe, clip_norm),
                                             IN(0, MOST),
                                             .range = "0 or more, or null for no clipping",
                                             NULL_IS(0)},
                                            {0}};

static const gf_field select_fields[] = {
    {.key = "metric", .kind = GF_FIELD_STRING, AT(gf_recipe, select_metric), .nullable = true},
    {.key = "patience",
     .kind = GF_FIELD_COUNT,
     AT(gf_recipe, patience),
     IN(1, MOST),
     .range = "at least 1, or null for no early stopping",
     NULL_IS(-1)},
    {0}};

static const gf_field save_fields[] = {
    {.key = "every_steps",
     .kind = GF_FIELD_COUNT,
     AT(gf_recipe, save_every),
     IN(1, MOST),
     .range = "at least 1, or null for the ends of epochs only",
     NULL_IS(0)},
    {.key = "keep", .kind = GF_FIELD_COUNT, AT(gf_recipe, keep), IN(1, 1e6), .range = "at least 1"},
    {0}};

static const gf_field log_fields[] = {{.key = "every_steps",
                                       .kind = GF_FIELD_COUNT,
                                       AT(gf_recipe, log_every),
                                       IN(1, MOST),
                                       .range = "at least 1"},
                                      {0}};

static const gf_field cache_fields[] = {{.key = "memory_mb",
                                         .kind = GF_FIELD_COUNT,
                                         AT(gf_recipe, cache_mb),
                                         IN(0, 1e9),
                                         .range = "0 or more"},
                                        {0}};

static const gf_field recipe_fields[] = {
    {.key = "model", .kind = GF_FIELD_SECTION, .fields = model_fields},
    {.key = "data", .kind = GF_FIELD_SECTION, .fields = data_fields},
    {.key = "tasks",
     .kind = GF_FIELD_LIST,
     MANY(gf_recipe, tasks, n_tasks, gf_recipe_task, task_fields, blank_task),
     IN(1, 1000),
     .range = "1 to 1000",
     .required = "a list of what to learn, e.g. [{\"name\": \"category\"}]"},
    {.key = "batch", .kind = GF_FIELD_SECTION, .fields = batch_fields},
    {.key = "optimizer", .kind = GF_FIELD_SECTION, .fields = optimizer_fields},
    {.key = "phases",
     .kind = GF_FIELD_LIST,
     MANY(gf_recipe, phases, n_phases, gf_recipe_phase, phase_fields, blank_phase),
     IN(1, 1000),
     .range = "1 to 1000",
     .required = "a list of what trains when, e.g. [{\"trainable\": {\"*\": {\"lr\": 2e-5}}}]"},
    {.key = "select", .kind = GF_FIELD_SECTION, .fields = select_fields},
    {.key = "save", .kind = GF_FIELD_SECTION, .fields = save_fields},
    {.key = "log", .kind = GF_FIELD_SECTION, .fields = log_fields},
    {.key = "cache", .kind = GF_FIELD_SECTION, .fields = cache_fields},
    {.key = "seed",
     .kind = GF_FIELD_COUNT,
     AT(gf_recipe, seed),
     IN(0, 0x1p53),
     .range = "from 0 to 2^53"},
    {.key = "output", .kind = GF_FIELD_PATH, AT(gf_recipe, output)},
    {0}};

static const gf_recipe defaults = {.max_length = GF_DEFAULT_MAX_LENGTH,
                                   .normalize = -1,
                                   .dropout = NAN,
                                   .batch_size = 32,
                                   .accumulate = 1,
                                   .bucket = true,
                                   .beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .eps = 1e-8,
                                   .weight_decay = 0.01,
                                   .clip_norm = 1,
                                   .patience = -1,
                                   .keep = 2,
                                   .log_every = 10,
                                   .cache_mb = 1024,
                                   .seed = 42};
_Static_assert(offsetof(gf_recipe, beta2) == offsetof(gf_recipe, beta1) + sizeof(double),
               "betas are read as a pair");
_Static_assert(sizeof(gf_schedule) == sizeof(int), "schedules are read as an int");

/* ---- what a table cannot check ---- */

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

static bool resolve_task(const gf_recipe *r, int64_t i, gf_err *e) {
    gf_recipe_task *t = &r->tasks[i];
    char *where;
    bool ok;
    if (strcmp(t->name, "text") == 0)
        return gf_fail(e, GF_E_INVALID,
                       "%s: tasks[%lld].name is \"text\", which predictions call the text itself; "
                       "choose another name",
                       r->path, (long long)i);
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
    return ok;
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
        int64_t t = find_task(r, p->own_weights[k].task);
        if (t == r->n_tasks) return fail_unknown_task(r, i, p->own_weights[k].task, e);
        p->loss_weights[t] = p->own_weights[k].weight;
    }
    for (int64_t t = 0; t < r->n_tasks; t++) sum += p->loss_weights[t];
    if (sum > 0 || p->n_rules == 0) return true;
    return gf_fail(
        e, GF_E_INVALID,
        "%s: phases[%lld].loss_weights leaves every task with weight 0; nothing could be "
        "learned, so give one a weight or make \"trainable\" {}",
        r->path, (long long)i);
}

static bool resolve_phase(const gf_recipe *r, int64_t i, gf_err *e) {
    gf_recipe_phase *p = &r->phases[i];
    if (!p->name && !(p->name = gf_format(e, "phase%lld", (long long)i + 1))) return false;
    for (int64_t k = 0; k < p->n_rules; k++)
        if (!gf_pattern_check(p->rules[k].pattern, e)) {
            gf_err_prefix(e, "%s: phases[%lld].trainable", r->path, (long long)i);
            return false;
        }
    return resolve_weights(r, i, e);
}

static gf_task_type type_of(const gf_recipe_task *t) {
    gf_task_type type = GF_TASK_CLASSIFICATION;
    gf_task_type_find(t->type, &type);
    return type;
}

static const char *metric_of(const gf_recipe_task *t) {
    return gf_metric_list[gf_metric_default(type_of(t))].name;
}

/* The mean over all tasks of their types' metric; the final weights when no dev file measures it.
 */
static char *default_metric(const gf_recipe *r, gf_err *e) {
    gf_text t = {0};
    bool ok = true;
    if (!r->dev) return gf_strdup("last", e);
    if (r->n_tasks == 1) return gf_format(e, "%s.%s", r->tasks[0].name, metric_of(r->tasks));
    for (int64_t i = 0; ok && i < r->n_tasks; i++)
        ok = gf_text_add(&t, e, "%s%s.%s", i ? ", " : "mean(", r->tasks[i].name,
                         metric_of(&r->tasks[i]));
    if (ok && gf_text_add(&t, e, ")")) return t.data;
    gf_text_free(&t);
    return NULL;
}

static bool parse_metric(gf_recipe *r, gf_err *e) {
    const char **names = gather_names(r->tasks, r->n_tasks, sizeof *r->tasks, e);
    gf_task_type *types = gf_alloc_array(r->n_tasks, sizeof *types, e);
    bool ok = names && types;
    for (int64_t i = 0; ok && i < r->n_tasks; i++) types[i] = type_of(&r->tasks[i]);
    ok = ok && gf_select_parse(&r->select, r->select_metric, names, types, r->n_tasks, e);
    gf_free(types);
    if (names && !ok) gf_err_prefix(e, "%s: select.metric", r->path);
    gf_free(names);
    return ok;
}

static bool resolve_select(gf_recipe *r, gf_err *e) {
    if (!r->select_metric && !(r->select_metric = default_metric(r, e))) return false;
    if (!parse_metric(r, e)) return false;
    if (r->select.kind == GF_SELECT_MEAN && !r->dev)
        return gf_fail(e, GF_E_INVALID,
                       "%s: select.metric is \"%s\", which is measured on data.dev, and that is "
                       "missing; name a dev file or use \"last\"",
                       r->path, r->select_metric);
    if (r->patience >= 0 && !r->dev)
        return gf_fail(e, GF_E_INVALID,
                       "%s: select.patience needs data.dev, which is missing; name a dev file or "
                       "leave it out",
                       r->path);
    if (r->patience >= 0 && r->select.kind == GF_SELECT_LAST)
        return gf_fail(e, GF_E_INVALID,
                       "%s: select.patience has nothing to watch when select.metric is \"last\"; "
                       "choose another metric or leave it out",
                       r->path);
    return true;
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

static bool resolve(gf_recipe *r, const char *folder, gf_err *e) {
    for (int64_t i = 0; i < r->n_tasks; i++)
        if (!resolve_task(r, i, e)) return false;
    if (!check_names_differ(r, r->tasks, r->n_tasks, sizeof *r->tasks, "tasks", e)) return false;
    for (int64_t i = 0; i < r->n_phases; i++)
        if (!resolve_phase(r, i, e)) return false;
    if (!check_names_differ(r, r->phases, r->n_phases, sizeof *r->phases, "phases", e))
        return false;
    if (!r->output && !(r->output = default_output(r, folder, e))) return false;
    return resolve_select(r, e);
}

/* ---- reading, writing, freeing ---- */

static bool read_tree(gf_recipe *r, const cJSON *root, const char *path, gf_err *e) {
    /* A recipe in the working folder leaves its paths as they are, without a "./". */
    const char *folder;
    if (!(r->path = gf_strdup(path, e)) || !(r->folder = gf_io_folder_of(path, e))) return false;
    folder = strchr(path, '/') ? r->folder : NULL;
    return gf_fields_read(&(gf_reader){path, folder}, root, recipe_fields, r, e) &&
           resolve(r, folder, e);
}

bool gf_recipe_parse(gf_recipe *r, const char *text, size_t size, const char *path,
                     const char *const *sets, int64_t n_sets, gf_err *e) {
    cJSON *root = gf_json_parse(text, size, path, 1, GF_E_INVALID, e);
    bool ok = root != NULL;
    *r = defaults;
    for (int64_t i = 0; ok && i < n_sets; i++) ok = gf_override_apply(root, sets[i], e);
    ok = ok && read_tree(r, root, path, e);
    cJSON_Delete(root);
    if (!ok) gf_recipe_free(r);
    return ok;
}

bool gf_recipe_read(gf_recipe *r, const char *path, const char *const *sets, int64_t n_sets,
                    gf_err *e) {
    size_t size = 0;
    char *text = gf_io_read_all(path, LARGEST_RECIPE, &size, e);
    bool ok = text && gf_recipe_parse(r, text, size, path, sets, n_sets, e);
    if (!text) *r = (gf_recipe){0};
    gf_free(text);
    return ok;
}

cJSON *gf_recipe_to_json(const gf_recipe *r, gf_err *e) {
    cJSON *root = gf_json_object(NULL, NULL, e);
    if (root && gf_fields_write(root, recipe_fields, r, e)) return root;
    cJSON_Delete(root);
    return NULL;
}

void gf_recipe_free(gf_recipe *r) {
    for (int64_t i = 0; i < r->n_phases; i++) gf_free(r->phases[i].loss_weights);
    gf_fields_free(recipe_fields, r);
    gf_select_free(&r->select);
    gf_free(r->path);
    gf_free(r->folder);
    *r = (gf_recipe){0};
}
