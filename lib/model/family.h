/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family.h - what a model family is: one file, one constant struct, one row of the
 * table in model.c.
 */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include "model/block.h"

struct family {
    bool reads;   /* a source, besides what it writes        */
    bool endless; /* decoding needs no room for each token    */
    bool pads;    /* goes step by step: packed rows are padded on the way */

    /* Logits [T,V] of the chunk's rows; of decode_step's, when b->step. */
    struct value *(*logits)(struct build *b);

    /* Scheduled sampling: which tokens the model would have written in the chunk's
     * places, into m->teach.mixed (block_guess).  NULL: logits of all rows at once
     * tell. */
    void (*guess)(struct build *b);

    /* When it reads: keep in states what logits needs of a source for decoding. */
    void (*encode)(struct build *b);
};

extern const struct family family_decoder, family_encdec, family_rnnlm, family_seq2seq;

#endif
