#include "data/unicode.h"

#include <utf8proc.h>

typedef struct range {
    int32_t first, last, value;
} range;

#define DROP                                 GF_UNICODE_DROP
#define MARK                                 GF_UNICODE_MARK
#define PUNCT                                GF_UNICODE_PUNCT
#define GF_UNICODE_CLASS(first, last, value) {first, last, value},
static const range classes[] = {
#include "data/unicode.def"
};
#define GF_UNICODE_LOWER(first, last, value) {first, last, value},
static const range lowers[] = {
#include "data/unicode.def"
};
#define GF_UNICODE_ORDER(first, last, value) {first, last, value},
static const range orders[] = {
#include "data/unicode.def"
};
#define GF_UNICODE_WHOLE(first, last, value) {first, last, value},
static const range wholes[] = {
#include "data/unicode.def"
};
#define GF_UNICODE_WORD(first, last, value) {first, last, value},
static const range words[] = {
#include "data/unicode.def"
};
enum {
    CLASSES = sizeof classes / sizeof *classes,
    LOWERS = sizeof lowers / sizeof *lowers,
    ORDERS = sizeof orders / sizeof *orders,
    WHOLES = sizeof wholes / sizeof *wholes,
    WORDS = sizeof words / sizeof *words
};

/* The range that holds c, by bisection, or NULL. */
static const range *find(const range *ranges, int count, int32_t c) {
    int low = 0, high = count;
    if (c < ranges[0].first) return NULL;
    while (low < high) {
        int middle = (low + high) / 2;
        if (c > ranges[middle].last)
            low = middle + 1;
        else if (c < ranges[middle].first)
            high = middle;
        else
            return &ranges[middle];
    }
    return NULL;
}

/* The length a lead byte announces, 0 for a byte that cannot lead, and the bounds of the second
 * byte, which keep out overlong forms, surrogates and what lies above 10FFFF. */
static int sequence_length(unsigned char lead, unsigned char *low, unsigned char *high) {
    *low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

int32_t gf_unicode_decode(const char *text, size_t size, size_t *at) {
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *s = (const unsigned char *)text + *at;
    size_t left = size - *at;
    unsigned char low, high;
    int length = sequence_length(*s, &low, &high);
    int32_t c = *s & lead_bits[length];
    ++*at;
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= left || s[i] < low || s[i] > high) return GF_UNICODE_BAD;
        c = (c << 6) | (s[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
        ++*at;
    }
    return length ? c : GF_UNICODE_BAD;
}

size_t gf_unicode_back(const char *text, size_t end) {
    size_t at = end - 1;
    while (at > 0 && end - at < GF_UNICODE_MOST_BYTES && ((unsigned char)text[at] & 0xC0) == 0x80)
        at--;
    return at;
}

size_t gf_unicode_encode(int32_t c, char out[GF_UNICODE_MOST_BYTES]) {
    return (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)out);
}

bool gf_unicode_is_valid(const char *text, size_t size) {
    static const char bad[] = "\xEF\xBF\xBD";
    for (size_t at = 0; at < size;) {
        size_t start = at;
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        if (gf_unicode_decode(text, size, &at) != GF_UNICODE_BAD) continue;
        if (at - start != 3 || text[start] != bad[0] || text[start + 1] != bad[1]) return false;
    }
    return true;
}

static bool is_space(int32_t c) {
    if (c < 0x2000) return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680;
    return c <= 0x200A || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Extension E begins 100 hex too late, as in the original and all that copied it. */
static bool is_chinese(int32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
}

static bool is_ascii_sign(int32_t c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

/* Unassigned code points (Cn) have no flag: BERT keeps them, and they become [UNK]. */
static unsigned class_of_category(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC: return c == '\t' || c == '\n' || c == '\r' ? 0 : GF_UNICODE_DROP;
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO: return GF_UNICODE_DROP;
    case UTF8PROC_CATEGORY_MN: return GF_UNICODE_MARK;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return GF_UNICODE_PUNCT;
    default: return c == GF_UNICODE_BAD ? GF_UNICODE_DROP : 0;
    }
}

unsigned gf_unicode_class(int32_t c) {
    const range *r = find(classes, CLASSES, c);
    unsigned flags = r ? (unsigned)r->value : class_of_category(c);
    if (is_space(c)) flags |= GF_UNICODE_SPACE;
    if (is_chinese(c)) flags |= GF_UNICODE_CHINESE;
    if (is_ascii_sign(c)) flags |= GF_UNICODE_PUNCT;
    return flags;
}

bool gf_unicode_is_word(int32_t c) {
    const range *r = find(words, WORDS, c);
    utf8proc_category_t k = utf8proc_category(c);
    if (r) return r->value != 0;
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC ||
           c == 0x200C || c == 0x200D;
}

int gf_unicode_lower(int32_t c, int32_t out[2]) {
    const range *r = find(lowers, LOWERS, c);
    out[0] = r ? c + r->value : utf8proc_tolower(c);
    if (c != 0x130) return 1;
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
}

int gf_unicode_decompose(int32_t c, int32_t out[GF_UNICODE_LONGEST]) {
    int boundary = 0;
    out[0] = c;
    if (c < 0xC0 || find(wholes, WHOLES, c)) return 1;
    return (int)utf8proc_decompose_char(c, out, GF_UNICODE_LONGEST, UTF8PROC_DECOMPOSE, &boundary);
}

int gf_unicode_order(int32_t c) {
    const range *r = find(orders, ORDERS, c);
    return r ? r->value : utf8proc_get_property(c)->combining_class;
}
