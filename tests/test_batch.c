/* Packed batches and the order of an epoch's rows. */
#include "core/mem.h"
#include "data/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 3217, BATCH = 16 };

static char path[] = "train.jsonl";
static gf_source source = {path, 0, ROWS};
static int32_t ids[ROWS * 40];
static int64_t start[ROWS + 1];

/* Row i has 1 to 40 tokens, all of value i. */
static gf_dataset make_dataset(void) {
    gf_dataset d = {.source = &source, .n_sources = 1, .rows = ROWS, .start = start};
    uint32_t x = 1;
    for (int64_t i = 0; i < ROWS; i++) {
        x = x * 1664525 + 1013904223;
        start[i + 1] = start[i] + 1 + (x >> 16) % 40;
        for (int64_t k = start[i]; k < start[i + 1]; k++) ids[k] = (int32_t)i;
    }
    d.ids.id = ids;
    d.ids.count = start[ROWS];
    return d;
}

static int64_t length_of(int64_t row) { return start[row + 1] - start[row]; }

/* ---- batches ---- */

static void is_packed(const gf_batch *b, const int64_t *rows, int64_t n) {
    int32_t at = 0;
    assert_int_equal(b->sequences, n);
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(b->row[i], rows[i]);
        assert_int_equal(b->start[i], at);
        assert_int_equal(b->start[i + 1] - at, length_of(rows[i]));
        for (; at < b->start[i + 1]; at++) assert_int_equal(b->ids[at], rows[i]);
    }
    assert_int_equal(b->tokens, at);
}

static void rows_are_packed_into_reused_memory(void **state) {
    const int64_t many[] = {7, 0, ROWS - 1, 7, 12}, few[] = {3};
    gf_dataset d = make_dataset();
    gf_batch b = {0};
    gf_err e = {0};
    int32_t *kept;
    (void)state;
    assert_true(gf_batch_fill(&b, &d, many, 5, &e));
    is_packed(&b, many, 5);
    kept = b.ids;
    assert_true(gf_batch_fill(&b, &d, few, 1, &e));
    is_packed(&b, few, 1);
    assert_ptr_equal(b.ids, kept);
    assert_true(gf_batch_fill(&b, &d, many, 5, &e));
    is_packed(&b, many, 5);
    assert_true(gf_batch_fill(&b, &d, many, 0, &e));
    assert_int_equal(b.tokens, 0);
    gf_batch_free(&b);
}

static void huge_batches_are_refused(void **state) {
    int64_t far[] = {0, INT32_MAX, INT64_MAX / 2};
    const int64_t rows[] = {0, 1};
    gf_dataset d = {.source = &source, .n_sources = 1, .rows = 2, .start = far};
    gf_batch b = {0};
    gf_err e = {0};
    (void)state;
    assert_false(gf_batch_fill(&b, &d, rows, 2, &e));
    assert_string_equal(e.text,
                        "train.jsonl: a batch of 2 rows has too many tokens; make it smaller");
    assert_int_equal(e.code, GF_E_INVALID);
}

static void failing_allocations_are_reported(void **state) {
    const int64_t rows[] = {1, 2};
    int64_t live = gf_mem_get_stats().live_blocks;
    gf_dataset d = make_dataset();
    (void)state;
    for (int k = 1; k <= 3; k++) {
        gf_batch b = {0};
        gf_err e = {0};
        gf_mem_fail_at(k, false);
        assert_false(gf_batch_fill(&b, &d, rows, 2, &e));
        assert_true(gf_mem_fault_fired() && e.code == GF_E_NOMEM);
        gf_batch_free(&b);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    }
}

/* ---- orders ---- */

static void is_permutation(const int64_t *order) {
    static bool seen[ROWS];
    memset(seen, 0, sizeof seen);
    for (int64_t i = 0; i < ROWS; i++) {
        assert_in_range(order[i], 0, ROWS - 1);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
    }
}

static void make_order(int64_t *order, bool bucket, uint64_t seed, int64_t phase, int64_t epoch) {
    gf_dataset d = make_dataset();
    gf_epoch_rule rule = {.batch_size = BATCH,
                          .bucket = bucket,
                          .seed = seed,
                          .phase = phase,
                          .epoch = epoch,
                          .epochs = 10};
    gf_epoch p = {0};
    gf_err e = {0};
    assert_true(gf_epoch_make(&p, &d, &rule, &e));
    is_permutation(p.row);
    memcpy(order, p.row, sizeof *order * ROWS);
    gf_epoch_free(&p);
}

static int64_t count_equal(const int64_t *a, const int64_t *b) {
    int64_t equal = 0;
    for (int64_t i = 0; i < ROWS; i++) equal += a[i] == b[i];
    return equal;
}

/* Two independent permutations agree in one place on average (Poisson): over 10 practically
 * never. */
static void orders_depend_on_seed_phase_and_epoch(void **state) {
    static int64_t a[ROWS], b[ROWS];
    (void)state;
    for (int bucket = 0; bucket < 2; bucket++) {
        make_order(a, bucket, 42, 1, 2);
        make_order(b, bucket, 42, 1, 2);
        assert_int_equal(count_equal(a, b), ROWS);
        make_order(b, bucket, 43, 1, 2);
        assert_true(count_equal(a, b) < 10);
        make_order(b, bucket, 42, 2, 2);
        assert_true(count_equal(a, b) < 10);
        make_order(b, bucket, 42, 1, 3);
        assert_true(count_equal(a, b) < 10);
        make_order(b, bucket, 42, 2, 1);
        assert_true(count_equal(a, b) < 10);
    }
}

/* The spread of lengths within full batches, summed: what padding would cost. */
static int64_t sum_of_spreads(const int64_t *order) {
    int64_t sum = 0;
    for (int64_t first = 0; first + BATCH <= ROWS; first += BATCH) {
        int64_t low = 40, high = 0;
        for (int64_t i = first; i < first + BATCH; i++) {
            int64_t n = length_of(order[i]);
            low = n < low ? n : low;
            high = n > high ? n : high;
        }
        sum += high - low;
    }
    return sum;
}

static void buckets_bring_like_lengths_together(void **state) {
    static int64_t plain[ROWS], bucket[ROWS], place[ROWS], again[ROWS];
    int64_t longer = 0, full = ROWS / BATCH * BATCH;
    (void)state;
    make_order(plain, false, 42, 0, 0);
    make_order(bucket, true, 42, 0, 0);
    assert_true(sum_of_spreads(bucket) * 10 < sum_of_spreads(plain));
    for (int64_t i = full; i < ROWS; i++) assert_int_equal(bucket[i], plain[i]);
    /* Batches come from all over their window: the lengths do not fall or rise along the epoch. */
    for (int64_t i = 0; i + BATCH < full; i += BATCH)
        longer += length_of(bucket[i + BATCH]) > length_of(bucket[i]);
    assert_in_range(longer, 60, 140);
    /* A row's mates change from epoch to epoch: sharing a batch twice is the exception. */
    make_order(again, true, 42, 0, 1);
    int64_t mates = 0;
    for (int64_t i = 0; i < full; i++) place[bucket[i]] = i / BATCH;
    for (int64_t i = 0; i + 1 < full; i++) mates += place[again[i]] == place[again[i + 1]];
    assert_true(mates * 4 < full);
}

/* A window sorts only its own rows, and ties stay as shuffled. */
static void windows_are_sorted_stably(void **state) {
    static int64_t plain[ROWS], bucket[ROWS], place[ROWS];
    (void)state;
    make_order(plain, false, 7, 0, 0);
    make_order(bucket, true, 7, 0, 0);
    for (int64_t i = 0; i < ROWS; i++) place[plain[i]] = i;
    for (int64_t i = 0; i < ROWS / BATCH * BATCH; i++) {
        int64_t row = bucket[i], next = bucket[i + 1];
        if ((i + 1) % BATCH == 0) continue;
        assert_int_equal(place[row] / (50 * BATCH), place[next] / (50 * BATCH));
        assert_true(length_of(row) > length_of(next) ||
                    (length_of(row) == length_of(next) && place[row] < place[next]));
    }
}

static void any_batch_size_gives_a_permutation(void **state) {
    const int64_t sizes[] = {1, 2, ROWS - 1, ROWS, ROWS + 1, INT64_MAX};
    gf_dataset d = make_dataset();
    gf_epoch_rule rule = {.bucket = true};
    gf_epoch p = {0};
    gf_err e = {0};
    (void)state;
    for (int i = 0; i < 12; i++) {
        rule.batch_size = sizes[i % 6];
        rule.bucket = i < 6;
        assert_true(gf_epoch_make(&p, &d, &rule, &e));
        is_permutation(p.row);
        assert_int_equal(p.batches, (ROWS - 1) / rule.batch_size + 1);
        for (int64_t b = 0; b < p.batches; b++) assert_int_equal(p.start[b], b * rule.batch_size);
        assert_int_equal(p.start[p.batches], ROWS);
    }
    d.rows = 0;
    assert_true(gf_epoch_make(&p, &d, &rule, &e));
    assert_int_equal(p.batches, 0);
    gf_epoch_free(&p);
}

static void rows_are_ordered_by_length(void **state) {
    static int64_t order[ROWS];
    gf_dataset d = make_dataset();
    gf_err e = {0};
    (void)state;
    assert_true(gf_order_by_length(order, &d, &e));
    is_permutation(order);
    for (int64_t i = 0; i + 1 < ROWS; i++) {
        int64_t a = length_of(order[i]), b = length_of(order[i + 1]);
        assert_true(a > b || (a == b && order[i] < order[i + 1]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_packed_into_reused_memory),
        cmocka_unit_test(huge_batches_are_refused),
        cmocka_unit_test(failing_allocations_are_reported),
        cmocka_unit_test(orders_depend_on_seed_phase_and_epoch),
        cmocka_unit_test(buckets_bring_like_lengths_together),
        cmocka_unit_test(windows_are_sorted_stably),
        cmocka_unit_test(any_batch_size_gives_a_permutation),
        cmocka_unit_test(rows_are_ordered_by_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
