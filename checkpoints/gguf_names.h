/* gguf_names: what BERT's parameters and tokens are called in a GGUF file; for gguf_bert.c, which
 * reads such files, and gguf_bert_write.c.
 *
 *     char name[GF_GGUF_NAME];
 *     gf_gguf_tensor_name("encoder.layer.0.output.dense.bias", name, &matrix);
 *     ... name is "blk.0.ffn_down.bias", matrix is false ...
 */
#ifndef GF_CHECKPOINTS_GGUF_NAMES_H
#define GF_CHECKPOINTS_GGUF_NAMES_H

#include "checkpoints/gguf.h"
#include "data/wordpiece.h"

enum { GF_GGUF_NAME = 64 };

/* The values of tokenizer.ggml.token_type. */
typedef enum gf_gguf_token {
    GF_GGUF_NORMAL = 1,
    GF_GGUF_UNKNOWN,
    GF_GGUF_CONTROL, /* special: "[CLS]" */
    GF_GGUF_USER_DEFINED,
    GF_GGUF_UNUSED, /* there is no token of this id */
    GF_GGUF_BYTE
} gf_gguf_token;

/* The tensor's name for a parameter's, false if there is none; *matrix tells whether it is a large
 * matrix, which may be stored as F16. */
bool gf_gguf_tensor_name(const char *parameter, char name[GF_GGUF_NAME], bool *matrix);

/* The key under which the id of a special token stands. */
const char *gf_gguf_special_key(gf_special which);

/* A vocabulary's token from the file's text, in which words begin with U+2581 and pieces inside a
 * word with nothing, instead of nothing and "##"; it holds no 0
 * byte. Free with gf_free(). */
char *gf_gguf_token_from(gf_gguf_text text, int64_t type, gf_err *e);
/* And back. */
char *gf_gguf_token_to(const char *token, int64_t type, gf_err *e);

#endif
