/* shape: the extents of a tensor, row-major. Products are checked once, when a shape is made. */
#ifndef GF_CORE_SHAPE_H
#define GF_CORE_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GF_MAX_DIMS = 4 };

typedef struct gf_shape {
    int n;                    /* 0 is a scalar */
    int64_t dim[GF_MAX_DIMS]; /* all > 0 */
} gf_shape;

gf_shape gf_shape1(int64_t a);
gf_shape gf_shape2(int64_t a, int64_t b);
/* The number of elements, 1 for a scalar; -1 when it does not fit in 2^47. */
int64_t gf_shape_count(const gf_shape *s);
bool gf_shape_equal(const gf_shape *a, const gf_shape *b);
/* Writes "[8, 384]" into text and returns it. */
const char *gf_shape_text(const gf_shape *s, char *text, size_t size);

#endif
