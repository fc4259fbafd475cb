/* balance: the factor on each task's loss, fixed or found while training.
 *
 *     gf_balance b = {0};
 *     gf_balance_settings s = gf_balance_defaults("famo");
 *     if (!gf_balance_start(&b, "famo", &s, tasks, fixed, regression, e)) goto done;
 *     ...                                               per update, with losses[tasks]:
 *     gf_balance_weights(&b, losses, weights);          (gradient of sum of weights[k] * loss[k])
 *     total = gf_balance_total(&b, losses);             (logged)
 *     gf_balance_see(&b, losses, norms, after);         (once the update is done)
 *     ...                                               per epoch:
 *     gf_balance_end_epoch(&b);
 *     ...
 *     gf_balance_free(&b);
 *
 * K tasks; task k has a fixed weight f[k] >= 0 from the recipe. 0: it takes no part. losses[k] is
 * its raw mean loss in the update, before any weight; NaN (or any number that is not finite) when
 * the update has no label of it: it takes no part in this update and keeps its state, as if it did
 * not exist. With fewer than two tasks of a weight above 0 every method is "fixed". What a method
 * finds is multiplied by f[k]. exp, log and pow are libm's, in double: they give single numbers per
 * task and update.
 *
 *   fixed        weight f.
 *   uncertainty  Kendall, Gal, Cipolla 2018, eq. 10 with s = log sigma^2 learned from 0: the total
 *                is sum f (exp(-s) L + s/2), a regression's sum f (exp(-s) L / 2 + s/2). s takes
 *                Adam steps of `lr` and is held in [-20, 20], lest a loss of 0 ask for infinity.
 *   dwa          Liu, Johns, Davison 2019, eq. 7: K exp(r/T) / sum exp(r/T), with r the ratio of
 *                the means of the task's loss over the last two epochs, T `temperature`. A task
 *                without two such epochs has r = 1; so the first two epochs have weight 1. An
 *                epoch without a label of a task is none for it.
 *   gradnorm     Chen et al. 2018, algorithm 1: Adam steps of `lr` bring the norms of the weighted
 *                losses' gradients towards mean norm * (relative inverse training rate)^alpha;
 *                then the weights are scaled to sum K. The first loss with a label is L(0). When
 *                tasks are absent, the others' sum stays as it was. graft holds weights above
 *                1e-3 before they are scaled: Adam could take them through 0.
 *   famo         Liu, Feng, Stone, Liu 2023, algorithm 1, minimal losses 0: weight
 *                (z/L) / sum(z/L), z = softmax(w); w follows the change of log L by Adam steps of
 *                `lr` with L2 decay `decay`. The total is sum f z log L / sum(z/L),
 *                whose gradient the update follows; it may be negative. 1e-8 is added to each L, as
 *                in the authors' code. Weights sum to 1 (times f), not to K.
 *
 * Adam is PyTorch's with betas 0.9 and 0.999, eps 1e-8, and its own count of updates per task. */
#ifndef GF_OPTIM_BALANCE_H
#define GF_OPTIM_BALANCE_H

#include "core/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct gf_balance_settings {
    double lr;          /* > 0; uncertainty, gradnorm, famo */
    double alpha;       /* >= 0; gradnorm */
    double temperature; /* > 0; dwa */
    double decay;       /* >= 0; famo */
} gf_balance_settings;

typedef struct gf_balance_method gf_balance_method;

typedef struct gf_balance {
    const gf_balance_method *method;
    gf_balance_settings settings;
    int64_t tasks, active; /* active: of a fixed weight above 0 */
    double *fixed;         /* [tasks] */
    bool *regression;      /* [tasks] */
    double *state;         /* [tasks, columns of the method] */
    double *scratch;       /* [tasks] */
} gf_balance;

/* The methods' names in a recipe; NULL ends the list. */
extern const char *const gf_balance_names[];

/* lr 0.01 for uncertainty (own choice: fine-tuning is short) and 0.025 for the others, alpha 1.5,
 * temperature 2, decay 0.01 (the papers', or their authors' code). */
gf_balance_settings gf_balance_defaults(const char *method);

/* Starts afresh; `b` is zeroed or freed. settings NULL: the defaults; regression NULL: none. All
 * arrays are copied. GF_E_INVALID for an unknown method, a setting or a weight out of range. */
bool gf_balance_start(gf_balance *b, const char *method, const gf_balance_settings *settings,
                      int64_t tasks, const double *fixed, const bool *regression, gf_err *e);
void gf_balance_free(gf_balance *b);

/* Other fixed weights from here on (a new phase); states stay. Where other tasks are active than
 * before, the weights of dwa and gradnorm are scaled to sum to their count. */
bool gf_balance_set_fixed(gf_balance *b, const double *fixed, gf_err *e);

/* Whether gf_balance_weights() depends on the losses (else they may be NULL there) ... */
bool gf_balance_wants_losses(const gf_balance *b);
/* ... and whether gf_balance_see() needs norms: of each task's gradient, multiplied by its weight,
 * with respect to the last shared layer ... */
bool gf_balance_wants_norms(const gf_balance *b);
/* ... or after: the raw losses on the same rows after the update. Both [tasks]; a task whose
 * number is not finite counts as absent. NULL where they are not wanted. */
bool gf_balance_wants_after(const gf_balance *b);

/* weights[tasks]: the factor on each task's raw loss, fixed weights included. */
void gf_balance_weights(const gf_balance *b, const double *losses, double *weights);
/* The value whose gradient the update follows, over the tasks with labels. */
double gf_balance_total(const gf_balance *b, const double *losses);
/* Learns from an update that is done; the losses are those that its weights were made from. */
void gf_balance_see(gf_balance *b, const double *losses, const double *norms, const double *after);
void gf_balance_end_epoch(gf_balance *b);

/* All that changes while training, as finite numbers in a fixed layout per method and count of
 * tasks, owned by b. To resume: start with the settings and the phase's weights, then write the
 * numbers that were saved over these; what follows has the same bits. *count may be 0. */
void gf_balance_state(gf_balance *b, double **values, int64_t *count);

#endif
