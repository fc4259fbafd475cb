#include "checkpoints/gguf_names.h"

#include "core/mem.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *ours, *theirs;
    bool matrix;
} stems[] = {
    {"embeddings.word_embeddings", "token_embd", true},
    {"embeddings.position_embeddings", "position_embd", false},
    {"embeddings.token_type_embeddings", "token_types", false},
    {"embeddings.LayerNorm", "token_embd_norm", false},
    {"attention.self.query", "attn_q", true},
    {"attention.self.key", "attn_k", true},
    {"attention.self.value", "attn_v", true},
    {"attention.output.dense", "attn_output", true},
    {"attention.output.LayerNorm", "attn_output_norm", false},
    {"intermediate.dense", "ffn_up", true},
    {"output.dense", "ffn_down", true},
    {"output.LayerNorm", "layer_output_norm", false},
};

bool gf_gguf_tensor_name(const char *parameter, char name[GF_GGUF_NAME], bool *matrix) {
    static const char layer[] = "encoder.layer.";
    const char *stem = parameter, *number = parameter + strlen(layer), *last;
    int digits = 0, n;
    if (strncmp(parameter, layer, strlen(layer)) == 0) {
        digits = (int)strspn(number, "0123456789");
        stem = number + digits + 1;
    }
    if (!(last = strrchr(stem, '.'))) return false;
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        size_t size = strlen(stems[i].ours);
        if (size != (size_t)(last - stem) || memcmp(stem, stems[i].ours, size) != 0) continue;
        *matrix = stems[i].matrix && strcmp(last, ".weight") == 0;
        n = digits ? snprintf(name, GF_GGUF_NAME, "blk.%.*s.%s%s", digits, number, stems[i].theirs,
                              last)
                   : snprintf(name, GF_GGUF_NAME, "%s%s", stems[i].theirs, last);
        return n > 0 && n < GF_GGUF_NAME;
    }
    return false;
}

const char *gf_gguf_special_key(gf_special which) {
    static const char *const keys[GF_SPECIALS] = {
        [GF_UNK] = "tokenizer.ggml.unknown_token_id",   [GF_CLS] = "tokenizer.ggml.cls_token_id",
        [GF_SEP] = "tokenizer.ggml.seperator_token_id", /* so spelt by everyone */
        [GF_PAD] = "tokenizer.ggml.padding_token_id",   [GF_MASK] = "tokenizer.ggml.mask_token_id",
    };
    return keys[which];
}

static const char mark[] = "\xe2\x96\x81"; /* U+2581, where a word begins */

static bool begins(const char *text, size_t size, const char *with) {
    return size >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

char *gf_gguf_token_from(gf_gguf_text text, int64_t type, gf_err *e) {
    const char *s = text.data;
    size_t size = text.size;
    bool word = begins(s, size, mark);
    bool whole = type == GF_GGUF_CONTROL || type == GF_GGUF_UNKNOWN || type == GF_GGUF_BYTE;
    /* Old converters left "[unused7]" as it is without calling it special. */
    bool bracketed = size > 2 && s[0] == '[' && s[size - 1] == ']';
    if (word && !whole) return gf_strndup(s + strlen(mark), size - strlen(mark), e);
    if (whole || bracketed || type == GF_GGUF_USER_DEFINED) return gf_strndup(s, size, e);
    return gf_format(e, "##%.*s", (int)size, s);
}

char *gf_gguf_token_to(const char *token, int64_t type, gf_err *e) {
    if (type != GF_GGUF_NORMAL) return gf_strdup(token, e);
    if (begins(token, strlen(token), "##")) return gf_strdup(token + 2, e);
    return gf_format(e, "%s%s", mark, token);
}
