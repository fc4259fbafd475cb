/* verify: whether files are as graft wrote them.
 *
 *     gf_text out = {0};
 *     ok = gf_verify("runs/two-phase", &out, e);       (a line a file; GF_E_VERIFY: one is not)
 *
 * A checkpoint carries its digest; those of model/ and metrics.json stand in the run folder's
 * SHA256SUMS, in the form that sha256sum -c reads. */
#ifndef GF_RECIPES_VERIFY_H
#define GF_RECIPES_VERIFY_H

#include "core/text.h"

#include <stdbool.h>

/* PATH is a checkpoint or a run folder. Looks at all files before it fails. */
bool gf_verify(const char *path, gf_text *out, gf_err *e);
/* Writes FOLDER/SHA256SUMS over metrics.json and all files of model/. */
bool gf_verify_write_sums(const char *folder, gf_err *e);

#endif
