#include "checkpoints/sentence.h"

#include "checkpoints/weights.h"
#include "core/json.h"
#include "core/mem.h"

#include <string.h>

enum { MAX_JSON = 1 << 24 };

/* FOLDER/NAME as JSON; *present tells whether it exists. NULL and true: it does not. */
static bool read_optional(const char *folder, const char *name, cJSON **j, char **path, gf_err *e) {
    *j = NULL;
    if (!(*path = gf_io_join(folder, name, e))) return false;
    return !gf_io_exists(*path) || (*j = gf_json_read(*path, MAX_JSON, e));
}

/* The kind of module is the last part of its Python path, whatever the version. */
static const char *kind_of(const cJSON *module) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(module, "type");
    const char *dot;
    if (!cJSON_IsString(type)) return "";
    dot = strrchr(type->valuestring, '.');
    return dot ? dot + 1 : type->valuestring;
}

/* The module's folder; free with gf_free(). */
static char *path_of(const cJSON *module, const char *folder, const char *where, gf_err *e) {
    const cJSON *path = cJSON_GetObjectItemCaseSensitive(module, "path");
    const char *text = cJSON_IsString(path) ? path->valuestring : "";
    if (text[0] == '/' || strstr(text, "..")) {
        gf_fail(e, GF_E_MODEL, "%s: the module path \"%s\" leads out of the folder", where, text);
        return NULL;
    }
    return text[0] ? gf_io_join(folder, text, e) : gf_strdup(folder, e);
}

/* The modes graft computes first, in the order of gf_pooling; then those it refuses by name. */
static const struct {
    const char *key, *name;
} modes[] = {
    {"pooling_mode_mean_tokens", "mean"},
    {"pooling_mode_cls_token", "cls"},
    {"pooling_mode_max_tokens", "max"},
    {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"},
    {"pooling_mode_weightedmean_tokens", "weightedmean"},
    {"pooling_mode_lasttoken", "lasttoken"},
};
enum { N_MODES = sizeof modes / sizeof *modes };

/* Records one mode; a second one would be concatenated, which graft does not do. */
static bool add_mode(gf_sentence *s, int *n, const char *name, const char *where, gf_err *e) {
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, modes[i].name) != 0) continue;
        s->pooling = (gf_pooling)i;
        if (++*n < 2) return true;
        return gf_fail(e, GF_E_MODEL, "%s: it asks for several pooling modes; graft computes one",
                       where);
    }
    return gf_fail(e, GF_E_MODEL,
                   "%s: the pooling mode \"%s\" is not supported; mean, cls and max are", where,
                   name);
}

static bool read_modes(gf_sentence *s, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *mode = cJSON_GetObjectItemCaseSensitive(j, "pooling_mode"), *item;
    int n = 0;
    s->pooling = GF_POOL_MEAN;
    if (cJSON_IsString(mode)) return add_mode(s, &n, mode->valuestring, where, e);
    if (cJSON_IsArray(mode)) {
        cJSON_ArrayForEach(item, mode) {
            const char *name = cJSON_IsString(item) ? item->valuestring : gf_json_kind(item);
            if (!add_mode(s, &n, name, where, e)) return false;
        }
        return true;
    }
    for (int i = 0; i < N_MODES; i++)
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(j, modes[i].key)) &&
            !add_mode(s, &n, modes[i].name, where, e))
            return false;
    return true;
}

static bool read_pooling(gf_sentence *s, const char *folder, gf_err *e) {
    char *path = gf_io_join(folder, "config.json", e);
    cJSON *j = path ? gf_json_read(path, MAX_JSON, e) : NULL;
    bool ok = j && read_modes(s, j, path, e);
    cJSON_Delete(j);
    gf_free(path);
    return ok;
}

static bool read_features(const cJSON *j, const char *key, int64_t *out, const char *where,
                          gf_err *e) {
    const cJSON *n = cJSON_GetObjectItemCaseSensitive(j, key);
    bool fits = cJSON_IsNumber(n) && n->valuedouble >= 1 && n->valuedouble <= 1 << 16;
    *out = fits ? (int64_t)n->valuedouble : 0;
    if (fits && (double)*out == n->valuedouble) return true;
    return gf_fail(e, GF_E_MODEL, "%s: \"%s\" must be a whole number from 1 to 65536", where, key);
}

/* The activation is named by its Python path; without one it is tanh, as sentence-transformers has
 * it. */
static bool read_activation(gf_sentence_dense *d, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, "activation_function");
    const char *path = !item                  ? "torch.nn.modules.activation.Tanh"
                       : cJSON_IsString(item) ? item->valuestring
                                              : gf_json_kind(item);
    const char *dot = strrchr(path, '.'), *kind = dot ? dot + 1 : "";
    d->activation = strcmp(kind, "Tanh") == 0 ? GF_DENSE_TANH : GF_DENSE_IDENTITY;
    if (strncmp(path, "torch.nn.", 9) == 0 &&
        (d->activation == GF_DENSE_TANH || strcmp(kind, "Identity") == 0))
        return true;
    return gf_fail(e, GF_E_MODEL,
                   "%s: \"activation_function\" is \"%s\"; a Dense module with Tanh or Identity of "
                   "torch.nn is supported",
                   where, path);
}

/* Dense reads the sentence's embedding and replaces it, and nothing is added to it. */
static bool check_dense(const cJSON *j, const char *where, gf_err *e) {
    static const char *const keys[] = {"module_input_name", "module_output_name"};
    for (int i = 0; i < 2; i++) {
        const cJSON *name = cJSON_GetObjectItemCaseSensitive(j, keys[i]);
        if (cJSON_IsString(name) && strcmp(name->valuestring, "sentence_embedding") != 0)
            return gf_fail(e, GF_E_MODEL,
                           "%s: \"%s\" is \"%s\"; a Dense module over \"sentence_embedding\" is "
                           "supported",
                           where, keys[i], name->valuestring);
    }
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(j, "use_residual"))) return true;
    return gf_fail(e, GF_E_MODEL, "%s: use_residual is true; a Dense module without is supported",
                   where);
}

static bool read_dense(gf_sentence_dense *d, const char *folder, gf_err *e) {
    char *path = gf_io_join(folder, "config.json", e);
    cJSON *j = path ? gf_json_read(path, MAX_JSON, e) : NULL;
    bool ok = j && read_features(j, "in_features", &d->in, path, e) &&
              read_features(j, "out_features", &d->out, path, e) &&
              read_activation(d, j, path, e) && check_dense(j, path, e) &&
              (d->folder = gf_strdup(folder, e));
    d->bias = !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(j, "bias"));
    cJSON_Delete(j);
    gf_free(path);
    return ok;
}

static bool is_named(const cJSON *module, const char *wanted) {
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(module, "name");
    return cJSON_IsString(name) && strcmp(name->valuestring, wanted) == 0;
}

/* The modules in their order; the last two may be left out. */
enum { TRANSFORMER, POOLING, DENSE, NORMALIZE, N_KINDS };
static const char *const chain[] = {"Transformer", "Pooling", "Dense", "Normalize"};

/* The module's place in the chain, which comes behind `last`; N_KINDS where it does not fit. */
static int place_in_chain(const cJSON *module, int last) {
    const char *kind = kind_of(module);
    int place = last + 1;
    while (place < N_KINDS && strcmp(kind, chain[place]) != 0) place++;
    return place > POOLING && last < POOLING ? N_KINDS : last < 0 && place ? N_KINDS : place;
}

/* Module `index`; *last is the place of the one before, then its own. */
static bool read_module(gf_sentence *s, const cJSON *module, int index, int *last,
                        const char *folder, const char *where, gf_err *e) {
    char *path = NULL;
    bool ok = true;
    *last = place_in_chain(module, *last);
    if (*last == N_KINDS)
        return gf_fail(e, GF_E_MODEL,
                       "%s: module %d is \"%s\"; graft reads Transformer, Pooling and, if wanted, "
                       "Dense and Normalize, in this order",
                       where, index, kind_of(module));
    if (!(path = path_of(module, folder, where, e))) return false;
    if (*last == TRANSFORMER) {
        s->transformer = path;
        return true; /* s owns the path now */
    }
    if (*last == POOLING) ok = read_pooling(s, path, e);
    if (*last == DENSE) ok = read_dense(&s->dense, path, e);
    s->dense.named_pooler |= *last == DENSE && is_named(module, "pooler");
    s->normalize = *last == NORMALIZE;
    gf_free(path);
    return ok;
}

static bool read_modules(gf_sentence *s, const cJSON *modules, const char *folder,
                         const char *where, gf_err *e) {
    const cJSON *module;
    int index = 0, last = -1;
    if (!cJSON_IsArray(modules))
        return gf_fail(e, GF_E_MODEL, "%s: it holds %s; a list of modules is wanted", where,
                       gf_json_kind(modules));
    cJSON_ArrayForEach(module, modules) {
        if (!read_module(s, module, index++, &last, folder, where, e)) return false;
    }
    if (last >= POOLING) return true;
    return gf_fail(e, GF_E_MODEL, "%s: it has no %s module", where, chain[last + 1]);
}

/* sentence_bert_config.json, or as other families spell it, e.g. sentence_roberta_config.json. */
static bool is_length_config(const char *name) {
    static const char begin[] = "sentence_", end[] = "_config.json";
    size_t n = strlen(name), b = strlen(begin), k = strlen(end);
    return n >= b + k && strncmp(name, begin, b) == 0 && strcmp(name + n - k, end) == 0;
}

static bool read_length(gf_sentence *s, const cJSON *j, const char *where, const gf_log *log,
                        gf_err *e) {
    const cJSON *length = cJSON_GetObjectItemCaseSensitive(j, "max_seq_length");
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(j, "do_lower_case")))
        gf_log_say(log, GF_LOG_NOTE, "%s: do_lower_case is left to the tokenizer's own setting",
                   where);
    if (!length || cJSON_IsNull(length)) return true;
    if (!cJSON_IsNumber(length) || !(length->valuedouble >= 3 && length->valuedouble <= 1 << 24))
        return gf_fail(e, GF_E_MODEL, "%s: \"max_seq_length\" must be a number from 3 up", where);
    s->max_length = (int64_t)length->valuedouble;
    return true;
}

static bool find_length(gf_sentence *s, const gf_log *log, gf_err *e) {
    int64_t n = 0;
    char **names = gf_io_list(s->transformer, &n, e), *path = NULL;
    cJSON *j = NULL;
    bool ok = names != NULL;
    for (int64_t i = 0; ok && i < n; i++) {
        if (!is_length_config(names[i])) continue;
        ok = read_optional(s->transformer, names[i], &j, &path, e) &&
             (!j || read_length(s, j, path, log, e));
        break;
    }
    cJSON_Delete(j);
    gf_free(path);
    gf_io_free_names(names, n);
    return ok;
}

/* A default prompt would be put before every text; graft does not, and says so. */
static bool mind_prompt(const char *folder, const gf_log *log, gf_err *e) {
    char *path = NULL;
    cJSON *j = NULL;
    bool ok = read_optional(folder, "config_sentence_transformers.json", &j, &path, e);
    const cJSON *prompt = cJSON_GetObjectItemCaseSensitive(j, "default_prompt_name");
    if (ok && cJSON_IsString(prompt))
        gf_log_say(log, GF_LOG_WARNING,
                   "%s: the default prompt \"%s\" is not put before texts; do so yourself", path,
                   prompt->valuestring);
    cJSON_Delete(j);
    gf_free(path);
    return ok;
}

bool gf_sentence_read(gf_sentence *s, const char *folder, const gf_log *log, gf_err *e) {
    char *path = NULL;
    cJSON *modules = NULL;
    bool ok = read_optional(folder, "modules.json", &modules, &path, e);
    s->pooling = GF_POOL_MEAN;
    s->normalize = true;
    s->present = modules != NULL;
    if (ok && !modules) ok = (s->transformer = gf_strdup(folder, e)) != NULL;
    if (ok && modules)
        ok = read_modules(s, modules, folder, path, e) && find_length(s, log, e) &&
             mind_prompt(folder, log, e);
    cJSON_Delete(modules);
    gf_free(path);
    return ok;
}

void gf_sentence_free(gf_sentence *s) {
    gf_free(s->transformer);
    gf_free(s->dense.folder);
    *s = (gf_sentence){0};
}

/* A Dense that graft wrote for the pooler, and that nobody has changed the shape of since. */
static bool is_pooler(const gf_sentence *s, const gf_model *m) {
    const gf_sentence_dense *d = &s->dense;
    return d->named_pooler && s->pooling == GF_POOL_CLS && d->bias &&
           d->activation == GF_DENSE_TANH && d->out == m->config.hidden_size;
}

bool gf_sentence_apply(const gf_sentence *s, gf_model *m, gf_err *e) {
    const gf_sentence_dense *d = &s->dense;
    m->normalize = s->normalize;
    if (d->folder && d->in != m->config.hidden_size)
        return gf_fail(
            e, GF_E_MODEL,
            "%s/config.json: \"in_features\" is %lld, the transformer's hidden_size %lld; "
            "they do not belong together",
            d->folder, (long long)d->in, (long long)m->config.hidden_size);
    if (!gf_model_set_pooling(m, is_pooler(s, m) ? GF_POOL_POOLER : s->pooling, e)) return false;
    return !d->folder || m->dense.weight ||
           gf_model_add_dense(m, "dense", d->out, d->bias, d->activation, e);
}

bool gf_sentence_read_dense(const gf_sentence *s, gf_model *m, gf_err *e) {
    const char *folder = s->dense.folder;
    char *safe, *torch = NULL;
    bool ok;
    if (!folder) return true;
    safe = gf_io_join(folder, "model.safetensors", e);
    torch = safe ? gf_io_join(folder, "pytorch_model.bin", e) : NULL;
    ok = torch &&
         gf_weights_read_linear(m, &m->dense, "linear",
                                gf_io_exists(safe) || !gf_io_exists(torch) ? safe : torch, e);
    gf_free(safe);
    gf_free(torch);
    return ok;
}

/* Prints j as FOLDER/NAME and deletes it; NULL is a failure that was reported already. */
static bool write_json(cJSON *j, bool complete, const char *folder, const char *name, gf_err *e) {
    char *path = complete ? gf_io_join(folder, name, e) : NULL;
    char *text = path ? gf_json_print(j, e) : NULL;
    bool ok = text && gf_io_replace_file(path, text, strlen(text), e);
    cJSON_Delete(j);
    gf_free(text);
    gf_free(path);
    return ok;
}

static bool add_module(cJSON *modules, int index, const char *name, const char *path,
                       const char *type, gf_err *e) {
    cJSON *j = gf_json_object(modules, NULL, e);
    return j && gf_json_number(j, "idx", index, e) && gf_json_string(j, "name", name, e) &&
           gf_json_string(j, "path", path, e) && gf_json_string(j, "type", type, e);
}

static const char *normalize_folder(const gf_model *m) {
    return m->dense.weight ? "3_Normalize" : "2_Normalize";
}

static bool write_modules(const gf_model *m, const char *folder, gf_err *e) {
    static const char normalize[] = "sentence_transformers.models.Normalize";
    cJSON *j = gf_json_array(NULL, NULL, e);
    bool ok = j && add_module(j, 0, "0", "", "sentence_transformers.models.Transformer", e) &&
              add_module(j, 1, "1", "1_Pooling", "sentence_transformers.models.Pooling", e);
    if (ok && m->dense.weight)
        ok = add_module(j, 2, m->pooling == GF_POOL_POOLER ? "pooler" : "2", "2_Dense",
                        "sentence_transformers.models.Dense", e);
    if (ok && m->normalize)
        ok = m->dense.weight ? add_module(j, 3, "3", normalize_folder(m), normalize, e)
                             : add_module(j, 2, "2", normalize_folder(m), normalize, e);
    return write_json(j, ok, folder, "modules.json", e);
}

static bool write_pooling(const gf_model *m, const char *folder, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    int mode = m->pooling == GF_POOL_POOLER ? GF_POOL_CLS : (int)m->pooling;
    bool ok = j && gf_json_number(j, "word_embedding_dimension", (double)m->config.hidden_size, e);
    for (int i = 0; ok && i < N_MODES; i++) ok = gf_json_bool(j, modes[i].key, i == mode, e);
    ok = ok && gf_json_bool(j, "include_prompt", true, e);
    return write_json(j, ok, folder, "config.json", e);
}

static bool write_dense_config(const gf_model *m, const char *folder, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    bool ok =
        j && gf_json_number(j, "in_features", (double)m->config.hidden_size, e) &&
        gf_json_number(j, "out_features", (double)m->embedding_size, e) &&
        gf_json_bool(j, "bias", m->dense.bias != NULL, e) &&
        gf_json_string(j, "activation_function",
                       m->dense_activation == GF_DENSE_TANH ? "torch.nn.modules.activation.Tanh"
                                                            : "torch.nn.modules.linear.Identity",
                       e);
    return write_json(j, ok, folder, "config.json", e);
}

static bool write_dense(const gf_model *m, const char *folder, gf_err *e) {
    char *dense = gf_io_join(folder, "2_Dense", e);
    char *weights = dense ? gf_io_join(dense, "model.safetensors", e) : NULL;
    bool ok = weights && gf_io_make_folder(dense, e) && write_dense_config(m, dense, e) &&
              gf_weights_write_linear(&m->dense, "linear", weights, e);
    gf_free(weights);
    gf_free(dense);
    return ok;
}

static bool write_length(const gf_model *m, const char *folder, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    bool ok = j && gf_json_number(j, "max_seq_length", (double)m->max_length, e) &&
              gf_json_bool(j, "do_lower_case", false, e);
    return write_json(j, ok, folder, "sentence_bert_config.json", e);
}

/* __version__ is the oldest that knows this layout: a reader warns of versions above its own. */
static bool write_versions(const char *folder, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    cJSON *v = j ? gf_json_object(j, "__version__", e) : NULL;
    bool ok = v && gf_json_string(v, "sentence_transformers", "2.0.0", e) &&
              gf_json_string(v, "transformers", "4.6.1", e) &&
              gf_json_string(v, "pytorch", "1.8.1", e) && gf_json_object(j, "prompts", e) &&
              gf_json_null(j, "default_prompt_name", e) &&
              gf_json_string(j, "similarity_fn_name", "cosine", e);
    return write_json(j, ok, folder, "config_sentence_transformers.json", e);
}

bool gf_sentence_write(const gf_model *m, const char *folder, gf_err *e) {
    char *pooling = gf_io_join(folder, "1_Pooling", e);
    char *normalize = pooling ? gf_io_join(folder, normalize_folder(m), e) : NULL;
    bool ok = normalize && gf_io_make_folder(pooling, e) && write_pooling(m, pooling, e) &&
              (!m->dense.weight || write_dense(m, folder, e)) &&
              (!m->normalize ||
               (gf_io_make_folder(normalize, e) &&
                write_json(gf_json_object(NULL, NULL, e), true, normalize, "config.json", e))) &&
              write_modules(m, folder, e) && write_length(m, folder, e) &&
              write_versions(folder, e);
    gf_free(normalize);
    gf_free(pooling);
    return ok;
}
