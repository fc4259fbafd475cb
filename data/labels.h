/* labels: the classes of a task, a name each; a class's number is its place in names[].
 *
 *     gf_labels l = {0};
 *     for each row: gf_labels_add(&l, text, size, e);           learned from the training data ...
 *     gf_labels_sort(&l);                                       ... and then sorted by bytes
 *     int32_t class = gf_labels_find(&l, "positive", 8);        0 .. count - 1, or -1
 *     gf_labels_free(&l);
 *
 * The classes of an ordinal task are numbers in words ("1", "2", "10") and sorted by value.
 *
 * When the recipe lists the classes, they are added in its order, never sorted, and `fixed` is set.
 * Finding takes O(log count) either way: by_name keeps the order by bytes beside the names. */
#ifndef GF_DATA_LABELS_H
#define GF_DATA_LABELS_H

#include "core/err.h"

#include <stdint.h>

typedef struct gf_labels {
    char **names;     /* [count] */
    int32_t *by_name; /* [count] places in names[], sorted by bytes */
    int64_t count, capacity;
    bool fixed;
} gf_labels;

/* Adds a copy behind the others unless it is there already. A name with a 0 byte is
 * GF_E_INVALID. */
bool gf_labels_add(gf_labels *l, const char *name, size_t size, gf_err *e);
/* Sorts names[] by bytes, which changes the classes' numbers. */
void gf_labels_sort(gf_labels *l);
/* Sorts names[] by their value. A name that is no number, or two of one value ("1" and "1.0"), are
 * GF_E_INVALID: such classes must be listed. */
bool gf_labels_sort_by_value(gf_labels *l, gf_err *e);
/* The class's number, or -1 if it is unknown. */
int32_t gf_labels_find(const gf_labels *l, const char *name, size_t size);
/* The name that may have been meant, or NULL. */
const char *gf_labels_nearest(const gf_labels *l, const char *name);
void gf_labels_free(gf_labels *l);

/* The value of a finite decimal number, "-1.5e3", with white space around it; false for all else,
 * hexadecimal and "nan" included. */
bool gf_labels_value(const char *text, size_t size, double *value);

#endif
