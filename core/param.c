#include "core/param.h"

#include "core/io.h"
#include "core/mem.h"

#include <string.h>

gf_param *gf_params_add(gf_params *p, const char *name, const gf_shape *shape, gf_err *e) {
    gf_param *item = NULL;
    if (!gf_grow(&p->items, p->count, &p->capacity, sizeof *p->items, e)) return NULL;
    if (!(item = gf_alloc_array(1, sizeof *item, e))) return NULL;
    if (!(item->name = gf_strdup(name, e))) {
        gf_free(item);
        return NULL;
    }
    item->shape = *shape;
    item->group = -1;
    return p->items[p->count++] = item;
}

gf_param *gf_params_find(const gf_params *p, const char *name) {
    for (int64_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i]->name, name) == 0) return p->items[i];
    return NULL;
}

void gf_param_forget_rows(gf_param *p) {
    if (!p->rows) return;
    gf_free(p->rows->touched);
    gf_free(p->rows->live);
    gf_free(p->rows->decay);
    gf_free(p->rows);
    p->rows = NULL;
}

static void free_param(gf_param *p) {
    gf_free(p->name);
    gf_free(p->owned);
    gf_free(p->grad);
    gf_free(p->moment1);
    gf_free(p->moment2);
    gf_free(p->average);
    gf_free(p->anchor);
    gf_free(atomic_load(&p->packed));
    gf_param_forget_rows(p);
    gf_free(p);
}

void gf_params_remove(gf_params *p, gf_param *item) {
    int64_t i = 0;
    while (i < p->count && p->items[i] != item) i++;
    if (i == p->count) return;
    memmove(p->items + i, p->items + i + 1, (size_t)(p->count - i - 1) * sizeof *p->items);
    p->count--;
    free_param(item);
}

void gf_params_free(gf_params *p) {
    for (int64_t i = 0; i < p->count; i++) free_param(p->items[i]);
    gf_free(p->items);
    *p = (gf_params){0};
}

bool gf_param_own(gf_param *p, gf_err *e) {
    int64_t count = gf_param_count(p);
    if (p->owned) return true;
    gf_free(atomic_exchange(&p->packed, NULL));
    if (!(p->owned = gf_alloc_array(count, sizeof *p->owned, e))) return false;
    if (p->value) {
        memcpy(p->owned, p->value, (size_t)count * sizeof *p->owned);
        gf_io_unload(p->value, (size_t)count * sizeof *p->owned); /* else both stay in memory */
    }
    p->value = p->owned;
    return true;
}

void gf_param_borrow(gf_param *p, const gf_real *value) {
    gf_free(atomic_exchange(&p->packed, NULL));
    gf_free(p->owned);
    p->owned = NULL;
    p->value = value;
}

int64_t gf_param_count(const gf_param *p) { return gf_shape_count(&p->shape); }

void gf_params_take_averages(gf_params *p) {
    for (int64_t i = 0; i < p->count; i++) {
        gf_param *item = p->items[i];
        if (!item->average) continue;
        gf_free(item->owned);
        item->value = item->owned = item->average;
        item->average = NULL;
    }
}
