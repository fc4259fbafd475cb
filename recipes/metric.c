#include "recipes/metric.h"

#include <string.h>

enum {
    C = 1 << GF_TASK_CLASSIFICATION,
    M = 1 << GF_TASK_MULTI_LABEL,
    R = 1 << GF_TASK_REGRESSION,
    O = 1 << GF_TASK_ORDINAL
};

const gf_metric gf_metric_list[GF_METRICS] = {
#define GF_METRIC(id, name, title, higher, types) {name, title, higher, types},
#include "recipes/metrics.def"
#undef GF_METRIC
};

bool gf_metric_has(gf_metric_kind kind, gf_task_type type) {
    return (gf_metric_list[kind].types >> type & 1u) != 0;
}

bool gf_metric_find(const char *name, size_t length, gf_metric_kind *kind) {
    for (int i = 0; i < GF_METRICS; i++)
        if (strlen(gf_metric_list[i].name) == length &&
            memcmp(gf_metric_list[i].name, name, length) == 0) {
            *kind = (gf_metric_kind)i;
            return true;
        }
    return false;
}

int64_t gf_metric_names(gf_task_type type, const char *names[GF_METRICS]) {
    int64_t n = 0;
    for (int i = 0; i < GF_METRICS; i++)
        if (gf_metric_has((gf_metric_kind)i, type)) names[n++] = gf_metric_list[i].name;
    return n;
}

gf_metric_kind gf_metric_default(gf_task_type type) {
    return type == GF_TASK_REGRESSION ? GF_METRIC_SPEARMAN : GF_METRIC_MACRO_F1;
}

const gf_metric_kind *gf_metric_main(gf_task_type type) {
    static const gf_metric_kind of[][2] = {
        [GF_TASK_CLASSIFICATION] = {GF_METRIC_ACCURACY, GF_METRIC_MACRO_F1},
        [GF_TASK_MULTI_LABEL] = {GF_METRIC_MICRO_F1, GF_METRIC_MACRO_F1},
        [GF_TASK_REGRESSION] = {GF_METRIC_MAE, GF_METRIC_SPEARMAN},
        [GF_TASK_ORDINAL] = {GF_METRIC_MAE, GF_METRIC_MACRO_F1}};
    return of[type];
}
