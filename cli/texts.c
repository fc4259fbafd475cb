#include "cli/texts.h"

#include "core/mem.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* ---- where the texts come from ---- */

static bool open_file(gf_texts *t, const char *path, const gf_args *a, gf_err *e) {
    const char *field = a->text ? a->text : "text";
    int64_t columns = 0;
    if (strcmp(path, "-") == 0 && a->text)
        return gf_fail(e, GF_E_USAGE,
                       "--text: standard input is plain text without fields; leave it out, or give "
                       "a .jsonl, .csv, .tsv or .h5 file");
    if (a->text) {
        char **names = gf_rows_columns(path, &columns, e);
        if (!names) return false;
        gf_io_free_names(names, columns);
        if (columns == 0)
            return gf_fail(e, GF_E_USAGE, "--text: %s has no fields; leave it out", path);
    }
    return (t->rows = gf_rows_open(path, &field, 1, e)) != NULL;
}

static bool open_source(gf_texts *t, const gf_args *a, gf_err *e) {
    bool dash = a->n_words == 1 && strcmp(a->words[0], "-") == 0;
    if (a->input && a->n_words > 0)
        return gf_fail(e, GF_E_USAGE,
                       "--input: texts are given as arguments, too; give one of them");
    if (a->input) return open_file(t, a->input, a, e);
    if (a->n_words > 0 && !dash)
        return (t->rows = gf_rows_from_texts(a->words, a->n_words, e)) != NULL;
    if (!dash && isatty(STDIN_FILENO))
        return gf_fail(
            e, GF_E_USAGE,
            "no texts: give them as arguments, name a file with --input, or pipe them in, "
            "one a line");
    return open_file(t, "-", a, e);
}

/* ---- the window ---- */

static bool make_window(gf_texts *t, const char *place, gf_err *e) {
    gf_dataset *d = &t->window;
    /* like any filter, end quietly when the reader of the results has gone */
    signal(SIGPIPE, SIG_DFL);
    d->capacity = GF_TEXTS_ROWS;
    if (!(d->source = gf_alloc_array(1, sizeof *d->source, e)) ||
        !(d->source->path = gf_strdup(place, e)))
        return false;
    d->n_sources = 1;
    return (d->start = gf_alloc_array(GF_TEXTS_ROWS + 1, sizeof *d->start, e)) &&
           (d->line = gf_alloc_array(GF_TEXTS_ROWS, sizeof *d->line, e)) &&
           (t->text = gf_alloc_array(GF_TEXTS_ROWS + 1, sizeof *t->text, e));
}

bool gf_texts_open(gf_texts *t, gf_runner_use use, const gf_args *a, gf_err *e) {
    return open_source(t, a, e) && gf_texts_open_empty(t, gf_rows_path(t->rows), use, a, e);
}

bool gf_texts_open_empty(gf_texts *t, const char *place, gf_runner_use use, const gf_args *a,
                         gf_err *e) {
    return make_window(t, place, e) && gf_runner_open(&t->runner, a->model, use, a, e);
}

bool gf_texts_is_full(const gf_texts *t) {
    return t->window.rows == GF_TEXTS_ROWS || t->bytes.length >= GF_TEXTS_BYTES;
}

bool gf_texts_add(gf_texts *t, const char *text, size_t size, int64_t line, gf_err *e) {
    gf_dataset *d = &t->window;
    gf_encoding encoding;
    if (!gf_tokenizer_encode(t->runner.model.tokenizer, text, size, t->runner.max_length, &d->ids,
                             &encoding, e) ||
        !gf_text_add_bytes(&t->bytes, text, size, e))
        return false;
    d->line[d->rows++] = line;
    d->start[d->rows] = d->ids.count;
    t->text[d->rows] = t->bytes.length;
    return true;
}

void gf_texts_clear(gf_texts *t) {
    gf_features_free(&t->embeddings);
    t->window.rows = t->window.ids.count = 0;
    t->bytes.length = 0;
}

static bool check_finite(const gf_texts *t, gf_err *e) {
    const gf_dataset *d = &t->window;
    for (int64_t i = 0; i < d->rows; i++) {
        const gf_real *x = gf_texts_embedding(t, i);
        for (int64_t k = 0; k < t->embeddings.width; k++)
            if (!isfinite(x[k]))
                return gf_fail(e, GF_E_NUMERIC,
                               "%s:%lld: the text's embedding holds NaN or infinity; the model's "
                               "weights are damaged",
                               d->source->path, (long long)d->line[i]);
    }
    return true;
}

bool gf_texts_embed(gf_texts *t, gf_err *e) {
    gf_runner *r = &t->runner;
    return gf_features_make(&t->embeddings, &r->engine, &r->model, &t->window, r->max_rows, NULL,
                            e) &&
           check_finite(t, e);
}

int gf_texts_next(gf_texts *t, gf_err *e) {
    gf_cell cell;
    int got = 0;
    gf_texts_clear(t);
    while (!t->ended && !gf_texts_is_full(t)) {
        if ((got = gf_rows_next(t->rows, &cell, e)) < 0) return -1;
        t->ended = got == 0;
        if (got == 1 && !gf_texts_add(t, cell.text, cell.size, gf_rows_line(t->rows), e)) return -1;
    }
    if (t->window.rows == 0) return 0;
    return !t->runner.engine.graph || gf_texts_embed(t, e) ? 1 : -1;
}

const char *gf_texts_text(const gf_texts *t, int64_t i, size_t *size) {
    *size = t->text[i + 1] - t->text[i];
    return t->bytes.data + t->text[i];
}

const gf_real *gf_texts_embedding(const gf_texts *t, int64_t i) {
    return t->embeddings.x + i * t->embeddings.width;
}

void gf_texts_close(gf_texts *t) {
    gf_features_free(&t->embeddings);
    gf_dataset_free(&t->window);
    gf_text_free(&t->bytes);
    gf_free(t->text);
    gf_rows_close(t->rows);
    gf_runner_close(&t->runner);
}
