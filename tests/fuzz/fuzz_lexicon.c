/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_lexicon.c - vocabulary files: one tokenizer, or two.
 * parser: lib/data/tokenizer.c lib/data/tokenizer_byte.c lib/data/tokenizer_char.c
 * parser: lib/data/tokenizer_word.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "data/lexicon.h"

enum { SOME = 64 };

/* Text to ids and back, whatever the text is; and ids that no text gave. */
static void use(const struct tokenizer *t, const char *text, size_t len)
{
    uint32_t vocab = tokenizer_vocab(t), id[SOME], beyond = vocab;
    struct tokens ids;
    struct buf back = {0};
    struct err e;
    size_t n = 0;

    tokens_init(&ids, vocab);
    tokenizer_encode(t, text, len, &ids, &e);
    for (uint64_t i = 0; i < ids.count; i++)
        FUZZ_HOLDS(tokens_get(&ids, i) < vocab);
    while (n < SOME && n < ids.count) {
        id[n] = tokens_get(&ids, n);
        n++;
    }
    FUZZ_HOLDS(tokenizer_decode(t, id, n, &back, &e) == 0);
    for (n = 0; n < SOME && n < len; n++)
        id[n] = (uint32_t)(unsigned char)text[n] % vocab;
    FUZZ_HOLDS(tokenizer_decode(t, id, n, &back, &e) == 0);
    FUZZ_HOLDS(tokenizer_decode(t, &beyond, 1, &back, &e) < 0);
    tokens_free(&ids);
    buf_free(&back);
}

/* A tokenizer that learns from these bytes. */
static void learn(const char *kind, bool plain, const char *text, size_t len)
{
    struct tokenizer_config c = {.kind = kind,
                                 .marks = !plain,
                                 .lower = !plain,
                                 .split = !plain,
                                 .strict = plain,
                                 .min_count = plain ? 0 : 2,
                                 .max_words = plain ? 0 : 20};
    struct tokenizer *t;
    struct err e;

    FUZZ_HOLDS(tokenizer_create(&c, &t, &e) == 0);
    if (tokenizer_learn(t, text, len, &e) == 0 && tokenizer_seal(t, &e) == 0)
        use(t, text, len);
    tokenizer_destroy(t);
}

static void again(const struct lexicon *l)
{
    struct buf one = {0}, two = {0};
    struct lexicon back;
    char hex[2][SHA256_HEX];
    struct err e;

    FUZZ_HOLDS(lexicon_save(l, &one, &e) == 0);
    FUZZ_HOLDS(lexicon_load("v", one.data, one.len, &back, &e) == 0);
    FUZZ_HOLDS(lexicon_save(&back, &two, &e) == 0);
    FUZZ_HOLDS(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    FUZZ_HOLDS(tokenizer_sha256(l->target, hex[0], &e) == 0);
    FUZZ_HOLDS(tokenizer_sha256(back.target, hex[1], &e) == 0);
    FUZZ_HOLDS(strcmp(hex[0], hex[1]) == 0);
    lexicon_free(&back);
    buf_free(&one);
    buf_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const kinds[] = {"byte", "word", "char", "word"};
    const char *text = (const char *)data;
    struct lexicon l = {0};
    struct err e;

    if (lexicon_load("vocabulary.json", text, size, &l, &e) == 0) {
        use(l.target, text, size);
        use(lexicon_source(&l), text, size);
        again(&l);
        lexicon_free(&l);
    } else if (size) {
        learn(kinds[data[0] % 4], data[0] / 4 % 2, text + 1, size - 1);
    }
    return 0;
}
