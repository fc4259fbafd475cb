#include "recipes/score.h"

#include <math.h>
#include <stdlib.h>

enum { BINS = 15 };

/* NaN behind all numbers, so that the order is total. */
static int compare(double a, double b) {
    if (isnan(a) || isnan(b)) return (isnan(a) != 0) - (isnan(b) != 0);
    return (a > b) - (a < b);
}

static int by_x(const void *a, const void *b) {
    const gf_pair *p = a, *q = b;
    int order = compare(p->x, q->x);
    return order ? order : compare(p->y, q->y);
}

void gf_pairs_sort(gf_pair *p, int64_t n) {
    if (n > 1) qsort(p, (size_t)n, sizeof *p, by_x);
}

double gf_score_ratio(int64_t a, int64_t b) { return b > 0 ? (double)a / (double)b : 0; }

static int64_t count_labels(const int64_t *confusion, int64_t n, int64_t c) {
    int64_t sum = 0;
    for (int64_t o = 0; o < n; o++) sum += confusion[c * n + o];
    return sum;
}

static int64_t count_predictions(const int64_t *confusion, int64_t n, int64_t c) {
    int64_t sum = 0;
    for (int64_t o = 0; o < n; o++) sum += confusion[o * n + c];
    return sum;
}

double gf_score_balanced_accuracy(const int64_t *confusion, int64_t n) {
    double sum = 0;
    int64_t seen = 0;
    for (int64_t c = 0; c < n; c++) {
        int64_t labels = count_labels(confusion, n, c);
        sum += gf_score_ratio(confusion[c * n + c], labels);
        seen += labels > 0;
    }
    return seen ? sum / (double)seen : NAN;
}

double gf_score_mcc(const int64_t *confusion, int64_t n) {
    double rows = 0, right = 0, both = 0, labels = 0, predictions = 0, product;
    for (int64_t c = 0; c < n; c++) {
        double t = (double)count_labels(confusion, n, c);
        double p = (double)count_predictions(confusion, n, c);
        rows += t;
        right += (double)confusion[c * n + c];
        both += t * p;
        labels += t * t;
        predictions += p * p;
    }
    if (rows == 0) return NAN;
    product = (rows * rows - labels) * (rows * rows - predictions);
    return product > 0 ? (right * rows - both) / sqrt(product) : 0;
}

double gf_score_kappa(const int64_t *confusion, int64_t n) {
    double rows = 0, seen = 0, expected = 0;
    for (int64_t i = 0; i < n; i++) {
        double t = (double)count_labels(confusion, n, i);
        rows += t;
        for (int64_t k = 0; t > 0 && k < n; k++) {
            double far = (double)((i - k) * (i - k));
            seen += far * (double)confusion[i * n + k];
            expected += far * t * (double)count_predictions(confusion, n, k);
        }
    }
    return expected > 0 ? 1 - seen * rows / expected : NAN;
}

double gf_score_rank_error(const int64_t *confusion, int64_t n) {
    int64_t sum = 0, rows = 0;
    for (int64_t i = 0; i < n * n; i++) {
        sum += confusion[i] * llabs(i / n - i % n);
        rows += confusion[i];
    }
    return rows ? (double)sum / (double)rows : NAN;
}

/* Twice the rank, counted from their mean, of the rows in class c, when `before` rows lie in lower
 * classes and `in` in this one. */
static double centred_rank(int64_t before, int64_t in, int64_t rows) {
    return (double)(2 * before + in + 1 - (rows + 1));
}

double gf_score_rank_correlation(const int64_t *confusion, int64_t n) {
    double both = 0, labels = 0, predictions = 0;
    int64_t rows = 0, below = 0;
    for (int64_t i = 0; i < n * n; i++) rows += confusion[i];
    for (int64_t i = 0; i < n; i++) {
        int64_t t = count_labels(confusion, n, i), q = count_predictions(confusion, n, i);
        int64_t left = 0, under = 0;
        double rank = centred_rank(below, t, rows), other;
        for (int64_t k = 0; k < i; k++) under += count_predictions(confusion, n, k);
        other = centred_rank(under, q, rows);
        labels += (double)t * rank * rank;
        predictions += (double)q * other * other;
        for (int64_t k = 0; k < n; k++) {
            int64_t p = count_predictions(confusion, n, k);
            both += (double)confusion[i * n + k] * rank * centred_rank(left, p, rows);
            left += p;
        }
        below += t;
    }
    return labels > 0 && predictions > 0 ? both / sqrt(labels * predictions) : NAN;
}

/* The end of the pairs from `first` on with the same x; *ones counts those of them whose y is 1. */
static int64_t end_of_ties(const gf_pair *p, int64_t n, int64_t first, int64_t *ones) {
    int64_t i = first;
    for (*ones = 0; i < n && compare(p[i].x, p[first].x) == 0; i++) *ones += p[i].y > 0;
    return i;
}

double gf_score_auc(const gf_pair *p, int64_t n) {
    int64_t positives = 0, negatives = 0, twice = 0, ones, end;
    for (int64_t i = 0; i < n; i = end) {
        end = end_of_ties(p, n, i, &ones);
        twice += ones * (2 * negatives + (end - i - ones));
        positives += ones;
        negatives += end - i - ones;
    }
    return positives && negatives ? (double)twice / 2 / (double)positives / (double)negatives : NAN;
}

static int64_t count_ones(const gf_pair *p, int64_t n) {
    int64_t ones = 0;
    for (int64_t i = 0; i < n; i++) ones += p[i].y > 0;
    return ones;
}

/* The begin of the pairs before `end` with the same x, from the highest score down. */
static int64_t begin_of_ties(const gf_pair *p, int64_t end, int64_t *ones) {
    int64_t i = end;
    for (*ones = 0; i > 0 && compare(p[i - 1].x, p[end - 1].x) == 0; i--) *ones += p[i - 1].y > 0;
    return i;
}

double gf_score_average_precision(const gf_pair *p, int64_t n) {
    int64_t all = count_ones(p, n), hits = 0, ones, begin;
    double sum = 0;
    for (int64_t end = n; end > 0; end = begin) {
        begin = begin_of_ties(p, end, &ones);
        hits += ones;
        sum += (double)ones * (double)hits / (double)(n - begin);
    }
    return all ? sum / (double)all : NAN;
}

static int bin_of(double x) {
    int bin = x > 0 ? (int)ceil(fmin(x, 1) * BINS) - 1 : 0;
    return bin < 0 ? 0 : bin;
}

double gf_score_calibration_error(const gf_pair *p, int64_t n) {
    double gap[BINS] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i++) gap[bin_of(p[i].x)] += p[i].y - p[i].x;
    for (int b = 0; b < BINS; b++) sum += fabs(gap[b]);
    return n ? sum / (double)n : NAN;
}

/* A threshold that lets x[at] and all above pass, halfway to the next lower score where there is
 * one. Halfway between neighbouring floats may round to the lower one, which must not pass. */
static gf_real threshold_at(const gf_pair *p, int64_t at) {
    gf_real middle;
    if (at == 0) return (gf_real)p[0].x;
    middle = (gf_real)((p[at].x + p[at - 1].x) / 2);
    return (double)middle > p[at - 1].x ? middle : (gf_real)p[at].x;
}

gf_real gf_score_threshold(const gf_pair *p, int64_t n) {
    int64_t all = count_ones(p, n), hits = 0, ones, begin;
    int64_t best = 0, best_below = 1; /* half of F1 as a fraction: hits / (predicted + positives) */
    gf_real threshold = (gf_real)0.5;
    while (n > 0 && isnan(p[n - 1].x)) n--;
    for (int64_t end = n; all > 0 && end > 0; end = begin) {
        gf_real t;
        int64_t below, gain;
        begin = begin_of_ties(p, end, &ones);
        hits += ones;
        below = n - begin + all;
        gain = hits * best_below - best * below;
        t = threshold_at(p, begin);
        if (gain < 0 ||
            (gain == 0 && (best == 0 || fabs((double)t - 0.5) >= fabs((double)threshold - 0.5))))
            continue;
        best = hits;
        best_below = below;
        threshold = t;
    }
    return threshold;
}

double gf_score_mae(const gf_pair *p, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs(p[i].x - p[i].y);
    return n ? sum / (double)n : NAN;
}

static double squares(const gf_pair *p, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (p[i].x - p[i].y) * (p[i].x - p[i].y);
    return sum;
}

double gf_score_rmse(const gf_pair *p, int64_t n) {
    return n ? sqrt(squares(p, n) / (double)n) : NAN;
}

typedef struct moments {
    double xx, yy, xy; /* of the distances from the means */
    bool flat_x, flat_y;
} moments;

static moments take_moments(const gf_pair *p, int64_t n) {
    moments m = {.flat_x = true, .flat_y = true};
    double x = 0, y = 0;
    for (int64_t i = 0; i < n; i++) {
        x += p[i].x;
        y += p[i].y;
        m.flat_x = m.flat_x && p[i].x == p[0].x;
        m.flat_y = m.flat_y && p[i].y == p[0].y;
    }
    x /= (double)n;
    y /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        m.xx += (p[i].x - x) * (p[i].x - x);
        m.yy += (p[i].y - y) * (p[i].y - y);
        m.xy += (p[i].x - x) * (p[i].y - y);
    }
    return m;
}

double gf_score_r2(const gf_pair *p, int64_t n) {
    double missed = squares(p, n);
    moments m;
    if (n < 2) return NAN;
    m = take_moments(p, n);
    if (m.flat_y) return missed == 0 ? 1 : 0;
    return 1 - missed / m.yy;
}

double gf_score_pearson(const gf_pair *p, int64_t n) {
    moments m;
    double r;
    if (n < 2) return NAN;
    m = take_moments(p, n);
    if (m.flat_x || m.flat_y) return NAN;
    r = m.xy / sqrt(m.xx) / sqrt(m.yy);
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

/* Sorted pairs: x becomes its rank, and x and y change places. */
static void rank_and_swap(gf_pair *p, int64_t n) {
    int64_t ones, end;
    for (int64_t i = 0; i < n; i = end) {
        double rank;
        end = end_of_ties(p, n, i, &ones);
        rank = (double)(i + end + 1) / 2;
        for (int64_t k = i; k < end; k++) p[k] = (gf_pair){p[k].y, rank};
    }
}

double gf_score_spearman(gf_pair *p, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (isnan(p[i].x) || isnan(p[i].y)) return NAN;
    rank_and_swap(p, n);
    gf_pairs_sort(p, n);
    rank_and_swap(p, n);
    return gf_score_pearson(p, n);
}

int64_t gf_score_pick(gf_task_type type, int64_t n_classes, const gf_real *scores) {
    int64_t best = 0;
    double above = 0;
    if (type == GF_TASK_CLASSIFICATION)
        for (int64_t c = 1; c < n_classes; c++) best = scores[c] > scores[best] ? c : best;
    if (type == GF_TASK_ORDINAL) /* the highest class that is reached with more than 0.5 */
        for (best = n_classes - 1; best > 0; best--)
            if ((above += (double)scores[best]) > 0.5) break;
    return type == GF_TASK_CLASSIFICATION || type == GF_TASK_ORDINAL ? best : -1;
}
