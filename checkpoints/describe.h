/* describe: what a file or folder holds, as text for `graft info`.
 *
 *     gf_text out = {0};
 *     if (gf_describe("model.safetensors", &out, e)) fputs(out.data, stdout);
 *     gf_text_free(&out);
 *
 * Knows safetensors files, checkpoints and other HDF5 files, model folders and run folders. The
 * text depends on the content alone. */
#ifndef GF_CHECKPOINTS_DESCRIBE_H
#define GF_CHECKPOINTS_DESCRIBE_H

#include "core/err.h"
#include "core/text.h"

#include <stdbool.h>

/* Appends to out. Fails with GF_E_MODEL on what is damaged or none of these. */
bool gf_describe(const char *path, gf_text *out, gf_err *e);

#endif
