/* check, of the values of a regression. */
#include "recipes/check_parts.h"

#include "core/json.h"
#include "core/mem.h"

#include <math.h>
#include <stdlib.h>

enum { WIDE = 100 }; /* from which on a linear head has a long way to go */

typedef struct values {
    double *x; /* [n] sorted */
    int64_t n, missing;
    double mean, deviation;
} values;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static bool gather(const gf_checking *c, int64_t task, int split, values *v, gf_err *e) {
    const gf_split *s = &c->care->split[split];
    double sum = 0, squares = 0;
    if (!(v->x = gf_alloc_array(s->rows, sizeof *v->x, e))) return false;
    for (int64_t i = 0; i < s->rows; i++) {
        const gf_care_label *l = &s->label[task][i];
        if (l->class >= 0)
            v->x[v->n++] = l->value;
        else
            v->missing += l->class == GF_LABEL_MISSING || l->class == GF_LABEL_NULL;
    }
    if (v->n == 0) return true;
    qsort(v->x, (size_t)v->n, sizeof *v->x, ascending);
    for (int64_t i = 0; i < v->n; i++) sum += v->x[i];
    v->mean = sum / (double)v->n;
    for (int64_t i = 0; i < v->n; i++) squares += (v->x[i] - v->mean) * (v->x[i] - v->mean);
    v->deviation = sqrt(squares / (double)v->n);
    return true;
}

/* Linear between neighbours, as numpy.quantile(). */
static double quantile(const values *v, double share) {
    double at = share * (double)(v->n - 1);
    int64_t low = (int64_t)at, high = low + 1 < v->n ? low + 1 : low;
    return v->x[low] + (at - (double)low) * (v->x[high] - v->x[low]);
}

enum { FIGURES = 7 };
static const char *const shown[FIGURES] = {
    "least", "25 % up to", "half up to", "75 % up to", "largest", "mean", "standard deviation"};
static const char *const keys[FIGURES] = {"min", "p25", "p50", "p75", "max", "mean", "std"};

static double figure(const values *v, int which) {
    static const double shares[] = {0, 0.25, 0.5, 0.75, 1};
    if (which < 5) return quantile(v, shares[which]);
    return which == 5 ? v->mean : v->deviation;
}

static bool print_counts(gf_text *out, const char *name, const values *v, bool missing, gf_err *e) {
    bool ok = gf_text_add(out, e, "  %-28s", name);
    for (int s = 0; ok && s < GF_SPLITS; s++)
        ok = gf_text_add(out, e, " %9lld", (long long)(missing ? v[s].missing : v[s].n));
    return ok && gf_text_add(out, e, "\n");
}

static bool print_table(const gf_checking *c, int64_t task, const values *v, gf_err *e) {
    gf_text *out = &c->out->text;
    bool ok = gf_check_title(c, task, e) && print_counts(out, "(values)", v, false, e);
    for (int i = 0; ok && i < FIGURES; i++) {
        ok = gf_text_add(out, e, "  %-28s", shown[i]);
        for (int s = 0; ok && s < GF_SPLITS; s++)
            ok = v[s].n ? gf_text_add(out, e, " %9.4g", figure(&v[s], i))
                        : gf_text_add(out, e, " %9s", "-");
        ok = ok && gf_text_add(out, e, "\n");
    }
    return ok && print_counts(out, "(missing)", v, true, e);
}

static bool table_to_json(const gf_checking *c, int64_t task, const values *v, cJSON *all,
                          gf_err *e) {
    cJSON *j = gf_json_object(all, c->recipe->tasks[task].name, e), *split;
    bool ok = j != NULL;
    for (int s = 0; ok && s < GF_SPLITS; s++) {
        if (!c->care->split[s].named) continue;
        ok = (split = gf_json_object(j, c->care->split[s].name, e)) &&
             gf_json_number(split, "missing", (double)v[s].missing, e) &&
             gf_json_number(split, "values", (double)v[s].n, e);
        for (int i = 0; ok && i < FIGURES; i++)
            ok = v[s].n ? gf_json_number(split, keys[i], figure(&v[s], i), e) != NULL
                        : gf_json_null(split, keys[i], e) != NULL;
    }
    return ok;
}

/* ---- findings ---- */

static bool find_constant(gf_checking *c, int64_t task, const values *v, gf_err *e) {
    gf_finding *f;
    if (v->n == 0 || v->x[0] < v->x[v->n - 1]) return true;
    return (f = gf_check_add(c, task, "constant_values", true, 0, v->n, e)) &&
           gf_text_add(&f->what, e,
                       "task \"%s\": every value in train is %g; nothing can be learned", f->task,
                       v->x[0]);
}

static bool find_wide(gf_checking *c, int64_t task, const values *v, gf_err *e) {
    gf_finding *f;
    double most = v->n ? fmax(fabs(v->x[0]), fabs(v->x[v->n - 1])) : 0;
    if (most < WIDE) return true;
    return (f = gf_check_add(c, task, "wide_values", false, 0, v->n, e)) &&
           gf_text_add(&f->what, e,
                       "task \"%s\": values from %g to %g, and the loss is the squared error: it "
                       "outweighs other tasks and the head has a long way to go; scale them where "
                       "the file is made, to about -1 to 1",
                       f->task, v->x[0], v->x[v->n - 1]);
}

/* Values of dev or test that are beyond those of train. */
static bool find_outside(gf_checking *c, int64_t task, const values *v, int split, gf_err *e) {
    gf_finding *f = NULL;
    const gf_split *s = &c->care->split[split];
    bool ok = true;
    for (int64_t i = 0; ok && v->n > 0 && i < s->rows; i++) {
        const gf_care_label *l = &s->label[task][i];
        if (l->class < 0 || (l->value >= v->x[0] && l->value <= v->x[v->n - 1])) continue;
        if (!f && !(f = gf_check_add(c, task, "values_outside_train", false, split, 0, e)))
            return false;
        f->count++;
        ok = gf_finding_place(f, e, "%s:%lld (%g)", gf_care_shown(c->care, s, i),
                              (long long)s->row[i].line, l->value);
    }
    return ok &&
           (!f || gf_text_add(&f->what, e,
                              "task \"%s\": %lld of the values of %s lie outside those of train, "
                              "%g to %g",
                              f->task, (long long)f->count, s->name, v->x[0], v->x[v->n - 1]));
}

bool gf_check_values(gf_checking *c, int64_t task, cJSON *all, gf_err *e) {
    values v[GF_SPLITS] = {{0}};
    int64_t present[GF_SPLITS];
    bool ok = true;
    for (int s = 0; ok && s < GF_SPLITS; s++) {
        ok = gather(c, task, s, &v[s], e);
        present[s] = v[s].n;
    }
    ok = ok && print_table(c, task, v, e) && table_to_json(c, task, v, all, e) &&
         gf_check_unmeasured(c, task, present, e) && find_constant(c, task, &v[0], e) &&
         find_wide(c, task, &v[0], e) && find_outside(c, task, &v[0], 1, e) &&
         find_outside(c, task, &v[0], 2, e);
    for (int s = 0; s < GF_SPLITS; s++) gf_free(v[s].x);
    return ok;
}
