/* mix: how many rows of each source an epoch holds, and which.
 *
 *     gf_mix mix = {.kind = GF_MIX_TEMPERATURE, .temperature = 2, .cap = 10000};
 *     gf_mix_counts(&mix, n_sources, rows, epoch, epochs, count);    (sum of count = sum of rows)
 *     if (!gf_mix_take(seed, phase, s, rows[s], done, count[s], row, e)) goto done;
 *
 * An epoch has N rows, as many as there are in all sources, S of them. A source of n rows gives
 *   proportional  n: every row once
 *   uniform       N / S
 *   square_root   a share that goes as sqrt(n)
 *   temperature   a share that goes as min(n, cap)^(1 / T) (Arivazhagan et al. 2019; Raffel et al.
 *                 2020, section 3.5.2, who cap); T = 1 without a cap is proportional, and a large T
 *                 comes to uniform
 *   annealed      a share that goes as n^a, a from `start` to `end` linearly over the phase's
 *                 epochs; 1 and 0.2 are a = 1 - 0.8 (e - 1) / (E - 1) (Stickland & Murray 2019)
 *   round_robin   N / S; each batch holds rows of one source, and the sources take turns
 * rounded to whole rows by the largest remainder, at least one of each source that has any.
 *
 * A source that gives fewer rows than it has goes on in the next epoch where it stopped, and one
 * that gives more begins again, each time in a new order: its rows form an endless row of
 * permutations, which is a function of (seed, phase, source). Nothing is stored from epoch to
 * epoch. */
#ifndef GF_DATA_MIX_H
#define GF_DATA_MIX_H

#include "core/err.h"

#include <stdint.h>

typedef enum gf_mix_kind {
    GF_MIX_PROPORTIONAL,
    GF_MIX_UNIFORM,
    GF_MIX_SQUARE_ROOT,
    GF_MIX_TEMPERATURE,
    GF_MIX_ANNEALED,
    GF_MIX_ROUND_ROBIN
} gf_mix_kind;

/* Zeroed: proportional. */
typedef struct gf_mix {
    gf_mix_kind kind;
    double temperature; /* TEMPERATURE: T > 0 */
    int64_t cap;        /* TEMPERATURE: the most rows of a source that count; 0: none */
    double start, end;  /* ANNEALED: the first and the last epoch's exponent */
} gf_mix;

/* By kind, ended by NULL. */
extern const char *const gf_mix_names[];

/* Fills count[n] with the rows that epoch 0 <= epoch < epochs holds of each source. */
void gf_mix_counts(const gf_mix *m, int64_t n, const int64_t *rows, int64_t epoch, int64_t epochs,
                   int64_t *count);
/* Fills taken[count] with rows 0 .. rows - 1 of a source: those from `done` on in its endless row.
 * rows is 1 to 2^32 - 1 if count > 0. */
bool gf_mix_take(uint64_t seed, int64_t phase, int64_t source, int64_t rows, int64_t done,
                 int64_t count, int64_t *taken, gf_err *e);

#endif
