/* gemm_tiles: the inner kernels of our own matrix product, one table an instruction set.
 *
 *     C [m, n]  =  start  +  A [m, k] B [k, n]
 *
 * A tile of C, `rows` x `columns`, stays in registers while k runs (Goto & van de Geijn 2008). Each
 * element of C is one chain of fused multiply-adds over k in rising order that begins at its start:
 *
 *     c = start;  for (p = 0; p < k; p++) c = fma(a[p], b[p], c);
 *
 * A chain may be broken off and taken up again, since c is stored without loss, so blocks, tiles
 * and threads do not show in the bits, and neither does the width of a register: an element depends
 * on its row of A and its column of B and on nothing else. That is why a text's embedding does not
 * depend on the batch it came in. The tables differ in speed only.
 *
 * B is packed into panels first, [panel][k][width], what lies behind the end being 0. A may be, or
 * is read where it stands. */
#ifndef GF_CORE_GEMM_TILES_H
#define GF_CORE_GEMM_TILES_H

#include "core/vec_tables.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    GF_TILE_ROWS_MOST = 12, /* of any table, as the next */
    GF_TILE_COLUMNS_MOST = 32
};

/* Panels of `width` items with k elements each are made from `items` items, of which
 * element p of item i is x[i * item_stride + p * k_stride]; one of the strides is 1.
 * out [ceil(items / width)][k][width]. */
typedef struct gf_packing {
    int64_t items, k, item_stride, k_stride;
    const gf_real *x;
} gf_packing;

/* A tile's rows of A: element p of row i is x[i * row + p * k]. */
typedef struct gf_tile_rows {
    const gf_real *x;
    int64_t row, k; /* strides, in elements */
} gf_tile_rows;

/* c [m, n] with row stride ldc = from + A B. Row i of `from` begins at from + i * from_stride: c
 * itself goes on with a chain, a stride of 0 starts each row alike. */
typedef struct gf_tiling {
    int64_t m, n, k, ldc, from_stride;
    gf_tile_rows a;          /* of the first whole tile */
    int64_t a_stride;        /* from a tile's rows to the next one's, in elements */
    gf_tile_rows rest;       /* of a tile whose rows from `skip` on are those behind the whole */
    int64_t skip;            /* tiles; not looked at without any */
    const gf_real *b, *from; /* b packed by pack_columns() */
    int64_t b_stride;        /* from a panel of b to the next, in elements */
    bool b_is_far;           /* in memory: a panel is fetched while the one before is in use */
    gf_real *c;
} gf_tiling;

typedef struct gf_tiles {
    const char *name;
    int64_t rows, columns;                                   /* of a tile */
    void (*pack_rows)(const gf_packing *p, gf_real *out);    /* panels of `rows`: A */
    void (*pack_columns)(const gf_packing *p, gf_real *out); /* panels of `columns`: B */
    void (*multiply)(const gf_tiling *t);
} gf_tiles;

#if GF_REAL_IS_FLOAT
extern const gf_tiles gf_tiles_plain; /* the twin: for tests, slow without a fused multiply-add */
#endif
#if GF_VEC_X86
extern const gf_tiles gf_tiles_avx2, gf_tiles_avx512;
#endif

/* The fastest table this processor runs; NULL where there is none that is worth it: products then
 * go through OpenBLAS. */
const gf_tiles *gf_tiles_best(void);
/* The i-th table this processor runs, the plain twin first; NULL behind the last. */
const gf_tiles *gf_tiles_at(int i);

#endif
