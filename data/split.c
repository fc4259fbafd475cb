#include "data/split.h"

#include "core/mem.h"

#include <math.h>
#include <stdlib.h>

typedef enum side { TRAIN, DEV, TEST, SIDES } side;

/* A row by its text's hash. Equal hashes of 64 bits are taken for equal texts. */
typedef struct hashed {
    uint64_t hash;
    int64_t row;
} hashed;

typedef struct unit {
    const int32_t *tuple; /* [n_tasks] labels of its first row */
    int64_t n_tasks;
    uint64_t mixed;
    int64_t first, count; /* in splitting.row */
} unit;

typedef struct splitting {
    const gf_dataset *whole;
    double share[SIDES];
    hashed *row;    /* [rows] sorted by hash */
    int32_t *tuple; /* [rows, n_tasks] */
    unit *unit;     /* [n_units] sorted by stratum, then by mixed hash */
    int64_t n_units;
    unsigned char *side; /* [rows] */
    int64_t *list;       /* [rows] the rows of one side */
} splitting;

/* The finaliser of MurmurHash3 (Appleby 2011): one to one, and every bit depends on every bit, of
 * which FNV-1a's high ones are far for short texts. */
static uint64_t mix_bits(uint64_t h) {
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static int by_hash(const void *a, const void *b) {
    const hashed *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int by_stratum(const unit *x, const unit *y) {
    for (int64_t k = 0; k < x->n_tasks; k++)
        if (x->tuple[k] != y->tuple[k]) return x->tuple[k] < y->tuple[k] ? -1 : 1;
    return 0;
}

static int by_stratum_and_hash(const void *a, const void *b) {
    const unit *x = a, *y = b;
    int order = by_stratum(x, y);
    return order ? order : (x->mixed > y->mixed) - (x->mixed < y->mixed);
}

static bool start(splitting *s, gf_err *e) {
    int64_t rows = s->whole->rows, tasks = s->whole->n_tasks;
    if (!(s->row = gf_alloc_array(rows, sizeof *s->row, e)) ||
        !(s->tuple = gf_alloc_array(rows, (size_t)tasks * sizeof *s->tuple, e)) ||
        !(s->unit = gf_alloc_array(rows, sizeof *s->unit, e)) ||
        !(s->side = gf_alloc_array(rows, sizeof *s->side, e)) ||
        !(s->list = gf_alloc_array(rows, sizeof *s->list, e)))
        return false;
    for (int64_t i = 0; i < rows; i++) {
        s->row[i] = (hashed){s->whole->text_hash[i], i};
        for (int64_t k = 0; k < tasks; k++) s->tuple[i * tasks + k] = s->whole->label[k][i];
    }
    if (rows > 0) qsort(s->row, (size_t)rows, sizeof *s->row, by_hash);
    return true;
}

static void make_units(splitting *s) {
    int64_t tasks = s->whole->n_tasks;
    for (int64_t i = 0; i < s->whole->rows; i++) {
        if (i > 0 && s->row[i].hash == s->row[i - 1].hash)
            s->unit[s->n_units - 1].count++;
        else
            s->unit[s->n_units++] = (unit){.tuple = s->tuple + s->row[i].row * tasks,
                                           .n_tasks = tasks,
                                           .mixed = mix_bits(s->row[i].hash),
                                           .first = i,
                                           .count = 1};
    }
    if (s->n_units > 0) qsort(s->unit, (size_t)s->n_units, sizeof *s->unit, by_stratum_and_hash);
}

static void put_units(const splitting *s, const unit *u, int64_t n, side to) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < u[i].count; k++)
            s->side[s->row[u[i].first + k].row] = (unsigned char)to;
}

static void divide_stratum(const splitting *s, const unit *u, int64_t n, gf_split_counts *counts) {
    int64_t dev = (int64_t)floor(s->share[DEV] * (double)n + 0.5);
    int64_t test = (int64_t)floor(s->share[TEST] * (double)n + 0.5);
    counts->strata++;
    if (dev + test < n && (dev > 0 || s->share[DEV] == 0) && (test > 0 || s->share[TEST] == 0)) {
        put_units(s, u, dev, DEV);
        put_units(s, u + dev, test, TEST);
        return;
    }
    counts->small++;
    for (int64_t i = 0; i < n; i++) counts->small_rows += u[i].count;
}

static void divide(const splitting *s, gf_split_counts *counts) {
    for (int64_t i = 0, n; i < s->n_units; i += n) {
        for (n = 1; i + n < s->n_units && by_stratum(&s->unit[i], &s->unit[i + n]) == 0;) n++;
        divide_stratum(s, &s->unit[i], n, counts);
    }
}

static bool collect(const splitting *s, side which, gf_dataset *to, gf_err *e) {
    static const char *const names[] = {"train", "dev", "test"};
    int64_t n = 0;
    if (which != TRAIN && s->share[which] == 0) return true;
    for (int64_t i = 0; i < s->whole->rows; i++)
        if (s->side[i] == which) s->list[n++] = i;
    if (n > 0) return gf_dataset_select(to, s->whole, s->list, n, e);
    return gf_fail(
        e, GF_E_INVALID,
        "%s: its %lld texts are too few to give %g of them to %s, kind of label by kind of "
        "label; name a file for %s",
        s->whole->n_sources ? s->whole->source->path : "", (long long)s->n_units, s->share[which],
        names[which], names[which]);
}

bool gf_dataset_split(gf_dataset *whole, double dev_share, double test_share, gf_dataset *train,
                      gf_dataset *dev, gf_dataset *test, gf_split_counts *counts, gf_err *e) {
    splitting s = {.whole = whole, .share = {[DEV] = dev_share, [TEST] = test_share}};
    bool ok = start(&s, e);
    *counts = (gf_split_counts){0};
    if (ok) {
        make_units(&s);
        counts->units = s.n_units;
        divide(&s, counts);
    }
    ok = ok && collect(&s, TRAIN, train, e) && collect(&s, DEV, dev, e) &&
         collect(&s, TEST, test, e);
    gf_free(s.row);
    gf_free(s.tuple);
    gf_free(s.unit);
    gf_free(s.side);
    gf_free(s.list);
    if (ok)
        gf_dataset_free(whole);
    else {
        gf_dataset_free(train);
        if (dev) gf_dataset_free(dev);
        if (test) gf_dataset_free(test);
    }
    return ok;
}
