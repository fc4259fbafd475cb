#include "optim/conflict.h"

#include "core/mem.h"

#include <math.h>
#include <stddef.h>

/* Of the state: a head, then tasks, then pairs, each with its places and all of them. */
enum { HEAD = 1 };
enum { TASK_UPDATES, TASK_NORMS, TASK_COLUMNS };
enum { PAIR_DOT, PAIR_SQUARE_I, PAIR_SQUARE_J, PAIR_COLUMNS };
enum { PLACE_UPDATES, PLACE_COSINES, PLACE_CONFLICTS, PLACE_COLUMNS };

enum { TABLE_LINES = 20 };

bool gf_conflict_start(gf_conflict *c, int64_t tasks, int64_t places, gf_err *e) {
    int64_t pairs, pair_size, all_pairs;
    *c = (gf_conflict){.tasks = tasks, .places = places};
    if (tasks < 0 || places < 0 || tasks > INT32_MAX || places > INT32_MAX)
        return gf_fail(e, GF_E_INVALID, "conflict: %lld tasks or %lld places; have fewer",
                       (long long)tasks, (long long)places);
    pairs = tasks * (tasks - 1) / 2;
    pair_size = PAIR_COLUMNS + PLACE_COLUMNS * (places + 1);
    if (!gf_mul_i64(pairs, pair_size, &all_pairs) || all_pairs > INT64_MAX / 2)
        return gf_fail(e, GF_E_NOMEM, "conflict: %lld tasks are too many; measure fewer",
                       (long long)tasks);
    c->count = HEAD + TASK_COLUMNS * tasks + all_pairs;
    c->state = gf_alloc_array(c->count, sizeof *c->state, e);
    return c->state;
}

void gf_conflict_free(gf_conflict *c) {
    gf_free(c->state);
    *c = (gf_conflict){0};
}

void gf_conflict_state(gf_conflict *c, double **values, int64_t *count) {
    *values = c->state;
    *count = c->count;
}

static double *task_at(const gf_conflict *c, int64_t k) {
    return c->state + HEAD + TASK_COLUMNS * k;
}

/* i < j; pairs in the order (0, 1), (0, 2), (1, 2), (0, 3), ... */
static double *pair_at(const gf_conflict *c, int64_t i, int64_t j) {
    int64_t size = PAIR_COLUMNS + PLACE_COLUMNS * (c->places + 1);
    return task_at(c, c->tasks) + (j * (j - 1) / 2 + i) * size;
}

/* In a pair; place == places: all. */
static double *place_at(double *pair, int64_t place) {
    return pair + PAIR_COLUMNS + PLACE_COLUMNS * place;
}

static bool is_measurable(double square) { return isfinite(square) && square > 0; }

/* Adds one cosine; false when there is none. */
static bool add_cosine(double *place, double dot, double square_i, double square_j) {
    double cosine = dot / (sqrt(square_i) * sqrt(square_j));
    if (!is_measurable(square_i) || !is_measurable(square_j) || !isfinite(cosine)) return false;
    place[PLACE_UPDATES] += 1;
    place[PLACE_COSINES] += fmin(fmax(cosine, -1), 1);
    place[PLACE_CONFLICTS] += dot < 0;
    return true;
}

/* Of tasks i and j over all places. */
static double sum_over_places(const gf_conflict *c, const double *grams, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t l = 0; l < c->places; l++) sum += grams[(l * c->tasks + i) * c->tasks + j];
    return sum;
}

static void add_pair(gf_conflict *c, const double *grams, int64_t i, int64_t j) {
    double *pair = pair_at(c, i, j), dot = sum_over_places(c, grams, i, j);
    double square_i = sum_over_places(c, grams, i, i), square_j = sum_over_places(c, grams, j, j);
    for (int64_t l = 0; l < c->places; l++) {
        const double *gram = grams + l * c->tasks * c->tasks;
        add_cosine(place_at(pair, l), gram[i * c->tasks + j], gram[i * c->tasks + i],
                   gram[j * c->tasks + j]);
    }
    if (!add_cosine(place_at(pair, c->places), dot, square_i, square_j)) return;
    pair[PAIR_DOT] += dot;
    pair[PAIR_SQUARE_I] += square_i;
    pair[PAIR_SQUARE_J] += square_j;
}

void gf_conflict_add(gf_conflict *c, const double *grams) {
    c->state[0] += 1;
    for (int64_t j = 0; j < c->tasks; j++) {
        double square = sum_over_places(c, grams, j, j);
        if (is_measurable(square)) {
            task_at(c, j)[TASK_UPDATES] += 1;
            task_at(c, j)[TASK_NORMS] += sqrt(square);
        }
        for (int64_t i = 0; i < j; i++) add_pair(c, grams, i, j);
    }
}

int64_t gf_conflict_updates(const gf_conflict *c) { return (int64_t)c->state[0]; }

gf_conflict_pair gf_conflict_get(const gf_conflict *c, int64_t i, int64_t j, int64_t place) {
    const double *s = place_at(i < j ? pair_at(c, i, j) : pair_at(c, j, i), place);
    double updates = s[PLACE_UPDATES];
    return (gf_conflict_pair){.updates = (int64_t)updates,
                              .conflicts = (int64_t)s[PLACE_CONFLICTS],
                              .cosine = updates > 0 ? s[PLACE_COSINES] / updates : 0};
}

double gf_conflict_effect(const gf_conflict *c, int64_t i, int64_t j) {
    const double *pair = i < j ? pair_at(c, i, j) : pair_at(c, j, i);
    double own = i < j ? pair[PAIR_SQUARE_J] : pair[PAIR_SQUARE_I];
    return own > 0 ? pair[PAIR_DOT] / own : 0;
}

double gf_conflict_norm(const gf_conflict *c, int64_t k) {
    const double *task = task_at(c, k);
    return task[TASK_UPDATES] > 0 ? task[TASK_NORMS] / task[TASK_UPDATES] : 0;
}

/* ---- what to pick ---- */

static bool in_conflict(gf_conflict_pair p) {
    return p.updates > 0 && p.cosine < -0.02 && 2 * p.conflicts >= p.updates;
}

/* The next pair behind (i, j) in the order of mean cosine, then of j and i; from i = -1 the
 * first. False when no measured pair is left. */
static bool next_pair(const gf_conflict *c, bool conflicting, int64_t *i, int64_t *j) {
    double last = *i < 0 ? -INFINITY : gf_conflict_get(c, *i, *j, c->places).cosine, least = 0;
    int64_t found_i = -1, found_j = -1;
    for (int64_t b = 0; b < c->tasks; b++)
        for (int64_t a = 0; a < b; a++) {
            gf_conflict_pair p = gf_conflict_get(c, a, b, c->places);
            bool later =
                *i < 0 || p.cosine > last || (p.cosine == last && (b > *j || (b == *j && a > *i)));
            if (p.updates == 0 || (conflicting && !in_conflict(p)) || !later ||
                (found_i >= 0 && p.cosine >= least))
                continue;
            found_i = a;
            found_j = b;
            least = p.cosine;
        }
    *i = found_i;
    *j = found_j;
    return found_i >= 0;
}

/* The place with the lowest mean cosine, -1 without any. */
static int64_t worst_place(const gf_conflict *c, int64_t i, int64_t j) {
    int64_t worst = -1;
    for (int64_t l = 0; l < c->places; l++) {
        gf_conflict_pair p = gf_conflict_get(c, i, j, l);
        if (p.updates == 0) continue;
        if (worst < 0 || p.cosine < gf_conflict_get(c, i, j, worst).cosine) worst = l;
    }
    return worst;
}

/* ---- the table ---- */

static bool add_name(gf_text *text, const char *name, int columns, gf_err *e) {
    if (!gf_text_add_column(text, name, columns, e)) return false;
    gf_text_trim(text);
    return true;
}

/* A share in percent, at most six characters however large it is. */
static bool add_percent(gf_text *text, double share, gf_err *e) {
    if (fabs(share) < 9.995) return gf_text_add(text, e, "%+.0f%%", 100 * share);
    return gf_text_add(text, e, share < 0 ? "< -999%%" : "> 999%%");
}

/* Appends what is in `cell` as a column and empties it. */
static bool add_cell(gf_text *text, gf_text *cell, int columns, gf_err *e) {
    bool ok = gf_text_add_column(text, cell->data ? cell->data : "", columns, e);
    gf_text_free(cell);
    return ok;
}

static bool add_line(const gf_conflict *c, int64_t i, int64_t j, const char *const *tasks,
                     const char *const *places, gf_text *text, gf_err *e) {
    gf_conflict_pair all = gf_conflict_get(c, i, j, c->places);
    int64_t worst = worst_place(c, i, j);
    double share = (double)all.conflicts / (double)all.updates;
    gf_text cell = {0};
    bool ok = add_name(&cell, tasks[i], 12, e) && gf_text_add(&cell, e, " / ") &&
              add_name(&cell, tasks[j], 12, e) && add_cell(text, &cell, 28, e) &&
              gf_text_add(&cell, e, "%+.2f", all.cosine) && add_cell(text, &cell, 8, e) &&
              gf_text_add(&cell, e, "%.0f%%", 100 * share) && add_cell(text, &cell, 9, e);
    if (ok && worst >= 0)
        ok = add_name(&cell, places[worst], 12, e) &&
             gf_text_add(&cell, e, " %+.2f", gf_conflict_get(c, i, j, worst).cosine);
    ok = ok && add_cell(text, &cell, 19, e) && add_percent(&cell, gf_conflict_effect(c, i, j), e) &&
         add_cell(text, &cell, 8, e) && add_percent(text, gf_conflict_effect(c, j, i), e) &&
         gf_text_add(text, e, "\n");
    gf_text_free(&cell);
    return ok;
}

static int64_t count_pairs(const gf_conflict *c, bool conflicting) {
    int64_t count = 0;
    for (int64_t j = 0; j < c->tasks; j++)
        for (int64_t i = 0; i < j; i++) {
            gf_conflict_pair p = gf_conflict_get(c, i, j, c->places);
            count += conflicting ? in_conflict(p) : p.updates > 0;
        }
    return count;
}

bool gf_conflict_write_table(const gf_conflict *c, const char *const *tasks,
                             const char *const *places, gf_text *text, gf_err *e) {
    int64_t i = -1, j = -1, more = count_pairs(c, false) - TABLE_LINES;
    bool ok = gf_text_add(text, e, "%-28s%-8s%-9s%-19s%-8s%s\n", "tasks: 1st / 2nd", "cosine",
                          "opposed", "worst place", "1st>2nd", "2nd>1st");
    for (int line = 0; ok && line < TABLE_LINES && next_pair(c, false, &i, &j); line++)
        ok = add_line(c, i, j, tasks, places, text, e);
    if (ok && more > 0) ok = gf_text_add(text, e, "and %lld more pairs\n", (long long)more);
    return ok;
}

/* ---- the advice ---- */

/* Where a pair conflicts, among the places that were measured; all -1 without any. */
typedef struct extent {
    int64_t bottom, top; /* the lowest and the highest measured */
    int64_t low, high;   /* the lowest and the highest in conflict */
} extent;

static extent find_extent(const gf_conflict *c, int64_t i, int64_t j) {
    extent x = {-1, -1, -1, -1};
    for (int64_t l = 0; l < c->places; l++) {
        gf_conflict_pair p = gf_conflict_get(c, i, j, l);
        if (p.updates == 0) continue;
        if (x.bottom < 0) x.bottom = l;
        x.top = l;
        if (!in_conflict(p)) continue;
        if (x.low < 0) x.low = l;
        x.high = l;
    }
    if (x.low < 0) return (extent){x.bottom, x.top, x.bottom, x.top}; /* thinly everywhere */
    return x;
}

static bool is_throughout(extent x) { return x.low == x.bottom && x.high == x.top; }

/* Which pair, how much and where. */
static bool add_finding(const gf_conflict *c, int64_t i, int64_t j, const char *const *tasks,
                        const char *const *places, gf_text *text, gf_err *e) {
    gf_conflict_pair all = gf_conflict_get(c, i, j, c->places);
    extent x = find_extent(c, i, j);
    int64_t worst = worst_place(c, i, j);
    bool ok =
        gf_text_add(text, e, "%s and %s conflict most: mean cosine %+.2f, opposed in %.0f%% of ",
                    tasks[i], tasks[j], all.cosine,
                    100 * (double)all.conflicts / (double)all.updates) &&
        gf_text_add(text, e, "the updates, ");
    if (!ok) return false;
    if (is_throughout(x))
        ok = gf_text_add(text, e, "in all layers");
    else if (x.high == x.top)
        ok = gf_text_add(text, e, "from %s up", places[x.low]);
    else if (x.low == x.bottom)
        ok = gf_text_add(text, e, "up to %s", places[x.high]);
    else
        ok = gf_text_add(text, e, "from %s to %s", places[x.low], places[x.high]);
    if (ok && worst >= 0)
        ok = gf_text_add(text, e, ", most in %s (%+.2f)", places[worst],
                         gf_conflict_get(c, i, j, worst).cosine);
    return ok && gf_text_add(text, e, ".");
}

/* What to freeze or split: `weak` is the task that gets less of the backbone. */
static bool add_cut(const gf_conflict *c, int64_t i, int64_t j, const char *weak,
                    const char *const *places, gf_text *text, gf_err *e) {
    extent x = find_extent(c, i, j);
    if (is_throughout(x))
        return gf_text_add(text, e,
                           " Split: train separate models, or give %s a frozen backbone (loss "
                           "weight 0 while the backbone trains, then its head alone).",
                           weak);
    if (x.high == x.top)
        return gf_text_add(text, e,
                           " Split at %s: share what lies below; or give %s a frozen backbone "
                           "(loss weight 0 while %s and above train, then its head alone).",
                           places[x.low], weak, places[x.low]);
    return gf_text_add(text, e, " Freeze %s and what lies below: above it the tasks agree.",
                       places[x.high]);
}

static bool add_ratio(gf_text *text, double ratio, gf_err *e) {
    return gf_text_add(text, e, ratio < 100 ? "%.1f" : "%.3g", ratio);
}

/* How to weigh: by the lengths of the gradients. */
static bool add_weight(const gf_conflict *c, int64_t weak, int64_t strong, const char *const *tasks,
                       gf_text *text, gf_err *e) {
    double ratio = gf_conflict_norm(c, strong) / gf_conflict_norm(c, weak);
    bool ok = gf_text_add(text, e, " A step of %s undoes %.0f%% of what one of %s gains",
                          tasks[strong], -100 * gf_conflict_effect(c, strong, weak), tasks[weak]);
    if (!(ratio >= 2))
        return ok && gf_text_add(text, e,
                                 "; their gradients are about as long, so no weight settles it, "
                                 "but pcgrad or cagrad may.");
    return ok && gf_text_add(text, e, "; the gradients of %s are ", tasks[strong]) &&
           add_ratio(text, ratio, e) &&
           gf_text_add(text, e, " times as long: multiply the weight of %s by ", tasks[weak]) &&
           add_ratio(text, ratio, e) && gf_text_add(text, e, ", or use pcgrad.");
}

/* Without conflict one task may still be drowned by another. */
static bool add_agreement(const gf_conflict *c, int64_t i, int64_t j, const char *const *tasks,
                          gf_text *text, gf_err *e) {
    int64_t weak = -1, strong = -1;
    bool ok = gf_text_add(text, e,
                          "No conflict: the lowest mean cosine is %+.2f (%s and %s); share "
                          "everything.",
                          gf_conflict_get(c, i, j, c->places).cosine, tasks[i], tasks[j]);
    for (int64_t k = 0; k < c->tasks; k++) {
        double norm = gf_conflict_norm(c, k);
        if (!(norm > 0)) continue;
        if (weak < 0 || norm < gf_conflict_norm(c, weak)) weak = k;
        if (strong < 0 || norm > gf_conflict_norm(c, strong)) strong = k;
    }
    double ratio = gf_conflict_norm(c, strong) / gf_conflict_norm(c, weak);
    if (!ok || !(ratio >= 3)) return ok;
    return gf_text_add(text, e, " The gradients of %s are ", tasks[strong]) &&
           add_ratio(text, ratio, e) &&
           gf_text_add(text, e,
                       " times as long as those of %s: if it learns too slowly, multiply "
                       "its weight by up to that.",
                       tasks[weak]);
}

static bool add_conflict(const gf_conflict *c, int64_t i, int64_t j, const char *const *tasks,
                         const char *const *places, gf_text *text, gf_err *e) {
    bool i_is_weak = gf_conflict_norm(c, i) < gf_conflict_norm(c, j);
    int64_t weak = i_is_weak ? i : j, strong = i_is_weak ? j : i, others = count_pairs(c, true) - 1;
    bool ok = add_finding(c, i, j, tasks, places, text, e) &&
              add_cut(c, i, j, tasks[weak], places, text, e) &&
              add_weight(c, weak, strong, tasks, text, e);
    if (ok && others > 0)
        ok = gf_text_add(text, e, " %lld other pair%s conflict%s too.", (long long)others,
                         others > 1 ? "s" : "", others > 1 ? "" : "s");
    return ok;
}

bool gf_conflict_write_advice(const gf_conflict *c, const char *const *tasks,
                              const char *const *places, gf_text *text, gf_err *e) {
    int64_t i = -1, j = -1;
    bool ok;
    if (next_pair(c, true, &i, &j))
        ok = add_conflict(c, i, j, tasks, places, text, e);
    else if (next_pair(c, false, &i, &j))
        ok = add_agreement(c, i, j, tasks, text, e);
    else
        ok = gf_text_add(text, e,
                         "Conflict: nothing to tell, in no measured update had two tasks "
                         "gradients of the shared parameters.");
    return ok && gf_text_add(text, e, "\n");
}
