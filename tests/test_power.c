/* A power loss at any moment of a run, in a model as weak as POSIX allows (tests/disk.h): once a
 * checkpoint was published, the disk holds it or a later one, whole, and a resumed run ends with
 * the uninterrupted run's bytes. See docs/promises.md. */
#include "tests/crash_help.h"
#include "tests/disk.h"

enum { SEEDS = 12, ALL_SEEDS = 64, RESUMED = 30, PROMISED_STATES = 10000, PROMISED_RESUMES = 28 };

static tree reference;
static disk written;
static history published;

static int record_run(void **state) {
    int fd;
    outcome o;
    if (make_project(state) != 0) return -1;
    fd = open(path_of("records"), O_RDWR | O_CREAT | O_APPEND, 0600);
    o = run(&(attempt){.record_fd = fd});
    close(fd);
    if (!o.ok) print_error("%s\n", o.e.text);
    keep_tree(&reference, "");
    disk_load(&written, path_of("records"));
    disk_take_history(&written, &published);
    return o.ok && published.count >= 5 ? 0 : -1;
}

static int free_all(void **state) {
    free_tree(&reference);
    free_history(&published);
    disk_free(&written);
    return remove_scratch(state);
}

/* The record is complete: kept as a whole, it makes the run folder. */
static void test_the_record_tells_all(void **state) {
    (void)state;
    disk_lose_power(&written, written.records, 1);
    for (int i = 0; i < reference.count; i++) {
        const kept_file *f = &reference.files[i];
        char name[256], *bytes;
        size_t size = 0;
        int node;
        snprintf(name, sizeof name, "run/%s", f->name);
        if ((node = disk_find(&written, name)) < 0) fail_msg("no record of %s", name);
        bytes = disk_content(&written, node, &size);
        assert_int_equal(size, f->size);
        assert_memory_equal(bytes, f->bytes, size);
        free(bytes);
    }
}

/* Name of the newest checkpoint on the disk, "" without one. Whatever has a checkpoint's name is
 * whole: one of those that the run published. */
static const char *check_checkpoints(const disk *d, int64_t *seen) {
    int node = disk_find(d, "run/checkpoints");
    const char *name, *newest = "";
    if (node < 0) return newest;
    for (int64_t at = 0; (name = disk_next(d, node, &at));) {
        bool is_step = strncmp(name, "step-", 5) == 0;
        size_t size = 0, n = strlen(name);
        char *bytes;
        if (n < 3 || strcmp(name + n - 3, ".h5") != 0) continue;
        bytes = disk_content(d, disk_look(d, node, name, n), &size);
        if (!is_in_history(&published, is_step ? name : NULL, bytes, size))
            fail_msg("power lost behind record %d, seed %d: %s is no checkpoint", (int)d->at,
                     (int)d->seed, name);
        free(bytes);
        (*seen)++;
        if (is_step && strcmp(name, newest) > 0) newest = name;
    }
    return newest;
}

/* Of those published by then. */
static const char *newest_published(int64_t at) {
    const char *newest = "";
    for (int i = 0; i < published.count; i++)
        if (published.items[i].record < at) newest = published.items[i].name;
    return newest;
}

/* The digests are written last: where they stand, so does all they speak of. */
static void check_results(const disk *d) {
    if (disk_find(d, "run/SHA256SUMS") < 0) return;
    for (int i = 0; i < reference.count; i++) {
        const kept_file *f = &reference.files[i];
        char name[256], *bytes;
        size_t size = 0;
        int node;
        if (strncmp(f->name, "model/", 6) != 0 && strcmp(f->name, "metrics.json") != 0) continue;
        snprintf(name, sizeof name, "run/%s", f->name);
        if ((node = disk_find(d, name)) < 0) fail_msg("behind record %d no %s", (int)d->at, name);
        bytes = disk_content(d, node, &size);
        if (size != f->size || memcmp(bytes, f->bytes, size) != 0)
            fail_msg("behind record %d, seed %d: %s is torn", (int)d->at, (int)d->seed, name);
        free(bytes);
    }
}

static void check_state(const disk *d, int64_t *seen) {
    const char *found = check_checkpoints(d, seen), *wanted = newest_published(d->at);
    if (strcmp(found, wanted) < 0)
        fail_msg("power lost behind record %d, seed %d: \"%s\" is the newest checkpoint, %s was "
                 "published",
                 (int)d->at, (int)d->seed, found, wanted);
    check_results(d);
}

/* Seeds 0 and 1 are the two ends, the others choose each write's fate. */
static void test_every_prefix_opens_to_the_old_or_the_new_state(void **state) {
    int64_t states = 0, seen = 0, step;
    int seeds = all_points() ? ALL_SEEDS : SEEDS;
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    step = 5;
#else
    step = 1;
#endif
    for (int64_t at = 0; at <= written.records; at += step)
        for (int s = 0; s < seeds; s++, states++) {
            disk_lose_power(&written, at, (uint64_t)s);
            check_state(&written, &seen);
        }
    printf("    %d records, %d checkpoints seen\n", (int)written.records, (int)seen);
    assert_true(seen > states / 2);
    report("states of the disk", states, states, PROMISED_STATES);
}

/* And from a sample of them the run goes on to its end. The log is not synced: what of it was not
 * on the disk is lost, and nothing else. */
static void test_a_run_resumed_on_such_a_disk_ends_as_ever(void **state) {
    int64_t first = published.items[0].record + 1, resumed = 0;
    int64_t by = stride(written.records - first, RESUMED);
    (void)state;
    for (int64_t at = first; at <= written.records; at += by, resumed++) {
        static tree got;
        disk_lose_power(&written, at, (uint64_t)(2 + at));
        start_anew();
        disk_write_out(&written, disk_find(&written, "run"), path_of("run"));
        run_ok(&(attempt){.resume = true});
        keep_tree(&got, "");
        assert_same_tree(&reference, &got);
        free_tree(&got);
    }
    report("resumed after a power loss", resumed, written.records - first, PROMISED_RESUMES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_record_tells_all),
        cmocka_unit_test(test_every_prefix_opens_to_the_old_or_the_new_state),
        cmocka_unit_test(test_a_run_resumed_on_such_a_disk_ends_as_ever),
    };
    return cmocka_run_group_tests(tests, record_run, free_all);
}
