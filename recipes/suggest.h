/* suggest: the end of a message about an unknown name. */
#ifndef GF_RECIPES_SUGGEST_H
#define GF_RECIPES_SUGGEST_H

#include <stddef.h>
#include <stdint.h>

/* Writes `did you mean "NEAREST"?`, or `known: A, B, C` when none is near, into text and returns
 * it. */
const char *gf_suggest(const char *name, const char *const *names, int64_t count, char *text,
                       size_t size);

#endif
