/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nfc.c - texts by utf8proc, a stretch at a time.
 */
#include "data/nfc.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/oom.h"
#include "data/utf8.h"

/* What is taken at a time, so that a long text needs no memory of several times its
 * own: it ends where a character begins anew. */
enum { STRETCH = 1 << 16 };

/* No character before this one joins with what stands before it, nor is it any other in
 * NFC.  In UTF-8 it is the first with a byte that large. */
enum { PLAIN_POINTS = 0x300, PLAIN_BYTES = 0xcc };

bool nfc_begins(uint32_t point)
{
    utf8proc_category_t c;

    if (point < PLAIN_POINTS)
        return true;
    c = utf8proc_category((utf8proc_int32_t)point);
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_ZP;
}

static bool is_plain(const char *text, size_t len)
{
    size_t i = 0;

    while (i < len && (unsigned char)text[i] < PLAIN_BYTES)
        i++;
    return i == len;
}

/* The first place from `at` on where a character begins anew, or len. */
static size_t next_begin(const char *text, size_t len, size_t at)
{
    uint32_t point;
    size_t n;

    while (at < len && ((unsigned char)text[at] & 0xc0) == 0x80)
        at++;
    for (; at < len; at += n) {
        n = utf8_get(text + at, len - at, &point);
        if (n && nfc_begins(point))
            break;
        n = n ? n : 1;
    }
    return at;
}

static void add_stretch(const char *text, size_t len, struct buf *out)
{
    utf8proc_uint8_t *nfc = NULL;
    utf8proc_ssize_t n;

    if (is_plain(text, len)) {
        buf_add(out, text, len);
        return;
    }
    n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &nfc,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n == UTF8PROC_ERROR_NOMEM)
        oom_abort("a text in NFC", len);
    buf_add(out, n < 0 ? text : (const char *)nfc, n < 0 ? len : (size_t)n);
    free(nfc);
}

void nfc_add(const char *text, size_t len, struct buf *out)
{
    for (size_t at = 0, end; at < len; at = end) {
        end = len - at <= STRETCH ? len : next_begin(text, len, at + STRETCH);
        add_stretch(text + at, end - at, out);
    }
}
