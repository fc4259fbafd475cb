#include "checkpoints/h5_driver.h"

#include "core/io.h"
#include "core/mem.h"

#include <string.h>
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

/* What an access list carries. */
typedef struct source {
    const unsigned char *bytes; /* NULL: a file to be written */
    size_t size;
    gf_err *failure;
} source;

/* An open file; libhdf5 sees its first member. */
typedef struct file {
    H5FD_t head;
    source from;
    gf_file *f; /* NULL when bytes are read */
    haddr_t end_of_allocation, end_of_file;
} file;

static H5FD_t *open_file(const char *name, unsigned flags, hid_t access, haddr_t most);
static herr_t close_file(H5FD_t *h);
static herr_t query(const H5FD_t *h, unsigned long *flags);
static haddr_t get_eoa(const H5FD_t *h, H5FD_mem_t type);
static herr_t set_eoa(H5FD_t *h, H5FD_mem_t type, haddr_t address);
static haddr_t get_eof(const H5FD_t *h, H5FD_mem_t type);
static herr_t read_bytes(H5FD_t *h, H5FD_mem_t type, hid_t list, haddr_t at, size_t size, void *to);
static herr_t write_bytes(H5FD_t *h, H5FD_mem_t type, hid_t list, haddr_t at, size_t size,
                          const void *from);
static herr_t truncate_file(H5FD_t *h, hid_t list, hbool_t closing);

static const H5FD_class_t driver = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)600, /* of the range for drivers that are not registered */
#endif
    .name = "graft",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(source),
    .open = open_file,
    .close = close_file,
    .query = query,
    .get_eoa = get_eoa,
    .set_eoa = set_eoa,
    .get_eof = get_eof,
    .read = read_bytes,
    .write = write_bytes,
    .truncate = truncate_file,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

static H5FD_t *open_file(const char *name, unsigned flags, hid_t access, haddr_t most) {
    const source *from = H5Pget_driver_info(access);
    file *x = from ? gf_alloc_array(1, sizeof *x, from->failure) : NULL;
    (void)flags;
    (void)most;
    if (!x) return NULL;
    x->from = *from;
    x->end_of_file = from->size;
    if (from->bytes || (x->f = gf_io_open_random(name, true, from->failure))) return &x->head;
    gf_free(x);
    return NULL;
}

static herr_t close_file(H5FD_t *h) {
    file *x = (file *)h;
    gf_io_close(x->f, x->from.failure);
    gf_free(x);
    return 0;
}

static herr_t query(const H5FD_t *h, unsigned long *flags) {
    (void)h;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t get_eoa(const H5FD_t *h, H5FD_mem_t type) {
    (void)type;
    return ((const file *)h)->end_of_allocation;
}

static herr_t set_eoa(H5FD_t *h, H5FD_mem_t type, haddr_t address) {
    (void)type;
    ((file *)h)->end_of_allocation = address;
    return 0;
}

static haddr_t get_eof(const H5FD_t *h, H5FD_mem_t type) {
    (void)type;
    return ((const file *)h)->end_of_file;
}

static bool has_failed(const file *x) { return x->from.failure && x->from.failure->code != GF_OK; }

/* Bytes behind the end are 0, as in a file with a hole. */
static herr_t read_bytes(H5FD_t *h, H5FD_mem_t type, hid_t list, haddr_t at, size_t size,
                         void *to) {
    file *x = (file *)h;
    size_t there = at < x->from.size ? x->from.size - (size_t)at : 0;
    (void)type;
    (void)list;
    if (there > size) there = size;
    memset(to, 0, size);
    if (x->from.bytes)
        memcpy(to, x->from.bytes + (there ? at : 0), there);
    else if (!has_failed(x))
        gf_io_read_at(x->f, (int64_t)at, to, size, x->from.failure);
    return 0;
}

static herr_t write_bytes(H5FD_t *h, H5FD_mem_t type, hid_t list, haddr_t at, size_t size,
                          const void *from) {
    file *x = (file *)h;
    (void)type;
    (void)list;
    if (!x->f) return -1;
    if (!has_failed(x)) gf_io_write_at(x->f, (int64_t)at, from, size, x->from.failure);
    if (at + size > x->end_of_file) x->end_of_file = at + size;
    return 0;
}

/* The file's end becomes that of what libhdf5 allocated. */
static herr_t truncate_file(H5FD_t *h, hid_t list, hbool_t closing) {
    file *x = (file *)h;
    (void)list;
    (void)closing;
    if (!x->f || x->end_of_file == x->end_of_allocation) return 0;
    if (!has_failed(x)) gf_io_resize(x->f, (int64_t)x->end_of_allocation, x->from.failure);
    x->end_of_file = x->end_of_allocation;
    return 0;
}

static hid_t use(hid_t access, const source *from) {
    hid_t id = H5FDregister(&driver); /* the same id each time while one is in use */
    if (id < 0 || H5Pset_driver(access, id, from) >= 0) return id;
    H5Idec_ref(id);
    return -1;
}

hid_t gf_h5_use_file(hid_t access, gf_err *failure) {
    return use(access, &(source){NULL, 0, failure});
}

hid_t gf_h5_use_bytes(hid_t access, const unsigned char *bytes, size_t size, gf_err *failure) {
    return use(access, &(source){bytes, size, failure});
}
