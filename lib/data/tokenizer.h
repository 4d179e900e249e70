/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.h - text to token ids and back.
 *
 * A kind of tokenizer is a file that exports one constant tokenizer_kind; the
 * table in tokenizer.c lists them.  A tokenizer is learned from the training
 * text, or loaded from the JSON text that a checkpoint carries.  Afterwards it
 * is constant and may be used from several threads.
 */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"
#include "data/tokens.h"

struct tokenizer;

/* Ids that stand for no text, the first ones of a vocabulary with marks: filling
 * behind a sentence, its begin, its end, and what the vocabulary lacks. */
enum { TOKEN_PAD, TOKEN_BOS, TOKEN_EOS, TOKEN_UNK, TOKEN_MARKS };

/* What a tokenizer does besides its kind; zeros: the plain kind. */
struct tokenizer_config {
    const char *kind; /* "bpe", "byte", "char", "sentencepiece", "word"    */
    bool marks;       /* the ids above come first; always so for words      */
    bool strict;      /* with marks: no TOKEN_UNK, but an error             */
    bool lower;       /* capital letters count as small ones (utf8_lower)   */
    bool split;       /* word: punctuation and CJK characters are words     */
    uint32_t min_count, max_words; /* word: learn those that occur so often, and
                                      no more of them; 0: all.  bpe: join pairs
                                      that occur so often                   */
    uint32_t vocab_size;           /* bpe, sentencepiece: learn so many ids, marks
                                      included                              */
};

/* A tokenizer that has seen no text yet; keeps none of c's memory. */
int tokenizer_create(const struct tokenizer_config *c, struct tokenizer **out,
                     struct err *e);
void tokenizer_destroy(struct tokenizer *t);

/* Nonzero when tokenizer_learn has to see the text before encoding: all but
 * byte. */
int tokenizer_learns(const struct tokenizer *t);

/* Take a piece of the training text (valid UTF-8, whole characters) into
 * account.  Call it for every piece, then tokenizer_seal once; a kind that does
 * not learn ignores the pieces.  ERR_SPEC when nothing was learned from. */
int tokenizer_learn(struct tokenizer *t, const char *text, size_t len, struct err *e);
int tokenizer_seal(struct tokenizer *t, struct err *e);

/* "bpe", "byte", ... */
const char *tokenizer_name(const struct tokenizer *t);

/* How many ids there are: 0 <= id < tokenizer_vocab. */
uint32_t tokenizer_vocab(const struct tokenizer *t);

/* Does it have the ids TOKEN_...? */
bool tokenizer_marks(const struct tokenizer *t);

/* What c asks for besides kind and marks, and this one does not do: "lower", "split" or
 * "strict"; NULL: nothing.  Where nothing is unknown, strict is done. */
const char *tokenizer_lacks(const struct tokenizer *t,
                            const struct tokenizer_config *c);

/* Append the ids of text[len] to `out`, which was made by tokens_init with this
 * vocabulary.  ERR_SPEC names a character that the vocabulary lacks, or, of all kinds
 * but byte, a byte that is not UTF-8, and the place (from 1) in the text; out is
 * unchanged. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                     struct tokens *out, struct err *e);

/* The same of what goes on with a text that was encoded before. */
int tokenizer_encode_more(const struct tokenizer *t, const char *text, size_t len,
                          struct tokens *out, struct err *e);

/* How many bytes at the end of a text have to wait for what follows it: ids of a text
 * that comes in parts are those of the whole when each part is encoded up to there, and
 * the rest with the next, as more.  0 for kinds that look at no neighbours. */
size_t tokenizer_open_end(const struct tokenizer *t, const char *text, size_t len);

/* Append the text of ids[n] to `out`, up to the first TOKEN_EOS; of the other marks
 * only TOKEN_UNK has a text, "<unk>".  Words are joined by spaces where they are
 * needed.  ERR_SPEC names an id beyond the vocabulary; out is unchanged.  Bytes of
 * the byte tokenizer need not be UTF-8. */
int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n,
                     struct buf *out, struct err *e);

/* Append the tokenizer as one line of JSON, the same bytes for the same
 * tokenizer: {"chars":"\n abc","kind":"char"}.  What differs from the plain kind is
 * said: "lower":true. */
int tokenizer_save(const struct tokenizer *t, struct buf *out, struct err *e);

/* The tokenizer of text saved before; `where` names the file for errors. */
int tokenizer_load(const char *where, const char *json, size_t len,
                   struct tokenizer **out, struct err *e);

/* Append a tokenizer.json of Hugging Face's tokenizers that gives the same ids, but,
 * with marks, of a text in which one of their names stands (bpe_file.h).  bpe and byte
 * have that form, without `lower`, and where bpe_has_json says so; ERR_SPEC: this one
 * has it not. */
bool tokenizer_has_hf(const struct tokenizer *t);
int tokenizer_write_hf(const struct tokenizer *t, struct buf *out, struct err *e);

/* Append the tokenizer as a file for others: tokenizer.json, the model of
 * SentencePiece, and for kinds that have neither the JSON of tokenizer_save. */
int tokenizer_export(const struct tokenizer *t, struct buf *out, struct err *e);

/* A tokenizer out of files: one saved before, a tokenizer.json, or a folder with that
 * or with GPT-2's vocab.json and merges.txt (or encoder.json and vocab.bpe), or a model
 * of SentencePiece: NAME.model, or any name where c's kind says so.  c says what it
 * does besides: marks, strict, lower; a saved one says it itself, which tokenizer_lacks
 * compares.  ERR_SPEC, ERR_NOTFOUND name
 * the file, and what of it is not supported (bpe_file.h). */
int tokenizer_open(const char *path, const struct tokenizer_config *c,
                   struct tokenizer **out, struct err *e);

/* The SHA-256 of what tokenizer_save writes: equal means equal ids. */
int tokenizer_sha256(const struct tokenizer *t, char hex[SHA256_HEX], struct err *e);

/* Folders, separated by ':', where tokenizers that are loaded lie (nnd/tokenizer.h):
 * said once by a program, before it makes one; folders must live on.  Without it there
 * are none. */
void tokenizer_folders(const char *folders);

#endif
