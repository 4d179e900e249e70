/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_bpe.c - tokenizers of others: a tokenizer.json; behind a "#" merges.txt, with a
 * vocabulary of bytes and what the merges name; any other text is learned from.
 * parser: lib/data/bpe.c lib/data/bpe_chars.c lib/data/bpe_file.c lib/data/bpe_json.c
 * parser: lib/data/bpe_json_chars.c lib/data/bpe_part.c lib/data/bpe_train.c
 * parser: lib/data/bytemap.c lib/data/nfc.c lib/data/pretoken.c lib/data/unicode.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "data/bpe_file.h"
#include "data/bpe_train.h"
#include "data/utf8.h"

struct ids {
    const struct bpe *b;
    struct buf text; /* of the ids so far */
    struct buf id;
    size_t n;
};

static void put(void *arg, uint32_t id)
{
    struct ids *x = arg;
    const char *piece;
    size_t len;

    FUZZ_HOLDS(id < x->b->pieces.count);
    buf_add(&x->id, &id, sizeof id);
    piece = bytemap_at(&x->b->pieces, id, &len);
    buf_add(&x->text, piece, len);
    x->n++;
}

/* Over characters: what waits and what does not have the ids of both together. */
static void use_parts(const struct bpe *b, const char *text, size_t len,
                      const struct ids *whole)
{
    size_t cut = len - bpe_open(b, text, len);
    struct ids x = {.b = b};

    if (!b->spaces || cut == 0)
        return;
    bpe_encode(b, text, cut, false, put, &x);
    bpe_encode(b, text + cut, len - cut, true, put, &x);
    FUZZ_HOLDS(x.id.len == whole->id.len &&
               memcmp(x.id.data, whole->id.data, x.id.len) == 0);
    buf_free(&x.text);
    buf_free(&x.id);
}

/* Whatever the text is, its ids are no more than its bytes, and together are it, unless
 * it is cut in another form. */
static void use(const struct bpe *b, const char *text, size_t len)
{
    struct ids x = {.b = b};

    bpe_encode(b, text, len, false, put, &x);
    FUZZ_HOLDS(x.n <= bpe_most(b, len));
    FUZZ_HOLDS(
        b->nfc || b->spaces ||
        (x.text.len == len && (len == 0 || memcmp(x.text.data, text, len) == 0)));
    FUZZ_HOLDS(bpe_open(b, text, len) <= len);
    use_parts(b, text, len, &x);
    buf_free(&x.text);
    buf_free(&x.id);
}

/* Written and read, it is the same: of one in eight, for it takes as long as ten others
 * do. */
static void again(const struct bpe *b, bool marks, size_t len)
{
    struct buf one = {0}, two = {0};
    struct bpe *back;
    struct err e;
    bool same;

    if (len % 8)
        return;
    FUZZ_HOLDS(bpe_write_json(b, marks, &one, &e) == 0);
    FUZZ_HOLDS(bpe_read_json(&(struct bpe_text){"t", one.data, one.len}, &back, &same,
                             &e) == 0);
    FUZZ_HOLDS(same == marks);
    FUZZ_HOLDS(bpe_write_json(back, marks, &two, &e) == 0);
    FUZZ_HOLDS(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    bpe_destroy(back);
    buf_free(&one);
    buf_free(&two);
}

static void learn(const char *text, size_t len)
{
    struct bpe_train *t = bpe_train_create(PRETOKEN_GPT2);
    struct bpe *b;
    struct err e;

    bpe_train_text(t, text, len);
    if (bpe_train_learn(t, 256 + (uint32_t)(len % 64), len % 3, &b, &e) == 0) {
        use(b, text, len);
        again(b, len % 16 == 8, len);
        bpe_destroy(b);
    }
    bpe_train_destroy(t);
}

/* Bytes, and three pairs of them, as a vocab.json. */
static void read_merges(const char *text, size_t len)
{
    struct bpe *b = bpe_create(PRETOKEN_GPT2);
    struct buf vocab = {0};
    struct err e;
    char glyph[4];

    bpe_bytes(b);
    buf_puts(&vocab, "{\"th\":256,\"the\":257,\"\\u0120the\":258");
    for (uint32_t i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)*bytemap_at(&b->pieces, i, &(size_t){0});
        size_t n = utf8_put(bpe_glyph(byte), glyph);

        buf_printf(&vocab,
                   byte == '"' || byte == '\\' ? ",\"\\%.*s\":%u" : ",\"%.*s\":%u",
                   (int)n, glyph, i);
    }
    buf_puts(&vocab, "}");
    bpe_destroy(b);
    if (bpe_read_gpt2(&(struct bpe_text){"v", vocab.data, vocab.len},
                      &(struct bpe_text){"m", text, len}, &b, &e) == 0) {
        use(b, "the theme, the the", 18);
        again(b, false, len);
        bpe_destroy(b);
    }
    buf_free(&vocab);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct bpe *b;
    struct err e;
    bool marks;

    if (size && data[0] == '{') {
        if (bpe_read_json(&(struct bpe_text){"t", text, size}, &b, &marks, &e) == 0) {
            use(b, text, size);
            again(b, marks, 0);
            bpe_destroy(b);
        }
    } else if (size && data[0] == '#') {
        read_merges(text, size);
    } else {
        learn(text, size);
    }
    return 0;
}
