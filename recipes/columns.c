#include "recipes/columns.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/labels.h"
#include "data/lines.h"
#include "data/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    KEY_ROWS = 1000,
    MOST_COLUMNS = 256,
    LONGEST_SET = 200,
    MOST_GRADES = 12,
    LARGEST_VALUE = 20
};

const char *const gf_column_separators[GF_SEPARATORS] = {"|", ";", ","};

/* ---- names ---- */

int64_t gf_columns_find(const gf_columns *c, const char *name) {
    for (int64_t i = 0; i < c->count; i++)
        if (strcmp(c->list[i].name, name) == 0) return i;
    return -1;
}

static bool add_column(gf_columns *c, const char *name, gf_err *e) {
    if (c->count == MOST_COLUMNS || gf_columns_find(c, name) >= 0) return true;
    if (!(c->list[c->count].name = gf_strdup(name, e))) return false;
    c->count++;
    return true;
}

/* Keys that the first row lacks, as a label may be missing there. A row that cannot be read is left
 * to the pass over all rows. */
static bool add_keys(gf_columns *c, const char *path, gf_err *e) {
    gf_lines l = {0};
    const char *line;
    size_t size;
    bool ok = gf_lines_open(&l, path, path, e);
    for (int i = 0; ok && i < KEY_ROWS && gf_lines_next(&l, &line, &size, NULL) == 1; i++) {
        cJSON *row = gf_json_parse(line, gf_lines_trim(line, size), path, 1, GF_E_INVALID, NULL);
        const cJSON *value;
        cJSON_ArrayForEach(value, row) if (ok && value->string) ok =
            add_column(c, value->string, e);
        cJSON_Delete(row);
    }
    gf_lines_close(&l);
    return ok;
}

static bool name_columns(gf_columns *c, const char *path, gf_err *e) {
    int64_t n = 0;
    char **names = gf_rows_columns(path, &n, e);
    bool ok = names && (c->list = gf_alloc_array(MOST_COLUMNS, sizeof *c->list, e));
    if (ok && n == 0)
        ok = gf_fail(e, GF_E_INVALID,
                     "%s: it has no columns; give JSON Lines, CSV, TSV or HDF5 with a text and "
                     "labels",
                     path);
    for (int64_t i = 0; ok && i < n; i++) ok = add_column(c, names[i], e);
    if (ok && !gf_rows_has_header(path)) ok = add_keys(c, path, e);
    gf_io_free_names(names, n);
    return ok;
}

/* ---- cells ---- */

static uint64_t hash_string(const char *text, size_t size) { /* FNV-1a, 64 bits */
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h;
}

static bool add_part(gf_column_parts *p, const char *text, size_t size, gf_err *e) {
    double value;
    for (; size > 0 && (unsigned char)text[size - 1] <= ' ';) size--;
    for (; size > 0 && (unsigned char)*text <= ' '; text++) size--;
    p->empty += size == 0;
    p->numeric += gf_labels_value(text, size, &value);
    if (!gf_grow(&p->hash, p->count, &p->capacity, sizeof *p->hash, e)) return false;
    p->hash[p->count++] = hash_string(text, size);
    return true;
}

static bool add_parts(gf_column_parts *p, char separator, const char *text, size_t size,
                      gf_err *e) {
    bool ok = true;
    if (size == 1 && *text == separator) { /* the empty set */
        p->alone++;
        return true;
    }
    p->rows += memchr(text, separator, size) != NULL;
    for (size_t from = 0, to; ok && from <= size; from = to + 1) {
        for (to = from; to < size && text[to] != separator;) to++;
        ok = add_part(p, text + from, to - from, e);
    }
    return ok;
}

static bool add_hash(gf_column *c, uint64_t hash, gf_err *e) {
    if (!gf_grow(&c->hash, c->hashes, &c->capacity, sizeof *c->hash, e)) return false;
    c->hash[c->hashes++] = hash;
    return true;
}

static void see_number(gf_column *c, double x) {
    bool first = c->numbers + c->numeric == 0;
    c->least = first || x < c->least ? x : c->least;
    c->most = first || x > c->most ? x : c->most;
    c->fractions += floor(x) != x;
}

static bool add_string(gf_column *c, const char *text, size_t size, gf_err *e) {
    size_t chars = 0;
    double value;
    bool ok = add_hash(c, hash_string(text, size), e);
    for (size_t i = 0; i < size; i++) chars += ((unsigned char)text[i] & 0xC0) != 0x80;
    c->chars += (double)chars;
    c->spaced += memchr(text, ' ', size) != NULL;
    if (gf_labels_value(text, size, &value)) {
        see_number(c, value);
        c->numeric++;
    }
    c->has_long |= size > LONGEST_SET;
    for (int i = 0; ok && !c->has_long && i < GF_SEPARATORS; i++)
        ok = add_parts(&c->parts[i], gf_column_separators[i][0], text, size, e);
    c->strings++;
    return ok;
}

static bool add_number(gf_column *c, double x, gf_err *e) {
    see_number(c, x);
    c->numbers++;
    return add_hash(c, hash_string((const char *)&x, sizeof x), e);
}

static bool add_list(gf_column *c, const gf_cell *cell, gf_err *e) {
    bool ok = true;
    c->lists++;
    c->items.rows++;
    for (int64_t i = 0; ok && i < cell->n_items; i++)
        ok = add_part(&c->items, cell->items[i], cell->sizes[i], e);
    return ok;
}

/* typed: the format tells an absent cell from an empty one. */
static bool add_row(gf_columns *c, const gf_cell *cells, bool typed, gf_err *e) {
    bool ok = true;
    c->rows++;
    for (int64_t i = 0; ok && i < c->count; i++) {
        const gf_cell *cell = &cells[i + 1];
        gf_column *column = &c->list[i];
        if (cell->kind == GF_CELL_NUMBER)
            ok = add_number(column, cell->number, e);
        else if (cell->kind == GF_CELL_LIST)
            ok = add_list(column, cell, e);
        else if (cell->kind == GF_CELL_OTHER)
            column->others++;
        else if (cell->kind == GF_CELL_STRING && cell->size > 0)
            ok = add_string(column, cell->text, cell->size, e);
        else {
            column->missing++;
            column->absent += typed && cell->kind != GF_CELL_STRING;
        }
    }
    return ok;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* "id", "row_id", "itemId" and the like. */
static bool is_named_id(const char *name) {
    size_t n = strlen(name);
    return strcasecmp(name, "id") == 0 || strcasecmp(name, "index") == 0 ||
           (n > 3 && (strcmp(name + n - 3, "_id") == 0 || strcmp(name + n - 2, "Id") == 0 ||
                      strcmp(name + n - 2, "ID") == 0));
}

bool gf_column_is_graded(const gf_column *c) {
    int64_t n = c->strings + c->numbers;
    return n > 0 && c->numeric == c->strings && c->fractions == 0 && c->distinct >= 2 &&
           c->distinct <= MOST_GRADES && n >= 5 * c->distinct;
}

/* Two numbers in a file without types are classes. Whole ones, another in each row, number rows. */
static gf_column_role role_of_numbers(const gf_column *c) {
    int64_t n = c->strings + c->numbers;
    double span = c->most - c->least;
    if (is_named_id(c->name)) return GF_COLUMN_IDS;
    if (c->distinct == 1 && n > 1) return GF_COLUMN_CONSTANT;
    if (c->distinct == n && c->fractions == 0 && n > 2) return GF_COLUMN_IDS;
    if (c->distinct == 2 && c->numbers == 0) return GF_COLUMN_LABEL;
    if (gf_column_is_graded(c) && span < 2 * (double)c->distinct && c->least >= -10 &&
        c->least <= 1)
        return GF_COLUMN_GRADES;
    if (c->fractions > 0 && c->distinct > MOST_GRADES && c->least >= -LARGEST_VALUE &&
        c->most <= LARGEST_VALUE)
        return GF_COLUMN_VALUES;
    return GF_COLUMN_NUMBER;
}

static gf_column_role role_of_strings(const gf_column *c) {
    if (c->distinct == 1) return GF_COLUMN_CONSTANT;
    if (c->distinct == c->strings) return GF_COLUMN_IDS;
    if (c->distinct > GF_MOST_CLASSES) return GF_COLUMN_TOO_MANY;
    return c->distinct * 2 <= c->strings ? GF_COLUMN_LABEL : GF_COLUMN_OTHER;
}

/* Few parts that come again and again. */
static bool are_labels(const gf_column_parts *p) {
    return p->empty == 0 && p->distinct >= 2 && p->distinct <= GF_MOST_CLASSES &&
           p->count >= 3 * p->distinct;
}

/* Strings with a common separator: sets where parts combine freely, so that there are fewer of them
 * than strings, or where the separator stands alone; else it may be a part of the classes' names. */
static gf_column_role role_of_parts(gf_column *c, gf_column_role otherwise) {
    for (int i = 0; !c->has_long && i < GF_SEPARATORS; i++) {
        const gf_column_parts *p = &c->parts[i];
        if (p->rows * 10 < c->strings || !are_labels(p) || p->numeric == p->count) continue;
        c->separator = gf_column_separators[i];
        if (p->distinct < c->distinct || p->alone) return GF_COLUMN_SETS;
        return otherwise;
    }
    return otherwise;
}

static int64_t count_distinct(uint64_t *hash, int64_t n) {
    int64_t distinct = 0;
    if (n > 0) qsort(hash, (size_t)n, sizeof *hash, by_value);
    for (int64_t i = 0; i < n; i++) distinct += i == 0 || hash[i] != hash[i - 1];
    return distinct;
}

static void drop_hashes(gf_column *c) {
    gf_free(c->hash);
    gf_free(c->items.hash);
    c->hash = c->items.hash = NULL;
    for (int i = 0; i < GF_SEPARATORS; i++) {
        gf_free(c->parts[i].hash);
        c->parts[i].hash = NULL;
    }
}

static void finish(gf_column *c) {
    c->distinct = count_distinct(c->hash, c->hashes);
    c->items.distinct = count_distinct(c->items.hash, c->items.count);
    for (int i = 0; i < GF_SEPARATORS; i++)
        c->parts[i].distinct = count_distinct(c->parts[i].hash, c->parts[i].count);
    c->mean_chars = c->strings ? c->chars / (double)c->strings : 0;
    drop_hashes(c);
    c->role = GF_COLUMN_OTHER;
    if (c->others || c->strings + c->numbers + c->lists == 0) return;
    if (c->lists)
        c->role = c->strings + c->numbers               ? GF_COLUMN_OTHER
                  : are_labels(&c->items)               ? GF_COLUMN_SETS
                  : c->items.distinct > GF_MOST_CLASSES ? GF_COLUMN_TOO_MANY
                                                        : GF_COLUMN_OTHER;
    else if (c->numeric == c->strings)
        c->role = role_of_numbers(c);
    else if (c->numbers == 0)
        c->role = role_of_parts(c, role_of_strings(c));
}

bool gf_columns_read(gf_columns *c, const char *path, gf_err *e) {
    const char **fields = NULL;
    gf_cell *cells = NULL;
    gf_rows *rows = NULL;
    int got = -1;
    if (!name_columns(c, path, e)) return false;
    fields = gf_alloc_array(c->count + 1, sizeof *fields, e);
    cells = fields ? gf_alloc_array(c->count + 1, sizeof *cells, e) : NULL;
    for (int64_t i = 0; cells && i < c->count; i++) fields[i + 1] = c->list[i].name;
    rows = cells ? gf_rows_open(path, fields, c->count + 1, e) : NULL;
    if (rows) gf_rows_take_any_bytes(rows);
    while (rows && (got = gf_rows_next(rows, cells, e)) == 1)
        if (!add_row(c, cells, !gf_rows_has_header(path), e)) {
            got = -1;
            break;
        }
    gf_rows_close(rows);
    gf_free(cells);
    gf_free(fields);
    for (int64_t i = 0; got == 0 && i < c->count; i++) finish(&c->list[i]);
    if (got == 0 && c->rows == 0) return gf_fail(e, GF_E_INVALID, "%s: it holds no rows", path);
    return got == 0;
}

void gf_columns_free(gf_columns *c) {
    for (int64_t i = 0; i < c->count; i++) {
        gf_free(c->list[i].name);
        drop_hashes(&c->list[i]);
    }
    gf_free(c->list);
    *c = (gf_columns){0};
}

/* ---- the text ---- */

static double score(const gf_columns *c, const gf_column *x) {
    double various, words;
    if (x->absent || x->strings * 5 < c->rows * 4 || x->numeric * 2 > x->strings) return 0;
    various = (double)x->distinct / (double)x->strings;
    words = x->spaced * 5 > x->strings ? 10 : 1;
    return x->mean_chars * various * words * (strcmp(x->name, "text") == 0 ? 4 : 1);
}

/* A column of classes ("apparel") is no text, however much it is the longest. */
static bool is_various(const gf_column *x) {
    return x->distinct * 2 > x->strings || (x->spaced * 5 > x->strings && x->mean_chars >= 20);
}

int64_t gf_columns_find_text(const gf_columns *c) {
    int64_t best = -1;
    for (int64_t i = 0; i < c->count; i++) {
        const gf_column *x = &c->list[i];
        if (score(c, x) <= 0 || !(is_various(x) || strcmp(x->name, "text") == 0)) continue;
        if (x->role == GF_COLUMN_IDS && x->spaced == 0 && is_named_id(x->name)) continue;
        if (best < 0 || score(c, x) > score(c, &c->list[best])) best = i;
    }
    return best;
}
