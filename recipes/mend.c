#include "recipes/mend.h"

#include "data/unicode.h"

#include <string.h>
#include <strings.h>

/* ---- Windows-1252 ---- */

/* The byte that stands for a character above U+007F; -1 if none does. The bytes that Windows-1252
 * leaves free are Latin-1's control characters (WHATWG Encoding, index windows-1252). */
static int byte_of(int32_t c) {
    static const uint16_t upper[32] = {
        0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
        0x2039, 0x0152, 0x008D, 0x017D, 0x008F, 0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
        0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178};
    if (c >= 0x80 && c <= 0xFF) return (int)c;
    for (int i = 0; c > 0xFF && i < 32; i++)
        if (upper[i] == c) return 0x80 + i;
    return -1;
}

static bool is_continuation(int byte) { return byte >= 0x80 && byte <= 0xBF; }

/* Signs that do follow an accented letter in real text: closing quotes, dashes, the ellipsis, the
 * no-break space, trade marks, squares and cubes (of an angstrom). */
static bool is_weak(int byte) {
    return byte > 0 &&
           strchr("\x85\x8b\x91\x92\x93\x94\x96\x97\x99\x9b\xa0\xab\xae\xb2\xb3\xbb", byte) != NULL;
}

/* ---- one character that was encoded twice ---- */

typedef struct sequence {
    char bytes[4];
    int size;
    size_t end; /* in the text */
} sequence;

static bool read_sequence(const char *text, size_t size, size_t at, sequence *s) {
    int lead = byte_of(gf_unicode_decode(text, size, &at));
    int wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4) return false;
    s->bytes[0] = (char)lead;
    for (s->size = 1; s->size < wanted; s->size++) {
        int byte = at < size ? byte_of(gf_unicode_decode(text, size, &at)) : -1;
        if (!is_continuation(byte)) return false;
        s->bytes[s->size] = (char)byte;
    }
    s->end = at;
    return gf_unicode_is_valid(s->bytes, (size_t)s->size);
}

static int lead_of(const sequence *s) { return (unsigned char)s->bytes[0]; }

static int32_t spelt(const sequence *s) {
    size_t at = 0;
    return gf_unicode_decode(s->bytes, (size_t)s->size, &at);
}

/* What Windows-1252 reads some bytes as, beyond the blocks below: a second layer has these. */
static bool is_second_layer(int32_t c) {
    return c == 0x81 || c == 0x8D || c == 0x8F || c == 0x90 || c == 0x9D || c == 0x192 ||
           c == 0x2C6 || c == 0x2DC;
}

/* Letters with accents, punctuation and signs, Vietnamese, emoji, the byte order mark, U+FFFD. */
static bool is_likely(const sequence *s) {
    int32_t c = spelt(s);
    return (c >= 0xA0 && c < 0x180) || (c >= 0x1E00 && c < 0x1F00) || (c >= 0x2000 && c < 0x2C00) ||
           c == 0xFEFF || c == 0xFFFD || (c >= 0x1F000 && c < 0x20000) || is_second_layer(c);
}

/* What may be of one script: its lead byte, or the first of two. */
static int script_of(const sequence *s) { return s->size == 2 ? lead_of(s) & 0xFE : 0xE0; }

static bool has_strong_sign(const sequence *s) {
    for (int i = 1; i < s->size; i++)
        if (!is_weak((unsigned char)s->bytes[i])) return true;
    return false;
}

static bool is_letter(int32_t c) { return c != GF_UNICODE_BAD && gf_unicode_is_word(c); }

/* Whether this sequence alone shows damage. `before` is the character in front, GF_UNICODE_BAD
 * where that is one of the row's own signs. */
static bool is_proof(const sequence *s, const char *text, size_t size, int32_t before) {
    int lead = lead_of(s), second = (unsigned char)s->bytes[1];
    size_t at = s->end;
    int32_t next = at < size ? gf_unicode_decode(text, size, &at) : ' ';
    bool free = before != GF_UNICODE_BAD && !is_letter(before);
    if (!is_likely(s) || is_second_layer(spelt(s))) return false;
    if (lead == 0xC5 && (second == 0xB1 || second == 0xB7)) /* "1.54 Å±0.02" */
        return is_letter(before);
    if (has_strong_sign(s)) return true;
    if (lead == 0xC2 && second == 0xA0) return free;
    return s->size == 2 && is_letter(next) && /* "\u00c3\u2013sterreich", "c\u00c5\u201cur" */
           ((lead == 0xC3 && free) || second == 0x91 || second == 0x93 || second == 0x94);
}

/* ---- a row of characters above U+007F ---- */

typedef struct row {
    size_t end;  /* in the text */
    bool proven; /* it holds a sequence that shows damage, or a script's */
    int script;  /* of a row that is proven by its script, else 0 */
} row;

static size_t end_of_row(const char *text, size_t size, size_t at) {
    for (size_t next = at; next < size; at = next)
        if (byte_of(gf_unicode_decode(text, size, &next)) < 0) break;
    return at;
}

/* Reads the row at `at`. Signs in front are skipped, those behind may be of the weak ones; a letter
 * that begins no sequence makes the whole row real text. */
static row read_row(const char *text, size_t size, size_t at, int32_t before) {
    row r = {.end = end_of_row(text, size, at)};
    int64_t unlikely = 0;
    int script = 0;
    bool strong = false, one_script = true, first = true;
    while (at < r.end) {
        sequence s;
        size_t next = at;
        int byte = byte_of(gf_unicode_decode(text, size, &next));
        if (read_sequence(text, size, at, &s)) {
            r.proven |= is_proof(&s, text, size, before);
            if (!is_likely(&s)) {
                one_script &= !script || script == script_of(&s);
                script = script_of(&s);
                strong |= has_strong_sign(&s);
                unlikely++;
            }
            next = s.end;
            first = false;
            before = 'x'; /* a letter, if it is damage */
        } else if (is_continuation(byte) && (first || is_weak(byte)))
            before = GF_UNICODE_BAD;
        else
            return (row){.end = r.end};
        at = next;
    }
    if (unlikely >= 2 && one_script && strong) {
        r.proven = true;
        r.script = script;
    }
    return r;
}

/* ---- a text ---- */

/* Whether a row of the text proves damage; *script is a further one to decode, else 0. */
static bool find_proof(const char *text, size_t size, int *script) {
    bool proven = false;
    int32_t before = ' ';
    *script = 0;
    for (size_t at = 0; at < size;) {
        size_t next = at;
        int32_t c;
        if ((unsigned char)text[at] < 0x80) { /* most of most texts */
            before = text[at++];
            continue;
        }
        c = gf_unicode_decode(text, size, &next);
        if (byte_of(c) >= 0) {
            row r = read_row(text, size, at, before);
            proven |= r.proven;
            if (r.script) *script = r.script;
            next = r.end;
            c = 'x';
        }
        before = c;
        at = next;
    }
    return proven;
}

/* Whether the row is sequences and signs throughout. */
static bool is_damaged(const char *text, size_t size, size_t at, size_t end) {
    bool first = true;
    while (at < end) {
        sequence s;
        size_t next = at;
        int byte = byte_of(gf_unicode_decode(text, size, &next));
        if (read_sequence(text, size, at, &s)) {
            next = s.end;
            first = false;
        } else if (!is_continuation(byte) || !(first || is_weak(byte)))
            return false;
        at = next;
    }
    return true;
}

/* Decodes the characters that were encoded twice, in a text where that is proven; returns their
 * count, -1 when memory is out. out NULL: counts only. */
static int64_t decode(gf_text *out, const char *text, size_t size, int script, gf_err *e) {
    int64_t count = 0;
    size_t end = 0; /* of the damaged row we are in */
    bool ok = true;
    for (size_t at = 0, next; ok && at < size; at = next) {
        sequence s;
        next = at;
        if (byte_of(gf_unicode_decode(text, size, &next)) < 0) {
            ok = !out || gf_text_add_bytes(out, text + at, next - at, e);
            continue;
        }
        if (at >= end) {
            size_t row_end = end_of_row(text, size, at);
            if (is_damaged(text, size, at, row_end))
                end = row_end;
            else
                next = row_end;
        }
        if (at < end && read_sequence(text, size, at, &s) &&
            (is_likely(&s) || script_of(&s) == script)) {
            ok = !out || gf_text_add_bytes(out, s.bytes, (size_t)s.size, e);
            next = s.end;
            count++;
        } else
            ok = !out || gf_text_add_bytes(out, text + at, next - at, e);
    }
    return ok ? count : -1;
}

/* ---- markup and controls ---- */

static bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool is_one_of(const char *const *names, const char *p, size_t n) {
    for (; *names; names++)
        if (strlen(*names) == n && strncasecmp(*names, p, n) == 0) return true;
    return false;
}

static bool begins_entity(const char *p, size_t size) {
    static const char *const names[] = {"amp",    "lt",    "gt",    "quot",  "apos",  "nbsp",
                                        "rsquo",  "lsquo", "rdquo", "ldquo", "ndash", "mdash",
                                        "copy",   "reg",   "trade", "euro",  "pound", "deg",
                                        "hellip", "bull",  NULL};
    size_t n = 1;
    if (size > 2 && p[1] == '#') {
        for (n = p[2] == 'x' || p[2] == 'X' ? 3 : 2; n < size && n < 10 && p[n] != ';'; n++)
            if (!strchr("0123456789abcdefABCDEF", p[n])) return false;
        return n > 2 && n < size && p[n] == ';';
    }
    while (n < size && n < 10 && is_ascii_letter(p[n])) n++;
    return n < size && p[n] == ';' && is_one_of(names, p + 1, n - 1);
}

static bool begins_tag(const char *p, size_t size) {
    static const char *const names[] = {"a",    "b",    "i",    "p",     "u",      "br",     "em",
                                        "h1",   "h2",   "h3",   "hr",    "li",     "ol",     "td",
                                        "tr",   "ul",   "div",  "img",   "sub",    "sup",    "font",
                                        "span", "body", "html", "table", "strong", "script", NULL};
    size_t first = size > 1 && p[1] == '/' ? 2 : 1, n = first;
    while (n < size && n < first + 8 && (is_ascii_letter(p[n]) || (p[n] >= '1' && p[n] <= '3')))
        n++;
    return n < size && strchr(" />\t\n", p[n]) && p[n] && is_one_of(names, p + first, n - first) &&
           memchr(p + n, '>', size - n < 300 ? size - n : 300) != NULL;
}

static bool is_control(int32_t c) {
    return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7F && c <= 0x9F);
}

/* Vertical tab, form feed, separators and next line: white space to Unicode or to its authors. */
static bool parts_words(int32_t c) {
    return c == 0x0B || c == 0x0C || (c >= 0x1C && c <= 0x1F) || c == 0x85;
}

gf_damage gf_damage_of(const char *text, size_t size) {
    gf_damage d = {0};
    int script;
    if (find_proof(text, size, &script)) d.doubled = decode(NULL, text, size, script, NULL);
    for (size_t at = 0; at < size;) {
        size_t start = at;
        int32_t c = gf_unicode_decode(text, size, &at);
        if (c == GF_UNICODE_BAD) {
            bool real = at - start == 3 && memcmp(text + start, "\xef\xbf\xbd", 3) == 0;
            d.lost += real;
            d.invalid += !real;
        }
        d.controls += is_control(c);
        if (c == '&' && !d.markup) d.markup = begins_entity(text + start, size - start);
        if (c == '<' && !d.markup) d.markup = begins_tag(text + start, size - start);
    }
    return d;
}

bool gf_damage_is_mendable(const gf_damage *d) { return d->invalid || d->doubled || d->controls; }

static bool drop_controls(gf_text *out, const char *text, size_t size, gf_err *e) {
    bool ok = true;
    for (size_t at = 0; ok && at < size;) {
        char bytes[GF_UNICODE_MOST_BYTES];
        int32_t c = gf_unicode_decode(text, size, &at);
        if (parts_words(c)) c = ' ';
        if (!is_control(c)) ok = gf_text_add_bytes(out, bytes, gf_unicode_encode(c, bytes), e);
    }
    return ok;
}

/* Decodes layer after layer: each makes the text shorter. */
static bool decode_all(gf_text *t, gf_err *e) {
    int script;
    bool ok = true;
    for (int64_t count = 1; ok && count > 0 && find_proof(t->data, t->length, &script);) {
        gf_text decoded = {0};
        count = decode(&decoded, t->data, t->length, script, e);
        ok = count >= 0;
        if (count > 0) {
            gf_text_free(t);
            *t = decoded;
        } else
            gf_text_free(&decoded);
    }
    return ok;
}

/* Once more where taking out controls brought damage together. */
bool gf_text_mend(gf_text *out, const char *text, size_t size, gf_err *e) {
    gf_text now = {0};
    gf_damage d = gf_damage_of(text, size);
    bool ok = gf_text_add_bytes(&now, text, size, e);
    while (ok && gf_damage_is_mendable(&d)) {
        gf_text clean = {0};
        ok = decode_all(&now, e) && gf_text_add_bytes(&clean, "", 0, e) &&
             drop_controls(&clean, now.data, now.length, e);
        gf_text_free(&now);
        now = clean;
        if (ok) d = gf_damage_of(now.data, now.length);
    }
    ok = ok && gf_text_add_bytes(out, now.data, now.length, e);
    gf_text_free(&now);
    return ok;
}

bool gf_text_add_valid(gf_text *out, const char *text, size_t size, gf_err *e) {
    bool ok = gf_text_add_bytes(out, "", 0, e);
    for (size_t at = 0; ok && at < size;) {
        char bytes[GF_UNICODE_MOST_BYTES];
        size_t n = gf_unicode_encode(gf_unicode_decode(text, size, &at), bytes);
        ok = gf_text_add_bytes(out, bytes, n, e);
    }
    return ok;
}
