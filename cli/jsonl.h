/* jsonl: JSON Lines as text, a piece at a time; quicker than trees, and any bytes are allowed. */
#ifndef GF_CLI_JSONL_H
#define GF_CLI_JSONL_H

#include "core/real.h"
#include "core/text.h"

/* A string in quotes (RFC 8259, section 7); malformed UTF-8 becomes U+FFFD. */
bool gf_jsonl_add_string(gf_text *out, const char *text, size_t size, gf_err *e);
/* "[0.1,-2,...]" with 9 significant digits, from which the same floats are read back. */
bool gf_jsonl_add_reals(gf_text *out, int64_t count, const gf_real *x, gf_err *e);

#endif
