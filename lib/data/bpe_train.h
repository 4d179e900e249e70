/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_train.h - learning the merges of byte-level BPE from a text.
 *
 * The pair of neighbours that occurs most often becomes a piece, again and again; of
 * equal ones that with the lower left id, then the lower right.  Parts of the text are
 * counted once each, so that time grows with how many different ones there are.  It is
 * what the BpeTrainer of Hugging Face's tokenizers makes of the same text; the test
 * test_data_bpe holds it to that.
 */
#ifndef DATA_BPE_TRAIN_H
#define DATA_BPE_TRAIN_H

#include "data/bpe.h"

struct bpe_train;

struct bpe_train *bpe_train_create(enum pretoken_rule rule);
void bpe_train_destroy(struct bpe_train *t);

/* Count the parts of a text. */
void bpe_train_text(struct bpe_train *t, const char *text, size_t len);

/* Learn: the 256 bytes, then merges until there are `pieces` of them, or no pair occurs
 * min_count times any more (0 counts as 1).  ERR_SPEC: no text was counted, or pieces
 * is below 256. */
int bpe_train_learn(struct bpe_train *t, uint32_t pieces, uint32_t min_count,
                    struct bpe **out, struct err *e);

#endif
