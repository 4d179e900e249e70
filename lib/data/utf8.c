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
