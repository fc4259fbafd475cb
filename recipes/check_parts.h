/* check_parts: what the files of check share. Private to recipes/check*.c. */
#ifndef GF_RECIPES_CHECK_PARTS_H
#define GF_RECIPES_CHECK_PARTS_H

#include "model/model.h"
#include "recipes/care.h"
#include "recipes/check.h"
#include "recipes/findings.h"

typedef struct gf_checking {
    const gf_recipe *recipe;
    const gf_care *care;
    gf_split_counts divided; /* what data.split did */
    const gf_tokenizer *tokenizer;
    int64_t max_length, positions;
    const char *fix_command;
    bool cleaning_helps; /* with some finding */
    gf_findings findings;
    gf_check *out;
} gf_checking;

double gf_check_percent(int64_t part, int64_t whole);
/* A row as a place of a finding. */
bool gf_check_place(const gf_checking *c, gf_finding *f, const gf_split *s, int64_t row, gf_err *e);
/* "WHAT in 12 rows of train (0.1 %)" */
bool gf_check_say_rows(gf_finding *f, const char *what, const gf_split *s, gf_err *e);
/* The finding's fix is cleaning. */
bool gf_check_by_cleaning(gf_checking *c, gf_finding *f, gf_err *e);

/* check_rows.c: damaged and near-empty texts, equal texts. */
bool gf_check_texts(gf_checking *c, gf_err *e);
bool gf_check_equal_texts(gf_checking *c, gf_err *e);
/* check_files.c: the splits' files and how data.split divides; lines, JSON and findings. */
bool gf_check_print_files(gf_checking *c, int split, gf_err *e);
bool gf_check_files_to_json(const gf_checking *c, int split, cJSON *j, gf_err *e);
bool gf_check_splits(gf_checking *c, gf_err *e);
/* check_fit.c: the splits' lengths; words and pieces. Lines, JSON and findings. */
bool gf_check_lengths(gf_checking *c, gf_err *e);
bool gf_check_vocabulary(gf_checking *c, gf_err *e);
/* check_classes.c: the tasks' tables and what is uneven in them. */
bool gf_check_classes(gf_checking *c, gf_err *e);
/* check_values.c: the same for a regression. */
bool gf_check_values(gf_checking *c, int64_t task, cJSON *all, gf_err *e);

/* "task NAME   train   dev   test" above a task's table. */
bool gf_check_title(const gf_checking *c, int64_t task, gf_err *e);
/* Finds that dev is there, but holds no label of the task; present[GF_SPLITS] counts them. */
bool gf_check_unmeasured(gf_checking *c, int64_t task, const int64_t *present, gf_err *e);
/* A finding about a task, and a split of it. */
gf_finding *gf_check_add(gf_checking *c, int64_t task, const char *kind, bool problem, int split,
                         int64_t count, gf_err *e);

#endif
