/* split: one data set divided into train, dev and test, where a recipe names one file only.
 *
 *     gf_dataset train = {0}, dev = {0}, test = {0};
 *     gf_split_counts n;
 *     if (!gf_dataset_split(&whole, 0.1, 0.1, &train, &dev, &test, &n, e)) goto done;
 *     if (n.small) ... n.small of n.strata kinds of rows had too few texts to be divided ...
 *
 * Which side a text falls on is a function of its hash, without a seed: run after run, and on every
 * machine. All rows of one text are a unit and stay together. Units are divided by stratum, which
 * is the tuple of the labels of the unit's first row: the class for CLASS and ORDER, and for SET
 * and NUMBER whether there is a label. In a stratum of n units, sorted by their mixed hash, the
 * first round(dev_share * n) go to dev and the next round(test_share * n) to test. So rows of other
 * strata, and the order of rows, change nothing here (but a text with different labels goes by its
 * first row).
 *
 * A stratum whose shares do not come to one unit each, with one left for train, stays in train. */
#ifndef GF_DATA_SPLIT_H
#define GF_DATA_SPLIT_H

#include "data/dataset.h"

typedef struct gf_split_counts {
    int64_t units;             /* different texts */
    int64_t strata;            /* different label tuples */
    int64_t small, small_rows; /* strata that stayed in train as too small, and their rows */
} gf_split_counts;

/* Moves whole's rows, in their order, and with all that is told of them: whole is freed and zeroed.
 * The others are zeroed before; one whose share is 0 stays so, and may be NULL. Shares are 0 to
 * below 1, also together. GF_E_INVALID if a share is positive and gets no row at all; after a
 * failure whole is as it was and the others are zeroed. */
bool gf_dataset_split(gf_dataset *whole, double dev_share, double test_share, gf_dataset *train,
                      gf_dataset *dev, gf_dataset *test, gf_split_counts *counts, gf_err *e);

#endif
