/* forgetting: what training did to the embedding itself. A sample of dev texts is embedded before
 * and after a phase that moves the encoder; the mean cosine between the two tells how much of what
 * the base knew is left (1: all of it).
 *
 *     gf_forgetting f = {.folder = path};
 *     gf_forgetting_begin(&f, phase, is_first, &place, e);          (before its first update)
 *     ...
 *     gf_forgetting_end(&f, &place, &cosines, e);                    (behind its last)
 *     gf_forgetting_free(&f);
 *
 * What the texts were before lies in the run folder, so that an interrupted run measures the same,
 * wherever it goes on from: forgetting/phase-N.safetensors, and forgetting/base.safetensors. Each
 * is stamped with the digest of its values; one that is missing or has another is a warning. */
#ifndef GF_RECIPES_FORGETTING_H
#define GF_RECIPES_FORGETTING_H

#include "core/log.h"
#include "recipes/evaluate.h"

/* Texts that are compared: evenly spaced over dev. */
enum { GF_FORGETTING_ROWS = 500 };

typedef struct gf_forgetting {
    const char *folder; /* the run's */
    int64_t rows, width;
    gf_real *now;          /* [rows, width] by the present weights, if `known` */
    gf_real *before, *run; /* at the start of the phase and of the run; NULL: lost */
    bool known;
} gf_forgetting;

/* What embeds. */
typedef struct gf_forgetting_place {
    gf_engine *engine;
    gf_model *model;
    const gf_dataset *dev;
    const gf_tell *tell;
    const gf_log *log;
} gf_forgetting_place;

typedef struct gf_cosines {
    double phase, run; /* mean over the sample; NaN where what was before is lost */
} gf_cosines;

/* `fresh`: the phase has made no update yet, so its beginning is measured.
 * `first`: no earlier phase moved the encoder. Files that are missing otherwise are a warning. */
bool gf_forgetting_begin(gf_forgetting *f, int64_t phase, bool fresh, bool first,
                         const gf_forgetting_place *p, gf_err *e);
bool gf_forgetting_end(gf_forgetting *f, const gf_forgetting_place *p, gf_cosines *c, gf_err *e);
void gf_forgetting_free(gf_forgetting *f);

#endif
