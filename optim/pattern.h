/* pattern: which parameters a rule of a recipe means.
 *
 *     gf_pattern_matches("encoder.layer[-2:].*", "encoder.layer.5.output.dense.bias", 6)   (true)
 *
 * `*` matches any characters, dots and none included. `layer[SLICE]` matches "layer.N" for the
 * layers N that a Python slice or index of the encoder's layers picks: [5], [-1], [0:3], [-2:],
 * [:]; negative numbers count from the end, and slices are clamped as in Python. Everything else
 * stands for itself. Nothing is allocated; time is at most the product of the two lengths. */
#ifndef GF_OPTIM_PATTERN_H
#define GF_OPTIM_PATTERN_H

#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Whether the pattern can be read at all; else GF_E_INVALID with what is wrong in it. */
bool gf_pattern_check(const char *pattern, gf_err *e);
/* Whether it means this parameter of an encoder with `layers` layers. A pattern that
 * gf_pattern_check() refuses matches nothing. */
bool gf_pattern_matches(const char *pattern, const char *name, int64_t layers);

#endif
