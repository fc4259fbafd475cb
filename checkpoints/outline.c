#include "checkpoints/outline.h"

enum { MOST = 65536 }; /* elements of an embedding, as sentence.c has it */

cJSON *gf_outline_to_json(const gf_model *m, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e), *dense = NULL;
    bool own = m->dense.weight && m->pooling != GF_POOL_POOLER;
    bool ok = j && gf_json_string(j, "pooling", gf_pooling_name(m->pooling), e) &&
              gf_json_bool(j, "normalize", m->normalize, e) &&
              gf_json_number(j, "max_length", (double)m->max_length, e);
    if (ok && !own) ok = gf_json_null(j, "dense", e) != NULL;
    if (ok && own)
        ok = (dense = gf_json_object(j, "dense", e)) &&
             gf_json_number(dense, "size", (double)m->embedding_size, e) &&
             gf_json_bool(dense, "bias", m->dense.bias != NULL, e) &&
             gf_json_string(dense, "activation", gf_dense_activation_name(m->dense_activation), e);
    if (ok) return j;
    cJSON_Delete(j);
    return NULL;
}

static bool lacks(const char *where, const char *key, const char *wanted, gf_err *e) {
    return gf_fail(e, GF_E_MODEL, "%s: \"%s\" must be %s", where, key, wanted);
}

static bool apply_dense(gf_model *m, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *size = cJSON_GetObjectItemCaseSensitive(j, "size");
    const cJSON *bias = cJSON_GetObjectItemCaseSensitive(j, "bias");
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(j, "activation");
    gf_dense_activation activation;
    if (!cJSON_IsNumber(size) || !(size->valuedouble >= 1 && size->valuedouble <= MOST) ||
        size->valuedouble != (double)(int64_t)size->valuedouble)
        return lacks(where, "dense.size", "a whole number from 1 to 65536", e);
    if (!cJSON_IsBool(bias)) return lacks(where, "dense.bias", "true or false", e);
    if (!cJSON_IsString(name) || !gf_dense_activation_find(name->valuestring, &activation))
        return lacks(where, "dense.activation", "\"identity\" or \"tanh\"", e);
    return gf_model_add_dense(m, "dense", (int64_t)size->valuedouble, cJSON_IsTrue(bias),
                              activation, e);
}

bool gf_outline_apply(gf_model *m, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *pooling = cJSON_GetObjectItemCaseSensitive(j, "pooling");
    const cJSON *normalize = cJSON_GetObjectItemCaseSensitive(j, "normalize");
    const cJSON *length = cJSON_GetObjectItemCaseSensitive(j, "max_length");
    const cJSON *dense = cJSON_GetObjectItemCaseSensitive(j, "dense");
    gf_pooling kind;
    if (!cJSON_IsString(pooling) || !gf_pooling_find(pooling->valuestring, &kind))
        return lacks(where, "pooling", "\"mean\", \"cls\", \"max\" or \"pooler\"", e);
    if (!cJSON_IsBool(normalize)) return lacks(where, "normalize", "true or false", e);
    if (!cJSON_IsNumber(length) ||
        !(length->valuedouble >= 3 &&
          length->valuedouble <= (double)m->config.max_position_embeddings))
        return lacks(where, "max_length", "a number from 3 to the model's positions", e);
    if (!cJSON_IsNull(dense) && !(cJSON_IsObject(dense) && kind != GF_POOL_POOLER))
        return lacks(where, "dense", "an object, or null", e);
    m->normalize = cJSON_IsTrue(normalize);
    m->max_length = (int64_t)length->valuedouble;
    return gf_model_set_pooling(m, kind, e) &&
           (cJSON_IsNull(dense) || apply_dense(m, dense, where, e));
}
