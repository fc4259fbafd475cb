#include "checkpoints/tensors.h"

#include "checkpoints/gguf.h"
#include "checkpoints/onnx_read.h"
#include "checkpoints/safetensors.h"
#include "checkpoints/torch_file.h"
#include "core/mem.h"
#include "core/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX = 1 << 26, MAX_SHARDS = 4096, LOOK = 16 };

/* A format: whether bytes begin as its files do, and its reader, which adds what it finds. */
static const struct {
    const char *name;
    bool (*begins)(const unsigned char *bytes, size_t size);
    bool (*read)(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                 gf_err *e);
} formats[] = {
    {"safetensors", gf_safetensors_begins, gf_safetensors_read},
    {"GGUF", gf_gguf_begins, gf_gguf_read},
    {"PyTorch", gf_torch_begins, gf_torch_read},
    {"ONNX", gf_onnx_begins, gf_onnx_read},
};

static int format_of(const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i].begins(bytes, size)) return (int)i;
    return -1;
}

bool gf_tensors_is_known(const char *path) {
    unsigned char bytes[LOOK];
    gf_file *f = gf_io_is_file(path) ? gf_io_open(path, NULL) : NULL;
    int64_t n = f ? gf_io_read(f, bytes, sizeof bytes, NULL) : -1;
    gf_io_close(f, NULL);
    return n > 0 && format_of(bytes, (size_t)n) >= 0;
}

void *gf_tensors_alloc(gf_tensors *t, size_t bytes, gf_err *e) {
    void *p = NULL;
    if (gf_grow(&t->owned, t->n_owned, &t->owned_capacity, sizeof *t->owned, e) &&
        (p = gf_alloc(bytes, e)))
        t->owned[t->n_owned++] = p;
    return p;
}

static const char *copy_text(gf_tensors *t, const char *text, gf_err *e) {
    char *copy = gf_tensors_alloc(t, strlen(text) + 1, e);
    if (copy) memcpy(copy, text, strlen(text) + 1);
    return copy;
}

bool gf_tensors_add(gf_tensors *t, const gf_tensor *tensor, const char *where, gf_err *e) {
    gf_tensor x = *tensor;
    size_t wanted = 0;
    if (x.dtype != GF_DTYPE_OTHER &&
        (!gf_mul_size((size_t)x.count, gf_dtype_size(x.dtype), &wanted) || wanted != x.bytes))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\": %lld elements of %s do not fill %zu bytes; the file is "
                       "damaged",
                       where, x.name, (long long)x.count, x.dtype_name, x.bytes);
    if (!gf_grow(&t->items, t->count, &t->capacity, sizeof *t->items, e) ||
        !(x.name = copy_text(t, x.name, e)) || !(x.dtype_name = copy_text(t, x.dtype_name, e)))
        return false;
    t->items[t->count++] = x;
    return true;
}

static bool keep_map(gf_tensors *t, gf_map *map, gf_err *e) {
    gf_map *maps = gf_realloc_array(t->maps, t->n_maps + 1, sizeof *maps, e);
    if (!maps) return false;
    t->maps = maps;
    maps[t->n_maps++] = *map;
    *map = (gf_map){0}; /* t owns it now */
    return true;
}

static bool open_file(gf_tensors *t, const char *path, gf_err *e) {
    gf_map map = {0};
    bool ok = gf_io_map(&map, path, e);
    int format = ok ? format_of(map.data, map.size) : -1;
    if (ok && format < 0)
        ok = gf_fail(e, GF_E_MODEL,
                     "%s: it begins as no safetensors, PyTorch, GGUF or ONNX file does; it is "
                     "damaged, or no "
                     "file of weights",
                     path);
    if (ok && !t->format) t->format = formats[format].name;
    ok = ok && formats[format].read(t, map.data, map.size, path, e) && keep_map(t, &map, e);
    gf_io_unmap(&map);
    return ok;
}

/* Opens the files that "weight_map" names, each once, in the order in which they first appear. */
static bool open_shards(gf_tensors *t, const cJSON *index, const char *path, gf_err *e) {
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map"), *item, *before;
    int64_t n = 0;
    char *folder = gf_io_folder_of(path, e);
    bool ok = folder != NULL;
    if (ok && (!cJSON_IsObject(map) || !map->child))
        ok = gf_fail(e, GF_E_MODEL, "%s: it has no \"weight_map\" of tensors", path);
    cJSON_ArrayForEach(item, map) {
        char *file = NULL;
        if (!ok) break;
        if (!cJSON_IsString(item) || strchr(item->valuestring, '/') || n == MAX_SHARDS) {
            ok = gf_fail(e, GF_E_MODEL,
                         "%s: \"weight_map\": \"%s\" must name a file of the same folder, of at "
                         "most %d files",
                         path, item->string, MAX_SHARDS);
            break;
        }
        for (before = map->child; before != item; before = before->next)
            if (strcmp(before->valuestring, item->valuestring) == 0) break;
        if (before != item) continue;
        n++;
        ok = (file = gf_io_join(folder, item->valuestring, e)) && open_file(t, file, e);
        gf_free(file);
    }
    gf_free(folder);
    return ok;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const gf_tensor *)a)->name, ((const gf_tensor *)b)->name);
}

static bool check_index(const gf_tensors *t, const cJSON *index, const char *path, gf_err *e) {
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(index, "weight_map")) {
        if (gf_tensors_find(t, item->string)) continue;
        return gf_fail(e, GF_E_MODEL, "%s: tensor \"%s\" is not in the file \"%s\" it names", path,
                       item->string, item->valuestring);
    }
    return true;
}

static bool open_index(gf_tensors *t, const char *path, cJSON **index, gf_err *e) {
    *index = gf_json_read(path, MAX_INDEX, e);
    return *index && open_shards(t, *index, path, e);
}

bool gf_tensors_open(gf_tensors *t, const char *path, gf_err *e) {
    cJSON *index = NULL;
    bool ok = gf_text_ends_with(path, ".index.json") ? open_index(t, path, &index, e)
                                                     : open_file(t, path, e);
    if (ok && t->count) qsort(t->items, (size_t)t->count, sizeof *t->items, by_name);
    for (int64_t i = 1; ok && i < t->count; i++)
        if (strcmp(t->items[i - 1].name, t->items[i].name) == 0)
            ok = gf_fail(e, GF_E_MODEL, "%s: tensor \"%s\" stands twice", path, t->items[i].name);
    ok = ok && check_index(t, index, path, e);
    cJSON_Delete(index);
    return ok;
}

const gf_tensor *gf_tensors_find(const gf_tensors *t, const char *name) {
    gf_tensor key = {.name = name};
    if (t->count == 0) return NULL;
    return bsearch(&key, t->items, (size_t)t->count, sizeof key, by_name);
}

void gf_tensors_close(gf_tensors *t) {
    for (int64_t i = 0; i < t->n_maps; i++) gf_io_unmap(&t->maps[i]);
    for (int64_t i = 0; i < t->n_owned; i++) gf_free(t->owned[i]);
    gf_free(t->maps);
    gf_free(t->owned);
    gf_free(t->items);
    cJSON_Delete(t->metadata);
    *t = (gf_tensors){0};
}
