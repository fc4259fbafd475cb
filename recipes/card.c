#include "recipes/card.h"

#include "checkpoints/open.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/version.h"
#include "recipes/folder.h"
#include "recipes/metric.h"

#include <string.h>

enum { MAX_JSON = 1 << 26 };

/* A JSON file of a run folder; *j stays NULL where there is none. */
static bool read_part(const char *run, const char *name, cJSON **j, gf_err *e) {
    char *path = gf_io_join(run, name, e);
    bool ok = path && (!gf_io_exists(path) || (*j = gf_json_read(path, MAX_JSON, e)));
    gf_free(path);
    return ok;
}

/* A table's cell: without | and line ends. */
static bool add_name(const char *name, gf_text *out, gf_err *e) {
    bool ok = true;
    for (const char *p = name; ok && *p; p++)
        ok = *p == '|'    ? gf_text_add(out, e, "\\|")
             : *p == '\n' ? gf_text_add(out, e, " ")
                          : gf_text_add_bytes(out, p, 1, e);
    return ok;
}

static bool add_head(const gf_head *h, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "| %s | %lld | ", h->name, (long long)h->n_classes);
    for (int64_t i = 0; ok && i < h->n_classes; i++) {
        ok = gf_text_add(out, e, "%s", i ? ", " : "") && add_name(h->classes[i], out, e);
        if (h->thresholds) ok = ok && gf_text_add(out, e, " (from %.4g)", (double)h->thresholds[i]);
    }
    return ok && gf_text_add(out, e, " | %s |\n", gf_task_type_names[h->type]);
}

static bool add_heads(const gf_model *m, gf_text *out, gf_err *e) {
    bool cells = false, ok;
    for (int64_t i = 0; i < m->n_heads; i++) cells = cells || m->heads[i].thresholds;
    ok = m->n_heads == 0 ||
         gf_text_add(out, e,
                     "\n## Tasks\n\n"
                     "The heads are linear layers over the sentence embedding, in "
                     "`heads.safetensors`; `heads.json` names their classes.%s\n\n"
                     "| task | classes | labels | type |\n| --- | --- | --- | --- |\n",
                     cells ? " A label of a multi_label task is predicted from the score on that "
                             "is given with it."
                           : "");
    for (int64_t i = 0; ok && i < m->n_heads; i++) ok = add_head(&m->heads[i], out, e);
    return ok;
}

/* "accuracy 0.8123, macro-F1 0.8011", what is defined of the metrics but the loss. */
static bool add_values(const cJSON *task, gf_text *out, gf_err *e) {
    bool ok = true, first = true;
    for (int i = GF_METRIC_LOSS + 1; ok && i < GF_METRICS; i++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(task, gf_metric_list[i].name);
        if (!cJSON_IsNumber(value)) continue;
        ok = gf_text_add(out, e, "%s%s %.4f", first ? "" : ", ", gf_metric_list[i].title,
                         value->valuedouble);
        first = false;
    }
    return ok;
}

/* The rows of one split of metrics.json. */
static bool add_split(const cJSON *metrics, const char *split, gf_text *out, gf_err *e) {
    const cJSON *task;
    bool ok = true;
    cJSON_ArrayForEach(task, cJSON_GetObjectItemCaseSensitive(metrics, split)) {
        const cJSON *loss = cJSON_GetObjectItemCaseSensitive(task, "loss");
        const cJSON *support = cJSON_GetObjectItemCaseSensitive(task, "support");
        if (!ok || !cJSON_IsNumber(loss)) continue;
        ok = gf_text_add(out, e, "| %s | %s | %.0f | %.4f | ", task->string, split,
                         cJSON_IsNumber(support) ? support->valuedouble : 0, loss->valuedouble) &&
             add_values(task, out, e) && gf_text_add(out, e, " |\n");
    }
    return ok;
}

static bool add_run(const char *run, gf_text *out, gf_err *e) {
    cJSON *metrics = NULL, *recipe = NULL;
    char *text = NULL;
    bool ok =
        read_part(run, "metrics.json", &metrics, e) && read_part(run, "recipe.json", &recipe, e);
    if (ok && metrics)
        ok = gf_text_add(out, e,
                         "\n## Metrics\n\n"
                         "| task | split | rows | loss | metrics |\n"
                         "| --- | --- | --- | --- | --- |\n") &&
             add_split(metrics, "dev", out, e) && add_split(metrics, "test", out, e);
    gf_run_folder_drop_places(recipe);
    if (ok && recipe)
        ok = (text = gf_json_print(recipe, e)) &&
             gf_text_add(out, e, "\n## Recipe\n\n```json\n%s```\n", text);
    gf_free(text);
    cJSON_Delete(metrics);
    cJSON_Delete(recipe);
    return ok;
}

static const char usage[] =
    "\n## Use\n\n"
    "```python\n"
    "from sentence_transformers import SentenceTransformer\n\n"
    "model = SentenceTransformer(\"path/to/this/folder\")\n"
    "embeddings = model.encode([\"The cheese was tasty\", \"Works as described\"])\n"
    "```\n\n"
    "With graft, embeddings and all tasks in one encoder pass:\n\n"
    "```sh\n"
    "graft predict --model path/to/this/folder \"The cheese was tasty\"\n"
    "```\n";

bool gf_card_write(const gf_model *m, const char *path, gf_text *out, gf_err *e) {
    bool ok =
        gf_text_add(out, e,
                    "---\nlibrary_name: sentence-transformers\n"
                    "pipeline_tag: sentence-similarity\ntags:\n- sentence-transformers\n"
                    "- bert\n- graft\n---\n\n# A sentence encoder%s\n\n"
                    "BERT with %lld layers and hidden size %lld; %s pooling%s; embeddings of "
                    "%lld numbers%s; texts of up to %lld tokens. Written by graft %s.\n",
                    m->n_heads ? " with task heads" : "", (long long)m->config.num_hidden_layers,
                    (long long)m->config.hidden_size, gf_pooling_name(m->pooling),
                    m->dense.weight ? ", a projection" : "", (long long)m->embedding_size,
                    m->normalize ? " of length 1" : "", (long long)m->max_length, GF_VERSION);
    ok = ok && add_heads(m, out, e);
    if (ok && gf_place_find(path) == GF_PLACE_RUN) ok = add_run(path, out, e);
    return ok && gf_text_add(out, e, "%s", usage);
}
