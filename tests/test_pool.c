/* The pool: every part once, whoever sleeps, comes late or is too many; threads bound to
 * processors; and how many threads suit a machine, read from folders that stand for one. */
#include "core/pool.h"
#include "core/processors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/scratch.h"

enum { PARTS = 300 };

typedef struct job {
    atomic_int runs[PARTS];
    int64_t sum[PARTS]; /* no atomic: a caller that went on too early is a race */
    atomic_int others;  /* parts that the caller did not take */
    int64_t round;
    int slow; /* how long a part takes */
    bool late;
} job;

static void take(void *argument, int64_t part, int thread) {
    job *j = argument;
    for (volatile int i = 0; i < j->slow; i++) {}
    if (thread > 0 && j->late && part % 3 == 0) usleep(300); /* the caller is done long before */
    j->runs[part]++;
    j->sum[part] += j->round;
    if (thread > 0) j->others++;
}

/* Runs of few parts and of many, quick ones and slow ones, with pauses in which workers sleep. */
static void every_part_runs_once(void **state) {
    static const int threads[] = {2, 3, 7, 16};
    (void)state;
    for (int t = 0; t < 4; t++) {
        gf_pool *pool = gf_pool_new(threads[t], NULL);
        job j = {.round = 1};
        int64_t sum[PARTS] = {0};
        for (; j.round <= 3000; j.round++) {
            int64_t parts = j.round % 17 ? 1 + j.round % 5 : PARTS;
            j.slow = j.round % 3 ? 0 : 300;
            j.late = j.round % 50 == 0;
            gf_pool_run(pool, parts, take, &j);
            for (int64_t i = 0; i < parts; i++) sum[i] += j.round;
            assert_memory_equal(j.sum, sum, sizeof sum);
            assert_int_equal(j.runs[0], j.round);
            if (j.round % 500 == 0) usleep(3000);
        }
        for (int64_t i = 5; i < PARTS; i++) assert_int_equal(j.runs[i], 3000 / 17);
        gf_pool_free(pool);
    }
}

/* Those that slept come too, the last one of many as well. */
static void sleepers_are_woken(void **state) {
    gf_pool *pool = gf_pool_new(8, NULL);
    int helped = 0;
    (void)state;
    for (int round = 0; round < 10; round++) {
        job j = {.slow = 200000};
        usleep(5000);
        gf_pool_run(pool, PARTS, take, &j);
        helped += j.others > 0;
    }
    gf_pool_free(pool);
    assert_true(helped > 0);
}

/* ---- bound to processors ---- */

static cpu_set_t allowed_here(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof set, &set), 0);
    return set;
}

typedef struct bound {
    atomic_int counts[GF_MAX_THREADS]; /* processors of the thread's mask */
    atomic_int one[GF_MAX_THREADS];    /* the first of them */
} bound;

static void look(void *argument, int64_t part, int thread) {
    bound *b = argument;
    cpu_set_t set;
    int first = 0;
    (void)part;
    pthread_getaffinity_np(pthread_self(), sizeof set, &set);
    while (!CPU_ISSET((size_t)first, &set)) first++;
    b->counts[thread] = CPU_COUNT(&set);
    b->one[thread] = first;
    usleep(2000); /* so that others come */
}

static void threads_are_bound(void **state) {
    cpu_set_t before = allowed_here(), after;
    int threads = CPU_COUNT(&before) < 4 ? CPU_COUNT(&before) : 4;
    gf_pool *pool = gf_pool_new(threads, NULL);
    bound b;
    gf_err e = {0};
    (void)state;
    memset(&b, 0, sizeof b);
    if (!gf_pool_pin(pool, &e)) fail_msg("%s", e.text);
    gf_pool_run(pool, 40, look, &b);
    for (int i = 0; i < threads; i++) {
        if (b.counts[i] == 0) continue; /* it came to no part */
        assert_int_equal(b.counts[i], 1);
        assert_true(CPU_ISSET((size_t)b.one[i], &before));
        for (int k = 0; k < i; k++)
            if (b.counts[k]) assert_int_not_equal(b.one[i], b.one[k]);
    }
    assert_int_equal(b.counts[0], 1);
    gf_pool_free(pool);
    after = allowed_here();
    assert_true(CPU_EQUAL(&before, &after));
}

static void too_many_cannot_be_bound(void **state) {
    cpu_set_t before = allowed_here(), after;
    int processors = CPU_COUNT(&before);
    gf_pool *pool;
    gf_err e = {0};
    char want[64];
    (void)state;
    if (processors >= GF_MAX_THREADS) skip();
    assert_non_null(pool = gf_pool_new(processors + 1, NULL));
    assert_false(gf_pool_pin(pool, &e));
    assert_int_equal(e.code, GF_E_USAGE);
    snprintf(want, sizeof want, "--pin: %d threads want a processor each", processors + 1);
    assert_non_null(strstr(e.text, want));
    assert_non_null(strstr(e.text, "; lower --threads or leave --pin out"));
    gf_pool_free(pool);
    after = allowed_here();
    assert_true(CPU_EQUAL(&before, &after));
}

/* ---- machines that are folders ---- */

/* FOLDER/NAME/PATH holds the text. */
static void put(const char *name, const char *path, const char *text) {
    gf_err e = {0};
    char *file = gf_format(&e, "%s/%s%s", folder, name, path), *above = gf_io_folder_of(file, &e);
    assert_true(gf_io_make_folder(above, &e));
    write_file(file, text);
    gf_free(above);
    gf_free(file);
}

static void put_siblings(const char *name, int processor, const char *list) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
             processor);
    put(name, path, list);
}

/* What is read of FOLDER/NAME with processors 0 .. n - 1 but this one allowed. */
static gf_processors read_machine(const char *name, int n, int without) {
    gf_processors p;
    cpu_set_t set;
    char root[256];
    CPU_ZERO(&set);
    for (int i = 0; i < n; i++)
        if (i != without) CPU_SET((size_t)i, &set);
    snprintf(root, sizeof root, "%s/%s", folder, name);
    gf_processors_read(&p, root, &set);
    return p;
}

static void siblings_share_a_core(void **state) {
    static const int far[] = {0, 1, 2, 3, 4, 5, 6, 7}, near[] = {0, 2, 4, 6, 1, 3, 5, 7};
    char list[32];
    gf_processors p;
    (void)state;
    for (int i = 0; i < 8; i++) {
        snprintf(list, sizeof list, "%d,%d\n", i % 4, i % 4 + 4);
        put_siblings("far", i, list);
        snprintf(list, sizeof list, "%d-%d\n", i / 2 * 2, i / 2 * 2 + 1);
        put_siblings("near", i, list);
    }
    p = read_machine("far", 8, -1);
    assert_true(p.allowed == 8 && p.cores == 4 && p.quota == 0);
    assert_memory_equal(p.order, far, sizeof far);
    assert_int_equal(gf_processors_threads(&p), 4);
    p = read_machine("near", 8, -1);
    assert_true(p.allowed == 8 && p.cores == 4);
    assert_memory_equal(p.order, near, sizeof near);
    p = read_machine("near", 8, 2); /* 3 then is the first of its core */
    assert_true(p.allowed == 7 && p.cores == 4);
    assert_true(p.order[0] == 0 && p.order[1] == 3 && p.order[2] == 4 && p.order[3] == 6);
    p = read_machine("nothing", 8, -1);
    assert_true(p.allowed == 8 && p.cores == 8 && gf_processors_threads(&p) == 8);
    p = read_machine("nothing", 0, -1);
    assert_true(p.allowed == 1 && gf_processors_threads(&p) == 1);
}

static void broken_lists_are_no_siblings(void **state) {
    static const char *const lists[] = {
        "", "\n", "0-", "0,x", "1-0", "0-99999999999999999999", "-1", "0;1", "0,1 junk", "9999"};
    (void)state;
    for (int i = 0; i < 10; i++) {
        put_siblings("broken", 1, lists[i]);
        gf_processors p = read_machine("broken", 2, -1);
        if (p.cores != 2) fail_msg("\"%s\" gives %d cores", lists[i], p.cores);
    }
}

/* Threads of 64 processors, of which the group of control has this. */
static int with_quota(const char *name, const char *groups, const char *path, const char *text) {
    gf_processors p;
    put(name, "/proc/self/cgroup", groups);
    put(name, path, text);
    p = read_machine(name, 64, -1);
    return gf_processors_threads(&p);
}

static void quotas_limit_threads(void **state) {
    const char *max = "/sys/fs/cgroup/cpu.max", *above = "/sys/fs/cgroup/a/cpu.max";
    const char *old = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us";
    (void)state;
    assert_int_equal(with_quota("v2", "0::/\n", max, "200000 100000\n"), 2);
    assert_int_equal(with_quota("v2", "0::/\n", max, "150000 100000\n"), 2);
    assert_int_equal(with_quota("v2", "0::/\n", max, "10000 100000\n"), 1);
    assert_int_equal(with_quota("v2", "0::/\n", max, "6400001 100000\n"), 64);
    assert_int_equal(with_quota("v2", "0::/\n", max, "max 100000\n"), 64);
    assert_int_equal(with_quota("v2", "0::/a/b\n", above, "300000 100000\n"), 3);
    assert_int_equal(with_quota("v2", "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max", "max 100000"), 3);
    assert_int_equal(with_quota("v2", "0::/a/b\n", max, "200000 100000"), 2);
    put("v1", "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n");
    assert_int_equal(with_quota("v1", "4:memory:/x\n3:cpu,cpuacct:/\n", old, "250000\n"), 5);
    assert_int_equal(with_quota("v1", "4:memory:/x\n3:cpuacct,cpu:/y\n", old, "250000\n"), 5);
    assert_int_equal(with_quota("v1", "3:cpu:/\n", old, "-1\n"), 64);
    assert_int_equal(with_quota("v1", "3:cpuset:/\n", old, "250000\n"), 64);
}

static void broken_quotas_limit_nothing(void **state) {
    static const char *const texts[] = {"",         "max",   "x 100000", "200000",   "200000 0",
                                        "0 100000", "nan 1", "-5 1",     "inf 1000", "9 -3"};
    static const char *const groups[] = {"", "\n", "0", "0:", "::", "0::", ":::::\n:", "cpu"};
    (void)state;
    for (int i = 0; i < 10; i++)
        if (with_quota("bad", "0::/\n", "/sys/fs/cgroup/cpu.max", texts[i]) != 64)
            fail_msg("\"%s\" limits", texts[i]);
    for (int i = 0; i < 8; i++)
        assert_int_equal(with_quota("bad", groups[i], "/sys/fs/cgroup/cpu.max", "max 1"), 64);
}

/* Whatever cannot be read for lack of memory limits nothing. */
static void lack_of_memory_limits_nothing(void **state) {
    int64_t k = 0;
    (void)state;
    assert_int_equal(with_quota("v3", "0::/\n", "/sys/fs/cgroup/cpu.max", "200000 100000\n"), 2);
    for (bool fired = true; fired && k < 10000;) {
        gf_mem_fail_at(++k, false);
        gf_processors p = read_machine("v3", 3, -1);
        fired = gf_mem_fault_fired();
        assert_in_range(gf_processors_threads(&p), 2, 3);
    }
    gf_mem_fail_at(0, false);
    assert_in_range(k, 4, 9999);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_runs_once),
        cmocka_unit_test(sleepers_are_woken),
        cmocka_unit_test(threads_are_bound),
        cmocka_unit_test(too_many_cannot_be_bound),
        cmocka_unit_test(siblings_share_a_core),
        cmocka_unit_test(broken_lists_are_no_siblings),
        cmocka_unit_test(quotas_limit_threads),
        cmocka_unit_test(broken_quotas_limit_nothing),
        cmocka_unit_test(lack_of_memory_limits_nothing),
    };
    return cmocka_run_group_tests_name("pool", tests, make_scratch, remove_scratch);
}
