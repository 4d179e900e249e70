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

/* Runs of capitals in rising order: to each, `add` gives the small letter, which takes
 * as many bytes; step 2: only every other one of the run, from the first, is a capital.
 * They are all of Unicode's below U+0557, and from U+1E00 to U+1EFF. */
static const struct {
    uint32_t first, last, step;
    int add;
} capitals[] = {
    {'A', 'Z', 1, 32},       {0xc0, 0xd6, 1, 32},     {0xd8, 0xde, 1, 32},
    {0x100, 0x12e, 2, 1},    {0x132, 0x136, 2, 1},    {0x139, 0x147, 2, 1},
    {0x14a, 0x176, 2, 1},    {0x178, 0x178, 1, -121}, {0x179, 0x17d, 2, 1},
    {0x181, 0x181, 1, 210},  {0x182, 0x184, 2, 1},    {0x186, 0x186, 1, 206},
    {0x187, 0x187, 1, 1},    {0x189, 0x18a, 1, 205},  {0x18b, 0x18b, 1, 1},
    {0x18e, 0x18e, 1, 79},   {0x18f, 0x18f, 1, 202},  {0x190, 0x190, 1, 203},
    {0x191, 0x191, 1, 1},    {0x193, 0x193, 1, 205},  {0x194, 0x194, 1, 207},
    {0x196, 0x196, 1, 211},  {0x197, 0x197, 1, 209},  {0x198, 0x198, 1, 1},
    {0x19c, 0x19c, 1, 211},  {0x19d, 0x19d, 1, 213},  {0x19f, 0x19f, 1, 214},
    {0x1a0, 0x1a4, 2, 1},    {0x1a6, 0x1a6, 1, 218},  {0x1a7, 0x1a7, 1, 1},
    {0x1a9, 0x1a9, 1, 218},  {0x1ac, 0x1ac, 1, 1},    {0x1ae, 0x1ae, 1, 218},
    {0x1af, 0x1af, 1, 1},    {0x1b1, 0x1b2, 1, 217},  {0x1b3, 0x1b5, 2, 1},
    {0x1b7, 0x1b7, 1, 219},  {0x1b8, 0x1b8, 1, 1},    {0x1bc, 0x1bc, 1, 1},
    {0x1c4, 0x1c4, 1, 2},    {0x1c5, 0x1c5, 1, 1},    {0x1c7, 0x1c7, 1, 2},
    {0x1c8, 0x1c8, 1, 1},    {0x1ca, 0x1ca, 1, 2},    {0x1cb, 0x1db, 2, 1},
    {0x1de, 0x1ee, 2, 1},    {0x1f1, 0x1f1, 1, 2},    {0x1f2, 0x1f4, 2, 1},
    {0x1f6, 0x1f6, 1, -97},  {0x1f7, 0x1f7, 1, -56},  {0x1f8, 0x21e, 2, 1},
    {0x220, 0x220, 1, -130}, {0x222, 0x232, 2, 1},    {0x23b, 0x23b, 1, 1},
    {0x23d, 0x23d, 1, -163}, {0x241, 0x241, 1, 1},    {0x243, 0x243, 1, -195},
    {0x244, 0x244, 1, 69},   {0x245, 0x245, 1, 71},   {0x246, 0x24e, 2, 1},
    {0x370, 0x372, 2, 1},    {0x376, 0x376, 1, 1},    {0x37f, 0x37f, 1, 116},
    {0x386, 0x386, 1, 38},   {0x388, 0x38a, 1, 37},   {0x38c, 0x38c, 1, 64},
    {0x38e, 0x38f, 1, 63},   {0x391, 0x3a1, 1, 32},   {0x3a3, 0x3ab, 1, 32},
    {0x3cf, 0x3cf, 1, 8},    {0x3d8, 0x3ee, 2, 1},    {0x3f4, 0x3f4, 1, -60},
    {0x3f7, 0x3f7, 1, 1},    {0x3f9, 0x3f9, 1, -7},   {0x3fa, 0x3fa, 1, 1},
    {0x3fd, 0x3ff, 1, -130}, {0x400, 0x40f, 1, 80},   {0x410, 0x42f, 1, 32},
    {0x460, 0x480, 2, 1},    {0x48a, 0x4be, 2, 1},    {0x4c0, 0x4c0, 1, 15},
    {0x4c1, 0x4cd, 2, 1},    {0x4d0, 0x52e, 2, 1},    {0x531, 0x556, 1, 48},
    {0x1e00, 0x1e94, 2, 1},  {0x1ea0, 0x1efe, 2, 1},
};

static uint32_t lower_of(uint32_t point)
{
    size_t from = 0, to = sizeof capitals / sizeof capitals[0];

    while (from < to) {
        size_t i = (from + to) / 2;

        if (point < capitals[i].first)
            to = i;
        else if (point > capitals[i].last)
            from = i + 1;
        else
            return (point - capitals[i].first) % capitals[i].step
                       ? point
                       : (uint32_t)((int)point + capitals[i].add);
    }
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
