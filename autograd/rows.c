/* Work over the rows of a matrix, shared by ops. */
#include "autograd/op.h"

enum { BLOCK_ROWS = 64, STRIP_COLUMNS = 64, BLOCK_ELEMENTS = 8192 };

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

typedef struct columns_job {
    const gf_vec *vec;
    int64_t rows, columns;
    const gf_real *a, *b; /* [rows, columns] */
    gf_real *out;         /* [columns] */
} columns_job;

/* Sums of 64 rows are added up, not single rows: the rounding error then grows with rows / 64 + 64.
 */
static void sum_strip(void *job, int64_t part, int thread) {
    const columns_job *j = job;
    int64_t first = part * STRIP_COLUMNS, left = j->columns - first;
    int64_t n = left < STRIP_COLUMNS ? left : STRIP_COLUMNS;
    (void)thread;
    for (int64_t r = 0; r < j->rows;) {
        gf_real block[STRIP_COLUMNS] = {0};
        for (int64_t end = r + BLOCK_ROWS; r < j->rows && r < end; r++) {
            int64_t at = r * j->columns + first;
            if (j->b)
                j->vec->multiply_add(n, j->a + at, j->b + at, block);
            else
                j->vec->add(n, j->a + at, block);
        }
        j->vec->add(n, block, j->out + first);
    }
}

void gf_columns_sum(gf_node *n, int64_t rows, int64_t columns, const gf_real *a, const gf_real *b,
                    gf_real *out) {
    columns_job j = {gf_node_vec(n), rows, columns, a, b, out};
    gf_pool_run(gf_node_pool(n), (columns + STRIP_COLUMNS - 1) / STRIP_COLUMNS, sum_strip, &j);
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
