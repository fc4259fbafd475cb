#include "checkpoints/gguf_bert.h"

#include "checkpoints/gguf.h"
#include "checkpoints/gguf_names.h"
#include "core/mem.h"
#include "data/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOKEN = 1 << 16 };

/* An open file. */
typedef struct source {
    const char *path;
    gf_gguf g;
    gf_tensors tensors;
    bool *used; /* [tensors.count] */
    bool mapped;
} source;

static bool check_text(const source *s, const char *key, const char *wanted, const char *what,
                       gf_err *e) {
    gf_gguf_text found;
    if (!gf_gguf_get_text(&s->g, key, &found, e)) return false;
    if (gf_gguf_text_is(found, wanted)) return true;
    return gf_fail(e, GF_E_MODEL, "%s: %s is \"%.*s\"; graft reads %s", s->path, key,
                   found.size < 64 ? (int)found.size : 64, found.data, what);
}

static bool check_family(const source *s, gf_err *e) {
    bool causal = false;
    if (!check_text(s, "general.architecture", "bert", "\"bert\" only, choose a BERT model", e) ||
        !check_text(s, "tokenizer.ggml.model", "bert",
                    "\"bert\", a WordPiece vocabulary, only; choose a BERT model", e))
        return false;
    if (gf_gguf_find(&s->g, "bert.attention.causal") &&
        !gf_gguf_get_bool(&s->g, "bert.attention.causal", &causal, e))
        return false;
    if (causal)
        return gf_fail(e, GF_E_MODEL, "%s: bert.attention.causal is true; graft reads encoders",
                       s->path);
    if (gf_tensors_find(&s->tensors, "dense_2.weight"))
        return gf_fail(e, GF_E_MODEL,
                       "%s: it has a dense projection behind the encoder (dense_2.weight), which "
                       "graft does not read; convert the model without it",
                       s->path);
    return true;
}

static bool read_pooling(const source *s, gf_model *m, gf_err *e) {
    static const char key[] = "bert.pooling_type";
    int64_t type = 0; /* none is stated: mean, as for a folder without modules.json */
    if (gf_gguf_find(&s->g, key) && !gf_gguf_get_integer(&s->g, key, &type, e)) return false;
    if (type < 0 || type > 2)
        return gf_fail(e, GF_E_MODEL, "%s: %s is %lld%s; graft reads mean (1) and CLS (2) pooling",
                       s->path, key, (long long)type,
                       type == 3   ? " (last token)"
                       : type == 4 ? " (rank)"
                                   : "");
    m->pooling = type == 2 ? GF_POOL_CLS : GF_POOL_MEAN;
    return true;
}

/* Rows of a matrix that the configuration has no key for. */
static bool add_rows(const source *s, cJSON *config, const char *key, const char *name, gf_err *e) {
    const gf_tensor *t = gf_tensors_find(&s->tensors, name);
    if (!t || t->n_dims != 2)
        return gf_fail(e, GF_E_MODEL, "%s: tensor \"%s\" is missing or no matrix; is it a BERT?",
                       s->path, name);
    return gf_json_number(config, key, (double)t->dim[0], e);
}

/* The double that was meant by a float: the shortest decimal number that gives it. */
static double meant_by(double x) {
    char text[32];
    for (int digits = 1; digits < 9; digits++) {
        double shorter;
        snprintf(text, sizeof text, "%.*g", digits, x);
        shorter = strtod(text, NULL);
        if ((float)shorter == (float)x) return shorter;
    }
    return x;
}

/* As config.json would have it, so that the same limits hold. */
static bool fill_config(const source *s, cJSON *j, gf_err *e) {
    static const char *const keys[][2] = {
        {"hidden_size", "bert.embedding_length"},
        {"num_hidden_layers", "bert.block_count"},
        {"intermediate_size", "bert.feed_forward_length"},
        {"num_attention_heads", "bert.attention.head_count"},
        {"max_position_embeddings", "bert.context_length"},
        {"pad_token_id", "tokenizer.ggml.padding_token_id"},
    };
    double eps;
    gf_gguf_text act;
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof keys / sizeof *keys; i++) {
        int64_t n = 0;
        if (i == 5 && !gf_gguf_find(&s->g, keys[i][1])) continue;
        ok = gf_gguf_get_integer(&s->g, keys[i][1], &n, e) &&
             gf_json_number(j, keys[i][0], (double)n, e);
    }
    ok = ok && gf_gguf_get_real(&s->g, "bert.attention.layer_norm_epsilon", &eps, e) &&
         gf_json_number(j, "layer_norm_eps", meant_by(eps), e) &&
         add_rows(s, j, "vocab_size", "token_embd.weight", e) &&
         add_rows(s, j, "type_vocab_size", "token_types.weight", e);
    if (ok && gf_gguf_find(&s->g, "graft.hidden_act")) {
        char *name = NULL;
        ok = gf_gguf_get_text(&s->g, "graft.hidden_act", &act, e) &&
             (name = gf_strndup(act.data, act.size, e)) && gf_json_string(j, "hidden_act", name, e);
        gf_free(name);
    }
    return ok;
}

static bool read_config(const source *s, gf_model *m, gf_err *e) {
    gf_bert_config config;
    cJSON *j = gf_json_object(NULL, NULL, e);
    bool ok = j && fill_config(s, j, e) && gf_bert_config_read(&config, j, s->path, e) &&
              gf_model_make(m, &config, e) && read_pooling(s, m, e);
    cJSON_Delete(j);
    if (ok && gf_gguf_find(&s->g, "graft.normalize"))
        ok = gf_gguf_get_bool(&s->g, "graft.normalize", &m->normalize, e);
    if (ok && gf_gguf_find(&s->g, "graft.max_length"))
        ok = gf_gguf_get_integer(&s->g, "graft.max_length", &m->max_length, e);
    if (ok && (m->max_length < 2 || m->max_length > m->config.max_position_embeddings))
        ok = gf_fail(e, GF_E_MODEL, "%s: graft.max_length is %lld; it must lie between 2 and %lld",
                     s->path, (long long)m->max_length,
                     (long long)m->config.max_position_embeddings);
    return ok;
}

/* Adds a token to the vocabulary, and to the added ones if its type says so. */
static bool add_token(gf_tokenizer *t, gf_gguf_text text, int64_t type, int64_t id,
                      const char *path, gf_err *e) {
    bool special = type == GF_GGUF_CONTROL || type == GF_GGUF_UNKNOWN;
    char *token;
    bool ok;
    if (type == GF_GGUF_UNUSED) return true; /* a hole */
    if (text.size > MAX_TOKEN || memchr(text.data, 0, text.size))
        return gf_fail(e, GF_E_MODEL,
                       "%s: token %lld has a 0 byte or more than %d bytes; the file is damaged",
                       path, (long long)id, MAX_TOKEN);
    token = gf_gguf_token_from(text, type, e);
    ok = token && gf_vocab_add(&t->vocab, token, strlen(token), id, path, e);
    if (ok && (special || type == GF_GGUF_USER_DEFINED)) {
        cJSON content = {.type = cJSON_String, .valuestring = token};
        ok = gf_tokenizer_add_token(t, &content, id, special, path, e);
    }
    gf_free(token);
    return ok;
}

static bool add_tokens(const source *s, gf_tokenizer *t, int64_t most, gf_err *e) {
    static const char types_key[] = "tokenizer.ggml.token_type";
    const gf_gguf_key *tokens = NULL, *types = NULL;
    const unsigned char *at;
    bool ok = gf_gguf_get_array(&s->g, "tokenizer.ggml.tokens", true, &tokens, e);
    if (ok && gf_gguf_find(&s->g, types_key))
        ok = gf_gguf_get_array(&s->g, types_key, false, &types, e);
    if (ok && (tokens->count > most || (types && types->count != tokens->count)))
        ok = gf_fail(e, GF_E_MODEL,
                     "%s: it has %lld tokens, %lld types of them and %lld rows of "
                     "token_embd.weight; they do not belong together",
                     s->path, (long long)tokens->count, (long long)(types ? types->count : 0),
                     (long long)most);
    at = ok ? tokens->data : NULL;
    for (int64_t id = 0; ok && id < tokens->count; id++)
        ok = add_token(t, gf_gguf_next_text(&at),
                       types ? gf_gguf_integer_at(types, id) : GF_GGUF_NORMAL, id, s->path, e);
    return ok;
}

/* Tokens that the model cannot do without have the ids llama.cpp takes when none is stated. */
static bool name_special(const source *s, gf_tokenizer *t, gf_special which, gf_err *e) {
    static const int64_t usual[GF_SPECIALS] = {100, 101, 102, -1, -1};
    const char *key = gf_gguf_special_key(which), *token;
    int64_t id = usual[which];
    if (which == GF_CLS && !gf_gguf_find(&s->g, key)) key = "tokenizer.ggml.bos_token_id";
    if (gf_gguf_find(&s->g, key) && !gf_gguf_get_integer(&s->g, key, &id, e)) return false;
    if (id < 0) return true;
    if (!(token = gf_vocab_token_of(&t->vocab, id)))
        return gf_fail(e, GF_E_MODEL, "%s: %s is %lld, which no token has", s->path, key,
                       (long long)id);
    return gf_tokenizer_rename(t, which, token, e);
}

static bool read_tokenizer(const source *s, gf_model *m, gf_err *e) {
    gf_tokenizer *t = m->tokenizer = gf_tokenizer_new(e); /* lowercase, no accents: as it must be */
    bool ok = t && add_tokens(s, t, m->config.vocab_size, e);
    for (int i = 0; ok && i < GF_SPECIALS; i++) ok = name_special(s, t, (gf_special)i, e);
    return ok && gf_tokenizer_finish(t, s->path, e);
}

static bool can_convert(gf_dtype d) {
    return d == GF_DTYPE_F32 || d == GF_DTYPE_F16 || d == GF_DTYPE_BF16 || d == GF_DTYPE_F64;
}

static bool take(source *s, gf_param *p, gf_err *e) {
    char name[GF_GGUF_NAME], wanted[128], found[128];
    bool matrix;
    gf_shape shape;
    const gf_tensor *t =
        gf_gguf_tensor_name(p->name, name, &matrix) ? gf_tensors_find(&s->tensors, name) : NULL;
    gf_shape_text(&p->shape, wanted, sizeof wanted);
    if (!t)
        return gf_fail(e, GF_E_MODEL, "%s: tensor \"%s\" of shape %s is missing", s->path, name,
                       wanted);
    if (!gf_tensor_shape(t, &shape, s->path, e)) return false;
    if (!gf_shape_equal(&shape, &p->shape))
        return gf_fail(e, GF_E_MODEL, "%s: tensor \"%s\" has the shape %s, %s is wanted", s->path,
                       name, gf_shape_text(&shape, found, sizeof found), wanted);
    if (!can_convert(t->dtype))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" is of type %s; graft reads F32, F16, BF16 and F64, "
                       "convert the model to one of them",
                       s->path, name, t->dtype_name);
    s->used[t - s->tensors.items] = true;
    if (GF_REAL_IS_FLOAT && t->dtype == GF_DTYPE_F32 && (uintptr_t)t->data % sizeof(float) == 0) {
        gf_param_borrow(p, (const gf_real *)(const void *)t->data);
        return s->mapped = true;
    }
    return gf_param_own(p, e) && gf_tensor_to_real(t, p->owned, s->path, e);
}

/* One line about the tensors that no parameter wanted. */
static bool say_unused(const source *s, const gf_log *log, gf_err *e) {
    gf_text names = {0};
    int64_t n = 0, shown = 4;
    bool ok = true;
    for (int64_t i = 0; ok && i < s->tensors.count; i++)
        if (!s->used[i] && n++ < shown)
            ok = gf_text_add(&names, e, "%s%s", n > 1 ? ", " : "", s->tensors.items[i].name);
    if (ok && n > shown) ok = gf_text_add(&names, e, " and %lld more", (long long)(n - shown));
    if (ok && n > 0) gf_log_say(log, GF_LOG_WARNING, "%s: unused: %s", s->path, names.data);
    gf_text_free(&names);
    return ok;
}

static bool read_weights(source *s, gf_model *m, const gf_log *log, gf_err *e) {
    bool ok = (s->used = gf_alloc_array(s->tensors.count, sizeof *s->used, e)) != NULL;
    for (int64_t i = 0; ok && i < m->params.count; i++) ok = take(s, m->params.items[i], e);
    return ok && say_unused(s, log, e) &&
           (!s->mapped || gf_model_keep_map(m, &s->tensors.maps[0], e));
}

bool gf_gguf_open_model(gf_model *m, const char *path, const gf_log *log, gf_err *e) {
    source s = {.path = path};
    gf_map *map = NULL;
    bool ok = gf_tensors_open(&s.tensors, path, e);
    if (ok &&
        (s.tensors.n_maps != 1 || !gf_gguf_begins(s.tensors.maps->data, s.tensors.maps->size)))
        ok = gf_fail(e, GF_E_MODEL, "%s: it is no GGUF file", path);
    map = s.tensors.maps;
    ok = ok && gf_gguf_parse(&s.g, NULL, map->data, map->size, path, e) && check_family(&s, e) &&
         read_config(&s, m, e) && read_tokenizer(&s, m, e) && read_weights(&s, m, log, e);
    gf_free(s.used);
    gf_gguf_free(&s.g);
    gf_tensors_close(&s.tensors);
    return ok;
}
