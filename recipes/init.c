#include "recipes/init.h"

#include "checkpoints/folder.h"
#include "checkpoints/open.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/labels.h"
#include "data/rows.h"
#include "recipes/columns.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_LISTED = 50, MOST_TASKS = 16, UNEVEN = 10 };

typedef struct task {
    const char *field; /* the column's */
    char *name;
    gf_labels classes; /* of all files */
    int64_t *count;    /* [classes.count] rows of the data */
    int64_t capacity;
    int64_t most, least;
} task;

typedef struct plan {
    const gf_init_options *o;
    const gf_log *log;
    gf_columns columns;
    const char *text;
    task tasks[MOST_TASKS];
    int64_t n_tasks, rows;
    char *base, *dev, *test;
    int64_t max_length, p95;
    gf_model model;
    int64_t *length; /* [rows] */
    int64_t capacity;
} plan;

static void plan_free(plan *p) {
    for (int64_t i = 0; i < p->n_tasks; i++) {
        gf_free(p->tasks[i].name);
        gf_free(p->tasks[i].count);
        gf_labels_free(&p->tasks[i].classes);
    }
    gf_columns_free(&p->columns);
    gf_model_free(&p->model);
    gf_free(p->length);
    gf_free(p->base);
    gf_free(p->dev);
    gf_free(p->test);
}

/* ---- columns ---- */

static bool fail_column(const plan *p, const char *option, const char *name, gf_err *e) {
    const char *names[256], *near;
    for (int64_t i = 0; i < p->columns.count; i++) names[i] = p->columns.list[i].name;
    near = gf_text_nearest(name, names, p->columns.count);
    return gf_fail(e, GF_E_INVALID, "%s: %s: there is no column \"%s\"%s%s%s", p->o->data, option,
                   name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static bool choose_text(plan *p, gf_err *e) {
    int64_t i =
        p->o->text ? gf_columns_find(&p->columns, p->o->text) : gf_columns_find_text(&p->columns);
    if (i < 0 && p->o->text) return fail_column(p, "--text", p->o->text, e);
    if (i < 0)
        return gf_fail(e, GF_E_INVALID,
                       "%s: no column looks like text (strings in every row, mostly different); "
                       "name it with --text",
                       p->o->data);
    p->text = p->columns.list[i].name;
    gf_log_say(p->log, GF_LOG_NOTE, "text: column \"%s\", %.0f characters on average", p->text,
               p->columns.list[i].mean_chars);
    return true;
}

/* A task's name from a column's: letters, digits, '-' and '_', not "text", no other task's. */
static char *name_task(const plan *p, const char *field, gf_err *e) {
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const char *front = strchr(good, field[0]) && strcmp(field, "text") != 0 ? "" : "label";
    char *name = gf_format(e, "%s%s", front, field), *longer;
    for (char *c = name; c && *c; c++)
        if (!strchr(good, *c) && *c != '-') *c = '_';
    for (int64_t i = 0; name && i < p->n_tasks; i++)
        if (strcmp(p->tasks[i].name, name) == 0) {
            longer = gf_format(e, "%s_%lld", name, (long long)p->n_tasks);
            gf_free(name);
            name = longer;
        }
    return name;
}

static bool add_task(plan *p, const char *field, gf_err *e) {
    if (p->n_tasks == MOST_TASKS) return true;
    if (!(p->tasks[p->n_tasks].name = name_task(p, field, e))) return false;
    p->tasks[p->n_tasks++].field = field;
    return true;
}

static const char *why_not(const gf_column *c) {
    if (c->role == GF_COLUMN_NUMBER) return "numbers, for a regression";
    if (c->role == GF_COLUMN_IDS) return "another string in every row, as an id";
    if (c->role == GF_COLUMN_TOO_MANY) return "too many different strings for classes";
    if (c->role == GF_COLUMN_CONSTANT) return "one string only";
    return "strings that hardly repeat, or values that are no strings";
}

static bool take_labels_found(plan *p, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < p->columns.count; i++) {
        const gf_column *c = &p->columns.list[i];
        if (strcmp(c->name, p->text) == 0) continue;
        if (c->role == GF_COLUMN_LABEL)
            ok = add_task(p, c->name, e);
        else
            gf_log_say(p->log, GF_LOG_NOTE, "column \"%s\" is no label: %s", c->name, why_not(c));
    }
    return ok;
}

/* Numbers that CSV and TSV hold as strings are classes where there is nothing better. */
static bool take_numbers(plan *p, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < p->columns.count; i++) {
        const gf_column *c = &p->columns.list[i];
        if (strcmp(c->name, p->text) != 0 && c->role == GF_COLUMN_NUMBER && !c->numbers &&
            c->distinct > 1 && c->distinct <= MOST_LISTED && c->distinct * 5 <= c->strings)
            ok = add_task(p, c->name, e);
    }
    return ok;
}

static bool fail_no_label(const plan *p, gf_err *e) {
    gf_text list = {0};
    bool ok = gf_text_add_bytes(&list, "", 0, e);
    for (int64_t i = 0; ok && i < p->columns.count && list.length < 400; i++) {
        const gf_column *c = &p->columns.list[i];
        if (strcmp(c->name, p->text) != 0)
            ok = gf_text_add(&list, e, "%s\"%s\": %s", list.length ? "; " : " (", c->name,
                             why_not(c));
    }
    if (ok)
        gf_fail(e, GF_E_INVALID,
                "%s: no column looks like labels, strings that repeat%s%s; name one with --label",
                p->o->data, list.data, list.length ? ")" : "");
    gf_text_free(&list);
    return false;
}

static bool choose_labels(plan *p, gf_err *e) {
    for (int64_t i = 0; i < p->o->n_labels; i++) {
        int64_t k = gf_columns_find(&p->columns, p->o->labels[i]);
        const gf_column *c = k < 0 ? NULL : &p->columns.list[k];
        if (!c) return fail_column(p, "--label", p->o->labels[i], e);
        if (c->numbers || c->others || c->distinct < 2)
            return gf_fail(e, GF_E_INVALID,
                           "%s: --label: column \"%s\" cannot be classes: %s; name another",
                           p->o->data, c->name, why_not(c));
        if (!add_task(p, c->name, e)) return false;
    }
    if (p->n_tasks == 0 && !take_labels_found(p, e)) return false;
    if (p->n_tasks == 0 && !take_numbers(p, e)) return false;
    return p->n_tasks > 0 || fail_no_label(p, e);
}

/* ---- files beside the data ---- */

/* FOLDER/NAME with one of the words in place of "train", else FOLDER/WORD.ENDING; NULL if there is
 * no such file or memory is out. */
static char *find_sibling(const char *data, const char *const *words, gf_err *e) {
    const char *slash = strrchr(data, '/'), *name = slash ? slash + 1 : data;
    const char *dot = strrchr(name, '.'), *train = strstr(name, "train");
    for (; *words; words++) {
        char *path = NULL;
        if (train) path = gf_format(e, "%.*s%s%s", (int)(train - data), data, *words, train + 5);
        if (path && gf_io_is_file(path)) return path;
        gf_free(path);
        path = gf_format(e, "%.*s%s%s", (int)(name - data), data, *words, dot ? dot : "");
        if (path && strcmp(path, data) != 0 && gf_io_is_file(path)) return path;
        gf_free(path);
    }
    return NULL;
}

static bool find_siblings(plan *p, gf_err *e) {
    static const char *const devs[] = {"dev", "valid", "validation", "val", NULL};
    static const char *const tests[] = {"test", NULL};
    gf_err failed = {0};
    p->dev = find_sibling(p->o->data, devs, &failed);
    p->test = find_sibling(p->o->data, tests, &failed);
    if (failed.code) return gf_fail(e, failed.code, "%s", failed.text);
    gf_log_say(p->log, GF_LOG_NOTE, "dev: %s; test: %s", p->dev ? p->dev : "none beside the data",
               p->test ? p->test : "none");
    return true;
}

/* ---- classes and lengths ---- */

static bool count_label(task *t, const gf_cell *cell, bool counts, gf_err *e) {
    int32_t class;
    if (cell->kind != GF_CELL_STRING || cell->size == 0) return true;
    if (!gf_labels_add(&t->classes, cell->text, cell->size, e)) return false;
    while (t->capacity < t->classes.count) {
        int64_t old = t->capacity;
        if (!gf_grow(&t->count, t->capacity, &t->capacity, sizeof *t->count, e)) return false;
        memset(t->count + old, 0, (size_t)(t->capacity - old) * sizeof *t->count);
    }
    class = gf_labels_find(&t->classes, cell->text, cell->size);
    t->count[class] += counts;
    return true;
}

static bool measure(plan *p, const gf_cell *text, gf_err *e) {
    gf_ids ids = {0};
    gf_encoding encoding = {0};
    bool ok =
        gf_grow(&p->length, p->rows, &p->capacity, sizeof *p->length, e) &&
        gf_tokenizer_encode(p->model.tokenizer, text->text, text->size, 3, &ids, &encoding, e);
    if (ok) p->length[p->rows++] = encoding.pieces + 2;
    gf_free(ids.id);
    return ok;
}

/* Adds a file's classes; of the data itself the rows and lengths count. */
static bool read_file(plan *p, const char *path, bool counts, gf_err *e) {
    const char *fields[MOST_TASKS + 1] = {p->text};
    gf_cell cells[MOST_TASKS + 1];
    gf_rows *rows;
    int got = -1;
    bool ok = true;
    for (int64_t i = 0; i < p->n_tasks; i++) fields[i + 1] = p->tasks[i].field;
    rows = gf_rows_open(path, fields, p->n_tasks + 1, e);
    if (rows) gf_rows_take_any_bytes(rows);
    while (rows && ok && (got = gf_rows_next(rows, cells, e)) == 1) {
        for (int64_t i = 0; ok && i < p->n_tasks; i++)
            ok = count_label(&p->tasks[i], &cells[i + 1], counts, e);
        if (ok && counts && p->model.tokenizer) ok = measure(p, &cells[0], e);
    }
    gf_rows_close(rows);
    return ok && got == 0;
}

static bool read_sibling(plan *p, char **path, gf_err *e) {
    gf_err why = {0};
    if (!*path || read_file(p, *path, false, &why)) return true;
    if (why.code != GF_E_INVALID && why.code != GF_E_MODEL)
        return gf_fail(e, why.code, "%s", why.text);
    gf_log_say(p->log, GF_LOG_WARNING, "%s is left out: %s", *path, why.text);
    gf_free(*path);
    *path = NULL;
    return true;
}

static void count_classes(plan *p) {
    for (int64_t i = 0; i < p->n_tasks; i++) {
        task *t = &p->tasks[i];
        for (int64_t k = 0; k < t->classes.count; k++) {
            if (t->count[k] == 0) continue;
            if (t->count[k] > t->most) t->most = t->count[k];
            if (!t->least || t->count[k] < t->least) t->least = t->count[k];
        }
        gf_log_say(p->log, GF_LOG_NOTE, "label: column \"%s\", %lld classes of %lld to %lld rows",
                   t->field, (long long)t->classes.count, (long long)t->least, (long long)t->most);
    }
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void choose_length(plan *p) {
    int64_t positions = p->model.config.max_position_embeddings;
    p->max_length = 128;
    if (p->rows == 0) {
        p->rows = p->columns.rows;
        return;
    }
    qsort(p->length, (size_t)p->rows, sizeof *p->length, ascending);
    p->p95 = p->length[(p->rows * 95 + 99) / 100 - 1];
    p->max_length = (p->p95 + 7) / 8 * 8;
    if (p->max_length > positions) p->max_length = positions;
    gf_log_say(p->log, GF_LOG_NOTE, "lengths: 95 %% of the texts have up to %lld tokens",
               (long long)p->p95);
}

static bool open_base(plan *p, gf_err *e) {
    const char *base = p->o->base ? p->o->base : "models/all-MiniLM-L6-v2";
    if (!(p->base = gf_strdup(base, e))) return false;
    if (!p->o->base && !gf_io_is_folder(base)) {
        gf_log_say(p->log, GF_LOG_WARNING,
                   "%s is not there; scripts/get-model all-MiniLM-L6-v2 brings it, or name "
                   "another with --base; max_length is a guess",
                   base);
        return true;
    }
    if (gf_place_find(base) == GF_PLACE_MODEL)
        return gf_folder_open(&p->model, base, GF_OPEN_NO_WEIGHTS, p->log, e);
    return gf_model_open(&p->model, base, p->log, e);
}

/* ---- the recipe ---- */

/* A path as the recipe is to name it: from the recipe's folder where the file lies below it, else
 * from the root. */
static char *path_for(const plan *p, const char *path, gf_err *e) {
    char *folder = p->o->output ? gf_io_folder_of(p->o->output, e) : gf_strdup(".", e);
    char *home = folder ? gf_io_absolute(folder, e) : NULL, *full = NULL, *out = NULL;
    size_t n = home ? strlen(home) : 0;
    if (home && n > 1 && strcmp(home + n - 2, "/.") == 0) home[n -= 2] = 0;
    if (home) full = gf_io_absolute(strncmp(path, "./", 2) == 0 ? path + 2 : path, e);
    if (full)
        out = gf_strdup(strncmp(full, home, n) == 0 && full[n] == '/' ? full + n + 1 : full, e);
    gf_free(full);
    gf_free(home);
    gf_free(folder);
    return out;
}

/* "KEY": "VALUE" with `before` and `after` around it. */
static bool add_pair(gf_text *out, const char *before, const char *key, const char *value,
                     gf_err *e) {
    char *quoted = gf_json_quote("", value, e);
    bool ok = quoted && gf_text_add(out, e, "%s\"%s\": ", before, key) &&
              gf_text_add_bytes(out, quoted, strlen(quoted), e);
    gf_free(quoted);
    return ok;
}

static bool add_path(const plan *p, gf_text *out, const char *before, const char *key,
                     const char *path, gf_err *e) {
    char *shown = path_for(p, path, e);
    bool ok = shown && add_pair(out, before, key, shown, e);
    gf_free(shown);
    return ok;
}

static bool add_model(const plan *p, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "  \"model\": {\n") &&
              add_path(p, out, "    ", "base", p->base, e) && gf_text_add(out, e, ",\n");
    if (p->p95)
        ok = ok && gf_text_add(out, e,
                               "    \"_max_length\": \"tokens, with [CLS] and [SEP]: 95 %% of the "
                               "texts have up to %lld\",\n",
                               (long long)p->p95);
    else
        ok = ok && gf_text_add(out, e,
                               "    \"_max_length\": \"tokens, with [CLS] and [SEP]; a guess: "
                               "graft check says how many texts are cut\",\n");
    return ok && gf_text_add(out, e, "    \"max_length\": %lld\n  },\n", (long long)p->max_length);
}

static bool add_data(const plan *p, gf_text *out, gf_err *e) {
    bool ok =
        gf_text_add(out, e, "  \"data\": {\n") && add_path(p, out, "    ", "train", p->o->data, e);
    if (p->dev) ok = ok && add_path(p, out, ", ", "dev", p->dev, e);
    if (p->test) ok = ok && add_path(p, out, ", ", "test", p->test, e);
    ok = ok && add_pair(out, ", ", "text", p->text, e);
    if (!p->dev)
        ok = ok && gf_text_add(out, e,
                               ",\n    \"_split\": \"parts of train that are not trained on; equal "
                               "texts stay together\",\n    \"split\": {\"dev\": 0.1%s}",
                               p->test ? "" : ", \"test\": 0.1");
    return ok && gf_text_add(out, e, "\n  },\n");
}

static bool add_classes(const task *t, gf_text *out, gf_err *e) {
    bool ok = true;
    if (t->classes.count > MOST_LISTED)
        return gf_text_add(out, e,
                           ",\n     \"_classes\": \"%lld, learned from the training data, sorted\"",
                           (long long)t->classes.count);
    ok = gf_text_add(out, e,
                     ",\n     \"_classes\": \"as found; a label that is not listed is an error\""
                     ",\n     \"classes\": [");
    for (int64_t i = 0; ok && i < t->classes.count; i++) {
        char *name = gf_json_quote(i ? ", " : "", t->classes.names[t->classes.by_name[i]], e);
        ok = name && gf_text_add_bytes(out, name, strlen(name), e);
        gf_free(name);
    }
    return ok && gf_text_add(out, e, "]");
}

static bool add_one_task(const task *t, bool last, gf_text *out, gf_err *e) {
    bool ok = add_pair(out, "    {", "name", t->name, e) &&
              gf_text_add(out, e, ", \"type\": \"classification\"") &&
              add_pair(out, ", ", "label", t->field, e) && add_classes(t, out, e);
    if (ok && t->most > UNEVEN * t->least)
        ok = gf_text_add(out, e,
                         ",\n     \"_class_weights\": \"the largest class has %lld rows, the "
                         "smallest %lld\",\n     \"class_weights\": \"balanced\"",
                         (long long)t->most, (long long)t->least);
    return ok && gf_text_add(out, e, "}%s\n", last ? "" : ",");
}

/* A comment for each numeric column that is no task. */
static bool add_regressions(const plan *p, gf_text *out, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < p->columns.count; i++) {
        const gf_column *c = &p->columns.list[i];
        gf_text idea = {0}, key = {0};
        char *quoted = NULL;
        bool taken = c->role != GF_COLUMN_NUMBER || strcmp(c->name, p->text) == 0;
        for (int64_t k = 0; k < p->n_tasks; k++) taken |= strcmp(c->name, p->tasks[k].field) == 0;
        if (taken) continue;
        ok = gf_text_add(&idea, e, "column ") &&
             add_pair(&idea, "with numbers; as a task: {", "name", c->name, e) &&
             gf_text_add(&idea, e, ", \"type\": \"regression\"") &&
             add_pair(&idea, ", ", "label", c->name, e) && gf_text_add(&idea, e, "}") &&
             gf_text_add(&key, e, "_%s", c->name) && (quoted = gf_json_quote("  ", key.data, e)) &&
             gf_text_add(out, e, "%s: ", quoted);
        gf_free(quoted);
        quoted = ok ? gf_json_quote("", idea.data, e) : NULL;
        ok = quoted && gf_text_add_bytes(out, quoted, strlen(quoted), e) &&
             gf_text_add(out, e, ",\n");
        gf_free(quoted);
        gf_text_free(&idea);
        gf_text_free(&key);
    }
    return ok;
}

static bool add_tasks(const plan *p, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "  \"tasks\": [\n");
    for (int64_t i = 0; ok && i < p->n_tasks; i++)
        ok = add_one_task(&p->tasks[i], i + 1 == p->n_tasks, out, e);
    return ok && gf_text_add(out, e, "  ],\n") && add_regressions(p, out, e);
}

/* Fewer rows want more epochs, and a gentler rate for the encoder. */
static bool add_phases(const plan *p, gf_text *out, gf_err *e) {
    int heads = p->rows < 1000 ? 10 : p->rows < 20000 ? 5 : p->rows < 200000 ? 3 : 1;
    int all = p->rows < 1000 ? 5 : p->rows < 20000 ? 3 : p->rows < 200000 ? 2 : 1;
    const char *rate = p->rows < 1000 ? "2e-5" : "3e-5";
    return gf_text_add(
               out, e,
               "  \"batch\": {\"_\": \"bucket puts texts of like length together\", \"size\": %d, "
               "\"bucket\": true},\n  \"phases\": [\n    {\n",
               p->rows < 1000 ? 16 : 32) &&
           gf_text_add(out, e,
                       "      \"_\": \"New heads start at random. Training them alone first keeps "
                       "their wild gradients away from the encoder.\",\n"
                       "      \"name\": \"heads\", \"epochs\": %d,\n"
                       "      \"trainable\": {\"heads.*\": {\"lr\": 1e-2}},\n",
                       heads) &&
           gf_text_add(out, e,
                       "      \"schedule\": {\"type\": \"linear\", \"warmup\": 0.1}\n    },\n    "
                       "{\n      \"_\": \"Everything learns, the encoder far slower than the "
                       "heads.\",\n      \"name\": \"all\", \"epochs\": %d,\n",
                       all) &&
           gf_text_add(out, e,
                       "      \"trainable\": {\"heads.*\": {\"lr\": 2e-3}, \"*\": {\"lr\": %s, "
                       "\"layer_decay\": 0.95}},\n"
                       "      \"schedule\": {\"type\": \"linear\", \"warmup\": 0.1}\n    }\n  ],\n",
                       rate);
}

static bool add_end(const plan *p, gf_text *out, gf_err *e) {
    const char *name = p->o->output ? strrchr(p->o->output, '/') : NULL;
    const char *stem = name ? name + 1 : p->o->output ? p->o->output : "recipe.json";
    const char *dot = strrchr(stem, '.');
    bool ok = gf_text_add(out, e,
                          "  \"select\": {\"_\": \"the epoch that does best on dev becomes "
                          "model/\", \"metric\": \"%s",
                          p->n_tasks > 1 ? "mean(" : "");
    char *run;
    for (int64_t i = 0; ok && i < p->n_tasks; i++)
        ok = gf_text_add(out, e, "%s%s.macro_f1", i ? ", " : "", p->tasks[i].name);
    run = gf_format(e, "runs/%.*s", dot ? (int)(dot - stem) : (int)strlen(stem), stem);
    ok = ok && run && gf_text_add(out, e, "%s\"},\n  \"seed\": 42,\n", p->n_tasks > 1 ? ")" : "") &&
         add_pair(out, "  ", "output", run, e) && gf_text_add(out, e, "\n}\n");
    gf_free(run);
    return ok;
}

static bool write_recipe(const plan *p, gf_text *out, gf_err *e) {
    const char *slash = strrchr(p->o->data, '/');
    gf_text title = {0};
    bool ok = gf_text_add(&title, e,
                          "Made by graft init from %s, %lld rows: heads first, then the "
                          "whole network.",
                          slash ? slash + 1 : p->o->data, (long long)p->rows) &&
              add_pair(out, "{\n  ", "_", title.data, e) &&
              gf_text_add(out, e,
                          ",\n  \"_use\": \"graft check, graft plan, graft train; keys that begin "
                          "with _ are comments\",\n") &&
              add_model(p, out, e) && add_data(p, out, e) && add_tasks(p, out, e) &&
              add_phases(p, out, e) && add_end(p, out, e);
    gf_text_free(&title);
    return ok;
}

bool gf_init_recipe(const gf_init_options *o, gf_text *out, const gf_log *log, gf_err *e) {
    plan p = {.o = o, .log = log};
    bool ok = gf_columns_read(&p.columns, o->data, e) && choose_text(&p, e) &&
              choose_labels(&p, e) && open_base(&p, e) && find_siblings(&p, e) &&
              read_file(&p, o->data, true, e) && read_sibling(&p, &p.dev, e) &&
              read_sibling(&p, &p.test, e);
    if (ok) {
        count_classes(&p);
        choose_length(&p);
        ok = write_recipe(&p, out, e);
    }
    plan_free(&p);
    return ok;
}
