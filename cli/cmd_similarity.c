#include "cli/texts.h"
#include "core/mem.h"
#include "data/lines.h"

#include <math.h>
#include <string.h>

static double dot(int64_t n, const gf_real *x, const gf_real *y) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

/* 0 where an embedding is 0; never "-0.0000". */
static double cosine(int64_t n, const gf_real *x, const gf_real *y) {
    double c = dot(n, x, y) / fmax(sqrt(dot(n, x, x) * dot(n, y, y)), 1e-24);
    return fabs(c) < 5e-5 ? 0 : c;
}

/* ---- texts against each other ---- */

static bool print_matrix(gf_file *out, int64_t n, int64_t width, const gf_real *x, gf_err *e) {
    bool ok = gf_io_printf(out, e, "%6s", "");
    for (int64_t j = 0; ok && j < n; j++) ok = gf_io_printf(out, e, " %7lld", (long long)j + 1);
    for (int64_t i = 0; ok && i < n; i++) {
        ok = gf_io_printf(out, e, "\n%6lld", (long long)i + 1);
        for (int64_t j = 0; ok && j < n; j++)
            ok = gf_io_printf(out, e, " %7.4f", cosine(width, x + i * width, x + j * width));
    }
    return ok && gf_io_printf(out, e, "\n");
}

static bool compare_texts(gf_args *a, gf_err *e) {
    gf_texts t = {0};
    gf_real *x = NULL; /* [n_words, E] */
    int64_t done = 0, width = 0;
    int got = 0;
    bool ok = gf_texts_open(&t, GF_RUNNER_EMBEDS, a, e);
    if (ok) {
        width = t.runner.model.embedding_size;
        ok = (x = gf_alloc_array(a->n_words * width, sizeof *x, e)) != NULL;
    }
    while (ok && (got = gf_texts_next(&t, e)) == 1) {
        memcpy(x + done * width, t.embeddings.x, (size_t)(t.window.rows * width) * sizeof *x);
        done += t.window.rows;
    }
    ok = ok && got == 0;
    if (ok && done == 2)
        ok = gf_io_printf(a->out, e, "%.4f\n", cosine(width, x, x + width));
    else if (ok)
        ok = print_matrix(a->out, done, width, x, e);
    gf_free(x);
    gf_texts_close(&t);
    return ok;
}

/* ---- pairs in the columns of a file ---- */

/* Headers whose names tell where the texts are; without one of them the last two columns are. */
static const char *const headers[][2] = {
    {"sentence1", "sentence2"},
    {"sentence_a", "sentence_b"},
    {"text1", "text2"},
    {"text_a", "text_b"},
    {"a", "b"},
};

typedef struct pairs {
    gf_texts texts; /* two of each line, one behind the other */
    gf_lines lines;
    int64_t column[2]; /* -1: the last but one and the last */
    gf_text kept;      /* the lines of the window, without their ends */
    size_t *end;       /* [GF_TEXTS_ROWS] of each line in kept */
    int64_t count;
} pairs;

/* Column k of a line, or NULL; its size in *size. */
static const char *find_column(const char *line, size_t length, int64_t k, size_t *size) {
    const char *end = line + length, *tab;
    while ((tab = memchr(line, '\t', (size_t)(end - line))) && k-- > 0) line = tab + 1;
    if (k > 0) return NULL;
    *size = (size_t)((tab ? tab : end) - line);
    return line;
}

static int64_t count_columns(const char *line, size_t length) {
    int64_t n = 1;
    for (size_t i = 0; i < length; i++) n += line[i] == '\t';
    return n;
}

static int64_t find_name(const char *line, size_t length, const char *name) {
    int64_t n = count_columns(line, length);
    for (int64_t k = 0; k < n; k++) {
        size_t size = 0;
        const char *text = find_column(line, length, k, &size);
        if (text && size == strlen(name) && memcmp(text, name, size) == 0) return k;
    }
    return -1;
}

/* True for a header, which is then echoed. */
static bool read_header(pairs *p, const char *line, size_t length) {
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        p->column[0] = find_name(line, length, headers[i][0]);
        p->column[1] = find_name(line, length, headers[i][1]);
        if (p->column[0] >= 0 && p->column[1] >= 0) return true;
    }
    p->column[0] = p->column[1] = -1;
    return false;
}

static bool add_pair(pairs *p, const char *line, size_t length, gf_err *e) {
    int64_t n = count_columns(line, length), number = p->lines.number;
    for (int64_t k = 0; k < 2; k++) {
        int64_t column = p->column[k] >= 0 ? p->column[k] : n - 2 + k;
        size_t size = 0;
        const char *text = column >= 0 ? find_column(line, length, column, &size) : NULL;
        if (!text)
            return gf_fail(e, GF_E_INVALID,
                           "%s:%lld: it has %lld column%s and the pair needs column %lld; put tabs "
                           "between the columns",
                           p->lines.place, (long long)number, (long long)n, n == 1 ? "" : "s",
                           (long long)(column < 0 ? 2 : column + 1));
        if (!gf_texts_add(&p->texts, text, size, number, e)) return false;
    }
    if (!gf_text_add_bytes(&p->kept, line, length, e)) return false;
    p->end[p->count++] = p->kept.length;
    return true;
}

/* Prints the lines of the window with their cosines and empties it. */
static bool flush_pairs(pairs *p, gf_file *out, gf_err *e) {
    size_t first = 0;
    bool ok = p->count == 0 || gf_texts_embed(&p->texts, e);
    for (int64_t i = 0; ok && i < p->count; i++) {
        double c = cosine(p->texts.embeddings.width, gf_texts_embedding(&p->texts, 2 * i),
                          gf_texts_embedding(&p->texts, 2 * i + 1));
        ok = gf_io_write(out, p->kept.data + first, p->end[i] - first, e) &&
             gf_io_printf(out, e, "\t%.4f\n", c);
        first = p->end[i];
    }
    gf_texts_clear(&p->texts);
    p->kept.length = 0;
    p->count = 0;
    return ok;
}

static bool read_line(pairs *p, const char *line, size_t length, gf_file *out, gf_err *e) {
    if (p->lines.number == 1 && read_header(p, line, length))
        return gf_io_write(out, line, length, e) && gf_io_printf(out, e, "\tcosine\n");
    if (length == 0) return true;
    return add_pair(p, line, length, e) && (!gf_texts_is_full(&p->texts) || flush_pairs(p, out, e));
}

static bool compare_pairs(gf_args *a, gf_err *e) {
    pairs p = {.column = {-1, -1}};
    const char *place = strcmp(a->pairs, "-") == 0 ? "standard input" : a->pairs, *line;
    size_t size;
    int got = 0;
    bool ok = gf_lines_open(&p.lines, a->pairs, place, e) &&
              gf_texts_open_empty(&p.texts, place, GF_RUNNER_EMBEDS, a, e) &&
              (p.end = gf_alloc_array(GF_TEXTS_ROWS, sizeof *p.end, e));
    while (ok && (got = gf_lines_next(&p.lines, &line, &size, e)) == 1)
        ok = read_line(&p, line, gf_lines_trim(line, size), a->out, e);
    ok = ok && got == 0 && flush_pairs(&p, a->out, e);
    gf_free(p.end);
    gf_text_free(&p.kept);
    gf_texts_close(&p.texts);
    gf_lines_close(&p.lines);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    if (a->pairs && a->n_words > 0)
        return gf_fail(e, GF_E_USAGE, "--pairs: texts are given, too; give one of them");
    if (a->pairs) return compare_pairs(a, e);
    if (a->n_words < 2)
        return gf_fail(e, GF_E_USAGE,
                       "similarity: %lld text%s given; at least two are wanted, or --pairs FILE",
                       (long long)a->n_words, a->n_words == 1 ? " is" : "s are");
    return compare_texts(a, e);
}

const gf_command gf_cmd_similarity = {
    .name = "similarity",
    .summary = "cosines between texts",
    .options = "--model --pairs --threads --pin --precision --max-length --batch --quiet",
    .most = -1,
    .run = run,
    .help = "usage: graft similarity --model M A B [C...] [options]\n"
            "       graft similarity --model M --pairs FILE.tsv [options]\n"
            "\n"
            "Prints the cosine of two texts' embeddings, or the matrix of all cosines for\n"
            "three and more. With --pairs every line of FILE comes back with the cosine of\n"
            "its pair as a further column.\n"
            "\n"
            "  --model M       a model folder, a run folder or a checkpoint\n"
            "  --pairs FILE    columns between tabs; - is standard input. The texts are in\n"
            "                  the last two columns, or in those that a header names\n"
            "                  sentence1 and sentence2 (or sentence_a, text1, text_a, a)\n"
            "  --threads N     default: a processor of each core\n"
            "  --pin           keep each thread on one processor\n"
            "  --precision P   fp32, or bf16 where the processor has it (default: fp32)\n"
            "  --max-length N  cut texts at N tokens (default: the model's)\n"
            "  --batch N       at most N texts at once (default: 512)\n"
            "  --quiet         no notes\n"
            "\n"
            "example: graft similarity --model demo/runs/two-phase \\\n"
            "             \"I thought the cheese was delicious\" \"The cheese was tasty\"\n",
};
