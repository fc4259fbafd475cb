/* guard: memory between two pages that nobody may touch, for tests of kernels.
 *
 *     guard g = guard_new(1000);
 *     gf_real *x = guard_place(&g, n, true);     x[n] faults, as x[-1] does with false
 *     guard_free(&g);
 *
 * A fault is a SIGSEGV, of which cmocka makes a failed test, in builds of every kind: so the inner
 * kernels need no sanitizer, under which they take ten times as long. What is placed stands where
 * the last thing placed in the same guard stood. */
#ifndef GF_TESTS_GUARD_H
#define GF_TESTS_GUARD_H

/* After <cmocka.h>. */
#include "core/real.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct guard {
    unsigned char *pages; /* one, `room` bytes, one */
    size_t room, page;
} guard;

/* Room for `most` elements. */
static inline guard guard_new(int64_t most) {
    guard g = {.page = (size_t)sysconf(_SC_PAGESIZE)};
    g.room = ((size_t)most * sizeof(gf_real) / g.page + 1) * g.page;
    g.pages = mmap(NULL, g.room + 2 * g.page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.pages != MAP_FAILED);
    assert_int_equal(mprotect(g.pages + g.page, g.room, PROT_READ | PROT_WRITE), 0);
    return g;
}

/* `size` bytes that end where the page behind begins, or that begin where the one before ends. */
static inline void *guard_place_bytes(const guard *g, size_t size, bool at_end) {
    assert_true(size <= g->room);
    return g->pages + g->page + (at_end ? g->room - size : 0);
}

static inline gf_real *guard_place(const guard *g, int64_t n, bool at_end) {
    return guard_place_bytes(g, (size_t)n * sizeof(gf_real), at_end);
}

static inline void guard_free(guard *g) {
    assert_int_equal(munmap(g->pages, g->room + 2 * g->page), 0);
}

#endif
