/* Rows from texts in memory, as a command line gives them. */
#include "data/rows_format.h"

#include "core/mem.h"

#include <string.h>

typedef struct texts {
    const char *const *text;
    int64_t count;
} texts;

static int next_text(gf_rows *r, gf_cell *cells, gf_err *e) {
    const texts *t = r->state;
    (void)e;
    if (r->line == t->count) return 0;
    cells[0] = gf_cell_string(0, t->text[r->line], strlen(t->text[r->line]));
    r->line++;
    return 1;
}

static void close_texts(gf_rows *r) { (void)r; }

static const gf_rows_format memory = {.any_bytes = true, .next = next_text, .close = close_texts};

gf_rows *gf_rows_from_texts(const char *const *text, int64_t count, gf_err *e) {
    const char *field = "text";
    gf_rows *r = gf_rows_make(&memory, "", "command line", &field, 1, e);
    texts *t = r ? r->state = gf_alloc(sizeof *t, e) : NULL;
    if (!t) {
        gf_rows_close(r);
        return NULL;
    }
    *t = (texts){text, count};
    return r;
}
