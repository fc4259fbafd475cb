#include "recipes/run.h"

#include "checkpoints/classifier.h"
#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "checkpoints/open.h"
#include "checkpoints/store.h"
#include "core/mem.h"

#include <math.h>
#include <string.h>

/* BERT's pooler comes with the base's values; a random encoder draws it. */
static bool read_pooler(gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    if (c->init) return true;
    if (gf_place_find(c->base) == GF_PLACE_MODEL)
        return gf_folder_read_pooler(&r->model, c->base, e) ||
               (gf_err_prefix(e, "%s: model.pooling is \"pooler\"", c->path), false);
    return gf_fail(e, GF_E_MODEL,
                   "%s: model.pooling is \"pooler\", but %s has no tensor "
                   "\"pooler.dense.weight\"; choose another pooling or a base with a pooler",
                   c->path, c->base);
}

static bool set_pooling(gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    gf_pooling pooling = r->model.pooling, old = pooling;
    if (!c->pooling || !gf_pooling_find(c->pooling, &pooling) || pooling == old) return true;
    if (!gf_model_set_pooling(&r->model, pooling, e)) {
        gf_err_prefix(e, "%s: model.pooling", c->path);
        return false;
    }
    return pooling != GF_POOL_POOLER || read_pooler(r, e);
}

static bool apply_model_keys(gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    gf_model *m = &r->model;
    int64_t positions = m->config.max_position_embeddings;
    if (!set_pooling(r, e)) return false;
    if (c->normalize >= 0) m->normalize = c->normalize == 1;
    m->max_length = c->max_length;
    if (m->max_length == GF_DEFAULT_MAX_LENGTH && m->max_length > positions)
        m->max_length = positions; /* nobody asked for more */
    if (m->max_length > positions)
        return gf_fail(e, GF_E_INVALID,
                       "%s: model.max_length is %lld, but the base has %lld positions; lower it",
                       c->path, (long long)c->max_length, (long long)positions);
    r->hidden_dropout = isnan(c->dropout) ? m->config.hidden_dropout_prob : c->dropout;
    r->attention_dropout = isnan(c->dropout) ? m->config.attention_probs_dropout_prob : c->dropout;
    return true;
}

static bool open_base(gf_run *r, const gf_log *log, gf_err *e) {
    const gf_recipe *c = r->recipe;
    if (c->init) return gf_folder_open(&r->model, c->base, GF_OPEN_NO_WEIGHTS, log, e);
    return gf_model_open(&r->model, c->base, log, e);
}

static bool same_classes(const gf_head *h, const gf_labels *l) {
    bool same = h->n_classes == l->count;
    for (int64_t i = 0; same && i < l->count; i++) same = strcmp(h->classes[i], l->names[i]) == 0;
    return same;
}

/* True when a head has the classes of a list, in whatever order. */
static bool has_classes(const gf_head *h, const gf_labels *l) {
    bool all = h->n_classes == l->count;
    for (int64_t i = 0; all && i < h->n_classes; i++)
        all = gf_labels_find(l, h->classes[i], strlen(h->classes[i])) >= 0;
    return all;
}

/* Row i of a parameter goes to row to[i] of n. */
static bool move_rows(gf_param *p, const int64_t *to, int64_t n, gf_err *e) {
    int64_t count = gf_param_count(p), width = count / n;
    gf_real *rows = gf_alloc_array(count, sizeof *rows, e);
    bool ok = rows && gf_param_own(p, e);
    if (ok) memcpy(rows, p->owned, (size_t)count * sizeof *rows);
    for (int64_t i = 0; ok && i < n; i++)
        memcpy(p->owned + to[i] * width, rows + i * width, (size_t)width * sizeof *rows);
    gf_free(rows);
    return ok;
}

/* Puts rows and classes of a head that has_classes() into the list's order. */
static bool reorder(gf_head *h, const gf_labels *l, gf_err *e) {
    int64_t n = h->n_classes, *to = gf_alloc_array(n, sizeof *to, e);
    char **names = to ? gf_alloc_array(n, sizeof *names, e) : NULL;
    bool ok = names != NULL;
    for (int64_t i = 0; ok && i < n; i++) {
        to[i] = gf_labels_find(l, h->classes[i], strlen(h->classes[i]));
        names[to[i]] = h->classes[i];
    }
    ok = ok && move_rows(h->linear.weight, to, n, e) && move_rows(h->linear.bias, to, n, e);
    if (ok) memcpy(h->classes, names, (size_t)n * sizeof *names);
    gf_free(names);
    gf_free(to);
    return ok;
}

/* The head of a base that is a classifier becomes the one task's, whatever the task's name and the
 * order of its classes, if it has just these and stands on the pooler as before. */
static bool take_classifier(gf_run *r, const gf_log *log, gf_err *e) {
    gf_head *h = gf_model_find_head(&r->model, GF_CLASSIFIER);
    const char *name = r->recipe->tasks[0].name;
    if (!h || r->recipe->n_tasks != 1 || r->model.pooling != GF_POOL_POOLER ||
        gf_model_find_head(&r->model, name) != (strcmp(name, GF_CLASSIFIER) == 0 ? h : NULL) ||
        !has_classes(h, &r->labels[0]))
        return true;
    gf_log_say(log, GF_LOG_NOTE, "task \"%s\" takes over the base's head \"%s\"", name,
               GF_CLASSIFIER);
    return reorder(h, &r->labels[0], e) && gf_model_rename_head(&r->model, h, name, e);
}

/* A base that graft trained brings heads. Those of the recipe's tasks, with the same classes, go on
 * from where they are; others are left behind. */
static bool place_head(gf_run *r, int64_t task, const gf_log *log, gf_err *e) {
    const char *name = r->recipe->tasks[task].name;
    const gf_labels *l = &r->labels[task];
    gf_head *h = gf_model_find_head(&r->model, name);
    if (h && same_classes(h, l)) {
        gf_log_say(log, GF_LOG_NOTE, "task \"%s\" goes on from the head the base brings", name);
        gf_model_move_head(&r->model, h, task);
        return true;
    }
    if (h)
        return gf_fail(
            e, GF_E_INVALID,
            "%s: the base has a head \"%s\" with other classes; give the task another name, "
            "or its \"classes\" as the base has them",
            r->recipe->path, name);
    if (!gf_model_add_head(&r->model, name, (const char *const *)l->names, l->count, e))
        return false;
    gf_model_move_head(&r->model, &r->model.heads[r->model.n_heads - 1], task);
    return true;
}

static bool place_heads(gf_run *r, const gf_log *log, gf_err *e) {
    if (!take_classifier(r, log, e)) return false;
    for (int64_t i = 0; i < r->recipe->n_tasks; i++)
        if (!place_head(r, i, log, e)) return false;
    while (r->model.n_heads > r->recipe->n_tasks) {
        gf_log_say(log, GF_LOG_NOTE, "the base's head \"%s\" is left out: no task has its name",
                   r->model.heads[r->model.n_heads - 1].name);
        gf_model_drop_last_head(&r->model);
    }
    return true;
}

static bool read_labels(gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    r->labels = gf_alloc_array(c->n_tasks, sizeof *r->labels, e);
    r->fields = r->labels ? gf_alloc_array(c->n_tasks, sizeof *r->fields, e) : NULL;
    if (!r->fields) return false;
    for (int64_t i = 0; i < c->n_tasks; i++) {
        const gf_recipe_task *t = &c->tasks[i];
        gf_labels *l = &r->labels[i];
        for (int64_t k = 0; k < t->n_classes; k++)
            if (!gf_labels_add(l, t->classes[k], strlen(t->classes[k]), e)) return false;
        l->fixed = t->n_classes > 0;
        r->fields[i] = (gf_task_field){.task = t->name, .field = t->label, .labels = l};
    }
    if (!gf_dataset_learn_labels(c->train, r->fields, c->n_tasks, e) ||
        !gf_dataset_finish_labels(r->fields, c->n_tasks, e))
        return false;
    for (int64_t i = 0; i < c->n_tasks; i++)
        if (r->labels[i].count < 2)
            return gf_fail(
                e, GF_E_INVALID,
                "%s: task \"%s\" has one class only (\"%s\"); a classification needs two", c->train,
                c->tasks[i].name, r->labels[i].names[0]);
    return true;
}

static bool make_model(gf_run *r, const gf_log *log, gf_err *e) {
    const gf_recipe *c = r->recipe;
    if (!open_base(r, log, e) || !apply_model_keys(r, e)) return false;
    if (!place_heads(r, log, e)) return false;
    if (c->heads_init && !gf_heads_init_read(&r->model, c->heads_init, e)) return false;
    return gf_model_init(&r->model, c->seed, e);
}

static bool check_heads(const gf_run *r, const char *checkpoint, gf_err *e) {
    for (int64_t i = 0; i < r->recipe->n_tasks; i++) {
        const gf_head *h = i < r->model.n_heads ? &r->model.heads[i] : NULL;
        if (!h || strcmp(h->name, r->recipe->tasks[i].name) != 0 || !same_classes(h, &r->labels[i]))
            return gf_fail(
                e, GF_E_INVALID,
                "%s: its tasks or classes are not those of the recipe and data now; start a "
                "new run",
                checkpoint);
    }
    return true;
}

static bool read_data(gf_run *r, gf_dataset *d, const char *path, gf_err *e) {
    const gf_recipe *c = r->recipe;
    if (!path) return true;
    return gf_dataset_add(d, path, c->text, r->fields, c->n_tasks, r->model.tokenizer,
                          r->model.max_length, e);
}

bool gf_run_open(gf_run *r, const gf_recipe *recipe, const char *checkpoint, const gf_log *log,
                 gf_err *e) {
    r->recipe = recipe;
    if (!read_labels(r, e)) return false;
    if (checkpoint) {
        if (!gf_store_read(&r->model, checkpoint, NULL, NULL, e) || !apply_model_keys(r, e) ||
            !check_heads(r, checkpoint, e))
            return false;
    } else if (!make_model(r, log, e))
        return false;
    return read_data(r, &r->train, recipe->train, e) && read_data(r, &r->dev, recipe->dev, e) &&
           read_data(r, &r->test, recipe->test, e);
}

void gf_run_close(gf_run *r) {
    gf_dataset_free(&r->train);
    gf_dataset_free(&r->dev);
    gf_dataset_free(&r->test);
    for (int64_t i = 0; r->labels && i < r->recipe->n_tasks; i++) gf_labels_free(&r->labels[i]);
    gf_free(r->labels);
    gf_free(r->fields);
    gf_model_free(&r->model);
    *r = (gf_run){0};
}
