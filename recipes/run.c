#include "recipes/run.h"

#include "checkpoints/classifier.h"
#include "checkpoints/folder.h"
#include "checkpoints/heads.h"
#include "checkpoints/open.h"
#include "checkpoints/store.h"
#include "core/mem.h"
#include "data/split.h"
#include "optim/pattern.h"
#include "recipes/sources.h"

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

static bool same_classes(const gf_head *h, const gf_labels *l, gf_task_type type) {
    bool same = h->type == type && h->n_classes == l->count;
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
    const char *name = r->recipe->n_tasks ? r->recipe->tasks[0].name : NULL;
    if (!h || r->recipe->n_tasks != 1 || r->recipe->tasks[0].type != GF_TASK_CLASSIFICATION ||
        r->model.pooling != GF_POOL_POOLER ||
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
    if (h && same_classes(h, l, r->recipe->tasks[task].type)) {
        gf_log_say(log, GF_LOG_NOTE, "task \"%s\" goes on from the head the base brings", name);
        gf_model_move_head(&r->model, h, task);
        return true;
    }
    if (h)
        return gf_fail(
            e, GF_E_INVALID,
            "%s: the base has a head \"%s\" with other classes or of another type; give the task "
            "another name, or its \"classes\" and \"type\" as the base has them",
            r->recipe->path, name);
    if (!gf_model_add_task_head(&r->model, name, r->recipe->tasks[task].type,
                                (const char *const *)l->names, l->count, e))
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

/* ---- data ---- */

/* The tasks' fields as they are in the files of this task's source. */
static void take_fields(const gf_run *r, int64_t task, gf_task_field *fields) {
    for (int64_t k = 0; k < r->recipe->n_tasks; k++) {
        fields[k] = r->fields[k];
        if (!gf_source_is_shared(r->recipe, task, k)) fields[k].field = NULL;
    }
}

/* The classes that the recipe lists. */
static bool start_labels(gf_run *r, gf_err *e) {
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
        r->fields[i] =
            (gf_task_field){t->name, t->label, l, gf_source_label_kind(t->type), t->separator};
    }
    return true;
}

static bool check_labels(const gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    for (int64_t i = 0; i < c->n_tasks; i++) {
        gf_task_type type = c->tasks[i].type;
        if (type != GF_TASK_CLASSIFICATION && type != GF_TASK_ORDINAL) continue;
        if (r->labels[i].count < 2)
            return gf_fail(
                e, GF_E_INVALID,
                "%s: task \"%s\" has one class only (\"%s\"); a classification needs two",
                gf_source_of(c, i).train, c->tasks[i].name, r->labels[i].names[0]);
    }
    return true;
}

static bool read_labels(gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    gf_task_field *fields = gf_alloc_array(c->n_tasks, sizeof *fields, e);
    bool ok = fields && start_labels(r, e);
    for (int64_t i = 0; ok && i < c->n_tasks; i++) {
        gf_recipe_source s = gf_source_of(c, i);
        if (!gf_source_is_first(c, i)) continue;
        take_fields(r, i, fields);
        ok = gf_dataset_learn_labels(s.train, fields, c->n_tasks, e);
    }
    ok = ok && gf_dataset_finish_labels(r->fields, c->n_tasks, e) && check_labels(r, e);
    gf_free(fields);
    return ok;
}

typedef enum part { TRAIN, DEV, TEST } part;

static bool read_part(gf_run *r, gf_dataset *d, part which, gf_err *e) {
    const gf_recipe *c = r->recipe;
    gf_task_field *fields = gf_alloc_array(c->n_tasks, sizeof *fields, e);
    bool ok = fields != NULL;
    for (int64_t i = 0; ok && i < c->n_tasks; i++) {
        gf_recipe_source s = gf_source_of(c, i);
        const char *path = which == TRAIN ? s.train : which == DEV ? s.dev : s.test;
        if (!path || !gf_source_is_first(c, i)) continue;
        take_fields(r, i, fields);
        ok = gf_dataset_add(d, path, s.text, fields, c->n_tasks, r->model.tokenizer,
                            r->model.max_length, e);
    }
    gf_free(fields);
    return ok;
}

/* Texts without labels: those of mlm.data, or of data.train and data.dev in a run without tasks. */
static bool read_texts(gf_run *r, gf_dataset *d, const char *path, const char *text, gf_err *e) {
    return !path ||
           gf_dataset_add(d, path, text, NULL, 0, r->model.tokenizer, r->model.max_length, e);
}

static bool split(gf_run *r, const gf_log *log, gf_err *e) {
    const gf_recipe *c = r->recipe;
    gf_dataset whole = r->train;
    gf_split_counts n;
    if (c->split_dev == 0 && c->split_test == 0) return true;
    r->train = (gf_dataset){0};
    if (!gf_dataset_split(&whole, c->split_dev, c->split_test, &r->train, &r->dev, &r->test, &n,
                          e)) {
        gf_err_prefix(e, "%s: data.split", c->path);
        gf_dataset_free(&whole);
        return false;
    }
    if (n.small)
        gf_log_say(log, GF_LOG_NOTE,
                   "data.split: %lld of %lld kinds of rows have too few texts to be divided and "
                   "stay in train (%lld rows)",
                   (long long)n.small, (long long)n.strata, (long long)n.small_rows);
    return true;
}

static bool read_data(gf_run *r, const gf_log *log, gf_err *e) {
    const gf_recipe *c = r->recipe;
    bool none = c->n_tasks == 0;
    if (!read_part(r, &r->train, TRAIN, e) || !read_part(r, &r->dev, DEV, e) ||
        !read_part(r, &r->test, TEST, e))
        return false;
    if (none && (!read_texts(r, &r->train, c->train, c->text, e) ||
                 !read_texts(r, &r->dev, c->dev, c->text, e)))
        return false;
    if (!split(r, log, e)) return false;
    return !gf_recipe_has_mlm(c) ||
           read_texts(r, &r->unlabelled, c->mlm_data, c->mlm_text ? c->mlm_text : c->text, e);
}

/* ---- losses ---- */

/* n / (C n_c), as scikit-learn's "balanced"; on the positives of a multi_label class, negatives
 * over positives. A class without rows keeps 1. */
static void balance_classes(const gf_run *r, int64_t task, gf_real *weight) {
    const gf_dataset *d = &r->train;
    int64_t classes = r->labels[task].count, present = 0;
    bool sets = r->recipe->tasks[task].type == GF_TASK_MULTI_LABEL;
    for (int64_t c = 0; c < classes; c++) weight[c] = 0;
    for (int64_t i = 0; i < d->rows; i++) {
        if (d->label[task][i] < 0) continue;
        present++;
        if (!sets)
            weight[d->label[task][i]]++;
        else
            for (int64_t c = 0; c < classes; c++) weight[c] += d->target[task][i * classes + c];
    }
    for (int64_t c = 0; c < classes; c++) {
        double count = (double)weight[c], all = (double)present;
        weight[c] = 1;
        if (count > 0 && !sets) weight[c] = (gf_real)(all / ((double)classes * count));
        if (count > 0 && sets && count < all) weight[c] = (gf_real)((all - count) / count);
    }
}

static bool name_classes(const gf_run *r, int64_t task, gf_real *weight, gf_err *e) {
    const gf_recipe_task *t = &r->recipe->tasks[task];
    const gf_labels *l = &r->labels[task];
    for (int64_t c = 0; c < l->count; c++) weight[c] = 1;
    for (int64_t k = 0; k < t->n_class_weights; k++) {
        const char *name = t->class_weights[k].name, *near;
        int32_t c = gf_labels_find(l, name, strlen(name));
        if (c < 0) {
            near = gf_labels_nearest(l, name);
            return gf_fail(e, GF_E_INVALID,
                           "%s: tasks[%lld].class_weights names no class with \"%s\"; %s%s%s",
                           r->recipe->path, (long long)task, name,
                           near ? "did you mean \"" : "its classes are those of the training data",
                           near ? near : "", near ? "\"?" : "");
        }
        weight[c] = (gf_real)t->class_weights[k].weight;
    }
    for (int64_t c = 0; c < l->count; c++)
        if (weight[c] > 0) return true;
    return gf_fail(e, GF_E_INVALID,
                   "%s: tasks[%lld].class_weights leaves every class with weight 0; give one a "
                   "weight",
                   r->recipe->path, (long long)task);
}

static bool make_loss_rules(gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    r->loss_rules = gf_alloc_array(c->n_tasks, sizeof *r->loss_rules, e);
    r->class_weights = gf_alloc_array(c->n_tasks, sizeof *r->class_weights, e);
    if (!r->loss_rules || !r->class_weights) return false;
    for (int64_t i = 0; i < c->n_tasks; i++) {
        const gf_recipe_task *t = &c->tasks[i];
        r->loss_rules[i] = (gf_loss_rule){NULL, t->label_smoothing, t->focal_gamma};
        if (!t->balanced && t->n_class_weights == 0) continue;
        r->class_weights[i] = gf_alloc_array(r->labels[i].count, sizeof **r->class_weights, e);
        if (!r->class_weights[i]) return false;
        if (t->balanced)
            balance_classes(r, i, r->class_weights[i]);
        else if (!name_classes(r, i, r->class_weights[i], e))
            return false;
        r->loss_rules[i].class_weight = r->class_weights[i];
    }
    return true;
}

/* ---- the model and all together ---- */

/* A threshold that the recipe gives; else those that the head brings, until dev gives better. */
static void set_thresholds(gf_run *r) {
    for (int64_t i = 0; i < r->recipe->n_tasks; i++) {
        gf_head *h = &r->model.heads[i];
        double given = r->recipe->tasks[i].threshold;
        for (int64_t c = 0; h->thresholds && !isnan(given) && c < h->n_classes; c++)
            h->thresholds[c] = (gf_real)given;
    }
}

/* The masked language model, with the base's values if it brings them. */
static bool add_mlm(gf_run *r, const gf_log *log, gf_err *e) {
    const gf_recipe *c = r->recipe;
    if (!gf_recipe_has_mlm(c)) return true;
    if (!gf_model_add_mlm(&r->model, e)) return false;
    return c->init || gf_place_find(c->base) != GF_PLACE_MODEL ||
           gf_folder_read_mlm(&r->model, c->base, log, e);
}

static bool make_model(gf_run *r, const gf_log *log, gf_err *e) {
    const gf_recipe *c = r->recipe;
    if (!open_base(r, log, e) || !apply_model_keys(r, e)) return false;
    if (!place_heads(r, log, e) || !add_mlm(r, log, e)) return false;
    if (c->heads_init && !gf_heads_init_read(&r->model, c->heads_init, e)) return false;
    return gf_model_init(&r->model, c->seed, e);
}

static bool check_heads(const gf_run *r, const char *checkpoint, gf_err *e) {
    for (int64_t i = 0; i < r->recipe->n_tasks; i++) {
        const gf_head *h = i < r->model.n_heads ? &r->model.heads[i] : NULL;
        if (!h || strcmp(h->name, r->recipe->tasks[i].name) != 0 ||
            !same_classes(h, &r->labels[i], r->recipe->tasks[i].type))
            return gf_fail(
                e, GF_E_INVALID,
                "%s: its tasks or classes are not those of the recipe and data now; start a "
                "new run",
                checkpoint);
    }
    return true;
}

/* ---- what is asked for and will not happen ---- */

static bool is_measured(const gf_run *r, int64_t task) {
    for (int64_t i = 0; i < r->dev.rows; i++)
        if (r->dev.label[task][i] >= 0) return true;
    return false;
}

/* Whether some phase for the tasks trains what they share. */
static bool shares(const gf_run *r) {
    const gf_recipe *c = r->recipe;
    for (int64_t i = 0; i < c->n_phases; i++)
        for (int64_t k = 0; k < c->phases[i].n_rules; k++)
            for (int64_t p = 0; p < r->model.params.count; p++) {
                const char *name = r->model.params.items[p]->name;
                if (c->phases[i].objective == GF_OBJECTIVE_TASKS &&
                    strncmp(name, "heads.", 6) != 0 &&
                    !gf_model_is_mlm(&r->model, r->model.params.items[p]) &&
                    gf_pattern_matches(c->phases[i].rules[k].pattern, name,
                                       r->model.config.num_hidden_layers))
                    return true;
            }
    return false;
}

static void note_what_is_idle(const gf_run *r, const gf_log *log) {
    const gf_recipe *c = r->recipe;
    const char *idle = c->surgery != GF_SURGERY_NONE ? "surgery.method"
                       : c->conflict_every           ? "conflicts.every_steps"
                                                     : NULL;
    for (int64_t i = 0; i < c->n_tasks; i++)
        if (c->tasks[i].type == GF_TASK_MULTI_LABEL && isnan(c->tasks[i].threshold) &&
            !is_measured(r, i))
            gf_log_say(log, GF_LOG_NOTE,
                       "task \"%s\": dev has no label of it to choose thresholds by, so they stay "
                       "as they are (%g)",
                       c->tasks[i].name, (double)r->model.heads[i].thresholds[0]);
    if (idle && !shares(r))
        gf_log_say(
            log, GF_LOG_NOTE,
            "%s changes nothing: no phase moves the encoder, and the tasks share nothing else",
            idle);
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
    set_thresholds(r);
    if (!read_data(r, log, e) || !make_loss_rules(r, e)) return false;
    if (!checkpoint) note_what_is_idle(r, log);
    return true;
}

void gf_run_close(gf_run *r) {
    gf_dataset_free(&r->train);
    gf_dataset_free(&r->dev);
    gf_dataset_free(&r->test);
    gf_dataset_free(&r->unlabelled);
    for (int64_t i = 0; r->labels && i < r->recipe->n_tasks; i++) gf_labels_free(&r->labels[i]);
    for (int64_t i = 0; r->class_weights && i < r->recipe->n_tasks; i++)
        gf_free(r->class_weights[i]);
    gf_free(r->class_weights);
    gf_free(r->loss_rules);
    gf_free(r->labels);
    gf_free(r->fields);
    gf_model_free(&r->model);
    *r = (gf_run){0};
}
