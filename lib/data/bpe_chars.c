/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_chars.c - spaces that are seen, characters as pieces or as bytes, and where a
 * text can be cut.
 *
 * Only such pieces meet at a place as end and begin with the characters beside it.  So
 * where no merge has a left piece with that end and a right one with that begin, none
 * ever reaches over it.  With a vocabulary of words that is before every word: parts
 * are short though the rule knows none.
 */
#include "data/bpe_chars.h"

#include <string.h>

#include "data/utf8.h"

#define SEEN      "\u2581"
#define SEEN_SIZE (sizeof SEEN - 1)
enum { SEEN_POINT = 0x2581 };

/* A character; of what is not UTF-8 each byte is one, behind all others. */
struct glyph {
    const char *text;
    size_t len;
    uint32_t point;
};

static struct glyph glyph_at(const char *text, size_t len)
{
    struct glyph g = {.text = text};

    g.len = utf8_get(text, len, &g.point);
    if (g.len == 0)
        g = (struct glyph){text, 1, UTF8_POINTS + (unsigned char)text[0]};
    return g;
}

/* The last character; len >= 1. */
static struct glyph glyph_before(const char *text, size_t len)
{
    struct glyph g;
    size_t back = 1;

    while (back < len && back < 4 && ((unsigned char)text[len - back] & 0xc0) == 0x80)
        back++;
    g = glyph_at(text + len - back, back);
    return g.len == back ? g : glyph_at(text + len - 1, 1);
}

/* ---- spaces --------------------------------------------------------------- */

static bool begins_seen(const char *part, size_t len)
{
    return part[0] == ' ' || (len >= SEEN_SIZE && memcmp(part, SEEN, SEEN_SIZE) == 0);
}

static bool has_front(const struct bpe *b, enum bpe_before before, const char *part,
                      size_t len)
{
    if (b->spaces == BPE_SPACES_EACH)
        return before != BPE_TEXT;
    if (b->spaces == BPE_SPACES_FIRST && before == BPE_ADDED)
        return false;
    return before != BPE_TEXT && !begins_seen(part, len);
}

void bpe_chars_write(const struct bpe *b, enum bpe_before before, const char *part,
                     size_t len, struct buf *out)
{
    if (len && has_front(b, before, part, len))
        buf_add(out, SEEN, SEEN_SIZE);
    for (size_t at = 0, n; at < len; at += n) {
        const char *space = memchr(part + at, ' ', len - at);

        n = space ? (size_t)(space - part) - at : len - at;
        buf_add(out, part + at, n);
        if (space) {
            buf_add(out, SEEN, SEEN_SIZE);
            n++;
        }
    }
}

size_t bpe_chars_behind(const char *part, size_t len, size_t most)
{
    size_t n = 0;

    for (size_t size; n < len; most -= size, n++) {
        size = part[len - n - 1] == ' ' ? SEEN_SIZE : 1;
        if (size > most)
            break;
    }
    return n;
}

/* ---- characters ----------------------------------------------------------- */

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool bpe_chars_byte(const char *piece, size_t len, unsigned char *byte)
{
    if (len != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>' ||
        digit_of(piece[3]) < 0 || digit_of(piece[4]) < 0)
        return false;
    *byte = (unsigned char)(digit_of(piece[3]) << 4 | digit_of(piece[4]));
    return true;
}

void bpe_chars_text(const char *piece, size_t len, struct buf *out)
{
    unsigned char byte;

    if (bpe_chars_byte(piece, len, &byte)) {
        buf_add(out, &byte, 1);
        return;
    }
    for (size_t at = 0; at < len;) {
        struct glyph g = glyph_at(piece + at, len - at);
        bool seen = g.point == SEEN_POINT;

        buf_add(out, seen ? " " : g.text, seen ? 1 : g.len);
        at += g.len;
    }
}

/* The bytes of a character, if all of them are pieces. */
static size_t ids_of_bytes(const struct bpe *b, const char *text, size_t len,
                           uint32_t *id)
{
    for (size_t i = 0; i < len; i++)
        if (b->byte[(unsigned char)text[i]] == BYTEMAP_NONE)
            return 0;
    for (size_t i = 0; i < len; i++)
        id[i] = b->byte[(unsigned char)text[i]];
    return len;
}

size_t bpe_chars_ids(const struct bpe *b, const char *part, size_t len, uint32_t *id)
{
    bool unknown = false;
    size_t n = 0;

    for (size_t at = 0; at < len;) {
        struct glyph g = glyph_at(part + at, len - at);
        uint32_t piece = bytemap_find(&b->pieces, part + at, g.len);
        size_t bytes = 0;

        if (piece == BYTEMAP_NONE)
            bytes = ids_of_bytes(b, part + at, g.len, id + n);
        at += g.len;
        n += bytes;
        unknown |= piece == BYTEMAP_NONE && bytes == 0;
        if (unknown && (piece != BYTEMAP_NONE || at == len)) {
            id[n++] = b->unknown;
            unknown = false;
        }
        if (piece != BYTEMAP_NONE)
            id[n++] = piece;
    }
    return n;
}

/* ---- where a text can be cut ---------------------------------------------- */

void bpe_chars_join(struct bpe *b, uint32_t left, uint32_t right)
{
    size_t n[2];
    const char *text[] = {bytemap_at(&b->pieces, left, &n[0]),
                          bytemap_at(&b->pieces, right, &n[1])};
    struct glyph x = glyph_before(text[0], n[0]), y = glyph_at(text[1], n[1]);

    *pairmap_put(&b->meet, x.point, y.point) = 0;
}

static bool is_piece(const struct bpe *b, struct glyph g)
{
    return bytemap_find(&b->pieces, g.text, g.len) != BYTEMAP_NONE;
}

/* Unknown characters are one where they stand beside each other, or have bytes between
 * them: a piece of text has to stand at one side. */
static bool may_cut(const struct bpe *b, struct glyph x, struct glyph y)
{
    return pairmap_get(&b->meet, x.point, y.point) == BYTEMAP_NONE &&
           (b->bytes == 256 || is_piece(b, x) || is_piece(b, y));
}

size_t bpe_chars_next(const struct bpe *b, const char *part, size_t len)
{
    struct glyph x = glyph_at(part, len);
    size_t at = x.len;

    while (at < len) {
        struct glyph y = glyph_at(part + at, len - at);

        if (may_cut(b, x, y))
            break;
        at += y.len;
        x = y;
    }
    return at;
}

/* A character as it is joined. */
static struct glyph seen(struct glyph g)
{
    return g.point == ' ' ? (struct glyph){SEEN, SEEN_SIZE, SEEN_POINT} : g;
}

size_t bpe_chars_open(const struct bpe *b, const char *part, size_t len)
{
    size_t at = len;

    while (at > 0) {
        struct glyph y = glyph_before(part, at);

        at -= y.len;
        if (at > 0 && may_cut(b, seen(glyph_before(part, at)), seen(y)))
            break;
    }
    return len - at;
}
