#include "optim/pattern.h"

#include <string.h>

/* [from:to] with its ends as written, or [from] alone. */
typedef struct slice {
    bool is_index, has_from, has_to;
    int64_t from, to;
} slice;

/* No encoder has this many layers; larger numbers are held here, out of the way of overflow. */
enum { FAR = 1000000 };

/* Reads an optional sign and digits; false when there are none. */
static bool read_number(const char **p, int64_t *n) {
    bool negative = **p == '-';
    const char *digit = *p + negative;
    if (*digit < '0' || *digit > '9') return false;
    for (*n = 0; *digit >= '0' && *digit <= '9'; digit++)
        *n = *n < FAR ? *n * 10 + (*digit - '0') : FAR;
    if (negative) *n = -*n;
    *p = digit;
    return true;
}

/* Reads what follows '[' and moves *p behind ']'; NULL, or what is wrong. */
static const char *read_slice(const char **p, slice *s) {
    *s = (slice){0};
    s->has_from = read_number(p, &s->from);
    s->is_index = **p != ':';
    if (!s->is_index) {
        (*p)++;
        s->has_to = read_number(p, &s->to);
    }
    if (**p == 0) return "its '[' is never closed";
    if (**p == ':') return "it has a step, and slices with a step are not supported";
    if (**p != ']') return "what stands in its brackets is not a number";
    if (s->is_index && !s->has_from) return "its brackets are empty";
    (*p)++;
    return NULL;
}

/* Counts a negative number from the end, as Python does. Its clamping of a slice's ends needs no
 * code: ends beyond the layers pick the same layers. */
static int64_t from_end(int64_t n, int64_t layers) { return n < 0 ? n + layers : n; }

static bool slice_has(const slice *s, int64_t layer, int64_t layers) {
    if (layer < 0 || layer >= layers) return false;
    if (s->is_index) return layer == from_end(s->from, layers);
    return (!s->has_from || layer >= from_end(s->from, layers)) &&
           (!s->has_to || layer < from_end(s->to, layers));
}

static bool follows_layer(const char *pattern, const char *bracket) {
    return bracket - pattern >= 5 && memcmp(bracket - 5, "layer", 5) == 0;
}

static const char *find_fault(const char *pattern) {
    if (!*pattern) return "it is empty";
    for (const char *p = pattern; *p;) {
        slice s;
        const char *fault;
        if (*p == ']') return "its ']' has no '['";
        if (*p++ != '[') continue;
        if (!follows_layer(pattern, p - 1)) return "its '[' does not follow \"layer\"";
        if ((fault = read_slice(&p, &s))) return fault;
    }
    return NULL;
}

bool gf_pattern_check(const char *pattern, gf_err *e) {
    const char *fault = find_fault(pattern);
    if (!fault) return true;
    return gf_fail(e, GF_E_INVALID,
                   "the pattern \"%s\" cannot be read: %s; write it like \"heads.*\" or "
                   "\"encoder.layer[-2:].*\"",
                   pattern, fault);
}

/* Matches one element, a slice or a character, and moves both behind it. */
static bool match_one(const char **p, const char **name, int64_t layers) {
    slice s;
    int64_t layer;
    if (**p != '[') return *(*p)++ == *(*name)++;
    (*p)++;
    if (read_slice(p, &s) || *(*name)++ != '.') return false;
    return read_number(name, &layer) && slice_has(&s, layer, layers);
}

/* When an element after a '*' does not match, the last '*' takes one character more. Going back to
 * the last one is enough: an earlier one could only shift what the last one can absorb as well. */
bool gf_pattern_matches(const char *pattern, const char *name, int64_t layers) {
    const char *p = pattern, *after_star = NULL, *resume = NULL;
    if (find_fault(pattern)) return false;
    while (*name || *p) {
        if (*p == '*') {
            after_star = ++p;
            resume = name;
        } else if (*p && *name && match_one(&p, &name, layers)) {
            continue;
        } else if (after_star && *resume) {
            p = after_star;
            name = ++resume;
        } else {
            return false;
        }
    }
    return true;
}
