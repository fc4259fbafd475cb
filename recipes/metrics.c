#include "recipes/metrics.h"

#include "core/mem.h"
#include "recipes/score.h"

#include <math.h>
#include <string.h>

/* A kept row: of one label [label, prediction, scores [C]], of multi_label [targets [C],
 * scores [C]], of regression [target, value]. */

static bool has_one_label(const gf_task_metrics *t) {
    return t->head->type == GF_TASK_CLASSIFICATION || t->head->type == GF_TASK_ORDINAL;
}

static bool start_task(gf_task_metrics *t, const gf_head *h, gf_err *e) {
    int64_t n = h->n_classes, cells = 0;
    t->head = h;
    t->width = h->type == GF_TASK_REGRESSION ? 2 : h->type == GF_TASK_MULTI_LABEL ? 2 * n : n + 2;
    if (has_one_label(t) && !gf_mul_i64(n, n, &cells))
        return gf_fail(e, GF_E_NOMEM, "too many classes");
    return (t->confusion = gf_alloc_array(cells, sizeof *t->confusion, e)) &&
           (t->classes = gf_alloc_array(n, sizeof *t->classes, e));
}

bool gf_metrics_start(gf_metrics *m, const gf_model *model, const gf_vec *vec, gf_err *e) {
    if (!(m->tasks = gf_alloc_array(model->n_heads, sizeof *m->tasks, e))) return false;
    m->n_tasks = model->n_heads;
    m->vec = vec;
    m->most_cells = GF_METRICS_CELLS;
    for (int64_t h = 0; h < m->n_tasks; h++)
        if (!start_task(&m->tasks[h], &model->heads[h], e)) return false;
    return true;
}

/* Room for a row, or NULL when the rows are given up. */
static bool make_room(const gf_metrics *m, gf_task_metrics *t, gf_real **row, gf_err *e) {
    *row = NULL;
    if (t->given_up || t->n_kept >= m->most_cells / t->width) {
        gf_free(t->rows);
        t->rows = NULL;
        t->n_kept = t->capacity = 0;
        t->given_up = true;
        return true;
    }
    if (!gf_grow(&t->rows, t->n_kept, &t->capacity, (size_t)t->width * sizeof *t->rows, e))
        return false;
    *row = t->rows + t->n_kept++ * t->width;
    return true;
}

static int64_t largest(int64_t n, const gf_real *x) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) best = x[i] > x[best] ? i : best;
    return best;
}

static bool add_one_label(const gf_metrics *m, gf_task_metrics *t, int32_t label,
                          const gf_real *logits, gf_err *e) {
    const gf_head *h = t->head;
    int64_t pick = largest(h->outputs, logits); /* of an ordinal, the scores tell it */
    gf_real *row, *spare = NULL, *scores;
    bool ok = make_room(m, t, &row, e);
    if (ok && !row && h->type == GF_TASK_ORDINAL)
        ok = (spare = gf_alloc_array(h->n_classes, sizeof *spare, e));
    if (!ok) return false;
    if ((scores = row ? row + 2 : spare)) {
        gf_task_scores(h->type, h->n_classes, m->vec, logits, scores);
        if (h->type == GF_TASK_ORDINAL) pick = gf_score_pick(h->type, h->n_classes, scores);
    }
    if (row) {
        row[0] = (gf_real)label;
        row[1] = (gf_real)pick;
    }
    t->confusion[label * h->n_classes + pick]++;
    gf_free(spare);
    return true;
}

/* Targets and as many scores. */
static bool add_targets(const gf_metrics *m, gf_task_metrics *t, const gf_real *target,
                        const gf_real *logits, gf_err *e) {
    gf_real *row;
    if (!make_room(m, t, &row, e)) return false;
    if (!row) return true;
    memcpy(row, target, (size_t)(t->width / 2) * sizeof *row);
    gf_task_scores(t->head->type, t->head->n_classes, m->vec, logits, row + t->width / 2);
    return true;
}

bool gf_metrics_add(gf_metrics *m, int64_t task, int32_t label, const gf_real *target,
                    const gf_real *logits, gf_err *e) {
    gf_task_metrics *t = &m->tasks[task];
    if (!(has_one_label(t) ? add_one_label(m, t, label, logits, e)
                           : add_targets(m, t, target, logits, e)))
        return false;
    t->support++;
    return true;
}

void gf_metrics_add_loss(gf_metrics *m, int64_t task, double sum, double share) {
    m->tasks[task].loss_sum += sum;
    m->tasks[task].loss_share += share;
}

/* ---- per class ---- */

static void count_one_label(gf_task_metrics *t) {
    int64_t n = t->head->n_classes;
    for (int64_t c = 0; c < n; c++) {
        gf_class_metrics *k = &t->classes[c];
        *k = (gf_class_metrics){.hits = t->confusion[c * n + c]};
        for (int64_t o = 0; o < n; o++) {
            k->support += t->confusion[c * n + o];
            k->predicted += t->confusion[o * n + c];
        }
    }
}

/* Returns in how many rows every class is right. */
static int64_t count_cells(gf_task_metrics *t) {
    int64_t n = t->head->n_classes, exact = 0;
    memset(t->classes, 0, (size_t)n * sizeof *t->classes);
    for (int64_t i = 0; i < t->n_kept; i++) {
        const gf_real *target = t->rows + i * t->width, *score = target + n;
        bool all = true;
        for (int64_t c = 0; c < n; c++) {
            bool is = target[c] > 0, said = score[c] >= t->head->thresholds[c];
            t->classes[c].support += is;
            t->classes[c].predicted += said;
            t->classes[c].hits += is && said;
            all = all && is == said;
        }
        exact += all;
    }
    return exact;
}

/* The means of F1 over the classes, from their counts. */
static void take_f1(gf_task_metrics *t) {
    int64_t seen = 0, support = 0, predicted = 0, hits = 0;
    bool every = t->head->type == GF_TASK_MULTI_LABEL;
    double sum = 0, weighted = 0;
    for (int64_t c = 0; c < t->head->n_classes; c++) {
        gf_class_metrics *k = &t->classes[c];
        k->precision = gf_score_ratio(k->hits, k->predicted);
        k->recall = gf_score_ratio(k->hits, k->support);
        k->f1 = gf_score_ratio(2 * k->hits, k->predicted + k->support);
        seen += every || k->support > 0 || k->predicted > 0;
        sum += k->f1;
        weighted += k->f1 * (double)k->support;
        support += k->support;
        predicted += k->predicted;
        hits += k->hits;
    }
    t->value[GF_METRIC_MACRO_F1] = seen ? sum / (double)seen : NAN;
    t->value[GF_METRIC_MICRO_F1] = gf_score_ratio(2 * hits, predicted + support);
    t->value[GF_METRIC_WEIGHTED_F1] = support ? weighted / (double)support : 0;
}

/* ---- what needs all rows: pairs [n_kept] is room ---- */

/* Class c's scores and whether it is the row's, sorted. */
static void gather_class(const gf_task_metrics *t, int64_t c, gf_pair *pairs) {
    bool cells = t->head->type == GF_TASK_MULTI_LABEL;
    int64_t first = cells ? t->head->n_classes : 2;
    for (int64_t i = 0; i < t->n_kept; i++) {
        const gf_real *row = t->rows + i * t->width;
        bool is = cells ? row[c] > 0 : row[0] == (gf_real)c;
        pairs[i] = (gf_pair){(double)row[first + c], is};
    }
    gf_pairs_sort(pairs, t->n_kept);
}

typedef struct mean {
    double sum;
    int64_t count;
} mean;

static void add_defined(mean *m, double x) {
    if (isnan(x)) return;
    m->sum += x;
    m->count++;
}

static double mean_of(const mean *m) { return m->count ? m->sum / (double)m->count : NAN; }

static void take_rankings(gf_task_metrics *t, gf_pair *pairs) {
    mean auc = {0}, precision = {0};
    int64_t n = t->head->n_classes;
    for (int64_t c = has_one_label(t) && n == 2 ? 1 : 0; c < n; c++) {
        gather_class(t, c, pairs);
        add_defined(&auc, gf_score_auc(pairs, t->n_kept));
        add_defined(&precision, gf_score_average_precision(pairs, t->n_kept));
    }
    t->value[GF_METRIC_AUC] = mean_of(&auc);
    if (gf_metric_has(GF_METRIC_MAP, t->head->type)) t->value[GF_METRIC_MAP] = mean_of(&precision);
}

static bool take_calibration(gf_task_metrics *t, gf_err *e) {
    int64_t n = t->head->n_classes, each = has_one_label(t) ? 1 : n, count, k = 0;
    gf_pair *pairs;
    if (!gf_mul_i64(t->n_kept, each, &count)) return gf_fail(e, GF_E_NOMEM, "too many rows");
    if (!(pairs = gf_alloc_array(count, sizeof *pairs, e))) return false;
    for (int64_t i = 0; i < t->n_kept; i++) {
        const gf_real *row = t->rows + i * t->width;
        if (has_one_label(t))
            pairs[k++] = (gf_pair){(double)row[2 + (int64_t)row[1]], row[0] == row[1]};
        else
            for (int64_t c = 0; c < n; c++) pairs[k++] = (gf_pair){(double)row[n + c], row[c] > 0};
    }
    gf_pairs_sort(pairs, count);
    t->value[GF_METRIC_ECE] = gf_score_calibration_error(pairs, count);
    gf_free(pairs);
    return true;
}

static void take_distances(gf_task_metrics *t, gf_pair *pairs) {
    for (int64_t i = 0; i < t->n_kept; i++)
        pairs[i] = (gf_pair){(double)t->rows[2 * i + 1], (double)t->rows[2 * i]};
    gf_pairs_sort(pairs, t->n_kept);
    t->value[GF_METRIC_MAE] = gf_score_mae(pairs, t->n_kept);
    t->value[GF_METRIC_RMSE] = gf_score_rmse(pairs, t->n_kept);
    t->value[GF_METRIC_R2] = gf_score_r2(pairs, t->n_kept);
    t->value[GF_METRIC_PEARSON] = gf_score_pearson(pairs, t->n_kept);
    t->value[GF_METRIC_SPEARMAN] = gf_score_spearman(pairs, t->n_kept);
}

static bool take_rows(gf_task_metrics *t, gf_err *e) {
    gf_pair *pairs = gf_alloc_array(t->n_kept, sizeof *pairs, e);
    if (!pairs) return false;
    if (t->head->type == GF_TASK_REGRESSION)
        take_distances(t, pairs);
    else
        take_rankings(t, pairs);
    gf_free(pairs);
    return t->head->type == GF_TASK_REGRESSION || take_calibration(t, e);
}

/* ---- together ---- */

static void take_one_label(gf_task_metrics *t) {
    const int64_t *confusion = t->confusion;
    int64_t n = t->head->n_classes;
    count_one_label(t);
    take_f1(t);
    t->value[GF_METRIC_ACCURACY] = t->value[GF_METRIC_MICRO_F1];
    t->value[GF_METRIC_BALANCED_ACCURACY] = gf_score_balanced_accuracy(confusion, n);
    t->value[GF_METRIC_MCC] = gf_score_mcc(confusion, n);
    if (t->head->type != GF_TASK_ORDINAL) return;
    t->value[GF_METRIC_MAE] = gf_score_rank_error(confusion, n);
    t->value[GF_METRIC_SPEARMAN] = gf_score_rank_correlation(confusion, n);
    t->value[GF_METRIC_QWK] = gf_score_kappa(confusion, n);
}

static void take_multi_label(gf_task_metrics *t) {
    int64_t ones = 0, exact = count_cells(t);
    take_f1(t);
    t->value[GF_METRIC_ACCURACY] = gf_score_ratio(exact, t->n_kept);
    for (int64_t c = 0; c < t->head->n_classes; c++) ones += t->classes[c].support;
    t->density = (double)ones / (double)t->n_kept / (double)t->head->n_classes;
}

static bool finish_task(gf_task_metrics *t, gf_err *e) {
    for (int i = 0; i < GF_METRICS; i++) t->value[i] = NAN;
    t->density = NAN;
    if (t->support == 0) return true;
    t->value[GF_METRIC_LOSS] = t->loss_sum / t->loss_share;
    if (has_one_label(t)) take_one_label(t);
    if (t->given_up) return true;
    if (t->head->type == GF_TASK_MULTI_LABEL) take_multi_label(t);
    return take_rows(t, e);
}

bool gf_metrics_finish(gf_metrics *m, gf_err *e) {
    for (int64_t h = 0; h < m->n_tasks; h++)
        if (!finish_task(&m->tasks[h], e)) return false;
    return true;
}

bool gf_metrics_choose_thresholds(const gf_metrics *m, int64_t task, gf_real *thresholds,
                                  gf_err *e) {
    const gf_task_metrics *t = &m->tasks[task];
    gf_pair *pairs;
    if (t->given_up) return true;
    if (!(pairs = gf_alloc_array(t->n_kept, sizeof *pairs, e))) return false;
    for (int64_t c = 0; c < t->head->n_classes; c++) {
        gather_class(t, c, pairs);
        thresholds[c] = gf_score_threshold(pairs, t->n_kept);
    }
    gf_free(pairs);
    return true;
}

void gf_metrics_forget_rows(gf_metrics *m) {
    for (int64_t h = 0; h < m->n_tasks; h++) {
        gf_free(m->tasks[h].rows);
        m->tasks[h].rows = NULL;
        m->tasks[h].n_kept = m->tasks[h].capacity = 0;
    }
}

void gf_metrics_free(gf_metrics *m) {
    gf_metrics_forget_rows(m);
    for (int64_t h = 0; h < m->n_tasks; h++) {
        gf_free(m->tasks[h].confusion);
        gf_free(m->tasks[h].classes);
    }
    gf_free(m->tasks);
    *m = (gf_metrics){0};
}
