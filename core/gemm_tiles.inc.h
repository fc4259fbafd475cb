/* gemm_tiles: the kernel of a table, written once over the 16 virtual lanes.
 *
 *     #include "core/vec_lanes_avx2.h"
 *     enum { ROWS = 6, VECTORS = 1 };          a tile's accumulators, 12 registers of 16
 *     #include "core/gemm_tiles.inc.h"
 *     const gf_tiles gf_tiles_avx2 = {.name = "avx2", GF_TILES};
 *
 * No #include guard: each gemm_*.c includes it once, after its lanes. */
#include "core/gemm_tiles.h"

enum {
    COLUMNS = 16 * VECTORS,
    LINE = 16, /* elements of a cache line */
    AHEAD = 64 /* how far to fetch ahead of packing */
};

/* --- Packing --------------------------------------------------------------------------------- */

typedef gf_real f4 __attribute__((vector_size(4 * sizeof(gf_real))));

LANE f4 f4_load(const gf_real *p) {
    f4 x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Four items of four elements each, x [4][stride], become out [4][width]. */
LANE void transpose4(const gf_real *x, int64_t stride, int width, gf_real *out) {
    f4 a = f4_load(x), b = f4_load(x + stride), c = f4_load(x + 2 * stride);
    f4 d = f4_load(x + 3 * stride);
    f4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5),
       cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    f4 AB = __builtin_shufflevector(a, b, 2, 6, 3, 7),
       CD = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    f4 r0 = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    f4 r1 = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    f4 r2 = __builtin_shufflevector(AB, CD, 0, 1, 4, 5);
    f4 r3 = __builtin_shufflevector(AB, CD, 2, 3, 6, 7);
    memcpy(out, &r0, sizeof r0);
    memcpy(out + width, &r1, sizeof r1);
    memcpy(out + 2 * width, &r2, sizeof r2);
    memcpy(out + 3 * width, &r3, sizeof r3);
}

/* A full panel of items whose elements lie together. Each is read by whole cache lines, since lines
 * of rows far apart share places in the cache. */
LANE void pack_transposed(const gf_packing *p, const gf_real *x, int width, gf_real *out) {
    int64_t at = 0;
    for (; at + LINE <= p->k; at += LINE)
        for (int i = 0; i < width; i += 4) { /* the last four may overlap the ones before */
            int item = i + 4 <= width ? i : width - 4;
            const gf_real *from = x + item * p->item_stride + at;
            for (int j = 0; j < 4; j++) __builtin_prefetch(from + j * p->item_stride + AHEAD);
            for (int q = 0; q < LINE; q += 4)
                transpose4(from + q, p->item_stride, width, out + (at + q) * width + item);
        }
    for (; at < p->k; at++)
        for (int i = 0; i < width; i++) out[at * width + i] = x[i * p->item_stride + at];
}

/* Full panels of items that lie together: some elements of all of them, and then the next, which
 * are fetched meanwhile. */
LANE void pack_straight(const gf_packing *p, int64_t panels, int width, gf_real *out) {
    int64_t k = p->k, stride = p->k_stride;
    const gf_real *x = p->x;
    for (int64_t left = k; left > 0; left -= LINE, x += LINE * stride, out += LINE * width)
        for (int64_t j = 0; j < panels; j++) {
            const gf_real *from = x + j * width;
            gf_real *to = out + j * k * width;
            for (int64_t at = 0; at < LINE && at < left; at++, from += stride, to += width) {
                __builtin_prefetch(from + LINE * stride);
                memcpy(to, from, (size_t)width * sizeof *to);
            }
        }
}

/* A panel that ends before its width. */
LANE void pack_rest(const gf_packing *p, int64_t first, int width, gf_real *out) {
    const gf_real *x = p->x + first * p->item_stride;
    for (int64_t at = 0; at < p->k; at++)
        for (int64_t i = 0; i < width; i++)
            out[at * width + i] =
                first + i < p->items ? x[i * p->item_stride + at * p->k_stride] : 0;
}

LANE void pack(const gf_packing *p, int width, gf_real *out) {
    int64_t panels = p->items / width;
    if (p->k_stride != 1)
        pack_straight(p, panels, width, out);
    else
        for (int64_t j = 0; j < panels; j++)
            pack_transposed(p, p->x + j * width * p->item_stride, width, out + j * p->k * width);
    if (panels * width < p->items) pack_rest(p, panels * width, width, out + panels * p->k * width);
}

static void pack_rows(const gf_packing *p, gf_real *out) { pack(p, ROWS, out); }
static void pack_columns(const gf_packing *p, gf_real *out) { pack(p, COLUMNS, out); }

/* --- One tile -------------------------------------------------------------------------------- */

/* c [ROWS][ldc] = from + a [ROWS][k] b [k][COLUMNS], a by its strides. Meanwhile fetches k times
 * `ahead_step` bytes from `ahead` on into the second cache. */
LANE void multiply_tile(int64_t k, const gf_tile_rows *a, const gf_real *b, const char *ahead,
                        int64_t ahead_step, const gf_real *from, int64_t from_stride, gf_real *c,
                        int64_t ldc) {
    enum { TRIPLES = ROWS / 3 }; /* of rows: an address is that of the first plus 0, 1, 2 strides */
    const gf_real *rows[TRIPLES];
    int64_t row = a->row, step = a->k;
    v16 s[ROWS][VECTORS], x[VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < TRIPLES; i++) rows[i] = a->x + 3 * i * row;
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) s[r][v] = v16_load(from + r * from_stride + 16 * v);
#pragma GCC unroll 4
    for (int64_t p = 0; p < k; p++, b += COLUMNS) {
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) x[v] = v16_load(b + 16 * v);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++)
                s[r][v] = v16_fma(v16_set(rows[r / 3][r % 3 * row]), x[v], s[r][v]);
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_step;
#pragma GCC unroll 4
        for (int i = 0; i < TRIPLES; i++) rows[i] += step;
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) v16_store(c + r * ldc + 16 * v, s[r][v]);
}

/* A tile that reaches over the edge of C goes by way of one that does not. Its rows before `skip`
 * are not part of C here. */
static void multiply_edge(const gf_tiling *t, int64_t row, int64_t skip, int64_t column,
                          const gf_tile_rows *a, const gf_real *b) {
    gf_real edge[ROWS * COLUMNS] = {0}, *first = edge + skip * COLUMNS;
    int64_t rows = t->m - row < ROWS ? t->m - row : ROWS;
    int64_t columns = t->n - column < COLUMNS ? t->n - column : COLUMNS;
    for (int64_t r = 0; r < rows; r++)
        memcpy(first + r * COLUMNS, t->from + (row + r) * t->from_stride + column,
               (size_t)columns * sizeof *edge);
    multiply_tile(t->k, a, b, (const char *)b, 0, edge, COLUMNS, edge, COLUMNS);
    for (int64_t r = 0; r < rows; r++)
        memcpy(t->c + (row + r) * t->ldc + column, first + r * COLUMNS,
               (size_t)columns * sizeof *edge);
}

/* A panel of b stays in the first cache while the rows of A pass by, and each of their whole tiles
 * fetches its share of the next one. */
static void multiply(const gf_tiling *t) {
    int64_t tiles = t->m < ROWS ? 1 : t->m / ROWS, bytes = COLUMNS * (int64_t)sizeof *t->b;
    const gf_real *b = t->b;
    for (int64_t column = 0; column < t->n; column += COLUMNS, b += t->b_stride) {
        bool narrow = column + COLUMNS > t->n, fetch = t->b_is_far && column + COLUMNS < t->n;
        int64_t ahead_step = fetch ? (bytes + tiles - 1) / tiles : 0, row = 0;
        const char *ahead = (const char *)(fetch ? b + t->b_stride : b);
        gf_tile_rows a = t->a;
        for (; row + ROWS <= t->m; row += ROWS, a.x += t->a_stride) {
            if (narrow)
                multiply_edge(t, row, 0, column, &a, b);
            else
                multiply_tile(t->k, &a, b, ahead, ahead_step,
                              t->from + row * t->from_stride + column, t->from_stride,
                              t->c + row * t->ldc + column, t->ldc);
            ahead += ahead_step * t->k;
        }
        if (row < t->m) multiply_edge(t, row, t->skip, column, &t->rest, b);
    }
}

#define GF_TILES                                                                                   \
    .rows = ROWS, .columns = COLUMNS, .pack_rows = pack_rows, .pack_columns = pack_columns,        \
    .multiply = multiply
