/* mem: the only malloc in graft.
 *
 *     float *w = gf_alloc_array(rows * cols, sizeof *w, e);     (NULL and *e set when memory is
 * out)
 *     ...
 *     gf_free(w);
 *
 * Four facts hold: (1) every allocation can fail and says so in *e; (2) gf_free(NULL) does nothing;
 * (3) blocks are aligned to 64 bytes, a cache line; (4) sizes are counted, and tests can make the
 * k-th call fail. The counters are the one process-wide state of this file: the heap they describe
 * is process-wide too. */
#ifndef GF_CORE_MEM_H
#define GF_CORE_MEM_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* a * b or a + b without overflow; false when the result does not fit. */
bool gf_mul_i64(int64_t a, int64_t b, int64_t *out);
bool gf_mul_size(size_t a, size_t b, size_t *out);
bool gf_add_size(size_t a, size_t b, size_t *out);

/* Uninitialised memory; a size of 0 gives a valid pointer. Free with gf_free(). */
void *gf_alloc(size_t bytes, gf_err *e);
/* Zeroed array of count elements; the product is checked. Pages of a large one that nobody writes
 * to take no memory. */
void *gf_alloc_array(int64_t count, size_t size, gf_err *e);
/* Grows or shrinks; p stays valid when this fails. */
void *gf_realloc_array(void *p, int64_t count, size_t size, gf_err *e);
void gf_free(void *p);

char *gf_strdup(const char *text, gf_err *e);
char *gf_strndup(const char *text, size_t length, gf_err *e);
/* Formatted text in memory of its own. */
char *gf_format(gf_err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For libraries that want a malloc of ours (cJSON): no gf_err, NULL on failure. */
void *gf_alloc_hook(size_t bytes);

/* A growing array: makes room for at least one element more behind *count. items is the address of
 * the pointer to the elements. */
bool gf_grow(void *items, int64_t count, int64_t *capacity, size_t size, gf_err *e);

typedef struct gf_mem_stats {
    int64_t calls;       /* allocations asked for so far */
    int64_t failures;    /* of them refused */
    int64_t live_blocks; /* not yet freed */
    size_t live_bytes, peak_bytes;
} gf_mem_stats;

gf_mem_stats gf_mem_get_stats(void);

/* Makes the k-th allocation from now (1 is the next) fail, and with `onwards` every later one too;
 * k = 0 switches the fault off. gf_mem_fault_fired() tells whether it did fire since. */
void gf_mem_fail_at(int64_t k, bool onwards);
bool gf_mem_fault_fired(void);

#endif
