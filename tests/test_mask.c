/* data/mask: which tokens are chosen and what stands in their places, by counting over many rows,
 * against binomial bounds; what must hold of every row, for every row. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "data/mask.h"
#include "data/tokenizer.h"
#include "tests/scratch.h"

/* Ids of the golden vocabulary (tests/golden/vocabulary.py): five special tokens, words, then
 * "##s" and five more that continue a word, "un" and "re". */
enum { ROWS = 2000, UNK = 1, CLS = 2, SEP = 3, MASK = 4, WORD = 5, PIECE = 63, PIECES = 6, V = 71 };

static const gf_mask_place place = {42, 1, 3};

static void check(bool ok, const gf_err *e) {
    if (!ok) fail_msg("%s", e->text);
}

static gf_masker make_masker(gf_mask_settings s) {
    gf_err e = {0};
    gf_masker k = {0};
    gf_tokenizer *t = gf_tokenizer_open("tests/golden/mlm/model", &e);
    check(t != NULL, &e);
    assert_string_equal(gf_tokenizer_token(t, PIECE - 1), "bright");
    assert_string_equal(gf_tokenizer_token(t, PIECE), "##s");
    assert_string_equal(gf_tokenizer_token(t, PIECE + PIECES), "un");
    assert_int_equal(gf_tokenizer_size(t), V);
    check(gf_masker_make(&k, t, &s, &e), &e);
    gf_tokenizer_free(t);
    return k;
}

/* Rows of 3 to 40 tokens, [CLS] ... [SEP], with [UNK]s and [MASK]s in them, of words of 1 to 4
 * pieces; a row that begins with a piece that continues nothing. */
static gf_dataset make_rows(void) {
    gf_dataset d = {.rows = ROWS};
    gf_rng r = gf_rng_new(7, 7);
    d.start = gf_alloc_array(ROWS + 1, sizeof *d.start, NULL);
    d.ids.id = gf_alloc_array(ROWS * 40, sizeof *d.ids.id, NULL);
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t n = 1 + gf_rng_below(&r, 38);
        d.ids.id[d.ids.count++] = CLS;
        for (int64_t k = 0; k < n; k++) {
            bool piece = gf_rng_below(&r, 3) == 0 && (k > 0 || i == 5);
            int32_t id = piece ? PIECE + (int32_t)gf_rng_below(&r, PIECES)
                               : WORD + (int32_t)gf_rng_below(&r, PIECE - WORD);
            if (gf_rng_below(&r, 20) == 0) id = gf_rng_below(&r, 2) ? UNK : MASK;
            d.ids.id[d.ids.count++] = id;
        }
        d.ids.id[d.ids.count++] = SEP;
        d.start[i + 1] = d.ids.count;
    }
    return d;
}

static void free_rows(gf_dataset *d) {
    gf_free(d->start);
    gf_free(d->ids.id);
}

/* All rows as one batch, in this order, or as they stand. */
static gf_batch make_batch(const gf_dataset *d, const int64_t *order, int64_t count) {
    gf_batch b = {0};
    gf_err e = {0};
    int64_t *rows = gf_alloc_array(ROWS, sizeof *rows, &e);
    for (int64_t i = 0; i < count; i++) rows[i] = order ? order[i] : i;
    check(gf_batch_fill(&b, d, rows, count, &e), &e);
    gf_free(rows);
    return b;
}

static bool is_special(int32_t id) { return id < WORD; }
static bool is_piece(int32_t id) { return id >= PIECE && id < PIECE + PIECES; }

/* What holds of every result. */
static void check_result(const gf_masked *m, const gf_batch *b) {
    int64_t next = 0;
    assert_int_equal(m->batch.tokens, b->tokens);
    assert_int_equal(m->batch.sequences, b->sequences);
    assert_ptr_equal(m->batch.start, b->start);
    assert_ptr_equal(m->batch.row, b->row);
    for (int64_t i = 0; i < b->tokens; i++) {
        bool chosen = next < m->count && m->positions[next] == i;
        assert_in_range(m->batch.ids[i], 0, V - 1);
        if (!chosen && m->batch.ids[i] != b->ids[i]) fail_msg("token %d changed", (int)i);
        if (!chosen) continue;
        assert_int_equal(m->labels[next++], b->ids[i]);
        assert_false(is_special(b->ids[i]));
    }
    assert_int_equal(next, m->count);
}

/* |found - n p| must stay below 5 standard deviations: once in 1.7 million honest runs it does not,
 * and these runs are always the same. */
static void check_share(const char *what, double found, double n, double p) {
    double bound = 5 * sqrt(n * p * (1 - p));
    if (!(fabs(found - n * p) <= bound))
        fail_msg("%s: %g of %g, %g +- %g is wanted", what, found, n, n * p, bound);
}

/* Which of the chosen tokens became what. */
static void check_fates(const gf_masked *m, double mask, double random) {
    double hidden = 0, same = 0, special = 0, n = (double)m->count;
    for (int64_t i = 0; i < m->count; i++) {
        int32_t now = m->batch.ids[m->positions[i]];
        hidden += now == MASK;
        same += now == m->labels[i];
        special += now == UNK;
    }
    check_share("[MASK]", hidden, n, mask + random / V);
    check_share("unchanged", same, n, 1 - mask - random + random / V);
    check_share("random tokens that are [UNK]", special, n, random / V);
}

static double maskable(const gf_batch *b) {
    double n = 0;
    for (int64_t i = 0; i < b->tokens; i++) n += !is_special(b->ids[i]);
    return n;
}

static void test_shares_by_tokens(void **state) {
    static const gf_mask_settings settings[] = {
        {0.15, 0.8, 0.1, false}, {0.4, 0.5, 0.5, false}, {0.15, 0, 0, false}, {1, 1, 0, false}};
    gf_dataset d = make_rows();
    gf_batch b = make_batch(&d, NULL, ROWS);
    gf_masked m = {0};
    (void)state;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        gf_err e = {0};
        gf_masker k = make_masker(settings[i]);
        check(gf_mask_make(&m, &k, &b, &place, &e), &e);
        check_result(&m, &b);
        check_share("chosen", (double)m.count, maskable(&b), settings[i].probability);
        check_fates(&m, settings[i].mask_share, settings[i].random_share);
        gf_masker_free(&k);
    }
    gf_masked_free(&m);
    gf_batch_free(&b);
    free_rows(&d);
}

/* Independent: of pairs of neighbours both are chosen with p squared, and of a row's tokens at
 * every place p are. */
static void test_tokens_are_chosen_independently(void **state) {
    gf_dataset d = make_rows();
    gf_batch b = make_batch(&d, NULL, ROWS);
    gf_masker k = make_masker((gf_mask_settings){0.3, 0.8, 0.1, false});
    gf_masked m = {0};
    gf_err e = {0};
    double both = 0, pairs = 0, at[40] = {0}, of[40] = {0};
    (void)state;
    check(gf_mask_make(&m, &k, &b, &place, &e), &e);
    unsigned char *chosen = gf_alloc_array(b.tokens, 1, &e);
    for (int64_t i = 0; i < m.count; i++) chosen[m.positions[i]] = 1;
    for (int64_t s = 0; s < b.sequences; s++)
        for (int32_t i = b.start[s]; i < b.start[s + 1]; i++) {
            if (is_special(b.ids[i])) continue;
            at[i - b.start[s]] += chosen[i];
            of[i - b.start[s]]++;
            if (is_special(b.ids[i + 1])) continue;
            pairs++;
            both += chosen[i] && chosen[i + 1];
        }
    check_share("neighbours", both, pairs, 0.09);
    for (int i = 1; i < 39; i++) check_share("a place", at[i], of[i], 0.3);
    gf_free(chosen);
    gf_masked_free(&m);
    gf_masker_free(&k);
    gf_batch_free(&b);
    free_rows(&d);
}

/* ---- whole words ---- */

/* Words of a row, and how many of their tokens are chosen: all or none. */
typedef struct row_words {
    int64_t words, chosen_words, chosen, least; /* least: tokens of the shortest not chosen */
} row_words;

static row_words look_at_row(const gf_batch *b, const unsigned char *chosen, int64_t s) {
    row_words w = {.least = INT64_MAX};
    for (int32_t i = b->start[s]; i < b->start[s + 1];) {
        int32_t first = i, length;
        if (is_special(b->ids[i++])) continue;
        while (is_piece(b->ids[i])) i++;
        length = i - first;
        for (int32_t t = first; t < i; t++)
            if (chosen[t] != chosen[first]) fail_msg("row %d: half a word is chosen", (int)s);
        w.words++;
        w.chosen_words += chosen[first];
        if (chosen[first])
            w.chosen += length;
        else if (length < w.least)
            w.least = length;
    }
    return w;
}

static void check_row_of_words(const gf_batch *b, const unsigned char *chosen, int64_t s,
                               double p) {
    row_words w = look_at_row(b, chosen, s);
    int64_t wanted = (int64_t)rint(p * (b->start[s + 1] - b->start[s]));
    if (wanted < 1) wanted = 1;
    if (w.words == 0) {
        assert_int_equal(w.chosen, 0);
    } else if (w.chosen > wanted) { /* no word was that short */
        assert_int_equal(w.chosen_words, 1);
        assert_true(w.least > wanted);
    } else { /* nothing more fits */
        assert_true(w.chosen >= 1);
        assert_true(w.least > wanted - w.chosen);
    }
}

static void test_whole_words(void **state) {
    static const double probabilities[] = {0.15, 0.02, 0.5, 1};
    gf_dataset d = make_rows();
    gf_batch b = make_batch(&d, NULL, ROWS);
    gf_masked m = {0};
    gf_err e = {0};
    unsigned char *chosen = gf_alloc_array(b.tokens, 1, &e);
    (void)state;
    for (int i = 0; i < 4; i++) {
        gf_masker k = make_masker((gf_mask_settings){probabilities[i], 0.8, 0.1, true});
        check(gf_mask_make(&m, &k, &b, &place, &e), &e);
        check_result(&m, &b);
        check_fates(&m, 0.8, 0.1);
        memset(chosen, 0, (size_t)b.tokens);
        for (int64_t t = 0; t < m.count; t++) chosen[m.positions[t]] = 1;
        for (int64_t s = 0; s < b.sequences; s++)
            check_row_of_words(&b, chosen, s, probabilities[i]);
        gf_masker_free(&k);
    }
    gf_free(chosen);
    gf_masked_free(&m);
    gf_batch_free(&b);
    free_rows(&d);
}

/* One row over many epochs, all its words of one piece: 2 of 12 are chosen each time, every one
 * equally often. */
static void test_the_order_of_words_is_fair(void **state) {
    int32_t ids[14] = {CLS, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, SEP}, start[] = {0, 14};
    int64_t row[] = {17};
    gf_batch b = {.sequences = 1, .tokens = 14, .ids = ids, .start = start, .row = row};
    gf_masker k = make_masker((gf_mask_settings){0.15, 0.8, 0.1, true});
    gf_masked m = {0};
    gf_err e = {0};
    double found[14] = {0}, together = 0;
    (void)state;
    for (int64_t epoch = 0; epoch < 6000; epoch++) {
        check(gf_mask_make(&m, &k, &b, &(gf_mask_place){1, 0, epoch}, &e), &e);
        assert_int_equal(m.count, 2);
        for (int i = 0; i < 2; i++) found[m.positions[i]]++;
        together += m.positions[1] == m.positions[0] + 1;
    }
    for (int i = 1; i < 13; i++) check_share("a word", found[i], 6000, 2.0 / 12);
    check_share("neighbours", together, 6000, 11.0 / 66);
    gf_masked_free(&m);
    gf_masker_free(&k);
}

/* ---- what the choice depends on ---- */

/* The masked ids and the chosen places of a row, as one text. */
static void describe_row(const gf_masked *m, int64_t s, char *text, size_t size) {
    size_t n = 0;
    int32_t from = m->batch.start[s], to = m->batch.start[s + 1];
    for (int32_t i = from; i < to; i++)
        n += (size_t)snprintf(text + n, size - n, "%d ", m->batch.ids[i]);
    for (int64_t i = 0; i < m->count; i++)
        if (m->positions[i] >= from && m->positions[i] < to)
            n += (size_t)snprintf(text + n, size - n, "@%d=%d ", m->positions[i] - from,
                                  m->labels[i]);
}

static void same_in_any_batch(bool whole_word) {
    gf_dataset d = make_rows();
    gf_batch all = make_batch(&d, NULL, ROWS), some;
    gf_masker k = make_masker((gf_mask_settings){0.3, 0.8, 0.1, whole_word});
    gf_masked m = {0}, again = {0};
    gf_err e = {0};
    int64_t order[ROWS];
    gf_rng r = gf_rng_new(1, 2);
    check(gf_mask_make(&m, &k, &all, &place, &e), &e);
    gf_rng_shuffle(&r, ROWS, order);
    for (int64_t i = 0; i < 300; i += 7) {
        some = make_batch(&d, order + i, 7);
        check(gf_mask_make(&again, &k, &some, &place, &e), &e);
        for (int64_t s = 0; s < 7; s++) {
            char a[1024], b[1024];
            describe_row(&m, order[i + s], a, sizeof a);
            describe_row(&again, s, b, sizeof b);
            assert_string_equal(a, b);
        }
        gf_batch_free(&some);
    }
    gf_masked_free(&again);
    gf_masked_free(&m);
    gf_masker_free(&k);
    gf_batch_free(&all);
    free_rows(&d);
}

static void test_a_row_is_masked_alike_in_any_batch(void **state) {
    (void)state;
    same_in_any_batch(false);
    same_in_any_batch(true);
}

/* Other seeds, phases, epochs and rows choose independently: both choose p squared of all. */
static void test_everything_else_changes_the_choice(void **state) {
    static const gf_mask_place others[] = {
        {43, 1, 3}, {42 + (1ULL << 32), 1, 3}, {42, 2, 3}, {42, 1, 4}, {42, 3, 1}};
    gf_dataset d = make_rows();
    gf_batch b = make_batch(&d, NULL, ROWS);
    gf_masker k = make_masker((gf_mask_settings){0.3, 1, 0, false});
    gf_masked m = {0}, other = {0};
    gf_err e = {0};
    (void)state;
    check(gf_mask_make(&m, &k, &b, &place, &e), &e);
    for (size_t i = 0; i <= sizeof others / sizeof *others; i++) {
        bool last = i == sizeof others / sizeof *others;
        double both = 0;
        for (int64_t s = 0; last && s < ROWS; s++) b.row[s] += ROWS;
        check(gf_mask_make(&other, &k, &b, last ? &place : &others[i], &e), &e);
        for (int64_t t = 0, u = 0; t < m.count; t++) {
            while (u < other.count && other.positions[u] < m.positions[t]) u++;
            both += u < other.count && other.positions[u] == m.positions[t];
        }
        check_share("chosen twice", both, maskable(&b), 0.09);
    }
    gf_masked_free(&other);
    gf_masked_free(&m);
    gf_masker_free(&k);
    gf_batch_free(&b);
    free_rows(&d);
}

static void test_rows_without_words(void **state) {
    int32_t ids[] = {CLS, SEP, CLS, UNK, SEP}, start[] = {0, 2, 5};
    int64_t row[] = {0, 1};
    gf_batch b = {.sequences = 2, .tokens = 5, .ids = ids, .start = start, .row = row};
    (void)state;
    for (int whole = 0; whole < 2; whole++) {
        gf_masker k = make_masker((gf_mask_settings){1, 0.8, 0.1, whole});
        gf_masked m = {0};
        gf_err e = {0};
        check(gf_mask_make(&m, &k, &b, &place, &e), &e);
        assert_int_equal(m.count, 0);
        assert_non_null(m.positions);
        assert_non_null(m.labels);
        check_result(&m, &b);
        gf_masked_free(&m);
        gf_masker_free(&k);
    }
}

/* ---- failures ---- */

static void test_senseless_settings(void **state) {
    static const gf_mask_settings wrong[] = {
        {0, 0.8, 0.1, false},    {-0.1, 0.8, 0.1, false}, {1.1, 0.8, 0.1, false},
        {NAN, 0.8, 0.1, false},  {0.15, -0.1, 0, false},  {0.15, 0.8, -0.1, false},
        {0.15, 0.8, 0.3, false}, {0.15, NAN, 0, false},   {0.15, 0.5, NAN, false}};
    gf_tokenizer *t = gf_tokenizer_open("tests/golden/mlm/model", NULL);
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gf_err e = {0};
        gf_masker k;
        assert_false(gf_masker_make(&k, t, &wrong[i], &e));
        assert_int_equal(e.code, GF_E_INVALID);
        assert_non_null(strstr(e.text, "masking: the "));
        gf_masker_free(&k);
    }
    gf_tokenizer_free(t);
}

static gf_tokenizer *write_tokenizer(const char *name, const char *vocab, const char *config) {
    gf_err e = {0};
    gf_tokenizer *t;
    char *file = gf_io_join(path_of(name), "vocab.txt", NULL);
    char *other = gf_io_join(path_of(name), config[0] == '{' ? "tokenizer_config.json" : "x", NULL);
    assert_true(gf_io_make_folder(path_of(name), NULL));
    write_file(file, vocab);
    write_file(other, config);
    t = gf_tokenizer_open(path_of(name), &e);
    check(t != NULL, &e);
    gf_free(file);
    gf_free(other);
    return t;
}

static void test_a_vocabulary_without_mask(void **state) {
    gf_tokenizer *t = write_tokenizer("no-mask", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n", "");
    gf_mask_settings s = GF_MASK_DEFAULTS;
    gf_masker k;
    gf_err e = {0};
    (void)state;
    assert_false(gf_masker_make(&k, t, &s, &e));
    assert_int_equal(e.code, GF_E_MODEL);
    assert_non_null(strstr(e.text, "[MASK]"));
    gf_masker_free(&k);
    gf_tokenizer_free(t);
}

/* Special tokens that a base added are never chosen, its added words are. */
static void test_added_tokens(void **state) {
    static const char config[] =
        "{\"added_tokens_decoder\": {\"6\": {\"content\": \"[CHEM]\", \"special\": true}, "
        "\"7\": {\"content\": \"ibuprofen\", \"special\": false}}}";
    gf_tokenizer *t =
        write_tokenizer("added", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n", config);
    int32_t ids[] = {CLS, 6, 7, 5, SEP}, start[] = {0, 5};
    int64_t row[] = {0};
    gf_batch b = {.sequences = 1, .tokens = 5, .ids = ids, .start = start, .row = row};
    gf_mask_settings s = {1, 1, 0, false};
    gf_masker k;
    gf_masked m = {0};
    gf_err e = {0};
    (void)state;
    check(gf_masker_make(&k, t, &s, &e), &e);
    check(gf_mask_make(&m, &k, &b, &place, &e), &e);
    assert_int_equal(m.count, 2);
    assert_int_equal(m.batch.ids[1], 6);
    assert_int_equal(m.batch.ids[2], MASK);
    assert_int_equal(m.batch.ids[3], MASK);
    gf_masked_free(&m);
    gf_masker_free(&k);
    gf_tokenizer_free(t);
}

/* The five special tokens are special also where the file does not list them as added. */
static void test_special_tokens_that_are_not_added(void **state) {
    gf_tokenizer *t = gf_tokenizer_open("tests/golden/mlm/model", NULL);
    size_t size = 0;
    char *text = gf_tokenizer_to_json(t, &size, NULL), *bare;
    cJSON *j = cJSON_ParseWithLength(text, size);
    gf_mask_settings s = GF_MASK_DEFAULTS;
    gf_masker k;
    gf_err e = {0};
    (void)state;
    gf_tokenizer_free(t);
    assert_true(cJSON_ReplaceItemInObjectCaseSensitive(j, "added_tokens", cJSON_CreateArray()));
    bare = cJSON_PrintUnformatted(j);
    t = gf_tokenizer_from_json(bare, strlen(bare), "bare", &e);
    check(t != NULL, &e);
    assert_int_equal(t->added.count, 0);
    check(gf_masker_make(&k, t, &s, &e), &e);
    for (int32_t id = 0; id < WORD; id++) assert_int_equal(k.kind[id], k.kind[UNK]);
    for (int32_t id = WORD; id < V; id++) assert_int_not_equal(k.kind[id], k.kind[UNK]);
    gf_masker_free(&k);
    gf_tokenizer_free(t);
    cJSON_free(bare);
    cJSON_Delete(j);
    gf_free(text);
}

static void test_memory_that_runs_out(void **state) {
    gf_dataset d = make_rows();
    gf_batch b = make_batch(&d, NULL, 3);
    gf_mask_settings s = GF_MASK_DEFAULTS;
    gf_tokenizer *t = gf_tokenizer_open("tests/golden/mlm/model", NULL);
    int64_t k, live = gf_mem_get_stats().live_blocks;
    bool done = false;
    (void)state;
    for (k = 1; !done; k++) {
        gf_err e = {0};
        gf_masker masker = {0};
        gf_masked m = {0};
        gf_mem_fail_at(k, false);
        done = gf_masker_make(&masker, t, &s, &e) && gf_mask_make(&m, &masker, &b, &place, &e);
        assert_true(done != gf_mem_fault_fired());
        gf_mem_fail_at(0, false);
        if (!done) assert_int_equal(e.code, GF_E_NOMEM);
        gf_masked_free(&m);
        gf_masker_free(&masker);
        assert_int_equal(gf_mem_get_stats().live_blocks, live);
    }
    assert_int_equal(k - 1, 7); /* six allocations, then none that fails */
    gf_tokenizer_free(t);
    gf_batch_free(&b);
    free_rows(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_by_tokens),
        cmocka_unit_test(test_tokens_are_chosen_independently),
        cmocka_unit_test(test_whole_words),
        cmocka_unit_test(test_the_order_of_words_is_fair),
        cmocka_unit_test(test_a_row_is_masked_alike_in_any_batch),
        cmocka_unit_test(test_everything_else_changes_the_choice),
        cmocka_unit_test(test_rows_without_words),
        cmocka_unit_test(test_senseless_settings),
        cmocka_unit_test(test_a_vocabulary_without_mask),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_special_tokens_that_are_not_added),
        cmocka_unit_test(test_memory_that_runs_out),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
