/* SPDX-License-Identifier: Apache-2.0 */
/*
 * str.c - text read strictly.
 */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The base of the digits at `text`, their start in *digits; 0 if there are none:
 * strtol's blanks, signs and octal are not for us. */
static int number_base(const char *text, const char **digits)
{
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        *digits = text + 2;
        return isxdigit((unsigned char)text[2]) ? 16 : 0;
    }
    *digits = text;
    return isdigit((unsigned char)text[0]) ? 10 : 0;
}

bool str_to_u64(const char *text, uint64_t *out)
{
    const char *digits;
    int base = number_base(text, &digits);
    char *end;

    if (!base)
        return false;
    errno = 0;
    unsigned long long value = strtoull(digits, &end, base);
    if (errno || *end)
        return false;
    *out = value;
    return true;
}

bool str_to_i64(const char *text, int64_t *out)
{
    bool minus = *text == '-';
    uint64_t value;

    if (!str_to_u64(text + minus, &value))
        return false;
    if (value > (uint64_t)INT64_MAX + minus)
        return false;
    *out = minus ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool str_to_double(const char *text, double *out)
{
    char *end;
    double value;

    if (!*text || text[strspn(text, "0123456789+-.eE")])
        return false;
    value = strtod(text, &end);
    if (*end || end == text || !isfinite(value))
        return false;
    *out = value;
    return true;
}

enum { LONGEST_WORD = 63 };

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits from a to b: insert, delete, replace, swap two neighbours (optimal
 * string alignment, the restricted Damerau-Levenshtein distance). */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    size_t rows[3][LONGEST_WORD + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];

    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = min_size(last[j], row[j - 1]) + 1;
            row[j] = min_size(row[j], last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min_size(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[nb];
}

const char *str_nearest(const char *word, const char *const *words, size_t n)
{
    size_t len = strlen(word), best = len < 6 ? 1 : len / 3;
    const char *nearest = NULL;

    if (len > LONGEST_WORD)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t other = strlen(words[i]);

        if (other > LONGEST_WORD)
            continue;
        size_t d = edit_distance(word, len, words[i], other);
        if (d < best || (d == best && !nearest)) {
            best = d;
            nearest = words[i];
        }
    }
    return nearest;
}

bool str_starts(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

bool str_ends(const char *text, const char *ending)
{
    size_t n = strlen(text), len = strlen(ending);

    return n > len && strcmp(text + n - len, ending) == 0;
}

/* The bytes of the well-formed sequence at s (RFC 3629, section 4), or 0. */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
    unsigned char low = 0x80, high = 0xBF;
    size_t n;

    if (s[0] < 0x80)
        return s[0] != 0;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    n = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (s[0] == 0xE0)
        low = 0xA0; /* shorter forms exist */
    else if (s[0] == 0xED)
        high = 0x9F; /* surrogates */
    else if (s[0] == 0xF0)
        low = 0x90;
    else if (s[0] == 0xF4)
        high = 0x8F; /* beyond U+10FFFF */
    if (n > len || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if (s[i] < 0x80 || s[i] > 0xBF)
            return 0;
    return n;
}

bool str_is_utf8(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;

    while (len) {
        size_t n = utf8_sequence(s, len);

        if (!n)
            return false;
        s += n;
        len -= n;
    }
    return true;
}

size_t str_mark(const char *text, size_t len)
{
    return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}
