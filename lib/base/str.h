/* SPDX-License-Identifier: Apache-2.0 */
/*
 * str.h - strict numbers out of text, and "did you mean".
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole text must be the number; false (out untouched) otherwise.
 * Integers: decimal or 0x...; doubles: strtod's syntax without hex, finite. */
bool str_to_i64(const char *text, int64_t *out);
bool str_to_u64(const char *text, uint64_t *out);
bool str_to_double(const char *text, double *out);

/* The word of words[n] nearest to `word` (Damerau-Levenshtein, at most a third
 * of its length off), or NULL.  For error texts. */
const char *str_nearest(const char *word, const char *const *words, size_t n);

bool str_starts(const char *text, const char *prefix);

/* False where text is nothing but the ending: a file has to have a name. */
bool str_ends(const char *text, const char *ending);

/* True when text is valid UTF-8 (RFC 3629) without NUL. */
bool str_is_utf8(const char *text, size_t len);

/* The bytes of a byte order mark (U+FEFF) that a text begins with: 3, or 0.  Editors of
 * other systems write one before UTF-8; it is no part of what is said. */
size_t str_mark(const char *text, size_t len);

#endif
