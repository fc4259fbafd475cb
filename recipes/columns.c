#include "recipes/columns.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/lines.h"
#include "data/rows.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { KEY_ROWS = 1000, MOST_COLUMNS = 256 };

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

static bool is_number(const char *text, size_t size) {
    char copy[64], *end;
    if (size == 0 || size >= sizeof copy || !strchr("+-.0123456789", text[0])) return false;
    memcpy(copy, text, size);
    copy[size] = 0;
    strtod(copy, &end);
    return *end == 0 && end == copy + size;
}

static bool add_string(gf_column *c, const char *text, size_t size, gf_err *e) {
    size_t chars = 0;
    if (!gf_grow(&c->hash, c->strings, &c->capacity, sizeof *c->hash, e)) return false;
    c->hash[c->strings++] = hash_string(text, size);
    for (size_t i = 0; i < size; i++) chars += ((unsigned char)text[i] & 0xC0) != 0x80;
    c->chars += (double)chars;
    c->spaced += memchr(text, ' ', size) != NULL;
    c->numeric += is_number(text, size);
    c->whole += strspn(text, "0123456789") >= size;
    return true;
}

/* typed: the format tells an absent cell from an empty one. */
static bool add_row(gf_columns *c, const gf_cell *cells, bool typed, gf_err *e) {
    bool ok = true;
    c->rows++;
    for (int64_t i = 0; ok && i < c->count; i++) {
        const gf_cell *cell = &cells[i + 1];
        gf_column *column = &c->list[i];
        if (cell->kind == GF_CELL_NUMBER)
            column->numbers++;
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

/* Two numbers in a file without types are classes. Whole ones, another in each row, number rows. */
static gf_column_role role_of_numbers(const gf_column *c) {
    if (is_named_id(c->name)) return GF_COLUMN_IDS;
    if (c->numbers > 0) return GF_COLUMN_NUMBER;
    if (c->distinct == c->strings && c->whole == c->strings && c->strings > 2) return GF_COLUMN_IDS;
    return c->distinct == 2 ? GF_COLUMN_LABEL : GF_COLUMN_NUMBER;
}

static void finish(gf_column *c) {
    if (c->strings) qsort(c->hash, (size_t)c->strings, sizeof *c->hash, by_value);
    for (int64_t i = 0; i < c->strings; i++) c->distinct += i == 0 || c->hash[i] != c->hash[i - 1];
    c->mean_chars = c->strings ? c->chars / (double)c->strings : 0;
    gf_free(c->hash);
    c->hash = NULL;
    if (c->others || c->strings + c->numbers == 0)
        c->role = GF_COLUMN_OTHER;
    else if (c->numeric == c->strings)
        c->role = role_of_numbers(c);
    else if (c->numbers)
        c->role = GF_COLUMN_OTHER;
    else if (c->distinct == 1)
        c->role = GF_COLUMN_CONSTANT;
    else if (c->distinct == c->strings)
        c->role = GF_COLUMN_IDS;
    else if (c->distinct > GF_MOST_CLASSES)
        c->role = GF_COLUMN_TOO_MANY;
    else
        c->role = c->distinct * 2 <= c->strings ? GF_COLUMN_LABEL : GF_COLUMN_OTHER;
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
        gf_free(c->list[i].hash);
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
