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
    int64_t tokens = 0, line;
    const char *path;
    for (int64_t i = 0; i < count && tokens <= INT32_MAX; i++) tokens += length_of(d, rows[i]);
    if (tokens > INT32_MAX) {
        gf_dataset_place(d, rows[0], &path, &line);
        return gf_fail(e, GF_E_INVALID,
                       "%s: a batch of %lld rows has too many tokens; make it smaller", path,
                       (long long)count);
    }
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

/* ---- rows by length ---- */

typedef struct sort_key {
    int64_t length, row, position; /* position: in the order before sorting, which decides ties */
} sort_key;

static int by_length(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    if (x->length != y->length) return x->length > y->length ? -1 : 1;
    return x->position < y->position ? -1 : x->position > y->position;
}

static sort_key *make_keys(const int64_t *order, int64_t n, const gf_dataset *d, gf_err *e) {
    sort_key *key = gf_alloc_array(n, sizeof *key, e);
    for (int64_t i = 0; key && i < n; i++) key[i] = (sort_key){length_of(d, order[i]), order[i], i};
    return key;
}

bool gf_order_by_length(int64_t *order, const gf_dataset *d, gf_err *e) {
    sort_key *key;
    for (int64_t i = 0; i < d->rows; i++) order[i] = i;
    if (!(key = make_keys(order, d->rows, d, e))) return false;
    qsort(key, (size_t)d->rows, sizeof *key, by_length);
    for (int64_t i = 0; i < d->rows; i++) order[i] = key[i].row;
    gf_free(key);
    return true;
}

/* ---- batches of shuffled rows ---- */

/* What is made into batches: some rows of the epoch, shuffled, and how. */
typedef struct cutting {
    gf_epoch *epoch;
    const gf_dataset *data;
    const gf_epoch_rule *rule;
    int64_t *row; /* [n] in epoch->row */
    int64_t n;
    gf_rng *random;
} cutting;

/* How many of row[n] a batch takes, or a window of `batches` batches. */
static int64_t take(const cutting *c, const int64_t *row, int64_t n, int64_t batches) {
    int64_t most = n, budget, tokens = 0, taken = 0;
    if (c->rule->batch_size > 0 && c->rule->batch_size <= n / batches)
        most = c->rule->batch_size * batches;
    if (c->rule->batch_tokens == 0) return most;
    if (!gf_mul_i64(c->rule->batch_tokens, batches, &budget)) budget = INT64_MAX;
    for (; taken < most; taken++) {
        tokens += length_of(c->data, row[taken]);
        if (taken > 0 && tokens > budget) break;
    }
    return taken;
}

static void end_batch(gf_epoch *p, int64_t rows) {
    p->start[p->batches + 1] = p->start[p->batches] + rows;
    p->batches++;
}

static void cut_plain(const cutting *c) {
    for (int64_t i = 0, rows; i < c->n; i += rows) {
        rows = take(c, c->row + i, c->n - i, 1);
        end_batch(c->epoch, rows);
    }
}

/* Sorts the first n rows by length within windows, and cuts the windows: batch b is then
 * key[from[b]] .. key[from[b + 1] - 1]. Returns how many there are. */
static int64_t cut_windows(const cutting *c, int64_t n, sort_key *key, int64_t *from) {
    int64_t batches = 0;
    for (int64_t i = 0, end; i < n; i = end) {
        end = i + take(c, c->row + i, n - i, WINDOW_BATCHES);
        qsort(key + i, (size_t)(end - i), sizeof *key, by_length);
        for (int64_t k = i; k < end; k++) c->row[k] = key[k].row;
        while (from[batches] < end) {
            int64_t first = from[batches++];
            from[batches] = first + take(c, c->row + first, end - first, 1);
        }
    }
    return batches;
}

static bool cut_bucketed(const cutting *c, gf_err *e) {
    int64_t size = c->rule->batch_size, full = c->rule->batch_tokens ? c->n : c->n / size * size;
    sort_key *key = make_keys(c->row, c->n, c->data, e);
    int64_t *from = gf_alloc_array(full + 1, sizeof *from, e);
    int64_t *batch = gf_alloc_array(full, sizeof *batch, e), at = 0, batches;
    bool ok = key && from && batch;
    if (ok) {
        batches = cut_windows(c, full, key, from);
        gf_rng_shuffle(c->random, batches, batch);
        for (int64_t b = 0; b < batches; b++) {
            int64_t first = from[batch[b]], rows = from[batch[b] + 1] - first;
            for (int64_t i = 0; i < rows; i++) c->row[at++] = key[first + i].row;
            end_batch(c->epoch, rows);
        }
        if (full < c->n) end_batch(c->epoch, c->n - full);
    }
    gf_free(batch);
    gf_free(from);
    gf_free(key);
    return ok;
}

/* Cuts n rows behind those of the batches that there are. */
static bool cut(gf_epoch *p, const gf_dataset *d, const gf_epoch_rule *rule, int64_t n,
                gf_rng *random, gf_err *e) {
    cutting c = {p, d, rule, p->row + p->start[p->batches], n, random};
    if (rule->bucket) return cut_bucketed(&c, e);
    cut_plain(&c);
    return true;
}

/* ---- epochs ---- */

static bool reserve_epoch(gf_epoch *p, int64_t rows, gf_err *e) {
    void *new_rows;
    p->batches = p->rows = 0;
    if (rows > p->row_capacity || !p->row) {
        if (!(new_rows = gf_realloc_array(p->row, rows, sizeof *p->row, e))) return false;
        p->row = new_rows;
        p->row_capacity = rows;
    }
    if (rows >= p->start_capacity) {
        if (!(new_rows = gf_realloc_array(p->start, rows + 1, sizeof *p->start, e))) return false;
        p->start = new_rows;
        p->start_capacity = rows + 1;
    }
    p->start[0] = 0;
    p->rows = rows;
    return true;
}

/* Adds up what the sources gave before this epoch, and what they give in it. */
static void count_rows(const gf_dataset *d, const gf_epoch_rule *rule, int64_t *rows,
                       int64_t *count, int64_t *done) {
    int64_t n = d->n_sources;
    bool varies = rule->mix.kind == GF_MIX_ANNEALED;
    for (int64_t s = 0; s < n; s++) rows[s] = d->source[s].rows;
    for (int64_t k = 0; varies && k < rule->epoch; k++) {
        gf_mix_counts(&rule->mix, n, rows, k, rule->epochs, count);
        for (int64_t s = 0; s < n; s++) done[s] += count[s];
    }
    gf_mix_counts(&rule->mix, n, rows, rule->epoch, rule->epochs, count);
    for (int64_t s = 0; s < n && !varies; s++) done[s] = rule->epoch * count[s];
}

/* Fills row[] with the rows of each source, one source behind the other, and count[]. */
static bool take_sources(const gf_dataset *d, const gf_epoch_rule *rule, int64_t *row,
                         int64_t *count, gf_err *e) {
    int64_t *rows = gf_alloc_array(d->n_sources, sizeof *rows, e);
    int64_t *done = gf_alloc_array(d->n_sources, sizeof *done, e);
    bool ok = rows && done;
    if (ok) count_rows(d, rule, rows, count, done);
    for (int64_t s = 0; ok && s < d->n_sources; s++) {
        ok = gf_mix_take(rule->seed, rule->phase, s, rows[s], done[s], count[s], row, e);
        for (int64_t i = 0; ok && i < count[s]; i++) row[i] += d->source[s].first;
        row += count[s];
    }
    gf_free(rows);
    gf_free(done);
    return ok;
}

/* Copies the batches of q to p in turns: source s has batches next[s] .. end[s] - 1 of it, and
 * next[s] moves on. */
static void take_turns(gf_epoch *p, const gf_epoch *q, int64_t n, int64_t *next,
                       const int64_t *end) {
    for (int64_t turn = 0; p->batches < q->batches; turn++) {
        int64_t s = turn % n, first, rows;
        if (next[s] == end[s]) continue;
        first = q->start[next[s]];
        rows = q->start[next[s] + 1] - first;
        memcpy(p->row + p->start[p->batches], q->row + first, (size_t)rows * sizeof *p->row);
        end_batch(p, rows);
        next[s]++;
    }
}

static bool make_round_robin(gf_epoch *p, const gf_dataset *d, const gf_epoch_rule *rule,
                             gf_rng *random, gf_err *e) {
    gf_epoch q = {0};
    int64_t *count = gf_alloc_array(d->n_sources, sizeof *count, e);
    int64_t *next = gf_alloc_array(d->n_sources, sizeof *next, e);
    bool ok =
        count && next && reserve_epoch(&q, d->rows, e) && take_sources(d, rule, q.row, count, e);
    for (int64_t s = 0; ok && s < d->n_sources; s++) {
        next[s] = q.batches;
        ok = cut(&q, d, rule, count[s], random, e);
        count[s] = q.batches; /* now the end of the source's batches */
    }
    if (ok) take_turns(p, &q, d->n_sources, next, count);
    gf_epoch_free(&q);
    gf_free(count);
    gf_free(next);
    return ok;
}

/* Shuffles what the sources give. */
static bool shuffle_sources(gf_epoch *p, const gf_dataset *d, const gf_epoch_rule *rule,
                            gf_rng *random, gf_err *e) {
    int64_t *taken = gf_alloc_array(d->rows, sizeof *taken, e);
    int64_t *count = gf_alloc_array(d->n_sources, sizeof *count, e);
    bool ok = taken && count && take_sources(d, rule, taken, count, e);
    if (ok) gf_rng_shuffle(random, d->rows, p->row);
    for (int64_t i = 0; ok && i < d->rows; i++) p->row[i] = taken[p->row[i]];
    gf_free(taken);
    gf_free(count);
    return ok;
}

bool gf_epoch_make(gf_epoch *p, const gf_dataset *d, const gf_epoch_rule *rule, gf_err *e) {
    uint64_t stream =
        gf_rng_stream("order") + ((uint64_t)rule->phase << 32) + (uint64_t)rule->epoch;
    gf_rng random = gf_rng_new(rule->seed, stream);
    bool mixed = d->n_sources > 1 && rule->mix.kind != GF_MIX_PROPORTIONAL;
    if (rule->batch_size <= 0 && rule->batch_tokens <= 0)
        return gf_fail(e, GF_E_INTERNAL, "a batch has neither a size nor a number of tokens");
    if (!reserve_epoch(p, d->rows, e)) return false;
    if (mixed && rule->mix.kind == GF_MIX_ROUND_ROBIN)
        return make_round_robin(p, d, rule, &random, e);
    if (!mixed)
        gf_rng_shuffle(&random, d->rows, p->row);
    else if (!shuffle_sources(p, d, rule, &random, e))
        return false;
    return cut(p, d, rule, d->rows, &random, e);
}

void gf_epoch_free(gf_epoch *p) {
    gf_free(p->row);
    gf_free(p->start);
    *p = (gf_epoch){0};
}
