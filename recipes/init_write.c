/* init, of the recipe's text. */
#include "recipes/init_parts.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/metric.h"

#include <string.h>

enum { MOST_LISTED = 50, UNEVEN = 10 };

/* A path as the recipe is to name it: from the recipe's folder where the file lies below it, else
 * from the root. */
static char *path_for(const gf_init_plan *p, const char *path, gf_err *e) {
    char *folder = p->o->output ? gf_io_folder_of(p->o->output, e) : gf_strdup(".", e);
    char *home = folder ? gf_io_absolute(folder, e) : NULL, *full = NULL, *out = NULL;
    size_t n = home ? strlen(home) : 0;
    if (home && n > 1 && strcmp(home + n - 2, "/.") == 0) home[n -= 2] = 0;
    if (home) full = gf_io_absolute(strncmp(path, "./", 2) == 0 ? path + 2 : path, e);
    if (full)
        out = gf_strdup(strncmp(full, home, n) == 0 && full[n] == '/' ? full + n + 1 : full, e);
    gf_free(full);
    gf_free(home);
    gf_free(folder);
    return out;
}

/* "KEY": "VALUE" with `before` and `after` around it. */
static bool add_pair(gf_text *out, const char *before, const char *key, const char *value,
                     gf_err *e) {
    char *quoted = gf_json_quote("", value, e);
    bool ok = quoted && gf_text_add(out, e, "%s\"%s\": ", before, key) &&
              gf_text_add_bytes(out, quoted, strlen(quoted), e);
    gf_free(quoted);
    return ok;
}

static bool add_path(const gf_init_plan *p, gf_text *out, const char *before, const char *key,
                     const char *path, gf_err *e) {
    char *shown = path_for(p, path, e);
    bool ok = shown && add_pair(out, before, key, shown, e);
    gf_free(shown);
    return ok;
}

static bool add_model(const gf_init_plan *p, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "  \"model\": {\n") &&
              add_path(p, out, "    ", "base", p->base, e) && gf_text_add(out, e, ",\n");
    if (p->p95)
        ok = ok && gf_text_add(out, e,
                               "    \"_max_length\": \"tokens, with [CLS] and [SEP]: 95 %% of the "
                               "texts have up to %lld\",\n",
                               (long long)p->p95);
    else
        ok = ok && gf_text_add(out, e,
                               "    \"_max_length\": \"tokens, with [CLS] and [SEP]; a guess: "
                               "graft check says how many texts are cut\",\n");
    return ok && gf_text_add(out, e, "    \"max_length\": %lld\n  },\n", (long long)p->max_length);
}

static bool add_data(const gf_init_plan *p, gf_text *out, gf_err *e) {
    bool ok =
        gf_text_add(out, e, "  \"data\": {\n") && add_path(p, out, "    ", "train", p->o->data, e);
    if (p->dev) ok = ok && add_path(p, out, ", ", "dev", p->dev, e);
    if (p->test) ok = ok && add_path(p, out, ", ", "test", p->test, e);
    ok = ok && add_pair(out, ", ", "text", p->text, e);
    if (p->split_dev > 0) {
        ok = ok && gf_text_add(out, e,
                               ",\n    \"_split\": \"parts of train that are not trained on; equal "
                               "texts stay together\",\n    \"split\": {\"dev\": %g",
                               p->split_dev);
        if (p->split_test > 0) ok = ok && gf_text_add(out, e, ", \"test\": %g", p->split_test);
        ok = ok && gf_text_add(out, e, "}");
    }
    if (!p->dev && p->split_dev == 0)
        ok = ok && gf_text_add(out, e,
                               ",\n    \"_split\": \"too few rows to divide; name a dev file, and "
                               "leave select out\"");
    return ok && gf_text_add(out, e, "\n  },\n");
}

static bool add_classes(const gf_init_task *t, gf_text *out, gf_err *e) {
    bool ok = true;
    if (t->type == GF_TASK_REGRESSION) return true;
    if (t->classes.count > MOST_LISTED && t->learned == t->classes.count)
        return gf_text_add(out, e,
                           ",\n     \"_classes\": \"%lld, learned from the training data, sorted\"",
                           (long long)t->classes.count);
    ok = gf_text_add(out, e,
                     ",\n     \"_classes\": \"as found%s; a label that is not listed is an "
                     "error\",\n     \"classes\": [",
                     t->type == GF_TASK_ORDINAL ? ", in their order" : "");
    for (int64_t i = 0; ok && i < t->classes.count; i++) {
        char *name = gf_json_quote(i ? ", " : "", t->classes.names[i], e);
        ok = name && gf_text_add_bytes(out, name, strlen(name), e);
        gf_free(name);
    }
    return ok && gf_text_add(out, e, "]");
}

/* Why a type that is not told by the data alone. */
static const char *reason(const gf_init_task *t) {
    if (t->type == GF_TASK_ORDINAL)
        return "whole numbers in an order; if they only name things, write them as strings and "
               "make this classification";
    if (t->type == GF_TASK_REGRESSION) return "numbers; the loss is the squared error";
    if (t->column->lists) return "a row has any number of these labels";
    return "a row has any number of these labels, one behind the other in a string";
}

static bool add_one_task(const gf_init_task *t, bool last, gf_text *out, gf_err *e) {
    bool weighed = t->type == GF_TASK_CLASSIFICATION || t->type == GF_TASK_MULTI_LABEL;
    bool ok =
        add_pair(out, "    {", "name", t->name, e) &&
        add_pair(out, ", ", "type", gf_task_type_names[t->type], e) &&
        add_pair(out, ", ", "label", t->column->name, e) &&
        (!t->separator || add_pair(out, ", ", "separator", t->separator, e)) &&
        (t->type == GF_TASK_CLASSIFICATION || add_pair(out, ",\n     ", "_type", reason(t), e)) &&
        add_classes(t, out, e);
    if (ok && weighed && t->most > UNEVEN * t->least)
        ok = gf_text_add(out, e,
                         ",\n     \"_class_weights\": \"the largest class has %lld rows, the "
                         "smallest %lld\",\n     \"class_weights\": \"balanced\"",
                         (long long)t->most, (long long)t->least);
    return ok && gf_text_add(out, e, "}%s\n", last ? "" : ",");
}

/* What a column may be that is no task, or is one of another type: the key of a comment, unlike
 * those that every recipe has, and the comment. */
static bool add_idea(const gf_column *c, const char *what, gf_task_type type, const char *separator,
                     gf_text *out, gf_err *e) {
    gf_text idea = {0}, key = {0};
    bool odd = c->name[0] == 0 || strcmp(c->name, "use") == 0;
    bool ok = gf_text_add(&key, e, "_%s%s", odd ? "column " : "", c->name) &&
              gf_text_add(&idea, e, "%s; as a task: {", what) &&
              add_pair(&idea, "", "name", c->name, e) &&
              add_pair(&idea, ", ", "type", gf_task_type_names[type], e) &&
              (!separator || add_pair(&idea, ", ", "separator", separator, e)) &&
              gf_text_add(&idea, e, "}") && add_pair(out, "  ", key.data, idea.data, e) &&
              gf_text_add(out, e, ",\n");
    gf_text_free(&idea);
    gf_text_free(&key);
    return ok;
}

static const gf_init_task *task_of(const gf_init_plan *p, const gf_column *c) {
    for (int64_t i = 0; i < p->n_tasks; i++)
        if (p->tasks[i].column == c) return &p->tasks[i];
    return NULL;
}

/* A comment for each numeric column that is no task, and for classes that may be sets. */
static bool add_ideas(const gf_init_plan *p, gf_text *out, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < p->columns.count; i++) {
        const gf_column *c = &p->columns.list[i];
        const gf_init_task *t = task_of(p, c);
        if (strcmp(c->name, p->text) == 0) continue;
        if (!t && c->role == GF_COLUMN_NUMBER)
            ok = gf_column_is_graded(c)
                     ? add_idea(c, "column with few whole numbers", GF_TASK_ORDINAL, NULL, out, e)
                     : add_idea(c,
                                "column with numbers (the loss is the squared error: scale large "
                                "ones)",
                                GF_TASK_REGRESSION, NULL, out, e);
        if (c->separator && c->role != GF_COLUMN_SETS)
            ok = add_idea(c, "column with strings that may be several labels each",
                          GF_TASK_MULTI_LABEL, c->separator, out, e);
    }
    return ok;
}

static bool add_tasks(const gf_init_plan *p, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "  \"tasks\": [\n");
    for (int64_t i = 0; ok && i < p->n_tasks; i++)
        ok = add_one_task(&p->tasks[i], i + 1 == p->n_tasks, out, e);
    return ok && gf_text_add(out, e, "  ],\n") && add_ideas(p, out, e);
}

/* Fewer rows want more epochs, and a gentler rate for the encoder. */
static bool add_phases(const gf_init_plan *p, gf_text *out, gf_err *e) {
    int heads = p->rows < 1000 ? 10 : p->rows < 20000 ? 5 : p->rows < 200000 ? 3 : 1;
    int all = p->rows < 1000 ? 5 : p->rows < 20000 ? 3 : p->rows < 200000 ? 2 : 1;
    const char *rate = p->rows < 1000 ? "2e-5" : "3e-5";
    return gf_text_add(
               out, e,
               "  \"batch\": {\"_\": \"bucket puts texts of like length together\", \"size\": %d, "
               "\"bucket\": true},\n  \"phases\": [\n    {\n",
               p->rows < 1000 ? 16 : 32) &&
           gf_text_add(out, e,
                       "      \"_\": \"New heads start at random. Training them alone first keeps "
                       "their wild gradients away from the encoder.\",\n"
                       "      \"name\": \"heads\", \"epochs\": %d,\n"
                       "      \"trainable\": {\"heads.*\": {\"lr\": 1e-2}},\n",
                       heads) &&
           gf_text_add(out, e,
                       "      \"schedule\": {\"type\": \"linear\", \"warmup\": 0.1}\n    },\n    "
                       "{\n      \"_\": \"Everything learns, the encoder far slower than the "
                       "heads.\",\n      \"name\": \"all\", \"epochs\": %d,\n",
                       all) &&
           gf_text_add(out, e,
                       "      \"trainable\": {\"heads.*\": {\"lr\": 2e-3}, \"*\": {\"lr\": %s, "
                       "\"layer_decay\": 0.95}},\n"
                       "      \"schedule\": {\"type\": \"linear\", \"warmup\": 0.1}\n    }\n  ],\n",
                       rate);
}

static bool has_dev(const gf_init_plan *p) { return p->dev || p->split_dev > 0; }

static bool add_select(const gf_init_plan *p, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e,
                          "  \"select\": {\"_\": \"the epoch that does best on dev becomes "
                          "model/\", \"metric\": \"%s",
                          p->n_tasks > 1 ? "mean(" : "");
    for (int64_t i = 0; ok && i < p->n_tasks; i++)
        ok = gf_text_add(out, e, "%s%s.%s", i ? ", " : "", p->tasks[i].name,
                         gf_metric_list[gf_metric_default(p->tasks[i].type)].name);
    return ok && gf_text_add(out, e, "%s\"},\n", p->n_tasks > 1 ? ")" : "");
}

static bool add_end(const gf_init_plan *p, gf_text *out, gf_err *e) {
    const char *name = p->o->output ? strrchr(p->o->output, '/') : NULL;
    const char *stem = name ? name + 1 : p->o->output ? p->o->output : "recipe.json";
    const char *dot = strrchr(stem, '.');
    char *run = gf_format(e, "runs/%.*s", dot ? (int)(dot - stem) : (int)strlen(stem), stem);
    bool ok = run && (!has_dev(p) || add_select(p, out, e)) &&
              gf_text_add(out, e, "  \"seed\": 42,\n") && add_pair(out, "  ", "output", run, e) &&
              gf_text_add(out, e, "\n}\n");
    gf_free(run);
    return ok;
}

bool gf_init_write(const gf_init_plan *p, gf_text *out, gf_err *e) {
    const char *slash = strrchr(p->o->data, '/');
    gf_text title = {0};
    bool ok = gf_text_add(&title, e,
                          "Made by graft init from %s, %lld rows: heads first, then the "
                          "whole network.",
                          slash ? slash + 1 : p->o->data, (long long)p->rows) &&
              add_pair(out, "{\n  ", "_", title.data, e) &&
              gf_text_add(out, e,
                          ",\n  \"_use\": \"graft check, graft plan, graft train; keys that begin "
                          "with _ are comments\",\n") &&
              add_model(p, out, e) && add_data(p, out, e) && add_tasks(p, out, e) &&
              add_phases(p, out, e) && add_end(p, out, e);
    gf_text_free(&title);
    return ok;
}
