#include "data/rows_format.h"

#include "core/io.h"
#include "core/mem.h"
#include "core/text.h"

#include <string.h>
#include <strings.h>
#include <utf8proc.h>

static const struct {
    const char *ending;
    const gf_rows_format *format;
} endings[] = {
    {".jsonl", &gf_rows_jsonl}, {".ndjson", &gf_rows_jsonl}, {".csv", &gf_rows_csv},
    {".tsv", &gf_rows_tsv},     {".h5", &gf_rows_hdf5},      {".hdf5", &gf_rows_hdf5},
};

static bool ends_with(const char *path, const char *ending) {
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcasecmp(path + n - m, ending) == 0;
}

static const gf_rows_format *format_of(const char *path) {
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_with(path, endings[i].ending)) return endings[i].format;
    return &gf_rows_text;
}

/* The offset of the first byte that is not part of valid UTF-8; `size` if there is none. */
static size_t find_invalid(const char *text, size_t size) {
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
    utf8proc_int32_t c;
    size_t i = 0;
    while (i < size) {
        utf8proc_ssize_t n =
            p[i] < 0x80 ? 1 : utf8proc_iterate(p + i, (utf8proc_ssize_t)(size - i), &c);
        if (n < 1) break;
        i += (size_t)n;
    }
    return i;
}

bool gf_rows_add_column(gf_rows *r, const char *name, size_t size, gf_err *e) {
    if (r->n_columns >= GF_ROWS_MOST_COLUMNS)
        return gf_fail(e, GF_E_INVALID, "%s: it has more than %d columns; keep those needed",
                       r->place, GF_ROWS_MOST_COLUMNS);
    if (find_invalid(name, size) < size)
        return gf_fail(e, GF_E_INVALID,
                       "%s: a column's name is invalid UTF-8; save the file as UTF-8", r->place);
    if (!gf_grow(&r->column, r->n_columns, &r->column_capacity, sizeof *r->column, e) ||
        !(r->column[r->n_columns] = gf_strndup(name, size, e)))
        return false;
    r->n_columns++;
    return true;
}

gf_cell gf_cell_other(gf_cell_kind kind, const char *words) {
    return (gf_cell){.kind = kind, .text = words};
}

gf_cell gf_cell_string(int64_t field, const char *text, size_t size) {
    if (size == 0 && field != 0) return gf_cell_other(GF_CELL_MISSING, "missing");
    return (gf_cell){.kind = GF_CELL_STRING, .text = text, .size = size};
}

static bool fail_no_column(const gf_rows *r, const char *name, gf_err *e) {
    const char *near = gf_text_nearest(name, (const char *const *)r->column, r->n_columns);
    gf_text list = {0};
    bool ok = gf_text_add(&list, e, "the columns are");
    for (int64_t i = 0; ok && i < r->n_columns && list.length < 300; i++)
        ok = gf_text_add(&list, e, "%s \"%s\"", i ? "," : "", r->column[i]);
    if (ok && near)
        gf_fail(e, GF_E_INVALID, "%s: there is no column \"%s\"; did you mean \"%s\"? (%s)",
                r->place, name, near, list.data);
    else if (ok)
        gf_fail(e, GF_E_INVALID, "%s: there is no column \"%s\"; %s", r->place, name, list.data);
    gf_text_free(&list);
    return false;
}

static bool bind_columns(gf_rows *r, gf_err *e) {
    for (int64_t i = 0; i < r->n_fields; i++) {
        const char *name = r->field[i];
        r->source[i] = -1;
        for (int64_t k = 0; name && k < r->n_columns; k++) {
            if (strcmp(name, r->column[k]) != 0) continue;
            if (r->source[i] >= 0)
                return gf_fail(e, GF_E_INVALID,
                               "%s: the column \"%s\" stands twice in the header; rename one",
                               r->place, name);
            r->source[i] = k;
        }
        if (name && r->source[i] < 0) return fail_no_column(r, name, e);
    }
    return true;
}

static bool copy_fields(gf_rows *r, const char *const *fields, int64_t n, gf_err *e) {
    if (!(r->field = gf_alloc_array(n, sizeof *r->field, e)) ||
        !(r->source = gf_alloc_array(n, sizeof *r->source, e)))
        return false;
    for (r->n_fields = 0; r->n_fields < n; r->n_fields++) {
        const char *name = fields[r->n_fields];
        if (name && !(r->field[r->n_fields] = gf_strdup(name, e))) return false;
    }
    return true;
}

gf_rows *gf_rows_make(const gf_rows_format *format, const char *path, const char *place,
                      const char *const *fields, int64_t n_fields, gf_err *e) {
    gf_rows *r = gf_alloc_array(1, sizeof *r, e);
    if (!r) return NULL;
    r->format = format;
    if ((r->path = gf_strdup(path, e)) && (r->place = gf_strdup(place, e)) &&
        copy_fields(r, fields, n_fields, e))
        return r;
    gf_rows_close(r);
    return NULL;
}

bool gf_rows_start(gf_rows *r, gf_err *e) {
    const gf_rows_format *f = r->format;
    return f->open(r, e) && (!f->has_header || (f->columns(r, e) && bind_columns(r, e))) &&
           (!f->start || f->start(r, e));
}

gf_rows *gf_rows_open(const char *path, const char *const *fields, int64_t n_fields, gf_err *e) {
    const char *place = strcmp(path, "-") == 0 ? "standard input" : path;
    gf_rows *r = NULL;
    if (ends_with(path, ".json"))
        gf_fail(e, GF_E_MODEL,
                "%s: .json is no data format; write one object a line and name the file .jsonl",
                path);
    else
        r = gf_rows_make(format_of(path), path, place, fields, n_fields, e);
    if (r && gf_rows_start(r, e)) return r;
    gf_rows_close(r);
    return NULL;
}

void gf_rows_close(gf_rows *r) {
    if (!r) return;
    if (r->state) r->format->close(r);
    gf_free(r->state);
    gf_io_free_names(r->field, r->n_fields);
    gf_io_free_names(r->column, r->n_columns);
    gf_free(r->source);
    gf_free(r->path);
    gf_free(r->place);
    gf_free(r);
}

int64_t gf_rows_line(const gf_rows *r) { return r->line; }
const char *gf_rows_path(const gf_rows *r) { return r->place; }

static bool fail_no_text(const gf_rows *r, const gf_cell *cell, gf_err *e) {
    char *near = NULL;
    if (cell->kind != GF_CELL_MISSING)
        return gf_fail(e, GF_E_INVALID, "%s:%lld: field \"%s\" is %s; texts are strings", r->place,
                       (long long)r->line, r->field[0], cell->text);
    if ((near = gf_rows_nearest_column(r->path, r->field[0])) && strcmp(near, r->field[0]) != 0)
        gf_fail(e, GF_E_INVALID, "%s:%lld: field \"%s\" is missing; did you mean \"%s\"?", r->place,
                (long long)r->line, r->field[0], near);
    else
        gf_fail(e, GF_E_INVALID, "%s:%lld: field \"%s\" is missing; every row needs a text",
                r->place, (long long)r->line, r->field[0]);
    gf_free(near);
    return false;
}

static bool check_utf8(const gf_rows *r, int64_t field, const char *text, size_t size, gf_err *e) {
    size_t bad = find_invalid(text, size);
    return bad == size ||
           gf_fail(e, GF_E_INVALID,
                   "%s:%lld: invalid UTF-8 at byte %zu of field \"%s\"; save the file as UTF-8",
                   r->place, (long long)r->line, bad + 1, r->field[field]);
}

static bool check_cells(const gf_rows *r, const gf_cell *cells, gf_err *e) {
    bool ok = true;
    if (r->n_fields > 0 && r->field[0] && cells[0].kind != GF_CELL_STRING)
        return fail_no_text(r, cells, e);
    for (int64_t i = 0; ok && !r->format->any_bytes && !r->any_bytes && i < r->n_fields; i++) {
        const gf_cell *c = &cells[i];
        if (c->kind == GF_CELL_STRING) ok = check_utf8(r, i, c->text, c->size, e);
        for (int64_t k = 0; ok && c->kind == GF_CELL_LIST && k < c->n_items; k++)
            ok = check_utf8(r, i, c->items[k], c->sizes[k], e);
    }
    return ok;
}

/* ---- malformed UTF-8 that is wanted to pass ---- */

void gf_rows_take_any_bytes(gf_rows *r) { r->any_bytes = true; }
int64_t gf_rows_bad_byte(const gf_rows *r) { return r->bad_byte; }

void gf_rows_watch_line(gf_rows *r, const char *line, size_t size, int64_t offset) {
    size_t bad = r->any_bytes && r->bad_byte < 0 ? find_invalid(line, size) : size;
    if (bad < size) r->bad_byte = offset + (int64_t)bad;
}

/* Formats made of lines have watched them; what they saw counts if it is in a wanted field. */
static void find_bad_byte(gf_rows *r, const gf_cell *cells) {
    int64_t seen = r->bad_byte;
    r->bad_byte = -1;
    for (int64_t i = 0; r->bad_byte < 0 && i < r->n_fields; i++) {
        size_t size = cells[i].kind == GF_CELL_STRING ? cells[i].size : 0;
        size_t bad = find_invalid(cells[i].text, size);
        if (bad < size) r->bad_byte = seen >= 0 ? seen : (int64_t)bad;
    }
}

int gf_rows_next(gf_rows *r, gf_cell *cells, gf_err *e) {
    int got;
    r->bad_byte = -1;
    got = r->format->next(r, cells, e);
    if (got == 1 && r->any_bytes) find_bad_byte(r, cells);
    return got == 1 && !check_cells(r, cells, e) ? -1 : got;
}

char **gf_rows_columns(const char *path, int64_t *count, gf_err *e) {
    char **columns = NULL;
    gf_rows *r = gf_rows_open(path, NULL, 0, e);
    bool ok = r && (r->format->has_header || !r->format->columns || r->format->columns(r, e));
    if (ok && (r->column || (r->column = gf_alloc_array(0, sizeof *r->column, e)))) {
        *count = r->n_columns;
        columns = r->column, r->column = NULL; /* the caller owns them now */
    }
    gf_rows_close(r);
    return columns;
}

bool gf_rows_has_header(const char *path) { return format_of(path)->has_header; }

char *gf_rows_nearest_column(const char *path, const char *name) {
    int64_t count = 0;
    char **columns = gf_rows_columns(path, &count, NULL);
    const char *near = gf_text_nearest(name, (const char *const *)columns, count);
    char *copy = near ? gf_strdup(near, NULL) : NULL;
    gf_io_free_names(columns, count);
    return copy;
}
