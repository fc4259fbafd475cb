/* metrics_show: metrics as JSON and as tables. */
#include "core/json.h"
#include "recipes/metrics.h"

#include <math.h>
#include <stdio.h>

/* ---- JSON ---- */

/* A number, or null where it is undefined: JSON has no NaN. */
static bool add_number(cJSON *j, const char *name, double v, gf_err *e) {
    return (isfinite(v) ? gf_json_number(j, name, v, e) : gf_json_null(j, name, e)) != NULL;
}

/* The three that every reader knows, then the rows, then the others. */
static bool add_values(const gf_task_metrics *t, cJSON *j, gf_err *e) {
    bool ok = true;
    for (int i = 0; ok && i < GF_METRICS; i++) {
        if (i == GF_METRIC_MACRO_F1 + 1) ok = add_number(j, "support", (double)t->support, e);
        if (ok && gf_metric_has((gf_metric_kind)i, t->head->type))
            ok = add_number(j, gf_metric_list[i].name, t->value[i], e);
    }
    return ok;
}

static bool add_class(const gf_task_metrics *t, int64_t c, cJSON *list, gf_err *e) {
    const gf_class_metrics *k = &t->classes[c];
    cJSON *item = gf_json_object(list, t->head->classes[c], e);
    bool ok = item && add_number(item, "precision", k->precision, e) &&
              add_number(item, "recall", k->recall, e) && add_number(item, "f1", k->f1, e) &&
              add_number(item, "support", (double)k->support, e);
    if (!ok || t->head->type != GF_TASK_MULTI_LABEL) return ok;
    return add_number(item, "threshold", (double)t->head->thresholds[c], e) &&
           add_number(item, "density", (double)k->support / (double)t->support, e);
}

static bool add_details(const gf_task_metrics *t, cJSON *j, gf_err *e) {
    int64_t n = t->head->n_classes;
    cJSON *list, *rows, *row;
    if (!gf_json_string(j, "type", gf_task_type_names[t->head->type], e)) return false;
    if (t->head->type == GF_TASK_REGRESSION) return true;
    if (!(list = gf_json_object(j, "classes", e))) return false;
    for (int64_t c = 0; c < n; c++)
        if (!add_class(t, c, list, e)) return false;
    if (t->head->type == GF_TASK_MULTI_LABEL) return add_number(j, "density", t->density, e);
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
        ok = j && add_values(t, j, e) && (!details || add_details(t, j, e));
    }
    if (!ok && !parent) cJSON_Delete(all);
    return ok ? all : NULL;
}

/* ---- a line per task ---- */

/* At most 8 characters of a number, which four decimals suit best. */
static const char *number_text(double v, char *text, size_t size) {
    if (!isfinite(v))
        snprintf(text, size, "-");
    else
        snprintf(text, size,
                 v > -99.9999 && v < 999.9999   ? "%.4f"
                 : v > -99999.9 && v < 999999.9 ? "%.1f"
                                                : "%.2g",
                 v);
    return text;
}

/* At most 9 characters. */
static const char *change_text(double v, char *text, size_t size) {
    snprintf(text, size,
             fabs(v) < 9.9999   ? "(%+.4f)"
             : fabs(v) < 9999.9 ? "(%+.1f)"
                                : "(%+.1g)",
             v);
    return text;
}

/* A number, and the change since `before` where there is one. */
static bool add_cell(gf_text *out, double now, double before, gf_err *e) {
    char text[16], change[16] = "";
    if (isfinite(now) && isfinite(before)) change_text(now - before, change, sizeof change);
    return gf_text_add(out, e, "  %8s %9s", number_text(now, text, sizeof text), change);
}

static bool add_heading(gf_text *out, const gf_metric_kind *columns, gf_err *e) {
    return gf_text_add(out, e, "%-12s %7s  %8s %9s  %8s %9s  %8s\n", "task", "rows", "loss", "",
                       gf_metric_list[columns[0]].title, "", gf_metric_list[columns[1]].title);
}

bool gf_metrics_table(const gf_metrics *m, const gf_metrics *before, gf_text *out, gf_err *e) {
    const gf_metric_kind *shown = NULL;
    bool ok = true;
    for (int64_t h = 0; ok && h < m->n_tasks; h++) {
        const gf_task_metrics *t = &m->tasks[h];
        const gf_metric_kind *columns = gf_metric_main(t->head->type);
        const double *now = t->value, *then = before ? before->tasks[h].value : NULL;
        if (columns != shown) ok = add_heading(out, columns, e);
        shown = columns;
        ok = ok && gf_text_add_column(out, t->head->name, 12, e) &&
             gf_text_add(out, e, " %7lld", (long long)t->support) &&
             add_cell(out, now[GF_METRIC_LOSS], then ? then[GF_METRIC_LOSS] : NAN, e) &&
             add_cell(out, now[columns[0]], then ? then[columns[0]] : NAN, e) &&
             add_cell(out, now[columns[1]], then ? then[columns[1]] : NAN, e);
        gf_text_trim(out);
        ok = ok && gf_text_add(out, e, "\n");
    }
    return ok;
}

/* ---- all of a task ---- */

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

/* Two metrics a line. */
static bool add_all_values(const gf_task_metrics *t, gf_text *out, gf_err *e) {
    char text[32];
    int column = 0;
    bool ok = gf_text_add(out, e, "\n%s, %s, %lld rows\n", t->head->name,
                          gf_task_type_names[t->head->type], (long long)t->support);
    for (int i = 0; ok && i < GF_METRICS; i++) {
        if (!gf_metric_has((gf_metric_kind)i, t->head->type)) continue;
        snprintf(text, sizeof text, isfinite(t->value[i]) ? "%.6g" : "-", t->value[i]);
        ok = gf_text_add(out, e, "%s%-24s %10s", column ? "    " : "  ", gf_metric_list[i].title,
                         text) &&
             (!column || gf_text_add(out, e, "\n"));
        column = !column;
    }
    return ok && (!column || gf_text_add(out, e, "\n"));
}

static bool add_classes(const gf_task_metrics *t, gf_text *out, gf_err *e) {
    const gf_real *thresholds = t->head->thresholds;
    bool ok = gf_text_add(out, e, "%-32s %9s %9s %9s %9s%s\n", "    class", "precision", "recall",
                          "F1", "support", thresholds ? " threshold   density" : "");
    for (int64_t c = 0; ok && c < t->head->n_classes; c++) {
        const gf_class_metrics *k = &t->classes[c];
        ok = gf_text_add(out, e, "%3lld ", (long long)c) &&
             gf_text_add_column(out, t->head->classes[c], 28, e) &&
             gf_text_add(out, e, " %9.4f %9.4f %9.4f %9lld", k->precision, k->recall, k->f1,
                         (long long)k->support);
        if (thresholds)
            ok = ok && gf_text_add(out, e, " %9.4f %9.4f", (double)thresholds[c],
                                   t->support ? (double)k->support / (double)t->support : 0);
        ok = ok && gf_text_add(out, e, "\n");
    }
    return ok;
}

static bool add_density(const gf_task_metrics *t, gf_text *out, gf_err *e) {
    if (isnan(t->density)) return gf_text_add(out, e, "label density -\n");
    return gf_text_add(out, e, "label density %.4f\n", t->density);
}

bool gf_metrics_details(const gf_metrics *m, gf_text *out, gf_err *e) {
    bool ok = true;
    for (int64_t h = 0; ok && h < m->n_tasks; h++) {
        const gf_task_metrics *t = &m->tasks[h];
        bool cells = t->head->type == GF_TASK_MULTI_LABEL;
        ok = add_all_values(t, out, e);
        if (!ok || t->head->type == GF_TASK_REGRESSION) continue;
        ok = add_classes(t, out, e) && (cells ? add_density(t, out, e) : add_confusion(t, out, e));
    }
    return ok;
}
