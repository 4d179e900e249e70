/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sha256.h - SHA-256 (FIPS 180-4) of bytes and files, as hexadecimal text.
 * The arithmetic is libcrypto's.
 */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>

#include "base/err.h"

#define SHA256_HEX 65 /* 64 digits and a NUL */

struct sha256;

struct sha256 *sha256_create(void);
void sha256_add(struct sha256 *s, const void *data, size_t len);
/* Finish into hex[SHA256_HEX] and start anew. */
void sha256_hex(struct sha256 *s, char *hex);
void sha256_destroy(struct sha256 *s);

/* Whole inputs at once; a file that is none, and might not end, is refused. */
void sha256_bytes(const void *data, size_t len, char *hex);
int sha256_file(const char *path, char *hex, struct err *e);

#endif
