/* Rows from JSON Lines: one object a line (jsonlines.org). */
#include "data/rows_format.h"

#include "core/json.h"
#include "core/mem.h"
#include "data/lines.h"

#include <string.h>

typedef struct jsonl {
    gf_lines lines;
    cJSON *row; /* the cells point into it */
} jsonl;

static bool open_jsonl(gf_rows *r, gf_err *e) {
    jsonl *j = r->state = gf_alloc_array(1, sizeof *j, e);
    return j && gf_lines_open(&j->lines, r->path, r->place, e);
}

static void close_jsonl(gf_rows *r) {
    jsonl *j = r->state;
    cJSON_Delete(j->row);
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

static gf_cell cell_of(const cJSON *value) {
    gf_cell_kind kind = GF_CELL_OTHER;
    if (cJSON_IsString(value))
        return (gf_cell){GF_CELL_STRING, value->valuestring, strlen(value->valuestring)};
    if (!value)
        kind = GF_CELL_MISSING;
    else if (cJSON_IsNull(value))
        kind = GF_CELL_NULL;
    else if (cJSON_IsNumber(value))
        kind = GF_CELL_NUMBER;
    return gf_cell_other(kind, gf_json_kind(value));
}

static int next_object(gf_rows *r, gf_cell *cells, gf_err *e) {
    const jsonl *j = r->state;
    int got = read_row(r, e);
    for (int64_t i = 0; got == 1 && i < r->n_fields; i++)
        cells[i] =
            cell_of(r->field[i] ? cJSON_GetObjectItemCaseSensitive(j->row, r->field[i]) : NULL);
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
