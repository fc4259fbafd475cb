#include "data/vocab_json.h"

#include "data/unicode.h"

#include <string.h>

enum {
    LONGEST_ESCAPED = 256, /* bytes of a token that is spelled with escapes */
    MOST_DIGITS = 7,       /* of an id; GF_VOCAB_MOST has as many */
    MEMBER = 16            /* bytes of a short one, "token":12345, */
};

typedef struct reader {
    const char *text;
    size_t size, at;
} reader;

static char next_char(const reader *r) { return r->at < r->size ? r->text[r->at] : 0; }

static void skip_space(reader *r) {
    char c = next_char(r);
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
        r->at++;
        c = next_char(r);
    }
}

/* Passes over white space and then over c, if it is there. */
static bool take(reader *r, char c) {
    skip_space(r);
    if (next_char(r) != c) return false;
    r->at++;
    return true;
}

/* Behind the quote that ends the string whose first byte is at r->at; false if none does. */
static bool skip_string(reader *r, bool *escaped) {
    *escaped = false;
    for (; r->at < r->size; r->at++) {
        char c = r->text[r->at];
        if (c == '"') return ++r->at, true;
        if (c != '\\') continue;
        *escaped = true;
        r->at++;
    }
    return false;
}

static bool is_key(const reader *r, size_t start, const char *name) {
    size_t size = r->at - 1 - start;
    return size == strlen(name) && memcmp(r->text + start, name, size) == 0;
}

/* Finds the value of "vocab" in "model": true with r->at behind its brace. In a valid object what
 * stands at depth 2 belongs to the last string at depth 1, which is a key. */
static bool find_vocab(reader *r) {
    int depth = 0;
    bool in_model = false, escaped;
    while (r->at < r->size) {
        char c = r->text[r->at++];
        size_t start = r->at;
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        if (c != '"') continue;
        if (!skip_string(r, &escaped)) return false;
        if (depth == 1) in_model = is_key(r, start, "model");
        if (depth == 2 && in_model && is_key(r, start, "vocab") && take(r, ':') && take(r, '{'))
            return true;
    }
    return false;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hexadecimal digits as UTF-8; 0 for 0, surrogates and what is no digit. */
static size_t unescape_code(const char *digits, size_t left, char *out) {
    int32_t c = 0;
    if (left < 4) return 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(digits[i]);
        if (digit < 0) return 0;
        c = c * 16 + digit;
    }
    if (c == 0 || (c >= 0xD800 && c < 0xE000)) return 0;
    return gf_unicode_encode(c, out);
}

/* Writes a string's bytes without its escapes; -1 if one is not plain or the string too long. */
static int64_t unescape(const char *s, size_t size, char out[LONGEST_ESCAPED]) {
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    size_t n = 0;
    if (size > LONGEST_ESCAPED) return -1;
    for (size_t i = 0; i < size; i++) {
        const char *name;
        if (s[i] != '\\') {
            out[n++] = s[i];
        } else if (++i < size && s[i] == 'u') {
            size_t bytes = unescape_code(s + i + 1, size - i - 1, out + n);
            if (bytes == 0) return -1;
            n += bytes;
            i += 4;
        } else if (i < size && s[i] && (name = strchr(names, s[i]))) {
            out[n++] = meant[name - names];
        } else {
            return -1;
        }
    }
    return (int64_t)n;
}

/* A whole number of a few digits, as JSON writes it; -1 if it is something else. */
static int64_t read_id(reader *r) {
    size_t start;
    int64_t id = 0;
    skip_space(r);
    start = r->at;
    for (; next_char(r) >= '0' && next_char(r) <= '9' && r->at - start < MOST_DIGITS; r->at++)
        id = id * 10 + (r->text[r->at] - '0');
    if (r->at == start || (r->text[start] == '0' && r->at - start > 1)) return -1;
    return id;
}

/* "token": id, added to the vocabulary. False with e->code 0 when it is not plain. */
static bool take_member(reader *r, gf_vocab *v, const char *where, gf_err *e) {
    char room[LONGEST_ESCAPED];
    const char *token;
    size_t start, size;
    int64_t id, before = v->count;
    bool escaped;
    if (!take(r, '"')) return false;
    start = r->at;
    if (!skip_string(r, &escaped)) return false;
    token = r->text + start;
    size = r->at - 1 - start;
    if (escaped) {
        int64_t n = unescape(token, size, room);
        if (n < 0) return false;
        token = room;
        size = (size_t)n;
    }
    if (!take(r, ':') || (id = read_id(r)) < 0) return false;
    return gf_vocab_add(v, token, size, id, where, e) && v->count > before; /* not seen before */
}

/* The members up to the closing brace, at which r->at then is. */
static bool take_members(reader *r, gf_vocab *v, const char *where, gf_err *e) {
    skip_space(r);
    if (next_char(r) == '}') return true;
    do {
        if (!take_member(r, v, where, e)) return false;
    } while (take(r, ','));
    return next_char(r) == '}';
}

bool gf_vocab_take_json(gf_vocab *v, const char *text, size_t size, const char *where,
                        gf_text *rest, gf_err *e) {
    reader r = {text, size, 0};
    gf_err why = {0};
    size_t open;
    if (!find_vocab(&r)) return true;
    open = r.at;
    if (!gf_vocab_reserve(v, (size - open) / MEMBER, e)) return false;
    if (!take_members(&r, v, where, &why)) {
        if (why.code == GF_E_NOMEM) return gf_fail(e, why.code, "%s", why.text);
        gf_vocab_free(v);
        return true;
    }
    return gf_text_add_bytes(rest, text, open, e) &&
           gf_text_add_bytes(rest, text + r.at, size - r.at, e);
}
