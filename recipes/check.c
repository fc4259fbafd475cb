#include "recipes/check_parts.h"

#include "checkpoints/folder.h"
#include "checkpoints/open.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/step.h"

#include <stdlib.h>

double gf_check_percent(int64_t part, int64_t whole) {
    return whole ? 100 * (double)part / (double)whole : 0;
}

bool gf_check_place(const gf_checking *c, gf_finding *f, const gf_split *s, int64_t row,
                    gf_err *e) {
    return gf_finding_place(f, e, "%s:%lld", gf_care_shown(c->care, s, row),
                            (long long)s->row[row].line);
}

bool gf_check_say_rows(gf_finding *f, const char *what, const gf_split *s, gf_err *e) {
    return gf_text_add(&f->what, e, "%s in %lld %s of %s (%.1f %%)", what, (long long)f->count,
                       f->count == 1 ? "row" : "rows", s->name,
                       gf_check_percent(f->count, s->rows));
}

bool gf_check_by_cleaning(gf_checking *c, gf_finding *f, gf_err *e) {
    c->cleaning_helps = true;
    return gf_text_add(&f->fix, e, "%s", c->fix_command);
}

/* Patterns are resolved as training would. */
static bool check_phases(gf_run *r, gf_err *e) {
    gf_phase p = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < r->recipe->n_phases; i++) ok = gf_phase_assign(&p, r, i, e);
    gf_phase_end(&p);
    return ok;
}

/* The base for its tokenizer alone. */
static bool open_base(gf_model *m, const gf_recipe *r, const gf_log *log, gf_err *e) {
    if (r->init || gf_place_find(r->base) == GF_PLACE_MODEL)
        return gf_folder_open(m, r->base, GF_OPEN_NO_WEIGHTS, log, e);
    return gf_model_open(m, r->base, log, e);
}

static int by_problem(const void *a, const void *b) {
    const gf_finding *x = *(gf_finding *const *)a, *y = *(gf_finding *const *)b;
    if (x->problem != y->problem) return x->problem ? -1 : 1;
    return 0;
}

/* Problems first, else in the order found; qsort() alone is not stable. */
static void sort_findings(gf_findings *f) {
    for (int64_t i = 1; i < f->count; i++) {
        gf_finding *n = f->list[i];
        int64_t k = i;
        for (; k > 0 && by_problem(&n, &f->list[k - 1]) < 0; k--) f->list[k] = f->list[k - 1];
        f->list[k] = n;
    }
}

/* Class names and words come from files; a terminal shall not obey them. */
static void disarm(gf_text *t) {
    for (size_t i = 0; i < t->length; i++) {
        unsigned char c = (unsigned char)t->data[i], next = (unsigned char)t->data[i + 1];
        bool c1 = c == 0xC2 && next >= 0x80 && next < 0xA0;
        if ((c < 0x20 && c != '\n') || c == 0x7F || c1) t->data[i] = '?';
        if (c1) t->data[++i] = '?';
    }
}

static bool finish(gf_checking *c, gf_err *e) {
    gf_text *out = &c->out->text;
    int64_t n = c->findings.problems;
    bool ok;
    c->out->problems = n;
    sort_findings(&c->findings);
    ok = gf_findings_print(&c->findings, out, e) &&
         gf_text_add(out, e,
                     n == 0   ? "no problems found\n"
                     : n == 1 ? "1 problem, marked with !\n"
                              : "%lld problems, marked with !\n",
                     (long long)n) &&
         (!c->cleaning_helps ||
          gf_text_add(out, e, "write cleaned splits with: %s\n", c->fix_command)) &&
         gf_json_number(c->out->json, "problems", (double)n, e) &&
         gf_findings_to_json(&c->findings, c->out->json, e);
    if (ok) disarm(out);
    return ok;
}

static bool look(gf_checking *c, const gf_model *m, gf_err *e) {
    c->tokenizer = m->tokenizer;
    c->positions = m->config.max_position_embeddings;
    c->max_length = c->recipe->max_length < c->positions ? c->recipe->max_length : c->positions;
    return gf_json_string(c->out->json, "recipe", c->recipe->path, e) && gf_check_lengths(c, e) &&
           gf_check_vocabulary(c, e) && gf_check_classes(c, e) && gf_check_equal_texts(c, e) &&
           gf_check_texts(c, e) && gf_check_splits(c, e) && finish(c, e);
}

/* What training would say of malformed UTF-8: its error, at the first place. */
static void refuse(gf_check *out, const gf_care *care) {
    for (int i = 0; i < GF_PARTS; i++)
        for (int64_t k = 0; k < care->split[i].rows; k++) {
            const gf_care_row *row = &care->split[i].row[k];
            if (row->bad_byte < 0) continue;
            gf_fail(&out->refused, GF_E_INVALID,
                    "%s:%lld: invalid UTF-8 at byte %lld of the file, %lld %s in all; save "
                    "the file as UTF-8, or clean it with --fix",
                    care->file[row->file].path, (long long)row->line, (long long)row->bad_byte,
                    (long long)care->bad_rows, care->bad_rows == 1 ? "row" : "rows");
            return;
        }
}

bool gf_check_run(gf_check *out, const gf_recipe *r, const char *fix_command, const gf_log *log,
                  gf_err *e) {
    gf_care care = {0};
    gf_run run = {0};
    gf_model base = {0};
    gf_checking c = {.recipe = r, .care = &care, .fix_command = fix_command, .out = out};
    bool ok = (out->json = gf_json_object(NULL, NULL, e)) && gf_care_read(&care, r, e);
    if (ok && care.bad_rows == 0)
        ok = gf_run_open(&run, r, NULL, log, e) && check_phases(&run, e);
    else if (ok)
        ok = open_base(&base, r, log, e);
    ok = ok && gf_care_divide(&care, &c.divided, e) && look(&c, run.recipe ? &run.model : &base, e);
    if (ok && care.bad_rows) refuse(out, &care);
    gf_findings_free(&c.findings);
    gf_model_free(&base);
    if (run.recipe) gf_run_close(&run);
    gf_care_free(&care);
    return ok;
}

void gf_check_free(gf_check *c) {
    gf_text_free(&c->text);
    cJSON_Delete(c->json);
    *c = (gf_check){0};
}

/* ---- cleaning ---- */

static bool report_splits(const gf_care *c, const gf_cleaning *done, gf_text *out, gf_err *e) {
    static const struct {
        gf_drop why;
        const char *what;
    } rules[] = {{GF_DROP_NEAR_EMPTY, "near-empty: blank, or fewer than 2 word pieces"},
                 {GF_DROP_CONFLICT, "equal texts with different labels"},
                 {GF_DROP_NEAR_CONFLICT, "the same but for white space and case"},
                 {GF_DROP_SHARED, "text stands in dev or test (of dev: in test)"},
                 {GF_DROP_REPEAT, "repeats of text and labels"},
                 {GF_KEPT, "rows kept"}};
    int parts = c->split[GF_MLM_TEXTS].named ? GF_PARTS : GF_SPLITS;
    bool ok = gf_text_add(out, e, "%-50s", "rows dropped");
    for (int s = 0; ok && s < parts; s++) ok = gf_text_add(out, e, " %8s", c->split[s].name);
    ok = ok && gf_text_add(out, e, "\n");
    for (size_t i = 0; ok && i < sizeof rules / sizeof *rules; i++) {
        ok = gf_text_add(out, e, "  %-48s", rules[i].what);
        for (int s = 0; ok && s < parts; s++)
            ok = gf_text_add(out, e, " %8lld", (long long)done->dropped[s][rules[i].why]);
        ok = ok && gf_text_add(out, e, "\n");
    }
    return ok;
}

static bool report_mended(const gf_cleaning *d, gf_text *out, gf_err *e) {
    return gf_text_add(out, e,
                       "rows mended\n"
                       "  %-48s %8lld\n  %-48s %8lld\n  %-48s %8lld\n",
                       "invalid UTF-8, now U+FFFD", (long long)d->invalid,
                       "double-encoded text, decoded", (long long)d->doubled,
                       "control characters, taken out", (long long)d->controls);
}

/* --set KEY=FOLDER/NAME for a cleaned file; task -1: the recipe's key, else the task's. */
static bool report_file(const gf_care *c, const gf_care_file *f, int64_t task, const char *folder,
                        gf_text *out, gf_err *e) {
    const char *split = c->split[f->split].name;
    char *name = gf_care_name(c, f, e), *key = NULL;
    gf_text word = {0};
    bool ok;
    if (task >= 0)
        key = gf_format(e, "tasks.%lld.data.%s", (long long)task, split);
    else
        key = f->split == GF_MLM_TEXTS ? gf_strdup("mlm.data", e) : gf_format(e, "data.%s", split);
    ok = name && key && gf_text_add(&word, e, "%s=%s/%s", key, folder, name) &&
         gf_text_add(out, e, " --set ") && gf_text_add_shell_word(out, word.data, e);
    gf_text_free(&word);
    gf_free(key);
    gf_free(name);
    return ok;
}

static bool report_use(const gf_care *c, const char *folder, gf_text *out, gf_err *e) {
    char *path = gf_io_absolute(folder, e);
    bool ok = path && gf_text_add(out, e, "use the new files with\n ");
    for (int64_t i = 0; ok && i < c->files; i++) {
        const gf_care_file *f = &c->file[i];
        bool shared = f->task < 0; /* some task has it as the recipe's */
        for (int64_t t = 0; ok && t < c->recipe->n_tasks; t++) {
            if (!gf_care_file_has(c, f, t)) continue;
            shared |= !c->recipe->tasks[t].train;
            if (c->recipe->tasks[t].train) ok = report_file(c, f, t, path, out, e);
        }
        if (ok && shared) ok = report_file(c, f, -1, path, out, e);
    }
    gf_free(path);
    return ok && gf_text_add(out, e, "\n");
}

bool gf_check_fix(const gf_recipe *r, const char *folder, bool force, const gf_log *log,
                  gf_text *report, gf_err *e) {
    gf_care care = {0};
    gf_cleaning done = {0};
    gf_model base = {0};
    bool ok = gf_care_read(&care, r, e) && open_base(&base, r, log, e) &&
              gf_care_mend(&care, &done, e) && gf_care_mark(&care, base.tokenizer, &done, e) &&
              gf_care_write(&care, folder, force, e) && report_mended(&done, report, e) &&
              report_splits(&care, &done, report, e) && report_use(&care, folder, report, e);
    gf_model_free(&base);
    gf_care_free(&care);
    return ok;
}
