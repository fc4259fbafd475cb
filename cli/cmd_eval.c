#include "cli/runner.h"
#include "checkpoints/open.h"
#include "core/json.h"
#include "core/mem.h"
#include "data/rows.h"
#include "recipes/evaluate.h"
#include "recipes/sources.h"

#include <string.h>

typedef struct evaluation {
    gf_runner runner;
    gf_task_field *tasks; /* [n_heads] */
    gf_labels *labels;    /* [n_heads] */
    const char *path;     /* of the data */
    char **columns;       /* of the data */
    int64_t n_columns;
    gf_dataset data;
    gf_metrics metrics;
    gf_recipe recipe; /* of a run folder; empty for other models */
} evaluation;

static void close_evaluation(evaluation *v) {
    for (int64_t h = 0; v->labels && h < v->runner.model.n_heads; h++)
        gf_labels_free(&v->labels[h]);
    gf_free(v->labels);
    gf_free(v->tasks);
    gf_io_free_names(v->columns, v->n_columns);
    gf_dataset_free(&v->data);
    gf_metrics_free(&v->metrics);
    gf_recipe_free(&v->recipe);
    gf_runner_close(&v->runner);
}

/* ---- which column holds the labels of which task ---- */

/* A run folder says how its own data were read; where it does not, a task's labels are in the field
 * of its name. */
static bool read_recipe(evaluation *v, const char *model, gf_err *e) {
    char *path = NULL;
    gf_err why = {0};
    if (gf_place_find(model) != GF_PLACE_RUN) return true;
    if (!(path = gf_io_join(model, "recipe.json", e))) return false;
    gf_recipe_read(&v->recipe, path, NULL, 0, &why);
    gf_free(path);
    return why.code != GF_E_NOMEM || gf_fail(e, why.code, "%s", why.text);
}

static const gf_recipe_task *recipe_task(const evaluation *v, const char *name) {
    for (int64_t i = 0; i < v->recipe.n_tasks; i++)
        if (strcmp(v->recipe.tasks[i].name, name) == 0) return &v->recipe.tasks[i];
    return NULL;
}

static bool open_tasks(evaluation *v, const gf_args *a, gf_err *e) {
    const gf_model *m = &v->runner.model;
    if (!(v->labels = gf_alloc_array(m->n_heads, sizeof *v->labels, e)) ||
        !(v->tasks = gf_alloc_array(m->n_heads, sizeof *v->tasks, e)))
        return false;
    for (int64_t h = 0; h < m->n_heads; h++) {
        const gf_head *head = &m->heads[h];
        const gf_recipe_task *t = recipe_task(v, head->name);
        v->tasks[h] = (gf_task_field){.task = head->name,
                                      .field = head->name,
                                      .labels = &v->labels[h],
                                      .kind = gf_source_label_kind(head->type),
                                      .separator = a->separator ? a->separator
                                                   : t          ? t->separator
                                                                : NULL};
        for (int64_t c = 0; c < head->n_classes; c++)
            if (!gf_labels_add(&v->labels[h], head->classes[c], strlen(head->classes[c]), e))
                return false;
        v->labels[h].fixed = true;
    }
    return true;
}

/* "a", "b", "c" */
static bool add_names(gf_text *t, const char *name, bool first, gf_err *e) {
    if (t->length > 300) return true;
    return gf_text_add(t, e, "%s\"%s\"", first ? "" : ", ", name);
}

static bool list_tasks(const evaluation *v, gf_text *t, gf_err *e) {
    const gf_model *m = &v->runner.model;
    bool ok = true;
    for (int64_t h = 0; ok && h < m->n_heads; h++) ok = add_names(t, m->heads[h].name, h == 0, e);
    return ok;
}

/* --label TASK=FIELD */
static bool rename_field(evaluation *v, const char *rename, gf_err *e) {
    const char *equals = strchr(rename, '=');
    gf_text tasks = {0};
    for (int64_t h = 0; equals && h < v->runner.model.n_heads; h++) {
        gf_task_field *t = &v->tasks[h];
        if (strncmp(rename, t->task, (size_t)(equals - rename)) != 0 ||
            t->task[equals - rename] != 0)
            continue;
        t->field = equals + 1;
        return true;
    }
    if (!equals)
        return gf_fail(e, GF_E_USAGE, "--label: \"%s\" has no \"=\"; write TASK=FIELD", rename);
    if (list_tasks(v, &tasks, e))
        gf_fail(e, GF_E_USAGE, "--label: the model has no task \"%.*s\"; its tasks are %s",
                (int)(equals - rename), rename, tasks.data);
    gf_text_free(&tasks);
    return false;
}

static bool has_column(const evaluation *v, const char *name) {
    for (int64_t i = 0; i < v->n_columns; i++)
        if (strcmp(v->columns[i], name) == 0) return true;
    return false;
}

/* A header decides for all rows: a task whose column it lacks is left out, unless --label names
 * it. */
static bool choose_fields(evaluation *v, const gf_args *a, gf_err *e) {
    if (!(v->columns = gf_rows_columns(v->path, &v->n_columns, e))) return false;
    for (int64_t h = 0; h < v->runner.model.n_heads; h++) {
        const gf_recipe_task *t = recipe_task(v, v->tasks[h].task);
        if (t && has_column(v, t->label)) v->tasks[h].field = t->label;
    }
    for (int64_t h = 0; gf_rows_has_header(v->path) && h < v->runner.model.n_heads; h++) {
        gf_task_field *t = &v->tasks[h];
        if (has_column(v, t->field)) continue;
        gf_log_say(&a->log, GF_LOG_NOTE, "%s: no column \"%s\"; that task is not evaluated",
                   v->path, t->field);
        t->field = NULL;
    }
    for (int64_t i = 0; i < a->n_labels; i++)
        if (!rename_field(v, a->labels[i], e)) return false;
    return true;
}

static bool fail_no_labels(const evaluation *v, gf_err *e) {
    gf_text columns = {0}, tasks = {0};
    bool ok = gf_text_add(&columns, e, v->n_columns ? "the columns are " : "it has no columns");
    for (int64_t i = 0; ok && i < v->n_columns; i++)
        ok = add_names(&columns, v->columns[i], i == 0, e);
    if (ok && list_tasks(v, &tasks, e))
        gf_fail(e, GF_E_INVALID,
                "%s: it holds no label for any task of the model (%s), and %s; name one with "
                "--label TASK=FIELD",
                v->path, tasks.data, columns.data);
    gf_text_free(&columns);
    gf_text_free(&tasks);
    return false;
}

static bool check_labels(const evaluation *v, gf_err *e) {
    for (int64_t h = 0; h < v->data.n_tasks; h++)
        for (int64_t i = 0; i < v->data.rows; i++)
            if (v->data.label[h][i] >= 0) return true;
    return fail_no_labels(v, e);
}

/* Of a run folder the recipe's, or that of the first task with data of its own, if DATA has it. */
static const char *text_field(const evaluation *v, const gf_args *a) {
    if (a->text) return a->text;
    if (v->recipe.text && has_column(v, v->recipe.text)) return v->recipe.text;
    for (int64_t i = 0; i < v->recipe.n_tasks; i++)
        if (v->recipe.tasks[i].text && has_column(v, v->recipe.tasks[i].text))
            return v->recipe.tasks[i].text;
    return "text";
}

static bool read_data(evaluation *v, const gf_args *a, gf_err *e) {
    const gf_runner *r = &v->runner;
    bool any = false;
    if (!read_recipe(v, a->words[0], e) || !open_tasks(v, a, e) || !choose_fields(v, a, e))
        return false;
    for (int64_t h = 0; h < r->model.n_heads; h++) any = any || v->tasks[h].field;
    if (!any) return fail_no_labels(v, e);
    if (!gf_dataset_add(&v->data, v->path, text_field(v, a), v->tasks, r->model.n_heads,
                        r->model.tokenizer, r->max_length, e))
        return false;
    if (v->data.truncated)
        gf_log_say(&a->log, GF_LOG_NOTE, "%s: %lld of %lld texts are cut at %lld tokens", v->path,
                   (long long)v->data.truncated, (long long)v->data.rows, (long long)r->max_length);
    return check_labels(v, e);
}

/* ---- results ---- */

static bool print_json(const gf_metrics *m, gf_file *out, gf_err *e) {
    cJSON *j = gf_metrics_to_json(m, true, NULL, NULL, e);
    char *text = j ? gf_json_print(j, e) : NULL;
    bool ok = text && gf_io_printf(out, e, "%s", text);
    gf_free(text);
    cJSON_Delete(j);
    return ok;
}

static bool print_tables(const gf_metrics *m, gf_file *out, gf_err *e) {
    gf_text t = {0};
    bool ok = gf_metrics_table(m, NULL, &t, e) && gf_metrics_details(m, &t, e) &&
              gf_io_write(out, t.data, t.length, e);
    gf_text_free(&t);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    evaluation v = {.path = a->words[1]};
    gf_runner *r = &v.runner;
    bool ok = gf_runner_open(r, a->words[0], GF_RUNNER_PREDICTS, a, e) && read_data(&v, a, e) &&
              gf_evaluate(&v.metrics, &r->engine, &r->model, &v.data, NULL, r->max_rows, NULL, e) &&
              (a->json ? print_json : print_tables)(&v.metrics, a->out, e);
    close_evaluation(&v);
    return ok;
}

const gf_command gf_cmd_eval = {
    .name = "eval",
    .summary = "a model's metrics on labelled texts",
    .options = "--json --text --label --separator --threads --pin --precision --max-length "
               "--batch --quiet",
    .least = 2,
    .most = 2,
    .run = run,
    .help = "usage: graft eval MODEL DATA [options]\n"
            "\n"
            "Prints per task loss, accuracy, F1, AUC, calibration and what else its type has,\n"
            "then precision, recall, F1 and support per class, and the confusion matrix.\n"
            "MODEL is a model folder with heads, a run folder or a checkpoint; DATA is\n"
            ".jsonl, .csv, .tsv or .h5. A task's labels are in the field of its name, as its\n"
            "type has them in training; rows without one do not count for it.\n"
            "\n"
            "  --json              the same as JSON\n"
            "  --text NAME         the field that holds the text (default: a run's, or text)\n"
            "  --label TASK=FIELD  the field that holds a task's labels; repeatable\n"
            "  --separator S       between labels in a string (default: a run's, or |)\n"
            "  --threads N         default: a processor of each core\n"
            "  --pin               keep each thread on one processor\n"
            "  --precision P       fp32, or bf16 where the processor has it (default: fp32)\n"
            "  --max-length N      cut texts at N tokens (default: the model's)\n"
            "  --batch N           at most N texts at once (default: 512)\n"
            "  --quiet             no notes\n"
            "\n"
            "example: graft eval demo/runs/two-phase demo/test.jsonl\n",
};
