/* added: the added tokens of a tokenizer, which are cut out of a text before anything else.
 *
 *     gf_cut cut = gf_cut_start(&added, false, text, size);
 *     gf_part p;
 *     while (gf_cut_next(&cut, &p))
 *         if (p.id >= 0) ...the token...; else ...text[p.start..p.end)...
 *
 * Tokens with `normalized` off (the special ones, "[MASK]") are sought in the raw text, the others
 * in the normalised text of what is left, in their own normalised spelling. Of several tokens that
 * could match, the leftmost and then the longest does (AddedVocabulary of Hugging Face
 * tokenizers). */
#ifndef GF_DATA_ADDED_H
#define GF_DATA_ADDED_H

#include "core/err.h"
#include "core/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gf_added {
    char *content;
    int32_t id;
    bool single_word;    /* only where no word character touches it */
    bool lstrip, rstrip; /* takes the white space on that side with it */
    bool normalized;     /* sought in the normalised text */
    bool special;        /* not user text; as the files call it */
    gf_text pattern;     /* what is sought: the content, normalised if `normalized` */
} gf_added;

typedef struct gf_added_list {
    gf_added *items;
    int64_t count, capacity;
} gf_added_list;

/* Adds a copy of the token, whose content is in UTF-8 and not empty; its pattern stays empty. */
bool gf_added_add(gf_added_list *l, const gf_added *token, gf_err *e);
gf_added *gf_added_find(const gf_added_list *l, const char *content);
void gf_added_free(gf_added_list *l);

/* A part of a text: an added token (with the space it took), or with id -1 the text between. */
typedef struct gf_part {
    size_t start, end;
    int32_t id;
} gf_part;

typedef struct gf_cut {
    const gf_added_list *list;
    const char *text;
    size_t size;
    size_t seek, done; /* where to look on, and the end of the last part */
    gf_part held;      /* a token found together with the text before it; id -1: none */
    bool normalized;
    bool first[256]; /* bytes with which a pattern begins */
    int firsts;      /* how many they are */
    char only;       /* the only one, if it is one */
} gf_cut;

gf_cut gf_cut_start(const gf_added_list *l, bool normalized, const char *text, size_t size);
bool gf_cut_next(gf_cut *c, gf_part *part);

#endif
