/* schedule: the factor on every learning rate as a phase goes on.
 *
 *     gf_schedule s = gf_schedule_make(GF_SCHEDULE_POLYNOMIAL);
 *     gf_plateau plateau = gf_plateau_start();
 *     s.power = 2;
 *     int64_t warmup = gf_schedule_warmup(s.warmup, total);
 *     lr = group.lr * gf_schedule_factor(&s, warmup, total, step, &plateau);
 *     gf_plateau_see(&plateau, &s, dev_loss, false);        (after each evaluation)
 *
 * step counts the phase's updates from 0, so that with a warm-up the first update has factor 0.
 * W updates of warm-up, T in all, p = (step - W) / max(1, T - W), share(f) = f (1 - end) + end:
 *
 *     constant              1
 *     linear                share(1 - p)
 *     cosine                share((1 + cos(2 pi cycles p)) / 2)
 *     cosine_with_restarts  share((1 + cos(pi frac(cycles p))) / 2)  (Loshchilov & Hutter 2017)
 *     polynomial            share((1 - p)^power)
 *     inverse_sqrt          max(end, sqrt(timescale / (step - W + timescale)))
 *     one_cycle             from 1/start_divisor up to 1, which it reaches at the share `peak` of
 *                           the updates, then down to 1/(start_divisor final_divisor), both along
 *                           half a cosine; a group's lr is the highest (Smith & Topin 2018)
 *     reduce_on_plateau     `factor` for every time that patience + 1 evaluations in a row brought
 *                           nothing better, at least `end`
 *
 * These are transformers' get_*_schedule_with_warmup (optimization.py; `end` is lr_end / lr or
 * min_lr_rate, where it has one) and torch.optim.lr_scheduler's OneCycleLR (two phases, cosine,
 * momentum left alone) and ReduceLROnPlateau (threshold 0, cooldown 0, eps 0). Where those divide
 * by zero or refuse to go on, a schedule here stands where it ends.
 *
 * cos and pow come from libm: they make one number an update. Nothing here can fail. */
#ifndef GF_OPTIM_SCHEDULE_H
#define GF_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum gf_schedule_kind {
    GF_SCHEDULE_CONSTANT,
    GF_SCHEDULE_LINEAR,
    GF_SCHEDULE_COSINE,
    GF_SCHEDULE_COSINE_WITH_RESTARTS,
    GF_SCHEDULE_POLYNOMIAL,
    GF_SCHEDULE_INVERSE_SQRT,
    GF_SCHEDULE_ONE_CYCLE,
    GF_SCHEDULE_REDUCE_ON_PLATEAU
} gf_schedule_kind;

/* Their names in a recipe, by their value; NULL ends the list. */
extern const char *const gf_schedule_names[];

/* What a kind does not use is ignored. The last column is what gf_schedule_make() sets. */
typedef struct gf_schedule {
    gf_schedule_kind kind;
    double warmup;    /* see gf_schedule_warmup(); not of one_cycle, which rises itself   0 */
    double cycles;    /* waves, or parts between hard restarts; 0: 0.5, or 1              0 */
    double power;     /* of polynomial, above 0                                           1 */
    double end;       /* the lowest factor, in [0, 1); of one_cycle, when it is above 0, in
                         place of what the two divisors make; not of constant             0 */
    double timescale; /* of inverse_sqrt; 0: the warm-up, or 10000 without one            0 */
    double factor;    /* of reduce_on_plateau, in (0, 1)                                  0.1 */
    int64_t patience; /* evaluations without a better value that are borne                10 */
    double peak;      /* of one_cycle: the share of the updates that rises, in [0, 1]     0.3 */
    double start_divisor, final_divisor; /* of one_cycle, above 0                     25, 1e4 */
} gf_schedule;

/* The kind with the other settings at the defaults of transformers and torch. */
gf_schedule gf_schedule_make(gf_schedule_kind kind);

/* The state of reduce_on_plateau: all that a checkpoint must keep for it. */
typedef struct gf_plateau {
    double factor; /* reached so far */
    double best;   /* 0 before there is one */
    int64_t stale; /* evaluations in a row that were not better */
    bool has_best;
} gf_plateau;

gf_plateau gf_plateau_start(void);
/* Takes in the value of an evaluation. Better is strictly better; NaN never is. Does nothing for
 * another kind of schedule. */
void gf_plateau_see(gf_plateau *p, const gf_schedule *s, double value, bool higher_is_better);

/* 0 <= step; `warmup` updates rise from 0 to 1, the rest of `total` follows the schedule. p may be
 * NULL, as the start; a plateau's factor counts during the warm-up, too. */
double gf_schedule_factor(const gf_schedule *s, int64_t warmup, int64_t total, int64_t step,
                          const gf_plateau *p);

/* Updates of warm-up: a number of at least 1 is a count, cut to a whole one; a smaller one is a
 * share of the total, rounded up (transformers' TrainingArguments.get_warmup_steps). */
int64_t gf_schedule_warmup(double warmup, int64_t total);

#endif
