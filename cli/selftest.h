/* selftest: what `graft doctor` tries out on this machine: the BLAS, the vector kernels, and a tiny
 * BERT that the real trainer trains and evaluates in a temporary folder, with one thread and with
 * several. Takes a second or two. */
#ifndef GF_CLI_SELFTEST_H
#define GF_CLI_SELFTEST_H

#include "core/io.h"

#include <stdint.h>

/* Prints a line per check, "ok" or "FAILED" with the reason, and counts the failed ones. False only
 * when the lines cannot be printed. */
bool gf_selftest_run(gf_file *out, int threads, int64_t *failed, gf_err *e);

#endif
