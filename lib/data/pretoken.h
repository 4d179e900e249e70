/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretoken.h - where byte-level BPE cuts a text before it looks for pairs.
 *
 * The rules are published as regular expressions; here each is a function, since they
 * need no more than the class of a character and one look ahead.  No piece of BPE
 * reaches over such a cut.
 */
#ifndef DATA_PRETOKEN_H
#define DATA_PRETOKEN_H

#include <stdbool.h>
#include <stddef.h>

/* GPT2, of Radford et al. 2019 (their encoder.py):
 *   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * LLAMA3, which is that of cl100k_base as well:
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
 *    ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * QWEN2: the same with \p{N} for \p{N}{1,3}.
 * NONE: nowhere. */
enum pretoken_rule {
    PRETOKEN_GPT2,
    PRETOKEN_LLAMA3,
    PRETOKEN_QWEN2,
    PRETOKEN_NONE,
    PRETOKEN_RULES
};

/* What files call them: a short name, and the expression; NULL for NONE. */
extern const char *const pretoken_name[PRETOKEN_RULES];
extern const char *const pretoken_regex[PRETOKEN_RULES];

/* The length of the piece that text begins with; len >= 1, text is UTF-8 (a byte that
 * is not is a character of no class). */
size_t pretoken_next(enum pretoken_rule rule, const char *text, size_t len);

/* May a text be cut at `at`, before which it was asked of smaller ones alone? */
typedef bool pretoken_cut_f(void *arg, size_t at);

/* How many bytes at the end of text have to wait for what follows, since it may move
 * the cuts in them; what stands before them is cut the same with or without it, and
 * `may`, unless it is NULL, says yes to that cut.  A piece of more than
 * PRETOKEN_OPEN_MAX bytes does not wait: 0. */
#define PRETOKEN_OPEN_MAX 65536
size_t pretoken_open(enum pretoken_rule rule, const char *text, size_t len,
                     pretoken_cut_f *may, void *arg);

#endif
