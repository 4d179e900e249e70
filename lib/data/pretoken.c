/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pretoken.c - the alternatives of each expression, tried in its order.
 */
#include "data/pretoken.h"

#include <stdint.h>
#include <string.h>

#include "data/unicode.h"
#include "data/utf8.h"

const char *const pretoken_name[] = {"gpt2", "llama3", "qwen2", "none"};

#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST  "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char *const pretoken_regex[] = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|"
    "\\s+",
    WORDS "\\p{N}{1,3}" REST,
    WORDS "\\p{N}" REST,
    NULL,
};

/* A character of the text. */
struct glyph {
    uint32_t point;
    size_t len; /* its bytes; 0 behind the end */
    enum unicode_class class;
};

static struct glyph glyph_at(const char *text, size_t len, size_t at)
{
    struct glyph g = {0};

    if (at >= len)
        return g;
    g.len = utf8_get(text + at, len - at, &g.point);
    if (g.len == 0)
        return (struct glyph){0, 1, UNICODE_OTHER};
    g.class = unicode_class_of(g.point);
    return g;
}

static bool is_break(uint32_t point)
{
    return point == '\n' || point == '\r';
}

/* The end of the run of `class` that begins at `at`, of at most `most` characters. */
static size_t run_end(const char *text, size_t len, size_t at, enum unicode_class class,
                      size_t most)
{
    struct glyph g = glyph_at(text, len, at);

    for (; g.len && g.class == class && most > 0; most--) {
        at += g.len;
        g = glyph_at(text, len, at);
    }
    return at;
}

/* 's and its like at the begin of the text: the length, or 0. */
static size_t contraction(const char *text, size_t len, bool any_case)
{
    static const char *const ends[] = {"s", "t", "re", "ve", "m", "ll", "d"};

    if (text[0] != '\'')
        return 0;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t n = strlen(ends[i]);

        if (len > n && (any_case ? strncasecmp(text + 1, ends[i], n)
                                 : strncmp(text + 1, ends[i], n)) == 0)
            return n + 1;
    }
    /* U+017F folds to s */
    return any_case && len > 2 && memcmp(text + 1, "\u017f", 2) == 0 ? 3 : 0;
}

/* \s+(?!\S)|\s+ : a run of spaces, but for its last where something follows. */
static size_t spaces(const char *text, size_t len)
{
    size_t end = run_end(text, len, 0, UNICODE_SPACE, SIZE_MAX), last = end;

    if (end == len)
        return end;
    while (last > 0 && ((unsigned char)text[--last] & 0xc0) == 0x80)
        ;
    return last ? last : end;
}

static size_t next_gpt2(const char *text, size_t len)
{
    size_t n = contraction(text, len, false), at = text[0] == ' ';
    struct glyph g = glyph_at(text, len, at);

    if (n)
        return n;
    if (g.len == 0 || g.class == UNICODE_SPACE)
        return spaces(text, len);
    return run_end(text, len, at, g.class, SIZE_MAX);
}

/* \s*[\r\n]+ : spaces up to the last end of a line among them; 0: there is none. */
static size_t broken_lines(const char *text, size_t len)
{
    size_t end = run_end(text, len, 0, UNICODE_SPACE, SIZE_MAX);

    while (end > 0 && !is_break((unsigned char)text[end - 1]))
        end--;
    return end;
}

static size_t next_llama3(const char *text, size_t len, size_t digits)
{
    size_t n = contraction(text, len, true);
    struct glyph first = glyph_at(text, len, 0), second;

    if (n)
        return n;
    second = glyph_at(text, len, first.len);
    if (first.class == UNICODE_LETTER)
        return run_end(text, len, 0, UNICODE_LETTER, SIZE_MAX);
    if (first.class == UNICODE_NUMBER)
        return run_end(text, len, 0, UNICODE_NUMBER, digits);
    if (second.len && second.class == UNICODE_LETTER && !is_break(first.point))
        return run_end(text, len, first.len, UNICODE_LETTER, SIZE_MAX);
    n = text[0] == ' ';
    if ((n && second.len ? second.class : first.class) == UNICODE_OTHER) {
        n = run_end(text, len, n, UNICODE_OTHER, SIZE_MAX);
        while (n < len && is_break((unsigned char)text[n]))
            n++;
        return n;
    }
    n = broken_lines(text, len);
    return n ? n : spaces(text, len);
}

size_t pretoken_next(enum pretoken_rule rule, const char *text, size_t len)
{
    switch (rule) {
    case PRETOKEN_GPT2:
        return next_gpt2(text, len);
    case PRETOKEN_LLAMA3:
        return next_llama3(text, len, 3);
    case PRETOKEN_QWEN2:
        return next_llama3(text, len, 1);
    default:
        return len;
    }
}

/* Is the piece [at, end) the same whatever follows the text?  The longest look ahead is
 * that for 'll, and that to the end of a run of spaces. */
static bool is_final(const char *text, size_t len, size_t at, size_t end)
{
    return at + 3 < len && end < len &&
           run_end(text, len, end, UNICODE_SPACE, SIZE_MAX) < len;
}

static bool ends_in_space(const char *text, size_t end)
{
    size_t at = end - 1;

    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return glyph_at(text, end, at).class == UNICODE_SPACE;
}

/* The cut stands behind a piece without a space at its end: at the end of a text spaces
 * are one piece, which they need not be within it. */
size_t pretoken_open(enum pretoken_rule rule, const char *text, size_t len,
                     pretoken_cut_f *may, void *arg)
{
    size_t at = 0, cut = 0, n;

    if (rule == PRETOKEN_NONE)
        return 0;
    while (at < len) {
        n = pretoken_next(rule, text + at, len - at);
        if (!is_final(text, len, at, at + n))
            break;
        at += n;
        if (!ends_in_space(text, at) && (!may || may(arg, at)))
            cut = at;
    }
    return len - cut > PRETOKEN_OPEN_MAX ? 0 : len - cut;
}
