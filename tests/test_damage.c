/* A checkpoint with a single changed bit, or cut short, is noticed before anything of it is used.
 * See docs/promises.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "checkpoints/folder.h"
#include "checkpoints/store.h"
#include "core/rng.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/scratch.h"

#ifdef __SANITIZE_ADDRESS__
enum { STEP = 61, FLIPS = 300, PROMISED_BITS = 3200, PROMISED_FLIPS = 300 };
#else
enum { STEP = 1, FLIPS = 10000, PROMISED_BITS = 200000, PROMISED_FLIPS = 10000 };
#endif

/* A gf_store_read() that must refuse, with nothing in its outputs. */
static bool is_refused(const char *path) {
    gf_model m = {0}, none = {0};
    char *recipe = NULL, *state = NULL;
    gf_err e = {0};
    bool refused = !gf_store_read(&m, path, &recipe, &state, &e) && e.text[0] && !recipe &&
                   !state && memcmp(&m, &none, sizeof m) == 0 &&
                   (e.code == GF_E_VERIFY || e.code == GF_E_MODEL);
    gf_model_free(&m);
    gf_free(recipe);
    gf_free(state);
    return refused;
}

/* Changes a bit of the file; the same call changes it back. */
static void flip(int fd, int64_t bit) {
    unsigned char byte;
    assert_int_equal(pread(fd, &byte, 1, bit / 8), 1);
    byte ^= (unsigned char)(1 << (bit % 8));
    assert_int_equal(pwrite(fd, &byte, 1, bit / 8), 1);
}

/* What training keeps, in all the ways there are: AdamW's moments, with an average and an anchor;
 * SGD's one; an anchor alone; nothing. */
static void give_state(gf_model *m, int64_t params, gf_rng *rng) {
    for (int64_t i = 0; i < params; i++) {
        gf_param *p = m->params.items[m->params.count - 1 - i];
        gf_real **const all[] = {&p->moment1, &p->moment2, &p->average, &p->anchor};
        static const int kept[] = {1 | 2, 1 | 2 | 4 | 8, 1, 8, 0};
        int64_t count = gf_param_count(p);
        for (int k = 0; k < 4; k++) {
            if (!(kept[i % 5] >> k & 1)) continue;
            assert_non_null(*all[k] = gf_alloc_array(count, sizeof **all[k], NULL));
            for (int64_t j = 0; j < count; j++) (*all[k])[j] = gf_rng_normal(rng);
        }
        p->updates = kept[i % 5] & 1 ? i : 0;
    }
}

/* A BERT of one layer, `hidden` wide, with plain's tokenizer and weights that follow from seeds. */
static void write_checkpoint(const char *path, int64_t hidden) {
    gf_model plain = {0}, m = {0};
    gf_bert_config config;
    gf_rng rng = gf_rng_new(5, 1);
    gf_err e = {0};
    if (!gf_folder_open(&plain, "tests/data/checkpoints/plain", 0, NULL, &e))
        fail_msg("%s", e.text);
    config = plain.config;
    config.hidden_size = hidden;
    config.intermediate_size = 2 * hidden;
    config.num_attention_heads = 1;
    config.num_hidden_layers = hidden < 8 ? 1 : 2;
    if (!gf_model_make(&m, &config, &e)) fail_msg("%s", e.text);
    m.tokenizer = plain.tokenizer, plain.tokenizer = NULL; /* m owns it now */
    for (int64_t i = 0; i < m.params.count; i++) {
        gf_param *p = m.params.items[i];
        if (!gf_param_own(p, &e)) fail_msg("%s", e.text);
        for (int64_t k = 0; k < gf_param_count(p); k++) p->owned[k] = gf_rng_normal(&rng);
    }
    give_state(&m, hidden < 8 ? 4 : m.params.count, &rng);
    if (!gf_store_write(path, NULL, &m, "{}", "{}", &e)) fail_msg("%s", e.text);
    gf_model_free(&m);
    gf_model_free(&plain);
}

static int64_t size_of(const char *path) {
    gf_map map = {0};
    gf_model m = {0};
    int64_t size;
    gf_err e = {0};
    if (!gf_store_read(&m, path, NULL, NULL, &e)) fail_msg("%s", e.text); /* whole, it is read */
    gf_model_free(&m);
    if (!gf_io_map(&map, path, &e)) fail_msg("%s", e.text);
    size = (int64_t)map.size;
    gf_io_unmap(&map);
    return size;
}

static void report(const char *what, int64_t covered, int64_t promised) {
    printf("    %s: %lld\n", what, (long long)covered);
    if (covered < promised) fail_msg("%s: %d are promised", what, (int)promised);
}

static void test_every_changed_bit_of_a_small_checkpoint(void **state) {
    const char *path = path_of("small.h5");
    int64_t bits, tried = 0;
    int fd;
    (void)state;
    write_checkpoint(path, 1);
    bits = 8 * size_of(path);
    assert_true((fd = open(path, O_RDWR)) >= 0);
    for (int64_t bit = 0; bit < bits; bit += STEP, tried++) {
        flip(fd, bit);
        if (!is_refused(path)) fail_msg("bit %d of byte %d", (int)(bit % 8), (int)(bit / 8));
        flip(fd, bit);
    }
    close(fd);
    assert_int_equal(8 * size_of(path), bits);
    report("changed bits of a small checkpoint", tried, PROMISED_BITS);
}

static void test_every_truncation_of_a_small_checkpoint(void **state) {
    const char *path = path_of("cut.h5");
    int64_t size, tried = 0;
    (void)state;
    write_checkpoint(path, 1);
    size = size_of(path);
    for (int64_t n = size - 1; n >= 0; n -= STEP, tried++) {
        assert_int_equal(truncate(path, n), 0);
        if (!is_refused(path)) fail_msg("%d bytes were enough", (int)n);
    }
    report("lengths of a small checkpoint", tried, PROMISED_BITS / 8);
}

static void test_random_bits_of_a_larger_checkpoint(void **state) {
    const char *path = path_of("large.h5");
    gf_rng rng = gf_rng_new(11, 1);
    int64_t bits, tried = 0;
    int fd;
    (void)state;
    write_checkpoint(path, 108);
    bits = 8 * size_of(path);
    assert_true(bits > 8 * (int64_t)2000000);
    assert_true((fd = open(path, O_RDWR)) >= 0);
    for (; tried < FLIPS; tried++) {
        int64_t bit = gf_rng_below(&rng, (uint32_t)bits);
        flip(fd, bit);
        if (!is_refused(path)) fail_msg("bit %d of byte %d", (int)(bit % 8), (int)(bit / 8));
        flip(fd, bit);
    }
    close(fd);
    assert_int_equal(8 * size_of(path), bits);
    printf("    the larger one has %lld bytes\n", (long long)bits / 8);
    report("changed bits of a larger checkpoint", tried, PROMISED_FLIPS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_changed_bit_of_a_small_checkpoint),
        cmocka_unit_test(test_every_truncation_of_a_small_checkpoint),
        cmocka_unit_test(test_random_bits_of_a_larger_checkpoint),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
