#include "recipes/card.h"

#include "checkpoints/open.h"
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/version.h"
#include "recipes/folder.h"

#include <string.h>

enum { MAX_JSON = 1 << 26 };

/* A JSON file of a run folder; *j stays NULL where there is none. */
static bool read_part(const char *run, const char *name, cJSON **j, gf_err *e) {
    char *path = gf_io_join(run, name, e);
    bool ok = path && (!gf_io_exists(path) || (*j = gf_json_read(path, MAX_JSON, e)));
    gf_free(path);
    return ok;
}

static bool add_head(const gf_head *h, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e, "| %s | %lld | ", h->name, (long long)h->n_classes);
    for (int64_t i = 0; ok && i < h->n_classes; i++) {
        ok = gf_text_add(out, e, "%s", i ? ", " : "");
        for (const char *p = h->classes[i]; ok && *p; p++) /* a table's cell: | and line ends */
            ok = *p == '|'    ? gf_text_add(out, e, "\\|")
                 : *p == '\n' ? gf_text_add(out, e, " ")
                              : gf_text_add_bytes(out, p, 1, e);
    }
    return ok && gf_text_add(out, e, " |\n");
}

static bool add_heads(const gf_model *m, gf_text *out, gf_err *e) {
    bool ok = m->n_heads == 0 ||
              gf_text_add(out, e,
                          "\n## Tasks\n\n"
                          "The heads are linear layers over the sentence embedding, in "
                          "`heads.safetensors`; `heads.json` names their classes.\n\n"
                          "| task | classes | labels |\n| --- | --- | --- |\n");
    for (int64_t i = 0; ok && i < m->n_heads; i++) ok = add_head(&m->heads[i], out, e);
    return ok;
}

/* The rows of one split of metrics.json. */
static bool add_split(const cJSON *metrics, const char *split, gf_text *out, gf_err *e) {
    const cJSON *task;
    bool ok = true;
    cJSON_ArrayForEach(task, cJSON_GetObjectItemCaseSensitive(metrics, split)) {
        const cJSON *loss = cJSON_GetObjectItemCaseSensitive(task, "loss");
        const cJSON *accuracy = cJSON_GetObjectItemCaseSensitive(task, "accuracy");
        const cJSON *f1 = cJSON_GetObjectItemCaseSensitive(task, "macro_f1");
        const cJSON *support = cJSON_GetObjectItemCaseSensitive(task, "support");
        if (!ok || !cJSON_IsNumber(accuracy) || !cJSON_IsNumber(f1)) continue;
        ok = gf_text_add(out, e, "| %s | %s | %.0f | %.4f | %.4f | %.4f |\n", task->string, split,
                         support ? support->valuedouble : 0, loss ? loss->valuedouble : 0,
                         accuracy->valuedouble, f1->valuedouble);
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
                         "| task | split | rows | loss | accuracy | macro-F1 |\n"
                         "| --- | --- | --- | --- | --- | --- |\n") &&
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
