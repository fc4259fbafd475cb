/* Rows from JSON Lines: one object a line (jsonlines.org). */
#include "data/rows_format.h"

#include "core/json.h"
#include "core/mem.h"
#include "data/lines.h"

#include <string.h>

typedef struct jsonl {
    gf_lines lines;
    cJSON *row;         /* the cells point into it */
    const char **items; /* [used] strings of the row's lists, one list behind the other */
    size_t *sizes;      /* [used] */
    int64_t used, capacity;
} jsonl;

static bool open_jsonl(gf_rows *r, gf_err *e) {
    jsonl *j = r->state = gf_alloc_array(1, sizeof *j, e);
    return j && gf_lines_open(&j->lines, r->path, r->place, e);
}

static void close_jsonl(gf_rows *r) {
    jsonl *j = r->state;
    cJSON_Delete(j->row);
    gf_free(j->items);
    gf_free(j->sizes);
    gf_lines_close(&j->lines);
}

static bool is_blank(const char *line, size_t size) {
    while (size > 0 && strchr(" \t\r\n", line[size - 1]) && line[size - 1] != 0) size--;
    return size == 0;
}

static bool parse_row(gf_rows *r, const char *line, size_t size, gf_err *e) {
    jsonl *j = r->state;
    const char *zero = memchr(line, 0, size);
    if (zero) /* cJSON takes it for a space, or for a string's end */
        return gf_fail(e, GF_E_INVALID, "%s:%lld:%lld: a 0 byte is not valid JSON; remove it",
                       r->place, (long long)r->line, (long long)(zero - line) + 1);
    if (!(j->row = gf_json_parse(line, size, r->place, r->line, GF_E_INVALID, e))) return false;
    if (cJSON_IsObject(j->row)) return true;
    return gf_fail(e, GF_E_INVALID,
                   "%s:%lld:1: the line is %s; a row is one object, {\"text\": \"...\"}", r->place,
                   (long long)r->line, gf_json_kind(j->row));
}

/* 1 with j->row set, 0 at the end, -1 on failure. */
static int read_row(gf_rows *r, gf_err *e) {
    jsonl *j = r->state;
    const char *line;
    size_t size;
    int got;
    cJSON_Delete(j->row);
    j->row = NULL;
    while ((got = gf_lines_next(&j->lines, &line, &size, e)) == 1) {
        if (is_blank(line, size)) continue;
        r->line = j->lines.number;
        gf_rows_watch_line(r, line, size, j->lines.offset);
        return parse_row(r, line, gf_lines_trim(line, size), e) ? 1 : -1;
    }
    return got;
}

static const cJSON *value_of(const gf_rows *r, int64_t field) {
    const jsonl *j = r->state;
    return r->field[field] ? cJSON_GetObjectItemCaseSensitive(j->row, r->field[field]) : NULL;
}

/* Makes room for all lists of the row, so that no cell's items move. */
static bool reserve_items(const gf_rows *r, jsonl *j, gf_err *e) {
    int64_t wanted = 0;
    void *p;
    for (int64_t i = 0; i < r->n_fields; i++) {
        const cJSON *value = value_of(r, i);
        wanted += cJSON_IsArray(value) ? cJSON_GetArraySize(value) : 0;
    }
    j->used = 0;
    if (wanted <= j->capacity) return true;
    if (!(p = gf_realloc_array(j->items, wanted, sizeof *j->items, e))) return false;
    j->items = p;
    if (!(p = gf_realloc_array(j->sizes, wanted, sizeof *j->sizes, e))) return false;
    j->sizes = p;
    j->capacity = wanted;
    return true;
}

static gf_cell list_cell(jsonl *j, const cJSON *list) {
    int64_t first = j->used;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsString(item))
            return gf_cell_other(GF_CELL_OTHER, "a list of more than strings");
        j->items[j->used] = item->valuestring;
        j->sizes[j->used++] = strlen(item->valuestring);
    }
    return (gf_cell){.kind = GF_CELL_LIST,
                     .text = gf_json_kind(list),
                     .items = j->items + first,
                     .sizes = j->sizes + first,
                     .n_items = j->used - first};
}

static gf_cell cell_of(jsonl *j, const cJSON *value) {
    gf_cell c = gf_cell_other(GF_CELL_OTHER, gf_json_kind(value));
    if (cJSON_IsString(value))
        return (gf_cell){
            .kind = GF_CELL_STRING, .text = value->valuestring, .size = strlen(value->valuestring)};
    if (cJSON_IsArray(value)) return list_cell(j, value);
    if (!value)
        c.kind = GF_CELL_MISSING;
    else if (cJSON_IsNull(value))
        c.kind = GF_CELL_NULL;
    else if (cJSON_IsNumber(value)) {
        c.kind = GF_CELL_NUMBER;
        c.number = value->valuedouble;
    }
    return c;
}

static int next_object(gf_rows *r, gf_cell *cells, gf_err *e) {
    jsonl *j = r->state;
    int got = read_row(r, e);
    if (got == 1 && !reserve_items(r, j, e)) return -1;
    for (int64_t i = 0; got == 1 && i < r->n_fields; i++) cells[i] = cell_of(j, value_of(r, i));
    return got;
}

static bool list_keys(gf_rows *r, gf_err *e) {
    const jsonl *j = r->state;
    const cJSON *value;
    if (read_row(r, e) < 0) return false;
    cJSON_ArrayForEach(
        value,
        j->row) if (!gf_rows_add_column(r, value->string, strlen(value->string), e)) return false;
    return true;
}

const gf_rows_format gf_rows_jsonl = {
    .open = open_jsonl, .columns = list_keys, .next = next_object, .close = close_jsonl};
