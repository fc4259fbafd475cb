/* check, of the tasks' classes. */
#include "recipes/check_parts.h"

#include "core/json.h"
#include "core/mem.h"

#include <string.h>

enum { FEW_ROWS = 10, UNEVEN = 10, VERY_UNEVEN = 100 };

typedef struct tally {
    int64_t task;
    const gf_labels *labels;
    int32_t *order; /* [classes] as the head's rows will be */
    int64_t *count; /* [classes][GF_SPLITS] */
    int64_t missing[GF_SPLITS], present[GF_SPLITS], none[GF_SPLITS]; /* none: the empty set */
} tally;

static bool is_set(const gf_checking *c, const tally *t) {
    return c->recipe->tasks[t->task].type == GF_TASK_MULTI_LABEL;
}

static int64_t count_of(const tally *t, int64_t class, int split) {
    return t->count[class * GF_SPLITS + split];
}

static double value_of(const gf_labels *l, int32_t class) {
    double value = 0;
    gf_labels_value(l->names[class], strlen(l->names[class]), &value);
    return value;
}

/* As listed; else sorted by bytes, or, of an ordinal task, by value. */
static bool order_classes(const gf_checking *c, tally *t, gf_err *e) {
    const gf_recipe_task *task = &c->recipe->tasks[t->task];
    int64_t n = t->labels->count;
    if (!(t->order = gf_alloc_array(n, sizeof *t->order, e))) return false;
    for (int64_t i = 0; i < n; i++)
        t->order[i] = task->n_classes ? (int32_t)i : t->labels->by_name[i];
    for (int64_t i = 1; !task->n_classes && task->type == GF_TASK_ORDINAL && i < n; i++) {
        int32_t class = t->order[i];
        int64_t k = i;
        for (; k > 0 && value_of(t->labels, t->order[k - 1]) > value_of(t->labels, class); k--)
            t->order[k] = t->order[k - 1];
        t->order[k] = class;
    }
    return true;
}

static void count_label(const gf_checking *c, tally *t, const gf_care_label *l, int split) {
    if (l->class == GF_LABEL_NONE) return;
    if (l->class < 0 && l->class != GF_LABEL_OTHER) {
        t->missing[split]++;
        return;
    }
    t->present[split]++;
    if (l->class >= 0 && !is_set(c, t)) t->count[l->class * GF_SPLITS + split]++;
    if (l->class >= 0 && is_set(c, t) && l->count == 0) t->none[split]++;
    for (int64_t i = 0; i < l->count; i++)
        t->count[c->care->set[l->first + i] * GF_SPLITS + split]++;
}

static bool count_labels(const gf_checking *c, tally *t, gf_err *e) {
    t->labels = &c->care->labels[t->task];
    t->count = gf_alloc_array(t->labels->count * GF_SPLITS, sizeof *t->count, e);
    for (int s = 0; t->count && s < GF_SPLITS; s++)
        for (int64_t i = 0; i < c->care->split[s].rows; i++)
            count_label(c, t, &c->care->split[s].label[t->task][i], s);
    return t->count && order_classes(c, t, e);
}

bool gf_check_title(const gf_checking *c, int64_t task, gf_err *e) {
    gf_text *out = &c->out->text;
    bool ok =
        gf_text_add(out, e, "task ") && gf_text_add_column(out, c->recipe->tasks[task].name, 25, e);
    for (int s = 0; ok && s < GF_SPLITS; s++)
        ok = gf_text_add(out, e, " %9s", c->care->split[s].name);
    return ok && gf_text_add(out, e, "\n");
}

static bool print_row(gf_text *out, const char *name, const int64_t *counts, gf_err *e) {
    bool ok = gf_text_add(out, e, "  ") && gf_text_add_column(out, name, 28, e);
    for (int s = 0; ok && s < GF_SPLITS; s++)
        ok = gf_text_add(out, e, " %9lld", (long long)counts[s]);
    return ok && gf_text_add(out, e, "\n");
}

static bool print_table(const gf_checking *c, const tally *t, gf_err *e) {
    gf_text *out = &c->out->text;
    bool ok = gf_check_title(c, t->task, e);
    for (int64_t i = 0; ok && i < t->labels->count; i++) {
        int32_t k = t->order[i];
        ok = print_row(out, t->labels->names[k], t->count + k * GF_SPLITS, e);
    }
    return ok && (!is_set(c, t) || print_row(out, "(none of them)", t->none, e)) &&
           print_row(out, "(missing)", t->missing, e);
}

static bool table_to_json(const gf_checking *c, const tally *t, cJSON *all, gf_err *e) {
    cJSON *j = gf_json_object(all, c->recipe->tasks[t->task].name, e);
    bool ok = j != NULL;
    for (int s = 0; ok && s < GF_SPLITS; s++) {
        cJSON *split, *classes;
        if (!c->care->split[s].named) continue;
        ok = (split = gf_json_object(j, c->care->split[s].name, e)) &&
             gf_json_number(split, "missing", (double)t->missing[s], e) &&
             (!is_set(c, t) || gf_json_number(split, "none", (double)t->none[s], e)) &&
             (classes = gf_json_object(split, "classes", e));
        for (int64_t i = 0; ok && i < t->labels->count; i++) {
            int32_t k = t->order[i];
            ok = gf_json_number(classes, t->labels->names[k], (double)count_of(t, k, s), e) != NULL;
        }
    }
    return ok;
}

/* ---- findings ---- */

gf_finding *gf_check_add(gf_checking *c, int64_t task, const char *kind, bool problem, int split,
                         int64_t count, gf_err *e) {
    gf_finding *f = gf_findings_add(&c->findings, kind, problem, count, e);
    if (!f) return NULL;
    f->task = c->recipe->tasks[task].name;
    f->split = c->care->split[split].name;
    return f;
}

/* --set tasks.0.classes=[...] without the classes that train lacks. */
static bool propose_classes(const tally *t, gf_finding *f, gf_err *e) {
    gf_text set = {0};
    bool ok = gf_text_add(&set, e, "tasks.%lld.classes=[", (long long)t->task), first = true;
    for (int64_t i = 0; ok && i < t->labels->count; i++) {
        char *name;
        if (count_of(t, t->order[i], 0) == 0) continue;
        name = gf_json_quote(first ? "" : ", ", t->labels->names[t->order[i]], e);
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
        int32_t k = t->order[i];
        int split = count_of(t, k, 0) == 0 ? 0 : 1;
        gf_finding *f;
        if (count_of(t, k, split) > 0 || t->present[split] == 0) continue;
        ok =
            (f = gf_check_add(c, t->task,
                              split ? "class_absent_from_dev" : "class_absent_from_train", true,
                              split, 0, e)) &&
            gf_text_add(&f->what, e, "class \"%s\" of task \"%s\" has no row in %s%s",
                        t->labels->names[k], task, c->care->split[split].name,
                        !split                         ? ""
                        : c->care->split[1].share == 0 ? ": its F1 is not measured; move some rows "
                                                         "over from train"
                                                       : ": its F1 is not measured; gather more") &&
            (split || propose_classes(t, f, e));
    }
    return ok;
}

static bool is_weighed(const gf_recipe_task *t) {
    return t->balanced || t->n_class_weights > 0 || t->focal_gamma > 0;
}

/* Class weights and focal loss are not for ordinal tasks. */
static bool advise_weights(gf_finding *f, int64_t task, gf_task_type type, gf_err *e) {
    if (type == GF_TASK_ORDINAL)
        return gf_text_add(&f->what, e, "; gather more of the rare ones, or merge neighbours");
    return gf_text_add(&f->what, e,
                       "; weigh rare classes more, or easy rows less (\"focal_gamma\": 2)") &&
           gf_text_add(&f->fix, e, "--set tasks.%lld.class_weights=balanced", (long long)task);
}

static bool find_uneven(gf_checking *c, const tally *t, gf_err *e) {
    const gf_recipe_task *task = &c->recipe->tasks[t->task];
    int64_t most = -1, least = -1, ratio;
    gf_finding *f;
    for (int64_t k = 0; k < t->labels->count; k++) {
        int64_t n = count_of(t, k, 0);
        if (n > 0 && (most < 0 || n > count_of(t, most, 0))) most = k;
        if (n > 0 && (least < 0 || n < count_of(t, least, 0))) least = k;
    }
    if (most < 0 || count_of(t, most, 0) <= UNEVEN * count_of(t, least, 0) || is_weighed(task))
        return true;
    ratio = count_of(t, most, 0) / count_of(t, least, 0);
    return (f = gf_check_add(c, t->task, "uneven_classes", ratio >= VERY_UNEVEN, 0, ratio, e)) &&
           gf_text_add(&f->what, e,
                       "task \"%s\": class \"%s\" has %lld rows in train, \"%s\" %lld "
                       "(%lld to 1)",
                       f->task, t->labels->names[most], (long long)count_of(t, most, 0),
                       t->labels->names[least], (long long)count_of(t, least, 0),
                       (long long)ratio) &&
           advise_weights(f, t->task, task->type, e);
}

static bool find_rare(gf_checking *c, const tally *t, gf_err *e) {
    gf_finding *f = NULL;
    bool ok = true;
    for (int64_t i = 0; ok && i < t->labels->count; i++) {
        int32_t k = t->order[i];
        int64_t n = count_of(t, k, 0);
        if (n == 0 || n >= FEW_ROWS) continue;
        if (!f && !(f = gf_check_add(c, t->task, "rare_classes", false, 0, 0, e))) return false;
        f->count++;
        ok = gf_finding_place(f, e, "\"%s\" (%lld)", t->labels->names[k], (long long)n);
    }
    return ok && (!f || gf_text_add(&f->what, e,
                                    "task \"%s\": %lld classes have fewer than %d rows in train; "
                                    "gather more, or merge them with others",
                                    f->task, (long long)f->count, FEW_ROWS));
}

bool gf_check_unmeasured(gf_checking *c, int64_t task, const int64_t *present, gf_err *e) {
    gf_finding *f;
    if (present[1] > 0 || present[0] == 0 || c->care->split[1].rows == 0) return true;
    return (f = gf_check_add(c, task, "task_absent_from_dev", true, 1, 0, e)) &&
           gf_text_add(&f->what, e, "task \"%s\" has no label in dev, so that nothing measures it",
                       f->task);
}

static bool check_classes(gf_checking *c, int64_t task, cJSON *all, gf_err *e) {
    tally t = {.task = task};
    bool ok = count_labels(c, &t, e) && print_table(c, &t, e) && table_to_json(c, &t, all, e) &&
              gf_check_unmeasured(c, task, t.present, e) && find_absent(c, &t, e) &&
              find_uneven(c, &t, e) && find_rare(c, &t, e);
    gf_free(t.order);
    gf_free(t.count);
    return ok;
}

bool gf_check_classes(gf_checking *c, gf_err *e) {
    cJSON *all = gf_json_object(c->out->json, "tasks", e);
    bool ok = all != NULL;
    for (int64_t i = 0; ok && i < c->recipe->n_tasks; i++)
        ok = (c->recipe->tasks[i].type == GF_TASK_REGRESSION ? gf_check_values
                                                             : check_classes)(c, i, all, e);
    return ok;
}
