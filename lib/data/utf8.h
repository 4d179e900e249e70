/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h - one code point at a time (RFC 3629), strictly.
 *
 * Overlong forms, surrogates and anything above U+10FFFF are refused.  Checking
 * a whole text is str_is_utf8's job; this is for those who need the code points
 * or the place of a bad byte.
 */
#ifndef DATA_UTF8_H
#define DATA_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define UTF8_POINTS 0x110000u /* code points are below this */

/* Read the code point at text[0..len), len >= 1.  Returns the bytes it takes,
 * 1 to 4, or 0 when there is no valid one. */
size_t utf8_get(const char *text, size_t len, uint32_t *point);

/* Write a code point as 1 to 4 bytes; returns how many. */
size_t utf8_put(uint32_t point, char out[4]);

/* Append the text with capital letters as small ones, by Unicode's simple mapping: all
 * of Latin, Greek, Cyrillic and Armenian below U+0557 and from U+1E00 to U+1EFF, so
 * those of today's languages in these scripts, but for four.  U+0130 has no single
 * small one; that of U+023A, U+023E and U+1E9E takes another number of bytes.  They
 * stay, as other scripts and what is not UTF-8 do: the text keeps its length. */
void utf8_lower(const char *text, size_t len, struct buf *out);

/* Append what a model wrote as a part of a line: ends of lines and tabs as spaces; NUL
 * and bytes that are not UTF-8 as U+FFFD, one for each beginning of a character, as
 * Unicode recommends and other decoders do (3.9, "maximal subparts"). */
void utf8_line(const char *text, size_t len, struct buf *out);

/* How many bytes stand before the first one that is not UTF-8; len: none. */
size_t utf8_valid(const char *text, size_t len);

#endif
