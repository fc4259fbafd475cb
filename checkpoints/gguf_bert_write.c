#include "checkpoints/gguf.h"
#include "checkpoints/gguf_bert.h"
#include "checkpoints/gguf_names.h"
#include "core/mem.h"
#include "data/tokenizer.h"

#include <math.h>
#include <string.h>

enum { ALL_F32 = 0, MOSTLY_F16 = 1, POOLING_MEAN = 1, POOLING_CLS = 2 };

static bool refuse(gf_err *e, const char *what, const char *advice) {
    return gf_fail(e, GF_E_MODEL, "a GGUF file cannot carry %s; %s", what, advice);
}

static const char other[] = "export it in another format";

/* The token of an id: of the vocabulary, else of the added ones, else NULL. */
static const char *token_of(const gf_tokenizer *t, int64_t id, int64_t *type) {
    const char *token = gf_vocab_token_of(&t->vocab, id);
    *type = token ? GF_GGUF_NORMAL : GF_GGUF_UNUSED;
    for (int64_t i = 0; i < t->added.count; i++) /* sorted by id */
        if (t->added.items[i].id == id) {
            *type = GF_GGUF_CONTROL;
            return t->added.items[i].content;
        }
    return token;
}

/* The text of an id as the file has it; free with gf_free(). */
static char *text_of(const gf_tokenizer *t, int64_t id, int64_t *type, gf_err *e) {
    const char *token = token_of(t, id, type);
    if (!token) return gf_format(e, "[PAD%lld]", (long long)id);
    return gf_gguf_token_to(token, *type, e);
}

/* Each token must read back as it is, and no two of them may look the same. */
static bool check_token(const gf_model *m, gf_vocab *seen, int64_t id, gf_err *e) {
    int64_t type;
    const char *token = token_of(m->tokenizer, id, &type);
    char *text = text_of(m->tokenizer, id, &type, e), *back = NULL;
    bool ok = text && (back = gf_gguf_token_from((gf_gguf_text){text, strlen(text)}, type, e));
    if (ok && token && strcmp(back, token) != 0)
        ok = gf_fail(e, GF_E_MODEL,
                     "a GGUF file cannot carry the token \"%s\", which would be read as \"%s\"; %s",
                     token, back, other);
    if (ok && gf_vocab_find(seen, text, strlen(text)) >= 0)
        ok = gf_fail(e, GF_E_MODEL,
                     "a GGUF file cannot carry the token \"%s\" beside another one, both would be "
                     "\"%s\"; %s",
                     token ? token : text, text, other);
    ok = ok && gf_vocab_add(seen, text, strlen(text), id, "tokenizer", e);
    gf_free(text);
    gf_free(back);
    return ok;
}

static bool check_added(const gf_tokenizer *t, gf_err *e) {
    for (int64_t i = 0; i < t->added.count; i++) {
        const gf_added *a = &t->added.items[i];
        if (a->special && !a->normalized && !a->single_word && !a->lstrip && !a->rstrip) continue;
        return gf_fail(e, GF_E_MODEL,
                       "a GGUF file cannot carry the added token \"%s\", which is not special or "
                       "has flags (normalized, single_word, lstrip, rstrip); %s",
                       a->content, other);
    }
    return true;
}

static bool check_tokenizer(const gf_model *m, gf_err *e) {
    const gf_tokenizer *t = m->tokenizer;
    if (!t->bert.rules.lowercase)
        return refuse(e, "a tokenizer that keeps upper case (llama.cpp always lowers it)", other);
    if (!t->bert.rules.strip_accents)
        return refuse(e, "a tokenizer that keeps accents (llama.cpp always strips them)", other);
    if (!t->bert.rules.chinese || !t->bert.rules.clean_text)
        return refuse(e,
                      "a tokenizer that keeps Chinese characters together or control characters "
                      "(llama.cpp never does)",
                      other);
    if (strcmp(t->prefix, "##") != 0 || t->max_chars != 100)
        return refuse(e,
                      "a continuing_subword_prefix other than \"##\" or a "
                      "max_input_chars_per_word other than 100",
                      other);
    return check_added(t, e);
}

bool gf_gguf_can_carry(const gf_model *m, gf_err *e) {
    gf_vocab seen = {0};
    bool ok = true;
    if (m->n_heads > 0)
        return refuse(e, "heads", "\"graft export --without-heads\" leaves them out");
    if (m->pooling == GF_POOL_MAX) return refuse(e, "max pooling", other);
    if (m->dense.weight) return refuse(e, "a projection behind the pooling", other);
    if (!check_tokenizer(m, e)) return false;
    for (int64_t id = 0; ok && id < m->config.vocab_size; id++) ok = check_token(m, &seen, id, e);
    gf_vocab_free(&seen);
    return ok;
}

static bool put_config(gf_gguf_writer *w, const gf_model *m, gf_dtype dtype, gf_err *e) {
    const gf_bert_config *c = &m->config;
    const struct {
        const char *key;
        int64_t value;
    } integers[] = {
        {"general.file_type", dtype == GF_DTYPE_F16 ? MOSTLY_F16 : ALL_F32},
        {"bert.context_length", c->max_position_embeddings},
        {"bert.embedding_length", c->hidden_size},
        {"bert.feed_forward_length", c->intermediate_size},
        {"bert.block_count", c->num_hidden_layers},
        {"bert.attention.head_count", c->num_attention_heads},
        {"bert.pooling_type", m->pooling == GF_POOL_CLS ? POOLING_CLS : POOLING_MEAN},
        {"graft.max_length", m->max_length},
    };
    bool ok = gf_gguf_put_text(w, "general.architecture", "bert", e) &&
              gf_gguf_put_text(w, "general.type", "model", e) &&
              gf_gguf_put_text(w, "general.name", "graft", e);
    for (size_t i = 0; ok && i < sizeof integers / sizeof *integers; i++)
        ok = gf_gguf_put_integer(w, integers[i].key, (uint32_t)integers[i].value, e);
    return ok &&
           gf_gguf_put_real(w, "bert.attention.layer_norm_epsilon", (float)c->layer_norm_eps, e) &&
           gf_gguf_put_bool(w, "bert.attention.causal", false, e) &&
           gf_gguf_put_bool(w, "graft.normalize", m->normalize, e) &&
           gf_gguf_put_text(w, "graft.hidden_act", c->gelu_tanh ? "gelu_new" : "gelu", e);
}

static bool put_tokens(gf_gguf_writer *w, const gf_model *m, gf_err *e) {
    const gf_tokenizer *t = m->tokenizer;
    int64_t n = m->config.vocab_size, type; /* llama.cpp wants a token for each row */
    bool ok = gf_gguf_put_array(w, "tokenizer.ggml.tokens", GF_GGUF_TEXT, n, e);
    for (int64_t id = 0; ok && id < n; id++) {
        char *text = text_of(t, id, &type, e);
        ok = text && gf_gguf_put_text_element(w, text, strlen(text), e);
        gf_free(text);
    }
    ok = ok && gf_gguf_put_array(w, "tokenizer.ggml.token_type", GF_GGUF_I32, n, e);
    for (int64_t id = 0; ok && id < n; id++) {
        token_of(t, id, &type);
        ok = gf_gguf_put_integer_element(w, (int32_t)type, e);
    }
    return ok;
}

static bool put_tokenizer(gf_gguf_writer *w, const gf_model *m, gf_err *e) {
    bool ok = gf_gguf_put_text(w, "tokenizer.ggml.model", "bert", e) &&
              gf_gguf_put_text(w, "tokenizer.ggml.pre", "default", e) &&
              gf_gguf_put_integer(w, "tokenizer.ggml.token_type_count",
                                  (uint32_t)m->config.type_vocab_size, e) &&
              put_tokens(w, m, e) &&
              gf_gguf_put_integer(w, "tokenizer.ggml.bos_token_id", /* newer readers' [CLS] */
                                  (uint32_t)m->tokenizer->special[GF_CLS], e);
    for (int i = 0; ok && i < GF_SPECIALS; i++)
        if (m->tokenizer->special[i] >= 0)
            ok = gf_gguf_put_integer(w, gf_gguf_special_key((gf_special)i),
                                     (uint32_t)m->tokenizer->special[i], e);
    return ok;
}

/* A finite value that F16 has only as infinity is refused. */
static bool fits_f16(const gf_param *p, gf_err *e) {
    const double beyond = 65520; /* 65504 is the largest; from here on it rounds to infinity */
    int64_t n = gf_param_count(p);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)p->value[i];
        if (isinf(x) || !(x >= beyond || x <= -beyond)) continue;
        return gf_fail(e, GF_E_MODEL, "parameter \"%s\" holds %g, which F16 cannot; write F32",
                       p->name, x);
    }
    return true;
}

static bool put_tensor(gf_gguf_writer *w, const gf_param *p, gf_dtype dtype, gf_err *e) {
    char name[GF_GGUF_NAME];
    bool matrix;
    gf_named_tensor t = {name, p->shape, p->value};
    if (!p->value || !gf_gguf_tensor_name(p->name, name, &matrix))
        return gf_fail(e, GF_E_INTERNAL, "parameter \"%s\" has no value or no name in GGUF",
                       p->name);
    if (matrix && dtype == GF_DTYPE_F16 && !fits_f16(p, e)) return false;
    return gf_gguf_put_tensor(w, &t, matrix ? dtype : GF_DTYPE_F32, e);
}

bool gf_gguf_write_model(const gf_model *m, gf_dtype dtype, const char *path, gf_err *e) {
    gf_gguf_writer w = {0};
    bool ok = gf_gguf_can_carry(m, e);
    if (ok && dtype != GF_DTYPE_F32 && dtype != GF_DTYPE_F16)
        ok = gf_fail(e, GF_E_MODEL, "%s: GGUF is written as F32 or F16", path);
    ok = ok && put_config(&w, m, dtype, e) && put_tokenizer(&w, m, e);
    for (int64_t i = 0; ok && i < m->params.count; i++)
        ok = gf_model_is_mlm(m, m->params.items[i]) || put_tensor(&w, m->params.items[i], dtype, e);
    ok = ok && gf_gguf_write(&w, path, e);
    gf_gguf_writer_free(&w);
    return ok;
}
