/* Rows from plain text, a row a line. */
#include "data/rows_format.h"

#include "core/mem.h"
#include "data/lines.h"

static bool open_text(gf_rows *r, gf_err *e) {
    return (r->state = gf_alloc_array(1, sizeof(gf_lines), e)) &&
           gf_lines_open(r->state, r->path, r->place, e);
}

static int next_line(gf_rows *r, gf_cell *cells, gf_err *e) {
    gf_lines *l = r->state;
    const char *line;
    size_t size;
    int got = gf_lines_next(l, &line, &size, e);
    if (got != 1) return got;
    r->line = l->number;
    gf_rows_watch_line(r, line, size, l->offset);
    for (int64_t i = 1; i < r->n_fields; i++) cells[i] = gf_cell_other(GF_CELL_MISSING, "missing");
    if (r->n_fields > 0) cells[0] = gf_cell_string(0, line, gf_lines_trim(line, size));
    return 1;
}

static void close_text(gf_rows *r) { gf_lines_close(r->state); }

const gf_rows_format gf_rows_text = {
    .any_bytes = true, .open = open_text, .next = next_line, .close = close_text};
