#include "core/shape.h"

#include "core/mem.h"

#include <stdio.h>

gf_shape gf_shape1(int64_t a) { return (gf_shape){1, {a}}; }
gf_shape gf_shape2(int64_t a, int64_t b) { return (gf_shape){2, {a, b}}; }

int64_t gf_shape_count(const gf_shape *s) {
    int64_t count = 1;
    for (int i = 0; i < s->n; i++)
        if (s->dim[i] < 0 || !gf_mul_i64(count, s->dim[i], &count) || count > (1LL << 47))
            return -1;
    return count;
}

bool gf_shape_equal(const gf_shape *a, const gf_shape *b) {
    bool equal = a->n == b->n;
    for (int i = 0; equal && i < a->n; i++) equal = a->dim[i] == b->dim[i];
    return equal;
}

const char *gf_shape_text(const gf_shape *s, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < s->n && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "",
                                 (long long)s->dim[i]);
    if (used < size) snprintf(text + used, size - used, "]");
    return text;
}
