#include "recipes/select.h"

#include "core/mem.h"
#include "recipes/suggest.h"

#include <math.h>
#include <string.h>

/* The tasks that terms may name. */
typedef struct task_list {
    const char *const *names;
    const gf_task_type *types;
    int64_t count;
} task_list;

/* The index of name[length] among the names, -1 if it is none of them. */
static int64_t find_name(const char *name, size_t length, const char *const *names, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) return i;
    return -1;
}

static bool fail_unknown(const char *what, const char *name, size_t length,
                         const char *const *names, int64_t count, gf_err *e) {
    char *copy = gf_strndup(name, length, e), tail[256];
    if (copy)
        gf_fail(e, GF_E_INVALID, "there is no %s \"%s\"; %s", what, copy,
                gf_suggest(copy, names, count, tail, sizeof tail));
    gf_free(copy);
    return false;
}

/* A metric of the type by name[length]. */
static bool read_metric(const char *name, size_t length, const char *task, gf_task_type type,
                        gf_metric_kind *kind, gf_err *e) {
    const char *names[GF_METRICS];
    int64_t count = gf_metric_names(type, names);
    char tail[256];
    if (!gf_metric_find(name, length, kind))
        return fail_unknown("metric", name, length, names, count, e);
    if (gf_metric_has(*kind, type)) return true;
    return gf_fail(e, GF_E_INVALID, "task \"%s\" is of type %s, which has no %s; %s", task,
                   gf_task_type_names[type], gf_metric_list[*kind].name,
                   gf_suggest("", names, count, tail, sizeof tail));
}

/* Reads TASK.METRIC from text[length]. */
static bool read_term(gf_select *s, const char *text, size_t length, const task_list *tasks,
                      gf_err *e) {
    const char *dot = memchr(text, '.', length);
    size_t head = dot ? (size_t)(dot - text) : length, tail = dot ? length - head - 1 : 0;
    int64_t task = find_name(text, head, tasks->names, tasks->count);
    gf_metric_kind metric;
    if (!dot)
        return gf_fail(e, GF_E_INVALID,
                       "\"%.*s\" is not \"last\", \"loss\", TASK.METRIC or mean(TASK.METRIC, ...)",
                       (int)(length < 200 ? length : 200), text);
    if (task < 0) return fail_unknown("task", text, head, tasks->names, tasks->count, e);
    if (!read_metric(dot + 1, tail, tasks->names[task], tasks->types[task], &metric, e))
        return false;
    if (!gf_grow(&s->terms, s->n_terms, &s->capacity, sizeof *s->terms, e)) return false;
    s->terms[s->n_terms++] = (gf_select_term){task, metric};
    return true;
}

/* Reads "term, term" from text[length]. */
static bool read_terms(gf_select *s, const char *text, size_t length, const task_list *tasks,
                       gf_err *e) {
    const char *end = text + length;
    for (const char *comma;; text = comma + 1) {
        const char *last;
        while (text < end && *text == ' ') text++;
        for (comma = text; comma < end && *comma != ',';) comma++;
        for (last = comma; last > text && last[-1] == ' ';) last--;
        if (!read_term(s, text, (size_t)(last - text), tasks, e)) return false;
        if (comma == end) return true;
    }
}

/* Losses and scores do not add up to anything that has a better end. */
static bool set_direction(gf_select *s, gf_err *e) {
    s->higher_is_better = gf_metric_list[s->terms[0].metric].higher_is_better;
    for (int64_t i = 1; i < s->n_terms; i++)
        if (gf_metric_list[s->terms[i].metric].higher_is_better != s->higher_is_better)
            return gf_fail(
                e, GF_E_INVALID,
                "the mean mixes losses or errors, where lower is better, with scores, where higher "
                "is better; keep to one kind");
    return true;
}

bool gf_select_parse(gf_select *s, const char *text, const char *const *tasks,
                     const gf_task_type *types, int64_t n_tasks, gf_err *e) {
    task_list list = {tasks, types, n_tasks};
    size_t length = strlen(text);
    *s = (gf_select){.kind = GF_SELECT_LAST};
    if (strcmp(text, "last") == 0) return true;
    s->kind = strcmp(text, "loss") == 0 ? GF_SELECT_LOSS : GF_SELECT_MEAN;
    if (s->kind == GF_SELECT_LOSS) return true;
    if (length > 6 && memcmp(text, "mean(", 5) == 0 && text[length - 1] == ')') {
        text += 5;
        length -= 6;
    }
    if (read_terms(s, text, length, &list, e) && set_direction(s, e)) return true;
    gf_select_free(s);
    return false;
}

double gf_select_mean(const gf_select *s, const gf_metrics *m) {
    double sum = 0;
    for (int64_t i = 0; i < s->n_terms; i++) {
        double v = m->tasks[s->terms[i].task].value[s->terms[i].metric];
        sum += isnan(v) && s->higher_is_better ? 0 : v;
    }
    return sum / (double)s->n_terms;
}

void gf_select_free(gf_select *s) {
    gf_free(s->terms);
    *s = (gf_select){0};
}
