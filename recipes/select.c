#include "recipes/select.h"

#include "core/mem.h"
#include "recipes/suggest.h"

#include <string.h>

const char *const gf_metric_names[] = {"loss", "accuracy", "macro_f1", NULL};
enum { METRICS = sizeof gf_metric_names / sizeof *gf_metric_names - 1 };

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

/* Reads TASK.METRIC from text[length]. */
static bool read_term(gf_select *s, const char *text, size_t length, const char *const *tasks,
                      int64_t n_tasks, gf_err *e) {
    const char *dot = memchr(text, '.', length);
    size_t head = dot ? (size_t)(dot - text) : length, tail = dot ? length - head - 1 : 0;
    int64_t task = find_name(text, head, tasks, n_tasks), metric;
    if (!dot)
        return gf_fail(e, GF_E_INVALID,
                       "\"%.*s\" is not \"last\", \"loss\", TASK.METRIC or mean(TASK.METRIC, ...)",
                       (int)(length < 200 ? length : 200), text);
    if (task < 0) return fail_unknown("task", text, head, tasks, n_tasks, e);
    if ((metric = find_name(dot + 1, tail, gf_metric_names, METRICS)) < 0)
        return fail_unknown("metric", dot + 1, tail, gf_metric_names, METRICS, e);
    if (!gf_grow(&s->terms, s->n_terms, &s->capacity, sizeof *s->terms, e)) return false;
    s->terms[s->n_terms++] = (gf_select_term){task, (gf_metric_kind)metric};
    return true;
}

/* Reads "term, term" from text[length]. */
static bool read_terms(gf_select *s, const char *text, size_t length, const char *const *tasks,
                       int64_t n_tasks, gf_err *e) {
    const char *end = text + length;
    for (const char *comma;; text = comma + 1) {
        const char *last;
        while (text < end && *text == ' ') text++;
        for (comma = text; comma < end && *comma != ',';) comma++;
        for (last = comma; last > text && last[-1] == ' ';) last--;
        if (!read_term(s, text, (size_t)(last - text), tasks, n_tasks, e)) return false;
        if (comma == end) return true;
    }
}

/* Losses and scores do not add up to anything that has a better end. */
static bool set_direction(gf_select *s, gf_err *e) {
    s->higher_is_better = s->terms[0].metric != GF_METRIC_LOSS;
    for (int64_t i = 1; i < s->n_terms; i++)
        if ((s->terms[i].metric != GF_METRIC_LOSS) != s->higher_is_better)
            return gf_fail(
                e, GF_E_INVALID,
                "the mean mixes losses, where lower is better, with scores, where higher "
                "is better; keep to one kind");
    return true;
}

bool gf_select_parse(gf_select *s, const char *text, const char *const *tasks, int64_t n_tasks,
                     gf_err *e) {
    size_t length = strlen(text);
    *s = (gf_select){.kind = GF_SELECT_LAST};
    if (strcmp(text, "last") == 0) return true;
    s->kind = strcmp(text, "loss") == 0 ? GF_SELECT_LOSS : GF_SELECT_MEAN;
    if (s->kind == GF_SELECT_LOSS) return true;
    if (length > 6 && memcmp(text, "mean(", 5) == 0 && text[length - 1] == ')') {
        text += 5;
        length -= 6;
    }
    if (read_terms(s, text, length, tasks, n_tasks, e) && set_direction(s, e)) return true;
    gf_select_free(s);
    return false;
}

void gf_select_free(gf_select *s) {
    gf_free(s->terms);
    *s = (gf_select){0};
}
