#include "data/mix.h"

#include "core/mem.h"
#include "core/rng.h"

#include <math.h>
#include <string.h>

const char *const gf_mix_names[] = {"proportional", "uniform",     "square_root", "temperature",
                                    "annealed",     "round_robin", NULL};

static double exponent_of(const gf_mix *m, int64_t epoch, int64_t epochs) {
    switch (m->kind) {
    case GF_MIX_PROPORTIONAL: return 1;
    case GF_MIX_SQUARE_ROOT: return 0.5;
    case GF_MIX_TEMPERATURE: return 1 / m->temperature;
    case GF_MIX_ANNEALED:
        return epochs < 2 ? m->start
                          : m->start + (m->end - m->start) * (double)epoch / (double)(epochs - 1);
    case GF_MIX_UNIFORM:
    case GF_MIX_ROUND_ROBIN: break;
    }
    return 0;
}

/* What a source's share goes as. libm's pow is one number a source and epoch; its last bit could
 * change a count only where two remainders are equal but for it. */
static double weight_of(const gf_mix *m, int64_t rows, double exponent) {
    int64_t capped = m->kind == GF_MIX_TEMPERATURE && m->cap && rows > m->cap ? m->cap : rows;
    return rows == 0 ? 0 : exponent == 0.5 ? sqrt((double)capped) : pow((double)capped, exponent);
}

typedef struct shares {
    const gf_mix *mix;
    const int64_t *rows; /* [n] */
    int64_t n;
    double exponent, scale; /* a source's share in rows is its weight times scale */
} shares;

static double share_of(const shares *h, int64_t s) {
    return weight_of(h->mix, h->rows[s], h->exponent) * h->scale;
}

/* The source that is to have one row more: that whose share exceeds its count most; or one row
 * less: that whose share does so least, but for those with their last row. The first of several. */
static int64_t next_to_change(const shares *h, const int64_t *count, bool more) {
    int64_t best = -1;
    double found = 0;
    for (int64_t s = 0; s < h->n; s++) {
        double excess = share_of(h, s) - (double)count[s];
        if (h->rows[s] == 0 || (!more && count[s] < 2)) continue;
        if (best >= 0 && (more ? excess <= found : excess >= found)) continue;
        best = s;
        found = excess;
    }
    return best;
}

void gf_mix_counts(const gf_mix *m, int64_t n, const int64_t *rows, int64_t epoch, int64_t epochs,
                   int64_t *count) {
    shares h = {m, rows, n, exponent_of(m, epoch, epochs), 0};
    double weights = 0;
    int64_t left = 0;
    for (int64_t s = 0; s < n; s++) {
        weights += weight_of(m, rows[s], h.exponent);
        left += count[s] = rows[s];
    }
    if (m->kind == GF_MIX_PROPORTIONAL || left == 0) return;
    h.scale = (double)left / weights;
    for (int64_t s = 0; s < n; s++) {
        count[s] = (int64_t)share_of(&h, s);
        if (count[s] == 0 && rows[s] > 0) count[s] = 1;
        left -= count[s];
    }
    for (; left > 0; left--) count[next_to_change(&h, count, true)]++;
    for (; left < 0; left++) count[next_to_change(&h, count, false)]--;
}

bool gf_mix_take(uint64_t seed, int64_t phase, int64_t source, int64_t rows, int64_t done,
                 int64_t count, int64_t *taken, gf_err *e) {
    int64_t *order;
    if (count == 0) return true;
    if (!(order = gf_alloc_array(rows, sizeof *order, e))) return false;
    for (int64_t filled = 0; filled < count;) {
        int64_t cycle = (done + filled) / rows, first = (done + filled) % rows;
        int64_t most = rows - first, n = count - filled < most ? count - filled : most;
        gf_rng r = gf_rng_new(seed, gf_rng_stream("source") + ((uint64_t)phase << 48) +
                                        ((uint64_t)source << 32) + (uint64_t)cycle);
        gf_rng_shuffle(&r, rows, order);
        memcpy(taken + filled, order + first, (size_t)n * sizeof *taken);
        filled += n;
    }
    gf_free(order);
    return true;
}
