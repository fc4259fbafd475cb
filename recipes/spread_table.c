#include "recipes/spread.h"

#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 80, CELL = 14, LONGEST_NAME = 32, MARK = 2 };

static const cJSON *get(const cJSON *j, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(j, key);
}

static double number(const cJSON *j) { return cJSON_IsNumber(j) ? j->valuedouble : NAN; }

static const char *string(const cJSON *j) {
    const char *text = cJSON_GetStringValue(j);
    return text ? text : "";
}

typedef struct table {
    const cJSON *report;
    bool bold;
    gf_text *out;
    gf_err *e;
    int name_width;
} table;

/* "0.8123 ±0.0042", without the spread below two values, "-" without any. */
static bool add_spread(table *t, const cJSON *spread, int width) {
    double mean = number(get(spread, "mean")), sd = number(get(spread, "sd"));
    int digits = fabs(mean) < 10 ? 4 : 2;
    char cell[64] = "-";
    if (!isnan(mean) && isnan(sd)) snprintf(cell, sizeof cell, "%.*f", digits, mean);
    if (!isnan(mean) && !isnan(sd))
        snprintf(cell, sizeof cell, "%.*f ±%.*f", digits, mean, digits, sd);
    return gf_text_add_column(t->out, cell, width, t->e);
}

/* "* name   ", the mark for the best. */
static bool begin_row(table *t, const cJSON *recipe) {
    const char *best = cJSON_GetStringValue(get(t->report, "best"));
    const char *name = string(get(recipe, "name"));
    bool is_best = best && strcmp(best, name) == 0;
    return gf_text_add(t->out, t->e, "%s%s ", is_best && t->bold ? "\033[1m" : "",
                       is_best ? "*" : " ") &&
           gf_text_add_column(t->out, name, t->name_width, t->e);
}

static bool end_row(table *t, const cJSON *recipe) {
    const char *best = cJSON_GetStringValue(get(t->report, "best"));
    bool is_bold = t->bold && best && strcmp(best, string(get(recipe, "name"))) == 0;
    gf_text_trim(t->out);
    return gf_text_add(t->out, t->e, "%s\n", is_bold ? "\033[0m" : "");
}

/* ---- the tasks' figures, as many side by side as there is room for ---- */

typedef struct column {
    const char *task, *metric, *split;
} column;

static bool has_values(const table *t, const char *split, const char *task) {
    const cJSON *recipe;
    cJSON_ArrayForEach(recipe, get(t->report, "recipes")) {
        if (get(get(recipe, split), task)) return true;
    }
    return false;
}

static bool add_figures(table *t, const column *columns, int n) {
    const cJSON *recipe;
    bool ok = gf_text_add(t->out, t->e, "%*s", t->name_width + MARK, "");
    for (int i = 0; ok && i < n; i++) {
        bool same = i > 0 && columns[i].task == columns[i - 1].task;
        bool pair = i + 1 < n && columns[i].task == columns[i + 1].task;
        char title[160];
        snprintf(title, sizeof title, "%s %s", columns[i].task, columns[i].metric);
        ok = same || (gf_text_add(t->out, t->e, " ") &&
                      gf_text_add_column(t->out, title, pair ? 2 * CELL + 1 : CELL, t->e));
    }
    gf_text_trim(t->out);
    ok = ok && gf_text_add(t->out, t->e, "\n%*s", t->name_width + MARK, "");
    for (int i = 0; ok && i < n; i++)
        ok = gf_text_add(t->out, t->e, " %-*s", CELL, columns[i].split);
    gf_text_trim(t->out);
    ok = ok && gf_text_add(t->out, t->e, "\n");
    cJSON_ArrayForEach(recipe, get(t->report, "recipes")) {
        ok = ok && begin_row(t, recipe);
        for (int i = 0; ok && i < n; i++)
            ok = gf_text_add(t->out, t->e, " ") &&
                 add_spread(t, get(get(recipe, columns[i].split), columns[i].task), CELL);
        ok = ok && end_row(t, recipe);
    }
    return ok && gf_text_add(t->out, t->e, "\n");
}

static bool add_all_figures(table *t) {
    static const char *const splits[] = {"dev", "test"};
    enum { MOST = WIDTH / (CELL + 1) };
    column columns[MOST];
    int n = 0, room = (WIDTH - MARK - t->name_width) / (CELL + 1); /* a task takes up to 2 */
    const cJSON *metric;
    bool ok = true;
    cJSON_ArrayForEach(metric, get(t->report, "metrics")) {
        int wanted = has_values(t, "dev", metric->string) + has_values(t, "test", metric->string);
        if (n && n + wanted > room) {
            ok = ok && add_figures(t, columns, n);
            n = 0;
        }
        for (size_t s = 0; s < 2; s++)
            if (has_values(t, splits[s], metric->string))
                columns[n++] = (column){metric->string, string(metric), splits[s]};
    }
    return ok && (n == 0 || add_figures(t, columns, n));
}

/* ---- costs ---- */

/* "22.7M", "11.2k" or "512". */
static const char *count(double n, char text[24]) {
    if (isnan(n))
        snprintf(text, 24, "-");
    else if (n >= 1e6)
        snprintf(text, 24, "%.1fM", n / 1e6);
    else if (n >= 1e4)
        snprintf(text, 24, "%.1fk", n / 1e3);
    else
        snprintf(text, 24, "%.0f", n);
    return text;
}

/* "1h02m", "3m10s", "12.3s". */
static const char *duration(double seconds, char text[24]) {
    long long s = seconds < 1e9 ? llround(seconds) : 0;
    if (isnan(seconds))
        snprintf(text, 24, "-");
    else if (s >= 3600)
        snprintf(text, 24, "%lldh%02lldm", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(text, 24, "%lldm%02llds", s / 60, s % 60);
    else
        snprintf(text, 24, "%.1fs", seconds);
    return text;
}

typedef enum unit { COSINE, MEBIBYTES, PERCENT } unit;

static bool add_cell(table *t, double v, unit as, int width) {
    char cell[32] = "-";
    if (!isnan(v) && as == COSINE) snprintf(cell, sizeof cell, "%.4f", v);
    if (!isnan(v) && as == MEBIBYTES) snprintf(cell, sizeof cell, "%.0f MiB", v);
    if (!isnan(v) && as == PERCENT) snprintf(cell, sizeof cell, "%.3g %%", v);
    return gf_text_add(t->out, t->e, " %*s", width, cell);
}

static bool has_kept(const table *t) {
    const cJSON *recipe;
    cJSON_ArrayForEach(recipe, get(t->report, "recipes")) {
        if (!isnan(number(get(get(recipe, "kept"), "mean")))) return true;
    }
    return false;
}

static bool add_cost(table *t, const cJSON *recipe, bool kept) {
    double trainable = number(get(recipe, "trainable")), all = number(get(recipe, "parameters"));
    char a[24], b[24];
    const cJSON *run, *runs = get(recipe, "runs");
    int done = 0;
    cJSON_ArrayForEach(run, runs) done += strcmp(string(get(run, "state")), "done") == 0;
    return begin_row(t, recipe) && gf_text_add(t->out, t->e, " ") &&
           add_spread(t, get(recipe, "select"), CELL) &&
           gf_text_add(t->out, t->e, " %9s", count(trainable, a)) &&
           add_cell(t, 100 * trainable / all, PERCENT, 6) &&
           gf_text_add(t->out, t->e, " %7s",
                       duration(number(get(get(recipe, "seconds"), "mean")), b)) &&
           add_cell(t, number(get(recipe, "peak_mib")), MEBIBYTES, 9) &&
           (!kept || add_cell(t, number(get(get(recipe, "kept"), "mean")), COSINE, 6)) &&
           gf_text_add(t->out, t->e, " %2d/%d", done, cJSON_GetArraySize(runs)) &&
           end_row(t, recipe);
}

static bool add_costs(table *t) {
    const cJSON *recipe;
    bool kept = has_kept(t);
    bool ok = gf_text_add(t->out, t->e, "%*s %-*s %9s %6s %7s %9s%s %4s\n", t->name_width + MARK,
                          "", CELL, "dev score", "trainable", "share", "time", "memory",
                          kept ? "   kept" : "", "runs");
    cJSON_ArrayForEach(recipe, get(t->report, "recipes")) ok = ok && add_cost(t, recipe, kept);
    return ok;
}

/* ---- what the figures are, and what failed ---- */

static bool add_legend(table *t) {
    return gf_text_add(t->out, t->e,
                       "\nmean ± sample standard deviation over the seeds; * the best dev score:\n"
                       "%s\n"
                       "trainable: in the phase that trains most; time and memory: of one run\n%s",
                       string(get(t->report, "criterion")),
                       has_kept(t) ? "kept: mean cosine of dev texts' embeddings in the base and "
                                     "in the end; - unmoved\n"
                                   : "");
}

static bool add_failures(table *t) {
    const cJSON *recipe, *run;
    bool ok = true;
    cJSON_ArrayForEach(recipe, get(t->report, "recipes")) {
        cJSON_ArrayForEach(run, get(recipe, "runs")) {
            if (!get(run, "error")) continue;
            ok = ok && gf_text_add(t->out, t->e, "failed: %s, seed %.0f: %s\n",
                                   string(get(recipe, "name")), number(get(run, "seed")),
                                   string(get(run, "error")));
        }
    }
    return ok;
}

bool gf_spread_table(const cJSON *report, bool bold, gf_text *out, gf_err *e) {
    table t = {.report = report, .bold = bold, .out = out, .e = e};
    const cJSON *recipe;
    cJSON_ArrayForEach(recipe, get(report, "recipes")) {
        int n = (int)strlen(string(get(recipe, "name")));
        if (n > t.name_width) t.name_width = n > LONGEST_NAME ? LONGEST_NAME : n;
    }
    return add_all_figures(&t) && add_costs(&t) && add_legend(&t) &&
           gf_spread_phases(report, out, e) && add_failures(&t);
}
