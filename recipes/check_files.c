/* check, of the files that make a split, and of data.split. */
#include "recipes/check_parts.h"

#include "core/json.h"

#include <string.h>

enum { ROWS_TO_DIVIDE = 50 }; /* from which on data.split is proposed */

/* ---- which files ---- */

static bool is_part(const gf_checking *c, const gf_care_file *f, int split) {
    return f->split == split || (c->care->split[split].share > 0 && f->split == 0);
}

static int64_t rows_of(const gf_checking *c, int64_t file, int split) {
    const gf_split *s = &c->care->split[split];
    int64_t n = 0;
    for (int64_t i = 0; i < s->rows; i++) n += s->row[i].file == file;
    return n;
}

/* "  PATH: 200 rows for category, sentiment" */
static bool print_file(gf_checking *c, int64_t file, int split, gf_err *e) {
    gf_text *out = &c->out->text;
    const gf_care_file *f = &c->care->file[file];
    const char *before = " for ";
    bool ok = gf_text_add(out, e, "  %s: %lld rows", f->path, (long long)rows_of(c, file, split));
    for (int64_t t = 0; ok && t < c->recipe->n_tasks; t++) {
        if (!gf_care_file_has(c->care, f, t)) continue;
        ok = gf_text_add(out, e, "%s%s", before, c->recipe->tasks[t].name);
        before = ", ";
    }
    return ok && gf_text_add(out, e, "\n");
}

bool gf_check_print_files(gf_checking *c, int split, gf_err *e) {
    const gf_split *s = &c->care->split[split];
    gf_text *out = &c->out->text;
    const char *only = NULL;
    int64_t n = 0;
    bool ok = true;
    for (int64_t i = 0; i < c->care->files; i++)
        if (is_part(c, &c->care->file[i], split)) only = c->care->file[i].path, n++;
    if (n == 1 && s->share > 0)
        return gf_text_add(out, e, "%s: %.4g %% of %s (data.split)\n", s->name, 100 * s->share,
                           only);
    if (n == 1) return gf_text_add(out, e, "%s: %s\n", s->name, only);
    ok = gf_text_add(out, e, "%s: %lld files\n", s->name, (long long)n);
    for (int64_t i = 0; ok && i < c->care->files; i++)
        if (is_part(c, &c->care->file[i], split)) ok = print_file(c, i, split, e);
    return ok;
}

static bool file_to_json(const gf_checking *c, int64_t file, int split, cJSON *list, gf_err *e) {
    const gf_care_file *f = &c->care->file[file];
    cJSON *j = gf_json_object(list, NULL, e), *tasks;
    bool ok = j && gf_json_string(j, "path", f->path, e) &&
              gf_json_number(j, "rows", (double)rows_of(c, file, split), e) &&
              (tasks = gf_json_array(j, "tasks", e));
    for (int64_t t = 0; ok && t < c->recipe->n_tasks; t++)
        if (gf_care_file_has(c->care, f, t))
            ok = gf_json_string(tasks, NULL, c->recipe->tasks[t].name, e) != NULL;
    return ok;
}

bool gf_check_files_to_json(const gf_checking *c, int split, cJSON *j, gf_err *e) {
    const gf_care *care = c->care;
    cJSON *list;
    int64_t first = 0;
    bool ok;
    while (!is_part(c, &care->file[first], split)) first++;
    ok = gf_json_string(j, "path", care->file[first].path, e) &&
         (care->split[split].share == 0 ||
          gf_json_number(j, "share", care->split[split].share, e)) &&
         (list = gf_json_array(j, "files", e));
    for (int64_t i = first; ok && i < care->files; i++)
        if (is_part(c, &care->file[i], split)) ok = file_to_json(c, i, split, list, e);
    return ok;
}

/* ---- data.split ---- */

static bool has_own_data(const gf_recipe *r) {
    for (int64_t t = 0; t < r->n_tasks; t++)
        if (r->tasks[t].train) return true;
    return false;
}

static bool propose_split(gf_checking *c, gf_err *e) {
    const gf_recipe *r = c->recipe;
    gf_finding *f;
    if (r->n_tasks == 0 || gf_recipe_has_dev(r)) return true;
    if (!(f = gf_findings_add(&c->findings, "no_dev", false, 0, e))) return false;
    f->split = "dev";
    return gf_text_add(
               &f->what, e,
               "there is no dev data: no epoch is measured, and the last weights are kept") &&
           (has_own_data(r) || c->care->split[0].rows < ROWS_TO_DIVIDE ||
            gf_text_add(&f->fix, e, "--set 'data.split={\"dev\": 0.1%s}'",
                        r->test || r->split_test > 0 ? "" : ", \"test\": 0.1"));
}

static bool tell_undivided(gf_checking *c, gf_err *e) {
    const gf_split_counts *n = &c->divided;
    gf_finding *f;
    if (n->small == 0) return true;
    f = gf_findings_add(&c->findings, "undivided_rows", false, n->small_rows, e);
    if (!f) return false;
    f->split = "train";
    return gf_text_add(&f->what, e,
                       "data.split: %lld of %lld combinations of labels have too few texts to be "
                       "divided, and stay in train (%lld rows)",
                       (long long)n->small, (long long)n->strata, (long long)n->small_rows);
}

bool gf_check_splits(gf_checking *c, gf_err *e) {
    return propose_split(c, e) && tell_undivided(c, e);
}
