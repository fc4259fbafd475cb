#include "checkpoints/safetensors.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

/* A header is padded with spaces to a multiple of this, so that the data behind it is aligned. */
enum { ALIGNMENT = 8 };

static int by_name(const void *a, const void *b) {
    return strcmp(((const gf_named_tensor *)a)->name, ((const gf_named_tensor *)b)->name);
}

/* Adds {"dtype", "shape", "data_offsets"} and moves *offset behind the tensor. */
static bool add_entry(cJSON *header, const gf_named_tensor *t, gf_dtype dtype, int64_t *offset,
                      gf_err *e) {
    cJSON *entry = gf_json_object(header, t->name, e), *shape, *offsets;
    int64_t bytes;
    bool ok = entry && gf_json_string(entry, "dtype", gf_dtype_name(dtype), e);
    if (!gf_mul_i64(gf_shape_count(&t->shape), (int64_t)gf_dtype_size(dtype), &bytes) || bytes < 0)
        return gf_fail(e, GF_E_INTERNAL, "tensor \"%s\" is too large to be written", t->name);
    ok = ok && (shape = gf_json_array(entry, "shape", e));
    for (int i = 0; ok && i < t->shape.n; i++)
        ok = gf_json_number(shape, NULL, (double)t->shape.dim[i], e);
    ok = ok && (offsets = gf_json_array(entry, "data_offsets", e));
    ok = ok && gf_json_number(offsets, NULL, (double)*offset, e);
    *offset += bytes;
    return ok && gf_json_number(offsets, NULL, (double)*offset, e);
}

/* The header's text, unpadded; free with gf_free(). */
static char *make_header(const gf_named_tensor *sorted, int64_t count, gf_dtype dtype,
                         const cJSON *further, gf_err *e) {
    cJSON *header = gf_json_object(NULL, NULL, e), *metadata = NULL;
    const cJSON *item;
    int64_t offset = 0;
    char *text = NULL;
    bool ok = header && (metadata = gf_json_object(header, "__metadata__", e)) &&
              gf_json_string(metadata, "format", "pt", e);
    cJSON_ArrayForEach(item, further) ok =
        ok && gf_json_string(metadata, item->string, item->valuestring, e);
    for (int64_t i = 0; ok && i < count; i++) ok = add_entry(header, &sorted[i], dtype, &offset, e);
    if (ok && !(text = cJSON_PrintUnformatted(header)))
        gf_fail(e, GF_E_NOMEM, "out of memory while writing a safetensors header");
    cJSON_Delete(header);
    return text;
}

static bool write_header(gf_file *f, const char *header, gf_err *e) {
    static const char spaces[ALIGNMENT] = "       ";
    size_t length = strlen(header), padding = (ALIGNMENT - length % ALIGNMENT) % ALIGNMENT;
    uint64_t padded = length + padding;
    return gf_io_write(f, &padded, sizeof padded, e) && gf_io_write(f, header, length, e) &&
           gf_io_write(f, spaces, padding, e);
}

static bool write_values(gf_file *f, const gf_named_tensor *t, gf_dtype dtype, gf_err *e) {
    unsigned char chunk[4096];
    int64_t count = gf_shape_count(&t->shape), most = sizeof chunk / sizeof(float);
    for (int64_t i = 0; i < count; i += most) {
        int64_t n = count - i < most ? count - i : most;
        gf_tensor_pack(dtype, t->data + i, n, chunk);
        if (!gf_io_write(f, chunk, (size_t)n * gf_dtype_size(dtype), e)) return false;
    }
    return true;
}

bool gf_safetensors_write(const char *path, const gf_named_tensor *items, int64_t count,
                          gf_err *e) {
    return gf_safetensors_write_as(path, items, count, GF_DTYPE_F32, NULL, e);
}

bool gf_safetensors_write_as(const char *path, const gf_named_tensor *items, int64_t count,
                             gf_dtype dtype, const cJSON *metadata, gf_err *e) {
    gf_named_tensor *sorted = gf_alloc_array(count, sizeof *sorted, e);
    char *header = NULL, *tmp = NULL;
    gf_file *f = NULL;
    bool ok = false;
    if (!sorted) return false;
    if (count) memcpy(sorted, items, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    if (!(header = make_header(sorted, count, dtype, metadata, e)) ||
        !(tmp = gf_format(e, "%s.tmp", path)) || !(f = gf_io_create(tmp, e)))
        goto done;
    ok = write_header(f, header, e);
    for (int64_t i = 0; ok && i < count; i++) ok = write_values(f, &sorted[i], dtype, e);
    ok = gf_io_close(f, e) && ok;
    ok = ok && gf_io_publish(tmp, path, e);
    if (!ok) gf_io_remove(tmp, NULL);
done:
    gf_free(tmp);
    cJSON_free(header);
    gf_free(sorted);
    return ok;
}
