/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unicode.c - looking a code point up in sorted ranges.
 */
#include "data/unicode.h"

#include "data/unicode_table.h"
#include "data/utf8.h"

static const struct unicode_range spaces[] = {
    {0x9, 0xd},       {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},
    {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f},
    {0x205f, 0x205f}, {0x3000, 0x3000},
};

#define IN(table, point) in(table, sizeof(table) / sizeof((table)[0]), point)

static bool in(const struct unicode_range *table, size_t n, uint32_t point)
{
    size_t low = 0, high = n; /* the first range that ends at or behind point */

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (table[mid].last < point)
            low = mid + 1;
        else
            high = mid;
    }
    return low < n && table[low].first <= point;
}

enum unicode_class unicode_class_of(uint32_t point)
{
    if (point < 0x80) { /* most of most texts */
        uint32_t small = point | 0x20;

        return small >= 'a' && small <= 'z'                  ? UNICODE_LETTER
               : point >= '0' && point <= '9'                ? UNICODE_NUMBER
               : point == ' ' || (point >= 9 && point <= 13) ? UNICODE_SPACE
                                                             : UNICODE_OTHER;
    }
    return IN(letters, point)   ? UNICODE_LETTER
           : IN(numbers, point) ? UNICODE_NUMBER
           : IN(spaces, point)  ? UNICODE_SPACE
                                : UNICODE_OTHER;
}

bool unicode_blank(const char *text, size_t len)
{
    uint32_t point;
    size_t at = 0, n;

    while (at < len && (n = utf8_get(text + at, len - at, &point)) > 0 &&
           unicode_class_of(point) == UNICODE_SPACE)
        at += n;
    return at == len;
}
