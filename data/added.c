#include "data/added.h"

#include "core/mem.h"
#include "data/unicode.h"

#include <string.h>

bool gf_added_add(gf_added_list *l, const gf_added *token, gf_err *e) {
    gf_added copy = *token;
    if (!gf_grow(&l->items, l->count, &l->capacity, sizeof *l->items, e) ||
        !(copy.content = gf_strdup(token->content, e)))
        return false;
    copy.pattern = (gf_text){0};
    l->items[l->count++] = copy;
    return true;
}

gf_added *gf_added_find(const gf_added_list *l, const char *content) {
    for (int64_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i].content, content) == 0) return &l->items[i];
    return NULL;
}

void gf_added_free(gf_added_list *l) {
    for (int64_t i = 0; i < l->count; i++) {
        gf_free(l->items[i].content);
        gf_text_free(&l->items[i].pattern);
    }
    gf_free(l->items);
    *l = (gf_added_list){0};
}

gf_cut gf_cut_start(const gf_added_list *l, bool normalized, const char *text, size_t size) {
    gf_cut c = {
        .list = l, .text = text, .size = size, .held = {.id = -1}, .normalized = normalized};
    for (int64_t i = 0; i < l->count; i++) {
        const gf_added *a = &l->items[i];
        if (a->normalized != normalized || !a->pattern.length) continue;
        c.only = *a->pattern.data;
        c.firsts += !c.first[(unsigned char)c.only];
        c.first[(unsigned char)c.only] = true;
    }
    return c;
}

/* Moves c->seek to the next byte with which a pattern begins, or to the end. */
static void seek_first(gf_cut *c) {
    if (c->firsts == 0) {
        c->seek = c->size;
    } else if (c->firsts == 1) {
        const char *found = memchr(c->text + c->seek, c->only, c->size - c->seek);
        c->seek = found ? (size_t)(found - c->text) : c->size;
    } else {
        while (c->seek < c->size && !c->first[(unsigned char)c->text[c->seek]]) c->seek++;
    }
}

/* The longest token at `at`; of equal patterns the later one, as tokenizers 0.23 has it. */
static const gf_added *match_at(const gf_cut *c, size_t at) {
    const gf_added *best = NULL;
    for (int64_t i = 0; i < c->list->count; i++) {
        const gf_added *a = &c->list->items[i];
        if (a->normalized != c->normalized || !a->pattern.length) continue;
        if (a->pattern.length > c->size - at || (best && a->pattern.length < best->pattern.length))
            continue;
        if (memcmp(c->text + at, a->pattern.data, a->pattern.length) == 0) best = a;
    }
    return best;
}

static bool stands_alone(const gf_cut *c, size_t start, size_t end) {
    size_t at;
    if (end < c->size) {
        at = end;
        if (gf_unicode_is_word(gf_unicode_decode(c->text, c->size, &at))) return false;
    }
    if (start == 0) return true;
    at = gf_unicode_back(c->text, start);
    return !gf_unicode_is_word(gf_unicode_decode(c->text, start, &at));
}

static size_t space_before(const gf_cut *c, size_t start) {
    while (start > c->done) {
        size_t before = gf_unicode_back(c->text, start), at = before;
        if (!(gf_unicode_class(gf_unicode_decode(c->text, start, &at)) & GF_UNICODE_SPACE)) break;
        start = before;
    }
    return start;
}

static size_t space_behind(const gf_cut *c, size_t end) {
    while (end < c->size) {
        size_t at = end;
        if (!(gf_unicode_class(gf_unicode_decode(c->text, c->size, &at)) & GF_UNICODE_SPACE)) break;
        end = at;
    }
    return end;
}

/* The next token at or behind c->seek, in *found. A match that single_word forbids is passed over
 * whole. */
static const gf_added *find_next(gf_cut *c, gf_part *found) {
    for (;;) {
        const gf_added *a;
        size_t start;
        if (c->seek < c->size) seek_first(c);
        if (c->seek == c->size) return NULL;
        start = c->seek;
        a = match_at(c, start);
        c->seek += a ? a->pattern.length : 1;
        if (!a || (a->single_word && !stands_alone(c, start, c->seek))) continue;
        *found = (gf_part){start, c->seek, a->id};
        return a;
    }
}

bool gf_cut_next(gf_cut *c, gf_part *part) {
    gf_part found = {c->size, c->size, -1};
    size_t text = c->done;
    const gf_added *a;
    if (c->held.id >= 0) {
        *part = c->held;
        c->held.id = -1;
        return true;
    }
    if ((a = find_next(c, &found))) {
        if (a->lstrip) found.start = space_before(c, found.start);
        if (a->rstrip) found.end = space_behind(c, found.end);
    }
    c->done = found.end;
    if (text >= found.start) { /* nothing between */
        *part = found;
        return a != NULL;
    }
    c->held = found;
    *part = (gf_part){text, found.start, -1};
    return true;
}
