#include "data/reading.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const wanted[] = {[GF_LABEL_CLASS] = "labels are strings or null",
                                     [GF_LABEL_ORDER] = "labels are strings, whole numbers or null",
                                     [GF_LABEL_SET] = "labels are lists of strings, or null",
                                     [GF_LABEL_NUMBER] = "labels are numbers or null"};

static bool is_accepted(gf_label_kind kind, const gf_cell *c) {
    if (c->kind == GF_CELL_NUMBER)
        return kind == GF_LABEL_NUMBER ||
               (kind == GF_LABEL_ORDER && floor(c->number) == c->number &&
                fabs(c->number) <= 9007199254740992.0); /* 2^53: beyond, numbers share doubles */
    return c->kind == GF_CELL_STRING || (c->kind == GF_CELL_LIST && kind == GF_LABEL_SET);
}

static bool read_value(gf_reading *l, gf_err *e) {
    const gf_cell *c = l->cell;
    bool known = c->kind == GF_CELL_STRING ? gf_labels_value(c->text, c->size, &l->value)
                                           : (l->value = c->number, true);
    if (!known)
        return gf_fail(e, GF_E_INVALID, "field \"%s\" holds \"%.*s\", which is no number; %s",
                       l->task->field, c->size < 60 ? (int)c->size : 60, c->text,
                       "correct it, or leave it empty");
    if (isfinite((gf_real)l->value)) return true;
    return gf_fail(e, GF_E_INVALID, "field \"%s\" is a number too large for float32; scale it",
                   l->task->field);
}

bool gf_reading_start(gf_reading *l, const gf_task_field *task, const gf_cell *c, gf_err *e) {
    *l = (gf_reading){.task = task, .cell = c};
    if (c->kind == GF_CELL_MISSING || c->kind == GF_CELL_NULL) return true;
    l->present = true;
    if (!is_accepted(task->kind, c))
        return gf_fail(e, GF_E_INVALID, "field \"%s\" is %s; %s", task->field,
                       c->kind == GF_CELL_NUMBER && task->kind == GF_LABEL_ORDER ? "no whole number"
                                                                                 : c->text,
                       wanted[task->kind]);
    if (c->kind == GF_CELL_STRING && c->size == 0)
        return gf_fail(e, GF_E_INVALID, "field \"%s\" is empty; write null for a missing label",
                       task->field);
    return task->kind != GF_LABEL_NUMBER || read_value(l, e);
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void trim(const char **text, size_t *size) {
    while (*size > 0 && is_space((*text)[*size - 1])) --*size;
    for (; *size > 0 && is_space(**text); ++*text) --*size;
}

/* The part of a string from l->next to the separator, trimmed. */
static void cut_part(gf_reading *l) {
    const char *mark = l->task->separator ? l->task->separator : "|";
    size_t n = strlen(mark), first = (size_t)l->next, end = first;
    while (end < l->cell->size &&
           (n == 0 || l->cell->size - end < n || memcmp(l->cell->text + end, mark, n) != 0))
        end++;
    l->name = l->cell->text + first;
    l->size = end - first;
    /* behind the text there is no part more, but behind a separator at its end there is */
    l->next = end < l->cell->size ? (int64_t)(end + n) : (int64_t)l->cell->size + 1;
    trim(&l->name, &l->size);
}

/* "|" and nothing else. */
static bool is_empty_set(const gf_reading *l) {
    const char *mark = l->task->separator ? l->task->separator : "|", *text = l->cell->text;
    size_t size = l->cell->size;
    trim(&text, &size);
    return size == strlen(mark) && memcmp(text, mark, size) == 0;
}

static int next_of_set(gf_reading *l, gf_err *e) {
    const gf_cell *c = l->cell;
    if (c->kind == GF_CELL_LIST) {
        if (l->next == c->n_items) return 0;
        l->name = c->items[l->next];
        l->size = c->sizes[l->next++];
    } else {
        if (l->next > (int64_t)c->size || (l->next == 0 && is_empty_set(l))) return 0;
        cut_part(l);
    }
    if (l->size > 0) return 1;
    gf_fail(e, GF_E_INVALID, "field \"%s\" holds an empty label; remove it", l->task->field);
    return -1;
}

int gf_reading_next(gf_reading *l, gf_err *e) {
    const gf_cell *c = l->cell;
    int got = l->present && l->task->kind != GF_LABEL_NUMBER && l->next == 0;
    if (l->present && l->task->kind == GF_LABEL_SET) return next_of_set(l, e);
    l->next = 1;
    l->name = c->text;
    l->size = c->size;
    if (got && c->kind == GF_CELL_NUMBER) {
        l->size = (size_t)snprintf(l->number, sizeof l->number, "%lld", (long long)c->number);
        l->name = l->number;
    }
    return got;
}
