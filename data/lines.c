#include "data/lines.h"

#include "core/mem.h"

#include <string.h>

enum { FIRST_CAPACITY = 1 << 16, LONGEST = 16 << 20 };

bool gf_lines_open(gf_lines *l, const char *path, const char *place, gf_err *e) {
    *l = (gf_lines){.place = place};
    if (!(l->buffer = gf_alloc_array(FIRST_CAPACITY, 1, e))) return false;
    l->capacity = FIRST_CAPACITY;
    return (l->file = gf_io_open(path, e)) != NULL;
}

void gf_lines_close(gf_lines *l) {
    gf_io_close(l->file, NULL);
    gf_free(l->buffer);
    *l = (gf_lines){0};
}

/* Reads more bytes behind those not yet given out, which move to the front. */
static bool fill(gf_lines *l, gf_err *e) {
    int64_t got;
    memmove(l->buffer, l->buffer + l->first, l->end - l->first);
    l->end -= l->first;
    l->first = 0;
    if (!gf_grow(&l->buffer, (int64_t)l->end, &l->capacity, 1, e)) return false;
    got = gf_io_read(l->file, l->buffer + l->end, (size_t)l->capacity - l->end, e);
    if (got < 0) return false;
    l->end += (size_t)got;
    l->ended = got == 0;
    return true;
}

/* The size of the next line, 0 at the end of the file; false on failure. */
static bool find_end(gf_lines *l, size_t *size, gf_err *e) {
    size_t seen = 0;
    for (;;) {
        const char *start = l->buffer + l->first;
        const char *newline = memchr(start + seen, '\n', l->end - l->first - seen);
        *size = newline ? (size_t)(newline - start) + 1 : l->end - l->first;
        if (gf_lines_trim(start, *size) > LONGEST)
            return gf_fail(e, GF_E_INVALID, "%s:%lld: a line is longer than 16 MiB; split it",
                           l->place, (long long)l->number + 1);
        if (newline || l->ended) return true;
        seen = *size;
        if (!fill(l, e)) return false;
    }
}

int gf_lines_next(gf_lines *l, const char **line, size_t *size, gf_err *e) {
    l->offset += l->given;
    if (!find_end(l, size, e)) return -1;
    l->given = (int64_t)*size;
    *line = l->buffer + l->first;
    l->first += *size;
    if (++l->number == 1 && *size >= 3 && memcmp(*line, "\xef\xbb\xbf", 3) == 0) {
        *line += 3;
        *size -= 3;
        l->offset = 3;
        l->given -= 3;
    }
    return *size > 0;
}

size_t gf_lines_trim(const char *line, size_t size) {
    if (size == 0 || line[size - 1] != '\n') return size;
    size--;
    return size > 0 && line[size - 1] == '\r' ? size - 1 : size;
}
