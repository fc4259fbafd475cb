#include "recipes/boundary_file.h"

#include "core/mem.h"

#include <string.h>

enum { DIGITS = GF_SHA256_HEX - 1, KEY = 32, DATA_DIGEST = 96, HEAD_DIGEST = 160 };

static const char magic[8] = "GFBOUND1"; /* without its 0 byte */

/* The size of the whole file; false when it does not fit. */
static bool size_of(const gf_boundary_file *what, size_t *size) {
    int64_t values;
    return gf_mul_i64(what->count, what->width, &values) &&
           gf_mul_size((size_t)values, sizeof(gf_real), size) &&
           gf_add_size(*size, GF_BOUNDARY_HEAD, size);
}

static void write_head(unsigned char *head, const gf_boundary_file *what, const char *data_digest) {
    const uint64_t order = 0x0102030405060708;
    char hex[GF_SHA256_HEX];
    memset(head, 0, GF_BOUNDARY_HEAD);
    memcpy(head, magic, sizeof magic);
    memcpy(head + 8, &order, sizeof order);
    memcpy(head + 16, &what->count, sizeof what->count);
    memcpy(head + 24, &what->width, sizeof what->width);
    memcpy(head + KEY, what->key, DIGITS);
    memcpy(head + DATA_DIGEST, data_digest, DIGITS);
    gf_sha256_of(head, HEAD_DIGEST, hex);
    memcpy(head + HEAD_DIGEST, hex, DIGITS);
}

static bool refuse(const char *path, const char *why, gf_err *e) {
    return gf_fail(e, GF_E_VERIFY, "%s: %s", path, why);
}

static bool check_map(const gf_map *map, const char *path, const gf_boundary_file *what, bool check,
                      gf_err *e) {
    unsigned char head[GF_BOUNDARY_HEAD];
    char hex[GF_SHA256_HEX], stated[GF_SHA256_HEX] = "";
    size_t size;
    if (map->size < GF_BOUNDARY_HEAD) return refuse(path, "it is cut off in its head", e);
    memcpy(stated, map->data + DATA_DIGEST, DIGITS);
    write_head(head, what, stated);
    if (memcmp(map->data, head, sizeof magic) != 0)
        return refuse(path, "it is no file of this kind", e);
    if (memcmp(map->data + KEY, head + KEY, DIGITS) != 0)
        return refuse(path, "it is of other weights, texts, max_length or kernels", e);
    if (memcmp(map->data, head, sizeof head) != 0) return refuse(path, "its head is damaged", e);
    if (!size_of(what, &size) || map->size != size)
        return refuse(path, "it has not the size it should have", e);
    if (!check) return true;
    gf_sha256_of(map->data + GF_BOUNDARY_HEAD, size - GF_BOUNDARY_HEAD, hex);
    return strcmp(hex, stated) == 0 || refuse(path, "its SHA-256 is not the one it states", e);
}

bool gf_boundary_file_open(gf_features *f, const char *path, const gf_boundary_file *what,
                           bool check, gf_err *e) {
    gf_map map = {0};
    if (!gf_io_map(&map, path, e)) return false;
    if (!check_map(&map, path, what, check, e)) {
        gf_io_unmap(&map);
        return false;
    }
    *f = (gf_features){.x = (const gf_real *)(const void *)(map.data + GF_BOUNDARY_HEAD),
                       .rows = what->count,
                       .width = what->width,
                       .map = map};
    return true;
}

bool gf_boundary_file_begin(gf_boundary_writer *w, const char *path, const gf_boundary_file *what,
                            gf_err *e) {
    size_t size;
    *w = (gf_boundary_writer){.path = path, .what = *what};
    if (!size_of(what, &size) || size > INT64_MAX)
        return gf_fail(e, GF_E_NOMEM, "%s: it would be too large", path);
    return (w->tmp = gf_format(e, "%s.tmp", path)) &&
           (w->file = gf_io_open_random(w->tmp, true, e)) &&
           gf_io_resize(w->file, (int64_t)size, e);
}

bool gf_boundary_file_put(gf_boundary_writer *w, int64_t first, int64_t count, const gf_real *x,
                          gf_err *e) {
    size_t each = (size_t)w->what.width * sizeof *x; /* fits: size_of() has looked */
    return gf_io_write_at(w->file, (int64_t)(GF_BOUNDARY_HEAD + (size_t)first * each), x,
                          (size_t)count * each, e);
}

/* The head comes last: a file without one is none. */
static bool add_head(gf_boundary_writer *w, gf_err *e) {
    unsigned char head[GF_BOUNDARY_HEAD];
    char hex[GF_SHA256_HEX];
    gf_map map = {0};
    if (!gf_io_map(&map, w->tmp, e)) return false;
    gf_sha256_of(map.data + GF_BOUNDARY_HEAD, map.size - GF_BOUNDARY_HEAD, hex);
    gf_io_unmap(&map);
    write_head(head, &w->what, hex);
    return gf_io_write_at(w->file, 0, head, sizeof head, e);
}

bool gf_boundary_file_end(gf_boundary_writer *w, bool ok, gf_err *e) {
    ok = ok && w->file && add_head(w, e);
    ok = gf_io_close(w->file, e) && ok;
    ok = ok && gf_io_publish(w->tmp, w->path, e);
    if (!ok && w->tmp) gf_io_remove(w->tmp, NULL);
    gf_free(w->tmp);
    *w = (gf_boundary_writer){0};
    return ok;
}
