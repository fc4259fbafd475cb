#include "recipes/apart.h"

#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The place of a shared parameter, -1 for a head's. */
static int64_t place_of(const gf_model *m, const gf_param *p) {
    long long layer = 0;
    if (strncmp(p->name, "heads.", 6) == 0) return -1;
    if (sscanf(p->name, "encoder.layer.%lld.", &layer) == 1) return 1 + (int64_t)layer;
    return strncmp(p->name, "embeddings.", 11) == 0 ? 0 : m->config.num_hidden_layers + 1;
}

/* Adds the trainable parameters that are shared, or that are not. */
static void add_parts(gf_apart *a, const gf_model *m, bool shared) {
    for (int64_t i = 0; i < m->params.count; i++) {
        gf_param *p = m->params.items[i];
        int64_t place = place_of(m, p), count = gf_param_count(p);
        if (!p->trainable || (place >= 0) != shared) continue;
        a->parts[a->n_parts++] = (gf_apart_part){p, a->elements, count, place};
        a->elements += count;
    }
    if (!shared) return;
    a->n_shared_parts = a->n_parts;
    a->shared = a->elements;
}

bool gf_apart_start(gf_apart *a, const gf_model *m, int64_t tasks, gf_err *e) {
    gf_apart_free(a);
    a->places = m->config.num_hidden_layers + 2;
    if (!(a->parts = gf_alloc_array(m->params.count, sizeof *a->parts, e)) ||
        !(a->gradient = gf_alloc_array(tasks, sizeof *a->gradient, e)) ||
        !(a->present = gf_alloc_array(tasks, sizeof *a->present, e)) ||
        !(a->slices = gf_alloc_array(tasks, sizeof *a->slices, e)) ||
        !(a->grams = gf_alloc_array(a->places * tasks * tasks, sizeof *a->grams, e)) ||
        !(a->coefficients = gf_alloc_array(tasks, sizeof *a->coefficients, e)))
        return false;
    a->tasks = tasks;
    add_parts(a, m, true);
    add_parts(a, m, false);
    for (int64_t t = 0; t < tasks; t++)
        if (!(a->gradient[t] = gf_alloc_array(a->elements, sizeof **a->gradient, e))) return false;
    return true;
}

void gf_apart_free(gf_apart *a) {
    for (int64_t t = 0; t < a->tasks; t++) gf_free(a->gradient[t]);
    gf_free(a->gradient);
    gf_free(a->parts);
    gf_free(a->present);
    gf_free(a->slices);
    gf_free(a->grams);
    gf_free(a->coefficients);
    *a = (gf_apart){0};
}

void gf_apart_clear(gf_apart *a) {
    for (int64_t t = 0; t < a->tasks; t++) {
        memset(a->gradient[t], 0, (size_t)a->elements * sizeof **a->gradient);
        a->present[t] = false;
    }
}

void gf_apart_take(gf_apart *a, int64_t task, const gf_vec *vec) {
    a->present[task] = true;
    for (int64_t i = 0; i < a->n_parts; i++) {
        const gf_apart_part *p = &a->parts[i];
        vec->add(p->count, p->param->grad, a->gradient[task] + p->at);
        memset(p->param->grad, 0, (size_t)p->count * sizeof *p->param->grad);
    }
}

void gf_apart_norms(const gf_apart *a, const double *weights, const gf_vec *vec, double *norms) {
    int64_t top = 0;
    for (int64_t i = 0; i < a->n_shared_parts; i++)
        if (a->parts[i].place > top) top = a->parts[i].place;
    for (int64_t t = 0; t < a->tasks; t++) {
        double sum = 0;
        for (int64_t i = 0; i < a->n_shared_parts; i++)
            if (a->parts[i].place == top)
                sum += vec->sum_squares(a->parts[i].count, a->gradient[t] + a->parts[i].at);
        norms[t] = a->present[t] ? weights[t] * sqrt(sum) : NAN;
    }
}

/* Where elements from `at` on lie in each task's gradient. */
static void slice(gf_apart *a, int64_t at) {
    for (int64_t t = 0; t < a->tasks; t++)
        a->slices[t] = a->present[t] ? a->gradient[t] + at : NULL;
}

/* gram [tasks, tasks]: the tasks' inner products over one place, or over all of them (-1). */
static void make_gram(gf_apart *a, gf_surgery *s, int64_t place, double *gram, gf_pool *pool) {
    memset(gram, 0, (size_t)(a->tasks * a->tasks) * sizeof *gram);
    slice(a, 0);
    for (int64_t i = 0; i < a->n_shared_parts; i++)
        if (place < 0 || a->parts[i].place == place)
            gf_surgery_gram(s, a->slices, a->parts[i].at, a->parts[i].count, gram, pool);
}

void gf_apart_measure(gf_apart *a, gf_surgery *s, gf_conflict *c, gf_pool *pool) {
    for (int64_t place = 0; place < a->places; place++)
        make_gram(a, s, place, a->grams + place * a->tasks * a->tasks, pool);
    gf_conflict_add(c, a->grams);
}

static void weigh(gf_apart *a, const double *weights, const gf_vec *vec) {
    for (int64_t t = 0; t < a->tasks; t++)
        if (a->present[t] && weights[t] != 1)
            vec->scale(a->elements, (gf_real)weights[t], a->gradient[t], a->gradient[t]);
}

void gf_apart_combine(gf_apart *a, gf_surgery *s, const double *weights, int64_t step,
                      const gf_vec *vec, gf_pool *pool) {
    weigh(a, weights, vec);
    make_gram(a, s, -1, a->grams, pool);
    gf_surgery_coefficients(s, a->grams, step, a->coefficients);
    for (int64_t i = 0; i < a->n_parts; i++) {
        const gf_apart_part *p = &a->parts[i];
        if (i == a->n_shared_parts)
            for (int64_t t = 0; t < a->tasks; t++) a->coefficients[t] = 1;
        slice(a, p->at);
        gf_surgery_combine(s, a->slices, a->coefficients, p->count, p->param->grad, vec, pool);
    }
}
