/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_char.c - a character is a Unicode code point; the vocabulary is the
 * sorted set of those that the training text has.
 *
 * Without marks there is no "unknown" id: a character outside the vocabulary is an
 * error that names it, because a model has nothing to say about what it never saw.
 */
#include <stdlib.h>

#include "data/tokenizer_kind.h"
#include "data/utf8.h"

struct charset {
    uint32_t *id;    /* [UTF8_POINTS] id + 1; 0: not in the vocabulary.  Pages of
                      * scripts that do not occur are never touched. */
    uint32_t *point; /* [count], rising; made by seal */
    uint32_t count;
    uint32_t end; /* above the highest that was seen */
    uint32_t min_count;
};

static void char_destroy(void *self)
{
    struct charset *c = self;

    if (!c)
        return;
    free(c->id);
    free(c->point);
    free(c);
}

static void *char_create(const struct tokenizer_config *config)
{
    struct charset *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->min_count = config->marks && config->min_count ? config->min_count : 1;
    c->id = calloc(UTF8_POINTS, sizeof *c->id);
    if (!c->id) {
        free(c);
        return NULL;
    }
    return c;
}

/* Until seal gives the ids, the place holds how often it was seen. */
static void char_learn(void *self, const char *text, size_t len)
{
    struct charset *c = self;
    uint32_t point;
    size_t n;

    for (size_t at = 0; at < len && (n = utf8_get(text + at, len - at, &point));
         at += n) {
        c->id[point] += c->id[point] < UINT32_MAX;
        c->end = point < c->end ? c->end : point + 1;
    }
}

static int char_seal(void *self, struct err *e)
{
    struct charset *c = self;
    uint32_t n = 0;

    for (uint32_t p = 0; p < c->end; p++)
        c->id[p] = c->id[p] >= c->min_count ? ++n : 0;
    if (n == 0 && c->end > 0)
        return err_set(e, ERR_SPEC,
                       "tokenizer char: wanted characters that occur %u times, found "
                       "none",
                       c->min_count);
    if (n == 0)
        return err_set(e, ERR_SPEC,
                       "tokenizer char: wanted a training text, found none");
    c->point = malloc(n * sizeof *c->point);
    if (!c->point)
        return err_set(e, ERR_NOMEM, "tokenizer char: no memory for %u characters", n);
    c->count = n;
    for (uint32_t p = 0; p < c->end; p++)
        if (c->id[p])
            c->point[c->id[p] - 1] = p;
    return ERR_OK;
}

static uint32_t char_vocab(const void *self)
{
    return ((const struct charset *)self)->count;
}

static int char_unknown(const struct charset *c, const char *text, size_t n,
                        uint32_t point, uint64_t number, struct err *e)
{
    int shown = point < ' ' || point == 0x7f ? 0 : (int)n;

    return err_set(e, ERR_SPEC,
                   "character %llu, U+%04X \"%.*s\", is not among the %u of the "
                   "tokenizer's training text",
                   (unsigned long long)number, point, shown, text, c->count);
}

/* Without marks it is an error. */
static bool char_lacks(const void *self, bool marks)
{
    (void)self;
    return marks;
}

static int char_encode(const void *self, const char *text, size_t len,
                       const struct tokenizer_ids *out, struct err *e)
{
    const struct charset *c = self;
    uint64_t number = 1;
    uint32_t point;

    for (size_t at = 0, n; at < len; at += n, number++) {
        n = utf8_get(text + at, len - at, &point);
        if (c->id[point])
            tokenizer_put(out, c->id[point] - 1);
        else if (out->unknown)
            tokens_put(out->tokens, TOKEN_UNK);
        else
            return char_unknown(c, text + at, n, point, number, e);
    }
    return ERR_OK;
}

static void char_decode(const void *self, uint32_t id, struct buf *out)
{
    const struct charset *c = self;
    char bytes[4];

    buf_add(out, bytes, utf8_put(c->point[id], bytes));
}

static int char_save(const void *self, json_t *object, struct err *e)
{
    const struct charset *c = self;
    struct buf text = {0};
    int rc;

    for (uint32_t id = 0; id < c->count; id++)
        char_decode(c, id, &text);
    rc = json_object_set_new(object, "chars", json_stringn(text.data, text.len));
    buf_free(&text);
    return rc ? err_set(e, ERR_NOMEM, "tokenizer char: no memory") : ERR_OK;
}

static int char_load(void *self, const json_t *object, struct err *e)
{
    const json_t *chars = json_object_get(object, "chars");
    const char *text = json_string_value(chars);
    size_t len = json_string_length(chars);
    uint32_t point, last = 0;
    size_t n;

    if (!text)
        return err_set(e, ERR_SPEC, "tokenizer char: wanted a string \"chars\"");
    for (size_t at = 0; at < len; at += n, last = point) {
        n = utf8_get(text + at, len - at, &point);
        if (n == 0 || (at > 0 && point <= last))
            return err_set(e, ERR_SPEC,
                           "tokenizer char: wanted \"chars\" in rising order, found "
                           "U+%04X twice or before a lower one",
                           last);
    }
    char_learn(self, text, len);
    return char_seal(self, e);
}

const struct tokenizer_kind tokenizer_char = {
    .name = "char",
    .create = char_create,
    .destroy = char_destroy,
    .learn = char_learn,
    .seal = char_seal,
    .vocab = char_vocab,
    .encode = char_encode,
    .lacks = char_lacks,
    .decode = char_decode,
    .save = char_save,
    .load = char_load,
    .members = 1,
};
