#include "checkpoints/torch_file.h"

#include "checkpoints/pickle.h"
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unzip.h> /* minizip */

enum {
    MAX_ENTRIES = 1 << 18,
    MAX_NAME = 512, /* bytes of an entry's name */
    MAX_PICKLE = 1 << 26,
    MAX_COPIES = 8, /* times the file's size that copies of views may take */
    END_BYTES = 22, /* of the record that ends a zip archive */
    METHOD_STORED = 0,
    FLAG_ENCRYPTED = 1
};

static const unsigned char zip_start[] = {'P', 'K', 3, 4};
/* A pickled integer, 0x1950a86a20f9469cfc6c (torch/serialization.py, MAGIC_NUMBER). */
static const unsigned char old_start[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                          0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};

static bool starts(const unsigned char *bytes, size_t size, const unsigned char *with, size_t n) {
    return size >= n && memcmp(bytes, with, n) == 0;
}

/* ---- the zip archive ---- */

/* The bytes as minizip reads them. */
typedef struct memory {
    const unsigned char *bytes;
    size_t size, at;
} memory;

typedef struct entry {
    char *name; /* without the folder */
    unz64_file_pos place;
    unz_file_info64 info;
    const unsigned char *data; /* [info.uncompressed_size] NULL until it is first used */
} entry;

typedef struct archive {
    memory memory;
    const char *where;
    unzFile zip;
    entry *entries; /* [count] by name */
    int64_t count, capacity;
    char folder[MAX_NAME]; /* before every entry's name, with its '/' */
} archive;

static void *open_memory(void *opaque, const void *name, int mode) {
    (void)name;
    (void)mode;
    return opaque;
}

static uLong read_memory(void *opaque, void *stream, void *out, uLong n) {
    memory *m = stream;
    (void)opaque;
    if (n > m->size - m->at) n = (uLong)(m->size - m->at);
    memcpy(out, m->bytes + m->at, n);
    m->at += n;
    return n;
}

static uLong write_memory(void *opaque, void *stream, const void *bytes, uLong n) {
    (void)opaque;
    (void)stream;
    (void)bytes;
    (void)n;
    return 0;
}

static ZPOS64_T tell_memory(void *opaque, void *stream) {
    (void)opaque;
    return ((memory *)stream)->at;
}

static long seek_memory(void *opaque, void *stream, ZPOS64_T offset, int origin) {
    memory *m = stream;
    size_t from = origin == ZLIB_FILEFUNC_SEEK_SET   ? 0
                  : origin == ZLIB_FILEFUNC_SEEK_CUR ? m->at
                                                     : m->size;
    (void)opaque;
    if (from + (size_t)offset > m->size) return -1; /* backwards is a number that wraps round */
    m->at = from + (size_t)offset;
    return 0;
}

static int close_memory(void *opaque, void *stream) {
    (void)opaque;
    (void)stream;
    return 0;
}

/* Where minizip or a size says no. minizip 1.1 does not read zip64 entries. */
static bool damaged(const archive *a, gf_err *e) {
    bool large = a->memory.size > UINT32_MAX;
    for (int64_t i = 0; i < a->count; i++)
        large = large || a->entries[i].info.uncompressed_size == UINT32_MAX;
    if (large)
        return gf_fail(
            e, GF_E_MODEL,
            "%s: it is a zip64 archive, as files of more than 4 GB are, which graft does "
            "not read; save the weights as safetensors, or in several files",
            a->where);
    return gf_fail(e, GF_E_MODEL,
                   "%s: its zip directory is damaged or cut short; copy or download the file again",
                   a->where);
}

/* Adds the entry at which minizip stands. */
static bool add_entry(archive *a, gf_err *e) {
    char name[MAX_NAME];
    entry x = {0};
    size_t n = strlen(a->folder);
    if (unzGetCurrentFileInfo64(a->zip, &x.info, name, sizeof name, NULL, 0, NULL, 0) != UNZ_OK ||
        unzGetFilePos64(a->zip, &x.place) != UNZ_OK)
        return damaged(a, e);
    if (a->count == MAX_ENTRIES || x.info.size_filename >= sizeof name ||
        strlen(name) != x.info.size_filename)
        return gf_fail(e, GF_E_MODEL,
                       "%s: it holds more than %d entries, or one with a name that PyTorch does "
                       "not use; is it a file of torch.save?",
                       a->where, MAX_ENTRIES);
    if (n == 0 && (n = strcspn(name, "/") + 1) <= x.info.size_filename) {
        memcpy(a->folder, name, n);
        a->folder[n] = 0;
    }
    if (strncmp(name, a->folder, n) != 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: its entry \"%s\" is not in one folder with the others; is it a file of "
                       "torch.save?",
                       a->where, name);
    if (!gf_grow(&a->entries, a->count, &a->capacity, sizeof *a->entries, e) ||
        !(x.name = gf_strdup(name + n, e)))
        return false;
    a->entries[a->count++] = x;
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* minizip looks for the end of the directory anywhere and takes what is cut from it for zeros; with
 * the comment that PyTorch never writes, it would be elsewhere. */
static bool has_end(const memory *m) {
    static const unsigned char end[] = {'P', 'K', 5, 6};
    const unsigned char *p = m->bytes + (m->size < END_BYTES ? 0 : m->size - END_BYTES);
    return m->size >= END_BYTES && memcmp(p, end, sizeof end) == 0 && p[20] == 0 && p[21] == 0;
}

static bool open_archive(archive *a, gf_err *e) {
    zlib_filefunc64_def calls = {.zopen64_file = open_memory,
                                 .zread_file = read_memory,
                                 .zwrite_file = write_memory,
                                 .ztell64_file = tell_memory,
                                 .zseek64_file = seek_memory,
                                 .zclose_file = close_memory,
                                 .zerror_file = close_memory,
                                 .opaque = &a->memory};
    int status;
    if (!has_end(&a->memory) || !(a->zip = unzOpen2_64("", &calls))) return damaged(a, e);
    for (status = unzGoToFirstFile(a->zip); status == UNZ_OK; status = unzGoToNextFile(a->zip))
        if (!add_entry(a, e)) return false;
    if (status != UNZ_END_OF_LIST_OF_FILE) return damaged(a, e);
    qsort(a->entries, (size_t)a->count, sizeof *a->entries, by_name);
    for (int64_t i = 1; i < a->count; i++)
        if (strcmp(a->entries[i - 1].name, a->entries[i].name) == 0)
            return gf_fail(e, GF_E_MODEL, "%s: its entry \"%s\" stands twice; the file is damaged",
                           a->where, a->entries[i].name);
    return true;
}

static void close_archive(archive *a) {
    if (a->zip) unzClose(a->zip);
    for (int64_t i = 0; i < a->count; i++) gf_free(a->entries[i].name);
    gf_free(a->entries);
}

/* Where the data of an entry lie, and that they are whole. */
static bool find_data(archive *a, entry *x, gf_err *e) {
    size_t size = (size_t)x->info.uncompressed_size, at;
    int method = 0, level = 0;
    if (x->info.compression_method != METHOD_STORED || x->info.flag & FLAG_ENCRYPTED)
        return gf_fail(e, GF_E_MODEL,
                       "%s: its entry \"%s\" is compressed or encrypted (method %lu); torch.save "
                       "stores entries as they are: unpack it and save it again with torch.save",
                       a->where, x->name, x->info.compression_method);
    if (x->info.compressed_size != x->info.uncompressed_size ||
        unzGoToFilePos64(a->zip, &x->place) != UNZ_OK ||
        unzOpenCurrentFile2(a->zip, &method, &level, 1) != UNZ_OK)
        return damaged(a, e);
    at = (size_t)unzGetCurrentFileZStreamPos64(a->zip);
    unzCloseCurrentFile(a->zip);
    if (at > a->memory.size || size > a->memory.size - at) return damaged(a, e);
    x->data = a->memory.bytes + at;
    if (x->info.crc == 0 || crc32_z(0, x->data, size) == x->info.crc) return true;
    return gf_fail(e, GF_E_MODEL,
                   "%s: its entry \"%s\" does not have the CRC-32 that the directory states; the "
                   "file is damaged: copy or download it again",
                   a->where, x->name);
}

/* The entry of this name with its data; NULL if there is none, which is a failure where it is
 * `needed`, or if its data are refused. */
static entry *use_entry(archive *a, const char *name, bool needed, gf_err *e) {
    char text[MAX_NAME];
    entry key = {.name = text}, *x = NULL;
    if (strlen(name) < sizeof text) {
        memcpy(text, name, strlen(name) + 1);
        x = bsearch(&key, a->entries, (size_t)a->count, sizeof key, by_name);
    }
    if (!x && needed)
        gf_fail(e, GF_E_MODEL, "%s: it has no entry \"%s%s\"; is it a whole file of torch.save?",
                a->where, a->folder, name);
    return x && (x->data || find_data(a, x, e)) ? x : NULL;
}

/* ---- the tensors ---- */

enum { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, SIZE, FIRST_STORAGE };

static const gf_pickle_global globals[] = {
    [ORDERED_DICT] = {"collections.OrderedDict", GF_PICKLE_DICT},
    [REBUILD_TENSOR] = {"torch._utils._rebuild_tensor_v2", GF_PICKLE_CALL},
    [REBUILD_PARAMETER] = {"torch._utils._rebuild_parameter", GF_PICKLE_CALL},
    [SIZE] = {"torch.Size", GF_PICKLE_TUPLE},
    [FIRST_STORAGE] = {"torch.FloatStorage", GF_PICKLE_NONE},
    {"torch.HalfStorage", GF_PICKLE_NONE},
    {"torch.BFloat16Storage", GF_PICKLE_NONE},
    {"torch.DoubleStorage", GF_PICKLE_NONE},
    {"torch.LongStorage", GF_PICKLE_NONE},
    {"torch.IntStorage", GF_PICKLE_NONE},
    {"torch.ShortStorage", GF_PICKLE_NONE},
    {"torch.CharStorage", GF_PICKLE_NONE},
    {"torch.ByteStorage", GF_PICKLE_NONE},
    {"torch.BoolStorage", GF_PICKLE_NONE},
};

/* In the order of the storages above. */
static const gf_dtype storage_types[] = {GF_DTYPE_F32, GF_DTYPE_F16, GF_DTYPE_BF16, GF_DTYPE_F64,
                                         GF_DTYPE_I64, GF_DTYPE_I32, GF_DTYPE_I16,  GF_DTYPE_I8,
                                         GF_DTYPE_U8,  GF_DTYPE_BOOL};

enum { N_GLOBALS = sizeof globals / sizeof *globals };
_Static_assert(N_GLOBALS - FIRST_STORAGE == sizeof storage_types / sizeof *storage_types,
               "a type for each storage");

typedef struct reader {
    archive archive;
    gf_tensors *out;
    size_t copied; /* bytes of copied views so far */
    gf_err *e;
    const char *name; /* of the tensor at hand */
} reader;

/* A view of a storage: element [i, j, ...] lies at offset + i stride[0] + j stride[1] + ... */
typedef struct view {
    gf_tensor tensor;
    int64_t stride[GF_TENSOR_DIMS];
    int64_t offset, numel; /* elements: where it begins, and how many the storage has */
    const unsigned char *storage;
} view;

static bool wrong(const reader *r, const char *what) {
    return gf_fail(r->e, GF_E_MODEL, "%s: tensor \"%s\": %s", r->archive.where, r->name, what);
}

static bool is_int(const gf_pickle_value *v) { return v->kind == GF_PICKLE_INT && v->n >= 0; }

/* ('storage', type, key, location, elements); where it lay (CPU, GPU) does not matter. */
static bool read_storage(reader *r, view *x, const gf_pickle_value *v) {
    const gf_pickle_value *tuple = v->kind == GF_PICKLE_PERSID ? v->items[0] : NULL, **i;
    char name[64];
    size_t wanted = 0;
    const entry *found;
    if (!tuple || tuple->kind != GF_PICKLE_TUPLE || tuple->n != 5 ||
        !(i = (const gf_pickle_value **)tuple->items) || !gf_pickle_is_text(i[0], "storage") ||
        i[1]->kind != GF_PICKLE_GLOBAL || i[1]->global < FIRST_STORAGE ||
        i[2]->kind != GF_PICKLE_TEXT || i[2]->n > 40 || i[3]->kind != GF_PICKLE_TEXT ||
        !is_int(i[4]))
        return wrong(r, "it has no storage of a type that graft knows; the file is damaged");
    snprintf(name, sizeof name, "data/%.*s", (int)i[2]->n, i[2]->text);
    if (!(found = use_entry(&r->archive, name, true, r->e))) return false;
    x->tensor.dtype = storage_types[i[1]->global - FIRST_STORAGE];
    x->tensor.dtype_name = gf_dtype_name(x->tensor.dtype);
    x->storage = found->data;
    x->numel = i[4]->n;
    if (gf_mul_size((size_t)x->numel, gf_dtype_size(x->tensor.dtype), &wanted) &&
        wanted == found->info.uncompressed_size)
        return true;
    return gf_fail(r->e, GF_E_MODEL,
                   "%s: tensor \"%s\": its storage \"%s\" has %llu bytes, not %lld elements of %s; "
                   "the file is damaged",
                   r->archive.where, r->name, name,
                   (unsigned long long)found->info.uncompressed_size, (long long)x->numel,
                   x->tensor.dtype_name);
}

static bool read_shape(reader *r, view *x, const gf_pickle_value *size,
                       const gf_pickle_value *stride) {
    gf_tensor *t = &x->tensor;
    bool zero = false;
    t->count = 1;
    if (size->kind != GF_PICKLE_TUPLE || stride->kind != GF_PICKLE_TUPLE || size->n != stride->n)
        return wrong(r, "its size and strides are not two tuples of one length; the file is "
                        "damaged");
    if (size->n > GF_TENSOR_DIMS) return wrong(r, "it has more than 8 dimensions");
    for (int i = 0; i < size->n; i++) {
        if (!is_int(size->items[i]) || !is_int(stride->items[i]))
            return wrong(r, "its size and strides must be whole numbers of 0 or more; the file is "
                            "damaged");
        t->dim[i] = size->items[i]->n;
        x->stride[i] = t->dim[i] > 1 ? stride->items[i]->n : 0; /* else it says nothing */
        zero = zero || t->dim[i] == 0;
        if (t->dim[i] > 0 && !gf_mul_i64(t->count, t->dim[i], &t->count))
            return wrong(r, "its size does not fit into 63 bits; the file is damaged");
    }
    t->n_dims = (int)size->n;
    if (zero) t->count = 0;
    return true;
}

/* The last element must lie in the storage; all strides are positive, so the others do, too. */
static bool check_extent(const reader *r, const view *x) {
    int64_t last = x->offset, step;
    bool fits = true;
    for (int i = 0; fits && x->tensor.count > 0 && i < x->tensor.n_dims; i++) {
        fits = gf_mul_i64(x->tensor.dim[i] - 1, x->stride[i], &step) && step <= INT64_MAX - last;
        if (fits) last += step;
    }
    if (fits && (x->tensor.count > 0 ? last < x->numel : last <= x->numel)) return true;
    return gf_fail(r->e, GF_E_MODEL,
                   "%s: tensor \"%s\" reaches beyond the %lld elements of its storage; the file is "
                   "damaged",
                   r->archive.where, r->name, (long long)x->numel);
}

/* Row-major without gaps. */
static bool is_contiguous(const view *x) {
    int64_t wanted = 1;
    for (int i = x->tensor.n_dims - 1; i >= 0 && x->tensor.count > 0; i--) {
        if (x->tensor.dim[i] != 1 && x->stride[i] != wanted) return false;
        wanted *= x->tensor.dim[i];
    }
    return true;
}

static void gather(unsigned char *out, const view *x, size_t size) {
    const gf_tensor *t = &x->tensor;
    int64_t at[GF_TENSOR_DIMS] = {0}, from = x->offset;
    for (int64_t i = 0; i < t->count; i++, out += size) {
        memcpy(out, x->storage + (size_t)from * size, size);
        for (int d = t->n_dims - 1; d >= 0; d--) {
            from += x->stride[d];
            if (++at[d] < t->dim[d]) break;
            from -= t->dim[d] * x->stride[d];
            at[d] = 0;
        }
    }
}

static bool place_data(reader *r, view *x) {
    gf_tensor *t = &x->tensor;
    size_t size = gf_dtype_size(t->dtype);
    unsigned char *copy;
    if (is_contiguous(x)) {
        t->bytes = (size_t)t->count * size; /* within the storage */
        t->data = x->storage + (size_t)x->offset * size;
        return true;
    }
    if (t->count > x->numel)
        return wrong(r, "it repeats elements of its storage; save it again after .contiguous()");
    t->bytes = (size_t)t->count * size;
    if (t->bytes > MAX_COPIES * r->archive.memory.size - r->copied)
        return wrong(r, "views that are not contiguous take many times the file's size; save it "
                        "again after .contiguous()");
    r->copied += t->bytes;
    if (!(copy = gf_tensors_alloc(r->out, t->bytes, r->e))) return false;
    gather(copy, x, size);
    t->data = copy;
    return true;
}

/* (storage, offset, size, stride, requires_grad, backward_hooks[, metadata]) */
static bool read_tensor(reader *r, const gf_pickle_value *v) {
    view x = {.tensor = {.name = r->name}};
    gf_pickle_value *const *i = v->items;
    if (v->n < 6 || v->n > 7 || !is_int(i[1]) || i[5]->kind != GF_PICKLE_DICT)
        return wrong(r, "_rebuild_tensor_v2 has other arguments than known; the file is damaged");
    if (i[5]->n > 0) return wrong(r, "it has hooks, which are code; save the state_dict() instead");
    if (v->n == 7 && i[6]->kind != GF_PICKLE_NONE && (i[6]->kind != GF_PICKLE_DICT || i[6]->n > 0))
        return wrong(r, "its bits stand for other values (a conjugated or negated view); save it "
                        "again after .resolve_neg()");
    x.offset = i[1]->n;
    return read_storage(r, &x, i[0]) && read_shape(r, &x, i[2], i[3]) && check_extent(r, &x) &&
           place_data(r, &x) && gf_tensors_add(r->out, &x.tensor, r->archive.where, r->e);
}

/* (tensor, requires_grad, backward_hooks) */
static bool read_parameter(reader *r, const gf_pickle_value *v) {
    const gf_pickle_value *data = v->n == 3 ? v->items[0] : NULL;
    if (!data || data->kind != GF_PICKLE_CALL || data->global != REBUILD_TENSOR)
        return wrong(r, "_rebuild_parameter has other arguments than known; the file is damaged");
    return read_tensor(r, data);
}

/* What is no tensor: single values are passed over, a dict is a checkpoint of something else. */
static bool judge_other(const reader *r, const gf_pickle_value *v) {
    bool plain = r->name[strspn(r->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123"
                                         "456789.")] == 0; /* fit for a line to be pasted */
    if (v->kind <= GF_PICKLE_TEXT) return true;
    if (v->kind != GF_PICKLE_DICT || !plain)
        return gf_fail(r->e, GF_E_MODEL,
                       "%s: \"%s\" is %s, not a tensor; save the model's state_dict() alone",
                       r->archive.where, r->name, gf_pickle_kind_name(v));
    return gf_fail(r->e, GF_E_MODEL,
                   "%s: \"%s\" is a dict, not a tensor; if it holds the weights, save it alone: "
                   "python3 -c \"import torch; torch.save(torch.load('%s', "
                   "map_location='cpu')['%s'], 'new.bin')\"",
                   r->archive.where, r->name, r->archive.where, r->name);
}

static bool read_item(reader *r, const gf_pickle_value *key, const gf_pickle_value *v) {
    char *name = NULL;
    bool ok;
    if (key->kind != GF_PICKLE_TEXT || memchr(key->text, 0, (size_t)key->n))
        return gf_fail(r->e, GF_E_MODEL,
                       "%s: a key of its dict is %s%s; the names of tensors are wanted; save the "
                       "model's state_dict()",
                       r->archive.where, gf_pickle_kind_name(key),
                       key->kind == GF_PICKLE_TEXT ? " with a byte 0" : "");
    if (!(r->name = name = gf_strndup(key->text, (size_t)key->n, r->e))) return false;
    if (v->kind == GF_PICKLE_CALL && v->global == REBUILD_PARAMETER)
        ok = read_parameter(r, v);
    else if (v->kind == GF_PICKLE_CALL)
        ok = read_tensor(r, v);
    else
        ok = judge_other(r, v);
    gf_free(name);
    return ok;
}

static bool read_dict(reader *r, const gf_pickle_value *top) {
    bool ok = true;
    if (top->kind != GF_PICKLE_DICT)
        return gf_fail(r->e, GF_E_MODEL,
                       "%s: it holds %s, not a dict of tensors; save the model's state_dict()",
                       r->archive.where, gf_pickle_kind_name(top));
    for (int64_t i = 0; ok && i < top->n; i += 2)
        ok = read_item(r, top->items[i], top->items[i + 1]);
    return ok;
}

static bool check_byte_order(archive *a, gf_err *e) {
    gf_err before = {0};
    const entry *x = use_entry(a, "byteorder", false, &before);
    if (before.code) return gf_fail(e, before.code, "%s", before.text);
    if (!x || (x->info.uncompressed_size == 6 && memcmp(x->data, "little", 6) == 0)) return true;
    return gf_fail(e, GF_E_MODEL,
                   "%s: its byteorder is not \"little\"; load and save it with torch on a little "
                   "endian machine",
                   a->where);
}

bool gf_torch_begins(const unsigned char *bytes, size_t size) {
    return starts(bytes, size, zip_start, sizeof zip_start) ||
           starts(bytes, size, old_start, sizeof old_start);
}

bool gf_torch_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                   gf_err *e) {
    reader r = {.archive = {.memory = {bytes, size, 0}, .where = where}, .out = t, .e = e};
    gf_pickle p = {0};
    const entry *pickle;
    bool ok;
    if (starts(bytes, size, old_start, sizeof old_start))
        return gf_fail(e, GF_E_MODEL,
                       "%s: it is in the form before PyTorch 1.6, which is no zip archive; save it "
                       "again: python3 -c \"import torch; torch.save(torch.load('%s', "
                       "map_location='cpu'), 'new.bin')\"",
                       where, where);
    ok = open_archive(&r.archive, e) && check_byte_order(&r.archive, e) &&
         (pickle = use_entry(&r.archive, "data.pkl", true, e));
    if (ok && pickle->info.uncompressed_size > MAX_PICKLE)
        ok = gf_fail(e, GF_E_MODEL, "%s: its data.pkl has more than %d bytes", where, MAX_PICKLE);
    ok = ok &&
         gf_pickle_read(&p, pickle->data, (size_t)pickle->info.uncompressed_size, globals,
                        N_GLOBALS, where, e) &&
         read_dict(&r, p.top);
    gf_pickle_free(&p);
    close_archive(&r.archive);
    return ok;
}
