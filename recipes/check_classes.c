/* check, of the tasks' classes. */
#include "recipes/check_parts.h"

#include "core/json.h"
#include "core/mem.h"

#include <string.h>

enum { FEW_ROWS = 10, UNEVEN = 10, VERY_UNEVEN = 100 };

typedef struct tally {
    int64_t task;
    const gf_labels *labels;
    int64_t *count; /* [classes][GF_SPLITS] */
    int64_t missing[GF_SPLITS], present[GF_SPLITS];
} tally;

static bool has_classes(const gf_recipe_task *t) {
    return t->type != GF_TASK_REGRESSION && t->type != GF_TASK_MULTI_LABEL;
}

/* Class i in the order of the head: as listed, or sorted. */
static int32_t class_at(const gf_checking *c, const tally *t, int64_t i) {
    return c->recipe->tasks[t->task].n_classes ? (int32_t)i : t->labels->by_name[i];
}

static int64_t count_of(const tally *t, int64_t class, int split) {
    return t->count[class * GF_SPLITS + split];
}

static bool count_labels(const gf_checking *c, tally *t, gf_err *e) {
    t->labels = &c->care->labels[t->task];
    t->count = gf_alloc_array(t->labels->count * GF_SPLITS, sizeof *t->count, e);
    for (int s = 0; t->count && s < GF_SPLITS; s++) {
        const gf_split *split = &c->care->split[s];
        for (int64_t i = 0; i < split->rows; i++) {
            int32_t label = split->label[t->task][i];
            if (label >= 0) t->count[label * GF_SPLITS + s]++;
            if (label >= 0 || label == GF_LABEL_OTHER)
                t->present[s]++;
            else
                t->missing[s]++;
        }
    }
    return t->count != NULL;
}

static bool print_row(gf_text *out, const char *name, const int64_t *counts, gf_err *e) {
    bool ok = gf_text_add(out, e, "  ") && gf_text_add_column(out, name, 28, e);
    for (int s = 0; ok && s < GF_SPLITS; s++)
        ok = gf_text_add(out, e, " %9lld", (long long)counts[s]);
    return ok && gf_text_add(out, e, "\n");
}

static bool print_table(const gf_checking *c, const tally *t, gf_err *e) {
    gf_text *out = &c->out->text;
    bool ok = gf_text_add(out, e, "task ") &&
              gf_text_add_column(out, c->recipe->tasks[t->task].name, 25, e);
    for (int s = 0; ok && s < GF_SPLITS; s++)
        ok = gf_text_add(out, e, " %9s", c->care->split[s].name);
    ok = ok && gf_text_add(out, e, "\n");
    for (int64_t i = 0; ok && has_classes(&c->recipe->tasks[t->task]) && i < t->labels->count;
         i++) {
        int32_t k = class_at(c, t, i);
        ok = print_row(out, t->labels->names[k], t->count + k * GF_SPLITS, e);
    }
    return ok && print_row(out, "(missing)", t->missing, e);
}

static bool table_to_json(const gf_checking *c, const tally *t, cJSON *all, gf_err *e) {
    cJSON *j = gf_json_object(all, c->recipe->tasks[t->task].name, e);
    bool ok = j != NULL;
    for (int s = 0; ok && s < GF_SPLITS; s++) {
        cJSON *split, *classes;
        if (!c->care->split[s].path) continue;
        ok = (split = gf_json_object(j, c->care->split[s].name, e)) &&
             gf_json_number(split, "missing", (double)t->missing[s], e) &&
             (classes = gf_json_object(split, "classes", e));
        for (int64_t i = 0; ok && has_classes(&c->recipe->tasks[t->task]) && i < t->labels->count;
             i++) {
            int32_t k = class_at(c, t, i);
            ok = gf_json_number(classes, t->labels->names[k], (double)count_of(t, k, s), e) != NULL;
        }
    }
    return ok;
}

/* ---- findings ---- */

static gf_finding *add(gf_checking *c, const tally *t, const char *kind, bool problem, int split,
                       int64_t count, gf_err *e) {
    gf_finding *f = gf_findings_add(&c->findings, kind, problem, count, e);
    if (!f) return NULL;
    f->task = c->recipe->tasks[t->task].name;
    f->split = c->care->split[split].name;
    return f;
}

/* --set tasks.0.classes=[...] without the classes that train lacks. */
static bool propose_classes(const tally *t, gf_finding *f, gf_err *e) {
    gf_text set = {0};
    bool ok = gf_text_add(&set, e, "tasks.%lld.classes=[", (long long)t->task), first = true;
    for (int64_t i = 0; ok && i < t->labels->count; i++) {
        char *name;
        if (count_of(t, i, 0) == 0) continue;
        name = gf_json_quote(first ? "" : ", ", t->labels->names[i], e);
        ok = name && gf_text_add(&set, e, "%s", name);
        first = false;
        gf_free(name);
    }
    ok = ok && gf_text_add(&set, e, "]");
    if (ok && set.length < 400)
        ok = gf_text_add(&f->fix, e, "--set ") && gf_text_add_shell_word(&f->fix, set.data, e);
    gf_text_free(&set);
    return ok;
}

static bool find_absent(gf_checking *c, const tally *t, gf_err *e) {
    const char *task = c->recipe->tasks[t->task].name;
    bool ok = true;
    for (int64_t i = 0; ok && i < t->labels->count; i++) {
        int32_t k = class_at(c, t, i);
        int split = count_of(t, k, 0) == 0 ? 0 : 1;
        gf_finding *f;
        if (count_of(t, k, split) > 0 || t->present[split] == 0) continue;
        ok = (f = add(c, t, split ? "class_absent_from_dev" : "class_absent_from_train", true,
                      split, 0, e)) &&
             gf_text_add(&f->what, e, "class \"%s\" of task \"%s\" has no row in %s%s",
                         t->labels->names[k], task, c->care->split[split].name,
                         split ? ": its F1 is not measured; move some rows over from train" : "") &&
             (split || propose_classes(t, f, e));
    }
    return ok;
}

static bool find_uneven(gf_checking *c, const tally *t, gf_err *e) {
    int64_t most = -1, least = -1, ratio;
    gf_finding *f;
    for (int64_t k = 0; k < t->labels->count; k++) {
        int64_t n = count_of(t, k, 0);
        if (n > 0 && (most < 0 || n > count_of(t, most, 0))) most = k;
        if (n > 0 && (least < 0 || n < count_of(t, least, 0))) least = k;
    }
    if (most < 0 || count_of(t, most, 0) <= UNEVEN * count_of(t, least, 0)) return true;
    ratio = count_of(t, most, 0) / count_of(t, least, 0);
    return (f = add(c, t, "uneven_classes", ratio >= VERY_UNEVEN, 0, ratio, e)) &&
           gf_text_add(&f->what, e,
                       "task \"%s\": class \"%s\" has %lld rows in train, \"%s\" %lld (%lld to 1); "
                       "weigh rare classes more, or easy rows less (\"loss\": \"focal\")",
                       f->task, t->labels->names[most], (long long)count_of(t, most, 0),
                       t->labels->names[least], (long long)count_of(t, least, 0),
                       (long long)ratio) &&
           gf_text_add(&f->fix, e, "--set tasks.%lld.class_weights=balanced", (long long)t->task);
}

static bool find_rare(gf_checking *c, const tally *t, gf_err *e) {
    gf_finding *f = NULL;
    bool ok = true;
    for (int64_t i = 0; ok && i < t->labels->count; i++) {
        int32_t k = class_at(c, t, i);
        int64_t n = count_of(t, k, 0);
        if (n == 0 || n >= FEW_ROWS) continue;
        if (!f && !(f = add(c, t, "rare_classes", false, 0, 0, e))) return false;
        f->count++;
        ok = gf_finding_place(f, e, "\"%s\" (%lld)", t->labels->names[k], (long long)n);
    }
    return ok && (!f || gf_text_add(&f->what, e,
                                    "task \"%s\": %lld classes have fewer than %d rows in train; "
                                    "gather more, or merge them with others",
                                    f->task, (long long)f->count, FEW_ROWS));
}

bool gf_check_classes(gf_checking *c, gf_err *e) {
    cJSON *all = gf_json_object(c->out->json, "tasks", e);
    bool ok = all != NULL;
    for (int64_t i = 0; ok && i < c->recipe->n_tasks; i++) {
        tally t = {.task = i};
        ok = count_labels(c, &t, e) && print_table(c, &t, e) && table_to_json(c, &t, all, e);
        if (ok && has_classes(&c->recipe->tasks[i]))
            ok = find_absent(c, &t, e) && find_uneven(c, &t, e) && find_rare(c, &t, e);
        gf_free(t.count);
    }
    return ok;
}
