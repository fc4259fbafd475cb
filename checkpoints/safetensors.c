#include "checkpoints/safetensors.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

enum { LENGTH_BYTES = 8, MAX_HEADER = 100000000 };

/* A JSON number that is a whole one in [0, 2^53], where doubles are exact. */
static bool read_count(const cJSON *j, int64_t *out) {
    if (!cJSON_IsNumber(j) || !(j->valuedouble >= 0 && j->valuedouble <= 9007199254740992.0))
        return false;
    *out = (int64_t)j->valuedouble;
    return (double)*out == j->valuedouble;
}

static bool read_shape(gf_tensor *t, const cJSON *shape) {
    const cJSON *dim;
    bool zero = false;
    if (!cJSON_IsArray(shape)) return false;
    t->count = 1;
    cJSON_ArrayForEach(dim, shape) {
        int64_t n;
        if (!read_count(dim, &n)) return false;
        zero = zero || n == 0;
        if (n > 0 && !gf_mul_i64(t->count, n, &t->count)) return false;
        if (t->n_dims < GF_TENSOR_DIMS) t->dim[t->n_dims] = n;
        t->n_dims++;
    }
    if (zero) t->count = 0;
    return true;
}

static bool read_offsets(gf_tensor *t, const cJSON *offsets, const unsigned char *data,
                         size_t size) {
    int64_t begin, end;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2) return false;
    if (!read_count(offsets->child, &begin) || !read_count(offsets->child->next, &end))
        return false;
    if (begin > end || (uint64_t)end > size) return false;
    t->data = data + begin;
    t->bytes = (size_t)(end - begin);
    return true;
}

static bool read_tensor(gf_tensor *t, const cJSON *item, const unsigned char *data, size_t size,
                        const char *where, gf_err *e) {
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(item, "dtype");
    size_t wanted;
    *t = (gf_tensor){.name = item->string};
    if (!cJSON_IsObject(item) || !cJSON_IsString(dtype))
        return gf_fail(e, GF_E_MODEL, "%s: tensor \"%s\" has no \"dtype\"; the header is damaged",
                       where, t->name);
    t->dtype_name = dtype->valuestring;
    t->dtype = gf_dtype_find(t->dtype_name);
    if (!read_shape(t, cJSON_GetObjectItemCaseSensitive(item, "shape")))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\": \"shape\" must list whole numbers whose product fits "
                       "into 63 bits; the header is damaged",
                       where, t->name);
    if (!read_offsets(t, cJSON_GetObjectItemCaseSensitive(item, "data_offsets"), data, size))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\": \"data_offsets\" must be [begin, end] within the %zu "
                       "bytes of data; the file is damaged or cut short",
                       where, t->name, size);
    if (t->dtype != GF_DTYPE_OTHER &&
        (!gf_mul_size((size_t)t->count, gf_dtype_size(t->dtype), &wanted) || wanted != t->bytes))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\": %lld elements of %s do not fill %zu bytes; the header "
                       "is damaged",
                       where, t->name, (long long)t->count, t->dtype_name, t->bytes);
    return true;
}

static int by_offset(const void *a, const void *b) {
    const gf_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const gf_tensor *)a)->name, ((const gf_tensor *)b)->name);
}

/* The tensors must tile the data from its first byte to its last. */
static bool check_tiling(gf_safetensors *s, const unsigned char *data, size_t size,
                         const char *where, gf_err *e) {
    size_t end = 0;
    qsort(s->items, (size_t)s->count, sizeof *s->items, by_offset);
    for (int64_t i = 0; i < s->count; i++) {
        size_t begin = (size_t)(s->items[i].data - data);
        if (begin != end)
            return gf_fail(e, GF_E_MODEL,
                           "%s: tensor \"%s\" begins at byte %zu of the data, %s the one before it "
                           "ends at %zu; the file is damaged",
                           where, s->items[i].name, begin,
                           begin < end ? "although" : "which leaves a hole since", end);
        end += s->items[i].bytes;
    }
    if (end != size)
        return gf_fail(e, GF_E_MODEL,
                       "%s: %zu bytes of data follow the last tensor; the file is damaged", where,
                       size - end);
    return true;
}

static bool read_header(gf_safetensors *s, const unsigned char *data, size_t size,
                        const char *where, gf_err *e) {
    const cJSON *item;
    int64_t most = cJSON_GetArraySize(s->header);
    if (!cJSON_IsObject(s->header))
        return gf_fail(e, GF_E_MODEL, "%s: the header is no JSON object; is it a safetensors file?",
                       where);
    if (!(s->items = gf_alloc_array(most, sizeof *s->items, e))) return false;
    cJSON_ArrayForEach(item, s->header) {
        if (strcmp(item->string, "__metadata__") == 0) continue;
        if (!read_tensor(&s->items[s->count], item, data, size, where, e)) return false;
        s->count++;
    }
    if (!check_tiling(s, data, size, where, e)) return false;
    qsort(s->items, (size_t)s->count, sizeof *s->items, by_name);
    return true;
}

bool gf_safetensors_parse(gf_safetensors *s, const unsigned char *bytes, size_t size,
                          const char *where, gf_err *e) {
    const char *json = (const char *)bytes + LENGTH_BYTES;
    uint64_t length = 0;
    if (size > LENGTH_BYTES) memcpy(&length, bytes, sizeof length);
    if (length > MAX_HEADER || length == 0 || length > size - LENGTH_BYTES || *json != '{')
        return gf_fail(e, GF_E_MODEL,
                       "%s: no header of at most %d bytes at its start; it is cut short or no "
                       "safetensors file",
                       where, MAX_HEADER);
    s->header = gf_json_parse(json, (size_t)length, where, 1, GF_E_MODEL, e);
    if (s->header && read_header(s, bytes + LENGTH_BYTES + length,
                                 size - LENGTH_BYTES - (size_t)length, where, e))
        return true;
    gf_safetensors_close(s);
    return false;
}

bool gf_safetensors_open(gf_safetensors *s, const char *path, gf_err *e) {
    gf_map map = {0};
    if (!gf_io_map(&map, path, e)) return false;
    if (!gf_safetensors_parse(s, map.data, map.size, path, e)) {
        gf_io_unmap(&map);
        return false;
    }
    s->map = map; /* s owns it now */
    return true;
}

const gf_tensor *gf_safetensors_find(const gf_safetensors *s, const char *name) {
    gf_tensor key = {.name = name};
    if (s->count == 0) return NULL;
    return bsearch(&key, s->items, (size_t)s->count, sizeof key, by_name);
}

void gf_safetensors_close(gf_safetensors *s) {
    gf_io_unmap(&s->map);
    gf_free(s->items);
    cJSON_Delete(s->header);
    *s = (gf_safetensors){0};
}

bool gf_safetensors_begins(const unsigned char *bytes, size_t size) {
    uint64_t length = 0;
    if (size <= LENGTH_BYTES) return false;
    memcpy(&length, bytes, sizeof length);
    return length > 0 && length <= MAX_HEADER && bytes[LENGTH_BYTES] == '{';
}

bool gf_safetensors_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                         gf_err *e) {
    gf_safetensors s = {0};
    bool ok = gf_safetensors_parse(&s, bytes, size, where, e);
    for (int64_t i = 0; ok && i < s.count; i++) ok = gf_tensors_add(t, &s.items[i], where, e);
    if (ok && !t->metadata)
        t->metadata = cJSON_DetachItemFromObjectCaseSensitive(s.header, "__metadata__");
    gf_safetensors_close(&s);
    return ok;
}
