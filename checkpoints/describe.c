#include "checkpoints/describe.h"

#include "checkpoints/folder.h"
#include "checkpoints/h5.h"
#include "checkpoints/open.h"
#include "checkpoints/store.h"
#include "checkpoints/tensors.h"
#include "checkpoints/weights.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAX_JSON = 1 << 26, COLUMNS = 96, LABEL = 14 };

/* One "label         text" line; the label's column is LABEL wide. */
#define LINE(out, e, label, ...)                                                                   \
    (gf_text_add(out, e, "%-*s", LABEL, label) && gf_text_add(out, e, __VA_ARGS__) &&              \
     gf_text_add(out, e, "\n"))

/* Long values, such as a whole tokenizer, are told by their size. */
static bool describe_metadata(const gf_tensors *t, gf_text *out, gf_err *e) {
    const cJSON *item;
    bool ok = true;
    cJSON_ArrayForEach(item, t->metadata) {
        const char *value = cJSON_IsString(item) ? item->valuestring : "?";
        if (!ok) break;
        ok = strlen(value) > COLUMNS
                 ? LINE(out, e, "metadata", "%s = %zu bytes", item->string, strlen(value))
                 : LINE(out, e, "metadata", "%s = %s", item->string, value);
    }
    return ok;
}

static bool describe_tensors(const char *path, gf_text *out, gf_err *e) {
    static const char row[] = "%-58s %-6s %-16s %12s\n";
    gf_tensors s = {0};
    int64_t elements = 0;
    size_t bytes = 0;
    bool ok = gf_tensors_open(&s, path, e);
    for (int64_t i = 0; ok && i < s.count; i++) {
        elements += s.items[i].count;
        bytes += s.items[i].bytes;
    }
    ok = ok && LINE(out, e, "kind", "%s file", s.format) &&
         LINE(out, e, "tensors", "%lld, %lld elements, %zu bytes", (long long)s.count,
              (long long)elements, bytes) &&
         describe_metadata(&s, out, e) &&
         gf_text_add(out, e, row, "\ntensor", " dtype", " shape", "bytes");
    for (int64_t i = 0; ok && i < s.count; i++) {
        const gf_tensor *t = &s.items[i];
        char shape[64], size[32];
        snprintf(size, sizeof size, "%zu", t->bytes);
        ok = gf_text_add(out, e, row, t->name, t->dtype_name,
                         gf_tensor_shape_text(t, shape, sizeof shape), size);
    }
    gf_tensors_close(&s);
    return ok;
}

/* The classes, with their thresholds where there are any, below a head's line, broken before
 * COLUMNS. */
static bool describe_classes(const gf_head *h, gf_text *out, gf_err *e) {
    size_t column = COLUMNS;
    for (int64_t i = 0; i < h->n_classes; i++) {
        char from[24] = "";
        size_t width;
        bool breaks;
        if (h->thresholds) snprintf(from, sizeof from, " >= %.4g", (double)h->thresholds[i]);
        width = strlen(h->classes[i]) + strlen(from) + 2;
        breaks = column + width > COLUMNS;
        if (i && !gf_text_add(out, e, breaks ? ",\n" : ", ")) return false;
        if (!gf_text_add(out, e, "%*s%s%s", breaks ? LABEL + 2 : 0, "", h->classes[i], from))
            return false;
        column = (breaks ? LABEL + 2 : column) + width;
    }
    return gf_text_add(out, e, "\n");
}

/* A classification's type goes without saying. */
static bool describe_head(const gf_head *h, gf_text *out, gf_err *e) {
    const char *type = gf_task_type_names[h->type];
    if (h->type == GF_TASK_REGRESSION) return LINE(out, e, "head", "%s, %s", h->name, type);
    if (h->type == GF_TASK_CLASSIFICATION)
        return LINE(out, e, "head", "%s, %lld classes:", h->name, (long long)h->n_classes) &&
               describe_classes(h, out, e);
    return LINE(out, e, "head", "%s, %s, %lld classes:", h->name, type, (long long)h->n_classes) &&
           describe_classes(h, out, e);
}

static bool describe_model(const gf_model *m, gf_text *out, gf_err *e) {
    const gf_bert_config *c = &m->config;
    int64_t encoder = 0, heads = 0, mlm = 0;
    char projection[64] = "", masked[80] = "";
    bool ok;
    if (m->dense.weight && m->pooling != GF_POOL_POOLER)
        snprintf(projection, sizeof projection, "projected to %lld elements (%s), ",
                 (long long)m->embedding_size, gf_dense_activation_name(m->dense_activation));
    for (int64_t i = 0; i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        int64_t *sum = gf_weights_is_head(p) ? &heads : gf_model_is_mlm(m, p) ? &mlm : &encoder;
        *sum += gf_param_count(p);
    }
    if (mlm > 0)
        snprintf(masked, sizeof masked, ", %lld in the masked language model", (long long)mlm);
    ok = LINE(out, e, "encoder",
              "BERT, %lld layers, hidden %lld, %lld attention heads, feed-forward %lld, GELU %s",
              (long long)c->num_hidden_layers, (long long)c->hidden_size,
              (long long)c->num_attention_heads, (long long)c->intermediate_size,
              c->gelu_tanh ? "tanh" : "erf") &&
         LINE(out, e, "tokenizer", "WordPiece, %lld tokens of %lld",
              (long long)gf_tokenizer_size(m->tokenizer), (long long)c->vocab_size) &&
         LINE(out, e, "embedding", "%s pooling, %s%s", gf_pooling_name(m->pooling), projection,
              m->normalize ? "L2 norm" : "not normalised") &&
         LINE(out, e, "max length", "%lld tokens of %lld positions", (long long)m->max_length,
              (long long)c->max_position_embeddings) &&
         LINE(out, e, "parameters", "%lld in the encoder, %lld in heads%s", (long long)encoder,
              (long long)heads, masked);
    for (int64_t i = 0; ok && i < m->n_heads; i++) ok = describe_head(&m->heads[i], out, e);
    return ok;
}

static bool describe_folder(const char *path, gf_text *out, gf_err *e) {
    gf_model m = {0};
    bool sentence = gf_folder_holds(path, "modules.json");
    bool ok =
        gf_folder_open(&m, path, GF_OPEN_WEIGHTS, NULL, e) &&
        LINE(out, e, "kind", "%s folder", sentence ? "sentence-transformers" : "Hugging Face") &&
        describe_model(&m, out, e);
    gf_model_free(&m);
    return ok;
}

/* A number of a JSON text, if it is there. */
static bool describe_number(const char *json, const char *key, const char *where, gf_text *out,
                            gf_err *e) {
    cJSON *j = gf_json_parse(json, strlen(json), where, 1, GF_E_MODEL, e);
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(j, key);
    bool ok = j && (!cJSON_IsNumber(n) || LINE(out, e, key, "%.0f", n->valuedouble));
    cJSON_Delete(j);
    return ok;
}

static bool describe_params(const gf_model *m, gf_text *out, gf_err *e) {
    static const char row[] = "%-62s %-16s %s\n";
    bool ok = gf_text_add(out, e, row, "\nparameter", " shape", " updates");
    for (int64_t i = 0; ok && i < m->params.count; i++) {
        const gf_param *p = m->params.items[i];
        char shape[64], updates[32] = "-";
        if (p->moment1) snprintf(updates, sizeof updates, "%lld", (long long)p->updates);
        ok = gf_text_add(out, e, row, p->name, gf_shape_text(&p->shape, shape, sizeof shape),
                         updates);
    }
    return ok;
}

static bool describe_checkpoint(const char *path, gf_text *out, gf_err *e) {
    gf_model m = {0};
    char *state = NULL;
    bool ok = gf_store_read(&m, path, NULL, &state, e) &&
              LINE(out, e, "kind", "graft checkpoint, format %d", GF_STORE_FORMAT) &&
              (!state || describe_number(state, "step", path, out, e)) &&
              describe_model(&m, out, e) && describe_params(&m, out, e);
    gf_free(state);
    gf_model_free(&m);
    return ok;
}

static bool describe_hdf5(const char *path, gf_text *out, gf_err *e) {
    gf_h5 h = gf_h5_open(path, e);
    int64_t n = gf_h5_members(&h, "/");
    char kind[320];
    bool ok = h.ok && LINE(out, e, "kind", "HDF5 file, %lld objects", (long long)n);
    for (int64_t i = 0; ok && i < n; i++) {
        char *name = gf_h5_member(&h, "/", i);
        ok = name && gf_text_add(out, e, "  %-40s %s\n", name,
                                 gf_h5_kind(&h, "/", name, kind, sizeof kind));
        gf_free(name);
    }
    return gf_h5_close(&h) && ok;
}

static bool describe_phases(const char *path, gf_text *out, gf_err *e) {
    char *file = gf_io_join(path, "recipe.json", e);
    cJSON *j = file ? gf_json_read(file, MAX_JSON, e) : NULL;
    const cJSON *phase;
    bool ok = j != NULL;
    cJSON_ArrayForEach(phase, cJSON_GetObjectItemCaseSensitive(j, "phases")) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(phase, "name");
        ok = ok && LINE(out, e, "phase", "%s", cJSON_IsString(name) ? name->valuestring : "?");
    }
    cJSON_Delete(j);
    gf_free(file);
    return ok;
}

static bool describe_checkpoints(const char *path, gf_text *out, gf_err *e) {
    char *folder = gf_io_join(path, "checkpoints", e), **names = NULL;
    int64_t n = 0;
    bool ok = folder != NULL;
    if (ok && gf_io_is_folder(folder)) ok = (names = gf_io_list(folder, &n, e)) != NULL;
    for (int64_t i = 0; ok && i < n; i++) ok = LINE(out, e, "checkpoint", "%s", names[i]);
    gf_io_free_names(names, n);
    gf_free(folder);
    return ok;
}

static bool describe_best(const char *path, gf_text *out, gf_err *e) {
    char *file = gf_io_join(path, "metrics.json", e);
    cJSON *j = NULL;
    bool ok = file && (!gf_io_exists(file) || (j = gf_json_read(file, MAX_JSON, e)));
    const cJSON *best = cJSON_GetObjectItemCaseSensitive(j, "best");
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(best, "step");
    const cJSON *metric = cJSON_GetObjectItemCaseSensitive(best, "metric");
    if (ok && cJSON_IsNumber(step) && cJSON_IsNumber(metric))
        ok = LINE(out, e, "best", "%.6g at step %.0f", metric->valuedouble, step->valuedouble);
    cJSON_Delete(j);
    gf_free(file);
    return ok;
}

static bool describe_run(const char *path, gf_text *out, gf_err *e) {
    char *model = gf_io_join(path, "model", e);
    bool ok = model && LINE(out, e, "kind", "graft run folder") && describe_phases(path, out, e) &&
              describe_checkpoints(path, out, e) && describe_best(path, out, e);
    if (ok && gf_place_find(model) == GF_PLACE_MODEL)
        ok = gf_text_add(out, e, "\nmodel/\n") && describe_folder(model, out, e);
    gf_free(model);
    return ok;
}

static bool describe(const char *path, gf_text *out, gf_err *e) {
    switch (gf_place_find(path)) {
    case GF_PLACE_MODEL: return describe_folder(path, out, e);
    case GF_PLACE_RUN: return describe_run(path, out, e);
    case GF_PLACE_CHECKPOINT: return describe_checkpoint(path, out, e);
    case GF_PLACE_HDF5: return describe_hdf5(path, out, e);
    case GF_PLACE_TENSORS: return describe_tensors(path, out, e);
    case GF_PLACE_NONE: break;
    }
    if (!gf_io_exists(path))
        return gf_fail(e, GF_E_MODEL, "%s: there is no such file or folder; check the path", path);
    return gf_fail(e, GF_E_MODEL,
                   "%s: nothing known; wanted is a file of weights or HDF5, a folder with "
                   "config.json or modules.json, or a run folder with recipe.json",
                   path);
}

bool gf_describe(const char *path, gf_text *out, gf_err *e) {
    size_t begin = out->length;
    bool ok = describe(path, out, e);
    for (size_t i = begin; i < out->length; i++) { /* a name must not talk to the terminal */
        unsigned char c = (unsigned char)out->data[i];
        if ((c < 0x20 && c != '\n') || c == 0x7f) out->data[i] = '?';
    }
    return ok;
}
