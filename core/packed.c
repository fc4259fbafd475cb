#include "core/packed.h"

#include "core/gemm.h"
#include "core/io.h"
#include "core/mem.h"

enum { FEW = 3 };

static gf_real *pack(const gf_param *p, gf_pool *pool) {
    int64_t o = p->shape.dim[0], i = p->shape.dim[1], size = gf_gemm_packed(o, i);
    gf_real *packed = size ? gf_alloc((size_t)size * sizeof *packed, NULL) : NULL;
    gf_product product = {.n = o, .k = i, .b = p->value, .ldb = i, .transpose_b = true};
    if (!packed) return NULL; /* slower without, and the same bits */
    gf_gemm_pack(pool, &product, packed);
    gf_io_unload(p->value, (size_t)gf_param_count(p) * sizeof *p->value);
    return packed;
}

const gf_real *gf_param_packed(gf_param *p, gf_pool *pool) {
    gf_real *packed = atomic_load(&p->packed), *none = NULL;
    if (p->owned || p->shape.n != 2) return NULL;
    if (packed || atomic_fetch_add(&p->asked, 1) + 1 < FEW) return packed;
    packed = pack(p, pool);
    if (packed && !atomic_compare_exchange_strong(&p->packed, &none, packed)) {
        gf_free(packed); /* another thread was first */
        packed = none;
    }
    return packed;
}
