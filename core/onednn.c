#include "core/onednn.h"

#include "core/mem.h"
#include "core/onednn_library.h"
#include "core/vec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A product is cut into blocks of ROWS rows of C by `wide` columns, over `deep` elements of k; both
 * are alike over a product, at most COLUMNS and DEPTH, and multiples of the steps, which are those
 * of oneDNN's layouts for packed weights, so that these add no filling of their own. */
enum { ROWS = 64, COLUMNS = 128, COLUMN_STEP = 64, DEPTH = 1024, DEPTH_STEP = 32, LINE = 64 };
enum { PARTS_A_THREAD = 2 };

/* What a thread needs for a primitive: memories bound to its buffers. */
typedef struct binding {
    void *a, *b, *c, *plain, *packed, *matmul_scratch, *pack_scratch;
    void *scratch; /* both scratchpads' bytes, one at a time */
} binding;

/* Blocks of one shape: C [ROWS, wide] = A [ROWS, deep] B [deep, wide], and the packing of B. A
 * transposed factor is stored as [deep, ROWS], or [wide, deep]. */
typedef struct primitive {
    int64_t deep, wide;
    bool transpose_a, transpose_b;
    void *matmul, *pack;
    size_t packed;     /* bytes of a packed B, whole cache lines */
    binding *bindings; /* [threads] */
} primitive;

typedef struct worker {
    void *stream;
    unsigned char *a, *b; /* [ROWS, DEPTH] and [DEPTH, COLUMNS] of the type */
    float *c;             /* [ROWS, COLUMNS] */
} worker;

struct gf_onednn {
    gf_dnnl lib;
    gf_onednn_type type;
    size_t size; /* of an element of the type */
    const gf_vec *vec;
    void *engine, *attr;
    int threads;
    worker *workers; /* [threads] */
    primitive **made;
    int64_t n_made, capacity;
    char kernel[64]; /* oneDNN's name of what computes */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t length, int64_t piece) { return (length + piece - 1) / piece; }
static int64_t up(int64_t length, int64_t step) { return pieces(length, step) * step; }
static size_t up_bytes(size_t size) { return (size + LINE - 1) / LINE * LINE; }

typedef struct cutting {
    int64_t deep, chunks;  /* of k */
    int64_t wide, columns; /* of n */
} cutting;

static cutting cut(int64_t n, int64_t k) {
    cutting c;
    if (k < 1) k = 1;
    if (n < 1) n = 1;
    c.deep = up(pieces(k, pieces(k, DEPTH)), DEPTH_STEP);
    c.chunks = pieces(k, c.deep);
    c.wide = up(pieces(n, pieces(n, COLUMNS)), COLUMN_STEP);
    c.columns = pieces(n, c.wide);
    return c;
}

/* ---- primitives ---- */

static int type_of(const gf_onednn *o) {
    return o->type == GF_ONEDNN_BF16 ? GF_DNNL_BF16 : GF_DNNL_F32;
}

/* [rows, columns], stored by rows or, transposed, by columns. */
static bool describe(const gf_onednn *o, gf_dnnl_memory_desc *d, int64_t rows, int64_t columns,
                     int type, bool transposed) {
    int64_t dims[GF_DNNL_MAX_DIMS] = {rows, columns}, strides[GF_DNNL_MAX_DIMS] = {columns, 1};
    if (transposed) {
        strides[0] = 1;
        strides[1] = rows;
    }
    return o->lib.desc_by_strides(d, 2, dims, type, strides) == 0;
}

typedef struct descs {
    gf_dnnl_memory_desc a, any, plain, c; /* `any`: B in a layout that oneDNN may choose */
    gf_dnnl_op_desc op;
    void *matmul, *pack; /* as chosen */
} descs;

static bool describe_all(const gf_onednn *o, const primitive *p, descs *d) {
    int64_t dims[GF_DNNL_MAX_DIMS] = {p->deep, p->wide};
    int type = type_of(o);
    return describe(o, &d->a, ROWS, p->deep, type, p->transpose_a) &&
           describe(o, &d->plain, p->deep, p->wide, type, p->transpose_b) &&
           describe(o, &d->c, ROWS, p->wide, GF_DNNL_F32, false) &&
           o->lib.desc_by_tag(&d->any, 2, dims, type, GF_DNNL_TAG_ANY) == 0 &&
           o->lib.matmul_desc(&d->op, &d->a, &d->any, NULL, &d->c) == 0;
}

/* oneDNN's reference kernels are there for comparison, and hundreds of times slower. */
static bool is_fast(gf_onednn *o, const descs *d) {
    const char *kernel = NULL;
    if (o->lib.query(d->matmul, GF_DNNL_QUERY_IMPL, 0, (void *)&kernel) != 0 || !kernel)
        return false;
    snprintf(o->kernel, sizeof o->kernel, "%s", kernel);
    return strncmp(kernel, "ref", 3) != 0;
}

static bool choose(gf_onednn *o, primitive *p, descs *d) {
    const gf_dnnl *lib = &o->lib;
    const gf_dnnl_memory_desc *packed;
    if (!describe_all(o, p, d) || lib->choose(&d->matmul, &d->op, o->attr, o->engine, NULL) != 0 ||
        !is_fast(o, d))
        return false;
    packed = lib->query_desc(d->matmul, GF_DNNL_QUERY_WEIGHTS, 0);
    if (!packed) return false;
    p->packed = up_bytes(lib->desc_size(packed));
    return lib->choose_reorder(&d->pack, &d->plain, o->engine, packed, o->engine, o->attr) == 0 &&
           lib->primitive_create(&p->matmul, d->matmul) == 0 &&
           lib->primitive_create(&p->pack, d->pack) == 0;
}

static bool bind(const gf_onednn *o, const descs *d, const worker *w, binding *b, gf_err *e) {
    const gf_dnnl *lib = &o->lib;
    const gf_dnnl_memory_desc *packed = lib->query_desc(d->matmul, GF_DNNL_QUERY_WEIGHTS, 0);
    const gf_dnnl_memory_desc *one = lib->query_desc(d->matmul, GF_DNNL_QUERY_SCRATCHPAD, 0);
    const gf_dnnl_memory_desc *other = lib->query_desc(d->pack, GF_DNNL_QUERY_SCRATCHPAD, 0);
    size_t for_one = one ? lib->desc_size(one) : 0, for_other = other ? lib->desc_size(other) : 0;
    if (!one || !other) return false;
    if (!(b->scratch = gf_alloc(for_one > for_other ? for_one : for_other, e))) return false;
    /* The packed B is moved to before each use. */
    return lib->memory_create(&b->a, &d->a, o->engine, w->a) == 0 &&
           lib->memory_create(&b->plain, &d->plain, o->engine, w->b) == 0 &&
           lib->memory_create(&b->c, &d->c, o->engine, w->c) == 0 &&
           lib->memory_create(&b->packed, packed, o->engine, NULL) == 0 &&
           lib->memory_create(&b->matmul_scratch, one, o->engine, b->scratch) == 0 &&
           lib->memory_create(&b->pack_scratch, other, o->engine, b->scratch) == 0;
}

static void unbind(const gf_onednn *o, binding *b) {
    void *memories[] = {b->a, b->c, b->plain, b->packed, b->matmul_scratch, b->pack_scratch};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++)
        if (memories[i]) o->lib.memory_destroy(memories[i]);
    gf_free(b->scratch);
}

static void free_primitive(const gf_onednn *o, primitive *p) {
    if (!p) return;
    for (int i = 0; p->bindings && i < o->threads; i++) unbind(o, &p->bindings[i]);
    gf_free(p->bindings);
    if (p->matmul) o->lib.primitive_destroy(p->matmul);
    if (p->pack) o->lib.primitive_destroy(p->pack);
    gf_free(p);
}

static bool fill_primitive(gf_onednn *o, primitive *p, gf_err *e) {
    descs d;
    int before = gf_dnnl_alone(&o->lib);
    bool ok;
    d.matmul = d.pack = NULL;
    ok = (p->bindings = gf_alloc_array(o->threads, sizeof *p->bindings, e)) && choose(o, p, &d);
    for (int i = 0; ok && i < o->threads; i++) ok = bind(o, &d, &o->workers[i], &p->bindings[i], e);
    if (d.matmul) o->lib.choice_destroy(d.matmul);
    if (d.pack) o->lib.choice_destroy(d.pack);
    gf_dnnl_as_before(&o->lib, before);
    return ok;
}

static primitive *find(const gf_onednn *o, const gf_product *p, const cutting *c) {
    for (int64_t i = 0; i < o->n_made; i++) {
        primitive *made = o->made[i];
        if (made->deep == c->deep && made->wide == c->wide && made->transpose_a == p->transpose_a &&
            made->transpose_b == p->transpose_b)
            return made;
    }
    return NULL;
}

static primitive *find_or_make(gf_onednn *o, const gf_product *p, const cutting *c, gf_err *e) {
    primitive *made = find(o, p, c);
    if (made) return made;
    if (!gf_grow(&o->made, o->n_made, &o->capacity, sizeof(primitive *), e)) return NULL;
    if (!(made = gf_alloc_array(1, sizeof *made, e))) return NULL;
    made->deep = c->deep;
    made->wide = c->wide;
    made->transpose_a = p->transpose_a;
    made->transpose_b = p->transpose_b;
    if (!fill_primitive(o, made, e)) {
        free_primitive(o, made);
        return NULL;
    }
    return o->made[o->n_made++] = made;
}

int64_t gf_onednn_work(gf_onednn *o, const gf_product *p) {
    cutting c = cut(p->n, p->k);
    gf_err e = {0};
    const primitive *made = find_or_make(o, p, &c, &e);
    int64_t bytes;
    if (!made || !gf_mul_i64((int64_t)made->packed, c.chunks * c.columns, &bytes)) return -1;
    return pieces(bytes + LINE, (int64_t)sizeof(gf_real));
}

/* ---- a product ---- */

typedef struct product {
    gf_onednn *o;
    const primitive *made;
    const gf_product *p;
    cutting cut;
    unsigned char *packed; /* [chunks, columns] packed Bs */
    int64_t across, group; /* parts side by side, and the columns' blocks that each takes */
    gf_epilogue *then;
    void *context;
} product;

/* Lines of a factor: `count` of `length` elements, `stride` apart, to fill [all, wide]. */
typedef struct lines {
    const gf_real *x;
    int64_t stride, count, length, all, wide;
} lines;

static void fill(const gf_onednn *o, const lines *l, unsigned char *out) {
    size_t line = (size_t)l->wide * o->size, full = (size_t)l->length * o->size;
    for (int64_t i = 0; i < l->count; i++, out += line) {
        const gf_real *x = l->x + i * l->stride;
        if (o->type == GF_ONEDNN_BF16)
            o->vec->round_bf16(l->length, x, (uint16_t *)(void *)out);
        else
            for (int64_t j = 0; j < l->length; j++) ((float *)(void *)out)[j] = (float)x[j];
        memset(out + full, 0, line - full);
    }
    memset(out, 0, (size_t)(l->all - l->count) * line);
}

static void fill_a(const product *s, int64_t row, int64_t chunk, const worker *w) {
    const gf_product *p = s->p;
    int64_t first = chunk * s->cut.deep, k = least(s->cut.deep, p->k - first);
    int64_t rows = least(ROWS, p->m - row);
    lines l = {p->a + row * p->lda + first, p->lda, rows, k, ROWS, s->cut.deep};
    if (p->transpose_a)
        l = (lines){p->a + first * p->lda + row, p->lda, k, rows, s->cut.deep, ROWS};
    fill(s->o, &l, w->a);
}

static void fill_b(const product *s, int64_t column, int64_t chunk, const worker *w) {
    const gf_product *p = s->p;
    int64_t first = chunk * s->cut.deep, k = least(s->cut.deep, p->k - first);
    int64_t columns = least(s->cut.wide, p->n - column);
    lines l = {p->b + first * p->ldb + column, p->ldb, k, columns, s->cut.deep, s->cut.wide};
    if (p->transpose_b)
        l = (lines){p->b + column * p->ldb + first, p->ldb, columns, k, s->cut.wide, s->cut.deep};
    fill(s->o, &l, w->b);
}

static unsigned char *packed_at(const product *s, int64_t chunk, int64_t block) {
    return s->packed + (size_t)(chunk * s->cut.columns + block) * s->made->packed;
}

/* Bytes that no kernel makes numbers of, where packing failed: as fp32 and as bf16 they are NaN. */
static void pack_block(void *job, int64_t part, int thread) {
    const product *s = job;
    const gf_dnnl *lib = &s->o->lib;
    const worker *w = &s->o->workers[thread];
    const binding *b = &s->made->bindings[thread];
    int64_t chunk = part / s->cut.columns, block = part % s->cut.columns;
    unsigned char *to = packed_at(s, chunk, block);
    gf_dnnl_arg args[] = {{GF_DNNL_ARG_FROM, b->plain},
                          {GF_DNNL_ARG_TO, b->packed},
                          {GF_DNNL_ARG_SCRATCHPAD, b->pack_scratch}};
    int before = gf_dnnl_alone(lib);
    fill_b(s, block * s->cut.wide, chunk, w);
    if (lib->memory_move(b->packed, to, w->stream) != 0 ||
        lib->execute(s->made->pack, w->stream, 3, args) != 0)
        memset(to, 0xff, s->made->packed);
    gf_dnnl_as_before(lib, before);
}

static void multiply(const product *s, int thread, unsigned char *packed) {
    const gf_dnnl *lib = &s->o->lib;
    const worker *w = &s->o->workers[thread];
    const binding *b = &s->made->bindings[thread];
    gf_dnnl_arg args[] = {{GF_DNNL_ARG_FROM, b->a},
                          {GF_DNNL_ARG_WEIGHTS, b->packed},
                          {GF_DNNL_ARG_TO, b->c},
                          {GF_DNNL_ARG_SCRATCHPAD, b->matmul_scratch}};
    if (lib->memory_move(b->packed, packed, w->stream) != 0 ||
        lib->execute(s->made->matmul, w->stream, 4, args) != 0)
        for (int64_t i = 0; i < ROWS * s->cut.wide; i++) w->c[i] = NAN;
}

static void add_line(const gf_vec *vec, int64_t n, const float *x, gf_real *y) {
#if GF_REAL_IS_FLOAT
    vec->add(n, x, y);
#else
    (void)vec;
    for (int64_t i = 0; i < n; i++) y[i] += (gf_real)x[i];
#endif
}

/* The block goes where it belongs: over what is there, or added to it or to the start. */
static void take(const product *s, int64_t row, int64_t column, int64_t chunk, const worker *w) {
    const gf_product *p = s->p;
    int64_t rows = least(ROWS, p->m - row), columns = least(s->cut.wide, p->n - column);
    for (int64_t r = 0; r < rows; r++) {
        gf_real *c = p->c + (row + r) * p->ldc + column;
        const float *x = w->c + r * s->cut.wide;
        if (chunk == 0 && !p->add) {
            if (p->start)
                memcpy(c, p->start + column, (size_t)columns * sizeof *c);
            else
                memset(c, 0, (size_t)columns * sizeof *c);
        }
        add_line(s->o->vec, columns, x, c);
    }
}

static void run_part(void *job, int64_t part, int thread) {
    const product *s = job;
    const worker *w = &s->o->workers[thread];
    int64_t row = part / s->across * ROWS, first = part % s->across * s->group;
    int64_t end = least(first + s->group, s->cut.columns), column = first * s->cut.wide;
    int before = gf_dnnl_alone(&s->o->lib);
    for (int64_t chunk = 0; chunk < s->cut.chunks; chunk++) {
        fill_a(s, row, chunk, w);
        for (int64_t block = first; block < end; block++) {
            multiply(s, thread, packed_at(s, chunk, block));
            take(s, row, block * s->cut.wide, chunk, w);
        }
    }
    gf_dnnl_as_before(&s->o->lib, before);
    if (s->then)
        s->then(s->context, row, least(ROWS, s->p->m - row), column,
                least(end * s->cut.wide, s->p->n) - column);
}

void gf_onednn_gemm(gf_onednn *o, gf_pool *pool, const gf_product *p, gf_epilogue *then,
                    void *context) {
    product s = {.o = o, .p = p, .cut = cut(p->n, p->k), .then = then, .context = context};
    uintptr_t at = (uintptr_t)p->work;
    int64_t down = pieces(p->m, ROWS), wanted = (int64_t)PARTS_A_THREAD * o->threads;
    if (p->m < 1 || p->n < 1) return;
    s.made = find(o, p, &s.cut);
    s.packed = (unsigned char *)((at + LINE - 1) / LINE * LINE);
    s.group = pieces(s.cut.columns, least(s.cut.columns, pieces(wanted, down)));
    s.across = pieces(s.cut.columns, s.group);
    gf_pool_run(pool, s.cut.chunks * s.cut.columns, pack_block, &s);
    gf_pool_run(pool, down * s.across, run_part, &s);
}

/* ---- the handle ---- */

static bool start_worker(const gf_onednn *o, worker *w, gf_err *e) {
    if (o->lib.stream_create(&w->stream, o->engine, GF_DNNL_IN_ORDER) != 0)
        return gf_fail(e, GF_E_INTERNAL, "oneDNN: it makes no stream; use precision fp32");
    return (w->a = gf_alloc(ROWS * DEPTH * o->size, e)) &&
           (w->b = gf_alloc(COLUMNS * DEPTH * o->size, e)) &&
           (w->c = gf_alloc(ROWS * COLUMNS * sizeof *w->c, e));
}

static bool start(gf_onednn *o, gf_err *e) {
    const gf_dnnl *lib = &o->lib;
    const gf_product probe = {.m = ROWS, .n = COLUMNS, .k = DEPTH, .transpose_b = true};
    const cutting c = cut(probe.n, probe.k);
    if (lib->engine_create(&o->engine, GF_DNNL_CPU, 0) != 0 || lib->attr_create(&o->attr) != 0 ||
        lib->attr_set_scratchpad_mode(o->attr, GF_DNNL_SCRATCHPAD_USER) != 0)
        return gf_fail(e, GF_E_INTERNAL, "oneDNN: it does not start; use precision fp32");
    if (!(o->workers = gf_alloc_array(o->threads, sizeof *o->workers, e))) return false;
    for (int i = 0; i < o->threads; i++)
        if (!start_worker(o, &o->workers[i], e)) return false;
    if (find_or_make(o, &probe, &c, e)) return true;
    return gf_fail(e, GF_E_INVALID,
                   "precision: oneDNN has no fast bf16 product for this processor (%s); use "
                   "precision fp32",
                   *o->kernel ? o->kernel : "no kernel at all");
}

static bool check_processor(const gf_onednn_options *options, gf_err *e) {
    char features[256];
    if (options->type != GF_ONEDNN_BF16 || options->path || gf_vec_cpu_has_bf16()) return true;
    return gf_fail(e, GF_E_INVALID,
                   "precision: bf16 needs a processor with AVX512-BF16 or AMX-BF16, and this one "
                   "has neither (%s); use precision fp32",
                   gf_vec_cpu_features(features, sizeof features));
}

gf_onednn *gf_onednn_open(const gf_onednn_options *options, gf_err *e) {
    gf_onednn *o = NULL;
    if (!check_processor(options, e) || !(o = gf_alloc_array(1, sizeof *o, e))) return NULL;
    o->type = options->type;
    o->size = o->type == GF_ONEDNN_BF16 ? sizeof(uint16_t) : sizeof(float);
    o->threads = options->threads > 0 ? options->threads : 1;
    o->vec = gf_vec_best();
    if (gf_dnnl_load(&o->lib, options->path, e) && start(o, e)) return o;
    gf_onednn_close(o);
    return NULL;
}

void gf_onednn_close(gf_onednn *o) {
    if (!o) return;
    for (int64_t i = 0; i < o->n_made; i++) free_primitive(o, o->made[i]);
    gf_free(o->made);
    for (int i = 0; o->workers && i < o->threads; i++) {
        worker *w = &o->workers[i];
        if (w->stream) o->lib.stream_destroy(w->stream);
        gf_free(w->a);
        gf_free(w->b);
        gf_free(w->c);
    }
    gf_free(o->workers);
    if (o->attr) o->lib.attr_destroy(o->attr);
    if (o->engine) o->lib.engine_destroy(o->engine);
    gf_dnnl_unload(&o->lib);
    gf_free(o);
}

const char *gf_onednn_name(const gf_onednn *o, char *text, int size) {
    const gf_dnnl_version *v = o->lib.version();
    snprintf(text, (size_t)size, "oneDNN %d.%d.%d, %s, %s", v->major, v->minor, v->patch,
             o->type == GF_ONEDNN_BF16 ? "bf16" : "fp32", o->kernel);
    return text;
}
