#include "recipes/check.h"

#include "core/mem.h"
#include "recipes/step.h"

#include <stdlib.h>

typedef struct checking {
    const gf_run *run;
    gf_text *out;
    int64_t *problems;
} checking;

/* A row by its text's hash. Equal hashes of 64 bits are taken for equal texts. */
typedef struct seen {
    uint64_t hash;
    int64_t row;
} seen;

static int by_hash(const void *a, const void *b) {
    const seen *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* The rows of a data set, sorted by hash; gf_free() it. */
static seen *sort_rows(const gf_dataset *d, gf_err *e) {
    seen *s = gf_alloc_array(d->rows, sizeof *s, e);
    for (int64_t i = 0; s && i < d->rows; i++) s[i] = (seen){d->text_hash[i], i};
    if (s) qsort(s, (size_t)d->rows, sizeof *s, by_hash);
    return s;
}

static double percent(int64_t part, int64_t whole) {
    return whole ? 100 * (double)part / (double)whole : 0;
}

static bool add_split(checking *c, const char *name, const gf_dataset *d, gf_err *e) {
    int64_t longest = 0, unlabelled = 0;
    for (int64_t i = 0; i < d->rows; i++) {
        bool any = false;
        int64_t length = d->start[i + 1] - d->start[i];
        if (length > longest) longest = length;
        for (int64_t t = 0; t < d->n_tasks; t++) any |= d->label[t][i] >= 0;
        unlabelled += !any;
    }
    return gf_text_add(c->out, e, "%s: %s\n  %lld rows, %.1f tokens each, longest %lld\n", name,
                       d->source->path, (long long)d->rows, (double)d->ids.count / (double)d->rows,
                       (long long)longest) &&
           gf_text_add(c->out, e, "  truncated at %lld tokens: %lld rows (%.1f %%)\n",
                       (long long)c->run->model.max_length, (long long)d->truncated,
                       percent(d->truncated, d->rows)) &&
           gf_text_add(c->out, e, "  [UNK]: %lld of %lld pieces (%.2f %%)\n", (long long)d->unknown,
                       (long long)d->ids.count - 2 * d->rows,
                       percent(d->unknown, d->ids.count - 2 * d->rows)) &&
           (!unlabelled ||
            gf_text_add(c->out, e, "  without any label: %lld rows\n", (long long)unlabelled));
}

static bool add_classes(checking *c, int64_t task, const int64_t *counts, int64_t splits,
                        gf_err *e) {
    const gf_labels *l = &c->run->labels[task];
    bool ok = true;
    for (int64_t k = 0; ok && k < l->count; k++) {
        const int64_t *row = counts + k * splits;
        ok = gf_text_add(c->out, e, "  ") && gf_text_add_column(c->out, l->names[k], 28, e);
        for (int64_t s = 0; ok && s < splits; s++)
            ok = gf_text_add(c->out, e, " %9lld", (long long)row[s]);
        ok = ok && gf_text_add(c->out, e, "\n");
        if (!ok || row[0] > 0) continue;
        *c->problems += 1;
        ok = gf_text_add(c->out, e, "! class \"%s\" of task \"%s\" has no row in train\n",
                         l->names[k], c->run->recipe->tasks[task].name);
    }
    return ok;
}

static bool add_task(checking *c, int64_t task, gf_err *e) {
    const gf_run *r = c->run;
    const gf_dataset *sets[] = {&r->train, &r->dev, &r->test};
    static const char *const names[] = {"train", "dev", "test"};
    int64_t classes = r->labels[task].count, missing[3] = {0};
    int64_t *counts = gf_alloc_array(classes * 3, sizeof *counts, e);
    bool ok = counts && gf_text_add(c->out, e, "task %-25.25s", r->recipe->tasks[task].name);
    for (int s = 0; ok && s < 3; s++) {
        for (int64_t i = 0; i < sets[s]->rows; i++) {
            int32_t label = sets[s]->label[task][i];
            if (label < 0)
                missing[s]++;
            else
                counts[label * 3 + s]++;
        }
        ok = gf_text_add(c->out, e, " %9s", names[s]);
    }
    ok = ok && gf_text_add(c->out, e, "\n") && add_classes(c, task, counts, 3, e) &&
         gf_text_add(c->out, e, "  %-28s %9lld %9lld %9lld\n", "(missing)", (long long)missing[0],
                     (long long)missing[1], (long long)missing[2]);
    gf_free(counts);
    return ok;
}

/* The last row before this one that has the same text and another label, -1 if there is none.
 * last[t] is the last row of the text that has a label of task t. */
static int64_t find_rival(const gf_dataset *d, int64_t row, int64_t *last) {
    int64_t rival = -1;
    for (int64_t t = 0; t < d->n_tasks; t++) {
        if (d->label[t][row] < 0) continue;
        if (last[t] >= 0 && d->label[t][last[t]] != d->label[t][row] && last[t] > rival)
            rival = last[t];
        last[t] = row;
    }
    return rival;
}

enum { SHOWN = 5 };

/* Neighbours in hash order with one text. */
static bool add_repeats(checking *c, const char *name, const gf_dataset *d, const seen *s,
                        gf_err *e) {
    int64_t equal = 0, different = 0, first[SHOWN], second[SHOWN];
    int64_t *last = gf_alloc_array(d->n_tasks, sizeof *last, e);
    bool ok = last != NULL;
    for (int64_t i = 0; ok && i < d->rows; i++) {
        bool again = i > 0 && s[i].hash == s[i - 1].hash;
        int64_t rival;
        for (int64_t t = 0; !again && t < d->n_tasks; t++) last[t] = -1;
        equal += again;
        if ((rival = find_rival(d, s[i].row, last)) < 0) continue;
        if (different < SHOWN) {
            first[different] = d->line[rival];
            second[different] = d->line[s[i].row];
        }
        different++;
    }
    gf_free(last);
    if (ok && equal) ok = gf_text_add(c->out, e, "%s repeats %lld texts\n", name, (long long)equal);
    if (!ok || !different) return ok;
    *c->problems += 1;
    ok =
        gf_text_add(c->out, e, "! %lld of them have different labels; lines", (long long)different);
    for (int64_t i = 0; ok && i < different && i < SHOWN; i++)
        ok = gf_text_add(c->out, e, "%s %lld/%lld", i ? "," : "", (long long)first[i],
                         (long long)second[i]);
    return ok && gf_text_add(c->out, e, different > SHOWN ? ", ...\n" : "\n");
}

static bool add_overlap(checking *c, const char *a_name, const gf_dataset *a, const seen *x,
                        const char *b_name, const gf_dataset *b, const seen *y, gf_err *e) {
    int64_t shared = 0, lines[SHOWN][2];
    bool ok;
    for (int64_t i = 0, k = 0; i < a->rows && k < b->rows;) {
        if (x[i].hash < y[k].hash)
            i++;
        else if (x[i].hash > y[k].hash)
            k++;
        else {
            if (shared < SHOWN) {
                lines[shared][0] = a->line[x[i].row];
                lines[shared][1] = b->line[y[k].row];
            }
            shared++;
            k++;
        }
    }
    if (!shared) return true;
    *c->problems += 1;
    ok = gf_text_add(c->out, e, "! %lld texts of %s stand in %s, too; lines", (long long)shared,
                     b_name, a_name);
    for (int64_t i = 0; ok && i < shared && i < SHOWN; i++)
        ok = gf_text_add(c->out, e, "%s %lld/%lld", i ? "," : "", (long long)lines[i][1],
                         (long long)lines[i][0]);
    return ok && gf_text_add(c->out, e, shared > SHOWN ? ", ...\n" : "\n");
}

/* Patterns are resolved as training would. */
static bool check_phases(gf_run *r, gf_err *e) {
    gf_phase p = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < r->recipe->n_phases; i++) ok = gf_phase_assign(&p, r, i, e);
    gf_phase_end(&p);
    return ok;
}

bool gf_run_check(gf_run *r, gf_text *out, int64_t *problems, gf_err *e) {
    const gf_dataset *sets[] = {&r->train, &r->dev, &r->test};
    static const char *const names[] = {"train", "dev", "test"};
    seen *rows[3] = {0};
    checking c = {r, out, problems};
    bool ok = check_phases(r, e);
    *problems = 0;
    for (int s = 0; ok && s < 3; s++)
        if (sets[s]->rows) ok = add_split(&c, names[s], sets[s], e);
    for (int64_t t = 0; ok && t < r->recipe->n_tasks; t++) ok = add_task(&c, t, e);
    for (int s = 0; ok && s < 3; s++)
        ok = (rows[s] = sort_rows(sets[s], e)) && add_repeats(&c, names[s], sets[s], rows[s], e);
    for (int a = 0; ok && a < 3; a++)
        for (int b = a + 1; ok && b < 3; b++)
            ok = add_overlap(&c, names[a], sets[a], rows[a], names[b], sets[b], rows[b], e);
    ok = ok &&
         gf_text_add(out, e, *problems ? "%lld problems, marked with !\n" : "no problems found\n",
                     (long long)*problems);
    for (int s = 0; s < 3; s++) gf_free(rows[s]);
    return ok;
}
