#include "core/gemm.h"

#include "core/gemm_blas.h"
#include "core/gemm_tiles.h"

#include <stdio.h>

/* How a product is cut, for caches of 32 KiB and 512 KiB: a panel of B, 16 or 32 columns of DEPTH
 * elements, stays in the first cache, a block of A, BLOCK_ROWS by DEPTH, in the second, and so does
 * the block of C that an epilogue then goes over. A part that packs a block of B for itself takes
 * NARROW columns; SMALL is room for the blocks of a small product. A transposed A of up to NEAR
 * elements is read where it stands. WORK bounds the scratch for a packed B. None of these shows in
 * the bits. */
enum {
    DEPTH = 384,
    BLOCK_ROWS = 96,
    BLOCK_COLUMNS = 384,
    NARROW = 128,
    SMALL = 4096,
    NEAR = 1 << 14,
    LEAST_COLUMNS = 48,
    PARTS_A_THREAD = 4,
    PANELS_A_PART = 4,
    WORK = 1 << 20,
    LARGEST_WORK = 1 << 22
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t length, int64_t piece) { return (length + piece - 1) / piece; }
static int64_t up(int64_t length, int64_t step) { return pieces(length, step) * step; }

/* k elements are taken in blocks of like size. */
static int64_t depth(int64_t k) { return k < 1 ? 1 : pieces(k, pieces(k, DEPTH)); }

/* One product on its way. */
typedef struct product {
    const gf_tiles *tiles;
    const gf_product *p;
    int64_t first, k;      /* the elements of k that are taken now */
    const gf_real *packed; /* B's panels over them, `stride` apart; NULL: each part packs its own */
    int64_t stride;
    bool in_place;                 /* A's rows are not packed */
    int64_t rows, columns, across; /* of a part; parts side by side */
    gf_epilogue *then;
    void *context;
} product;

/* A block of C, and room to pack the blocks of A and B that it comes from. */
typedef struct block {
    int64_t row, rows, column, columns;
    gf_real *a, *b;
    bool keeps_a, keeps_b; /* the room holds them already */
} block;

static gf_packing rows_of(const gf_product *p, int64_t row, int64_t rows, int64_t first,
                          int64_t k) {
    gf_packing r = {.items = rows, .k = k};
    r.item_stride = p->transpose_a ? 1 : p->lda;
    r.k_stride = p->transpose_a ? p->lda : 1;
    r.x = p->a + row * r.item_stride + first * r.k_stride;
    return r;
}

static gf_packing columns_of(const gf_product *p, int64_t column, int64_t columns, int64_t first,
                             int64_t k) {
    gf_packing r = {.items = columns, .k = k};
    r.item_stride = p->transpose_b ? p->ldb : 1;
    r.k_stride = p->transpose_b ? 1 : p->ldb;
    r.x = p->b + column * r.item_stride + first * r.k_stride;
    return r;
}

/* Rows of A one after the other are as good as packed ones. Of a transposed A, each element of k
 * would be in another line of the cache, which must be near for that. */
static bool stands_well(const gf_product *p) { return !p->transpose_a || p->k * p->lda <= NEAR; }

/* The rows of a block over k elements from `first` on, where they stand, at least a whole tile of
 * them: the last tile begins before those that are left. */
static void find_rows_in_place(const product *s, const block *c, int64_t first, gf_tiling *t) {
    int64_t high = s->tiles->rows;
    gf_packing rows = rows_of(s->p, c->row, c->rows, first, t->k);
    t->a = t->rest = (gf_tile_rows){rows.x, rows.item_stride, rows.k_stride};
    t->a_stride = high * rows.item_stride;
    t->rest.x += (c->rows - high) * rows.item_stride;
    t->skip = high - c->rows % high;
}

/* The same, packed in c->a. */
static void find_packed_rows(const product *s, const block *c, int64_t first, gf_tiling *t) {
    int64_t high = s->tiles->rows;
    gf_packing rows = rows_of(s->p, c->row, c->rows, first, t->k);
    if (!c->keeps_a) s->tiles->pack_rows(&rows, c->a);
    t->a = t->rest = (gf_tile_rows){c->a, 1, high};
    t->a_stride = t->k * high;
    t->rest.x += c->rows / high * t->a_stride;
}

/* Where the chains of a block are at element `first` of k: in C, or not begun. */
static void find_start(gf_tiling *t, const gf_product *p, int64_t column, int64_t first) {
    static const gf_real zeros[BLOCK_COLUMNS];
    bool begun = first > 0 || p->add;
    t->from = begun ? t->c : p->start ? p->start + column : zeros;
    t->from_stride = begun ? t->ldc : 0;
}

/* A block of C over the elements of k that are taken now; at most BLOCK_COLUMNS wide. */
static void run_block(const product *s, const block *c) {
    const gf_product *p = s->p;
    int64_t step = depth(s->k), wide = s->tiles->columns, at = 0;
    gf_tiling t = {.m = c->rows, .n = c->columns, .ldc = p->ldc, .b_is_far = s->packed};
    t.c = p->c + c->row * p->ldc + c->column;
    do {
        t.k = least(step, s->k - at);
        if (s->in_place && c->rows >= s->tiles->rows)
            find_rows_in_place(s, c, s->first + at, &t);
        else
            find_packed_rows(s, c, s->first + at, &t);
        if (!s->packed && !c->keeps_b) {
            gf_packing columns = columns_of(p, c->column, c->columns, s->first + at, t.k);
            s->tiles->pack_columns(&columns, c->b);
        }
        t.b = s->packed ? s->packed + c->column / wide * s->stride + at * wide : c->b;
        t.b_stride = s->packed ? s->stride : t.k * wide;
        find_start(&t, p, c->column, s->first + at);
        s->tiles->multiply(&t);
        at += t.k;
    } while (at < s->k);
    if (s->then && s->first + s->k == p->k)
        s->then(s->context, c->row, c->rows, c->column, c->columns);
}

/* What is packed serves all blocks beside and below, where it is all of k. */
static void run_blocks(const product *s, int64_t part, int64_t wide, gf_real *a, gf_real *b) {
    int64_t row = part / s->across * s->rows, column = part % s->across * s->columns;
    int64_t row_end = least(row + s->rows, s->p->m),
            column_end = least(column + s->columns, s->p->n);
    bool whole = s->k <= DEPTH, one_row = row_end - row <= BLOCK_ROWS;
    block c = {.a = a, .b = b};
    for (c.column = column; c.column < column_end; c.column += wide) {
        c.columns = least(wide, column_end - c.column);
        c.keeps_a = whole && one_row && c.column > column;
        for (c.row = row; c.row < row_end; c.row += BLOCK_ROWS) {
            c.rows = least(BLOCK_ROWS, row_end - c.row);
            c.keeps_b = whole && c.row > row;
            run_block(s, &c);
        }
    }
}

/* The room for blocks is on the stack: 147 KiB, 344, or 32 where these are enough. */
static void run_packed(void *job, int64_t part, int thread) {
    _Alignas(64) gf_real a[BLOCK_ROWS * DEPTH];
    (void)thread;
    run_blocks(job, part, BLOCK_COLUMNS, a, NULL);
}

static void run_alone(void *job, int64_t part, int thread) {
    _Alignas(64) gf_real a[BLOCK_ROWS * DEPTH], b[NARROW * DEPTH];
    (void)thread;
    run_blocks(job, part, NARROW, a, b);
}

static void run_small(void *job, int64_t part, int thread) {
    _Alignas(64) gf_real a[SMALL], b[SMALL];
    (void)thread;
    run_blocks(job, part, NARROW, a, b);
}

static bool is_small(const product *s) {
    int64_t rows = s->in_place ? s->tiles->rows : up(least(s->rows, BLOCK_ROWS), s->tiles->rows);
    int64_t k = depth(s->k);
    int64_t columns = up(least(s->columns, NARROW), s->tiles->columns);
    return !s->packed && rows * k <= SMALL && columns * k <= SMALL;
}

static gf_part *choose_way(const product *s) {
    return s->packed ? run_packed : is_small(s) ? run_small : run_alone;
}

/* ---- B packed once for all parts ---- */

typedef struct packing_job {
    const product *s;
    gf_real *out;
} packing_job;

static void pack_panels(void *job, int64_t part, int thread) {
    const packing_job *j = job;
    const gf_product *p = j->s->p;
    int64_t wide = PANELS_A_PART * j->s->tiles->columns, column = part * wide;
    gf_packing columns = columns_of(p, column, least(wide, p->n - column), j->s->first, j->s->k);
    (void)thread;
    j->s->tiles->pack_columns(&columns, j->out + column * j->s->k);
}

static void pack_all(gf_pool *pool, const product *s, gf_real *out) {
    packing_job j = {s, out};
    gf_pool_run(pool, pieces(s->p->n, PANELS_A_PART * s->tiles->columns), pack_panels, &j);
}

/* How many elements of k are packed at a time; 0: the scratch would be too large. */
static int64_t fitting(const gf_tiles *tiles, int64_t n, int64_t k) {
    int64_t columns = up(n, tiles->columns), most = WORK / columns / DEPTH * DEPTH;
    if (most < DEPTH) most = columns * DEPTH <= LARGEST_WORK ? DEPTH : 0;
    return least(most, k);
}

/* ---- whole products ---- */

/* Parts are blocks of rows, whole rows where these go round, and a multiple of the threads. A
 * single block is parted by columns alone: so each of B is fetched by one thread only. */
static void cut(product *s, int threads, int64_t wide) {
    const gf_product *p = s->p;
    int64_t down = pieces(p->m, BLOCK_ROWS), enough = PARTS_A_THREAD * threads;
    bool one_block = down == 1 && p->n >= LEAST_COLUMNS * threads;
    if (!one_block) down = up(down, threads);
    s->rows = up(pieces(p->m, down), s->tiles->rows);
    down = pieces(p->m, s->rows);
    s->across = 1;
    while (down * s->across < enough && pieces(p->n, 2 * s->across) >= LEAST_COLUMNS)
        s->across *= 2;
    s->columns = up(pieces(p->n, s->across), wide);
    s->across = pieces(p->n, s->columns);
}

void gf_gemm(gf_pool *pool, const gf_product *p, gf_epilogue *then, void *context) {
    product s = {.tiles = gf_tiles_best(), .p = p, .then = then, .context = context};
    int64_t step;
    s.in_place = stands_well(p);
    if (p->m < 1 || p->n < 1) return;
    if (!s.tiles) {
        gf_blas_gemm(pool, p, then, context);
        return;
    }
    step = p->work && !p->packed ? fitting(s.tiles, p->n, p->k) : 0;
    s.k = step ? step : p->k;
    cut(&s, gf_pool_threads(pool), s.tiles->columns);
    do { /* at least once: without any k, C is what it starts from */
        s.k = least(s.k, p->k - s.first);
        s.stride = s.k * s.tiles->columns;
        s.packed = step ? p->work : p->packed;
        if (step) pack_all(pool, &s, p->work);
        gf_pool_run(pool, pieces(p->m, s.rows) * s.across, choose_way(&s), &s);
        s.first += s.k;
    } while (s.first < p->k);
}

void gf_gemm_here(const gf_product *p) {
    product s = {.tiles = gf_tiles_best(), .p = p, .k = p->k, .packed = p->packed};
    s.in_place = stands_well(p);
    s.rows = p->m;
    s.columns = p->n;
    s.across = 1;
    if (p->m < 1 || p->n < 1) return;
    if (!s.tiles)
        gf_blas_gemm_here(p);
    else
        choose_way (&s)(&s, 0, 0);
}

int64_t gf_gemm_work(int64_t n, int64_t k) {
    const gf_tiles *tiles = gf_tiles_best();
    return tiles ? fitting(tiles, n, k) * up(n, tiles->columns) : 0;
}

int64_t gf_gemm_packed(int64_t n, int64_t k) {
    const gf_tiles *tiles = gf_tiles_best();
    return tiles ? up(n, tiles->columns) * k : 0;
}

void gf_gemm_pack(gf_pool *pool, const gf_product *p, gf_real *out) {
    product s = {.tiles = gf_tiles_best(), .p = p, .k = p->k};
    if (s.tiles) pack_all(pool, &s, out);
}

/* ---- which kernel ---- */

bool gf_gemm_start(gf_err *e) { return gf_tiles_best() || gf_blas_start(e); }

const char *gf_gemm_name(char *text, int size) {
    if (!gf_tiles_best()) {
        gf_blas_start(NULL); /* which name it has is only known then */
        return gf_blas_name(text, size);
    }
    snprintf(text, (size_t)size, "own kernel"); /* its tables give the same bits */
    return text;
}
