/* check, of single rows and of equal ones. */
#include "recipes/check_parts.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- single texts ---- */

typedef struct kinds {
    gf_finding *invalid, *doubled, *controls, *lost, *markup, *blank, *short_text;
} kinds;

/* The finding at *f, made when it is first needed, with one row more. */
static gf_finding *count_row(gf_checking *c, gf_finding **f, const char *kind, bool problem,
                             const gf_split *s, gf_err *e) {
    if (!*f && (*f = gf_findings_add(&c->findings, kind, problem, 0, e))) (*f)->split = s->name;
    if (*f) (*f)->count++;
    return *f;
}

/* A few characters of the text, from the first that is not ASCII on, if there is one. */
static int excerpt(const char *text, size_t size, const char **from) {
    size_t at = 0, n;
    while (at < size && (unsigned char)text[at] < 0x80) at++;
    if (at == size) at = 0;
    *from = text + at;
    for (n = 0; at + n < size && n < 12 && (unsigned char)text[at + n] > ' ';) n++;
    while (n > 0 && at + n < size && ((unsigned char)text[at + n] & 0xC0) == 0x80) n--;
    return (int)n;
}

static bool look_at_damage(gf_checking *c, kinds *k, const gf_split *s, int64_t i, gf_err *e) {
    const char *text = gf_care_text(c->care, s, i), *shown = gf_care_shown(c->care, s, i), *from;
    gf_damage d = gf_damage_of(text, s->row[i].size);
    gf_finding *f;
    bool ok = true;
    if (s->row[i].bad_byte >= 0)
        ok = (f = count_row(c, &k->invalid, "invalid_utf8", true, s, e)) &&
             gf_finding_place(f, e, "%s:%lld (byte %lld)", shown, (long long)s->row[i].line,
                              (long long)s->row[i].bad_byte);
    if (ok && d.doubled) {
        int n = excerpt(text, s->row[i].size, &from);
        ok = (f = count_row(c, &k->doubled, "double_encoded", true, s, e)) &&
             (s->row[i].bad_byte < 0 ? gf_finding_place(f, e, "%s:%lld (\"%.*s\")", shown,
                                                        (long long)s->row[i].line, n, from)
                                     : gf_check_place(c, f, s, i, e));
    }
    if (ok && d.controls)
        ok = (f = count_row(c, &k->controls, "control_characters", false, s, e)) &&
             gf_check_place(c, f, s, i, e);
    if (ok && d.lost)
        ok = (f = count_row(c, &k->lost, "replacement_characters", false, s, e)) &&
             gf_check_place(c, f, s, i, e);
    if (ok && d.markup)
        ok = (f = count_row(c, &k->markup, "html", false, s, e)) && gf_check_place(c, f, s, i, e);
    return ok;
}

static bool look_at_emptiness(gf_checking *c, kinds *k, const gf_split *s, int64_t i, gf_ids *ids,
                              gf_err *e) {
    const char *text = gf_care_text(c->care, s, i);
    gf_encoding encoding = {0};
    gf_finding *f;
    if (gf_care_is_blank(text, s->row[i].size))
        return (f = count_row(c, &k->blank, "empty_texts", s != &c->care->split[GF_MLM_TEXTS], s,
                              e)) &&
               gf_check_place(c, f, s, i, e);
    ids->count = 0;
    if (!gf_tokenizer_encode(c->tokenizer, text, s->row[i].size, 3, ids, &encoding, e))
        return false;
    return encoding.pieces >= 2 ||
           ((f = count_row(c, &k->short_text, "one_piece_texts", false, s, e)) &&
            gf_check_place(c, f, s, i, e));
}

static bool tell(gf_checking *c, gf_finding *f, const gf_split *s, const char *what,
                 const char *more, bool cleaning, gf_err *e) {
    if (!f) return true;
    return gf_check_say_rows(f, what, s, e) && gf_text_add(&f->what, e, "%s", more) &&
           (!cleaning || gf_check_by_cleaning(c, f, e));
}

static bool look_at_split(gf_checking *c, const gf_split *s, gf_err *e) {
    kinds k = {0};
    gf_ids ids = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < s->rows; i++)
        ok = look_at_damage(c, &k, s, i, e) && look_at_emptiness(c, &k, s, i, &ids, e);
    gf_free(ids.id);
    return ok &&
           tell(c, k.invalid, s, "invalid UTF-8",
                ", which training refuses (byte: offset in the file, from 0)", true, e) &&
           tell(c, k.doubled, s, "double-encoded text", ": UTF-8 was read as Windows-1252", true,
                e) &&
           tell(c, k.controls, s, "control characters", "", true, e) &&
           tell(c, k.lost, s, "U+FFFD, characters lost earlier,",
                "; make the file anew from its source", false, e) &&
           tell(c, k.markup, s, "HTML tags or entities",
                "; take them out where the file is made, and where the model will be used", false,
                e) &&
           tell(c, k.blank, s, "an empty text, or only white space or punctuation,", "", true, e) &&
           tell(c, k.short_text, s, "a text of one word piece", "", true, e);
}

bool gf_check_texts(gf_checking *c, gf_err *e) {
    bool ok = true;
    for (int i = 0; ok && i < GF_PARTS; i++) ok = look_at_split(c, &c->care->split[i], e);
    return ok;
}

/* ---- equal texts ---- */

typedef struct equals {
    gf_finding *repeat[GF_SPLITS], *conflict[2][GF_SPLITS], *shared[2][GF_SPLITS][GF_SPLITS];
    int64_t *last; /* [n_tasks] the key of a group that last had a label of the task, -1: none */
} equals;

static bool place_pair(const gf_checking *c, gf_finding *f, const gf_split *s, int64_t a,
                       const gf_split *t, int64_t b, gf_err *e) {
    return gf_finding_place(f, e, "%s:%lld = %s:%lld", gf_care_shown(c->care, s, a),
                            (long long)s->row[a].line, gf_care_shown(c->care, t, b),
                            (long long)t->row[b].line);
}

/* The latest key before keys[i], of its split, with another label; -1 if there is none. With
 * `folded` only rows whose text is not quite the same count: the others were found before. */
static int64_t find_rival(const gf_checking *c, equals *q, const gf_care_key *keys, int64_t i,
                          bool folded) {
    const gf_split *s = &c->care->split[keys[i].split];
    int64_t rival = -1, row = keys[i].row;
    for (int64_t t = 0; t < c->recipe->n_tasks; t++) {
        int64_t other = q->last[t] < 0 ? -1 : keys[q->last[t]].row;
        if (s->label[t][row].class < 0 || !gf_care_task_can_conflict(c->care, t)) continue;
        if (other >= 0 && s->label[t][other].same != s->label[t][row].same && q->last[t] > rival &&
            (!folded || s->row[other].hash != s->row[row].hash))
            rival = q->last[t];
        q->last[t] = i;
    }
    return rival;
}

/* Rows of one split and one text. */
static bool look_within(gf_checking *c, equals *q, const gf_care_key *keys, int64_t n, bool folded,
                        gf_err *e) {
    int split = keys[0].split;
    const gf_split *s = &c->care->split[split];
    gf_finding *f;
    bool ok = true;
    for (int64_t t = 0; t < c->recipe->n_tasks; t++) q->last[t] = -1;
    for (int64_t i = 0; ok && i < n; i++) {
        int64_t rival = find_rival(c, q, keys, i, folded);
        if (rival >= 0)
            ok = (f = count_row(c, &q->conflict[folded][split],
                                folded ? "conflicting_labels_folded" : "conflicting_labels", true,
                                s, e)) &&
                 place_pair(c, f, s, keys[rival].row, s, keys[i].row, e);
        rival = folded ? -1 : gf_care_find_repeat(c->care, keys, 0, i);
        if (ok && rival >= 0)
            ok = (f = count_row(c, &q->repeat[split], "repeated_rows", false, s, e)) &&
                 place_pair(c, f, s, keys[rival].row, s, keys[i].row, e);
    }
    return ok;
}

/* Each row of split b whose text stands in split a, too. */
static bool look_across(gf_checking *c, equals *q, const gf_care_key *a, const gf_care_key *b,
                        int64_t n_b, bool folded, gf_err *e) {
    const gf_split *s = &c->care->split[a->split], *t = &c->care->split[b->split];
    gf_finding **found = &q->shared[folded][a->split][b->split], *f;
    for (int64_t i = 0; i < n_b; i++) {
        f = count_row(c, found, folded ? "shared_texts_folded" : "shared_texts", !folded, t, e);
        if (!f || !place_pair(c, f, t, b[i].row, s, a->row, e)) return false;
    }
    return true;
}

/* Whether a text of the group is in both splits to the byte: then that was found before. */
static bool is_exact(const gf_checking *c, const gf_care_key *a, int64_t n_a, const gf_care_key *b,
                     int64_t n_b) {
    for (int64_t i = 0; i < n_a; i++)
        for (int64_t k = 0; k < n_b; k++)
            if (c->care->split[a->split].row[a[i].row].hash ==
                c->care->split[b->split].row[b[k].row].hash)
                return true;
    return false;
}

static bool look_at_group(gf_checking *c, equals *q, const gf_care_key *keys, int64_t n,
                          bool folded, gf_err *e) {
    int64_t first[GF_SPLITS] = {0}, count[GF_SPLITS] = {0};
    bool ok = true;
    for (int64_t i = n - 1; i >= 0; i--) {
        first[keys[i].split] = i;
        count[keys[i].split]++;
    }
    for (int a = 0; ok && a < GF_SPLITS; a++) {
        const gf_care_key *x = keys + first[a];
        if (count[a]) ok = look_within(c, q, x, count[a], folded, e);
        for (int b = a + 1; ok && count[a] && b < GF_SPLITS; b++) {
            const gf_care_key *y = keys + first[b];
            if (count[b] && !(folded && is_exact(c, x, count[a], y, count[b])))
                ok = look_across(c, q, x, y, count[b], folded, e);
        }
    }
    return ok;
}

/* A group of equal texts by its first row, so that places come in the files' order. */
typedef struct group {
    const gf_care_key *keys;
    int64_t count;
} group;

static int by_first_row(const void *a, const void *b) {
    const gf_care_key *x = ((const group *)a)->keys, *y = ((const group *)b)->keys;
    if (x->split != y->split) return x->split < y->split ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static bool look_at_groups(gf_checking *c, equals *q, bool folded, gf_err *e) {
    gf_care_key *keys = gf_care_sort(c->care, folded, e);
    group *groups = NULL;
    int64_t n = 0, capacity = 0;
    bool ok = keys != NULL;
    for (int64_t first = 0, end; ok && first < c->care->rows; first = end) {
        end = gf_care_group_end(c->care, keys, first);
        if (end - first < 2) continue;
        ok = gf_grow(&groups, n, &capacity, sizeof *groups, e);
        if (ok) groups[n++] = (group){keys + first, end - first};
    }
    if (ok && n) qsort(groups, (size_t)n, sizeof *groups, by_first_row);
    for (int64_t i = 0; ok && i < n; i++)
        ok = look_at_group(c, q, groups[i].keys, groups[i].count, folded, e);
    gf_free(groups);
    gf_free(keys);
    return ok;
}

static bool tell_conflict(gf_checking *c, gf_finding *f, const gf_split *s, bool folded,
                          gf_err *e) {
    return !f ||
           (gf_check_say_rows(f, "another label than an earlier row", s, e) &&
            gf_text_add(&f->what, e, " with an equal text%s; correct one, or cleaning drops both",
                        folded ? " but for white space and case" : "") &&
            gf_check_by_cleaning(c, f, e));
}

static bool tell_shared(gf_checking *c, gf_finding *f, const gf_split *s, const char *other,
                        bool folded, gf_err *e) {
    if (!f) return true;
    if (folded)
        return gf_check_say_rows(f, "a text", s, e) &&
               gf_text_add(&f->what, e, " that stands in %s but for white space and case", other);
    return gf_check_say_rows(f, "a text", s, e) &&
           gf_text_add(&f->what, e, " that stands in %s, too: %s is no test of it", other,
                       s->name) &&
           gf_check_by_cleaning(c, f, e);
}

static bool tell_equals(gf_checking *c, equals *q, gf_err *e) {
    bool ok = true;
    for (int folded = 0; folded < 2; folded++)
        for (int a = 0; ok && a < GF_SPLITS; a++) {
            const gf_split *s = &c->care->split[a];
            ok = tell_conflict(c, q->conflict[folded][a], s, folded, e);
            for (int b = a + 1; ok && b < GF_SPLITS; b++)
                ok =
                    tell_shared(c, q->shared[folded][a][b], &c->care->split[b], s->name, folded, e);
        }
    for (int a = 0; ok && a < GF_SPLITS; a++)
        if (q->repeat[a])
            ok = gf_check_say_rows(q->repeat[a], "text and labels of an earlier row",
                                   &c->care->split[a], e) &&
                 gf_check_by_cleaning(c, q->repeat[a], e);
    return ok;
}

bool gf_check_equal_texts(gf_checking *c, gf_err *e) {
    equals q = {.last = gf_alloc_array(c->recipe->n_tasks, sizeof *q.last, e)};
    bool ok = q.last && look_at_groups(c, &q, false, e) && look_at_groups(c, &q, true, e) &&
              tell_equals(c, &q, e);
    gf_free(q.last);
    return ok;
}
