#include "cli/jsonl.h"

#include "data/unicode.h"

#include <string.h>

/* The bytes of a code point in a JSON string. */
static size_t escape(int32_t c, char out[8]) {
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    static const char hex[] = "0123456789abcdef";
    const char *special = c > 0 && c < 0x80 ? strchr(plain, (int)c) : NULL;
    if (special) {
        out[0] = '\\';
        out[1] = letter[special - plain];
        return 2;
    }
    if (c >= 0x20) return gf_unicode_encode(c, out);
    memcpy(out, "\\u00", 4);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

bool gf_jsonl_add_string(gf_text *out, const char *text, size_t size, gf_err *e) {
    bool ok = gf_text_add_bytes(out, "\"", 1, e);
    for (size_t at = 0; ok && at < size;) {
        char piece[8];
        size_t n = escape(gf_unicode_decode(text, size, &at), piece);
        ok = gf_text_add_bytes(out, piece, n, e);
    }
    return ok && gf_text_add_bytes(out, "\"", 1, e);
}

bool gf_jsonl_add_reals(gf_text *out, int64_t count, const gf_real *x, gf_err *e) {
    bool ok = gf_text_add_bytes(out, "[", 1, e);
    for (int64_t i = 0; ok && i < count; i++)
        ok = gf_text_add(out, e, "%s%.9g", i ? ", " : "", (double)x[i]);
    return ok && gf_text_add_bytes(out, "]", 1, e);
}
