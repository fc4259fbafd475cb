#include "checkpoints/h5.h"

#include "checkpoints/h5_driver.h"
#include "core/mem.h"
#include "core/sha256.h"

#include <stdio.h>
#include <string.h>

#define MEMORY_REAL (GF_REAL_IS_FLOAT ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE)

enum { LONGEST_TEXT = 1 << 30 };

/* libhdf5 must neither print nor close itself at exit: after a failed write that can crash. */
static bool start(gf_err *e) {
    H5dont_atexit();
    if (H5open() < 0) return gf_fail(e, GF_E_INTERNAL, "libhdf5 does not start");
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return true;
}

/* Keeps the first entry, which is the innermost function's. */
static herr_t keep_innermost(unsigned n, const H5E_error2_t *entry, void *text) {
    if (n == 0) snprintf(text, 160, ": %s", entry->desc ? entry->desc : "unknown");
    return 0;
}

bool gf_h5_fail(gf_h5 *h, const char *group, const char *name, const char *what) {
    char inner[160] = "";
    const char *between = name && strcmp(group, "/") != 0 ? "/" : "";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, inner);
    gf_fail(h->e, h->writing ? GF_E_IO : GF_E_MODEL, "%s: %s%s%s: %s%s", h->path, group, between,
            name ? name : "", what, inner);
    H5Eclear2(H5E_DEFAULT);
    return h->ok = false;
}

/* A file creation or access list; both are made so that no object outlives its file and no time is
 * written. */
static hid_t file_list(hid_t kind) {
    hid_t list = H5Pcreate(kind);
    if (list >= 0 && kind == H5P_FILE_ACCESS) H5Pset_fclose_degree(list, H5F_CLOSE_STRONG);
    if (list >= 0 && kind == H5P_FILE_CREATE) H5Pset_obj_track_times(list, 0);
    return list;
}

gf_h5 gf_h5_create(const char *path, int64_t user_block, gf_err *e) {
    gf_h5 h = {.file = -1, .driver = -1, .path = path, .writing = true, .e = e};
    if (!(h.ok = start(e))) return h;
    hid_t create = file_list(H5P_FILE_CREATE), access = file_list(H5P_FILE_ACCESS);
    if (create < 0 || access < 0 || (h.driver = gf_h5_use_file(access, e)) < 0 ||
        H5Pset_userblock(create, (hsize_t)user_block) < 0 ||
        (h.file = H5Fcreate(path, H5F_ACC_TRUNC, create, access)) < 0)
        gf_h5_fail(&h, "/", NULL, "the file cannot be created");
    H5Pclose(create);
    H5Pclose(access);
    return h;
}

gf_h5 gf_h5_open_bytes(const unsigned char *bytes, size_t size, const char *path, gf_err *e) {
    gf_h5 h = {.file = -1, .driver = -1, .path = path, .e = e};
    if (!(h.ok = start(e))) return h;
    hid_t access = file_list(H5P_FILE_ACCESS);
    if (access < 0 || (h.driver = gf_h5_use_bytes(access, bytes, size, e)) < 0 ||
        (h.file = H5Fopen(path, H5F_ACC_RDONLY, access)) < 0)
        gf_h5_fail(&h, "/", NULL, "it cannot be opened as HDF5");
    H5Pclose(access);
    return h;
}

gf_h5 gf_h5_open(const char *path, gf_err *e) {
    gf_map map = {0};
    gf_h5 h = {.file = -1, .driver = -1, .path = path, .e = e};
    if (!gf_io_map(&map, path, e)) return h;
    h = gf_h5_open_bytes(map.data, map.size, path, e);
    h.map = map; /* h owns it now */
    return h;
}

/* While a file is written, core/io's failures come to light here (see h5_driver.h). */
bool gf_h5_close(gf_h5 *h) {
    if (h->file >= 0 && H5Fclose(h->file) < 0 && h->ok)
        gf_h5_fail(h, "/", NULL, "the file cannot be closed");
    if (h->driver >= 0) H5Idec_ref(h->driver); /* not before: see h5_driver.h */
    if (h->writing && h->e->code != GF_OK) h->ok = false;
    gf_io_unmap(&h->map);
    h->file = h->driver = -1;
    return h->ok;
}

static hid_t open_group(gf_h5 *h, const char *group) {
    hid_t g = -1;
    if (h->ok && (g = H5Gopen2(h->file, group, H5P_DEFAULT)) < 0)
        gf_h5_fail(h, group, NULL, "the group is missing");
    return g;
}

void gf_h5_write_group(gf_h5 *h, const char *path) {
    hid_t list, g = -1;
    if (!h->ok) return;
    if ((list = H5Pcreate(H5P_GROUP_CREATE)) >= 0 && H5Pset_obj_track_times(list, 0) >= 0)
        g = H5Gcreate2(h->file, path, H5P_DEFAULT, list, H5P_DEFAULT);
    if (g < 0) gf_h5_fail(h, path, NULL, "the group cannot be written");
    H5Gclose(g);
    H5Pclose(list);
}

/* Creates GROUP/NAME and writes it; takes the space over. */
static void write_dataset(gf_h5 *h, const char *group, const char *name, hid_t space, hid_t type,
                          hid_t memory, const void *values) {
    hid_t g = open_group(h, group), list = H5Pcreate(H5P_DATASET_CREATE), d = -1;
    if (strchr(name, '/') || strcmp(name, ".") == 0)
        gf_h5_fail(h, group, name, "a name with '/' cannot be stored; rename the task");
    if (h->ok && space >= 0 && list >= 0 && H5Pset_obj_track_times(list, 0) >= 0)
        d = H5Dcreate2(g, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    if (h->ok && (d < 0 || H5Dwrite(d, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0))
        gf_h5_fail(h, group, name, "it cannot be written");
    if (d >= 0 && H5Dclose(d) < 0 && h->ok) gf_h5_fail(h, group, name, "it cannot be written");
    H5Pclose(list);
    H5Sclose(space);
    H5Gclose(g);
}

static hid_t make_space(const gf_shape *shape) {
    hsize_t dims[GF_MAX_DIMS] = {0};
    if (shape->n == 0) return H5Screate(H5S_SCALAR);
    for (int i = 0; i < shape->n; i++) dims[i] = (hsize_t)shape->dim[i];
    return H5Screate_simple(shape->n, dims, NULL);
}

/* A string type of so many bytes, the final 0 included. */
static hid_t make_string(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && H5Tset_size(type, size) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0)
        return type;
    H5Tclose(type);
    return -1;
}

void gf_h5_write_text(gf_h5 *h, const char *group, const char *name, const char *text) {
    hid_t type;
    if (!h->ok) return;
    type = make_string(strlen(text) + 1);
    write_dataset(h, group, name, H5Screate(H5S_SCALAR), type, type, text);
    H5Tclose(type);
}

static void write_attribute(gf_h5 *h, const char *object, const char *name, hid_t type,
                            hid_t memory, const void *value) {
    hid_t space = H5Screate(H5S_SCALAR), a = -1;
    if (space >= 0)
        a = H5Acreate_by_name(h->file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT,
                              H5P_DEFAULT);
    if (a < 0 || H5Awrite(a, memory, value) < 0)
        gf_h5_fail(h, object, name, "the attribute cannot be written");
    H5Aclose(a);
    H5Sclose(space);
}

void gf_h5_write_int(gf_h5 *h, const char *group, const char *name, int64_t value) {
    if (h->ok) write_attribute(h, group, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void gf_h5_write_word(gf_h5 *h, const char *group, const char *name, const char *text) {
    hid_t type;
    if (!h->ok) return;
    type = make_string(strlen(text) + 1);
    write_attribute(h, group, name, type, type, text);
    H5Tclose(type);
}

/* The digest of values as a file holds them, float32. */
static void digest_of(const gf_shape *shape, const gf_real *values, char hex[GF_SHA256_HEX]) {
    gf_sha256_of(values, (size_t)gf_shape_count(shape) * sizeof *values, hex);
}

void gf_h5_write_reals(gf_h5 *h, const char *group, const char *name, const gf_shape *shape,
                       const gf_real *values) {
    char hex[GF_SHA256_HEX], path[512];
    if (!h->ok) return;
    write_dataset(h, group, name, make_space(shape), H5T_IEEE_F32LE, MEMORY_REAL, values);
    snprintf(path, sizeof path, "%s/%s", group, name);
    digest_of(shape, values, hex);
    if (h->ok) gf_h5_write_word(h, path, "sha256", hex);
}

bool gf_h5_has(gf_h5 *h, const char *group, const char *name) {
    hid_t g = open_group(h, group);
    bool has = h->ok && H5Lexists(g, name, H5P_DEFAULT) > 0;
    H5Gclose(g);
    return has;
}

int64_t gf_h5_members(gf_h5 *h, const char *group) {
    hid_t g = open_group(h, group);
    H5G_info_t info = {0};
    if (h->ok && H5Gget_info(g, &info) < 0) gf_h5_fail(h, group, NULL, "it cannot be listed");
    H5Gclose(g);
    return h->ok ? (int64_t)info.nlinks : 0;
}

char *gf_h5_member(gf_h5 *h, const char *group, int64_t i) {
    char *name = NULL;
    ssize_t n;
    if (!h->ok) return NULL;
    n = H5Lget_name_by_idx(h->file, group, H5_INDEX_NAME, H5_ITER_INC, (hsize_t)i, NULL, 0,
                           H5P_DEFAULT);
    if (n < 0)
        gf_h5_fail(h, group, NULL, "it cannot be listed");
    else if (!(name = gf_alloc((size_t)n + 1, h->e)))
        h->ok = false;
    else
        H5Lget_name_by_idx(h->file, group, H5_INDEX_NAME, H5_ITER_INC, (hsize_t)i, name,
                           (size_t)n + 1, H5P_DEFAULT);
    return name;
}

static hid_t open_dataset(gf_h5 *h, const char *group, const char *name) {
    hid_t g = open_group(h, group), d = -1;
    if (h->ok && (H5Lexists(g, name, H5P_DEFAULT) <= 0 || (d = H5Dopen2(g, name, H5P_DEFAULT)) < 0))
        gf_h5_fail(h, group, name, "the dataset is missing");
    H5Gclose(g);
    return d;
}

static bool has_shape(hid_t dataset, const gf_shape *shape) {
    hid_t space = H5Dget_space(dataset);
    hsize_t dims[GF_MAX_DIMS] = {0};
    bool same = H5Sget_simple_extent_ndims(space) == shape->n &&
                H5Sget_simple_extent_dims(space, dims, NULL) == shape->n;
    for (int i = 0; same && i < shape->n; i++) same = dims[i] == (hsize_t)shape->dim[i];
    H5Sclose(space);
    return same;
}

void gf_h5_read_reals(gf_h5 *h, const char *group, const char *name, const gf_shape *shape,
                      gf_real *values) {
    char what[128], text[96];
    hid_t d = open_dataset(h, group, name), type = h->ok ? H5Dget_type(d) : -1;
    if (h->ok && (H5Tget_class(type) != H5T_FLOAT || !has_shape(d, shape))) {
        snprintf(what, sizeof what, "floats of shape %s are wanted",
                 gf_shape_text(shape, text, sizeof text));
        gf_h5_fail(h, group, name, what);
    }
    if (h->ok && H5Dread(d, MEMORY_REAL, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        gf_h5_fail(h, group, name, "it cannot be read");
    H5Tclose(type);
    H5Dclose(d);
}

bool gf_h5_has_digest(gf_h5 *h, const char *group, const char *name, const gf_shape *shape,
                      const gf_real *values) {
    char hex[GF_SHA256_HEX], path[512], *stored;
    bool same;
    snprintf(path, sizeof path, "%s/%s", group, name);
    stored = gf_h5_read_word(h, path, "sha256");
    digest_of(shape, values, hex);
    same = stored && strcmp(stored, hex) == 0;
    gf_free(stored);
    return same;
}

/* Room for a string of the file's type, one 0 byte more included, and the type to read it with. */
static char *make_text(gf_h5 *h, hid_t type, hid_t *memory) {
    size_t size = H5Tget_size(type);
    char *text;
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) || size > LONGEST_TEXT)
        return NULL;
    if (!(text = gf_alloc(size + 1, h->e))) {
        h->ok = false;
        return NULL;
    }
    *memory = make_string(size + 1);
    return text;
}

/* The text of a dataset, or of an attribute. */
static char *read_string(gf_h5 *h, hid_t id, bool attribute, const char *group, const char *name) {
    hid_t type = attribute ? H5Aget_type(id) : H5Dget_type(id), memory = -1;
    hid_t space = attribute ? H5Aget_space(id) : H5Dget_space(id);
    char *text = NULL;
    if (H5Sget_simple_extent_npoints(space) == 1) text = make_text(h, type, &memory);
    if (h->ok && !text)
        gf_h5_fail(h, group, name, "a text of fixed length is wanted");
    else if (text && (attribute ? H5Aread(id, memory, text)
                                : H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, text)) < 0) {
        gf_h5_fail(h, group, name, "it cannot be read");
        gf_free(text);
        text = NULL;
    }
    H5Sclose(space);
    H5Tclose(memory);
    H5Tclose(type);
    return text;
}

char *gf_h5_read_text(gf_h5 *h, const char *group, const char *name) {
    hid_t d = open_dataset(h, group, name);
    char *text = h->ok ? read_string(h, d, false, group, name) : NULL;
    H5Dclose(d);
    return text;
}

static hid_t open_attribute(gf_h5 *h, const char *object, const char *name) {
    hid_t a = -1;
    if (h->ok && (a = H5Aopen_by_name(h->file, object, name, H5P_DEFAULT, H5P_DEFAULT)) < 0)
        gf_h5_fail(h, object, name, "the attribute is missing");
    return a;
}

int64_t gf_h5_read_int(gf_h5 *h, const char *group, const char *name) {
    hid_t a = open_attribute(h, group, name), type = h->ok ? H5Aget_type(a) : -1;
    hid_t space = h->ok ? H5Aget_space(a) : -1;
    int64_t value = 0;
    if (h->ok && (H5Tget_class(type) != H5T_INTEGER || H5Sget_simple_extent_npoints(space) != 1 ||
                  H5Aread(a, H5T_NATIVE_INT64, &value) < 0))
        gf_h5_fail(h, group, name, "a whole number is wanted");
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(a);
    return h->ok ? value : 0;
}

char *gf_h5_read_word(gf_h5 *h, const char *group, const char *name) {
    hid_t a = open_attribute(h, group, name);
    char *text = h->ok ? read_string(h, a, true, group, name) : NULL;
    H5Aclose(a);
    return text;
}
