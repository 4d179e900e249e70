/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicode.h - what kind of character a code point is.
 *
 * The classes are those by which byte-level BPE cuts a text: letters and numbers by
 * Unicode's general categories L and N, spaces by its property White_Space.  The
 * tables are our own, of Unicode 16.0, so that ids depend on no library's version.
 */
#ifndef DATA_UNICODE_H
#define DATA_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum unicode_class { UNICODE_OTHER, UNICODE_SPACE, UNICODE_LETTER, UNICODE_NUMBER };

/* The class of a code point; those that are not assigned are OTHER. */
enum unicode_class unicode_class_of(uint32_t point);

/* Is a text nothing but spaces, or nothing at all?  Ends of lines are spaces; a byte
 * that is not UTF-8 is none. */
bool unicode_blank(const char *text, size_t len);

#endif
