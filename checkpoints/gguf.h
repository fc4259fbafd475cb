/* gguf: the container of GGUF files, keys with values and then tensors, read in place and written.
 *
 *     gf_gguf g = {0};
 *     if (!gf_gguf_parse(&g, NULL, map.data, map.size, "model.gguf", e)) goto done;
 *     if (!gf_gguf_get_integer(&g, "bert.block_count", &layers, e)) goto done;
 *     gf_gguf_free(&g);
 *
 *     gf_gguf_writer w = {0};
 *     ok = gf_gguf_put_integer(&w, "bert.block_count", 6, e) &&
 *          gf_gguf_put_tensor(&w, &tensor, GF_DTYPE_F16, e) &&
 *          gf_gguf_write(&w, "model.gguf", e);
 *     gf_gguf_writer_free(&w);
 *
 * The format (ggml, docs/gguf.md), little endian: "GGUF", u32 version, u64 tensors, u64 keys; a key
 * is its name, a u32 type, the value; a text is u64 length and bytes; an array is u32 type, u64
 * count, elements; a tensor is its name, u32 dimensions, u64 each (the last one of C order comes
 * first), u32 type, u64 offset in the data, which begin at the next multiple of general.alignment
 * (32 if it is not there). The file may be hostile: what is not exactly so is refused with
 * GF_E_MODEL. Version 1 and big-endian files are refused by name. What a GGUF file means is the
 * business of gguf_bert.h. */
#ifndef GF_CHECKPOINTS_GGUF_H
#define GF_CHECKPOINTS_GGUF_H

#include "checkpoints/safetensors.h"
#include "core/text.h"

/* Types of values, by their numbers in the file. */
typedef enum gf_gguf_type {
    GF_GGUF_U8,
    GF_GGUF_I8,
    GF_GGUF_U16,
    GF_GGUF_I16,
    GF_GGUF_U32,
    GF_GGUF_I32,
    GF_GGUF_F32,
    GF_GGUF_BOOL,
    GF_GGUF_TEXT,
    GF_GGUF_ARRAY,
    GF_GGUF_U64,
    GF_GGUF_I64,
    GF_GGUF_F64,
    GF_GGUF_TYPES
} gf_gguf_type;

typedef struct gf_gguf_text {
    const char *data; /* in the file: no 0 byte follows, but none is inside a key's name */
    size_t size;
} gf_gguf_text;

typedef struct gf_gguf_key {
    gf_gguf_text name;
    gf_gguf_type type; /* of the value or of the array's elements; never GF_GGUF_ARRAY */
    bool is_array;
    int64_t count;             /* elements; 1 if it is no array */
    const unsigned char *data; /* checked: all elements lie within the file */
} gf_gguf_key;

typedef struct gf_gguf {
    const char *where; /* names the file in errors; the caller's */
    gf_gguf_key *keys; /* [count] by name */
    int64_t count;
} gf_gguf;

/* Reads keys, and adds the tensors to t under their names unless t is NULL. The bytes stay the
 * caller's and must outlive both. g must be zeroed; after a failure it is empty again. */
bool gf_gguf_parse(gf_gguf *g, gf_tensors *t, const unsigned char *bytes, size_t size,
                   const char *where, gf_err *e);
void gf_gguf_free(gf_gguf *g);

/* The key of this name, or NULL. */
const gf_gguf_key *gf_gguf_find(const gf_gguf *g, const char *name);
/* The value of a key; fails when it is absent or of another type. Any type of integer, and any of
 * real number, will do. */
bool gf_gguf_get_integer(const gf_gguf *g, const char *name, int64_t *out, gf_err *e);
bool gf_gguf_get_real(const gf_gguf *g, const char *name, double *out, gf_err *e);
bool gf_gguf_get_bool(const gf_gguf *g, const char *name, bool *out, gf_err *e);
bool gf_gguf_get_text(const gf_gguf *g, const char *name, gf_gguf_text *out, gf_err *e);
/* An array of texts or integers, of any length. */
bool gf_gguf_get_array(const gf_gguf *g, const char *name, bool texts, const gf_gguf_key **out,
                       gf_err *e);
/* The text at *at, which moves to the next; begin with a key's data, and count. */
gf_gguf_text gf_gguf_next_text(const unsigned char **at);
/* Element i of a key of integers. */
int64_t gf_gguf_integer_at(const gf_gguf_key *k, int64_t i);
bool gf_gguf_text_is(gf_gguf_text text, const char *wanted);

/* The format as gf_tensors_open() knows it: tensors under their names, keys as metadata, with long
 * texts and arrays in short. */
bool gf_gguf_begins(const unsigned char *bytes, size_t size);
bool gf_gguf_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                  gf_err *e);

/* A file in the making; starts zeroed, and is freed also after a failure. Keys and tensors stand in
 * the file in the order in which they are put. */
typedef struct gf_gguf_writer {
    gf_text keys, infos;
    int64_t n_keys;
    struct gf_gguf_item *items; /* [n_items] the tensors' values */
    int64_t n_items, capacity;
    int64_t offset; /* where the next tensor's data begin */
} gf_gguf_writer;

bool gf_gguf_put_integer(gf_gguf_writer *w, const char *name, uint32_t value, gf_err *e);
bool gf_gguf_put_real(gf_gguf_writer *w, const char *name, float value, gf_err *e);
bool gf_gguf_put_bool(gf_gguf_writer *w, const char *name, bool value, gf_err *e);
bool gf_gguf_put_text(gf_gguf_writer *w, const char *name, const char *value, gf_err *e);
/* Begins an array of GF_GGUF_TEXT or GF_GGUF_I32; exactly `count` elements must follow. */
bool gf_gguf_put_array(gf_gguf_writer *w, const char *name, gf_gguf_type type, int64_t count,
                       gf_err *e);
bool gf_gguf_put_text_element(gf_gguf_writer *w, const char *bytes, size_t size, gf_err *e);
bool gf_gguf_put_integer_element(gf_gguf_writer *w, int32_t value, gf_err *e);
/* F32 or F16. The values stay the caller's until the file is written. */
bool gf_gguf_put_tensor(gf_gguf_writer *w, const gf_named_tensor *t, gf_dtype dtype, gf_err *e);
/* Writes version 3 with alignment 32, published atomically (core/io). */
bool gf_gguf_write(const gf_gguf_writer *w, const char *path, gf_err *e);
void gf_gguf_writer_free(gf_gguf_writer *w);

#endif
