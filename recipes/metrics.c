#include "recipes/metrics.h"

#include "core/json.h"
#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool gf_metrics_start(gf_metrics *m, const gf_model *model, gf_err *e) {
    if (!(m->tasks = gf_alloc_array(model->n_heads, sizeof *m->tasks, e))) return false;
    m->n_tasks = model->n_heads;
    for (int64_t h = 0; h < m->n_tasks; h++) {
        gf_task_metrics *t = &m->tasks[h];
        int64_t n = model->heads[h].n_classes, cells;
        t->head = &model->heads[h];
        if (!gf_mul_i64(n, n, &cells)) return gf_fail(e, GF_E_NOMEM, "too many classes");
        if (!(t->confusion = gf_alloc_array(cells, sizeof *t->confusion, e))) return false;
        if (!(t->classes = gf_alloc_array(n, sizeof *t->classes, e))) return false;
    }
    return true;
}

void gf_metrics_add(gf_metrics *m, int64_t task, int32_t label, const gf_real *logits) {
    gf_task_metrics *t = &m->tasks[task];
    int64_t best = 0;
    for (int64_t c = 1; c < t->head->n_classes; c++)
        if (logits[c] > logits[best]) best = c;
    t->confusion[label * t->head->n_classes + best]++;
    t->support++;
}

void gf_metrics_add_loss(gf_metrics *m, int64_t task, double sum) { m->tasks[task].loss += sum; }

static double ratio(int64_t a, int64_t b) { return b > 0 ? (double)a / (double)b : 0; }

static void finish_task(gf_task_metrics *t) {
    int64_t n = t->head->n_classes, right = 0, seen = 0;
    double sum = 0;
    for (int64_t c = 0; c < n; c++) {
        gf_class_metrics *k = &t->classes[c];
        int64_t predicted = 0, hits = t->confusion[c * n + c];
        for (int64_t o = 0; o < n; o++) {
            k->support += t->confusion[c * n + o];
            predicted += t->confusion[o * n + c];
        }
        k->precision = ratio(hits, predicted);
        k->recall = ratio(hits, k->support);
        k->f1 = ratio(2 * hits, predicted + k->support);
        right += hits;
        seen += k->support > 0 || predicted > 0;
        sum += k->f1;
    }
    t->loss = t->support ? t->loss / (double)t->support : NAN;
    t->accuracy = t->support ? ratio(right, t->support) : NAN;
    t->macro_f1 = seen ? sum / (double)seen : NAN;
}

void gf_metrics_finish(gf_metrics *m) {
    for (int64_t h = 0; h < m->n_tasks; h++) finish_task(&m->tasks[h]);
}

void gf_metrics_free(gf_metrics *m) {
    for (int64_t h = 0; h < m->n_tasks; h++) {
        gf_free(m->tasks[h].confusion);
        gf_free(m->tasks[h].classes);
    }
    gf_free(m->tasks);
    *m = (gf_metrics){0};
}

/* A number, or null where it is undefined: JSON has no NaN. */
static bool add_number(cJSON *j, const char *name, double v, gf_err *e) {
    return (isfinite(v) ? gf_json_number(j, name, v, e) : gf_json_null(j, name, e)) != NULL;
}

static bool add_details(const gf_task_metrics *t, cJSON *j, gf_err *e) {
    int64_t n = t->head->n_classes;
    cJSON *list = gf_json_object(j, "classes", e), *rows, *row;
    for (int64_t c = 0; c < n; c++) {
        const gf_class_metrics *k = &t->classes[c];
        cJSON *item = list ? gf_json_object(list, t->head->classes[c], e) : NULL;
        if (!item || !add_number(item, "precision", k->precision, e) ||
            !add_number(item, "recall", k->recall, e) || !add_number(item, "f1", k->f1, e) ||
            !add_number(item, "support", (double)k->support, e))
            return false;
    }
    if (!(rows = gf_json_array(j, "confusion", e))) return false;
    for (int64_t c = 0; c < n; c++) {
        if (!(row = gf_json_array(rows, NULL, e))) return false;
        for (int64_t o = 0; o < n; o++)
            if (!gf_json_number(row, NULL, (double)t->confusion[c * n + o], e)) return false;
    }
    return true;
}

cJSON *gf_metrics_to_json(const gf_metrics *m, bool details, cJSON *parent, const char *name,
                          gf_err *e) {
    cJSON *all = gf_json_object(parent, name, e);
    bool ok = all != NULL;
    for (int64_t h = 0; ok && h < m->n_tasks; h++) {
        const gf_task_metrics *t = &m->tasks[h];
        cJSON *j = gf_json_object(all, t->head->name, e);
        ok = j && add_number(j, "loss", t->loss, e) && add_number(j, "accuracy", t->accuracy, e) &&
             add_number(j, "macro_f1", t->macro_f1, e) &&
             add_number(j, "support", (double)t->support, e) && (!details || add_details(t, j, e));
    }
    if (!ok && !parent) cJSON_Delete(all);
    return ok ? all : NULL;
}

/* "0.8123" or "-", and the change since `before` where there is one. */
static bool add_cell(gf_text *out, double now, double before, gf_err *e) {
    char change[24] = "";
    if (isfinite(now) && isfinite(before)) snprintf(change, sizeof change, "(%+.4f)", now - before);
    if (!isfinite(now)) return gf_text_add(out, e, "  %9s %9s", "-", "");
    return gf_text_add(out, e, "  %9.4f %9s", now, change);
}

bool gf_metrics_table(const gf_metrics *m, const gf_metrics *before, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "%-16s %7s  %9s %9s  %9s %9s  %9s\n", "task", "rows", "loss", "",
                          "accuracy", "", "macro-F1");
    for (int64_t h = 0; ok && h < m->n_tasks; h++) {
        const gf_task_metrics *t = &m->tasks[h], *b = before ? &before->tasks[h] : NULL;
        ok = gf_text_add_column(out, t->head->name, 16, e) &&
             gf_text_add(out, e, " %7lld", (long long)t->support) &&
             add_cell(out, t->loss, b ? b->loss : NAN, e) &&
             add_cell(out, t->accuracy, b ? b->accuracy : NAN, e) &&
             add_cell(out, t->macro_f1, b ? b->macro_f1 : NAN, e);
        gf_text_trim(out);
        ok = ok && gf_text_add(out, e, "\n");
    }
    return ok;
}

static int digits_of(int64_t v) {
    int digits = 1;
    while (v >= 10) v /= 10, digits++;
    return digits;
}

/* As narrow as its numbers allow; classes by their numbers in the table above, "." for none. */
static bool add_confusion(const gf_task_metrics *t, gf_text *out, gf_err *e) {
    int64_t n = t->head->n_classes, most = n - 1;
    int width;
    bool ok = gf_text_add(out, e, "confusion matrix (rows: label, columns: prediction)\n%3s", "");
    for (int64_t i = 0; i < n * n; i++)
        if (t->confusion[i] > most) most = t->confusion[i];
    width = digits_of(most) + 1;
    for (int64_t c = 0; ok && c < n; c++) ok = gf_text_add(out, e, "%*lld", width, (long long)c);
    for (int64_t i = 0; ok && i < n * n; i++) {
        if (i % n == 0) ok = gf_text_add(out, e, "\n%3lld", (long long)(i / n));
        if (t->confusion[i])
            ok = ok && gf_text_add(out, e, "%*lld", width, (long long)t->confusion[i]);
        else
            ok = ok && gf_text_add(out, e, "%*s", width, ".");
    }
    return ok && gf_text_add(out, e, "\n");
}

bool gf_metrics_details(const gf_metrics *m, gf_text *out, gf_err *e) {
    bool ok = true;
    for (int64_t h = 0; ok && h < m->n_tasks; h++) {
        const gf_task_metrics *t = &m->tasks[h];
        ok = gf_text_add(out, e, "\n    ") && gf_text_add_column(out, t->head->name, 28, e) &&
             gf_text_add(out, e, " %9s %9s %9s %9s\n", "precision", "recall", "F1", "support");
        for (int64_t c = 0; ok && c < t->head->n_classes; c++) {
            const gf_class_metrics *k = &t->classes[c];
            ok = gf_text_add(out, e, "%3lld ", (long long)c) &&
                 gf_text_add_column(out, t->head->classes[c], 28, e) &&
                 gf_text_add(out, e, " %9.4f %9.4f %9.4f %9lld\n", k->precision, k->recall, k->f1,
                             (long long)k->support);
        }
        ok = ok && add_confusion(t, out, e);
    }
    return ok;
}
