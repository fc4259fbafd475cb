/* The split of one data set into train, dev and test. */
#include "core/mem.h"
#include "data/split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 3000, TASKS = 3 };

/* ---- a data set made by hand ---- */

static const int64_t widths[TASKS] = {0, 2, 1};

static void *have(int64_t count, size_t size) {
    void *p = gf_alloc_array(count, size, NULL);
    assert_non_null(p);
    return p;
}

/* A row of a class, with a SET and a NUMBER; of its text only the hash is told. */
typedef struct row {
    uint64_t text;
    int32_t class;
    bool has_set, has_number;
} row;

static gf_dataset make(const row *r, int64_t n) {
    gf_dataset d = {.rows = n, .capacity = n + 1, .n_tasks = TASKS, .n_sources = 2};
    d.source = have(2, sizeof *d.source);
    d.source[0] = (gf_source){gf_strdup("a.jsonl", NULL), 0, n / 3};
    d.source[1] = (gf_source){gf_strdup("b.jsonl", NULL), n / 3, n - n / 3};
    d.start = have(n + 1, sizeof *d.start);
    d.line = have(n + 1, sizeof *d.line);
    d.text_hash = have(n + 1, sizeof *d.text_hash);
    d.row_pieces = have(n + 1, sizeof *d.row_pieces);
    d.row_unknown = have(n + 1, sizeof *d.row_unknown);
    d.label = have(TASKS, sizeof *d.label);
    d.target = have(TASKS, sizeof *d.target);
    d.target_width = have(TASKS, sizeof *d.target_width);
    d.ids.id = have(n * 3, sizeof *d.ids.id);
    for (int k = 0; k < TASKS; k++) {
        d.target_width[k] = widths[k];
        d.label[k] = have(n + 1, sizeof **d.label);
        if (widths[k]) d.target[k] = have((n + 1) * widths[k], sizeof **d.target);
    }
    for (int64_t i = 0; i < n; i++) {
        d.line[i] = i + 1;
        d.text_hash[i] = r[i].text;
        d.row_pieces[i] = (int32_t)(i % 2 ? i : 1);
        d.row_unknown[i] = (int32_t)(i % 5);
        d.label[0][i] = r[i].class;
        d.label[1][i] = r[i].has_set ? 0 : -1;
        d.label[2][i] = r[i].has_number ? 0 : -1;
        d.target[1][2 * i + 1] = r[i].has_set ? 1 : 0;
        d.target[2][i] = r[i].has_number ? (gf_real)i : 0;
        for (int k = 0; k < 3; k++) d.ids.id[d.ids.count++] = (int32_t)i;
        d.start[i + 1] = d.ids.count;
    }
    return d;
}

typedef struct parts {
    gf_dataset set[3]; /* train, dev, test */
    gf_split_counts counts;
} parts;

static void split(parts *p, const row *r, int64_t n, double dev, double test) {
    gf_dataset whole = make(r, n);
    gf_err e = {0};
    *p = (parts){0};
    assert_true(
        gf_dataset_split(&whole, dev, test, &p->set[0], &p->set[1], &p->set[2], &p->counts, &e));
    assert_null(whole.start);
    assert_int_equal(p->set[0].rows + p->set[1].rows + p->set[2].rows, n);
}

static void free_parts(parts *p) {
    for (int s = 0; s < 3; s++) gf_dataset_free(&p->set[s]);
}

/* The side on which a text lies, -1 if nowhere; all its rows must lie there. */
static int side_of(const parts *p, uint64_t text) {
    int side = -1;
    for (int s = 0; s < 3; s++)
        for (int64_t i = 0; i < p->set[s].rows; i++) {
            if (p->set[s].text_hash[i] != text) continue;
            assert_true(side < 0 || side == s);
            side = s;
        }
    return side;
}

/* Texts 1 .. n of two classes, the first `rare` of them of the second. */
static int64_t make_rows(row *r, int64_t n, int64_t rare) {
    for (int64_t i = 0; i < n; i++) r[i] = (row){(uint64_t)i + 1, i < rare, i % 2 == 0, true};
    return n;
}

static int64_t count_class(const gf_dataset *d, int32_t class, bool has_set) {
    int64_t count = 0;
    for (int64_t i = 0; i < d->rows; i++)
        count += d->label[0][i] == class && (d->label[1][i] == 0) == has_set;
    return count;
}

/* ---- tests ---- */

/* 2400 rows: 600 of class 1, with and without a set by halves. */
static void every_stratum_gives_its_share(void **state) {
    static row r[MOST];
    const int64_t wanted[3] = {70, 20, 10};
    parts p;
    (void)state;
    split(&p, r, make_rows(r, 2400, 600), 0.2, 0.1);
    assert_int_equal(p.counts.units, 2400);
    assert_int_equal(p.counts.strata, 4);
    assert_int_equal(p.counts.small, 0);
    for (int s = 0; s < 3; s++)
        for (int set = 0; set < 2; set++) {
            assert_int_equal(count_class(&p.set[s], 0, set), 9 * wanted[s]);
            assert_int_equal(count_class(&p.set[s], 1, set), 3 * wanted[s]);
        }
    free_parts(&p);
    split(&p, r, make_rows(r, 100, 50), 0.1, 0); /* four strata of 25: 2.5 rounds to 3 */
    assert_int_equal(p.set[1].rows, 12);
    assert_int_equal(p.set[2].rows, 0);
    assert_null(p.set[2].source);
    free_parts(&p);
}

/* Whatever is told of a row goes with it, and rows keep their order. */
static void rows_are_moved_whole(void **state) {
    static row r[MOST];
    int64_t n = make_rows(r, 900, 300), pieces = 0, unknown = 0, truncated = 0;
    parts p;
    (void)state;
    split(&p, r, n, 0.25, 0.25);
    for (int s = 0; s < 3; s++) {
        const gf_dataset *d = &p.set[s];
        assert_int_equal(d->source[0].first, 0);
        assert_int_equal(d->source[1].first, d->source[0].rows);
        assert_int_equal(d->source[0].rows + d->source[1].rows, d->rows);
        for (int64_t i = 0; i < d->rows; i++) {
            int64_t was = d->line[i] - 1, line;
            const char *path;
            assert_true(i == 0 || d->line[i - 1] < d->line[i]);
            assert_int_equal(d->text_hash[i], was + 1);
            assert_int_equal(d->label[0][i], r[was].class);
            assert_int_equal(d->label[1][i], r[was].has_set ? 0 : -1);
            assert_true(d->target[1][2 * i] == 0);
            assert_true(d->target[1][2 * i + 1] == (r[was].has_set ? 1 : 0));
            assert_true(d->target[2][i] == (gf_real)was);
            assert_int_equal(d->start[i], 3 * i);
            for (int64_t k = 0; k < 3; k++) assert_int_equal(d->ids.id[3 * i + k], was);
            assert_int_equal(d->row_pieces[i], was % 2 ? was : 1);
            assert_int_equal(d->row_unknown[i], was % 5);
            gf_dataset_place(d, i, &path, &line);
            assert_string_equal(path, was < 300 ? "a.jsonl" : "b.jsonl");
            assert_int_equal(line, was + 1);
        }
        assert_null(d->target[0]);
        pieces += d->pieces, unknown += d->unknown, truncated += d->truncated;
    }
    assert_int_equal(pieces, 450 + 450 * 450); /* 1 of each even row, and 1 + 3 + ... + 899 */
    assert_int_equal(unknown, 900 * 2);
    assert_int_equal(truncated, 449); /* odd rows but row 1: more than 1 piece */
    free_parts(&p);
}

static void equal_texts_stay_together(void **state) {
    static row r[MOST];
    int64_t n = make_rows(r, 1000, 500);
    int seen[3] = {0};
    parts p;
    (void)state;
    for (int64_t i = 0; i < 1000; i++) r[n++] = (row){r[i].text, r[i].class, i % 3 == 0, false};
    for (int64_t i = 0; i < 1000; i += 2) r[n++] = r[i];
    split(&p, r, n, 0.2, 0.2);
    assert_int_equal(p.counts.units, 1000);
    for (uint64_t text = 1; text <= 1000; text++) seen[side_of(&p, text)]++;
    assert_int_equal(seen[0], 600);
    assert_int_equal(seen[1], 200);
    assert_int_equal(seen[2], 200);
    free_parts(&p);
}

static void the_order_of_rows_changes_nothing(void **state) {
    static row r[MOST];
    int64_t n = make_rows(r, 1000, 400);
    uint32_t x = 1;
    parts a, b;
    (void)state;
    for (int64_t i = 0; i < 500; i++) r[n++] = r[i];
    split(&a, r, n, 0.2, 0.2);
    for (int64_t i = n - 1; i > 0; i--) {
        row kept = r[i];
        int64_t k = (int64_t)((x = x * 1664525 + 1013904223) >> 8) % (i + 1);
        r[i] = r[k];
        r[k] = kept;
    }
    split(&b, r, n, 0.2, 0.2);
    for (uint64_t text = 1; text <= 1000; text++)
        assert_int_equal(side_of(&a, text), side_of(&b, text));
    free_parts(&a);
    free_parts(&b);
}

/* New rows of other strata, one of which sorts before those that there were. */
static void other_strata_change_nothing(void **state) {
    static row r[MOST];
    int64_t n = make_rows(r, 400, 100);
    parts a, b;
    (void)state;
    split(&a, r, n, 0.2, 0.2);
    for (int64_t i = 0; i < 300; i++) {
        r[n++] = (row){10000 + (uint64_t)i, -1, true, true};
        r[n++] = (row){20000 + (uint64_t)i, 7, true, false};
    }
    split(&b, r, n, 0.2, 0.2);
    assert_int_equal(b.counts.strata, a.counts.strata + 2);
    for (uint64_t text = 1; text <= 400; text++)
        assert_int_equal(side_of(&a, text), side_of(&b, text));
    assert_true(side_of(&b, 10000) >= 0);
    free_parts(&a);
    free_parts(&b);
}

/* Hashes that lie near each other, as FNV-1a's of short texts do, are spread: of each run of 100
 * texts, some fall on each side. The hashes and sides are those of fmix64 of Appleby's
 * MurmurHash3.cpp: fmix64(1) = 0xb456bcfc34c2cb2c, fmix64(2) = 0x3abf2a20650683e7. */
static void near_hashes_are_spread(void **state) {
    static row r[MOST];
    parts p;
    (void)state;
    for (int64_t i = 0; i < 1000; i++) r[i] = (row){(uint64_t)i + 1, 0, true, true};
    split(&p, r, 1000, 0.3, 0.3);
    for (int run = 0; run < 10; run++) {
        int seen[3] = {0};
        for (int i = 1; i <= 100; i++) seen[side_of(&p, (uint64_t)(run * 100 + i))]++;
        assert_in_range(seen[0], 20, 60);
        assert_in_range(seen[1], 12, 50);
        assert_in_range(seen[2], 12, 50);
    }
    assert_int_equal(side_of(&p, 2), 1); /* 0x3a.. of 0x100 is below 0.3 */
    assert_int_equal(side_of(&p, 1), 0); /* 0xb4.. is above 0.6 */
    free_parts(&p);
}

static void small_strata_stay_in_train(void **state) {
    static row r[MOST];
    int64_t n = 0;
    parts p;
    (void)state;
    for (; n < 100; n++) r[n] = (row){(uint64_t)n + 1, 0, true, true};
    for (; n < 104; n++) r[n] = (row){(uint64_t)n + 1, 1, true, true};
    r[n] = r[n - 1]; /* a text twice is one unit */
    n++;
    for (; n < 110; n++) r[n] = (row){(uint64_t)n + 1, 2, true, true};
    split(&p, r, n, 0.1, 0.1);
    assert_int_equal(p.counts.strata, 3);
    assert_int_equal(p.counts.small, 1);
    assert_int_equal(p.counts.small_rows, 5);
    assert_int_equal(count_class(&p.set[0], 1, true), 5);
    assert_int_equal(count_class(&p.set[1], 2, true), 1);
    assert_int_equal(count_class(&p.set[2], 2, true), 1);
    free_parts(&p);
    for (n = 0; n < 2; n++) r[n] = (row){(uint64_t)n + 1, 1, true, true};
    for (; n < 6; n++) r[n] = (row){(uint64_t)n + 1, 2, true, true};
    split(&p, r, n, 0.5, 0.25); /* two units give 1 and 1 (0.5), so that none would be left */
    assert_int_equal(p.counts.small, 1);
    assert_int_equal(count_class(&p.set[0], 1, true), 2);
    assert_int_equal(p.set[1].rows, 2);
    assert_int_equal(p.set[2].rows, 1);
    free_parts(&p);
}

static void a_share_without_rows_is_refused(void **state) {
    static row r[MOST];
    gf_dataset whole = make(r, make_rows(r, 8, 4)), set[3] = {0};
    gf_split_counts counts;
    gf_err e = {0};
    int64_t live;
    (void)state;
    gf_dataset_free(&whole);
    live = gf_mem_get_stats().live_blocks;
    whole = make(r, make_rows(r, 8, 4));
    assert_false(gf_dataset_split(&whole, 0.1, 0, &set[0], &set[1], &set[2], &counts, &e));
    assert_string_equal(e.text,
                        "a.jsonl: its 8 texts are too few to give 0.1 of them to dev, kind of "
                        "label by kind of label; name a file for dev");
    assert_int_equal(e.code, GF_E_INVALID);
    assert_int_equal(counts.small, 4);
    assert_int_equal(whole.rows, 8);
    for (int s = 0; s < 3; s++) assert_null(set[s].start);
    gf_dataset_free(&whole);
    assert_int_equal(gf_mem_get_stats().live_blocks, live);
}

static void every_failing_allocation_is_reported(void **state) {
    static row r[MOST];
    int64_t n = make_rows(r, 40, 20), live = gf_mem_get_stats().live_blocks, k = 0;
    gf_err e = {.code = GF_E_NOMEM};
    (void)state;
    while (e.code != GF_OK) {
        gf_dataset whole = make(r, n), set[3] = {0};
        gf_split_counts counts;
        bool ok;
        e = (gf_err){0};
        gf_mem_fail_at(++k, false);
        ok = gf_dataset_split(&whole, 0.2, 0.2, &set[0], &set[1], &set[2], &counts, &e);
        assert_int_equal(e.code, gf_mem_fault_fired() ? GF_E_NOMEM : GF_OK);
        assert_int_equal(ok, e.code == GF_OK);
        gf_mem_fail_at(0, false);
        assert_int_equal(whole.rows, ok ? 0 : n);
        gf_dataset_free(&whole);
        for (int s = 0; s < 3; s++) gf_dataset_free(&set[s]);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    }
    assert_true(k > 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stratum_gives_its_share),
        cmocka_unit_test(rows_are_moved_whole),
        cmocka_unit_test(equal_texts_stay_together),
        cmocka_unit_test(the_order_of_rows_changes_nothing),
        cmocka_unit_test(other_strata_change_nothing),
        cmocka_unit_test(near_hashes_are_spread),
        cmocka_unit_test(small_strata_stay_in_train),
        cmocka_unit_test(a_share_without_rows_is_refused),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
