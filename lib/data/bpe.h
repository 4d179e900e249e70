/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe.h - byte pair encoding over bytes (Sennrich et al. 2016; Radford et al. 2019), or
 * over characters, as SentencePiece has it.
 *
 * Pieces are byte strings with numbers, merges say which two make a third, the first
 * one first.  Added pieces are found in a text first; what stands between them is
 * brought to NFC where that is asked for, added pieces of that form are found, and the
 * rest is cut as pretoken.h says.  In each part the neighbours with the earliest merge
 * are joined until there are none, the left ones first where they are equal.  Any text
 * has ids when all 256 bytes are pieces.  Learning is bpe_train.h's, files are
 * bpe_file.h's, vocabularies of checkpoints tokenizer_bpe.c's; what is otherwise over
 * characters is bpe_chars.h's.
 */
#ifndef DATA_BPE_H
#define DATA_BPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/bytemap.h"
#include "data/pretoken.h"

/* Where an added piece is found: in the text as it is, or as it is cut. */
enum bpe_place { BPE_RAW, BPE_NORMAL, BPE_PLACES };

/* What spaces are.  Over bytes they are bytes as others.  Over characters each is
 * written as U+2581, with one more in front: */
enum bpe_spaces {
    BPE_SPACES_BYTES,
    BPE_SPACES_EACH,  /* of each part between pieces that are found in the text as it
                       * is; others are found in what is written so */
    BPE_SPACES_FIRST, /* of the text, unless it begins with one */
    BPE_SPACES_PARTS, /* of each part between added pieces, unless it does */
    BPE_SPACES
};

/* Read-only outside bpe.c, but for rule, whole, unknown and, before there are pieces,
 * nfc and spaces. */
struct bpe {
    enum pretoken_rule rule;
    bool whole; /* a part that is a piece is taken whole ("ignore_merges") */
    bool nfc;   /* a text is cut in NFC */
    enum bpe_spaces spaces;
    uint32_t unknown;      /* over characters: the id of those that have none, or
                            * BYTEMAP_NONE */
    struct bytemap pieces; /* the number of a piece is its id */
    struct bpe_merge {
        uint32_t left, right, result;
    } * merge;
    uint32_t merges, merges_cap;
    struct pairmap rank; /* of left and right: number of the merge          */
    struct pairmap meet; /* over characters: end of a left, begin of a right one */
    uint32_t byte[256];  /* id of each byte, or BYTEMAP_NONE                */
    uint32_t bytes;      /* how many of them have one                       */
    struct bpe_added {   /* found before a text is cut, the longest first   */
        struct bpe_find {
            uint32_t id;
            char *text; /* [len]: the piece, or its NFC */
            size_t len;
        } * find;
        uint32_t n;
        bool begins[256]; /* does one of them begin with this byte? */
    } added[BPE_PLACES];
};

/* One without pieces. */
struct bpe *bpe_create(enum pretoken_rule rule);
void bpe_destroy(struct bpe *b);

/* Append a piece, which must be new: ERR_SPEC. */
int bpe_piece(struct bpe *b, const void *bytes, size_t len, struct err *e);

/* Append a merge of two pieces whose bytes together are a piece: ERR_SPEC.  Over
 * characters neither is a byte or the unknown one. */
int bpe_join(struct bpe *b, uint32_t left, uint32_t right, struct err *e);

/* Piece `id` is taken whole wherever a text has its bytes: <|endoftext|>.  Pieces that
 * are found in the text as it is are found before those that are found as it is cut. */
void bpe_add(struct bpe *b, uint32_t id, enum bpe_place place);

/* Where an added piece is found; BPE_PLACES: it is none. */
enum bpe_place bpe_added_place(const struct bpe *b, uint32_t id);
bool bpe_is_added(const struct bpe *b, uint32_t id);

/* What a piece is written as over characters: of an added one, what is found. */
const char *bpe_written(const struct bpe *b, uint32_t id, size_t *len);

/* Are there characters that become the unknown piece?  Not where all bytes are there.
 */
bool bpe_lacks(const struct bpe *b);

/* The 256 bytes as pieces 0 to 255, in the order of GPT-2's alphabet. */
void bpe_bytes(struct bpe *b);

/* What is done with each id. */
typedef void bpe_id_f(void *arg, uint32_t id);

/* How many ids a text of len bytes has at most. */
size_t bpe_most(const struct bpe *b, size_t len);

/* Give the ids of text[len]; BYTEMAP_NONE for a byte that is no piece.  more: it goes
 * on with a text up to where bpe_open said. */
void bpe_encode(const struct bpe *b, const char *text, size_t len, bool more,
                bpe_id_f *put, void *arg);

/* How many bytes at the end of a text wait for what follows: pretoken_open behind the
 * last added piece; in NFC as many more as may join with what follows, or with what
 * stands before a cut; over characters what is behind the last place that no merge
 * reaches over. */
size_t bpe_open(const struct bpe *b, const char *text, size_t len);

/* ---- GPT-2's alphabet ----------------------------------------------------- */

/* In files a byte is written as a character that can be seen: itself where it is one
 * of ASCII or Latin-1, else one from U+0100 on. */
uint32_t bpe_glyph(unsigned char byte);

/* The byte that a character stands for, or -1. */
int bpe_byte(uint32_t point);

#endif
