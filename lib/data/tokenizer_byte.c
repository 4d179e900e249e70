/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_byte.c - a byte is its own id: 256 ids, nothing to learn or to save.
 */
#include "data/tokenizer_kind.h"

static uint32_t byte_vocab(const void *self)
{
    (void)self;
    return 256;
}

static int byte_encode(const void *self, const char *text, size_t len,
                       const struct tokenizer_ids *out, struct err *e)
{
    (void)self;
    (void)e;
    for (size_t i = 0; i < len; i++)
        tokenizer_put(out, (unsigned char)text[i]);
    return ERR_OK;
}

static void byte_decode(const void *self, uint32_t id, struct buf *out)
{
    char c = (char)id;

    (void)self;
    buf_add(out, &c, 1);
}

static struct bpe *byte_as_bpe(const void *self)
{
    struct bpe *b = bpe_create(PRETOKEN_NONE);

    (void)self;
    for (int i = 0; i < 256; i++)
        bpe_piece(b, &(char){(char)i}, 1, NULL);
    return b;
}

const struct tokenizer_kind tokenizer_byte = {
    .name = "byte",
    .vocab = byte_vocab,
    .encode = byte_encode,
    .any = true,
    .decode = byte_decode,
    .as_bpe = byte_as_bpe,
};
