#include "recipes/suggest.h"

#include "core/text.h"

#include <stdio.h>

const char *gf_suggest(const char *name, const char *const *names, int64_t count, char *text,
                       size_t size) {
    const char *nearest = gf_text_nearest(name, names, count);
    size_t used;
    if (nearest) {
        snprintf(text, size, "did you mean \"%s\"?", nearest);
        return text;
    }
    used = (size_t)snprintf(text, size, "known:");
    for (int64_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s %s", i ? "," : "", names[i]);
    return text;
}
