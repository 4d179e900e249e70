/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_word.c - a word is what stands between spaces; the vocabulary is the
 * words of the training text, by how often they occur.
 *
 * The end of a line is a word as well, "\n".  With `split`, punctuation marks and
 * the characters of scripts without spaces are words by themselves; when they are
 * written again, marks that close stand behind a word without a space, brackets that
 * open before one, and such characters beside each other.  Ids go by falling count,
 * equal counts by bytes, so that the same text gives the same ids.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "data/tokenizer_kind.h"
#include "data/utf8.h"

struct words {
    bool split;
    uint32_t min_count, max_words;
    struct map *number; /* of a word: while learning its count, then id + 1 */
    const char **word;  /* [count], the map's; made by seal                 */
    uint32_t count;
    struct buf scratch; /* a word with its NUL, while learning              */
};

static void word_destroy(void *self)
{
    struct words *w = self;

    if (!w)
        return;
    map_destroy(w->number);
    free(w->word);
    buf_free(&w->scratch);
    free(w);
}

static void *word_create(const struct tokenizer_config *config)
{
    struct words *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->split = config->split;
    w->min_count = config->min_count;
    w->max_words = config->max_words;
    w->number = map_create();
    return w;
}

/* ---- where words begin and end -------------------------------------------- */

struct span {
    uint32_t first, last;
};

/* Spaces but the end of a line. */
static const struct span spaces[] = {
    {'\t', '\t'},     {'\v', '\r'},     {' ', ' '},
    {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};

/* Kana, CJK ideographs with their extensions, and full-width forms. */
static const struct span dense[] = {
    {0x3001, 0x3002}, {0x3040, 0x30ff}, {0x3400, 0x4dbf}, {0x4e00, 0x9fff},
    {0xf900, 0xfaff}, {0xff01, 0xff0f}, {0xff1a, 0xff20}, {0x20000, 0x3ffff}};

/* Marks that close what stands before them, and marks that open. */
static const struct span closing[] = {{'!', '!'}, {')', ')'},      {',', ','},
                                      {'.', '.'}, {':', ';'},      {'?', '?'},
                                      {']', ']'}, {0x2026, 0x2026}};
static const struct span other[] = {{'"', '"'},   {'(', '('},       {'[', '['},
                                    {0xab, 0xab}, {0xbb, 0xbb},     {0xa1, 0xa1},
                                    {0xbf, 0xbf}, {0x201c, 0x201f}, {0x300a, 0x300d}};

#define IN(list, point) in(list, sizeof(list) / sizeof((list)[0]), point)

static bool in(const struct span *list, size_t n, uint32_t point)
{
    for (size_t i = 0; i < n; i++)
        if (point >= list[i].first && point <= list[i].last)
            return true;
    return false;
}

static bool is_digit(uint32_t point)
{
    return point >= '0' && point <= '9';
}

/* Is the character at text[at] a word by itself?  A point or comma between digits is
 * not. */
static bool is_alone(const struct words *w, const char *text, size_t len, size_t at,
                     uint32_t point, bool after_digit)
{
    if (!w->split)
        return false;
    if ((point == '.' || point == ',') && after_digit && at + 1 < len &&
        is_digit((unsigned char)text[at + 1]))
        return false;
    return IN(dense, point) || IN(closing, point) || IN(other, point);
}

/* The next word at or behind *at of UTF-8: its length, 0 at the end; *at is where it
 * begins. */
static size_t next_word(const struct words *w, const char *text, size_t len, size_t *at)
{
    uint32_t point = 0, last = 0;
    size_t n = 0, end;

    while (*at < len && (n = utf8_get(text + *at, len - *at, &point)) &&
           IN(spaces, point))
        *at += n;
    if (*at >= len || n == 0)
        return 0;
    end = *at + n;
    if (point == '\n' || is_alone(w, text, len, *at, point, false))
        return n;
    for (last = point; end < len; end += n, last = point) {
        n = utf8_get(text + end, len - end, &point);
        if (n == 0 || point == '\n' || IN(spaces, point) ||
            is_alone(w, text, len, end, point, is_digit(last)))
            break;
    }
    return end - *at;
}

/* ---- learning ------------------------------------------------------------- */

/* NULL: it holds a NUL, as no word of a vocabulary does. */
static const char *named(struct buf *b, const char *text, size_t n)
{
    if (memchr(text, '\0', n))
        return NULL;
    buf_clear(b);
    buf_add(b, text, n);
    return b->data;
}

static void word_learn(void *self, const char *text, size_t len)
{
    struct words *w = self;
    size_t n;

    for (size_t at = 0; (n = next_word(w, text, len, &at)); at += n) {
        const char *word = named(&w->scratch, text + at, n);
        uintptr_t count = word ? (uintptr_t)map_get(w->number, word) : 0;

        if (word)
            map_put(w->number, word, (void *)(count + 1));
    }
}

struct counted {
    const char *word;
    uintptr_t count;
};

static int by_count(const void *x, const void *y)
{
    const struct counted *a = x, *b = y;

    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->word, b->word);
}

static uint32_t frequent(const struct words *w, struct counted *out)
{
    uint32_t n = 0;

    for (size_t i = 0; i < map_count(w->number); i++) {
        uintptr_t count = (uintptr_t)map_value(w->number, i);

        if (count >= w->min_count)
            out[n++] = (struct counted){map_key(w->number, i), count};
    }
    qsort(out, n, sizeof *out, by_count);
    return w->max_words && n > w->max_words ? w->max_words : n;
}

/* Ids in the order of word[n]; the words are copied into a map of their own. */
static int number_words(struct words *w, const struct counted *word, uint32_t n,
                        struct err *e)
{
    struct map *number = map_create();

    w->word = calloc((size_t)n + 1, sizeof *w->word);
    if (!w->word) {
        map_destroy(number);
        return err_set(e, ERR_NOMEM, "tokenizer word: no memory for %u words", n);
    }
    for (uint32_t i = 0; i < n; i++)
        map_put(number, word[i].word, (void *)(uintptr_t)(i + 1));
    w->count = (uint32_t)map_count(number);
    for (uint32_t i = 0; i < w->count; i++)
        w->word[i] = map_key(number, i);
    map_destroy(w->number);
    w->number = number;
    return ERR_OK;
}

static int word_seal(void *self, struct err *e)
{
    struct words *w = self;
    struct counted *all = calloc(map_count(w->number) + 1, sizeof *all);
    uint32_t n;
    int rc;

    if (!all)
        return err_set(e, ERR_NOMEM, "tokenizer word: no memory for %zu words",
                       map_count(w->number));
    n = frequent(w, all);
    if (map_count(w->number) == 0)
        rc = err_set(e, ERR_SPEC, "tokenizer word: wanted a training text, found none");
    else if (n == 0)
        rc = err_set(e, ERR_SPEC,
                     "tokenizer word: wanted words that occur %u times, found none "
                     "among %zu",
                     w->min_count, map_count(w->number));
    else
        rc = number_words(w, all, n, e);
    free(all);
    return rc;
}

static uint32_t word_vocab(const void *self)
{
    return ((const struct words *)self)->count;
}

/* ---- both ways ------------------------------------------------------------ */

static bool word_lacks(const void *self, bool marks)
{
    (void)self;
    return marks;
}

static int word_encode(const void *self, const char *text, size_t len,
                       const struct tokenizer_ids *out, struct err *e)
{
    const struct words *w = self;
    struct buf word = {0};
    uint64_t number = 1;
    int rc = ERR_OK;
    size_t n;

    for (size_t at = 0; rc == 0 && (n = next_word(w, text, len, &at)); at += n) {
        const char *name = named(&word, text + at, n);
        uintptr_t id = name ? (uintptr_t)map_get(w->number, name) : 0;

        if (id)
            tokenizer_put(out, (uint32_t)(id - 1));
        else if (out->unknown)
            tokens_put(out->tokens, TOKEN_UNK);
        else
            rc = err_set(e, ERR_SPEC,
                         "word %" PRIu64 ", \"%.*s\", is not among the %u of the "
                         "tokenizer's training text",
                         number, n > 64 ? 64 : (int)n, text + at, w->count);
        number++;
    }
    buf_free(&word);
    return rc;
}

static void word_decode(const void *self, uint32_t id, struct buf *out)
{
    buf_puts(out, ((const struct words *)self)->word[id]);
}

/* The last character of a text. */
static uint32_t last_point(const char *text)
{
    size_t at = strlen(text);
    uint32_t point = 0;

    while (at > 0 && ((unsigned char)text[at - 1] & 0xc0) == 0x80)
        at--;
    if (at > 0)
        utf8_get(text + at - 1, strlen(text + at - 1), &point);
    return point;
}

static bool word_spaced(const void *self, const char *before, const char *after)
{
    const struct words *w = self;
    uint32_t left = last_point(before), right = 0;

    utf8_get(after, strlen(after), &right);
    if (left == '\n' || right == '\n')
        return false;
    if (!w->split)
        return true;
    return !IN(closing, right) && left != '(' && left != '[' &&
           !(IN(dense, left) && IN(dense, right));
}

/* ---- saving and loading --------------------------------------------------- */

static int word_save(const void *self, json_t *object, struct err *e)
{
    const struct words *w = self;
    json_t *list = json_array();
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < w->count; i++)
        rc = json_array_append_new(list, json_string(w->word[i]));
    if (rc == 0)
        rc = json_object_set(object, "words", list);
    json_decref(list);
    return rc ? err_set(e, ERR_NOMEM, "tokenizer word: no memory") : ERR_OK;
}

static int word_load(void *self, const json_t *object, struct err *e)
{
    struct words *w = self;
    const json_t *list = json_object_get(object, "words");
    size_t n = json_array_size(list);
    struct counted *word = calloc(n + 1, sizeof *word);
    int rc = ERR_OK;

    if (!word)
        return err_set(e, ERR_NOMEM, "tokenizer word: no memory for %zu words", n);
    if (n == 0 || n > UINT32_MAX - TOKEN_MARKS)
        rc = err_set(e, ERR_SPEC, "tokenizer word: wanted an array \"words\"");
    for (size_t i = 0; rc == 0 && i < n; i++) {
        word[i].word = json_string_value(json_array_get(list, i));
        if (!word[i].word || !word[i].word[0])
            rc = err_set(e, ERR_SPEC, "tokenizer word: wanted text as word %zu", i);
    }
    if (rc == 0)
        rc = number_words(w, word, (uint32_t)n, e);
    if (rc == 0 && map_count(w->number) != n)
        rc = err_set(e, ERR_SPEC,
                     "tokenizer word: wanted each word once, found %zu words twice",
                     n - map_count(w->number));
    free(word);
    return rc;
}

const struct tokenizer_kind tokenizer_word = {
    .name = "word",
    .create = word_create,
    .destroy = word_destroy,
    .learn = word_learn,
    .seal = word_seal,
    .vocab = word_vocab,
    .encode = word_encode,
    .lacks = word_lacks,
    .decode = word_decode,
    .spaced = word_spaced,
    .save = word_save,
    .load = word_load,
    .members = 1,
};
