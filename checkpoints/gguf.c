#include "checkpoints/gguf.h"

#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 32, /* where general.alignment says nothing */
    MAX_ALIGNMENT = 1 << 16,
    MAX_KEYS = 1 << 16,
    MAX_TENSORS = 1 << 20,
    MAX_KEY_NAME = 65535,
    MAX_TENSOR_NAME = 255,
    MAX_DIMS = 4,
    SHOWN = 200 /* bytes of a text that metadata show */
};

static const struct {
    const char *name;
    uint32_t number, block, bytes;
} ggml_types[] = {
#define GGML_TYPE(name, number, block, bytes) {#name, number, block, bytes},
#include "checkpoints/ggml_type.def"
#undef GGML_TYPE
};

static const struct {
    const char *name;
    size_t size; /* 0: it varies */
} value_types[GF_GGUF_TYPES] = {
    [GF_GGUF_U8] = {"u8", 1},       [GF_GGUF_I8] = {"i8", 1},     [GF_GGUF_U16] = {"u16", 2},
    [GF_GGUF_I16] = {"i16", 2},     [GF_GGUF_U32] = {"u32", 4},   [GF_GGUF_I32] = {"i32", 4},
    [GF_GGUF_F32] = {"f32", 4},     [GF_GGUF_BOOL] = {"bool", 1}, [GF_GGUF_TEXT] = {"text", 0},
    [GF_GGUF_ARRAY] = {"array", 0}, [GF_GGUF_U64] = {"u64", 8},   [GF_GGUF_I64] = {"i64", 8},
    [GF_GGUF_F64] = {"f64", 8},
};

/* What is left of the file. The take_*() return false at its end. */
typedef struct cursor {
    const unsigned char *at, *end;
} cursor;

static size_t left(const cursor *c) { return (size_t)(c->end - c->at); }

static bool take(cursor *c, void *out, size_t size) {
    if (left(c) < size) return false;
    memcpy(out, c->at, size);
    c->at += size;
    return true;
}

static bool take_text(cursor *c, gf_gguf_text *text) {
    uint64_t size;
    if (!take(c, &size, sizeof size) || size > left(c)) return false;
    *text = (gf_gguf_text){(const char *)c->at, (size_t)size};
    c->at += size;
    return true;
}

/* A name of 1 to `most` bytes, none of them 0. */
static bool take_name(cursor *c, gf_gguf_text *name, size_t most) {
    return take_text(c, name) && name->size > 0 && name->size <= most &&
           !memchr(name->data, 0, name->size);
}

static bool skip_values(cursor *c, gf_gguf_type type, uint64_t count) {
    gf_gguf_text text;
    size_t size = value_types[type].size;
    if (type == GF_GGUF_TEXT) {
        while (count > 0 && take_text(c, &text)) count--;
        return count == 0;
    }
    if (count > left(c) / size) return false;
    c->at += count * size;
    return true;
}

static bool read_key(cursor *c, gf_gguf_key *k, const char *where, gf_err *e) {
    uint32_t type;
    uint64_t count = 1;
    if (!take_name(c, &k->name, MAX_KEY_NAME) || !take(c, &type, sizeof type))
        return gf_fail(e, GF_E_MODEL, "%s: a key has no proper name; the file is damaged", where);
    k->is_array = type == GF_GGUF_ARRAY;
    if (k->is_array && (!take(c, &type, sizeof type) || !take(c, &count, sizeof count)))
        return gf_fail(e, GF_E_MODEL, "%s: it ends within a key; it is cut short", where);
    if (type >= GF_GGUF_TYPES || type == GF_GGUF_ARRAY)
        return gf_fail(e, GF_E_MODEL,
                       "%s: key \"%.*s\" has values of type %u; plain values and arrays of them "
                       "can be read",
                       where, (int)k->name.size, k->name.data, type);
    k->type = (gf_gguf_type)type;
    k->data = c->at;
    if (!skip_values(c, k->type, count))
        return gf_fail(e, GF_E_MODEL,
                       "%s: key \"%.*s\": its value reaches behind the end of the file, which is "
                       "damaged or cut short",
                       where, (int)k->name.size, k->name.data);
    k->count = (int64_t)count; /* each element has a byte in the file */
    return true;
}

static int compare(gf_gguf_text a, gf_gguf_text b) {
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int by_name(const void *a, const void *b) {
    return compare(((const gf_gguf_key *)a)->name, ((const gf_gguf_key *)b)->name);
}

static bool read_keys(gf_gguf *g, cursor *c, uint64_t count, gf_err *e) {
    if (!(g->keys = gf_alloc_array((int64_t)count, sizeof *g->keys, e))) return false;
    for (; (uint64_t)g->count < count; g->count++)
        if (!read_key(c, &g->keys[g->count], g->where, e)) return false;
    if (count) qsort(g->keys, (size_t)count, sizeof *g->keys, by_name);
    for (int64_t i = 1; i < g->count; i++) {
        gf_gguf_text name = g->keys[i].name;
        if (compare(g->keys[i - 1].name, name) == 0)
            return gf_fail(e, GF_E_MODEL, "%s: key \"%.*s\" stands twice", g->where, (int)name.size,
                           name.data);
    }
    return true;
}

/* A tensor's description; t->data is not set yet. */
typedef struct info {
    char name[MAX_TENSOR_NAME + 1], type[24];
    gf_tensor t;
    uint64_t offset;
} info;

/* Type and bytes; the bytes of an unknown type are not known. */
static bool measure(info *x, uint32_t number, const char *where, gf_err *e) {
    size_t i = 0, n = sizeof ggml_types / sizeof *ggml_types, bytes;
    int64_t row = x->t.n_dims ? x->t.dim[x->t.n_dims - 1] : 1;
    while (i < n && ggml_types[i].number != number) i++;
    if (i == n) return snprintf(x->type, sizeof x->type, "number %u", number) > 0;
    snprintf(x->type, sizeof x->type, "%s", ggml_types[i].name);
    x->t.dtype = gf_dtype_find(x->type);
    bytes = (size_t)(x->t.count / ggml_types[i].block);
    if (row % ggml_types[i].block == 0 && gf_mul_size(bytes, ggml_types[i].bytes, &x->t.bytes))
        return true;
    return gf_fail(e, GF_E_MODEL,
                   "%s: tensor \"%s\": rows of %lld elements cannot be of type %s; the file is "
                   "damaged",
                   where, x->name, (long long)row, x->type);
}

static bool read_dims(cursor *c, gf_tensor *t, uint32_t n) {
    bool zero = false;
    t->n_dims = (int)n;
    t->count = 1;
    for (int i = (int)n - 1; i >= 0; i--) { /* the file has the last one first */
        uint64_t dim;
        if (!take(c, &dim, sizeof dim) || dim > INT64_MAX) return false;
        t->dim[i] = (int64_t)dim;
        zero = zero || dim == 0;
        if (dim && !gf_mul_i64(t->count, (int64_t)dim, &t->count)) return false;
    }
    if (zero) t->count = 0;
    return true;
}

static bool read_info(cursor *c, info *x, const char *where, gf_err *e) {
    gf_gguf_text name;
    uint32_t n_dims, type;
    if (!take_name(c, &name, MAX_TENSOR_NAME))
        return gf_fail(e, GF_E_MODEL, "%s: a tensor has no proper name; the file is damaged",
                       where);
    *x = (info){{0}, {0}, {.name = x->name, .dtype_name = x->type}, 0};
    memcpy(x->name, name.data, name.size);
    if (!take(c, &n_dims, sizeof n_dims) || n_dims > MAX_DIMS || !read_dims(c, &x->t, n_dims) ||
        !take(c, &type, sizeof type) || !take(c, &x->offset, sizeof x->offset))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\": at most %d dimensions whose product fits into 63 bits "
                       "are wanted; the file is damaged or cut short",
                       where, x->name, MAX_DIMS);
    return measure(x, type, where, e);
}

static bool read_alignment(const gf_gguf *g, size_t *alignment, gf_err *e) {
    static const char name[] = "general.alignment";
    int64_t n = ALIGNMENT;
    if (gf_gguf_find(g, name) && !gf_gguf_get_integer(g, name, &n, e)) return false;
    if (n < 1 || n > MAX_ALIGNMENT || (n & (n - 1)))
        return gf_fail(e, GF_E_MODEL,
                       "%s: %s is %lld; a power of two up to %d is wanted; the file is damaged",
                       g->where, name, (long long)n, MAX_ALIGNMENT);
    *alignment = (size_t)n;
    return true;
}

/* Descriptions, from c; then the data, from the next multiple of the alignment. */
static bool read_tensors(const gf_gguf *g, gf_tensors *t, cursor *c, uint64_t count,
                         const unsigned char *bytes, gf_err *e) {
    cursor again = *c;
    size_t alignment = ALIGNMENT, size;
    info x;
    if (!read_alignment(g, &alignment, e)) return false;
    for (uint64_t i = 0; i < count; i++)
        if (!read_info(c, &x, g->where, e)) return false;
    size = (size_t)(c->at - bytes);
    size = (alignment - size % alignment) % alignment;
    c->at = size < left(c) ? c->at + size : c->end;
    size = left(c);
    for (uint64_t i = 0; t && i < count; i++) {
        if (!read_info(&again, &x, g->where, e)) return false;
        if (x.offset % alignment || x.offset > size || x.t.bytes > size - x.offset)
            return gf_fail(e, GF_E_MODEL,
                           "%s: tensor \"%s\": its %zu bytes at %llu must be aligned to %zu and "
                           "lie within the %zu bytes of data; the file is damaged or cut short",
                           g->where, x.name, x.t.bytes, (unsigned long long)x.offset, alignment,
                           size);
        x.t.data = c->at + x.offset;
        if (!gf_tensors_add(t, &x.t, g->where, e)) return false;
    }
    return true;
}

static bool check_version(uint32_t version, const char *where, gf_err *e) {
    if (version == 2 || version == 3) return true;
    if (version && (version & 0xffff) == 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: it is a big-endian GGUF file; convert the model to a little-endian one",
                       where);
    return gf_fail(e, GF_E_MODEL,
                   "%s: it is of GGUF version %u; versions 2 and 3 can be read, convert the model "
                   "again",
                   where, version);
}

bool gf_gguf_begins(const unsigned char *bytes, size_t size) {
    return size >= 4 && memcmp(bytes, "GGUF", 4) == 0;
}

bool gf_gguf_parse(gf_gguf *g, gf_tensors *t, const unsigned char *bytes, size_t size,
                   const char *where, gf_err *e) {
    cursor c = {bytes, bytes + size};
    char magic[4];
    uint32_t version = 0;
    uint64_t tensors = 0, keys = 0;
    bool ok = gf_gguf_begins(bytes, size) && take(&c, magic, sizeof magic) &&
              take(&c, &version, sizeof version);
    *g = (gf_gguf){.where = where};
    if (!ok) return gf_fail(e, GF_E_MODEL, "%s: it does not begin as a GGUF file does", where);
    if (!check_version(version, where, e)) return false;
    if (!take(&c, &tensors, sizeof tensors) || !take(&c, &keys, sizeof keys))
        return gf_fail(e, GF_E_MODEL, "%s: it ends within its header; it is cut short", where);
    if (tensors > MAX_TENSORS || keys > MAX_KEYS)
        return gf_fail(e, GF_E_MODEL,
                       "%s: its header promises %llu tensors and %llu keys; at most %d and %d can "
                       "be read",
                       where, (unsigned long long)tensors, (unsigned long long)keys, MAX_TENSORS,
                       MAX_KEYS);
    ok = read_keys(g, &c, keys, e) && read_tensors(g, t, &c, tensors, bytes, e);
    if (!ok) gf_gguf_free(g);
    return ok;
}

void gf_gguf_free(gf_gguf *g) {
    gf_free(g->keys);
    *g = (gf_gguf){0};
}

const gf_gguf_key *gf_gguf_find(const gf_gguf *g, const char *name) {
    gf_gguf_key key = {.name = {name, strlen(name)}};
    if (g->count == 0) return NULL;
    return bsearch(&key, g->keys, (size_t)g->count, sizeof key, by_name);
}

static bool is_integer(gf_gguf_type type) {
    return type <= GF_GGUF_I32 || type == GF_GGUF_U64 || type == GF_GGUF_I64;
}

static bool wrong(const gf_gguf *g, const char *name, const char *wanted, gf_err *e) {
    const gf_gguf_key *k = gf_gguf_find(g, name);
    if (!k)
        return gf_fail(e, GF_E_MODEL, "%s: key \"%s\" is missing; %s is wanted", g->where, name,
                       wanted);
    return gf_fail(e, GF_E_MODEL, "%s: key \"%s\" is %s %s; %s is wanted", g->where, name,
                   k->is_array ? "an array of type" : "of type", value_types[k->type].name, wanted);
}

/* The key if it is there and no array. */
static const gf_gguf_key *plain(const gf_gguf *g, const char *name) {
    const gf_gguf_key *k = gf_gguf_find(g, name);
    return k && !k->is_array ? k : NULL;
}

int64_t gf_gguf_integer_at(const gf_gguf_key *k, int64_t i) {
    size_t size = value_types[k->type].size;
    const unsigned char *p = k->data + (size_t)i * size;
    uint64_t bits = 0;
    memcpy(&bits, p, size); /* little endian */
    switch (k->type) {
    case GF_GGUF_I8: return (int8_t)bits;
    case GF_GGUF_I16: return (int16_t)bits;
    case GF_GGUF_I32: return (int32_t)bits;
    case GF_GGUF_I64: return (int64_t)bits;
    default: return bits > INT64_MAX ? INT64_MAX : (int64_t)bits;
    }
}

bool gf_gguf_get_integer(const gf_gguf *g, const char *name, int64_t *out, gf_err *e) {
    const gf_gguf_key *k = plain(g, name);
    if (!k || !is_integer(k->type)) return wrong(g, name, "an integer", e);
    *out = gf_gguf_integer_at(k, 0);
    return true;
}

static double real_of(const gf_gguf_key *k) {
    float single;
    double real;
    if (k->type == GF_GGUF_F64) return memcpy(&real, k->data, sizeof real), real;
    return memcpy(&single, k->data, sizeof single), (double)single;
}

bool gf_gguf_get_real(const gf_gguf *g, const char *name, double *out, gf_err *e) {
    const gf_gguf_key *k = plain(g, name);
    if (!k || (k->type != GF_GGUF_F32 && k->type != GF_GGUF_F64))
        return wrong(g, name, "a real number", e);
    *out = real_of(k);
    return true;
}

bool gf_gguf_get_bool(const gf_gguf *g, const char *name, bool *out, gf_err *e) {
    const gf_gguf_key *k = plain(g, name);
    if (!k || k->type != GF_GGUF_BOOL) return wrong(g, name, "a truth value", e);
    *out = *k->data != 0;
    return true;
}

gf_gguf_text gf_gguf_next_text(const unsigned char **at) {
    uint64_t size;
    gf_gguf_text text;
    memcpy(&size, *at, sizeof size);
    text = (gf_gguf_text){(const char *)*at + sizeof size, (size_t)size};
    *at += sizeof size + text.size;
    return text;
}

bool gf_gguf_get_text(const gf_gguf *g, const char *name, gf_gguf_text *out, gf_err *e) {
    const gf_gguf_key *k = plain(g, name);
    const unsigned char *at = k ? k->data : NULL;
    if (!k || k->type != GF_GGUF_TEXT) return wrong(g, name, "a text", e);
    *out = gf_gguf_next_text(&at);
    return true;
}

bool gf_gguf_get_array(const gf_gguf *g, const char *name, bool texts, const gf_gguf_key **out,
                       gf_err *e) {
    const gf_gguf_key *k = gf_gguf_find(g, name);
    if (!k || !k->is_array || (texts ? k->type != GF_GGUF_TEXT : !is_integer(k->type)))
        return wrong(g, name, texts ? "an array of texts" : "an array of integers", e);
    *out = k;
    return true;
}

bool gf_gguf_text_is(gf_gguf_text text, const char *wanted) {
    return text.size == strlen(wanted) && memcmp(text.data, wanted, text.size) == 0;
}

/* As much of a text as metadata show, control characters as '?'. */
static bool show_text(gf_text *out, gf_gguf_text text, gf_err *e) {
    size_t n = text.size < SHOWN ? text.size : SHOWN;
    while (n < text.size && n > 0 && ((unsigned char)text.data[n] & 0xc0) == 0x80) n--;
    if (!gf_text_add_bytes(out, text.data, n, e)) return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out->data[i] < ' ') out->data[i] = '?';
    return n == text.size || gf_text_add(out, e, "...");
}

static bool show(gf_text *out, const gf_gguf_key *k, gf_err *e) {
    const unsigned char *at = k->data;
    if (k->is_array)
        return gf_text_add(out, e, "%lld of type %s", (long long)k->count,
                           value_types[k->type].name);
    if (k->type == GF_GGUF_TEXT) return show_text(out, gf_gguf_next_text(&at), e);
    if (k->type == GF_GGUF_BOOL) return gf_text_add(out, e, "%s", *k->data ? "true" : "false");
    if (is_integer(k->type))
        return gf_text_add(out, e, "%lld", (long long)gf_gguf_integer_at(k, 0));
    return gf_text_add(out, e, "%g", real_of(k));
}

/* The keys as an object of strings, in the order of their names. */
static cJSON *make_metadata(const gf_gguf *g, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e);
    gf_text value = {0};
    bool ok = j != NULL;
    for (int64_t i = 0; ok && i < g->count; i++) {
        gf_gguf_text key = g->keys[i].name;
        char *name = gf_strndup(key.data, key.size, e);
        value.length = 0;
        for (size_t n = 0; name && n < key.size; n++)
            if ((unsigned char)name[n] < ' ') name[n] = '?';
        ok = name && show(&value, &g->keys[i], e) && gf_json_string(j, name, value.data, e);
        gf_free(name);
    }
    gf_text_free(&value);
    if (ok) return j;
    cJSON_Delete(j);
    return NULL;
}

bool gf_gguf_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                  gf_err *e) {
    gf_gguf g = {0};
    bool ok = gf_gguf_parse(&g, t, bytes, size, where, e);
    if (ok && !t->metadata) ok = (t->metadata = make_metadata(&g, e)) != NULL;
    gf_gguf_free(&g);
    return ok;
}
