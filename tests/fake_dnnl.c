/* fake_dnnl: what core/onednn.c calls of oneDNN's C API, in plain C, as a library of its own, so
 * that the bf16 path runs on any processor. Like the real one it computes in blocks it is asked
 * for, and lays packed weights out in a way of its own: pairs of rows of B side by side. It counts
 * what is created and not destroyed, fails when it is told to, and checks the threads' streams.
 *
 * FAKE_MAJOR: the version it claims. FAKE_WITHOUT: the function it lacks is dnnl_memory_destroy. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef FAKE_MAJOR
#define FAKE_MAJOR 2
#endif

enum { BF16 = 2, FLOAT = 3 };
enum { FROM = 1, WEIGHTS = 33, TO = 17, SCRATCHPAD = 80, SCRATCH_BYTES = 256 };

typedef struct desc {
    int64_t rows, columns, row_stride, column_stride;
    int type;
    int paired; /* the layout of its own */
} desc;

typedef struct op {
    desc a, b, c;
    int reorder;
} op;

typedef struct memory {
    desc d;
    void *at;
} memory;

typedef struct arg {
    int what;
    memory *m;
} arg;

typedef struct choice {
    op o;
    desc scratch;
} choice;

/* For the test: objects alive; executions until one fails, 0: none does; the kernel's name. */
_Atomic int fake_live, fake_fail_in, fake_created, fake_executed;
const char *fake_kernel = "fake:plain";

static const struct {
    int major, minor, patch;
    const char *hash;
    unsigned cpu, gpu;
} version = {FAKE_MAJOR, FAKE_MAJOR == 2 ? 6 : 4, 3, "", 1, 0};

const void *dnnl_version(void) { return &version; }

static int make(void **out, size_t size, const void *from) {
    void *x = calloc(1, size);
    if (!x) return 1;
    if (from) memcpy(x, from, size);
    *out = x;
    fake_live++;
    return 0;
}

int dnnl_engine_destroy(void *x) {
    if (x) fake_live--;
    free(x);
    return 0;
}

#define AS_ENGINE __attribute__((alias("dnnl_engine_destroy")))
int dnnl_stream_destroy(void *x) AS_ENGINE;
int dnnl_primitive_attr_destroy(void *x) AS_ENGINE;
int dnnl_primitive_desc_destroy(void *x) AS_ENGINE;
int dnnl_primitive_destroy(void *x) AS_ENGINE;
#ifndef FAKE_WITHOUT
int dnnl_memory_destroy(void *x) AS_ENGINE;
#endif

int dnnl_engine_create(void **e, int kind, size_t index) {
    return kind == 1 && index == 0 ? make(e, 1, NULL) : 2;
}

int dnnl_stream_create(void **s, void *engine, unsigned flags) {
    return engine && flags == 1 ? make(s, sizeof(int), NULL) : 2;
}

int dnnl_primitive_attr_create(void **a) { return make(a, sizeof(int), NULL); }

int dnnl_primitive_attr_set_scratchpad_mode(int *a, int mode) {
    *a = mode;
    return 0;
}

int dnnl_memory_desc_init_by_strides(desc *d, int n, const int64_t *dims, int type,
                                     const int64_t *strides) {
    if (n != 2) return 2;
    *d = (desc){dims[0], dims[1], strides[0], strides[1], type, 0};
    return 0;
}

int dnnl_memory_desc_init_by_tag(desc *d, int n, const int64_t *dims, int type, int tag) {
    if (n != 2 || tag != 1 || dims[0] % 2) return 2;
    *d = (desc){dims[0], dims[1], 0, 0, type, 1};
    return 0;
}

static size_t size_of(const desc *d) { return d->type == BF16 ? 2 : 4; }

size_t dnnl_memory_desc_get_size(const desc *d) {
    return d->rows ? (size_t)(d->rows * d->columns) * size_of(d) : SCRATCH_BYTES;
}

int dnnl_matmul_desc_init(op *o, const desc *a, const desc *b, const desc *bias, const desc *c) {
    *o = (op){*a, *b, *c, 0};
    return bias || a->columns != b->rows || a->rows != c->rows || b->columns != c->columns ||
           c->type != FLOAT || a->type != b->type;
}

int dnnl_primitive_desc_create(void **out, const op *o, const int *attr, void *engine,
                               const void *hint) {
    choice c = {.o = *o};
    return !attr || *attr != 1 || !engine || hint ? 2 : make(out, sizeof c, &c);
}

int dnnl_reorder_primitive_desc_create(void **out, const desc *from, void *e, const desc *to,
                                       void *f, const int *attr) {
    choice c = {.o = {*from, *to, {0}, 1}};
    return !attr || *attr != 1 || !e || e != f ? 2 : make(out, sizeof c, &c);
}

int dnnl_primitive_desc_query(const choice *c, int what, int index, void *result) {
    if (!c || what != 8 || index) return 2;
    memcpy(result, &fake_kernel, sizeof fake_kernel);
    return 0;
}

const desc *dnnl_primitive_desc_query_md(const choice *c, int what, int index) {
    return index ? NULL : what == 131 ? &c->o.b : what == 136 ? &c->scratch : NULL;
}

int dnnl_primitive_create(void **p, const choice *c) {
    fake_created++;
    return make(p, sizeof(op), &c->o);
}

int dnnl_memory_create(void **m, const desc *d, void *engine, void *at) {
    memory made = {*d, at};
    return engine ? make(m, sizeof made, &made) : 2;
}

int dnnl_memory_set_data_handle_v2(memory *m, void *at, void *stream) {
    m->at = at;
    return stream ? 0 : 2;
}

static int64_t place(const desc *d, int64_t r, int64_t c) {
    if (d->paired) return (r / 2 * d->columns + c) * 2 + r % 2;
    return r * d->row_stride + c * d->column_stride;
}

static float value(const memory *m, int64_t r, int64_t c) {
    int64_t i = place(&m->d, r, c);
    float x;
    uint32_t bits;
    if (m->d.type == FLOAT) return ((const float *)m->at)[i];
    bits = (uint32_t)((const uint16_t *)m->at)[i] << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static memory *find(const arg *args, int n, int what) {
    for (int i = 0; i < n; i++)
        if (args[i].what == what && args[i].m && args[i].m->at) return args[i].m;
    return NULL;
}

static void reorder(const memory *from, memory *to) {
    for (int64_t r = 0; r < from->d.rows; r++)
        for (int64_t c = 0; c < from->d.columns; c++) {
            int64_t i = place(&from->d, r, c), j = place(&to->d, r, c);
            size_t size = size_of(&to->d);
            memcpy((char *)to->at + (size_t)j * size, (char *)from->at + (size_t)i * size, size);
        }
}

static void multiply(const memory *a, const memory *b, memory *c) {
    for (int64_t i = 0; i < c->d.rows; i++)
        for (int64_t j = 0; j < c->d.columns; j++) {
            float sum = 0;
            for (int64_t k = 0; k < a->d.columns; k++) sum += value(a, i, k) * value(b, k, j);
            ((float *)c->at)[i * c->d.columns + j] = sum;
        }
}

int dnnl_primitive_execute(const op *o, int *stream, int n, const arg *args) {
    memory *a = find(args, n, FROM), *b = find(args, n, WEIGHTS), *c = find(args, n, TO);
    memory *scratch = find(args, n, SCRATCHPAD);
    fake_executed++;
    if (fake_fail_in > 0 && --fake_fail_in == 0) return 6;
    /* a stream belongs to one thread at a time */
    if (!stream || __atomic_exchange_n(stream, 1, __ATOMIC_ACQ_REL)) return 6;
    if (!a || !c || !scratch || (!o->reorder && !b)) return 2;
    memset(scratch->at, 0xa5, SCRATCH_BYTES);
    if (o->reorder)
        reorder(a, c);
    else
        multiply(a, b, c);
    __atomic_store_n(stream, 0, __ATOMIC_RELEASE);
    return 0;
}
