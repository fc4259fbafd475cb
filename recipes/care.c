#include "recipes/care.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/rows.h"
#include "data/unicode.h"

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

static void hash_row(gf_care_row *row, const char *text) {
    row->hash = hash_bytes(hash_start, text, row->size);
    row->folded = hash_folded(text, row->size);
}

/* ---- reading ---- */

const char *gf_care_text(const gf_split *s, int64_t row) {
    return s->bytes.data + s->row[row].text;
}

static bool grow_split(gf_split *s, int64_t n_tasks, gf_err *e) {
    int64_t wanted = s->capacity ? s->capacity * 2 : 256;
    void *p;
    if (s->rows < s->capacity) return true;
    if (!(p = gf_realloc_array(s->row, wanted, sizeof *s->row, e))) return false;
    s->row = p;
    for (int64_t t = 0; t < n_tasks; t++) {
        if (!(p = gf_realloc_array(s->label[t], wanted, sizeof *s->label[t], e))) return false;
        s->label[t] = p;
    }
    s->capacity = wanted;
    return true;
}

/* A label that is no string is for training to refuse, and cannot be written. Malformed UTF-8 in
 * one becomes U+FFFD here. */
static bool take_label(gf_care *c, gf_labels *l, const gf_cell *cell, int32_t *label, gf_err *e) {
    gf_text name = {0};
    bool ok;
    *label = cell->kind == GF_CELL_MISSING ? GF_LABEL_MISSING
             : cell->kind == GF_CELL_NULL  ? GF_LABEL_NULL
                                           : GF_LABEL_OTHER;
    if (cell->kind != GF_CELL_STRING) {
        c->odd_labels += *label == GF_LABEL_OTHER;
        return true;
    }
    ok = gf_text_add_valid(&name, cell->text, cell->size, e) &&
         gf_labels_add(l, name.data, name.length, e);
    if (ok) *label = gf_labels_find(l, name.data, name.length);
    gf_text_free(&name);
    return ok;
}

static bool take_row(gf_care *c, gf_split *s, const gf_rows *rows, const gf_cell *cells,
                     gf_err *e) {
    gf_care_row row = {.text = s->bytes.length,
                       .size = cells[0].size,
                       .line = gf_rows_line(rows),
                       .bad_byte = gf_rows_bad_byte(rows)};
    if (!grow_split(s, c->recipe->n_tasks, e) ||
        !gf_text_add_bytes(&s->bytes, cells[0].text, row.size, e))
        return false;
    for (int64_t t = 0; t < c->recipe->n_tasks; t++)
        if (!take_label(c, &c->labels[t], &cells[t + 1], &s->label[t][s->rows], e)) {
            gf_err_prefix(e, "%s:%lld", gf_rows_path(rows), (long long)row.line);
            return false;
        }
    hash_row(&row, s->bytes.data + row.text);
    s->row[s->rows++] = row;
    c->rows++;
    c->bad_rows += row.bad_byte >= 0;
    return true;
}

static bool read_split(gf_care *c, gf_split *s, gf_err *e) {
    int64_t n = c->recipe->n_tasks;
    const char **fields = gf_alloc_array(n + 1, sizeof *fields, e);
    gf_cell *cells = fields ? gf_alloc_array(n + 1, sizeof *cells, e) : NULL;
    gf_rows *rows = NULL;
    int got = -1;
    s->label = cells ? gf_alloc_array(n, sizeof *s->label, e) : NULL;
    if (s->label) {
        fields[0] = c->recipe->text;
        for (int64_t t = 0; t < n; t++) fields[t + 1] = c->recipe->tasks[t].label;
        rows = gf_rows_open(s->path, fields, n + 1, e);
    }
    if (rows) gf_rows_take_any_bytes(rows);
    while (rows && (got = gf_rows_next(rows, cells, e)) == 1)
        if (!take_row(c, s, rows, cells, e)) {
            got = -1;
            break;
        }
    gf_rows_close(rows);
    gf_free(cells);
    gf_free(fields);
    return got == 0;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void name_splits(gf_care *c) {
    static const char *const names[GF_SPLITS] = {"train", "dev", "test"};
    const char *paths[GF_SPLITS] = {c->recipe->train, c->recipe->dev, c->recipe->test};
    for (int i = 0; i < GF_SPLITS; i++) {
        gf_split *s = &c->split[i];
        s->name = names[i];
        s->path = paths[i];
        s->shown = s->path ? name_of(s->path) : NULL;
        for (int k = 0; s->path && k < GF_SPLITS; k++)
            if (k != i && paths[k] && strcmp(name_of(paths[k]), name_of(s->path)) == 0)
                s->shown = s->path;
    }
}

bool gf_care_read(gf_care *c, const gf_recipe *r, gf_err *e) {
    c->recipe = r;
    name_splits(c);
    if (!(c->labels = gf_alloc_array(r->n_tasks, sizeof *c->labels, e))) return false;
    for (int64_t t = 0; t < r->n_tasks; t++)
        for (int64_t k = 0; k < r->tasks[t].n_classes; k++) {
            const char *name = r->tasks[t].classes[k];
            if (!gf_labels_add(&c->labels[t], name, strlen(name), e)) return false;
        }
    for (int i = 0; i < GF_SPLITS; i++)
        if (c->split[i].path && !read_split(c, &c->split[i], e)) return false;
    return true;
}

void gf_care_free(gf_care *c) {
    int64_t n = c->recipe ? c->recipe->n_tasks : 0;
    for (int i = 0; i < GF_SPLITS; i++) {
        gf_split *s = &c->split[i];
        for (int64_t t = 0; s->label && t < n; t++) gf_free(s->label[t]);
        gf_free(s->label);
        gf_free(s->row);
        gf_text_free(&s->bytes);
    }
    for (int64_t t = 0; c->labels && t < n; t++) gf_labels_free(&c->labels[t]);
    gf_free(c->labels);
    *c = (gf_care){0};
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

/* ---- mending ---- */

bool gf_care_mend(gf_care *c, gf_cleaning *done, gf_err *e) {
    bool ok = true;
    for (int i = 0; ok && i < GF_SPLITS; i++) {
        gf_split *s = &c->split[i];
        for (int64_t k = 0; ok && k < s->rows; k++) {
            gf_care_row *row = &s->row[k];
            gf_text mended = {0};
            gf_damage d = gf_damage_of(gf_care_text(s, k), row->size);
            if (!gf_damage_is_mendable(&d)) continue;
            done->invalid += d.invalid > 0;
            done->doubled += d.doubled > 0;
            done->controls += d.controls > 0;
            ok = gf_text_mend(&mended, gf_care_text(s, k), row->size, e);
            row->text = s->bytes.length;
            row->size = mended.length;
            ok = ok && gf_text_add_bytes(&s->bytes, mended.data, mended.length, e);
            if (ok) hash_row(row, gf_care_text(s, k));
            gf_text_free(&mended);
        }
    }
    return ok;
}

/* ---- deciding ---- */

static void drop(gf_care *c, const gf_care_key *key, gf_drop why) {
    gf_drop *now = &c->split[key->split].row[key->row].drop;
    if (*now == GF_KEPT) *now = why;
}

static int32_t label_of(const gf_care *c, const gf_care_key *key, int64_t task) {
    return c->split[key->split].label[task][key->row];
}

static bool mark_near_empty(gf_care *c, const gf_tokenizer *t, gf_err *e) {
    gf_ids ids = {0};
    bool ok = true;
    for (int i = 0; i < GF_SPLITS; i++)
        for (int64_t k = 0; ok && k < c->split[i].rows; k++) {
            gf_care_row *row = &c->split[i].row[k];
            const char *text = gf_care_text(&c->split[i], k);
            gf_encoding encoding = {0};
            ids.count = 0;
            row->drop = GF_KEPT;
            ok = gf_tokenizer_encode(t, text, row->size, 3, &ids, &encoding, e);
            if (encoding.pieces < 2 || gf_care_is_blank(text, row->size))
                row->drop = GF_DROP_NEAR_EMPTY;
        }
    gf_free(ids.id);
    return ok;
}

/* Keys of one split and one text: where a task has two labels, rows with a label of it go. */
static void mark_conflicts(gf_care *c, const gf_care_key *keys, int64_t n, gf_drop why) {
    for (int64_t t = 0; t < c->recipe->n_tasks; t++) {
        int32_t first = GF_LABEL_MISSING;
        bool conflict = false;
        for (int64_t i = 0; i < n; i++) {
            int32_t label = label_of(c, &keys[i], t);
            if (label < 0) continue;
            conflict |= first >= 0 && label != first;
            first = label;
        }
        for (int64_t i = 0; conflict && gf_care_task_can_conflict(c, t) && i < n; i++)
            if (label_of(c, &keys[i], t) >= 0) drop(c, &keys[i], why);
    }
}

static bool same_labels(const gf_care *c, const gf_care_key *a, const gf_care_key *b) {
    for (int64_t t = 0; t < c->recipe->n_tasks; t++) {
        int32_t x = label_of(c, a, t), y = label_of(c, b, t);
        if (x == GF_LABEL_OTHER || (x != y && (x >= 0 || y >= 0))) return false;
    }
    return true;
}

int64_t gf_care_find_repeat(const gf_care *c, const gf_care_key *keys, int64_t first, int64_t i) {
    for (int64_t k = first; k < i; k++)
        if (same_labels(c, &keys[k], &keys[i])) return k;
    return -1;
}

/* The rows of an equal text, in the order of splits. */
static void mark_group(gf_care *c, const gf_care_key *keys, int64_t n, bool folded) {
    for (int64_t first = 0, end; first < n; first = end) {
        end = first + 1;
        while (end < n && keys[end].split == keys[first].split) end++;
        mark_conflicts(c, keys + first, end - first,
                       folded ? GF_DROP_NEAR_CONFLICT : GF_DROP_CONFLICT);
        for (int64_t i = first; !folded && i < end; i++) {
            if (end < n) drop(c, &keys[i], GF_DROP_SHARED);
            if (gf_care_find_repeat(c, keys, first, i) >= 0) drop(c, &keys[i], GF_DROP_REPEAT);
        }
    }
}

static bool mark_equal(gf_care *c, bool folded, gf_err *e) {
    gf_care_key *keys = gf_care_sort(c, folded, e);
    for (int64_t first = 0, end; keys && first < c->rows; first = end) {
        end = gf_care_group_end(c, keys, first);
        mark_group(c, keys + first, end - first, folded);
    }
    gf_free(keys);
    return keys != NULL;
}

bool gf_care_mark(gf_care *c, const gf_tokenizer *t, gf_cleaning *done, gf_err *e) {
    if (!mark_near_empty(c, t, e) || !mark_equal(c, false, e) || !mark_equal(c, true, e))
        return false;
    for (int i = 0; i < GF_SPLITS; i++)
        for (int64_t k = 0; k < c->split[i].rows; k++) done->dropped[i][c->split[i].row[k].drop]++;
    return true;
}

/* ---- writing ---- */

static bool add_string(gf_text *out, const char *prefix, const char *text, gf_err *e) {
    char *quoted = gf_json_quote(prefix, text, e);
    bool ok = quoted && gf_text_add_bytes(out, quoted, strlen(quoted), e);
    gf_free(quoted);
    return ok;
}

/* value NULL: null. */
static bool add_member(gf_text *out, const char *prefix, const char *key, const char *value,
                       gf_err *e) {
    return add_string(out, prefix, key, e) &&
           (value ? add_string(out, ": ", value, e) : gf_text_add(out, e, ": null"));
}

static bool add_row(const gf_care *c, const gf_split *s, int64_t row, gf_text *out, gf_err *e) {
    char *text = gf_strndup(gf_care_text(s, row), s->row[row].size, e);
    bool ok = text && add_member(out, "{", c->recipe->text, text, e);
    for (int64_t t = 0; ok && t < c->recipe->n_tasks; t++) {
        int32_t label = s->label[t][row];
        if (label != GF_LABEL_MISSING)
            ok = add_member(out, ", ", c->recipe->tasks[t].label,
                            label < 0 ? NULL : c->labels[t].names[label], e);
    }
    gf_free(text);
    return ok && gf_text_add_bytes(out, "}\n", 2, e);
}

static bool write_split(const gf_care *c, const gf_split *s, const char *path, gf_err *e) {
    gf_text out = {0};
    bool ok = true;
    for (int64_t k = 0; ok && k < s->rows; k++)
        if (s->row[k].drop == GF_KEPT) ok = add_row(c, s, k, &out, e);
    ok = ok && gf_io_replace_file(path, out.data, out.length, e);
    gf_text_free(&out);
    return ok;
}

/* FOLDER/train.jsonl ..., checked before anything is written. */
static bool check_target(const gf_split *s, const char *path, bool force, gf_err *e) {
    int64_t kept = 0;
    for (int64_t k = 0; k < s->rows; k++) kept += s->row[k].drop == GF_KEPT;
    if (kept == 0)
        return gf_fail(e, GF_E_INVALID, "%s: cleaning would leave no row of %s; check the file",
                       s->path, s->name);
    if (!force && gf_io_exists(path))
        return gf_fail(e, GF_E_IO, "%s: it is there already; name another folder, or use --force",
                       path);
    return true;
}

bool gf_care_write(const gf_care *c, const char *folder, bool force, gf_err *e) {
    char *paths[GF_SPLITS] = {0};
    bool ok = c->odd_labels == 0 ||
              gf_fail(e, GF_E_INVALID,
                      "%s: %lld labels of the recipe's files are no strings, and cleaning would "
                      "lose them; see graft check",
                      c->recipe->path, (long long)c->odd_labels);
    for (int i = 0; ok && i < GF_SPLITS; i++) {
        const gf_split *s = &c->split[i];
        char *name = s->path ? gf_format(e, "%s.jsonl", s->name) : NULL;
        if (!s->path) continue;
        ok =
            name && (paths[i] = gf_io_join(folder, name, e)) && check_target(s, paths[i], force, e);
        gf_free(name);
    }
    ok = ok && gf_io_make_folder(folder, e);
    for (int i = 0; ok && i < GF_SPLITS; i++)
        if (paths[i]) ok = write_split(c, &c->split[i], paths[i], e);
    for (int i = 0; i < GF_SPLITS; i++) gf_free(paths[i]);
    return ok;
}
