/* schedule: the factor on every learning rate as a phase goes on.
 *
 *     int64_t warmup = gf_schedule_warmup(0.1, total);
 *     lr = group.lr * gf_schedule_factor(GF_SCHEDULE_LINEAR, warmup, total, step);
 *
 * As transformers' get_{constant,linear,cosine}_schedule_with_warmup compute it (optimization.py;
 * the cosine with its default half cycle): step counts the phase's updates from 0, so that with a
 * warm-up the first update has factor 0. */
#ifndef GF_OPTIM_SCHEDULE_H
#define GF_OPTIM_SCHEDULE_H

#include <stdint.h>

typedef enum gf_schedule {
    GF_SCHEDULE_CONSTANT,
    GF_SCHEDULE_LINEAR,
    GF_SCHEDULE_COSINE
} gf_schedule;

/* Their names in a recipe, by their value; NULL ends the list. */
extern const char *const gf_schedule_names[];

/* 0 <= step; `warmup` updates rise from 0 to 1, the rest of `total` follows the schedule. */
double gf_schedule_factor(gf_schedule schedule, int64_t warmup, int64_t total, int64_t step);

/* Updates of warm-up: a number of at least 1 is a count, cut to a whole one; a smaller one is a
 * share of the total, rounded up (transformers' TrainingArguments.get_warmup_steps). */
int64_t gf_schedule_warmup(double warmup, int64_t total);

#endif
