#include "model/model.h"

#include "core/mem.h"
#include "core/rng.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>

/* In the order of gf_pooling and of gf_dense_activation. */
static const char *const poolings[] = {"mean", "cls", "max", "pooler", NULL};
static const char *const activations[] = {"identity", "tanh", NULL};

/* The place of a name in a list that NULL ends, -1 if it is not there. */
static int find_name(const char *const *names, const char *name) {
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) return i;
    return -1;
}

const char *gf_pooling_name(gf_pooling p) { return poolings[p]; }
const char *gf_dense_activation_name(gf_dense_activation a) { return activations[a]; }

bool gf_pooling_find(const char *name, gf_pooling *p) {
    int i = find_name(poolings, name);
    if (i >= 0) *p = (gf_pooling)i;
    return i >= 0;
}

bool gf_dense_activation_find(const char *name, gf_dense_activation *a) {
    int i = find_name(activations, name);
    if (i >= 0) *a = (gf_dense_activation)i;
    return i >= 0;
}

/* Adds PREFIX.NAME, or PREFIX.NAME for the layer where prefix has a number in it. */
static gf_param *add(gf_model *m, const char *prefix, const char *name, gf_shape shape, gf_err *e) {
    char full[192];
    snprintf(full, sizeof full, "%s.%s", prefix, name);
    return gf_params_add(&m->params, full, &shape, e);
}

static bool add_linear(gf_model *m, gf_linear *l, const char *prefix, int64_t out, int64_t in,
                       gf_err *e) {
    l->weight = add(m, prefix, "weight", gf_shape2(out, in), e);
    l->bias = l->weight ? add(m, prefix, "bias", gf_shape1(out), e) : NULL;
    return l->bias != NULL;
}

static bool add_norm(gf_model *m, gf_norm *n, const char *prefix, gf_err *e) {
    int64_t width = m->config.hidden_size;
    n->weight = add(m, prefix, "LayerNorm.weight", gf_shape1(width), e);
    n->bias = n->weight ? add(m, prefix, "LayerNorm.bias", gf_shape1(width), e) : NULL;
    return n->bias != NULL;
}

static bool add_embeddings(gf_model *m, gf_err *e) {
    const gf_bert_config *c = &m->config;
    int64_t h = c->hidden_size;
    const char *prefix = "embeddings";
    m->words = add(m, prefix, "word_embeddings.weight", gf_shape2(c->vocab_size, h), e);
    if (!m->words) return false;
    m->positions =
        add(m, prefix, "position_embeddings.weight", gf_shape2(c->max_position_embeddings, h), e);
    if (!m->positions) return false;
    m->types = add(m, prefix, "token_type_embeddings.weight", gf_shape2(c->type_vocab_size, h), e);
    return m->types && add_norm(m, &m->embedding_norm, prefix, e);
}

static bool add_layer(gf_model *m, gf_bert_layer *l, int64_t index, gf_err *e) {
    int64_t h = m->config.hidden_size, wide = m->config.intermediate_size;
    char p[128];
#define PREFIX(rest) (snprintf(p, sizeof p, "encoder.layer.%lld." rest, (long long)index), p)
    return add_linear(m, &l->query, PREFIX("attention.self.query"), h, h, e) &&
           add_linear(m, &l->key, PREFIX("attention.self.key"), h, h, e) &&
           add_linear(m, &l->value, PREFIX("attention.self.value"), h, h, e) &&
           add_linear(m, &l->attention_out, PREFIX("attention.output.dense"), h, h, e) &&
           add_norm(m, &l->attention_norm, PREFIX("attention.output"), e) &&
           add_linear(m, &l->intermediate, PREFIX("intermediate.dense"), wide, h, e) &&
           add_linear(m, &l->output, PREFIX("output.dense"), h, wide, e) &&
           add_norm(m, &l->output_norm, PREFIX("output"), e);
#undef PREFIX
}

bool gf_model_make(gf_model *m, const gf_bert_config *config, gf_err *e) {
    m->config = *config;
    m->pooling = GF_POOL_MEAN;
    m->normalize = true;
    m->max_length = config->max_position_embeddings;
    m->embedding_size = config->hidden_size;
    m->layers = gf_alloc_array(config->num_hidden_layers, sizeof *m->layers, e);
    if (!m->layers || !add_embeddings(m, e)) return false;
    for (int64_t i = 0; i < config->num_hidden_layers; i++)
        if (!add_layer(m, &m->layers[i], i, e)) return false;
    return true;
}

bool gf_model_is_dense(const gf_model *m, const gf_param *p) {
    return p == m->dense.weight || (p == m->dense.bias && p != NULL);
}

enum { MLM_PARAMS = 5 };

/* Puts the last n parameters before the `behind` that stand before them. */
static void move_before(gf_model *m, int64_t n, int64_t behind) {
    gf_param **items = m->params.items, *moved[MLM_PARAMS];
    int64_t from = m->params.count - n;
    memcpy(moved, items + from, (size_t)n * sizeof *moved);
    memmove(items + from - behind + n, items + from - behind, (size_t)behind * sizeof *items);
    memcpy(items + from - behind, moved, (size_t)n * sizeof *moved);
}

static void drop_dense(gf_model *m) {
    if (m->dense.weight) gf_params_remove(&m->params, m->dense.weight);
    if (m->dense.bias) gf_params_remove(&m->params, m->dense.bias);
    gf_free(m->zeros);
    m->zeros = NULL;
    m->dense = (gf_linear){0};
    m->embedding_size = m->config.hidden_size;
}

bool gf_model_add_dense(gf_model *m, const char *prefix, int64_t out, bool bias,
                        gf_dense_activation activation, gf_err *e) {
    int64_t before = m->params.count;
    m->dense_activation = activation;
    m->dense.weight = add(m, prefix, "weight", gf_shape2(out, m->config.hidden_size), e);
    if (!m->dense.weight) return false;
    m->embedding_size = out;
    if (bias)
        m->dense.bias = add(m, prefix, "bias", gf_shape1(out), e);
    else
        m->zeros = gf_alloc_array(out, sizeof *m->zeros, e);
    move_before(m, m->params.count - before, 2 * m->n_heads + (m->mlm.bias ? MLM_PARAMS : 0));
    return m->dense.bias || m->zeros;
}

bool gf_model_set_pooling(gf_model *m, gf_pooling p, gf_err *e) {
    bool changes = (p == GF_POOL_POOLER) != (m->pooling == GF_POOL_POOLER);
    if (changes && m->n_heads > 0 && m->embedding_size != m->config.hidden_size)
        return gf_fail(e, GF_E_INVALID,
                       "pooling \"pooler\" would replace the projection to %lld elements on which "
                       "the head \"%s\" stands; leave the pooling as the model has it",
                       (long long)m->embedding_size, m->heads[0].name);
    m->pooling = p;
    if (changes) drop_dense(m);
    return !changes || p != GF_POOL_POOLER ||
           gf_model_add_dense(m, "pooler.dense", m->config.hidden_size, true, GF_DENSE_TANH, e);
}

void gf_model_drop_mlm(gf_model *m) {
    gf_param *all[MLM_PARAMS] = {m->mlm.dense.weight, m->mlm.dense.bias, m->mlm.norm.weight,
                                 m->mlm.norm.bias, m->mlm.bias};
    for (int i = 0; i < MLM_PARAMS; i++)
        if (all[i]) gf_params_remove(&m->params, all[i]);
    m->mlm = (gf_mlm){0};
}

bool gf_model_add_mlm(gf_model *m, gf_err *e) {
    const char *prefix = "cls.predictions.transform";
    int64_t h = m->config.hidden_size;
    if (m->mlm.bias) return true;
    if (!add_linear(m, &m->mlm.dense, "cls.predictions.transform.dense", h, h, e) ||
        !add_norm(m, &m->mlm.norm, prefix, e) ||
        !(m->mlm.bias = add(m, "cls.predictions", "bias", gf_shape1(m->config.vocab_size), e))) {
        gf_model_drop_mlm(m);
        return false;
    }
    move_before(m, MLM_PARAMS, 2 * m->n_heads);
    return true;
}

bool gf_model_is_mlm(const gf_model *m, const gf_param *p) {
    const gf_mlm *l = &m->mlm;
    return p && (p == l->dense.weight || p == l->dense.bias || p == l->norm.weight ||
                 p == l->norm.bias || p == l->bias);
}

static bool fill_head(gf_model *m, gf_head *h, const char *task, gf_task_type type,
                      const char *const *classes, int64_t n_classes, gf_err *e) {
    char prefix[160];
    h->type = type;
    h->outputs = gf_task_outputs(type, n_classes);
    if (!(h->name = gf_strdup(task, e))) return false;
    if (!(h->classes = gf_alloc_array(n_classes, sizeof *h->classes, e))) return false;
    for (; h->n_classes < n_classes; h->n_classes++)
        if (!(h->classes[h->n_classes] = gf_strdup(classes[h->n_classes], e))) return false;
    if (type == GF_TASK_MULTI_LABEL) {
        if (!(h->thresholds = gf_alloc_array(n_classes, sizeof *h->thresholds, e))) return false;
        for (int64_t c = 0; c < n_classes; c++) h->thresholds[c] = (gf_real)0.5;
    }
    snprintf(prefix, sizeof prefix, "heads.%s", task);
    return add_linear(m, &h->linear, prefix, h->outputs, m->embedding_size, e);
}

bool gf_model_add_head(gf_model *m, const char *task, const char *const *classes, int64_t n_classes,
                       gf_err *e) {
    return gf_model_add_task_head(m, task, GF_TASK_CLASSIFICATION, classes, n_classes, e);
}

bool gf_model_add_task_head(gf_model *m, const char *task, gf_task_type type,
                            const char *const *classes, int64_t n_classes, gf_err *e) {
    gf_head *heads;
    if (strlen(task) > 128)
        return gf_fail(e, GF_E_INVALID, "task \"%.40s...\": the name is longer than 128 bytes",
                       task);
    if (gf_model_find_head(m, task))
        return gf_fail(e, GF_E_INVALID, "task \"%s\": the model has two heads of this name", task);
    if (!(heads = gf_realloc_array(m->heads, m->n_heads + 1, sizeof *heads, e))) return false;
    m->heads = heads;
    return fill_head(m, &heads[m->n_heads++], task, type, classes, n_classes, e);
}

gf_head *gf_model_find_head(const gf_model *m, const char *task) {
    for (int64_t i = 0; i < m->n_heads; i++)
        if (m->heads[i].name && strcmp(m->heads[i].name, task) == 0) return &m->heads[i];
    return NULL;
}

void gf_model_move_head(gf_model *m, gf_head *head, int64_t to) {
    gf_head moved = *head;
    int64_t from = head - m->heads;
    if (from > to)
        memmove(m->heads + to + 1, m->heads + to, (size_t)(from - to) * sizeof *m->heads);
    else
        memmove(m->heads + from, m->heads + from + 1, (size_t)(to - from) * sizeof *m->heads);
    m->heads[to] = moved;
}

static void free_head(gf_head *h) {
    for (int64_t c = 0; c < h->n_classes; c++) gf_free(h->classes[c]);
    gf_free(h->classes);
    gf_free(h->thresholds);
    gf_free(h->name);
}

bool gf_model_rename_head(gf_model *m, gf_head *head, const char *task, gf_err *e) {
    char *name = NULL, *weight = NULL, *bias = NULL;
    if (strcmp(head->name, task) == 0) return true;
    if (gf_model_find_head(m, task))
        return gf_fail(e, GF_E_INVALID, "task \"%s\": the model has two heads of this name", task);
    if (!(name = gf_strdup(task, e)) || !(weight = gf_format(e, "heads.%s.weight", task)) ||
        !(bias = gf_format(e, "heads.%s.bias", task))) {
        gf_free(name);
        gf_free(weight);
        return false;
    }
    gf_free(head->name);
    gf_free(head->linear.weight->name);
    gf_free(head->linear.bias->name);
    head->name = name; /* the head and its parameters own them now */
    head->linear.weight->name = weight;
    head->linear.bias->name = bias;
    return true;
}

void gf_model_drop_last_head(gf_model *m) {
    gf_head *h = &m->heads[--m->n_heads];
    gf_params_remove(&m->params, h->linear.weight);
    gf_params_remove(&m->params, h->linear.bias);
    free_head(h);
}

/* BERT's initialisation (transformers, BertPreTrainedModel._init_weights). */
static void draw(gf_param *p, double range, uint64_t seed) {
    int64_t count = gf_param_count(p);
    gf_rng r = gf_rng_new(seed, gf_rng_stream(p->name));
    if (gf_text_ends_with(p->name, ".bias")) return;
    bool norm = gf_text_ends_with(p->name, "LayerNorm.weight");
    for (int64_t i = 0; i < count; i++)
        p->owned[i] = norm ? 1 : (gf_real)range * (gf_real)gf_rng_normal(&r);
}

bool gf_model_init(gf_model *m, uint64_t seed, gf_err *e) {
    for (int64_t i = 0; i < m->params.count; i++) {
        gf_param *p = m->params.items[i];
        if (p->value) continue;
        if (!gf_param_own(p, e)) return false;
        draw(p, m->config.initializer_range, seed);
    }
    return true;
}

bool gf_model_keep_map(gf_model *m, gf_map *map, gf_err *e) {
    gf_map *maps = gf_realloc_array(m->maps, m->n_maps + 1, sizeof *maps, e);
    if (!maps) return false;
    m->maps = maps;
    maps[m->n_maps++] = *map;
    *map = (gf_map){0}; /* the model owns it now */
    return true;
}

void gf_model_free(gf_model *m) {
    for (int64_t i = 0; i < m->n_heads; i++) free_head(&m->heads[i]);
    gf_free(m->heads);
    gf_free(m->layers);
    gf_params_free(&m->params);
    gf_free(m->zeros);
    gf_tokenizer_free(m->tokenizer);
    for (int64_t i = 0; i < m->n_maps; i++) gf_io_unmap(&m->maps[i]);
    gf_free(m->maps);
    *m = (gf_model){0};
}
