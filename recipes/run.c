#include "recipes/run.h"

#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "checkpoints/open.h"
#include "checkpoints/store.h"
#include "core/mem.h"

#include <math.h>
#include <string.h>

static bool apply_model_keys(gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    gf_model *m = &r->model;
    int64_t positions = m->config.max_position_embeddings;
    for (int p = GF_POOL_MEAN; c->pooling && p <= GF_POOL_MAX; p++)
        if (strcmp(c->pooling, gf_pooling_name((gf_pooling)p)) == 0) m->pooling = (gf_pooling)p;
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
        r->fields[i] = (gf_task_field){t->name, t->label, l};
    }
    if (!gf_dataset_learn_labels(c->train, r->fields, c->n_tasks, e)) return false;
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
    return gf_dataset_read(d, path, c->text, r->fields, c->n_tasks, r->model.tokenizer,
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
