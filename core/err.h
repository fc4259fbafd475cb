/* err: errors are values, a code and one sentence.
 *
 *     gf_err e = {0};
 *     if (!gf_model_open(&m, path, &e)) fprintf(stderr, "graft: error: %s\n", e.text);
 *
 * A function that can fail takes a gf_err * last and returns false, NULL or -1. The sentence reads
 * "WHERE: WHAT; WHAT TO DO": it names the file, line, tensor or field, what was wanted and what was
 * found. The caller owns the gf_err; nothing is allocated, so reporting "out of memory" cannot
 * fail. Passing NULL for the gf_err is allowed and loses the sentence. */
#ifndef GF_CORE_ERR_H
#define GF_CORE_ERR_H

#include <stdbool.h>
#include <stddef.h>

typedef enum gf_code {
    GF_OK = 0,
#define GF_ERR(name, status, text) GF_E_##name,
#include "core/err.def"
#undef GF_ERR
} gf_code;

typedef struct gf_err {
    gf_code code;
    char text[768]; /* one line, no final period or newline */
} gf_err;

/* Records a failure and returns false, so that `return gf_fail(e, ...)` is one line. The first
 * failure stays: a later one, usually its consequence, is dropped. Control characters in the text
 * (they can come from a hostile file) are shown as '?'. */
bool gf_fail(gf_err *e, gf_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));

/* Puts "PREFIX: " before the sentence, for a caller that knows the file when the callee does not.
 */
void gf_err_prefix(gf_err *e, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The exit status of the program for a code, as the contract lists them. */
int gf_err_status(gf_code code);

#endif
