#include "recipes/report.h"

#include "core/mem.h"

#include <stdio.h>

/* Names of tasks and places, as optim/conflict.h wants them. */
typedef struct names {
    const char **tasks;
    const char **places;
    char (*layers)[32]; /* "layer 0", ... */
} names;

static void free_names(names *n) {
    gf_free(n->tasks);
    gf_free(n->places);
    gf_free(n->layers);
}

static bool make_names(names *n, const gf_recipe *r, int64_t places, gf_err *e) {
    *n = (names){0};
    if (!(n->tasks = gf_alloc_array(r->n_tasks, sizeof *n->tasks, e)) ||
        !(n->places = gf_alloc_array(places, sizeof *n->places, e)) ||
        !(n->layers = gf_alloc_array(places, sizeof *n->layers, e)))
        return false;
    for (int64_t t = 0; t < r->n_tasks; t++) n->tasks[t] = r->tasks[t].name;
    for (int64_t p = 0; p < places; p++) {
        snprintf(n->layers[p], sizeof n->layers[p], "layer %lld", (long long)p - 1);
        n->places[p] = p == 0 ? "embeddings" : p == places - 1 ? "projection" : n->layers[p];
    }
    return true;
}

static bool add_pair(const gf_conflict *c, const gf_recipe *r, int64_t i, int64_t k, cJSON *pairs,
                     gf_err *e) {
    gf_conflict_pair all = gf_conflict_get(c, i, k, c->places);
    double share = all.updates ? (double)all.conflicts / (double)all.updates : 0;
    cJSON *j = gf_json_object(pairs, NULL, e), *places = NULL;
    bool ok = j && gf_json_string(j, "a", r->tasks[i].name, e) &&
              gf_json_string(j, "b", r->tasks[k].name, e) &&
              gf_json_number(j, "updates", (double)all.updates, e) &&
              gf_json_number(j, "cosine", all.cosine, e) &&
              gf_json_number(j, "conflicting", share, e) &&
              gf_json_number(j, "a_on_b", gf_conflict_effect(c, i, k), e) &&
              gf_json_number(j, "b_on_a", gf_conflict_effect(c, k, i), e) &&
              (places = gf_json_array(j, "places", e));
    for (int64_t p = 0; ok && p < c->places; p++) {
        gf_conflict_pair at = gf_conflict_get(c, i, k, p);
        ok = at.updates ? gf_json_number(places, NULL, at.cosine, e) != NULL
                        : gf_json_null(places, NULL, e) != NULL;
    }
    return ok;
}

bool gf_report_conflicts(gf_stepper *s, const gf_recipe *r, cJSON *parent, gf_err *e) {
    const gf_conflict *c = &s->conflict;
    gf_text advice = {0};
    names n = {0};
    cJSON *j, *pairs = NULL, *norms = NULL;
    bool ok;
    if (!c->state || gf_conflict_updates(c) == 0) return true;
    ok = make_names(&n, r, c->places, e) && (j = gf_json_object(parent, "conflicts", e)) &&
         gf_json_number(j, "updates", (double)gf_conflict_updates(c), e) &&
         (pairs = gf_json_array(j, "pairs", e));
    for (int64_t i = 0; ok && i < r->n_tasks; i++)
        for (int64_t k = i + 1; ok && k < r->n_tasks; k++) ok = add_pair(c, r, i, k, pairs, e);
    ok = ok && (norms = gf_json_object(j, "norms", e));
    for (int64_t t = 0; ok && t < r->n_tasks; t++)
        ok = gf_json_number(norms, r->tasks[t].name, gf_conflict_norm(c, t), e);
    ok = ok && gf_conflict_write_advice(c, n.tasks, n.places, &advice, e);
    if (ok && advice.length && advice.data[advice.length - 1] == '\n')
        advice.data[--advice.length] = 0;
    ok = ok && gf_json_string(j, "advice", advice.data, e);
    gf_text_free(&advice);
    free_names(&n);
    return ok;
}

bool gf_report_conflict_table(gf_stepper *s, const gf_run *r, gf_text *out, gf_err *e) {
    const gf_conflict *c = &s->conflict;
    names n = {0};
    bool ok;
    if (!c->state || gf_conflict_updates(c) == 0) return true;
    ok = make_names(&n, r->recipe, c->places, e) &&
         gf_text_add(out, e, "conflicts between tasks over %lld measured updates\n",
                     (long long)gf_conflict_updates(c)) &&
         gf_conflict_write_table(c, n.tasks, n.places, out, e) &&
         gf_conflict_write_advice(c, n.tasks, n.places, out, e);
    free_names(&n);
    return ok;
}
