#include "data/batch.h"

#include "core/mem.h"
#include "core/rng.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW_BATCHES = 50 };

static int64_t length_of(const gf_dataset *d, int64_t row) {
    return d->start[row + 1] - d->start[row];
}

/* ---- batches ---- */

static bool reserve(gf_batch *b, int64_t sequences, int64_t tokens, gf_err *e) {
    void *p;
    if (sequences > b->capacity_sequences) {
        if (!(p = gf_realloc_array(b->start, sequences + 1, sizeof *b->start, e))) return false;
        b->start = p;
        if (!(p = gf_realloc_array(b->row, sequences, sizeof *b->row, e))) return false;
        b->row = p;
        b->capacity_sequences = sequences;
    }
    if (tokens > b->capacity_tokens) {
        if (!(p = gf_realloc_array(b->ids, tokens, sizeof *b->ids, e))) return false;
        b->ids = p;
        b->capacity_tokens = tokens;
    }
    return true;
}

bool gf_batch_fill(gf_batch *b, const gf_dataset *d, const int64_t *rows, int64_t count,
                   gf_err *e) {
    int64_t tokens = 0;
    for (int64_t i = 0; i < count && tokens <= INT32_MAX; i++) tokens += length_of(d, rows[i]);
    if (tokens > INT32_MAX)
        return gf_fail(e, GF_E_INVALID,
                       "%s: a batch of %lld rows has too many tokens; make it smaller", d->path,
                       (long long)count);
    if (!reserve(b, count, tokens, e)) return false;
    b->sequences = count;
    b->tokens = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t length = length_of(d, rows[i]);
        b->row[i] = rows[i];
        b->start[i] = (int32_t)b->tokens;
        memcpy(b->ids + b->tokens, d->ids.id + d->start[rows[i]], (size_t)length * sizeof *b->ids);
        b->tokens += length;
    }
    b->start[count] = (int32_t)b->tokens;
    return true;
}

void gf_batch_free(gf_batch *b) {
    gf_free(b->ids);
    gf_free(b->start);
    gf_free(b->row);
    *b = (gf_batch){0};
}

/* ---- orders ---- */

typedef struct sort_key {
    int64_t length, row, position; /* position: in the order before sorting, which decides ties */
} sort_key;

static int by_length(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return x->position < y->position ? -1 : x->position > y->position;
}

static sort_key *make_keys(const int64_t *order, const gf_dataset *d, gf_err *e) {
    sort_key *key = gf_alloc_array(d->rows, sizeof *key, e);
    for (int64_t i = 0; key && i < d->rows; i++)
        key[i] = (sort_key){length_of(d, order[i]), order[i], i};
    return key;
}

/* Sorts the full batches' rows by length within windows, and shuffles the batches. */
static bool bucket_rows(int64_t *order, const gf_dataset *d, int64_t batch_size, gf_rng *r,
                        gf_err *e) {
    int64_t batches = d->rows / batch_size;
    sort_key *key = make_keys(order, d, e);
    int64_t *batch = gf_alloc_array(batches, sizeof *batch, e);
    bool ok = key && batch;
    for (int64_t first = 0; ok && first < batches; first += WINDOW_BATCHES) {
        int64_t left = batches - first, count = left < WINDOW_BATCHES ? left : WINDOW_BATCHES;
        qsort(key + first * batch_size, (size_t)(count * batch_size), sizeof *key, by_length);
    }
    if (ok) gf_rng_shuffle(r, batches, batch);
    for (int64_t i = 0; ok && i < batches * batch_size; i++)
        order[i] = key[batch[i / batch_size] * batch_size + i % batch_size].row;
    gf_free(batch);
    gf_free(key);
    return ok;
}

bool gf_order_make(int64_t *order, const gf_dataset *d, int64_t batch_size, bool bucket,
                   uint64_t seed, int64_t phase, int64_t epoch, gf_err *e) {
    uint64_t stream = gf_rng_stream("order") + ((uint64_t)phase << 32) + (uint64_t)epoch;
    gf_rng r = gf_rng_new(seed, stream);
    gf_rng_shuffle(&r, d->rows, order);
    return !bucket || bucket_rows(order, d, batch_size, &r, e);
}

bool gf_order_by_length(int64_t *order, const gf_dataset *d, gf_err *e) {
    sort_key *key;
    for (int64_t i = 0; i < d->rows; i++) order[i] = i;
    if (!(key = make_keys(order, d, e))) return false;
    qsort(key, (size_t)d->rows, sizeof *key, by_length);
    for (int64_t i = 0; i < d->rows; i++) order[i] = key[i].row;
    gf_free(key);
    return true;
}
