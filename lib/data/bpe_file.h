/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_file.h - BPE in files that others read and write: vocab.json with merges.txt, as
 * GPT-2 has them, and tokenizer.json of Hugging Face's tokenizers.
 *
 * What is read gives the ids that its owner gives, or is refused: each error names the
 * file, the part of it that is not supported, what was wanted and found.  There is one
 * difference, and what is written has it too.  The marks <pad>, <bos>, <eos> and <unk>
 * are added tokens in a file, and tokenizers finds those in any text; here they are no
 * pieces, so that a text with such a word in it has the ids of its characters.
 */
#ifndef DATA_BPE_FILE_H
#define DATA_BPE_FILE_H

#include "base/buf.h"
#include "data/bpe.h"

/* A file's bytes and the name that errors show. */
struct bpe_text {
    const char *name, *data;
    size_t len;
};

/* GPT-2's two files.  Ids are those of vocab.json: 0 to the number of pieces, each
 * once.  A piece of text that is neither a byte nor made by a merge is taken whole from
 * a text, as <|endoftext|>.  merges.txt may begin with a line "#version ...". */
int bpe_read_gpt2(const struct bpe_text *vocab, const struct bpe_text *merges,
                  struct bpe **out, struct err *e);

/* A tokenizer.json: a model BPE over bytes (pre-tokenizer and decoder ByteLevel, with
 * the expression of GPT-2, or a Split by one of pretoken_regex), with added tokens, of
 * a text as it is or in NFC.  Where the first four added ones are <pad>, <bos>, <eos>
 * and <unk> they are no pieces, ids are counted behind them, and *marks is true.
 *
 * Or a model BPE over characters, with byte_fallback and fuse_unk: spaces become U+2581
 * by the normalizers Prepend and Replace, or by the pre-tokenizer Metaspace, first or
 * always, that splits nothing; *marks is false.
 *
 * A TemplateProcessing that puts special tokens around a text, and does no more, is
 * read over: who reads a text puts the marks that a model wants around it.
 *
 * Refused by name are other normalizers and post-processors that add tokens, truncation
 * and padding, other models and pre-tokenizers, add_prefix_space, dropout, prefixes and
 * suffixes of subwords, added tokens that strip or want whole words, ids with holes,
 * entries over bytes that are neither of GPT-2's alphabet nor added, and vocabularies
 * without all 256 bytes, or an unknown piece in their stead. */
int bpe_read_json(const struct bpe_text *file, struct bpe **out, bool *marks,
                  struct err *e);

/* Is there such a file?  With marks none where those could not be told from pieces of
 * their names, nor over characters. */
bool bpe_has_json(const struct bpe *b, bool marks);

/* Append a tokenizer.json that gives the same ids; with marks, four ids higher, but for
 * a text that holds one of their names, as is said above. */
int bpe_write_json(const struct bpe *b, bool marks, struct buf *out, struct err *e);

/* ---- for tokenizer_bpe.c: pieces as text ---------------------------------- */

/* Append a piece: in GPT-2's alphabet, or as it is when it is an added one or of
 * characters. */
void bpe_show(const struct bpe *b, uint32_t id, struct buf *out);

/* Append the bytes that text in GPT-2's alphabet stands for, or text of characters as
 * it is; false when one is not of the alphabet, and out is of no use. */
bool bpe_hide(const struct bpe *b, const char *text, size_t len, struct buf *out);

/* ERR_SPEC unless all 256 bytes are pieces, or there is an unknown one. */
int bpe_check(const struct bpe *b, struct err *e);

#endif
