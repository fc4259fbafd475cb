#include "data/labels.h"

#include "core/io.h"
#include "core/mem.h"
#include "core/text.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare(const char *name, const char *text, size_t size) {
    size_t n = strlen(name);
    int order = memcmp(name, text, n < size ? n : size);
    return order ? order : (n > size) - (n < size);
}

/* The first place in by_name[] whose name is not before the text. */
static int64_t lower_bound(const gf_labels *l, const char *text, size_t size) {
    int64_t low = 0, high = l->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (compare(l->names[l->by_name[middle]], text, size) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool stands_at(const gf_labels *l, int64_t at, const char *text, size_t size) {
    return at < l->count && compare(l->names[l->by_name[at]], text, size) == 0;
}

bool gf_labels_add(gf_labels *l, const char *name, size_t size, gf_err *e) {
    int64_t at = lower_bound(l, name, size), capacity = l->capacity;
    if (stands_at(l, at, name, size)) return true;
    if (memchr(name, 0, size)) return gf_fail(e, GF_E_INVALID, "a label holds a 0 byte; remove it");
    if (l->count == INT32_MAX) return gf_fail(e, GF_E_INVALID, "there are too many labels");
    if (!gf_grow(&l->by_name, l->count, &capacity, sizeof *l->by_name, e) ||
        !gf_grow(&l->names, l->count, &l->capacity, sizeof *l->names, e) ||
        !(l->names[l->count] = gf_strndup(name, size, e)))
        return false;
    memmove(l->by_name + at + 1, l->by_name + at, (size_t)(l->count - at) * sizeof *l->by_name);
    l->by_name[at] = (int32_t)l->count++;
    return true;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void gf_labels_sort(gf_labels *l) {
    if (l->count == 0) return;
    qsort(l->names, (size_t)l->count, sizeof *l->names, by_bytes);
    for (int64_t i = 0; i < l->count; i++) l->by_name[i] = (int32_t)i;
}

/* ---- by value ---- */

enum { LONGEST_NUMBER = 60 };

static size_t digits(const char *text, size_t size, size_t *at) {
    size_t first = *at;
    while (*at < size && text[*at] >= '0' && text[*at] <= '9') ++*at;
    return *at - first;
}

static bool takes(const char *text, size_t size, size_t *at, const char *any) {
    bool there = *at < size && text[*at] && strchr(any, text[*at]);
    *at += there;
    return there;
}

/* [sign] digits [. digits] [e [sign] digits], with digits before or behind the point. */
static bool is_decimal(const char *text, size_t size) {
    size_t at = 0, n;
    takes(text, size, &at, "+-");
    n = digits(text, size, &at);
    if (takes(text, size, &at, ".")) n += digits(text, size, &at);
    if (n == 0) return false;
    if (takes(text, size, &at, "eE")) {
        takes(text, size, &at, "+-");
        if (digits(text, size, &at) == 0) return false;
    }
    return at == size;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool gf_labels_value(const char *text, size_t size, double *value) {
    char copy[LONGEST_NUMBER + 1], *point;
    while (size > 0 && is_space(text[size - 1])) size--;
    for (; size > 0 && is_space(*text); text++) size--;
    if (size > LONGEST_NUMBER || !is_decimal(text, size)) return false;
    memcpy(copy, text, size);
    copy[size] = 0;
    if ((point = strchr(copy, '.'))) *point = *localeconv()->decimal_point; /* as strtod wants */
    *value = strtod(copy, NULL);
    return isfinite(*value);
}

typedef struct valued {
    double value;
    char *name;
    int32_t rank; /* by bytes */
} valued;

static int by_value(const void *a, const void *b) {
    const valued *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

static bool check_value(const valued *before, const valued *v, gf_err *e) {
    if (!before || before->value < v->value) return true;
    return gf_fail(e, GF_E_INVALID,
                   "the labels \"%s\" and \"%s\" are one number; write it in one way", before->name,
                   v->name);
}

bool gf_labels_sort_by_value(gf_labels *l, gf_err *e) {
    valued *v = gf_alloc_array(l->count, sizeof *v, e);
    bool ok = v != NULL;
    for (int64_t i = 0; ok && i < l->count; i++) {
        int32_t k = l->by_name[i];
        v[i] = (valued){.name = l->names[k], .rank = (int32_t)i};
        if (!gf_labels_value(v[i].name, strlen(v[i].name), &v[i].value))
            ok = gf_fail(e, GF_E_INVALID,
                         "label \"%s\" is no number; list the task's \"classes\" in their order",
                         v[i].name);
    }
    if (ok) qsort(v, (size_t)l->count, sizeof *v, by_value);
    for (int64_t i = 0; ok && i < l->count; i++) ok = check_value(i ? &v[i - 1] : NULL, &v[i], e);
    for (int64_t i = 0; ok && i < l->count; i++) {
        l->names[i] = v[i].name;
        l->by_name[v[i].rank] = (int32_t)i;
    }
    gf_free(v);
    return ok;
}

/* ---- finding ---- */

int32_t gf_labels_find(const gf_labels *l, const char *name, size_t size) {
    int64_t at = lower_bound(l, name, size);
    return stands_at(l, at, name, size) ? l->by_name[at] : -1;
}

const char *gf_labels_nearest(const gf_labels *l, const char *name) {
    return gf_text_nearest(name, (const char *const *)l->names, l->count);
}

void gf_labels_free(gf_labels *l) {
    gf_io_free_names(l->names, l->count);
    gf_free(l->by_name);
    *l = (gf_labels){0};
}
