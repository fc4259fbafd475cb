#include "data/dataset.h"

#include "core/mem.h"
#include "data/rows.h"

/* ---- a file's rows with their text and label fields ---- */

typedef struct table {
    gf_rows *rows;
    gf_cell *cells;      /* [1 + n_tasks], the text first */
    const char **fields; /* [1 + n_tasks] */
} table;

static void close_table(table *t) {
    gf_rows_close(t->rows);
    gf_free(t->cells);
    gf_free(t->fields);
}

/* text_field NULL: only labels are wanted. close_table() also after a failure. */
static bool open_table(table *t, const char *path, const char *text_field,
                       const gf_task_field *tasks, int64_t n_tasks, gf_err *e) {
    *t = (table){0};
    if (!(t->cells = gf_alloc_array(n_tasks + 1, sizeof *t->cells, e)) ||
        !(t->fields = gf_alloc_array(n_tasks + 1, sizeof *t->fields, e)))
        return false;
    t->fields[0] = text_field;
    for (int64_t k = 0; k < n_tasks; k++) t->fields[k + 1] = tasks[k].field;
    return (t->rows = gf_rows_open(path, t->fields, n_tasks + 1, e)) != NULL;
}

static void name_place(const table *t, gf_err *e) {
    gf_err_prefix(e, "%s:%lld", gf_rows_path(t->rows), (long long)gf_rows_line(t->rows));
}

/* A label is a non-empty string, or missing: then *present is false. */
static bool check_label(const table *t, int64_t task, bool *present, gf_err *e) {
    const gf_cell *c = &t->cells[task + 1];
    const char *field = t->fields[task + 1];
    *present = c->kind == GF_CELL_STRING;
    if (c->kind == GF_CELL_NUMBER || c->kind == GF_CELL_OTHER)
        gf_fail(e, GF_E_INVALID, "field \"%s\" is %s; labels are strings or null", field, c->text);
    else if (*present && c->size == 0)
        gf_fail(e, GF_E_INVALID, "field \"%s\" is empty; write null for a missing label", field);
    else
        return true;
    name_place(t, e);
    return false;
}

/* ---- learning labels ---- */

static bool learn_row(const table *t, const gf_task_field *tasks, int64_t n_tasks, int64_t *seen,
                      gf_err *e) {
    for (int64_t k = 0; k < n_tasks; k++) {
        const gf_cell *c = &t->cells[k + 1];
        gf_labels *labels = tasks[k].labels;
        bool present;
        if (!check_label(t, k, &present, e)) return false;
        seen[k] += present;
        if (!present || labels->fixed || gf_labels_add(labels, c->text, c->size, e)) continue;
        name_place(t, e);
        return false;
    }
    return true;
}

static bool fail_no_label(const char *path, const gf_task_field *task, gf_err *e) {
    char *near = gf_rows_nearest_column(path, task->field);
    gf_fail(e, GF_E_INVALID, "%s: no row has a label for task \"%s\" in field \"%s\"; %s%s%s", path,
            task->task, task->field, near ? "did you mean \"" : "check the field's name",
            near ? near : "", near ? "\"?" : "");
    gf_free(near);
    return false;
}

bool gf_dataset_learn_labels(const char *path, const gf_task_field *tasks, int64_t n_tasks,
                             gf_err *e) {
    table t;
    int64_t *seen = gf_alloc_array(n_tasks, sizeof *seen, e);
    bool ok = open_table(&t, path, NULL, tasks, n_tasks, e) && seen;
    int got = 0;
    while (ok && (got = gf_rows_next(t.rows, t.cells, e)) == 1)
        ok = learn_row(&t, tasks, n_tasks, seen, e);
    ok = ok && got == 0;
    for (int64_t k = 0; ok && k < n_tasks; k++) {
        if (!tasks[k].labels->fixed) gf_labels_sort(tasks[k].labels);
        ok = seen[k] > 0 || fail_no_label(path, &tasks[k], e);
    }
    close_table(&t);
    gf_free(seen);
    return ok;
}

/* ---- reading ---- */

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static uint64_t hash_text(const char *text, size_t size) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

/* Room for one row more, and for the end of its tokens. */
static bool grow(gf_dataset *d, gf_err *e) {
    int64_t wanted = d->capacity ? d->capacity * 2 : 1024;
    void *p;
    if (d->rows + 1 < d->capacity) return true;
    if (!(p = gf_realloc_array(d->start, wanted, sizeof *d->start, e))) return false;
    d->start = p;
    if (!(p = gf_realloc_array(d->line, wanted, sizeof *d->line, e))) return false;
    d->line = p;
    if (!(p = gf_realloc_array(d->text_hash, wanted, sizeof *d->text_hash, e))) return false;
    d->text_hash = p;
    for (int64_t k = 0; k < d->n_tasks; k++) {
        if (!(p = gf_realloc_array(d->label[k], wanted, sizeof *d->label[k], e))) return false;
        d->label[k] = p;
    }
    d->capacity = wanted;
    return true;
}

static bool fail_unknown(const table *t, const gf_task_field *task, const gf_cell *c, gf_err *e) {
    int shown = c->size < 100 ? (int)c->size : 100;
    char *name = gf_strndup(c->text, (size_t)shown, e);
    const char *near = name ? gf_labels_nearest(task->labels, name) : NULL;
    if (name)
        gf_fail(e, GF_E_INVALID,
                "label \"%s\" of task \"%s\" is not one of its %lld classes; %s%s%s", name,
                task->task, (long long)task->labels->count,
                near ? "did you mean \"" : "correct it, or add it to the task's classes",
                near ? near : "", near ? "\"?" : "");
    name_place(t, e);
    gf_free(name);
    return false;
}

static bool read_labels(gf_dataset *d, const table *t, const gf_task_field *tasks, gf_err *e) {
    for (int64_t k = 0; k < d->n_tasks; k++) {
        const gf_cell *c = &t->cells[k + 1];
        int32_t *label = &d->label[k][d->rows];
        bool present;
        *label = -1;
        if (!check_label(t, k, &present, e)) return false;
        if (present && (*label = gf_labels_find(tasks[k].labels, c->text, c->size)) < 0)
            return fail_unknown(t, &tasks[k], c, e);
    }
    return true;
}

static bool read_row(gf_dataset *d, const table *t, const gf_task_field *tasks,
                     const gf_tokenizer *tokenizer, int64_t max_length, gf_err *e) {
    const gf_cell *text = &t->cells[0];
    gf_encoding encoding = {0};
    if (!grow(d, e) || !read_labels(d, t, tasks, e)) return false;
    if (!gf_tokenizer_encode(tokenizer, text->text, text->size, max_length, &d->ids, &encoding,
                             e)) {
        name_place(t, e);
        return false;
    }
    d->line[d->rows] = gf_rows_line(t->rows);
    d->text_hash[d->rows] = hash_text(text->text, text->size);
    d->truncated += encoding.truncated;
    d->pieces += encoding.pieces;
    d->unknown += encoding.unknown;
    d->start[++d->rows] = d->ids.count;
    return true;
}

bool gf_dataset_read(gf_dataset *d, const char *path, const char *text_field,
                     const gf_task_field *tasks, int64_t n_tasks, const gf_tokenizer *t,
                     int64_t max_length, gf_err *e) {
    table file;
    bool ok = open_table(&file, path, text_field, tasks, n_tasks, e) &&
              (d->path = gf_strdup(path, e)) &&
              (d->label = gf_alloc_array(n_tasks, sizeof *d->label, e));
    int got = 0;
    d->n_tasks = ok ? n_tasks : 0;
    while (ok && (got = gf_rows_next(file.rows, file.cells, e)) == 1)
        ok = read_row(d, &file, tasks, t, max_length, e);
    ok = ok && got == 0;
    if (ok && d->rows == 0)
        ok = gf_fail(e, GF_E_INVALID, "%s: it holds no rows", gf_rows_path(file.rows));
    close_table(&file);
    if (!ok) gf_dataset_free(d);
    return ok;
}

void gf_dataset_free(gf_dataset *d) {
    for (int64_t k = 0; k < d->n_tasks; k++) gf_free(d->label[k]);
    gf_free(d->label);
    gf_free(d->ids.id);
    gf_free(d->start);
    gf_free(d->line);
    gf_free(d->text_hash);
    gf_free(d->path);
    *d = (gf_dataset){0};
}
