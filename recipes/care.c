#include "recipes/care.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/reading.h"
#include "data/unicode.h"
#include "recipes/care_parts.h"
#include "recipes/sources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- hashes ---- */

/* FNV-1a (Fowler, Noll, Vo), 64 bits. */
static const uint64_t hash_start = 0xcbf29ce484222325u;

static uint64_t hash_bytes(uint64_t h, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return h;
}

/* Of the text in lower case, its white space made single blanks and none at the ends. */
static uint64_t hash_folded(const char *text, size_t size) {
    uint64_t h = hash_start;
    bool space = false, any = false;
    for (size_t at = 0; at < size;) {
        char bytes[GF_UNICODE_MOST_BYTES];
        int32_t c = gf_unicode_decode(text, size, &at), lower[2];
        if (c == ' ' || c == '\t' || c == '\n' || (gf_unicode_class(c) & GF_UNICODE_SPACE)) {
            space = any;
            continue;
        }
        if (space) h = hash_bytes(h, " ", 1);
        space = false;
        any = true;
        for (int i = 0, n = gf_unicode_lower(c, lower); i < n; i++)
            h = hash_bytes(h, bytes, gf_unicode_encode(lower[i], bytes));
    }
    return h;
}

void gf_care_hash_row(gf_care_row *row, const char *text) {
    row->hash = hash_bytes(hash_start, text, row->size);
    row->folded = hash_folded(text, row->size);
}

/* ---- labels ---- */

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* Adds a string as JSON, malformed UTF-8 in it becoming U+FFFD. */
static bool add_quoted(gf_text *out, const char *prefix, const char *text, size_t size, gf_err *e) {
    gf_text valid = {0};
    char *quoted =
        gf_text_add_valid(&valid, text, size, e) ? gf_json_quote(prefix, valid.data, e) : NULL;
    bool ok = quoted && gf_text_add_bytes(out, quoted, strlen(quoted), e);
    gf_free(quoted);
    gf_text_free(&valid);
    return ok;
}

/* The shortest decimal that is read back as x. */
static bool add_number(gf_text *out, double x, gf_err *e) {
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    return gf_text_add(out, e, "%s", text);
}

static bool keep_raw(gf_care *c, const gf_cell *cell, gf_care_label *label, gf_err *e) {
    gf_text *out = &c->bytes;
    bool ok = true;
    label->raw = out->length;
    if (cell->kind == GF_CELL_NULL) ok = gf_text_add(out, e, "null");
    if (cell->kind == GF_CELL_NUMBER) ok = add_number(out, cell->number, e);
    if (cell->kind == GF_CELL_STRING) ok = add_quoted(out, "", cell->text, cell->size, e);
    if (cell->kind == GF_CELL_LIST) {
        ok = gf_text_add(out, e, "[");
        for (int64_t i = 0; ok && i < cell->n_items; i++)
            ok = add_quoted(out, i ? ", " : "", cell->items[i], cell->sizes[i], e);
        ok = ok && gf_text_add(out, e, "]");
    }
    label->size = out->length - label->raw;
    return ok;
}

/* The class with this name, added if it is new; below 0 on failure. */
static int32_t class_of(gf_labels *l, const char *text, size_t size, gf_err *e) {
    gf_text name = {0};
    int32_t class = -1;
    if (gf_text_add_valid(&name, text, size, e) && gf_labels_add(l, name.data, name.length, e))
        class = gf_labels_find(l, name.data, name.length);
    gf_text_free(&name);
    return class;
}

static bool add_to_set(gf_care *c, int32_t class, gf_err *e) {
    if (!gf_grow(&c->set, c->sets, &c->set_capacity, sizeof *c->set, e)) return false;
    c->set[c->sets++] = class;
    return true;
}

/* Sorts the classes that were added from label->first on, each once. */
static void finish_set(gf_care *c, gf_care_label *label) {
    int32_t *set = c->set + label->first;
    int64_t n = c->sets - label->first;
    if (n > 0) qsort(set, (size_t)n, sizeof *set, ascending);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || set[i] != set[i - 1]) set[label->count++] = set[i];
    c->sets = label->first + label->count;
    label->same = hash_start;
    if (label->count)
        label->same = hash_bytes(hash_start, (const char *)set, (size_t)label->count * sizeof *set);
}

/* The label as its task reads it. False: it does not, or memory is out. */
static bool read_label(gf_care *c, const gf_task_field *field, const gf_cell *cell,
                       gf_care_label *label, gf_err *e) {
    gf_reading l;
    int got;
    if (!gf_reading_start(&l, field, cell, e)) return false;
    label->class = 0;
    label->first = c->sets;
    while ((got = gf_reading_next(&l, e)) == 1) {
        int32_t class = class_of(field->labels, l.name, l.size, e);
        if (class < 0 || (field->kind == GF_LABEL_SET && !add_to_set(c, class, e))) return false;
        if (field->kind != GF_LABEL_SET) label->class = class;
    }
    if (got < 0) return false;
    label->value = l.value;
    label->same = (uint64_t)label->class;
    if (field->kind == GF_LABEL_SET) finish_set(c, label);
    if (field->kind == GF_LABEL_NUMBER)
        label->same = hash_bytes(hash_start, (const char *)&l.value, sizeof l.value);
    return true;
}

/* A label that its task does not take is for training to refuse, and cannot be written. */
static bool take_label(gf_care *c, const gf_task_field *field, const gf_cell *cell,
                       const gf_rows *rows, gf_care_label *label, gf_err *e) {
    gf_err why = {0};
    *label = (gf_care_label){.class = field->field ? GF_LABEL_MISSING : GF_LABEL_NONE};
    if (!field->field || cell->kind == GF_CELL_MISSING) return true;
    if (cell->kind == GF_CELL_NULL) label->class = GF_LABEL_NULL;
    if (cell->kind == GF_CELL_NULL || read_label(c, field, cell, label, &why))
        return keep_raw(c, cell, label, e);
    gf_err_prefix(&why, "%s:%lld", gf_rows_path(rows), (long long)gf_rows_line(rows));
    if (why.code != GF_E_INVALID) return gf_fail(e, why.code, "%s", why.text);
    label->class = GF_LABEL_OTHER;
    if (c->odd_labels++ == 0) c->odd = why;
    return true;
}

/* ---- reading ---- */

const char *gf_care_text(const gf_care *c, const gf_split *s, int64_t row) {
    return c->bytes.data + s->row[row].text;
}

const char *gf_care_shown(const gf_care *c, const gf_split *s, int64_t row) {
    return c->file[s->row[row].file].shown;
}

bool gf_care_grow(gf_split *s, int64_t n_tasks, gf_err *e) {
    int64_t wanted = s->capacity ? s->capacity * 2 : 256;
    void *p;
    if (s->rows < s->capacity) return true;
    if (!s->label && !(s->label = gf_alloc_array(n_tasks, sizeof *s->label, e))) return false;
    if (!(p = gf_realloc_array(s->row, wanted, sizeof *s->row, e))) return false;
    s->row = p;
    for (int64_t t = 0; t < n_tasks; t++) {
        if (!(p = gf_realloc_array(s->label[t], wanted, sizeof *s->label[t], e))) return false;
        s->label[t] = p;
    }
    s->capacity = wanted;
    return true;
}

/* field[n_tasks] are the tasks' in this file. */
static bool take_row(gf_care *c, int32_t file, const gf_rows *rows, const gf_task_field *field,
                     const gf_cell *cells, gf_err *e) {
    gf_split *s = &c->split[c->file[file].split];
    gf_care_row row = {.text = c->bytes.length,
                       .size = cells[0].size,
                       .line = gf_rows_line(rows),
                       .bad_byte = gf_rows_bad_byte(rows),
                       .file = file};
    if (!gf_care_grow(s, c->recipe->n_tasks, e) ||
        !gf_text_add_bytes(&c->bytes, cells[0].text, row.size, e))
        return false;
    gf_care_hash_row(&row, c->bytes.data + row.text);
    for (int64_t t = 0; t < c->recipe->n_tasks; t++)
        if (!take_label(c, &field[t], &cells[t + 1], rows, &s->label[t][s->rows], e)) return false;
    s->row[s->rows++] = row;
    if (s != &c->split[GF_MLM_TEXTS]) c->rows++;
    c->bad_rows += row.bad_byte >= 0;
    return true;
}

/* Plain text has no columns; training takes any bytes there. A file that cannot be read fails when
 * its rows are. */
static bool find_plain(const char *path, bool *plain, gf_err *e) {
    int64_t n = 0;
    gf_err why = {0};
    char **columns = gf_rows_has_header(path) ? NULL : gf_rows_columns(path, &n, &why);
    *plain = columns && n == 0;
    gf_io_free_names(columns, n);
    return why.code != GF_E_NOMEM || gf_fail(e, why.code, "%s", why.text);
}

static bool read_rows(gf_care *c, int32_t file, const gf_task_field *field, const char **names,
                      gf_cell *cells, gf_err *e) {
    const gf_care_file *f = &c->file[file];
    int64_t n = c->recipe->n_tasks, before = c->split[f->split].rows;
    gf_rows *rows;
    bool plain;
    int got = -1;
    names[0] = f->text;
    for (int64_t t = 0; t < n; t++) names[t + 1] = field[t].field;
    if (!find_plain(f->path, &plain, e)) return false;
    rows = gf_rows_open(f->path, names, n + 1, e);
    if (rows && !plain) gf_rows_take_any_bytes(rows);
    while (rows && (got = gf_rows_next(rows, cells, e)) == 1)
        if (!take_row(c, file, rows, field, cells, e)) {
            got = -1;
            break;
        }
    if (got == 0 && c->split[f->split].rows == before) {
        gf_fail(e, GF_E_INVALID, "%s: it holds no rows", f->path);
        got = -1;
    }
    gf_rows_close(rows);
    return got == 0;
}

static bool read_file(gf_care *c, int32_t file, gf_err *e) {
    int64_t n = c->recipe->n_tasks;
    const char **names = gf_alloc_array(n + 1, sizeof *names, e);
    gf_cell *cells = names ? gf_alloc_array(n + 1, sizeof *cells, e) : NULL;
    gf_task_field *field = cells ? gf_alloc_array(n, sizeof *field, e) : NULL;
    bool ok = field != NULL;
    for (int64_t t = 0; ok && t < n; t++) {
        field[t] = c->field[t];
        if (!gf_care_file_has(c, &c->file[file], t)) field[t].field = NULL;
    }
    ok = ok && read_rows(c, file, field, names, cells, e);
    gf_free(field);
    gf_free(cells);
    gf_free(names);
    return ok;
}

/* ---- files ---- */

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void add_file(gf_care *c, const char *path, const char *text, int64_t task, int split) {
    bool own = task >= 0 && c->recipe->tasks[task].train;
    if (!path) return;
    c->file[c->files++] = (gf_care_file){path, name_of(path), text, task, split, own};
    c->split[split].named = true;
}

/* In the order in which training reads them. */
static bool list_files(gf_care *c, gf_err *e) {
    const gf_recipe *r = c->recipe;
    if (!(c->file = gf_alloc_array(3 * r->n_tasks + 3, sizeof *c->file, e))) return false;
    for (int split = 0; split < GF_SPLITS; split++)
        for (int64_t t = 0; t < r->n_tasks; t++) {
            gf_recipe_source s = gf_source_of(r, t);
            if (gf_source_is_first(r, t))
                add_file(c, split == 0 ? s.train : split == 1 ? s.dev : s.test, s.text, t, split);
        }
    if (r->n_tasks == 0) {
        add_file(c, r->train, r->text, -1, 0);
        add_file(c, r->dev, r->text, -1, 1);
    }
    if (gf_recipe_has_mlm(r))
        add_file(c, r->mlm_data, r->mlm_text ? r->mlm_text : r->text, -1, GF_MLM_TEXTS);
    for (int64_t i = 0; i < c->files; i++)
        for (int64_t k = 0; k < c->files; k++)
            if (k != i && strcmp(c->file[i].path, c->file[k].path) != 0 &&
                strcmp(name_of(c->file[i].path), name_of(c->file[k].path)) == 0)
                c->file[i].shown = c->file[i].path;
    return true;
}

bool gf_care_file_has(const gf_care *c, const gf_care_file *f, int64_t task) {
    return f->task >= 0 && gf_source_is_shared(c->recipe, f->task, task);
}

static bool start_tasks(gf_care *c, gf_err *e) {
    const gf_recipe *r = c->recipe;
    if (!(c->labels = gf_alloc_array(r->n_tasks, sizeof *c->labels, e)) ||
        !(c->field = gf_alloc_array(r->n_tasks, sizeof *c->field, e)))
        return false;
    for (int64_t t = 0; t < r->n_tasks; t++) {
        const gf_recipe_task *task = &r->tasks[t];
        c->field[t] = (gf_task_field){task->name, task->label, &c->labels[t],
                                      gf_source_label_kind(task->type), task->separator};
        for (int64_t k = 0; k < task->n_classes; k++)
            if (!gf_labels_add(&c->labels[t], task->classes[k], strlen(task->classes[k]), e))
                return false;
    }
    return true;
}

bool gf_care_read(gf_care *c, const gf_recipe *r, gf_err *e) {
    static const char *const names[GF_PARTS] = {"train", "dev", "test", "mlm"};
    bool ok;
    c->recipe = r;
    for (int i = 0; i < GF_PARTS; i++) c->split[i].name = names[i];
    ok = start_tasks(c, e) && list_files(c, e);
    for (int32_t i = 0; ok && i < c->files; i++) ok = read_file(c, i, e);
    return ok;
}

static void free_split(gf_split *s, int64_t n_tasks) {
    for (int64_t t = 0; s->label && t < n_tasks; t++) gf_free(s->label[t]);
    gf_free(s->label);
    gf_free(s->row);
}

void gf_care_free(gf_care *c) {
    int64_t n = c->recipe ? c->recipe->n_tasks : 0;
    for (int i = 0; i < GF_PARTS; i++) free_split(&c->split[i], n);
    for (int64_t t = 0; c->labels && t < n; t++) gf_labels_free(&c->labels[t]);
    gf_free(c->labels);
    gf_free(c->field);
    gf_free(c->file);
    gf_free(c->set);
    gf_text_free(&c->bytes);
    *c = (gf_care){0};
}

/* ---- data.split ---- */

/* What the split goes by: hashes and labels; `line` is the row. */
static bool make_whole(const gf_care *c, gf_dataset *d, gf_err *e) {
    const gf_split *s = &c->split[0];
    int64_t n = c->recipe->n_tasks;
    if (!(d->label = gf_alloc_array(n, sizeof *d->label, e)) ||
        !(d->target = gf_alloc_array(n, sizeof *d->target, e)) ||
        !(d->target_width = gf_alloc_array(n, sizeof *d->target_width, e)))
        return false;
    d->n_tasks = n;
    for (int64_t t = 0; t < n; t++) {
        if (!(d->label[t] = gf_alloc_array(s->rows, sizeof *d->label[t], e))) return false;
        for (int64_t i = 0; i < s->rows; i++)
            d->label[t][i] = s->label[t][i].class < 0 ? -1 : s->label[t][i].class;
    }
    if (!(d->source = gf_alloc_array(1, sizeof *d->source, e)) ||
        !(d->source->path = gf_strdup(c->file[0].path, e)))
        return false;
    d->n_sources = 1;
    d->source->rows = s->rows;
    if (!(d->start = gf_alloc_array(s->rows + 1, sizeof *d->start, e)) ||
        !(d->line = gf_alloc_array(s->rows, sizeof *d->line, e)) ||
        !(d->text_hash = gf_alloc_array(s->rows, sizeof *d->text_hash, e)) ||
        !(d->row_pieces = gf_alloc_array(s->rows, sizeof *d->row_pieces, e)) ||
        !(d->row_unknown = gf_alloc_array(s->rows, sizeof *d->row_unknown, e)))
        return false;
    for (d->rows = 0; d->rows < s->rows; d->rows++) {
        d->line[d->rows] = d->rows;
        d->text_hash[d->rows] = s->row[d->rows].hash;
    }
    return true;
}

static bool move_rows(const gf_care *c, const gf_split *from, const gf_dataset *d, gf_split *to,
                      gf_err *e) {
    for (int64_t i = 0; i < d->rows; i++) {
        if (!gf_care_grow(to, c->recipe->n_tasks, e)) return false;
        for (int64_t t = 0; t < c->recipe->n_tasks; t++)
            to->label[t][to->rows] = from->label[t][d->line[i]];
        to->row[to->rows++] = from->row[d->line[i]];
    }
    return true;
}

bool gf_care_divide(gf_care *c, gf_split_counts *counts, gf_err *e) {
    double dev = c->recipe->split_dev, test = c->recipe->split_test;
    gf_split whole = c->split[0];
    gf_dataset d = {0}, part[GF_SPLITS] = {{0}};
    bool ok;
    *counts = (gf_split_counts){0};
    if ((dev == 0 && test == 0) || !whole.named) return true;
    ok =
        make_whole(c, &d, e) && gf_dataset_split(&d, dev, test, &part[0], dev > 0 ? &part[1] : NULL,
                                                 test > 0 ? &part[2] : NULL, counts, e);
    if (!ok) gf_err_prefix(e, "%s: data.split", c->recipe->path);
    c->split[0] = (gf_split){.name = whole.name, .named = true, .share = 1 - dev - test};
    for (int i = 0; ok && i < GF_SPLITS; i++) {
        if (i > 0 && part[i].rows > 0) {
            c->split[i].named = true;
            c->split[i].share = i == 1 ? dev : test;
        }
        ok = move_rows(c, &whole, &part[i], &c->split[i], e);
        gf_dataset_free(&part[i]);
    }
    free_split(&whole, c->recipe->n_tasks);
    gf_dataset_free(&d);
    return ok;
}

/* ---- questions ---- */

bool gf_care_is_blank(const char *text, size_t size) {
    for (size_t at = 0; at < size;) {
        int32_t c = gf_unicode_decode(text, size, &at);
        if (c > ' ' &&
            !(gf_unicode_class(c) & (GF_UNICODE_SPACE | GF_UNICODE_PUNCT | GF_UNICODE_DROP)))
            return false;
    }
    return true;
}

bool gf_care_task_can_conflict(const gf_care *c, int64_t task) {
    return c->recipe->tasks[task].type != GF_TASK_REGRESSION;
}

static int by_hash(const void *a, const void *b) {
    const gf_care_key *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    if (x->split != y->split) return x->split < y->split ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

gf_care_key *gf_care_sort(const gf_care *c, bool folded, gf_err *e) {
    gf_care_key *keys = gf_alloc_array(c->rows, sizeof *keys, e);
    int64_t n = 0;
    for (int i = 0; keys && i < GF_SPLITS; i++)
        for (int64_t k = 0; k < c->split[i].rows; k++) {
            const gf_care_row *row = &c->split[i].row[k];
            keys[n++] = (gf_care_key){folded ? row->folded : row->hash, i, k};
        }
    if (keys) qsort(keys, (size_t)n, sizeof *keys, by_hash);
    return keys;
}

int64_t gf_care_group_end(const gf_care *c, const gf_care_key *keys, int64_t first) {
    int64_t end = first + 1;
    while (end < c->rows && keys[end].hash == keys[first].hash) end++;
    return end;
}

const gf_care_label *gf_care_label_of(const gf_care *c, const gf_care_key *key, int64_t task) {
    return &c->split[key->split].label[task][key->row];
}

static bool same_labels(const gf_care *c, const gf_care_key *a, const gf_care_key *b) {
    for (int64_t t = 0; t < c->recipe->n_tasks; t++) {
        const gf_care_label *x = gf_care_label_of(c, a, t), *y = gf_care_label_of(c, b, t);
        if (x->class == GF_LABEL_OTHER || (x->class >= 0) != (y->class >= 0)) return false;
        if (x->class >= 0 && x->same != y->same) return false;
    }
    return true;
}

int64_t gf_care_find_repeat(const gf_care *c, const gf_care_key *keys, int64_t first, int64_t i) {
    for (int64_t k = first; k < i; k++)
        if (same_labels(c, &keys[k], &keys[i])) return k;
    return -1;
}
