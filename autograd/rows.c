/* Work over the rows of a matrix, shared by ops. */
#include "autograd/op.h"

#include <string.h>

enum { BLOCK_ROWS = 64, BLOCK_ELEMENTS = 8192 };

typedef struct rows_job {
    gf_node *node;
    gf_row_block *run;
    int64_t rows, block;
} rows_job;

static void run_rows(void *job, int64_t part, int thread) {
    const rows_job *j = job;
    int64_t first = part * j->block, left = j->rows - first;
    (void)thread;
    j->run(j->node, first, left < j->block ? left : j->block);
}

static void run_blocks(gf_node *n, int64_t rows, int64_t block, gf_row_block *run) {
    rows_job j = {n, run, rows, block};
    gf_pool_run(gf_node_pool(n), (rows + block - 1) / block, run_rows, &j);
}

void gf_rows_each(gf_node *n, int64_t rows, gf_row_block *run) {
    run_blocks(n, rows, BLOCK_ROWS, run);
}

void gf_rows_wide(gf_node *n, int64_t rows, int64_t columns, gf_row_block *run) {
    run_blocks(n, rows, 1 + (BLOCK_ELEMENTS - 1) / (columns > 0 ? columns : 1), run);
}

/* Sums of 64 rows are added up, not single rows: the rounding error then grows with rows / 64 + 64.
 * Rows are walked along, not strips of columns down: the latter takes a page of memory to each row.
 * Few rows at a time, so that what is done to them finds them in the cache. */
enum { ROWS_AT_ONCE = 8, REDUCED_COLUMNS = 512 };

typedef struct columns_job {
    gf_node *node;
    const gf_column_sums *c;
    int64_t blocks;
    gf_real *sums, *products; /* [blocks, columns] each; NULL: not wanted */
} columns_job;

int64_t gf_columns_work(int64_t rows, int64_t columns, int sums) {
    return sums * columns * ((rows + BLOCK_ROWS - 1) / BLOCK_ROWS);
}

static gf_real *block_sum(gf_real *sums, int64_t block, int64_t columns) {
    if (sums) memset(sums + block * columns, 0, (size_t)columns * sizeof *sums);
    return sums ? sums + block * columns : NULL;
}

static void sum_block(void *job, int64_t part, int thread) {
    const columns_job *j = job;
    const gf_column_sums *c = j->c;
    int64_t r = part * BLOCK_ROWS, end = r + BLOCK_ROWS < c->rows ? r + BLOCK_ROWS : c->rows;
    gf_real *sum = block_sum(j->sums, part, c->columns); /* [columns] */
    gf_real *products = block_sum(j->products, part, c->columns);
    (void)thread;
    for (; r < end; r += ROWS_AT_ONCE) {
        int64_t n = end - r < ROWS_AT_ONCE ? end - r : ROWS_AT_ONCE, at = r * c->columns;
        if (c->before) c->before(j->node, r, n);
        if (sum || products)
            gf_node_vec(j->node)->add_rows(n, c->columns, c->columns, c->a + at,
                                           products ? c->b + at : NULL, sum, products);
        if (c->after) c->after(j->node, r, n);
    }
}

static void reduce_strip(void *job, int64_t part, int thread) {
    const columns_job *j = job;
    const gf_vec *vec = gf_node_vec(j->node);
    int64_t first = part * REDUCED_COLUMNS, all = j->c->columns, left = all - first;
    int64_t n = left < REDUCED_COLUMNS ? left : REDUCED_COLUMNS;
    (void)thread;
    if (j->sums) vec->add_rows(j->blocks, n, all, j->sums + first, NULL, j->c->sum + first, NULL);
    if (j->products)
        vec->add_rows(j->blocks, n, all, j->products + first, NULL, j->c->products + first, NULL);
}

void gf_columns_sum(gf_node *n, const gf_column_sums *c) {
    columns_job j = {n, c, (c->rows + BLOCK_ROWS - 1) / BLOCK_ROWS, NULL, NULL};
    if (c->sum) j.sums = n->scratch;
    if (c->products) j.products = n->scratch + (c->sum ? j.blocks * c->columns : 0);
    if (!c->sum && !c->products && !c->before && !c->after) return;
    gf_pool_run(gf_node_pool(n), j.blocks, sum_block, &j);
    if (c->sum || c->products)
        gf_pool_run(gf_node_pool(n), (c->columns + REDUCED_COLUMNS - 1) / REDUCED_COLUMNS,
                    reduce_strip, &j);
}

int64_t gf_attr_longest(const gf_attr *a, int64_t rows) {
    int64_t longest = 0;
    if (!a->start || a->sequences < 1 || a->start[0] != 0 || a->start[a->sequences] != rows)
        return -1;
    for (int64_t b = 0; b < a->sequences; b++) {
        int64_t length = a->start[b + 1] - a->start[b];
        if (length < 1) return -1;
        if (length > longest) longest = length;
    }
    return longest;
}
