/* init_parts: what the files of init share. Private to recipes/init*.c. */
#ifndef GF_RECIPES_INIT_PARTS_H
#define GF_RECIPES_INIT_PARTS_H

#include "data/dataset.h"
#include "model/model.h"
#include "recipes/columns.h"
#include "recipes/init.h"

enum { GF_INIT_TASKS = 16 };

typedef struct gf_init_task {
    const gf_column *column;
    char *name;
    gf_task_type type;
    const char *separator;     /* of sets in strings; NULL: the default */
    bool asked;                /* with --label */
    gf_labels classes;         /* of all files */
    int64_t *count;            /* [classes.count] rows of the data */
    int64_t capacity, learned; /* classes in the data itself */
    int64_t most, least;
} gf_init_task;

typedef struct gf_init_plan {
    const gf_init_options *o;
    const gf_log *log;
    gf_columns columns;
    const char *text;
    gf_init_task tasks[GF_INIT_TASKS];
    int64_t n_tasks, rows;
    char *base, *dev, *test;
    double split_dev, split_test; /* 0: none */
    int64_t max_length, p95;
    gf_model model;
    int64_t *length; /* [rows] */
    int64_t capacity;
} gf_init_plan;

/* The recipe's text, added to *out. */
bool gf_init_write(const gf_init_plan *p, gf_text *out, gf_err *e);

#endif
