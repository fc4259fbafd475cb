#include "optim/schedule.h"

#include <math.h>
#include <stddef.h>

const char *const gf_schedule_names[] = {
    "constant",   "linear",       "cosine",    "cosine_with_restarts",
    "polynomial", "inverse_sqrt", "one_cycle", "reduce_on_plateau",
    NULL};

static const double pi = 3.14159265358979323846;

gf_schedule gf_schedule_make(gf_schedule_kind kind) {
    return (gf_schedule){.kind = kind,
                         .power = 1,
                         .factor = 0.1,
                         .patience = 10,
                         .peak = 0.3,
                         .start_divisor = 25,
                         .final_divisor = 1e4};
}

/* ---- reduce_on_plateau ---- */

gf_plateau gf_plateau_start(void) { return (gf_plateau){.factor = 1}; }

static bool is_better(const gf_plateau *p, double value, bool higher_is_better) {
    double worst = higher_is_better ? -INFINITY : INFINITY;
    double best = p->has_best ? p->best : worst;
    return higher_is_better ? value > best : value < best;
}

void gf_plateau_see(gf_plateau *p, const gf_schedule *s, double value, bool higher_is_better) {
    if (s->kind != GF_SCHEDULE_REDUCE_ON_PLATEAU) return;
    if (is_better(p, value, higher_is_better)) {
        p->best = value;
        p->has_best = true;
        p->stale = 0;
    } else if (++p->stale > s->patience) {
        p->factor = fmax(p->factor * s->factor, s->end);
        p->stale = 0;
    }
}

/* ---- factors ---- */

static double at_least_one(int64_t n) { return n > 1 ? (double)n : 1.0; }

/* f in [0, 1] to [end, 1]; in transformers' order of operations, as everything below. */
static double above_end(const gf_schedule *s, double f) {
    return fmax(0.0, f * (1.0 - s->end) + s->end);
}

/* progress in [0, 1] over the updates behind the warm-up. */
static double cosine(const gf_schedule *s, double progress) {
    double cycles = s->cycles > 0 ? s->cycles : 0.5;
    return above_end(s, 0.5 * (1.0 + cos(pi * cycles * 2.0 * progress)));
}

static double cosine_with_restarts(const gf_schedule *s, double progress) {
    double cycles = s->cycles > 0 ? s->cycles : 1;
    if (progress >= 1) return s->end;
    return above_end(s, 0.5 * (1.0 + cos(pi * fmod(cycles * progress, 1.0))));
}

static double inverse_sqrt(const gf_schedule *s, int64_t warmup, int64_t step) {
    double timescale = s->timescale;
    if (timescale <= 0) timescale = warmup > 0 ? (double)warmup : 10000;
    double shift = timescale - (double)warmup;
    return fmax(s->end, 1.0 / sqrt(((double)step + shift) / timescale));
}

/* Half a cosine from one factor to another; a way of no length is at its end. */
static double anneal(double from, double to, double done, double length) {
    double share = length > 0 ? fmin(1.0, done / length) : 1.0;
    return to + (from - to) / 2.0 * (cos(pi * share) + 1);
}

static double one_cycle(const gf_schedule *s, int64_t total, int64_t step) {
    double first = 1 / s->start_divisor;
    double last = s->end > 0 ? s->end : first / s->final_divisor;
    double top = s->peak * (double)total - 1, bottom = (double)total - 1, at = (double)step;
    if (at <= top) return anneal(first, 1, at, top);
    return anneal(1, last, at - top, bottom - top);
}

double gf_schedule_factor(const gf_schedule *s, int64_t warmup, int64_t total, int64_t step,
                          const gf_plateau *p) {
    double reduced = s->kind == GF_SCHEDULE_REDUCE_ON_PLATEAU && p ? p->factor : 1;
    double rest = at_least_one(total - warmup);
    double progress = (double)(step - warmup) / rest;
    if (s->kind == GF_SCHEDULE_ONE_CYCLE) return one_cycle(s, total, step);
    if (step < warmup) return (double)step / at_least_one(warmup) * reduced;
    switch (s->kind) {
    case GF_SCHEDULE_LINEAR: return above_end(s, fmax(0.0, (double)(total - step) / rest));
    case GF_SCHEDULE_COSINE: return cosine(s, progress);
    case GF_SCHEDULE_COSINE_WITH_RESTARTS: return cosine_with_restarts(s, progress);
    case GF_SCHEDULE_POLYNOMIAL:
        return step >= total ? s->end : above_end(s, pow(1 - progress, s->power));
    case GF_SCHEDULE_INVERSE_SQRT: return inverse_sqrt(s, warmup, step);
    case GF_SCHEDULE_ONE_CYCLE:
    case GF_SCHEDULE_REDUCE_ON_PLATEAU:
    case GF_SCHEDULE_CONSTANT: break;
    }
    return reduced;
}

int64_t gf_schedule_warmup(double warmup, int64_t total) {
    const double most = 1e15; /* beyond any run, and exact in a double */
    if (warmup < 1) return (int64_t)ceil((double)total * warmup);
    return (int64_t)fmin(warmup, most);
}
