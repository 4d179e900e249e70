/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nfc.h - Unicode's normalization form C: characters that are written in several ways,
 * as e and an accent, or e with one, are written in one.
 *
 * The tables are those of utf8proc.  What a character that Unicode has becomes does not
 * change with its version; what it did not have yet stays as it is.
 */
#ifndef DATA_NFC_H
#define DATA_NFC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* A text in NFC has at most so many times the bytes that it had (UAX #15). */
#define NFC_GROWTH 3

/* Append the text in NFC.  What is not UTF-8 may stay as it is. */
void nfc_add(const char *text, size_t len, struct buf *out);

/* Is what stands before this character brought to NFC without regard to it and to what
 * follows?  No is said of letters, some of which join with what stands before them. */
bool nfc_begins(uint32_t point);

#endif
