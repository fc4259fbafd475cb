#include "recipes/init.h"

#include "checkpoints/folder.h"
#include "checkpoints/open.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/reading.h"
#include "recipes/care.h"
#include "recipes/init_parts.h"
#include "recipes/sources.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CLASSES_OF_NUMBERS = 50 };

static void free_task(gf_init_task *t) {
    gf_free(t->name);
    gf_free(t->count);
    gf_labels_free(&t->classes);
}

static void plan_free(gf_init_plan *p) {
    for (int64_t i = 0; i < p->n_tasks; i++) free_task(&p->tasks[i]);
    gf_columns_free(&p->columns);
    gf_model_free(&p->model);
    gf_free(p->length);
    gf_free(p->base);
    gf_free(p->dev);
    gf_free(p->test);
}

/* ---- columns ---- */

static bool fail_column(const gf_init_plan *p, const char *option, const char *name, gf_err *e) {
    const char *names[256], *near;
    for (int64_t i = 0; i < p->columns.count; i++) names[i] = p->columns.list[i].name;
    near = gf_text_nearest(name, names, p->columns.count);
    return gf_fail(e, GF_E_INVALID, "%s: %s: there is no column \"%s\"%s%s%s", p->o->data, option,
                   name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static bool choose_text(gf_init_plan *p, gf_err *e) {
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
static char *name_task(const gf_init_plan *p, const char *field, gf_err *e) {
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

static bool add_task(gf_init_plan *p, const gf_column *c, gf_task_type type, gf_err *e) {
    gf_init_task *t = &p->tasks[p->n_tasks];
    if (p->n_tasks == GF_INIT_TASKS) return true;
    if (!(t->name = name_task(p, c->name, e))) return false;
    t->column = c;
    t->type = type;
    if (type == GF_TASK_MULTI_LABEL && c->separator && strcmp(c->separator, "|") != 0)
        t->separator = c->separator;
    p->n_tasks++;
    return true;
}

static const char *why_not(const gf_column *c) {
    if (c->role == GF_COLUMN_NUMBER) return "numbers that may be anything; see the recipe";
    if (c->role == GF_COLUMN_IDS)
        return c->numeric < c->strings ? "another string in every row, as an id"
                                       : "another number in every row, as an id";
    if (c->role == GF_COLUMN_TOO_MANY) return "too many different strings for classes";
    if (c->role == GF_COLUMN_CONSTANT) return "one value only";
    return "strings that hardly repeat, or values that are no strings";
}

/* The type for what a column holds; false where that is no label. */
static bool type_of(const gf_column *c, gf_task_type *type) {
    *type = c->role == GF_COLUMN_LABEL    ? GF_TASK_CLASSIFICATION
            : c->role == GF_COLUMN_SETS   ? GF_TASK_MULTI_LABEL
            : c->role == GF_COLUMN_GRADES ? GF_TASK_ORDINAL
                                          : GF_TASK_REGRESSION;
    return *type != GF_TASK_REGRESSION || c->role == GF_COLUMN_VALUES;
}

static gf_task_type type_of_numbers(const gf_column *c) {
    return gf_column_is_graded(c) || (c->fractions == 0 && c->distinct > 1 &&
                                      c->distinct <= MOST_CLASSES_OF_NUMBERS &&
                                      c->distinct * 5 <= c->strings + c->numbers)
               ? GF_TASK_ORDINAL
               : GF_TASK_REGRESSION;
}

static bool take_labels_found(gf_init_plan *p, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < p->columns.count; i++) {
        const gf_column *c = &p->columns.list[i];
        gf_task_type type;
        if (strcmp(c->name, p->text) == 0) continue;
        if (type_of(c, &type))
            ok = add_task(p, c, type, e);
        else
            gf_log_say(p->log, GF_LOG_NOTE, "column \"%s\" is no label: %s", c->name, why_not(c));
    }
    return ok;
}

/* Numbers of any kind, where there is nothing better. */
static bool take_numbers(gf_init_plan *p, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < p->columns.count; i++) {
        const gf_column *c = &p->columns.list[i];
        if (strcmp(c->name, p->text) != 0 && c->role == GF_COLUMN_NUMBER && c->distinct > 1)
            ok = add_task(p, c, type_of_numbers(c), e);
    }
    return ok;
}

static bool fail_no_label(const gf_init_plan *p, gf_err *e) {
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

/* --label: the column is one, whatever init would have thought of it. */
static bool take_label_asked(gf_init_plan *p, const gf_column *c, gf_err *e) {
    gf_task_type type;
    bool numbers = c->strings + c->numbers > 0 && c->numeric == c->strings;
    if (c->others || c->distinct + c->items.distinct < 2 || (!numbers && c->numbers) ||
        (c->lists && c->strings + c->numbers))
        return gf_fail(e, GF_E_INVALID,
                       "%s: --label: column \"%s\" cannot be labels: %s; name another", p->o->data,
                       c->name, why_not(c));
    if (!type_of(c, &type))
        type = c->lists  ? GF_TASK_MULTI_LABEL
               : numbers ? type_of_numbers(c)
                         : GF_TASK_CLASSIFICATION;
    if (!add_task(p, c, type, e)) return false;
    p->tasks[p->n_tasks - 1].asked = true;
    return true;
}

static bool choose_labels(gf_init_plan *p, gf_err *e) {
    for (int64_t i = 0; i < p->o->n_labels; i++) {
        int64_t k = gf_columns_find(&p->columns, p->o->labels[i]);
        if (k < 0) return fail_column(p, "--label", p->o->labels[i], e);
        if (!take_label_asked(p, &p->columns.list[k], e)) return false;
    }
    if (p->n_tasks == 0 && !take_labels_found(p, e)) return false;
    if (p->n_tasks == 0 && !take_numbers(p, e)) return false;
    return p->n_tasks > 0 || fail_no_label(p, e);
}

static gf_task_field field_of(gf_init_task *t) {
    return (gf_task_field){t->name, t->column->name, &t->classes, gf_source_label_kind(t->type),
                           t->separator};
}

/* Learns the classes as training will, and leaves out what training would refuse. */
static bool learn_labels(gf_init_plan *p, gf_err *e) {
    for (int64_t i = 0; i < p->n_tasks;) {
        gf_init_task *t = &p->tasks[i];
        gf_task_field field = field_of(t);
        gf_err why = {0};
        if (gf_dataset_learn_labels(p->o->data, &field, 1, &why) &&
            gf_dataset_finish_labels(&field, 1, &why)) {
            t->learned = t->classes.count;
            i++;
            continue;
        }
        if (why.code != GF_E_INVALID || t->asked || p->n_tasks == 1)
            return gf_fail(e, why.code, "%s", why.text);
        gf_log_say(p->log, GF_LOG_WARNING, "column \"%s\" is left out: %s", t->column->name,
                   why.text);
        free_task(t);
        memmove(t, t + 1, (size_t)(--p->n_tasks - i) * sizeof *t);
        p->tasks[p->n_tasks] = (gf_init_task){0};
    }
    return true;
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

static bool find_siblings(gf_init_plan *p, gf_err *e) {
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

static bool count_class(gf_init_task *t, const gf_reading *l, bool counts, gf_err *e) {
    if (!gf_labels_add(&t->classes, l->name, l->size, e)) return false;
    while (t->capacity < t->classes.count) {
        int64_t old = t->capacity;
        if (!gf_grow(&t->count, t->capacity, &t->capacity, sizeof *t->count, e)) return false;
        memset(t->count + old, 0, (size_t)(t->capacity - old) * sizeof *t->count);
    }
    t->count[gf_labels_find(&t->classes, l->name, l->size)] += counts;
    return true;
}

static bool count_label(gf_init_task *t, const gf_cell *cell, bool counts, gf_err *e) {
    gf_task_field field = field_of(t);
    gf_reading l;
    int got;
    if (!gf_reading_start(&l, &field, cell, e)) return false;
    while ((got = gf_reading_next(&l, e)) == 1)
        if (!count_class(t, &l, counts, e)) return false;
    return got == 0;
}

static bool measure(gf_init_plan *p, const gf_cell *text, gf_err *e) {
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
static bool read_file(gf_init_plan *p, const char *path, bool counts, gf_err *e) {
    const char *fields[GF_INIT_TASKS + 1] = {p->text};
    gf_cell cells[GF_INIT_TASKS + 1];
    gf_rows *rows;
    int got = -1;
    bool ok = true;
    for (int64_t i = 0; i < p->n_tasks; i++) fields[i + 1] = p->tasks[i].column->name;
    rows = gf_rows_open(path, fields, p->n_tasks + 1, e);
    if (rows) gf_rows_take_any_bytes(rows);
    while (rows && ok && (got = gf_rows_next(rows, cells, e)) == 1) {
        for (int64_t i = 0; ok && i < p->n_tasks; i++)
            ok = count_label(&p->tasks[i], &cells[i + 1], counts, e);
        if (!ok) gf_err_prefix(e, "%s:%lld", path, (long long)gf_rows_line(rows));
        if (ok && counts && p->model.tokenizer) ok = measure(p, &cells[0], e);
    }
    gf_rows_close(rows);
    return ok && got == 0;
}

static bool read_sibling(gf_init_plan *p, char **path, gf_err *e) {
    gf_err why = {0};
    if (!*path || read_file(p, *path, false, &why)) return true;
    if (why.code != GF_E_INVALID && why.code != GF_E_MODEL)
        return gf_fail(e, why.code, "%s", why.text);
    gf_log_say(p->log, GF_LOG_WARNING, "%s is left out: %s", *path, why.text);
    gf_free(*path);
    *path = NULL;
    return true;
}

/* Adds the classes of a sibling to each task's, in the order in which the head will have them. */
static bool sort_classes(gf_init_task *t, gf_err *e) {
    if (t->type != GF_TASK_ORDINAL) gf_labels_sort(&t->classes);
    return t->type != GF_TASK_ORDINAL || gf_labels_sort_by_value(&t->classes, e);
}

static bool count_classes(gf_init_plan *p, gf_err *e) {
    for (int64_t i = 0; i < p->n_tasks; i++) {
        gf_init_task *t = &p->tasks[i];
        const char *type = gf_task_type_names[t->type];
        for (int64_t k = 0; k < t->classes.count; k++) {
            if (t->count[k] == 0) continue;
            if (t->count[k] > t->most) t->most = t->count[k];
            if (!t->least || t->count[k] < t->least) t->least = t->count[k];
        }
        if (t->type == GF_TASK_REGRESSION)
            gf_log_say(p->log, GF_LOG_NOTE, "label: column \"%s\", %s, values from %g to %g",
                       t->column->name, type, t->column->least, t->column->most);
        else
            gf_log_say(p->log, GF_LOG_NOTE,
                       "label: column \"%s\", %s, %lld classes of %lld to %lld rows",
                       t->column->name, type, (long long)t->classes.count, (long long)t->least,
                       (long long)t->most);
        if (!sort_classes(t, e)) return false;
    }
    return true;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void choose_length(gf_init_plan *p) {
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

static bool open_base(gf_init_plan *p, gf_err *e) {
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

/* ---- data.split ---- */

static const char *path_of(const gf_init_plan *p) {
    return p->o->output ? p->o->output : "recipe.json";
}

/* Whether data.split works as the recipe has it now. */
static bool try_split(gf_init_plan *p, gf_err *e) {
    gf_text text = {0};
    gf_recipe r = {0};
    gf_care c = {0};
    gf_split_counts counts;
    bool ok = gf_init_write(p, &text, e) &&
              gf_recipe_parse(&r, text.data, text.length, path_of(p), NULL, 0, e) &&
              gf_care_read(&c, &r, e) && gf_care_divide(&c, &counts, e);
    gf_care_free(&c);
    gf_recipe_free(&r);
    gf_text_free(&text);
    return ok;
}

/* A tenth each for dev and test where that comes to some rows of enough kinds of label, else what
 * the data allow. */
static bool choose_split(gf_init_plan *p, gf_err *e) {
    static const double shares[][2] = {{0.1, 0.1}, {0.2, 0.2}, {0.2, 0}};
    if (p->dev) return true;
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        gf_err why = {0};
        p->split_dev = shares[i][0];
        p->split_test = p->test ? 0 : shares[i][1];
        if (try_split(p, &why)) return true;
        if (why.code != GF_E_INVALID) return gf_fail(e, why.code, "%s", why.text);
    }
    p->split_dev = p->split_test = 0;
    gf_log_say(p->log, GF_LOG_WARNING,
               "%s: too few rows of a kind to divide; name a dev file in the recipe when there is "
               "one",
               p->o->data);
    return true;
}

bool gf_init_recipe(const gf_init_options *o, gf_text *out, const gf_log *log, gf_err *e) {
    gf_init_plan p = {.o = o, .log = log};
    bool ok = gf_columns_read(&p.columns, o->data, e) && choose_text(&p, e) &&
              choose_labels(&p, e) && learn_labels(&p, e) && open_base(&p, e) &&
              find_siblings(&p, e) && read_file(&p, o->data, true, e) &&
              read_sibling(&p, &p.dev, e) && read_sibling(&p, &p.test, e);
    if (ok) choose_length(&p);
    ok = ok && count_classes(&p, e) && choose_split(&p, e) && gf_init_write(&p, out, e);
    plan_free(&p);
    return ok;
}
