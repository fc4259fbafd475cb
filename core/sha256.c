#include "core/sha256.h"

#include "core/io.h"
#include "core/mem.h"

#include <nettle/base16.h>
#include <nettle/sha2.h>

enum { BUFFER = 1 << 16 };

static void finish(struct sha256_ctx *c, char hex[GF_SHA256_HEX]) {
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(c, sizeof digest, digest);
    base16_encode_update(hex, sizeof digest, digest);
    hex[GF_SHA256_HEX - 1] = 0;
}

void gf_sha256_of(const void *bytes, size_t size, char hex[GF_SHA256_HEX]) {
    struct sha256_ctx c;
    sha256_init(&c);
    sha256_update(&c, size, bytes);
    finish(&c, hex);
}

bool gf_sha256_of_file(const char *path, char hex[GF_SHA256_HEX], gf_err *e) {
    struct sha256_ctx c;
    gf_file *f = gf_io_open(path, e);
    uint8_t *buffer = f ? gf_alloc(BUFFER, e) : NULL;
    int64_t n = buffer ? 0 : -1;
    sha256_init(&c);
    while (n >= 0 && (n = gf_io_read(f, buffer, BUFFER, e)) > 0)
        sha256_update(&c, (size_t)n, buffer);
    gf_io_close(f, NULL);
    gf_free(buffer);
    if (n == 0) finish(&c, hex);
    return n == 0;
}
