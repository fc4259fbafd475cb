/* sha256: digests of files (FIPS 180-4, through Nettle).
 *
 *     char hex[GF_SHA256_HEX];
 *     gf_sha256_of(bytes, size, hex);
 *     if (!gf_sha256_of_file("train.jsonl", hex, e)) goto done; */
#ifndef GF_CORE_SHA256_H
#define GF_CORE_SHA256_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { GF_SHA256_HEX = 65 }; /* 64 lower-case digits and the final 0 */

void gf_sha256_of(const void *bytes, size_t size, char hex[GF_SHA256_HEX]);
bool gf_sha256_of_file(const char *path, char hex[GF_SHA256_HEX], gf_err *e);

#endif
