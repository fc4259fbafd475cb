#include "checkpoints/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "files are little endian and are read in place"
#endif

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [GF_DTYPE_OTHER] = {"", 0},
#define GF_DTYPE(name, size) [GF_DTYPE_##name] = {#name, size},
#include "checkpoints/dtype.def"
#undef GF_DTYPE
};

gf_dtype gf_dtype_find(const char *name) {
    for (size_t i = 1; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(name, dtypes[i].name) == 0) return (gf_dtype)i;
    return GF_DTYPE_OTHER;
}

size_t gf_dtype_size(gf_dtype d) { return dtypes[d].size; }
const char *gf_dtype_name(gf_dtype d) { return dtypes[d].name; }

const char *gf_tensor_shape_text(const gf_tensor *t, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < t->n_dims && i < GF_TENSOR_DIMS && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "",
                                 (long long)t->dim[i]);
    if (used < size)
        snprintf(text + used, size - used, t->n_dims > GF_TENSOR_DIMS ? ", ...]" : "]");
    return text;
}

bool gf_tensor_shape(const gf_tensor *t, gf_shape *shape, const char *where, gf_err *e) {
    char text[256];
    if (t->n_dims > GF_MAX_DIMS || t->count == 0)
        return gf_fail(e, GF_E_MODEL,
                       "%s: tensor \"%s\" has the shape %s; 1 to %d dimensions above 0 are wanted",
                       where, t->name, gf_tensor_shape_text(t, text, sizeof text), GF_MAX_DIMS);
    *shape = (gf_shape){.n = t->n_dims};
    for (int i = 0; i < t->n_dims; i++) shape->dim[i] = t->dim[i];
    return true;
}

static float float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* A narrow float of 1 sign bit and the given exponent and fraction bits, with an infinity as IEEE
 * 754 has it (binary16: 5, 10; OCP 8-bit E5M2: 5, 2), or without: E4M3 (4, 3) has one NaN of each
 * sign in its place. */
static float widen(uint32_t h, int exponent_bits, int fraction_bits, bool has_infinity) {
    uint32_t most = (1u << exponent_bits) - 1, exponent = h >> fraction_bits & most;
    uint32_t fraction = h & ((1u << fraction_bits) - 1);
    uint32_t sign = h >> (exponent_bits + fraction_bits) << 31;
    int bias = (int)(most >> 1);
    if (has_infinity && exponent == most)
        return float_of_bits(sign | 0x7f800000u | fraction << (23 - fraction_bits));
    if (!has_infinity && exponent == most && fraction == (1u << fraction_bits) - 1)
        return float_of_bits(sign | 0x7fc00000u);
    if (exponent)
        return float_of_bits(sign | (exponent + 127 - (uint32_t)bias) << 23 |
                             fraction << (23 - fraction_bits));
    return (sign ? -1.0f : 1.0f) * ldexpf((float)fraction, 1 - bias - fraction_bits); /* exact */
}

bool gf_tensor_to_real(const gf_tensor *t, gf_real *out, const char *where, gf_err *e) {
    size_t size = dtypes[t->dtype].size;
    for (int64_t i = 0; i < t->count; i++) {
        const unsigned char *p = t->data + (size_t)i * size;
        uint16_t half;
        float single;
        double dbl;
        switch (t->dtype) {
        case GF_DTYPE_F32: memcpy(&single, p, sizeof single), out[i] = single; break;
        case GF_DTYPE_F64: memcpy(&dbl, p, sizeof dbl), out[i] = (gf_real)dbl; break;
        case GF_DTYPE_F16: memcpy(&half, p, sizeof half), out[i] = widen(half, 5, 10, true); break;
        case GF_DTYPE_BF16:
            memcpy(&half, p, sizeof half), out[i] = float_of_bits((uint32_t)half << 16);
            break;
        case GF_DTYPE_F8_E5M2: out[i] = widen(*p, 5, 2, true); break;
        case GF_DTYPE_F8_E4M3: out[i] = widen(*p, 4, 3, false); break;
        default:
            return gf_fail(e, GF_E_MODEL,
                           "%s: tensor \"%s\" is of type %s; floating-point types can be used",
                           where, t->name, t->dtype_name);
        }
    }
    return true;
}

/* To nearest, ties to even; a NaN stays one. */
static uint16_t bf16_of_float(float x) {
    uint32_t bits = bits_of_float(x);
    if (isnan(x)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t f16_of_float(float x) {
    uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000, shift, fraction, rest, half;
    int exponent = (int)(bits >> 23 & 0xff) - 127 + 15;
    if (isnan(x)) return (uint16_t)(sign | 0x7e00);
    if (exponent >= 31) return (uint16_t)(sign | 0x7c00); /* too large, or infinite */
    if (exponent < -10) return (uint16_t)sign;            /* below half the least subnormal */
    fraction = (bits & 0x7fffff) | 0x800000;
    shift = exponent > 0 ? 13 : (uint32_t)(14 - exponent);
    half = fraction >> shift;
    rest = fraction & ((1u << shift) - 1);
    half += rest > 1u << (shift - 1) || (rest == 1u << (shift - 1) && (half & 1));
    if (exponent > 0) half += (uint32_t)(exponent - 1) << 10; /* the leading 1 adds the last one */
    return (uint16_t)(sign | half);
}

void gf_tensor_pack(gf_dtype to, const gf_real *values, int64_t count, unsigned char *bytes) {
    for (int64_t i = 0; i < count; i++) {
        float x = (float)values[i];
        uint16_t half = to == GF_DTYPE_F16 ? f16_of_float(x) : bf16_of_float(x);
        if (to == GF_DTYPE_F32)
            memcpy(bytes + 4 * i, &x, sizeof x);
        else
            memcpy(bytes + 2 * i, &half, sizeof half);
    }
}
