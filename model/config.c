#include "model/config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* The whole numbers of config.json with their defaults and largest sane values. */
static const struct {
    const char *key;
    size_t offset;
    double fallback, least, most;
} integers[] = {
#define INTEGER(key, fallback, least, most)                                                        \
    { #key, offsetof(gf_bert_config, key), fallback, least, most }
    INTEGER(vocab_size, 30522, 1, 1 << 24),       INTEGER(hidden_size, 768, 1, 1 << 16),
    INTEGER(num_hidden_layers, 12, 0, 1 << 10),   INTEGER(num_attention_heads, 12, 1, 1 << 10),
    INTEGER(intermediate_size, 3072, 1, 1 << 18), INTEGER(max_position_embeddings, 512, 3, 1 << 20),
    INTEGER(type_vocab_size, 2, 1, 1 << 10),      INTEGER(pad_token_id, 0, 0, 1 << 24),
#undef INTEGER
};

static const struct {
    const char *key;
    size_t offset;
    double fallback, least, most;
} reals[] = {
    {"hidden_dropout_prob", offsetof(gf_bert_config, hidden_dropout_prob), 0.1, 0, 0.999},
    {"attention_probs_dropout_prob", offsetof(gf_bert_config, attention_probs_dropout_prob), 0.1, 0,
     0.999},
    {"initializer_range", offsetof(gf_bert_config, initializer_range), 0.02, 0, 100},
    {"layer_norm_eps", offsetof(gf_bert_config, layer_norm_eps), 1e-12, 0, 1},
};

static bool read_number(const cJSON *j, const char *key, double fallback, double least, double most,
                        double *out, const char *where, gf_err *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    *out = fallback;
    if (!item || cJSON_IsNull(item)) return true;
    if (!cJSON_IsNumber(item))
        return gf_fail(e, GF_E_MODEL, "%s: \"%s\" is %s; a number is wanted", where, key,
                       gf_json_kind(item));
    *out = item->valuedouble;
    if (!(*out >= least && *out <= most))
        return gf_fail(e, GF_E_MODEL, "%s: \"%s\" is %g; it must lie between %g and %g", where, key,
                       *out, least, most);
    return true;
}

static bool read_numbers(gf_bert_config *c, const cJSON *j, const char *where, gf_err *e) {
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        double v;
        if (!read_number(j, integers[i].key, integers[i].fallback, integers[i].least,
                         integers[i].most, &v, where, e))
            return false;
        if (v != floor(v))
            return gf_fail(e, GF_E_MODEL, "%s: \"%s\" is %g; a whole number is wanted", where,
                           integers[i].key, v);
        *(int64_t *)((char *)c + integers[i].offset) = (int64_t)v;
    }
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        if (!read_number(j, reals[i].key, reals[i].fallback, reals[i].least, reals[i].most,
                         (double *)((char *)c + reals[i].offset), where, e))
            return false;
    return true;
}

/* The string under a key, the fallback when it is absent, "?" when it is no string. */
static const char *read_string(const cJSON *j, const char *key, const char *fallback) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, key);
    if (!item || cJSON_IsNull(item)) return fallback;
    return cJSON_IsString(item) ? item->valuestring : "?";
}

static bool check_family(const cJSON *j, const char *where, gf_err *e) {
    const char *type = read_string(j, "model_type", "bert");
    const char *positions = read_string(j, "position_embedding_type", "absolute");
    if (strcmp(type, "bert") != 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: model_type is \"%s\"; graft reads \"bert\" only, convert or "
                       "choose a BERT model",
                       where, type);
    if (strcmp(positions, "absolute") != 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: position_embedding_type is \"%s\"; only \"absolute\" is "
                       "supported",
                       where, positions);
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "add_cross_attention" : "is_decoder";
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(j, key)))
            return gf_fail(e, GF_E_MODEL, "%s: %s is true; graft reads encoders only", where, key);
    }
    return true;
}

static bool read_activation(gf_bert_config *c, const cJSON *j, const char *where, gf_err *e) {
    const char *act = read_string(j, "hidden_act", "gelu");
    c->gelu_tanh = strcmp(act, "gelu_new") == 0 || strcmp(act, "gelu_pytorch_tanh") == 0;
    if (c->gelu_tanh || strcmp(act, "gelu") == 0) return true;
    return gf_fail(e, GF_E_MODEL,
                   "%s: hidden_act is \"%s\"; \"gelu\", \"gelu_new\" and "
                   "\"gelu_pytorch_tanh\" are supported",
                   where, act);
}

bool gf_bert_config_read(gf_bert_config *c, const cJSON *j, const char *where, gf_err *e) {
    *c = (gf_bert_config){0};
    if (!cJSON_IsObject(j))
        return gf_fail(e, GF_E_MODEL, "%s: it holds %s; a JSON object is wanted", where,
                       gf_json_kind(j));
    if (!check_family(j, where, e) || !read_numbers(c, j, where, e)) return false;
    if (!read_activation(c, j, where, e)) return false;
    if (c->hidden_size % c->num_attention_heads != 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: hidden_size %lld is not a multiple of "
                       "num_attention_heads %lld",
                       where, (long long)c->hidden_size, (long long)c->num_attention_heads);
    return true;
}

static bool add_fields(const gf_bert_config *c, cJSON *j, gf_err *e) {
    cJSON *names = gf_json_array(j, "architectures", e);
    bool ok = names && gf_json_string(names, NULL, "BertModel", e);
    ok = ok && gf_json_string(j, "model_type", "bert", e);
    ok = ok && gf_json_string(j, "hidden_act", c->gelu_tanh ? "gelu_new" : "gelu", e);
    ok = ok && gf_json_string(j, "position_embedding_type", "absolute", e);
    for (size_t i = 0; ok && i < sizeof integers / sizeof *integers; i++)
        ok = gf_json_number(j, integers[i].key,
                            (double)*(const int64_t *)((const char *)c + integers[i].offset), e);
    for (size_t i = 0; ok && i < sizeof reals / sizeof *reals; i++)
        ok = gf_json_number(j, reals[i].key, *(const double *)((const char *)c + reals[i].offset),
                            e);
    return ok && gf_json_string(j, "torch_dtype", "float32", e);
}

cJSON *gf_bert_config_to_json(const gf_bert_config *c, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    if (j && add_fields(c, j, e)) return j;
    cJSON_Delete(j);
    return NULL;
}
