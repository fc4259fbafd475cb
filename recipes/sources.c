#include "recipes/sources.h"

#include <string.h>

static bool same_text(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

gf_recipe_source gf_source_of(const gf_recipe *r, int64_t task) {
    const gf_recipe_task *t = &r->tasks[task];
    if (!t->train) return (gf_recipe_source){r->train, r->dev, r->test, r->text};
    return (gf_recipe_source){t->train, t->dev, t->test, t->text ? t->text : r->text};
}

bool gf_source_is_shared(const gf_recipe *r, int64_t a, int64_t b) {
    gf_recipe_source x = gf_source_of(r, a), y = gf_source_of(r, b);
    return same_text(x.train, y.train) && same_text(x.dev, y.dev) && same_text(x.test, y.test) &&
           same_text(x.text, y.text);
}

bool gf_source_is_first(const gf_recipe *r, int64_t task) {
    for (int64_t k = 0; k < task; k++)
        if (gf_source_is_shared(r, k, task)) return false;
    return true;
}

gf_label_kind gf_source_label_kind(gf_task_type type) {
    static const gf_label_kind kinds[] = {[GF_TASK_CLASSIFICATION] = GF_LABEL_CLASS,
                                          [GF_TASK_MULTI_LABEL] = GF_LABEL_SET,
                                          [GF_TASK_REGRESSION] = GF_LABEL_NUMBER,
                                          [GF_TASK_ORDINAL] = GF_LABEL_ORDER};
    return kinds[type];
}
