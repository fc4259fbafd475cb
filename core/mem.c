#include "core/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every block is preceded by one cache line that tells of it. */
enum { HEADER = 64 };

typedef struct header {
    size_t bytes;
    void *whole; /* what malloc gave */
} header;

static struct {
    atomic_llong calls, failures, blocks, bytes, peak;
    atomic_llong fail_in; /* 0: no fault is armed */
    atomic_bool onwards, fired;
} heap;

bool gf_mul_i64(int64_t a, int64_t b, int64_t *out) { return !__builtin_mul_overflow(a, b, out); }
bool gf_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
bool gf_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

static bool fault_hits(void) {
    long long left = atomic_load(&heap.fail_in);
    if (left == 0) return false;
    left = atomic_fetch_sub(&heap.fail_in, 1);
    if (left > 1) return false;
    atomic_store(&heap.fail_in, atomic_load(&heap.onwards) ? 1 : 0);
    atomic_store(&heap.fired, true);
    return true;
}

static void count_block(long long bytes) {
    long long now = atomic_fetch_add(&heap.bytes, bytes) + bytes;
    long long peak = atomic_load(&heap.peak);
    atomic_fetch_add(&heap.blocks, 1);
    while (now > peak && !atomic_compare_exchange_weak(&heap.peak, &peak, now)) {}
}

/* Zeros are calloc's, which for a large block are pages that take no memory until written to. */
static void *allocate(size_t bytes, bool zeroed) {
    header h = {.bytes = bytes};
    size_t whole;
    char *block;
    atomic_fetch_add(&heap.calls, 1);
    if (!fault_hits() && gf_add_size(bytes, 2 * HEADER - 1, &whole))
        h.whole = zeroed ? calloc(1, whole) : aligned_alloc(HEADER, whole / HEADER * HEADER);
    if (!h.whole) {
        atomic_fetch_add(&heap.failures, 1);
        return NULL;
    }
    block = h.whole;
    block += (HEADER - (uintptr_t)block % HEADER) % HEADER;
    memcpy(block, &h, sizeof h);
    count_block((long long)bytes);
    return block + HEADER;
}

void *gf_alloc_hook(size_t bytes) { return allocate(bytes, false); }

static header header_of(void *p) {
    header h;
    memcpy(&h, (char *)p - HEADER, sizeof h);
    return h;
}

static size_t size_of(void *p) { return header_of(p).bytes; }

static void *fail_nomem(size_t bytes, gf_err *e) {
    gf_fail(e, GF_E_NOMEM, "out of memory: %zu bytes were wanted", bytes);
    return NULL;
}

void *gf_alloc(size_t bytes, gf_err *e) {
    void *p = allocate(bytes, false);
    return p ? p : fail_nomem(bytes, e);
}

void *gf_alloc_array(int64_t count, size_t size, gf_err *e) {
    return gf_realloc_array(NULL, count, size, e);
}

void *gf_realloc_array(void *p, int64_t count, size_t size, gf_err *e) {
    size_t bytes, old = p ? size_of(p) : 0;
    void *grown;
    if (count < 0 || !gf_mul_size((size_t)count, size, &bytes)) {
        gf_fail(e, GF_E_NOMEM, "out of memory: %lld elements of %zu bytes were wanted",
                (long long)count, size);
        return NULL;
    }
    if (!(grown = allocate(bytes, !p))) return fail_nomem(bytes, e);
    if (!p) return grown;
    memcpy(grown, p, old < bytes ? old : bytes);
    if (bytes > old) memset((char *)grown + old, 0, bytes - old);
    gf_free(p);
    return grown;
}

void gf_free(void *p) {
    if (!p) return;
    atomic_fetch_sub(&heap.bytes, (long long)size_of(p));
    atomic_fetch_sub(&heap.blocks, 1);
    free(header_of(p).whole);
}

char *gf_strndup(const char *text, size_t length, gf_err *e) {
    char *copy = gf_alloc(length + 1, e);
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

char *gf_strdup(const char *text, gf_err *e) { return gf_strndup(text, strlen(text), e); }

char *gf_format(gf_err *e, const char *format, ...) {
    va_list args;
    char *text = NULL;
    int length;
    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) gf_fail(e, GF_E_INTERNAL, "a text cannot be formatted");
    if (length < 0 || !(text = gf_alloc((size_t)length + 1, e))) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

bool gf_grow(void *items, int64_t count, int64_t *capacity, size_t size, gf_err *e) {
    void *old, *grown;
    int64_t wanted = *capacity < 8 ? 16 : *capacity * 2;
    if (count < *capacity) return true;
    memcpy(&old, items, sizeof old);
    if (!(grown = gf_realloc_array(old, wanted, size, e))) return false;
    memcpy(items, &grown, sizeof grown);
    *capacity = wanted;
    return true;
}

gf_mem_stats gf_mem_get_stats(void) {
    gf_mem_stats s = {atomic_load(&heap.calls), atomic_load(&heap.failures),
                      atomic_load(&heap.blocks), (size_t)atomic_load(&heap.bytes),
                      (size_t)atomic_load(&heap.peak)};
    return s;
}

void gf_mem_fail_at(int64_t k, bool onwards) {
    atomic_store(&heap.onwards, onwards);
    atomic_store(&heap.fired, false);
    atomic_store(&heap.fail_in, k);
}

bool gf_mem_fault_fired(void) { return atomic_load(&heap.fired); }
