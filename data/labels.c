#include "data/labels.h"

#include "core/io.h"
#include "core/mem.h"
#include "core/text.h"

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
