/* score: the formulas of the metrics, over plain counts and pairs, in double.
 *
 *     gf_pair p[] = {{0.9, 1}, {0.4, 0}, {0.6, 1}};
 *     gf_pairs_sort(p, 3);
 *     auc = gf_score_auc(p, 3);                                            (1)
 *
 * A result depends on which pairs there are, not on the order in which they came: what takes pairs
 * takes them sorted, and sums in that order. A result is NaN where the metric is undefined.
 *
 * A confusion matrix [n, n] counts rows by label (first index) and prediction. Definitions are
 * those of scikit-learn's function of the name that is given, or of scipy's. */
#ifndef GF_RECIPES_SCORE_H
#define GF_RECIPES_SCORE_H

#include "model/task.h"

typedef struct gf_pair {
    double x; /* a score or a prediction */
    double y; /* the truth: 0 or 1, or a value */
} gf_pair;

/* By x, then by y. */
void gf_pairs_sort(gf_pair *p, int64_t n);

/* ---- counts ---- */

/* a / b, and 0 where b is 0. */
double gf_score_ratio(int64_t a, int64_t b);
/* balanced_accuracy_score: the mean recall of the classes that occur as labels; NaN without any. */
double gf_score_balanced_accuracy(const int64_t *confusion, int64_t n);
/* matthews_corrcoef (Gorodkin 2004); 0 where the labels or the predictions are all of one class. */
double gf_score_mcc(const int64_t *confusion, int64_t n);
/* cohen_kappa_score(weights="quadratic") with the distances of all n classes (Cohen 1968); NaN
 * where labels and predictions are all of one and the same class. */
double gf_score_kappa(const int64_t *confusion, int64_t n);
/* The mean distance in ranks between label and prediction. */
double gf_score_rank_error(const int64_t *confusion, int64_t n);
/* spearmanr of the ranks; NaN where labels or predictions are all of one class. */
double gf_score_rank_correlation(const int64_t *confusion, int64_t n);

/* ---- sorted pairs, y of which is 0 or 1 ---- */

/* roc_auc_score of two classes: the share of pairs of a 1 and a 0 in which the 1 has the larger
 * score, equal ones counting half. NaN unless both occur. */
double gf_score_auc(const gf_pair *p, int64_t n);
/* average_precision_score; NaN without a 1. */
double gf_score_average_precision(const gf_pair *p, int64_t n);
/* Expected calibration error (Guo et al. 2017, equation 3) with x in [0, 1] a probability and y
 * whether it came true: over the bins ((m - 1) / 15, m / 15], the mean of |mean x - mean y|
 * weighted by the rows in the bin. */
double gf_score_calibration_error(const gf_pair *p, int64_t n);
/* The threshold t for which "x >= t" has the largest F1: halfway between neighbouring scores, or
 * the lowest score. Of equally good ones the nearest to 0.5; 0.5 without a 1. */
gf_real gf_score_threshold(const gf_pair *p, int64_t n);

/* ---- sorted pairs of numbers ---- */

/* mean_absolute_error and root_mean_squared_error. */
double gf_score_mae(const gf_pair *p, int64_t n);
double gf_score_rmse(const gf_pair *p, int64_t n);
/* r2_score: 1 or 0 where y is constant; NaN of fewer than two. */
double gf_score_r2(const gf_pair *p, int64_t n);
/* pearsonr; NaN where x or y is constant. */
double gf_score_pearson(const gf_pair *p, int64_t n);
/* spearmanr, ties having the mean of their ranks; NaN likewise. Overwrites the pairs. */
double gf_score_spearman(gf_pair *p, int64_t n);

/* ---- one row ---- */

/* The class that the scores [n_classes] of gf_task_scores() predict. classification: the largest,
 * the first of equals. ordinal: its rank is the number of k with P(label > k) > 0.5 (Shi, Cao &
 * Raschka 2023, section 3.4). -1 for other types. */
int64_t gf_score_pick(gf_task_type type, int64_t n_classes, const gf_real *scores);

#endif
