/* vocab: the pieces of a WordPiece model, token to id and back, by hashing.
 *
 *     gf_vocab v = {0};
 *     if (!gf_vocab_add(&v, "##ing", 5, 2075, where, e)) goto done;
 *     id = gf_vocab_find(&v, "##ing", 5);                       (-1 when absent)
 *     gf_vocab_free(&v);
 *
 * Tokens are bytes; ids are 0 to GF_VOCAB_MOST - 1 and may leave holes. The hash is FNV-1a, which
 * runs over a word once for all its prefixes: see gf_vocab_find_hashed(). */
#ifndef GF_DATA_VOCAB_H
#define GF_DATA_VOCAB_H

#include "core/err.h"
#include "core/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GF_VOCAB_MOST = 1 << 22 };

typedef struct gf_vocab_slot {
    uint32_t hash;
    int32_t id; /* stored plus 1; 0: free */
} gf_vocab_slot;

typedef struct gf_vocab_token {
    uint32_t start, size; /* in bytes.data; start 0 is a hole */
} gf_vocab_token;

typedef struct gf_vocab {
    gf_text bytes;          /* a 0, then all tokens, each with a 0 behind it */
    gf_vocab_token *tokens; /* [size], by id */
    int64_t size, capacity; /* largest id + 1 */
    int64_t count;          /* tokens that there are */
    gf_vocab_slot *slots;   /* [slot_count], a power of two, at most half of them taken */
    int64_t slot_count;
    size_t longest; /* bytes of the longest token */
} gf_vocab;

/* Adds a token. Of equal tokens the later one wins, and the earlier id becomes a hole. Refused with
 * GF_E_MODEL: an id out of bounds or taken, a token with a 0 byte or not in UTF-8, and a vocabulary
 * made so that its hashes collide. `where` names it in errors. */
bool gf_vocab_add(gf_vocab *v, const char *token, size_t size, int64_t id, const char *where,
                  gf_err *e);
/* Makes room for about so many tokens at once. */
bool gf_vocab_reserve(gf_vocab *v, size_t tokens, gf_err *e);
void gf_vocab_free(gf_vocab *v);

/* The id of a token, -1 when it is absent. */
int32_t gf_vocab_find(const gf_vocab *v, const char *token, size_t size);
/* The token of an id, NULL for a hole or outside. */
const char *gf_vocab_token_of(const gf_vocab *v, int64_t id);

/* The hash of no bytes, and of some more bytes behind those already hashed. */
enum { GF_VOCAB_HASH = 0x811C9DC5 - 0x100000000 };
static inline uint32_t gf_vocab_hash(uint32_t hash, const char *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)bytes[i]) * 16777619U;
    return hash;
}

/* The id of the token prefix + bytes, whose hash is known. */
int32_t gf_vocab_find_hashed(const gf_vocab *v, uint32_t hash, const char *prefix,
                             size_t prefix_size, const char *bytes, size_t size);

#endif
