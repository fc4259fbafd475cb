/* What the tests of optim/ share: golden files, comparisons, small sets of parameters. */
#ifndef GF_TESTS_OPTIM_HELP_H
#define GF_TESTS_OPTIM_HELP_H

#include "core/json.h"
#include "core/param.h"
#include "optim/blocks.h"
#include "optim/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- golden files ---- */

static inline cJSON *read_golden(const char *name) {
    char path[64];
    gf_err e = {0};
    cJSON *j;
    snprintf(path, sizeof path, "tests/golden/%s", name);
    if (!(j = gf_json_read(path, 1 << 22, &e))) fail_msg("%s", e.text);
    return j;
}

static inline const cJSON *get(const cJSON *j, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item) fail_msg("the golden file lacks \"%s\"", key);
    return item;
}

static inline double number(const cJSON *j, const char *key) { return get(j, key)->valuedouble; }

static inline void assert_near(double have, double want, double tolerance, const char *what) {
    if (fabs(have - want) <= tolerance) return;
    fail_msg("%s: %.9g, wanted %.9g", what, have, want);
}

/* Relative to each element, but at least to a quarter of the largest: an element that passes close
 * to 0 carries the rounding of its larger past. */
static inline void assert_array_near(const gf_real *have, const cJSON *want, double tolerance,
                                     const char *what) {
    double largest = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, want) largest = fmax(largest, fabs(item->valuedouble));
    cJSON_ArrayForEach(item, want) {
        double size = fmax(fabs(item->valuedouble), largest / 4);
        assert_near((double)*have++, item->valuedouble, tolerance * size, what);
    }
}

static inline void fill(gf_real *to, const cJSON *from) {
    for (int i = 0; i < cJSON_GetArraySize(from); i++)
        to[i] = (gf_real)cJSON_GetArrayItem(from, i)->valuedouble;
}

static inline gf_schedule_kind schedule_kind(const cJSON *item, const char *key) {
    int kind = 0;
    while (strcmp(gf_schedule_names[kind], get(item, key)->valuestring) != 0) kind++;
    return (gf_schedule_kind)kind;
}

/* ---- parameters ---- */

static inline void add(gf_params *params, const char *name, int64_t elements) {
    gf_shape shape = gf_shape1(elements);
    assert_non_null(gf_params_add(params, name, &shape, NULL));
}

static inline gf_params golden_params(const cJSON *start) {
    gf_params p = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, start) {
        const cJSON *extents = get(item, "shape");
        gf_shape shape = gf_shape1(cJSON_GetArrayItem(extents, 0)->valueint);
        gf_param *param;
        if (cJSON_GetArraySize(extents) == 2)
            shape = gf_shape2(shape.dim[0], cJSON_GetArrayItem(extents, 1)->valueint);
        assert_non_null(param = gf_params_add(&p, item->string, &shape, NULL));
        assert_true(gf_param_own(param, NULL));
        fill(param->owned, get(item, "value"));
    }
    return p;
}

/* Parameters below, at and above the size of a block. */
static inline gf_params random_params(void) {
    gf_params p = {0};
    add(&p, "heads.a", 2 * GF_BLOCK + 17);
    add(&p, "heads.b", 3);
    add(&p, "heads.c", GF_BLOCK);
    for (int64_t k = 0; k < p.count; k++) {
        gf_param *param = p.items[k];
        assert_true(gf_param_own(param, NULL));
        for (int64_t i = 0; i < gf_param_count(param); i++)
            param->owned[i] = (gf_real)((i * 7919 + k * 104729) % 1000 - 500) / 1000;
    }
    return p;
}

#endif
