#include "data/dataset.h"

#include "core/mem.h"
#include "data/reading.h"

#include <string.h>

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

/* ---- one label ---- */

static bool check_label(const table *t, const gf_task_field *tasks, int64_t k, gf_reading *l,
                        gf_err *e) {
    if (gf_reading_start(l, &tasks[k], &t->cells[k + 1], e)) return true;
    name_place(t, e);
    return false;
}

static int next_class(const table *t, gf_reading *l, gf_err *e) {
    int got = gf_reading_next(l, e);
    if (got < 0) name_place(t, e);
    return got;
}

/* ---- learning labels ---- */

static bool learn_class(const gf_reading *l, gf_err *e) {
    double value;
    int shown = l->size < 100 ? (int)l->size : 100;
    if (l->task->labels->fixed) return true;
    if (l->task->kind == GF_LABEL_ORDER && !gf_labels_value(l->name, l->size, &value))
        return gf_fail(e, GF_E_INVALID,
                       "label \"%.*s\" of task \"%s\" is no number; list the task's \"classes\" in "
                       "their order",
                       shown, l->name, l->task->task);
    return gf_labels_add(l->task->labels, l->name, l->size, e);
}

static bool learn_row(const table *t, const gf_task_field *tasks, int64_t n_tasks, int64_t *seen,
                      gf_err *e) {
    for (int64_t k = 0; k < n_tasks; k++) {
        gf_reading l;
        int got;
        if (!check_label(t, tasks, k, &l, e)) return false;
        seen[k] += l.present;
        while ((got = next_class(t, &l, e)) == 1) {
            if (learn_class(&l, e)) continue;
            name_place(t, e);
            return false;
        }
        if (got < 0) return false;
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
        ok = !tasks[k].field || seen[k] > 0 || fail_no_label(path, &tasks[k], e);
    }
    close_table(&t);
    gf_free(seen);
    return ok;
}

static bool finish(const gf_task_field *task, gf_err *e) {
    if (task->kind == GF_LABEL_NUMBER) return true;
    if (task->kind == GF_LABEL_SET && task->labels->count == 0)
        return gf_fail(e, GF_E_INVALID,
                       "task \"%s\": every label is the empty set; "
                       "check the field's name",
                       task->task);
    if (task->labels->fixed) return true;
    if (task->kind != GF_LABEL_ORDER) {
        gf_labels_sort(task->labels);
        return true;
    }
    if (gf_labels_sort_by_value(task->labels, e)) return true;
    gf_err_prefix(e, "task \"%s\"", task->task);
    return false;
}

bool gf_dataset_finish_labels(const gf_task_field *tasks, int64_t n_tasks, gf_err *e) {
    bool ok = true;
    for (int64_t k = 0; ok && k < n_tasks; k++) ok = finish(&tasks[k], e);
    return ok;
}

/* ---- reading ---- */

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static uint64_t hash_text(const char *text, size_t size) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

/* As gf_grow() does, to a known capacity. */
static bool resize(void *items, int64_t capacity, size_t size, gf_err *e) {
    void *old, *grown;
    memcpy(&old, items, sizeof old);
    if (!(grown = gf_realloc_array(old, capacity, size, e))) return false;
    memcpy(items, &grown, sizeof grown);
    return true;
}

static bool reserve(gf_dataset *d, int64_t capacity, gf_err *e) {
    bool ok = resize(&d->start, capacity, sizeof *d->start, e) &&
              resize(&d->line, capacity, sizeof *d->line, e) &&
              resize(&d->text_hash, capacity, sizeof *d->text_hash, e) &&
              resize(&d->row_pieces, capacity, sizeof *d->row_pieces, e) &&
              resize(&d->row_unknown, capacity, sizeof *d->row_unknown, e);
    for (int64_t k = 0; ok && k < d->n_tasks; k++) {
        size_t width = (size_t)d->target_width[k] * sizeof **d->target;
        ok = resize(&d->label[k], capacity, sizeof *d->label[k], e) &&
             (width == 0 || resize(&d->target[k], capacity, width, e));
    }
    if (ok) d->capacity = capacity;
    return ok;
}

/* Room for one row more, and for the end of its tokens. */
static bool grow(gf_dataset *d, gf_err *e) {
    return d->rows + 1 < d->capacity || reserve(d, d->capacity ? d->capacity * 2 : 1024, e);
}

/* Room for what there is of each task; n_tasks is set once all three can be freed by it. */
static bool make_tasks(gf_dataset *d, int64_t n_tasks, gf_err *e) {
    if (!(d->label = gf_alloc_array(n_tasks, sizeof *d->label, e)) ||
        !(d->target = gf_alloc_array(n_tasks, sizeof *d->target, e)) ||
        !(d->target_width = gf_alloc_array(n_tasks, sizeof *d->target_width, e)))
        return false;
    d->n_tasks = n_tasks;
    return true;
}

static bool add_source(gf_dataset *d, const char *path, gf_err *e) {
    if (!gf_grow(&d->source, d->n_sources, &d->source_capacity, sizeof *d->source, e)) return false;
    d->source[d->n_sources] = (gf_source){gf_strdup(path, e), d->rows, 0};
    return d->source[d->n_sources].path && ++d->n_sources;
}

static bool fail_unknown(const table *t, const gf_reading *l, gf_err *e) {
    const gf_task_field *task = l->task;
    size_t shown = l->size < 100 ? l->size : 100;
    char *name = gf_strndup(l->name, shown, e);
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

static bool take_class(gf_dataset *d, const table *t, const gf_reading *l, int64_t k, gf_err *e) {
    int32_t class = gf_labels_find(l->task->labels, l->name, l->size);
    if (class < 0) return fail_unknown(t, l, e);
    if (l->task->kind == GF_LABEL_SET)
        d->target[k][d->rows * d->target_width[k] + class] = 1;
    else
        d->label[k][d->rows] = class;
    return true;
}

static bool read_label(gf_dataset *d, const table *t, const gf_task_field *tasks, int64_t k,
                       gf_err *e) {
    gf_reading l;
    int got;
    if (!check_label(t, tasks, k, &l, e)) return false;
    d->label[k][d->rows] = l.present ? 0 : -1;
    for (int64_t i = 0; i < d->target_width[k]; i++)
        d->target[k][d->rows * d->target_width[k] + i] = 0;
    if (l.present && tasks[k].kind == GF_LABEL_NUMBER) d->target[k][d->rows] = (gf_real)l.value;
    while ((got = next_class(t, &l, e)) == 1)
        if (!take_class(d, t, &l, k, e)) return false;
    return got == 0;
}

static bool read_row(gf_dataset *d, const table *t, const gf_task_field *tasks,
                     const gf_tokenizer *tokenizer, int64_t max_length, gf_err *e) {
    const gf_cell *text = &t->cells[0];
    gf_encoding encoding = {0};
    if (!grow(d, e)) return false;
    for (int64_t k = 0; k < d->n_tasks; k++)
        if (!read_label(d, t, tasks, k, e)) return false;
    if (!gf_tokenizer_encode(tokenizer, text->text, text->size, max_length, &d->ids, &encoding,
                             e)) {
        name_place(t, e);
        return false;
    }
    d->line[d->rows] = gf_rows_line(t->rows);
    d->text_hash[d->rows] = hash_text(text->text, text->size);
    d->row_pieces[d->rows] = (int32_t)encoding.pieces; /* a text has at most 16 MiB */
    d->row_unknown[d->rows] = (int32_t)encoding.unknown;
    d->truncated += encoding.truncated;
    d->pieces += encoding.pieces;
    d->unknown += encoding.unknown;
    d->start[++d->rows] = d->ids.count;
    d->source[d->n_sources - 1].rows++;
    return true;
}

static int64_t width_of(const gf_task_field *task) {
    return task->kind == GF_LABEL_SET ? task->labels->count : task->kind == GF_LABEL_NUMBER;
}

/* The tasks of a first file, or those of a further one, which must be the same. */
static bool take_tasks(gf_dataset *d, const gf_task_field *tasks, int64_t n_tasks, gf_err *e) {
    bool same = d->n_tasks == n_tasks;
    if (d->n_sources == 0) {
        if (!make_tasks(d, n_tasks, e)) return false;
        for (int64_t k = 0; k < n_tasks; k++) d->target_width[k] = width_of(&tasks[k]);
        return true;
    }
    for (int64_t k = 0; same && k < n_tasks; k++) same = d->target_width[k] == width_of(&tasks[k]);
    return same || gf_fail(e, GF_E_INTERNAL, "the tasks of one data set's files differ");
}

bool gf_dataset_add(gf_dataset *d, const char *path, const char *text_field,
                    const gf_task_field *tasks, int64_t n_tasks, const gf_tokenizer *t,
                    int64_t max_length, gf_err *e) {
    table file;
    bool ok = open_table(&file, path, text_field, tasks, n_tasks, e) &&
              take_tasks(d, tasks, n_tasks, e) && add_source(d, path, e);
    int got = 0;
    while (ok && (got = gf_rows_next(file.rows, file.cells, e)) == 1)
        ok = read_row(d, &file, tasks, t, max_length, e);
    ok = ok && got == 0;
    if (ok && d->source[d->n_sources - 1].rows == 0)
        ok = gf_fail(e, GF_E_INVALID, "%s: it holds no rows", gf_rows_path(file.rows));
    close_table(&file);
    if (!ok) gf_dataset_free(d);
    return ok;
}

/* ---- some of the rows ---- */

static int64_t source_of(const gf_dataset *d, int64_t row) {
    int64_t s = d->n_sources - 1;
    while (s > 0 && d->source[s].first > row) s--;
    return s;
}

static bool add_ids(gf_dataset *to, const gf_dataset *from, const int64_t *rows, int64_t count,
                    gf_err *e) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++) tokens += from->start[rows[i] + 1] - from->start[rows[i]];
    if (!resize(&to->ids.id, tokens, sizeof *to->ids.id, e)) return false;
    to->ids.capacity = tokens;
    for (int64_t i = 0; i < count; i++) {
        int64_t n = from->start[rows[i] + 1] - from->start[rows[i]];
        memcpy(to->ids.id + to->ids.count, from->ids.id + from->start[rows[i]],
               (size_t)n * sizeof *to->ids.id);
        to->ids.count += n;
        to->start[i + 1] = to->ids.count;
    }
    return true;
}

/* Into the next row; its tokens are there already. */
static void copy_row(gf_dataset *to, const gf_dataset *from, int64_t row) {
    int64_t at = to->rows++;
    to->line[at] = from->line[row];
    to->text_hash[at] = from->text_hash[row];
    to->row_pieces[at] = from->row_pieces[row];
    to->row_unknown[at] = from->row_unknown[row];
    to->pieces += from->row_pieces[row];
    to->unknown += from->row_unknown[row];
    to->truncated += from->row_pieces[row] > from->start[row + 1] - from->start[row] - 2;
    for (int64_t k = 0; k < to->n_tasks; k++) {
        int64_t n = to->target_width[k];
        to->label[k][at] = from->label[k][row];
        if (n > 0)
            memcpy(to->target[k] + at * n, from->target[k] + row * n,
                   (size_t)n * sizeof **to->target);
    }
}

static bool copy_frame(gf_dataset *to, const gf_dataset *from, int64_t count, gf_err *e) {
    if (!make_tasks(to, from->n_tasks, e)) return false;
    for (int64_t k = 0; k < to->n_tasks; k++) to->target_width[k] = from->target_width[k];
    for (int64_t s = 0; s < from->n_sources; s++)
        if (!add_source(to, from->source[s].path, e)) return false;
    return reserve(to, count + 1, e);
}

bool gf_dataset_select(gf_dataset *to, const gf_dataset *from, const int64_t *rows, int64_t count,
                       gf_err *e) {
    bool ok = copy_frame(to, from, count, e) && add_ids(to, from, rows, count, e);
    for (int64_t i = 0; ok && i < count; i++) {
        if (to->n_sources) to->source[source_of(from, rows[i])].rows++;
        copy_row(to, from, rows[i]);
    }
    for (int64_t s = 1; ok && s < to->n_sources; s++)
        to->source[s].first = to->source[s - 1].first + to->source[s - 1].rows;
    if (!ok) gf_dataset_free(to);
    return ok;
}

void gf_dataset_place(const gf_dataset *d, int64_t row, const char **path, int64_t *line) {
    *path = d->n_sources ? d->source[source_of(d, row)].path : "";
    *line = d->line ? d->line[row] : row + 1;
}

void gf_dataset_free(gf_dataset *d) {
    for (int64_t k = 0; k < d->n_tasks; k++) {
        gf_free(d->label[k]);
        gf_free(d->target[k]);
    }
    for (int64_t s = 0; s < d->n_sources; s++) gf_free(d->source[s].path);
    gf_free(d->label);
    gf_free(d->target);
    gf_free(d->target_width);
    gf_free(d->source);
    gf_free(d->ids.id);
    gf_free(d->start);
    gf_free(d->line);
    gf_free(d->text_hash);
    gf_free(d->row_pieces);
    gf_free(d->row_unknown);
    *d = (gf_dataset){0};
}
