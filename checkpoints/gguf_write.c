#include "checkpoints/gguf.h"
#include "core/mem.h"

#include <string.h>

enum { VERSION = 3, ALIGNMENT = 32 };

typedef struct gf_gguf_item {
    const gf_real *data;
    int64_t count;
    gf_dtype dtype;
} gf_gguf_item;

static bool add(gf_text *out, const void *bytes, size_t size, gf_err *e) {
    return gf_text_add_bytes(out, bytes, size, e);
}

static bool add_u32(gf_text *out, uint32_t x, gf_err *e) { return add(out, &x, sizeof x, e); }
static bool add_u64(gf_text *out, uint64_t x, gf_err *e) { return add(out, &x, sizeof x, e); }

static bool add_text(gf_text *out, const char *bytes, size_t size, gf_err *e) {
    return add_u64(out, size, e) && add(out, bytes, size, e);
}

static bool put_name(gf_gguf_writer *w, const char *name, gf_gguf_type type, gf_err *e) {
    w->n_keys++;
    return add_text(&w->keys, name, strlen(name), e) && add_u32(&w->keys, type, e);
}

bool gf_gguf_put_integer(gf_gguf_writer *w, const char *name, uint32_t value, gf_err *e) {
    return put_name(w, name, GF_GGUF_U32, e) && add_u32(&w->keys, value, e);
}

bool gf_gguf_put_real(gf_gguf_writer *w, const char *name, float value, gf_err *e) {
    return put_name(w, name, GF_GGUF_F32, e) && add(&w->keys, &value, sizeof value, e);
}

bool gf_gguf_put_bool(gf_gguf_writer *w, const char *name, bool value, gf_err *e) {
    unsigned char byte = value;
    return put_name(w, name, GF_GGUF_BOOL, e) && add(&w->keys, &byte, sizeof byte, e);
}

bool gf_gguf_put_text(gf_gguf_writer *w, const char *name, const char *value, gf_err *e) {
    return put_name(w, name, GF_GGUF_TEXT, e) && add_text(&w->keys, value, strlen(value), e);
}

bool gf_gguf_put_array(gf_gguf_writer *w, const char *name, gf_gguf_type type, int64_t count,
                       gf_err *e) {
    return put_name(w, name, GF_GGUF_ARRAY, e) && add_u32(&w->keys, type, e) &&
           add_u64(&w->keys, (uint64_t)count, e);
}

bool gf_gguf_put_text_element(gf_gguf_writer *w, const char *bytes, size_t size, gf_err *e) {
    return add_text(&w->keys, bytes, size, e);
}

bool gf_gguf_put_integer_element(gf_gguf_writer *w, int32_t value, gf_err *e) {
    return add(&w->keys, &value, sizeof value, e);
}

static size_t padding_of(size_t size) { return (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT; }

bool gf_gguf_put_tensor(gf_gguf_writer *w, const gf_named_tensor *t, gf_dtype dtype, gf_err *e) {
    int64_t count = gf_shape_count(&t->shape), bytes = count * (int64_t)gf_dtype_size(dtype);
    gf_text *out = &w->infos;
    bool ok = add_text(out, t->name, strlen(t->name), e) && add_u32(out, (uint32_t)t->shape.n, e);
    if (count < 0)
        return gf_fail(e, GF_E_INTERNAL, "tensor \"%s\" is too large to be written", t->name);
    for (int i = t->shape.n - 1; ok && i >= 0; i--) /* the last one comes first */
        ok = add_u64(out, (uint64_t)t->shape.dim[i], e);
    ok = ok && add_u32(out, dtype == GF_DTYPE_F16, e) && /* ggml's numbers: F32 is 0, F16 is 1 */
         add_u64(out, (uint64_t)w->offset, e) &&
         gf_grow(&w->items, w->n_items, &w->capacity, sizeof *w->items, e);
    if (!ok) return false;
    w->items[w->n_items++] = (gf_gguf_item){t->data, count, dtype};
    w->offset += bytes + (int64_t)padding_of((size_t)bytes);
    return true;
}

static bool write_padding(gf_file *f, size_t size, gf_err *e) {
    static const char zeros[ALIGNMENT];
    return gf_io_write(f, zeros, padding_of(size), e);
}

static bool write_item(gf_file *f, const gf_gguf_item *x, gf_err *e) {
    unsigned char chunk[4096];
    int64_t most = sizeof chunk / sizeof(float);
    for (int64_t i = 0; i < x->count; i += most) {
        int64_t n = x->count - i < most ? x->count - i : most;
        gf_tensor_pack(x->dtype, x->data + i, n, chunk);
        if (!gf_io_write(f, chunk, (size_t)n * gf_dtype_size(x->dtype), e)) return false;
    }
    return write_padding(f, (size_t)x->count * gf_dtype_size(x->dtype), e);
}

static bool write_all(const gf_gguf_writer *w, gf_file *f, gf_err *e) {
    const uint64_t counts[2] = {(uint64_t)w->n_items, (uint64_t)w->n_keys};
    const uint32_t version = VERSION;
    size_t size = 4 + sizeof version + sizeof counts + w->keys.length + w->infos.length;
    bool ok = gf_io_write(f, "GGUF", 4, e) && gf_io_write(f, &version, sizeof version, e) &&
              gf_io_write(f, counts, sizeof counts, e) &&
              gf_io_write(f, w->keys.data, w->keys.length, e) &&
              gf_io_write(f, w->infos.data, w->infos.length, e) && write_padding(f, size, e);
    for (int64_t i = 0; ok && i < w->n_items; i++) ok = write_item(f, &w->items[i], e);
    return ok;
}

bool gf_gguf_write(const gf_gguf_writer *w, const char *path, gf_err *e) {
    char *tmp = gf_format(e, "%s.tmp", path);
    gf_file *f = tmp ? gf_io_create(tmp, e) : NULL;
    bool ok = f && write_all(w, f, e);
    ok = gf_io_close(f, e) && ok;
    ok = ok && gf_io_publish(tmp, path, e);
    if (!ok && f) gf_io_remove(tmp, NULL);
    gf_free(tmp);
    return ok;
}

void gf_gguf_writer_free(gf_gguf_writer *w) {
    gf_text_free(&w->keys);
    gf_text_free(&w->infos);
    gf_free(w->items);
    *w = (gf_gguf_writer){0};
}
