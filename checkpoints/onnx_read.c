#include "checkpoints/onnx_read.h"

#include "core/mem.h"

#include <string.h>

enum { EXTERNAL = 1 /* TensorProto.DataLocation */ };

/* protobuf-c's memory is the tensors', which free it all at once. */
typedef struct lender {
    gf_tensors *t;
    gf_err *e;
} lender;

static void *lend(void *data, size_t bytes) {
    lender *l = data;
    return gf_tensors_alloc(l->t, bytes, l->e);
}

static void take_back(void *data, void *p) {
    (void)data;
    (void)p;
}

GraftOnnx__Model *gf_onnx_unpack(gf_tensors *t, const unsigned char *bytes, size_t size,
                                 const char *where, gf_err *e) {
    lender l = {t, e};
    ProtobufCAllocator allocator = {lend, take_back, &l};
    GraftOnnx__Model *m =
        size <= INT32_MAX ? graft_onnx__model__unpack(&allocator, size, bytes) : NULL;
    if (m && m->graph) return m; /* else, where memory was out, *e says so already */
    gf_fail(e, GF_E_MODEL, "%s: it is not a whole ONNX model; is it damaged or cut short?", where);
    return NULL;
}

static bool set_shape(gf_tensor *out, const GraftOnnx__Tensor *x) {
    bool zero = false;
    if (x->n_dims > INT32_MAX) return false;
    out->n_dims = (int)x->n_dims;
    out->count = 1;
    for (size_t i = 0; i < x->n_dims; i++) {
        int64_t n = x->dims[i];
        if (n < 0 || (n > 0 && !gf_mul_i64(out->count, n, &out->count))) return false;
        zero = zero || n == 0;
        if (i < GF_TENSOR_DIMS) out->dim[i] = n;
    }
    if (zero) out->count = 0;
    return true;
}

bool gf_onnx_tensor(gf_tensor *out, const GraftOnnx__Tensor *x, const char *where, gf_err *e) {
    bool half = x->data_type == GRAFT_ONNX__DATA_TYPE__FLOAT16;
    *out = (gf_tensor){.name = x->name, .dtype_name = half ? "F16" : "F32"};
    out->dtype = half ? GF_DTYPE_F16 : GF_DTYPE_F32;
    if (x->data_location == EXTERNAL)
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" lies in another file; save the model with its data in "
                       "one file",
                       where, x->name);
    if (!set_shape(out, x))
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" has a shape that is too large or negative; the file is "
                       "damaged",
                       where, x->name);
    if (!x->has_raw_data && !half) { /* the other place that the format has for floats */
        out->data = (const unsigned char *)x->float_data;
        out->bytes = x->n_float_data * sizeof(float);
    } else {
        out->data = x->raw_data.data;
        out->bytes = x->raw_data.len;
    }
    return true;
}

static bool is_weight(const GraftOnnx__Tensor *x) {
    return x->name && strchr(x->name, '.') && x->has_data_type &&
           (x->data_type == GRAFT_ONNX__DATA_TYPE__FLOAT ||
            x->data_type == GRAFT_ONNX__DATA_TYPE__FLOAT16);
}

/* ir_version (field 1, a small number) and then the string, number or message that follows it. */
bool gf_onnx_begins(const unsigned char *bytes, size_t size) {
    return size >= 3 && bytes[0] == 0x08 && bytes[1] >= 3 && bytes[1] < 32 &&
           memchr("\x12\x1a\x22\x28\x32\x3a\x42", bytes[2], 7) != NULL;
}

bool gf_onnx_read(gf_tensors *t, const unsigned char *bytes, size_t size, const char *where,
                  gf_err *e) {
    const GraftOnnx__Model *m = gf_onnx_unpack(t, bytes, size, where, e);
    bool ok = m != NULL;
    for (size_t i = 0; ok && i < m->graph->n_initializer; i++) {
        const GraftOnnx__Tensor *x = m->graph->initializer[i];
        gf_tensor tensor;
        ok = !is_weight(x) ||
             (gf_onnx_tensor(&tensor, x, where, e) && gf_tensors_add(t, &tensor, where, e));
    }
    return ok;
}
