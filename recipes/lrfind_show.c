/* lrfind's results, for people and for programs. */
#include "recipes/lrfind.h"

#include "core/json.h"
#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LINES = 20, BAR = 36 };

static const char *const explained[GF_LR_RULES] = {
    "a point half way down the longest fall of the loss",
    "where the loss falls most per step of ln lr",
    "a tenth of the lr at the lowest loss",
};

/* "phases.0.trainable.heads.*.lr=0.001": what pattern i has in proportion to the suggestion. */
static char *make_set(const gf_lrfind *f, int64_t i, double rate, gf_err *e) {
    const gf_lr_pattern *p = &f->patterns[i];
    return gf_format(e, "phases.%lld.trainable.%s.lr=%.3g", (long long)f->phase, p->pattern,
                     p->lr * (rate / f->largest));
}

/* ---- for people ---- */

/* What is drawn of the curve: bars from its lowest loss to the highest that stands before it, so
 * that the valley fills the width; what diverges afterwards is cut. */
typedef struct scale {
    double low, high;
} scale;

static scale find_scale(const gf_lrfind *f) {
    int64_t lowest = 0;
    scale s = {f->points[0].smoothed, f->points[0].smoothed};
    for (int64_t i = 1; i < f->count; i++)
        if (f->points[i].smoothed < f->points[lowest].smoothed) lowest = i;
    s.low = f->points[lowest].smoothed;
    for (int64_t i = 0; i < lowest; i++) s.high = fmax(s.high, f->points[i].smoothed);
    s.high = fmax(s.high, s.low + 0.05 * fabs(s.low));
    if (!(s.high > s.low)) s.high = s.low + 1;
    return s;
}

/* The points from..to-1 share a line; a suggestion that stands among them is named on it. */
static bool add_marks(const gf_lrfind *f, int64_t from, int64_t to, gf_text *out, gf_err *e) {
    bool ok = true;
    for (int i = 0; ok && i < GF_LR_RULES; i++)
        if (f->hints[i].point >= from && f->hints[i].point < to)
            ok = gf_text_add(out, e, " %s", gf_lr_rule_names[i]);
    return ok;
}

static bool add_line(const gf_lrfind *f, const scale *s, int64_t from, int64_t to, gf_text *out,
                     gf_err *e) {
    const gf_lr_point *p = &f->points[from];
    double share = (p->smoothed - s->low) / (s->high - s->low);
    bool cut = share > 1.005;
    int length = cut ? BAR : (int)lround(share * BAR);
    char bar[BAR + 1], loss[24];
    memset(bar, '#', sizeof bar);
    if (cut) bar[BAR - 1] = '>';
    bar[length] = 0;
    if (fabs(p->smoothed) < 1e5)
        snprintf(loss, sizeof loss, "%.4f", p->smoothed);
    else
        snprintf(loss, sizeof loss, "%.3g", p->smoothed);
    if (!gf_text_add(out, e, "%9.2e %10s  ", p->rate, loss) ||
        !gf_text_add_column(out, bar, BAR, e) || !add_marks(f, from, to, out, e))
        return false;
    gf_text_trim(out);
    return gf_text_add(out, e, "\n");
}

/* The first point of a line; the last point has a line of its own. */
static int64_t point_of(const gf_lrfind *f, int64_t line, int64_t lines) {
    return line == lines ? f->count : lines > 1 ? line * (f->count - 1) / (lines - 1) : 0;
}

static bool add_curve(const gf_lrfind *f, gf_text *out, gf_err *e) {
    int64_t lines = f->count < LINES ? f->count : LINES;
    scale s;
    bool ok = gf_text_add(out, e, "%9s %10s\n", "lr", "loss");
    if (f->count == 0) return ok;
    s = find_scale(f);
    for (int64_t i = 0; ok && i < lines; i++)
        ok = add_line(f, &s, point_of(f, i, lines), point_of(f, i + 1, lines), out, e);
    return ok;
}

static bool add_head(const gf_lrfind *f, gf_text *out, gf_err *e) {
    static const char *const ends[] = {"the last update", "the loss was 4 times its lowest",
                                       "the loss or a gradient was not finite"};
    return gf_text_add(out, e,
                       "phase \"%s\" (phases.%lld): %lld updates, lr from %.3g to %.3g\n"
                       "ended at lr %.3g: %s\n\n",
                       f->phase_name, (long long)f->phase, (long long)f->steps, f->start, f->end,
                       f->last_rate, ends[f->how]);
}

/* In quotes for a shell; a quote in a pattern ends them for a moment. */
static bool add_quoted(const char *text, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, " --set '");
    for (; ok && *text; text++)
        ok = *text == '\'' ? gf_text_add(out, e, "'\\''") : gf_text_add_bytes(out, text, 1, e);
    return ok && gf_text_add(out, e, "'");
}

static bool add_sets(const gf_lrfind *f, gf_lr_rule rule, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "\nto take \"%s\":", gf_lr_rule_names[rule]);
    for (int64_t i = 0; ok && i < f->n_patterns; i++) {
        char *set;
        if (f->patterns[i].lr == 0) continue;
        set = make_set(f, i, f->hints[rule].rate, e);
        ok = set && add_quoted(set, out, e);
        gf_free(set);
    }
    return ok && gf_text_add(out, e, "\n");
}

/* The curve says little where the loss hardly falls. */
static bool add_doubt(const gf_lrfind *f, gf_text *out, gf_err *e) {
    const gf_lr_point *p = f->points;
    int64_t first = f->steps / 10, lowest = f->hints[GF_LR_MINIMUM].point;
    double fall = (p[first].smoothed - p[lowest].smoothed) / fabs(p[first].smoothed);
    if (!(fall < 0.01)) return true;
    return gf_text_add(out, e,
                       "the loss hardly falls (by %.2g %%), so these mean little; more --steps may "
                       "help\n",
                       100 * fall);
}

bool gf_lrfind_table(const gf_lrfind *f, gf_text *out, gf_err *e) {
    bool ok = add_head(f, out, e) && add_curve(f, out, e);
    if (ok && f->hints[GF_LR_VALLEY].point < 0)
        return gf_text_add(out, e,
                           "\nno suggestion: %lld points are too few without the first %lld and "
                           "the last 5;\ntry a lower --start or more --steps\n",
                           (long long)f->count, (long long)(f->steps / 10));
    ok = ok && gf_text_add(out, e, "\nsuggestions, without the first %lld points and the last 5\n",
                           (long long)(f->steps / 10));
    for (int i = 0; ok && i < GF_LR_RULES; i++)
        ok = gf_text_add(out, e, "  %-8s %8.2e  %s\n", gf_lr_rule_names[i], f->hints[i].rate,
                         explained[i]);
    return ok && add_doubt(f, out, e) && add_sets(f, GF_LR_VALLEY, out, e);
}

/* ---- for programs ---- */

static bool add_hint(const gf_lrfind *f, gf_lr_rule rule, cJSON *parent, gf_err *e) {
    const gf_lr_hint *h = &f->hints[rule];
    cJSON *item, *sets;
    bool ok;
    if (h->point < 0) return gf_json_null(parent, gf_lr_rule_names[rule], e);
    ok = (item = gf_json_object(parent, gf_lr_rule_names[rule], e)) &&
         gf_json_number(item, "lr", h->rate, e) &&
         gf_json_number(item, "point", (double)h->point, e) &&
         (sets = gf_json_array(item, "set", e));
    for (int64_t i = 0; ok && i < f->n_patterns; i++) {
        char *set;
        if (f->patterns[i].lr == 0) continue;
        set = make_set(f, i, h->rate, e);
        ok = set && gf_json_string(sets, NULL, set, e);
        gf_free(set);
    }
    return ok;
}

static bool add_points(const gf_lrfind *f, cJSON *j, gf_err *e) {
    cJSON *list = gf_json_array(j, "points", e), *item;
    bool ok = list != NULL;
    for (int64_t i = 0; ok && i < f->count; i++)
        ok = (item = gf_json_object(list, NULL, e)) &&
             gf_json_number(item, "lr", f->points[i].rate, e) &&
             gf_json_number(item, "loss", f->points[i].loss, e) &&
             gf_json_number(item, "smoothed", f->points[i].smoothed, e);
    return ok;
}

cJSON *gf_lrfind_to_json(const gf_lrfind *f, gf_err *e) {
    static const char *const ends[] = {"finished", "diverged", "not_finite"};
    cJSON *j = gf_json_object(NULL, NULL, e), *phase, *hints;
    bool ok = j && (phase = gf_json_object(j, "phase", e)) &&
              gf_json_number(phase, "index", (double)f->phase, e) &&
              gf_json_string(phase, "name", f->phase_name, e) &&
              gf_json_number(j, "start", f->start, e) && gf_json_number(j, "end", f->end, e) &&
              gf_json_number(j, "steps", (double)f->steps, e) &&
              gf_json_string(j, "ended", ends[f->how], e) &&
              gf_json_number(j, "ended_at", f->last_rate, e) && add_points(f, j, e) &&
              (hints = gf_json_object(j, "suggestions", e));
    for (int i = 0; ok && i < GF_LR_RULES; i++) ok = add_hint(f, (gf_lr_rule)i, hints, e);
    if (ok) return j;
    cJSON_Delete(j);
    return NULL;
}
