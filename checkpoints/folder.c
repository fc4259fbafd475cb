#include "checkpoints/folder.h"

#include "checkpoints/classifier.h"
#include "checkpoints/heads.h"
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

static bool read_config(gf_model *m, const char *folder, gf_err *e) {
    char *path = gf_io_join(folder, "config.json", e);
    cJSON *j = path ? gf_json_read(path, MAX_JSON, e) : NULL;
    gf_bert_config config;
    bool ok = j && gf_bert_config_read(&config, j, path, e) && gf_model_make(m, &config, e);
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

bool gf_folder_open(gf_model *m, const char *path, gf_open_what what, const gf_log *log,
                    gf_err *e) {
    gf_sentence s = {0};
    gf_classifier c = {0};
    char *weights = NULL;
    bool ok = gf_sentence_read(&s, path, log, e) && read_config(m, s.transformer, e) &&
              read_tokenizer(m, s.transformer, e);
    if (ok) set_max_length(m, &s, log);
    if (ok && what == GF_OPEN_WEIGHTS) ok = (weights = find_weights(s.transformer, e)) != NULL;
    ok = ok && (s.present || gf_classifier_find(&c, path, weights, e)) &&
         gf_sentence_apply(&s, m, e) && gf_classifier_apply(&c, m, e) &&
         (!weights || read_values(m, path, &s, &c, weights, log, e));
    gf_free(weights);
    gf_classifier_free(&c);
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

static bool write_config(const gf_model *m, const char *folder, gf_err *e) {
    char *path = gf_io_join(folder, "config.json", e), *text = NULL;
    cJSON *j = path ? gf_bert_config_to_json(&m->config, e) : NULL;
    bool ok = j && (text = gf_json_print(j, e)) && gf_io_replace_file(path, text, strlen(text), e);
    cJSON_Delete(j);
    gf_free(text);
    gf_free(path);
    return ok;
}

static bool write_all(const gf_model *m, const char *folder, gf_err *e) {
    char *weights = gf_io_join(folder, "model.safetensors", e);
    bool ok = weights && gf_io_make_folder(folder, e) && write_config(m, folder, e) &&
              gf_tokenizer_save(m->tokenizer, folder, m->max_length, e) &&
              gf_weights_write(m, false, weights, e) && gf_sentence_write(m, folder, e) &&
              gf_heads_write(m, folder, e);
    gf_free(weights);
    return ok;
}

/* Only a model or an empty folder may be replaced: a wrong path must not cost a home folder. */
static bool may_replace(const char *path, gf_err *e) {
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
    size_t length = strlen(path);
    char *whole, *tmp = NULL;
    bool ok = false;
    while (length > 1 && path[length - 1] == '/') length--;
    if ((whole = gf_strndup(path, length, e)) && (tmp = gf_format(e, "%s.tmp", whole)))
        ok = may_replace(whole, e) && gf_io_remove_tree(tmp, e) && write_all(m, tmp, e) &&
             gf_io_exchange(tmp, whole, e) && gf_io_remove_tree(tmp, e); /* now the old one */
    if (!ok && tmp) gf_io_remove_tree(tmp, NULL);
    gf_free(tmp);
    gf_free(whole);
    return ok;
}
