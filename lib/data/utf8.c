/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.c - decoding and encoding of code points.
 */
#include "data/utf8.h"

/* The bytes that a first byte above 0x7f announces, and the least code point that
 * needs that many; 0 for a byte that starts nothing. */
static size_t sequence(unsigned char first, uint32_t *bits, uint32_t *least)
{
    static const struct {
        unsigned char mask, want;
        uint32_t least;
    } forms[] = {{0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if ((first & forms[i].mask) == forms[i].want) {
            *bits = first & (unsigned char)~forms[i].mask;
            *least = forms[i].least;
            return i + 2;
        }
    return 0;
}

size_t utf8_get(const char *text, size_t len, uint32_t *point)
{
    unsigned char first = (unsigned char)text[0];
    uint32_t p, least;
    size_t n;

    if (first < 0x80) { /* most of most texts */
        *point = first;
        return 1;
    }
    n = sequence(first, &p, &least);
    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 0;
        p = p << 6 | ((unsigned char)text[i] & 0x3f);
    }
    if (p < least || p >= UTF8_POINTS || (p >= 0xd800 && p < 0xe000))
        return 0;
    *point = p;
    return n;
}

size_t utf8_put(uint32_t point, char out[4])
{
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    for (size_t i = n; i-- > 1; point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3f));
    out[0] = (char)(first[n] | point);
    return n;
}

size_t utf8_valid(const char *text, size_t len)
{
    uint32_t point;
    size_t at = 0, n;

    while (at < len && (n = utf8_get(text + at, len - at, &point)) > 0)
        at += n;
    return at;
}

/* How many of the bytes, which are no character, could have been the first of one. */
static size_t begun(const unsigned char *s, size_t len)
{
    size_t n = s[0] < 0xc2 || s[0] > 0xf4 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    size_t i = 1;

    for (; i < n && i < len && s[i] >= low && s[i] <= high; i++) {
        low = 0x80;
        high = 0xbf;
    }
    return i;
}

void utf8_line(const char *text, size_t len, struct buf *out)
{
    uint32_t point;

    buf_reserve(out, len + 1);
    for (size_t at = 0, n; at < len; at += n) {
        n = utf8_get(text + at, len - at, &point);
        if (n == 0) {
            n = begun((const unsigned char *)text + at, len - at);
            buf_puts(out, "\xef\xbf\xbd");
        } else if (point == 0) {
            buf_puts(out, "\xef\xbf\xbd");
        } else if (point == '\n' || point == '\r' || point == '\t') {
            buf_puts(out, " ");
        } else {
            buf_add(out, text + at, n);
        }
    }
}

/* Runs of capitals: to each, `add` gives the small letter; step 2: only every other
 * one of the run, from the first, is a capital. */
static const struct {
    uint32_t first, last, step;
    int add;
} capitals[] = {
    {'A', 'Z', 1, 32},     {0xc0, 0xd6, 1, 32},     {0xd8, 0xde, 1, 32},
    {0x100, 0x12e, 2, 1},  {0x132, 0x136, 2, 1},    {0x139, 0x147, 2, 1},
    {0x14a, 0x176, 2, 1},  {0x178, 0x178, 1, -121}, {0x179, 0x17d, 2, 1},
    {0x1a0, 0x1a4, 2, 1},  {0x1af, 0x1af, 1, 1},    {0x1cd, 0x1db, 2, 1},
    {0x1de, 0x1ee, 2, 1},  {0x1f8, 0x21e, 2, 1},    {0x222, 0x232, 2, 1},
    {0x386, 0x386, 1, 38}, {0x388, 0x38a, 1, 37},   {0x38c, 0x38c, 1, 64},
    {0x38e, 0x38f, 1, 63}, {0x391, 0x3a1, 1, 32},   {0x3a3, 0x3ab, 1, 32},
    {0x400, 0x40f, 1, 80}, {0x410, 0x42f, 1, 32},   {0x460, 0x480, 2, 1},
    {0x48a, 0x4be, 2, 1},  {0x4c0, 0x4c0, 1, 15},   {0x4c1, 0x4cd, 2, 1},
    {0x4d0, 0x52e, 2, 1},
};

static uint32_t lower_of(uint32_t point)
{
    for (size_t i = 0; i < sizeof capitals / sizeof capitals[0]; i++)
        if (point >= capitals[i].first && point <= capitals[i].last)
            return (point - capitals[i].first) % capitals[i].step
                       ? point
                       : (uint32_t)((int)point + capitals[i].add);
    return point;
}

void utf8_lower(const char *text, size_t len, struct buf *out)
{
    uint32_t point;
    char bytes[4];

    buf_reserve(out, len + 1);
    for (size_t at = 0, n; at < len; at += n) {
        n = utf8_get(text + at, len - at, &point);
        if (n == 0 || point < 'A')
            buf_add(out, text + at, n = n ? n : 1);
        else
            buf_add(out, bytes, utf8_put(lower_of(point), bytes));
    }
}
