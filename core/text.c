#include "core/text.h"

#include "core/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool make_room(gf_text *t, size_t more, gf_err *e) {
    size_t wanted;
    if (!gf_add_size(t->length + 1, more, &wanted))
        return gf_fail(e, GF_E_NOMEM, "out of memory: a text grows too long");
    while ((size_t)t->capacity < wanted)
        if (!gf_grow(&t->data, t->capacity, &t->capacity, 1, e)) return false;
    return true;
}

bool gf_text_add_bytes(gf_text *t, const void *bytes, size_t size, gf_err *e) {
    if (!make_room(t, size, e)) return false;
    if (size) memcpy(t->data + t->length, bytes, size);
    t->length += size;
    t->data[t->length] = 0;
    return true;
}

bool gf_text_add(gf_text *t, gf_err *e, const char *format, ...) {
    va_list args;
    int length;
    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) return gf_fail(e, GF_E_INTERNAL, "a text cannot be formatted");
    if (!make_room(t, (size_t)length, e)) return false;
    va_start(args, format);
    vsnprintf(t->data + t->length, (size_t)length + 1, format, args);
    va_end(args);
    t->length += (size_t)length;
    return true;
}

bool gf_text_add_column(gf_text *t, const char *text, int columns, gf_err *e) {
    size_t size = 0;
    int characters = 0;
    for (; text[size] && characters < columns; characters++) do
            size++;
        while (((unsigned char)text[size] & 0xc0) == 0x80);
    return gf_text_add_bytes(t, text, size, e) &&
           gf_text_add(t, e, "%*s", columns - characters, "");
}

void gf_text_trim(gf_text *t) {
    while (t->length && t->data[t->length - 1] == ' ') t->data[--t->length] = 0;
}

void gf_text_free(gf_text *t) {
    gf_free(t->data);
    *t = (gf_text){0};
}

bool gf_text_ends_with(const char *text, const char *end) {
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

enum { LONGEST_NAME = 96 };

static size_t edit_distance(const char *a, const char *b) {
    size_t row[LONGEST_NAME + 1], n = strlen(a), m = strlen(b);
    if (n > LONGEST_NAME || m > LONGEST_NAME) return LONGEST_NAME;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

const char *gf_text_nearest(const char *name, const char *const *candidates, int64_t count) {
    const char *nearest = NULL;
    size_t best = LONGEST_NAME;
    for (int64_t i = 0; i < count; i++) {
        size_t d = edit_distance(name, candidates[i]), n = strlen(name), m = strlen(candidates[i]);
        size_t allowed = (n > m ? n : m) / 3;
        if (d > (allowed > 2 ? allowed : 2) || d >= m || d >= best) continue;
        best = d;
        nearest = candidates[i];
    }
    return nearest;
}
