#include "checkpoints/folder.h"

#include "checkpoints/classifier.h"
#include "checkpoints/heads.h"
#include "checkpoints/outline.h"
#include "checkpoints/sentence.h"
#include "checkpoints/weights.h"
#include "core/json.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAX_JSON = 1 << 24 };

bool gf_folder_holds(const char *folder, const char *name) {
    char path[4096]; /* the system's longest; no memory is needed to tell what is wrong */
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path && gf_io_exists(path);
}

/* *outline gets what graft wrote of pooling and length, NULL where it did not. */
static bool read_config(gf_model *m, const char *folder, cJSON **outline, gf_err *e) {
    char *path = gf_io_join(folder, "config.json", e);
    cJSON *j = path ? gf_json_read(path, MAX_JSON, e) : NULL;
    gf_bert_config config;
    bool ok = j && gf_bert_config_read(&config, j, path, e) && gf_model_make(m, &config, e);
    *outline = cJSON_DetachItemFromObjectCaseSensitive(j, "graft");
    cJSON_Delete(j);
    gf_free(path);
    return ok;
}

static bool read_tokenizer(gf_model *m, const char *folder, gf_err *e) {
    if (!(m->tokenizer = gf_tokenizer_open(folder, e))) return false;
    int64_t size = gf_tokenizer_size(m->tokenizer);
    if (size <= m->config.vocab_size) return true;
    return gf_fail(e, GF_E_MODEL,
                   "%s: the tokenizer has %lld tokens, config.json's vocab_size is %lld; they do "
                   "not belong together",
                   folder, (long long)size, (long long)m->config.vocab_size);
}

/* What sentence-transformers says, else what the tokenizer says; never more than the positions. */
static void set_max_length(gf_model *m, const gf_sentence *s, const gf_log *log) {
    int64_t positions = m->config.max_position_embeddings;
    int64_t wanted = s->max_length ? s->max_length : gf_tokenizer_max_length(m->tokenizer);
    if (s->max_length > positions)
        gf_log_say(log, GF_LOG_WARNING,
                   "%s: max_seq_length %lld is more than the model's %lld positions, which count",
                   s->transformer, (long long)s->max_length, (long long)positions);
    m->max_length = wanted > 0 && wanted < positions ? wanted : positions;
}

/* The weight files a folder may hold, the best first. */
static const char *const weight_files[] = {"model.safetensors", "model.safetensors.index.json",
                                           "pytorch_model.bin", "pytorch_model.bin.index.json",
                                           "model.onnx"};

/* The folder's weight file; free with gf_free(). */
static char *find_weights(const char *folder, gf_err *e) {
    size_t i = 0, n = sizeof weight_files / sizeof *weight_files;
    while (i < n && !gf_folder_holds(folder, weight_files[i])) i++;
    if (i < n) return gf_io_join(folder, weight_files[i], e);
    gf_fail(e, GF_E_MODEL,
            "%s: it holds no weights; model.safetensors or pytorch_model.bin is wanted", folder);
    return NULL;
}

/* All values: those of the encoder, of what sentence-transformers or a classifier put on it, of
 * graft's heads. */
static bool read_values(gf_model *m, const char *path, const gf_sentence *s, const gf_classifier *c,
                        const char *weights, const gf_log *log, gf_err *e) {
    return gf_weights_read_encoder(m, weights, log, e) && gf_sentence_read_dense(s, m, e) &&
           gf_classifier_read(c, m, weights, e) && gf_heads_read(m, path, log, e);
}

/* A plain folder that graft wrote: the outline says how tokens are pooled. */
static bool open_plain(gf_model *m, const char *path, const cJSON *outline, const char *weights,
                       const gf_log *log, gf_err *e) {
    return gf_outline_apply(m, outline, path, e) &&
           (!weights || (gf_weights_read_encoder(m, weights, log, e) &&
                         (!m->dense.weight ||
                          gf_weights_read_linear(m, &m->dense, "pooler.dense", weights, e)) &&
                         gf_heads_read(m, path, log, e)));
}

/* A folder of sentence-transformers, of a classifier, or of an encoder alone. */
static bool open_usual(gf_model *m, const char *path, const gf_sentence *s, const char *weights,
                       const gf_log *log, gf_err *e) {
    gf_classifier c = {0};
    bool ok = (s->present || gf_classifier_find(&c, path, weights, e)) &&
              gf_sentence_apply(s, m, e) && gf_classifier_apply(&c, m, e) &&
              (!weights || read_values(m, path, s, &c, weights, log, e));
    gf_classifier_free(&c);
    return ok;
}

bool gf_folder_open(gf_model *m, const char *path, gf_open_what what, const gf_log *log,
                    gf_err *e) {
    gf_sentence s = {0};
    cJSON *outline = NULL;
    char *weights = NULL;
    bool ok = gf_sentence_read(&s, path, log, e) && read_config(m, s.transformer, &outline, e) &&
              read_tokenizer(m, s.transformer, e);
    if (ok) set_max_length(m, &s, log);
    if (ok && what == GF_OPEN_WEIGHTS) ok = (weights = find_weights(s.transformer, e)) != NULL;
    if (ok && outline && !s.present)
        ok = open_plain(m, path, outline, weights, log, e);
    else
        ok = ok && open_usual(m, path, &s, weights, log, e);
    gf_free(weights);
    cJSON_Delete(outline);
    gf_sentence_free(&s);
    return ok;
}

bool gf_folder_read_pooler(gf_model *m, const char *path, gf_err *e) {
    gf_sentence s = {0};
    char *weights = NULL;
    bool ok = gf_sentence_read(&s, path, NULL, e) && (weights = find_weights(s.transformer, e)) &&
              gf_weights_read_linear(m, &m->dense, "pooler.dense", weights, e);
    gf_free(weights);
    gf_sentence_free(&s);
    return ok;
}

bool gf_folder_read_mlm(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    gf_sentence s = {0};
    char *weights = NULL;
    bool ok = gf_sentence_read(&s, path, NULL, e) && (weights = find_weights(s.transformer, e)) &&
              gf_weights_read_mlm(m, weights, log, e);
    gf_free(weights);
    gf_sentence_free(&s);
    return ok;
}

/* A plain folder has no other place for pooling and length; transformers passes the key over. */
static bool add_outline(const gf_model *m, cJSON *config, gf_err *e) {
    cJSON *outline = gf_outline_to_json(m, e);
    if (outline && cJSON_AddItemToObject(config, "graft", outline)) return true;
    cJSON_Delete(outline);
    return gf_fail(e, GF_E_NOMEM, "out of memory while writing config.json");
}

static bool write_config(const gf_model *m, const char *folder, bool plain, gf_err *e) {
    char *path = gf_io_join(folder, "config.json", e), *text = NULL;
    cJSON *j = path ? gf_bert_config_to_json(&m->config, e) : NULL;
    bool ok = j && (!plain || add_outline(m, j, e)) && (text = gf_json_print(j, e)) &&
              gf_io_replace_file(path, text, strlen(text), e);
    cJSON_Delete(j);
    gf_free(text);
    gf_free(path);
    return ok;
}

static bool write_readme(const char *folder, const char *text, gf_err *e) {
    char *path = text ? gf_io_join(folder, "README.md", e) : NULL;
    bool ok = !text || (path && gf_io_replace_file(path, text, strlen(text), e));
    gf_free(path);
    return ok;
}

bool gf_folder_write(const gf_model *m, const char *folder, const gf_folder_style *style,
                     gf_err *e) {
    gf_dtype dtype = style->dtype ? style->dtype : GF_DTYPE_F32;
    char *weights = gf_io_join(folder, "model.safetensors", e);
    bool ok = weights && write_config(m, folder, style->plain, e) &&
              gf_tokenizer_save(m->tokenizer, folder, m->max_length, e) &&
              (style->no_weights || gf_weights_write(m, false, dtype, weights, e)) &&
              (style->plain || gf_sentence_write(m, folder, e)) && gf_heads_write(m, folder, e) &&
              write_readme(folder, style->readme, e);
    gf_free(weights);
    return ok;
}

/* Only a model or an empty folder may be replaced: a wrong path must not cost a home folder. */
bool gf_folder_may_replace(const char *path, gf_err *e) {
    int64_t n = 0;
    char **names;
    if (!gf_io_exists(path) || gf_folder_holds(path, "config.json")) return true;
    if (!gf_io_is_folder(path))
        return gf_fail(e, GF_E_IO, "%s: it exists and is not a folder; choose another name", path);
    if (!(names = gf_io_list(path, &n, e))) return false;
    gf_io_free_names(names, n);
    if (n == 0) return true;
    return gf_fail(e, GF_E_IO, "%s: it holds something else than a model; choose another name",
                   path);
}

bool gf_folder_save(const gf_model *m, const char *path, gf_err *e) {
    return gf_folder_save_as(m, path, &(gf_folder_style){0}, e);
}

bool gf_folder_save_as(const gf_model *m, const char *path, const gf_folder_style *style,
                       gf_err *e) {
    size_t length = strlen(path);
    char *whole, *tmp = NULL;
    bool ok = false;
    while (length > 1 && path[length - 1] == '/') length--;
    if ((whole = gf_strndup(path, length, e)) && (tmp = gf_format(e, "%s.tmp", whole)))
        ok = gf_folder_may_replace(whole, e) && gf_io_remove_tree(tmp, e) &&
             gf_io_make_folder(tmp, e) && gf_folder_write(m, tmp, style, e) &&
             gf_io_exchange(tmp, whole, e) && gf_io_remove_tree(tmp, e); /* now the old one */
    if (!ok && tmp) gf_io_remove_tree(tmp, NULL);
    gf_free(tmp);
    gf_free(whole);
    return ok;
}
