/* Rows from CSV (RFC 4180) and TSV, which is the same without quoting. A record's fields are
 * written unquoted one behind the other into a buffer of our own. */
#include "data/rows_format.h"

#include "core/mem.h"
#include "data/lines.h"

#include <string.h>

typedef enum place { FIELD_START, PLAIN, QUOTED, QUOTE_IN_QUOTED } place;

typedef struct csv {
    gf_lines lines;
    char separator;
    place at;           /* what the byte before left us in */
    int64_t quote_line; /* where the last quote opened */
    char *record;       /* [used] fields, each with a 0 byte behind it */
    int64_t used, capacity;
    int64_t n_fields;
    int64_t end[GF_ROWS_MOST_COLUMNS]; /* [n_fields] of each field, its 0 byte not counted */
} csv;

static bool open_separated(gf_rows *r, char separator, gf_err *e) {
    csv *c = r->state = gf_alloc_array(1, sizeof *c, e);
    if (!c) return false;
    c->separator = separator;
    return gf_lines_open(&c->lines, r->path, r->place, e);
}

static bool open_csv(gf_rows *r, gf_err *e) { return open_separated(r, ',', e); }
static bool open_tsv(gf_rows *r, gf_err *e) { return open_separated(r, '\t', e); }

static void close_csv(gf_rows *r) {
    csv *c = r->state;
    gf_free(c->record);
    gf_lines_close(&c->lines);
}

static bool put(csv *c, char byte, gf_err *e) {
    if (!gf_grow(&c->record, c->used, &c->capacity, 1, e)) return false;
    c->record[c->used++] = byte;
    return true;
}

static bool end_field(gf_rows *r, gf_err *e) {
    csv *c = r->state;
    if (c->n_fields == GF_ROWS_MOST_COLUMNS)
        return gf_fail(e, GF_E_INVALID, "%s:%lld: the row has more than %d fields", r->place,
                       (long long)r->line, GF_ROWS_MOST_COLUMNS);
    c->end[c->n_fields++] = c->used;
    c->at = FIELD_START;
    return put(c, 0, e);
}

/* One byte of a record, other than its line end. */
static bool take_byte(gf_rows *r, char byte, gf_err *e) {
    csv *c = r->state;
    bool is_quote = byte == '"' && c->separator == ',';
    if (c->at == QUOTED) {
        if (!is_quote) return put(c, byte, e);
        c->at = QUOTE_IN_QUOTED;
    } else if (byte == c->separator)
        return end_field(r, e);
    else if (is_quote && c->at == FIELD_START) {
        c->at = QUOTED;
        c->quote_line = c->lines.number;
    } else if (c->at == QUOTE_IN_QUOTED && !is_quote)
        return gf_fail(e, GF_E_INVALID,
                       "%s:%lld: text follows a closing quote; double the quotes inside a field",
                       r->place, (long long)c->lines.number);
    else {
        c->at = c->at == QUOTE_IN_QUOTED ? QUOTED : PLAIN;
        return put(c, byte, e);
    }
    return true;
}

/* Adds a line; the record goes on in the next one when c->at is QUOTED afterwards. */
static bool take_line(gf_rows *r, const char *line, size_t size, gf_err *e) {
    csv *c = r->state;
    size_t body = gf_lines_trim(line, size);
    if (c->used + (int64_t)size > GF_ROWS_LONGEST)
        return gf_fail(e, GF_E_INVALID,
                       "%s:%lld: a record is longer than 16 MiB; is the quote that opens in line "
                       "%lld closed?",
                       r->place, (long long)r->line, (long long)c->quote_line);
    for (size_t i = 0; i < body; i++)
        if (!take_byte(r, line[i], e)) return false;
    if (c->at != QUOTED) return end_field(r, e);
    for (size_t i = body; i < size; i++)
        if (!put(c, line[i], e)) return false;
    return true;
}

/* 1, 0 or -1 as gf_rows_next(). */
static int read_record(gf_rows *r, gf_err *e) {
    csv *c = r->state;
    const char *line;
    size_t size;
    int got;
    c->used = c->n_fields = 0;
    c->at = FIELD_START;
    while ((got = gf_lines_next(&c->lines, &line, &size, e)) == 1) {
        if (c->at != QUOTED && gf_lines_trim(line, size) == 0) continue;
        if (c->at != QUOTED) r->line = c->lines.number;
        gf_rows_watch_line(r, line, size, c->lines.offset);
        if (!take_line(r, line, size, e)) return -1;
        if (c->at != QUOTED) return 1;
    }
    if (got == 0 && c->at == QUOTED) {
        gf_fail(e, GF_E_INVALID, "%s:%lld: the quote that opens here is never closed", r->place,
                (long long)c->quote_line);
        return -1;
    }
    return got;
}

static const char *field_of(const csv *c, int64_t i, size_t *size) {
    int64_t first = i ? c->end[i - 1] + 1 : 0;
    *size = (size_t)(c->end[i] - first);
    return c->record + first;
}

static bool read_header(gf_rows *r, gf_err *e) {
    const csv *c = r->state;
    int got = read_record(r, e);
    if (got == 0)
        gf_fail(e, GF_E_INVALID, "%s: it is empty; a header line with the columns' names is wanted",
                r->place);
    for (int64_t i = 0; got == 1 && i < c->n_fields; i++) {
        size_t size;
        const char *name = field_of(c, i, &size);
        if (!gf_rows_add_column(r, name, size, e)) return false;
    }
    return got == 1;
}

static int next_record(gf_rows *r, gf_cell *cells, gf_err *e) {
    const csv *c = r->state;
    int got = read_record(r, e);
    if (got != 1) return got;
    if (c->n_fields != r->n_columns) {
        gf_fail(e, GF_E_INVALID, "%s:%lld: the row has %lld fields, the header %lld; %s", r->place,
                (long long)r->line, (long long)c->n_fields, (long long)r->n_columns,
                c->separator == ',' ? "quote a field that holds a comma"
                                    : "a field cannot hold a tab");
        return -1;
    }
    for (int64_t i = 0; i < r->n_fields; i++) {
        size_t size = 0;
        const char *text = r->source[i] < 0 ? "" : field_of(c, r->source[i], &size);
        cells[i] = r->source[i] < 0 ? gf_cell_other(GF_CELL_MISSING, "missing")
                                    : gf_cell_string(i, text, size);
    }
    return 1;
}

const gf_rows_format gf_rows_csv = {.has_header = true,
                                    .open = open_csv,
                                    .columns = read_header,
                                    .next = next_record,
                                    .close = close_csv};

const gf_rows_format gf_rows_tsv = {.has_header = true,
                                    .open = open_tsv,
                                    .columns = read_header,
                                    .next = next_record,
                                    .close = close_csv};
