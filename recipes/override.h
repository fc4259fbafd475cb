/* override: --set a.b=value, applied to a recipe's JSON before it is read. */
#ifndef GF_RECIPES_OVERRIDE_H
#define GF_RECIPES_OVERRIDE_H

#include "core/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

/* Sets one value in the object `root`. Objects that are missing on the way are made; whether their
 * keys are known is seen when the result is read. GF_E_USAGE names what in `set` does not fit. */
bool gf_override_apply(cJSON *root, const char *set, gf_err *e);

#endif
