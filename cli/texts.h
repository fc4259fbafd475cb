/* texts: the texts a command is given, tokenised and embedded window by window.
 *
 *     gf_texts t = {0};
 *     int got = -1;
 *     if (gf_texts_open(&t, GF_RUNNER_EMBEDS, a, e))
 *         while ((got = gf_texts_next(&t, e)) == 1)
 *             for (int64_t i = 0; i < t.window.rows; i++) ... gf_texts_embedding(&t, i) ...
 *     gf_texts_close(&t);
 *
 * Texts come from the command line's words, from --input, or else from standard input. A window is
 * at most GF_TEXTS_ROWS of them, so that memory does not grow with the input; inside it they are
 * encoded longest first, and stand in the order of the input again afterwards. */
#ifndef GF_CLI_TEXTS_H
#define GF_CLI_TEXTS_H

#include "cli/runner.h"
#include "core/text.h"
#include "data/rows.h"
#include "recipes/evaluate.h"

enum { GF_TEXTS_ROWS = 2048, GF_TEXTS_BYTES = 8 << 20 };

typedef struct gf_texts {
    gf_runner runner;
    gf_rows *rows;
    bool ended;
    gf_dataset window; /* the present texts' token ids; without labels */
    gf_text bytes;     /* the texts themselves, one behind the other */
    size_t *text;      /* [window.rows + 1] offsets into bytes */
    gf_features embeddings;
} gf_texts;

/* t must be zeroed; close it also after a failure. */
bool gf_texts_open(gf_texts *t, gf_runner_use use, const gf_args *a, gf_err *e);
/* 1: the next window is ready and has rows; 0: there is none; -1: failure. An embedding that is not
 * finite is GF_E_NUMERIC, with the text's place. */
int gf_texts_next(gf_texts *t, gf_err *e);
void gf_texts_close(gf_texts *t);

/* The same by hand, for texts that come from elsewhere: `place` names it in messages. */
bool gf_texts_open_empty(gf_texts *t, const char *place, gf_runner_use use, const gf_args *a,
                         gf_err *e);
bool gf_texts_is_full(const gf_texts *t);
bool gf_texts_add(gf_texts *t, const char *text, size_t size, int64_t line, gf_err *e);
bool gf_texts_embed(gf_texts *t, gf_err *e);
void gf_texts_clear(gf_texts *t);

/* Text i of the window, its size in *size. */
const char *gf_texts_text(const gf_texts *t, int64_t i, size_t *size);
/* Its embedding [H]. */
const gf_real *gf_texts_embedding(const gf_texts *t, int64_t i);

#endif
