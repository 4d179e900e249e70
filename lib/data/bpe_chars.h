/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_chars.h - BPE over characters with bytes to fall back on, as SentencePiece learns
 * it (Kudo and Richardson 2018) and as Llama 2 and Mistral have it; for bpe.c and the
 * files bpe_*.c and tokenizer_bpe.c.
 *
 * Each space is written as U+2581, and one stands in front of a text.  Words are cut
 * nowhere: a piece may reach over several.  A character that is no piece is its bytes,
 * pieces <0x00> to <0xFF>; where those are not all there it is the unknown piece, once
 * for several in a row.
 */
#ifndef DATA_BPE_CHARS_H
#define DATA_BPE_CHARS_H

#include "base/buf.h"
#include "data/bpe.h"

/* What stands before a part of a text. */
enum bpe_before { BPE_NOTHING, BPE_TEXT, BPE_ADDED };

/* Append the part with its spaces as U+2581, and the one in front where it has one. */
void bpe_chars_write(const struct bpe *b, enum bpe_before before, const char *part,
                     size_t len, struct buf *out);

/* How many bytes of part[len], from its end on, are at most `most` when they are
 * written so. */
size_t bpe_chars_behind(const char *part, size_t len, size_t most);

/* The ids of the characters of a part that is written so, of len bytes at most; the
 * unknown one behind the bytes of others that follow it, as tokenizers has it. */
size_t bpe_chars_ids(const struct bpe *b, const char *part, size_t len, uint32_t *id);

/* How many bytes stand before the first place over which no two pieces are joined: what
 * stands before and behind it can be encoded by itself. */
size_t bpe_chars_next(const struct bpe *b, const char *part, size_t len);

/* The same from the end on: how many bytes of part[len], as it is and without added
 * pieces, wait for what follows; what stands before them has one byte at least.  len:
 * there is no such place. */
size_t bpe_chars_open(const struct bpe *b, const char *part, size_t len);

/* The byte that <0x0A> and its like name. */
bool bpe_chars_byte(const char *piece, size_t len, unsigned char *byte);

/* Append what a piece says: a byte, or text with its spaces. */
void bpe_chars_text(const char *piece, size_t len, struct buf *out);

/* Note that two pieces are joined: a text is not cut where such characters meet. */
void bpe_chars_join(struct bpe *b, uint32_t left, uint32_t right);

#endif
