/* lrfind: a learning-rate range test: which rates a phase of a recipe can train with.
 *
 *     gf_lrfind_options o = {.phase = NULL, .start = 1e-7, .end = 10, .steps = 100};
 *     gf_lrfind f = {0};
 *     if (!gf_lrfind_run(&f, &recipe, &o, e) || !gf_lrfind_table(&f, &text, e)) goto done;
 *     ...
 *     gf_lrfind_free(&f);
 *
 * The phase trains for some updates while its rates rise from very small to far too large, and the
 * loss is watched (Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3;
 * Smith 2018, arXiv:1803.09820). All is as in train, the batches of the phase's first epochs, its
 * optimizer, clipping, balancing, dropout, but for these:
 *   - in update k = 0 .. N-1 the largest rate of the phase's groups is start (end/start)^(k/(N-1)),
 *     and the rates of the others keep their ratio to it; there is no schedule, no moving average
 *     of weights and no conflict report;
 *   - epochs follow each other as long as there are updates to make (an annealed mix begins again);
 *   - all layers are open where the phase opens them one by one;
 *   - the weights are the base's, and the heads new, whichever phase it is: what the phases before
 *     it would have learned is not there.
 * Nothing is written, and no run folder is read: what the recipe's runs are and will be is
 * untouched.
 *
 * The curve. The loss of an update is what it follows the gradient of, before the update: the sum
 * of weight x loss over tasks. Smoothed as in fastai (AvgSmoothLoss): s_k = 0.98 s_(k-1) + 0.02
 * loss_k from s = 0, over 1 - 0.98^(k+1). The test ends early behind the first update whose
 * smoothed loss is above 4 times the lowest so far (above lowest + 3 |lowest|, should it be
 * negative), or when a loss or gradient is not finite. An update without a label that counts gives
 * no point.
 *
 * The suggestions are fastai's (callback/schedule.py), over the points without the first N/10
 * (rounded down) and the last 5:
 *   valley   the middle of the middle third of the longest valley: with L > 1 the length of the
 *            longest strictly falling subsequence of the smoothed losses, j the index of its last
 *            member (the first such j) and i = j - L, the point at i + floor(L/3) + floor(L/6), at
 *            0 should that be negative; the first point where no loss is below an earlier one;
 *   steep    the point k with the smallest (s_(k+1) - s_k) / (ln rate_(k+1) - ln rate_k);
 *   minimum  a tenth of the rate at the smallest s.
 * Equal values: the first. With fewer than two points left there is none.
 *
 * Figures do not depend on the number of threads. */
#ifndef GF_RECIPES_LRFIND_H
#define GF_RECIPES_LRFIND_H

#include "core/log.h"
#include "core/text.h"
#include "recipes/recipe.h"

/* The fewest updates leave four points for the suggestions. */
enum { GF_LRFIND_LEAST = 10, GF_LRFIND_MOST = 10000 };

typedef struct gf_lr_point {
    double rate; /* the largest of the groups' */
    double loss, smoothed;
} gf_lr_point;

typedef enum gf_lr_rule { GF_LR_VALLEY, GF_LR_STEEP, GF_LR_MINIMUM, GF_LR_RULES } gf_lr_rule;

/* "valley", "steep", "minimum". */
extern const char *const gf_lr_rule_names[GF_LR_RULES];

typedef struct gf_lr_hint {
    double rate;   /* NAN: none */
    int64_t point; /* where on the curve it was found; -1: none */
} gf_lr_hint;

typedef enum gf_lr_end { GF_LR_FINISHED, GF_LR_DIVERGED, GF_LR_NOT_FINITE } gf_lr_end;

/* What a pattern of the phase's "trainable" has in the recipe. */
typedef struct gf_lr_pattern {
    char *pattern;
    double lr; /* as written; 0 where nothing of it trains in this phase */
} gf_lr_pattern;

typedef struct gf_lrfind {
    int64_t phase;
    char *phase_name;
    double start, end;
    int64_t steps;
    double largest; /* rate of the groups, in the recipe */
    gf_lr_pattern *patterns;
    int64_t n_patterns;
    gf_lr_point *points; /* [count] rates rise */
    int64_t count;
    gf_lr_end how;
    double last_rate; /* of the last update, that which was not finite included */
    gf_lr_hint hints[GF_LR_RULES];
} gf_lrfind;

/* Functions of the caller; each may be NULL. */
typedef struct gf_lrfind_watch {
    void *context;
    /* `done` updates of `all` are made; p is the last point, NULL before there is one. */
    void (*step)(void *context, int64_t done, int64_t all, const gf_lr_point *p);
    /* Texts are being encoded, where the encoder stands still. */
    void (*encoding)(void *context, int64_t done, int64_t rows);
    /* GF_OK, or GF_E_SIGINT or GF_E_SIGTERM to stop. */
    gf_code (*stop)(void *context);
} gf_lrfind_watch;

typedef struct gf_lrfind_options {
    const char *phase; /* its name, or its number from 0; NULL: the first that trains something */
    double start, end; /* 0 < start < end */
    int64_t steps;
    int threads; /* 0: gf_pool_processors() */
    bool pin;    /* each to a processor */
    gf_lrfind_watch watch;
    gf_log log;
} gf_lrfind_options;

/* f must be zeroed; free it after a failure too. GF_E_USAGE: options out of range, no such phase,
 * or one that trains nothing; GF_E_NUMERIC: the very first loss or gradient is not finite, so that
 * there is no curve; GF_E_SIGINT and GF_E_SIGTERM; and all that opening a run can fail with. */
bool gf_lrfind_run(gf_lrfind *f, const gf_recipe *recipe, const gf_lrfind_options *o, gf_err *e);
void gf_lrfind_free(gf_lrfind *f);

/* Fills hints[GF_LR_RULES] for a curve of `count` points of a test with `steps` updates. */
bool gf_lrfind_suggest(const gf_lr_point *points, int64_t count, int64_t steps, gf_lr_hint *hints,
                       gf_err *e);

/* For people: about 20 points with bars, the suggestions, and --set options for "valley" that keep
 * the ratios of the patterns. 80 columns but for that line. */
bool gf_lrfind_table(const gf_lrfind *f, gf_text *out, gf_err *e);
/* For programs: all points and suggestions, each with its --set options. For cJSON_Delete(). */
cJSON *gf_lrfind_to_json(const gf_lrfind *f, gf_err *e);

#endif
