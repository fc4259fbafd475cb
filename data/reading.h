/* reading: the label in one cell, as its task's kind reads it; data/dataset.h says what is one.
 *
 *     gf_reading l;
 *     int got;
 *     if (!gf_reading_start(&l, &task, &cell, e)) goto done;
 *     if (!l.present) ...                                       a missing label
 *     while ((got = gf_reading_next(&l, e)) == 1) ... l.name[l.size] ...       NUMBER: l.value
 *
 * Errors are GF_E_INVALID and say what is wrong with the field, without file and line: callers put
 * those in front. */
#ifndef GF_DATA_READING_H
#define GF_DATA_READING_H

#include "data/dataset.h"
#include "data/rows.h"

typedef struct gf_reading {
    const gf_task_field *task;
    const gf_cell *cell;
    bool present;
    double value;     /* NUMBER */
    int64_t next;     /* SET: the next item of a list, or byte of a string */
    char number[32];  /* ORDER: a number in words, and where that is the name */
    const char *name; /* the class, [size] */
    size_t size;
} gf_reading;

/* Checks the label's form. Task and cell must stay as they are while l is used. */
bool gf_reading_start(gf_reading *l, const gf_task_field *task, const gf_cell *cell, gf_err *e);
/* 1: the next class that the label names is l->name; 0: no more; -1: failure. */
int gf_reading_next(gf_reading *l, gf_err *e);

#endif
