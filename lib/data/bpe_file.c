/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_file.c - vocabularies and lists of merges, read and written.
 *
 * What else a tokenizer.json says is bpe_json.c's to judge.
 */
#include "data/bpe_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "data/bpe_json.h"
#include "data/utf8.h"

/* ---- pieces as text ------------------------------------------------------- */

void bpe_show(const struct bpe *b, uint32_t id, struct buf *out)
{
    size_t len;
    const char *bytes = bytemap_at(&b->pieces, id, &len);
    char glyph[4];

    if (b->spaces || bpe_is_added(b, id)) {
        buf_add(out, bytes, len);
        return;
    }
    for (size_t i = 0; i < len; i++)
        buf_add(out, glyph, utf8_put(bpe_glyph((unsigned char)bytes[i]), glyph));
}

bool bpe_hide(const struct bpe *b, const char *text, size_t len, struct buf *out)
{
    uint32_t point;

    if (b->spaces) {
        buf_add(out, text, len);
        return true;
    }
    for (size_t at = 0, n; at < len; at += n) {
        int byte;

        n = utf8_get(text + at, len - at, &point);
        byte = n ? bpe_byte(point) : -1;
        if (byte < 0)
            return false;
        buf_add(out, &(char){(char)byte}, 1);
    }
    return true;
}

int bpe_check(const struct bpe *b, struct err *e)
{
    for (int i = 0; i < 256 && b->unknown == BYTEMAP_NONE; i++)
        if (b->byte[i] == BYTEMAP_NONE)
            return err_set(e, ERR_SPEC,
                           "wanted all 256 bytes as pieces, found none for 0x%02x", i);
    return 0;
}

/* ---- reading -------------------------------------------------------------- */

/* A piece out of its text, or, where the text is none of the alphabet's or added, as
 * it is; those are added ones.  The first is so with GPT-2's two files alone. */
static int read_piece(struct bpe *b, const struct bpe_row *row, struct err *e)
{
    struct buf bytes = {0};
    uint32_t id = b->pieces.count;
    bool raw = !bpe_hide(b, row->text, strlen(row->text), &bytes) || row->added;
    int rc = raw ? bpe_piece(b, row->text, strlen(row->text), e)
                 : bpe_piece(b, bytes.data, bytes.len, e);

    if (rc == 0 && raw)
        bpe_add(b, id, row->place);
    buf_free(&bytes);
    return rc;
}

int bpe_read_pieces(struct bpe *b, const struct bpe_row *rows, uint32_t from,
                    uint32_t n, struct err *e)
{
    for (uint32_t i = from; i < n; i++) {
        if (!rows[i].text)
            return err_set(e, ERR_SPEC, "wanted ids 0 to %u, each once, found none %u",
                           n - 1, i);
        if (read_piece(b, &rows[i], e) < 0)
            return e->code;
    }
    return bpe_check(b, e);
}

/* The id of a piece out of its text in the alphabet. */
static uint32_t find(const struct bpe *b, const char *text, size_t len)
{
    struct buf bytes = {0};
    uint32_t id = BYTEMAP_NONE;

    if (len && bpe_hide(b, text, len, &bytes))
        id = bytemap_find(&b->pieces, bytes.data, bytes.len);
    buf_free(&bytes);
    return id;
}

static int read_half(const struct bpe *b, const char *text, size_t len, uint32_t *out,
                     struct err *e)
{
    *out = find(b, text, len);
    if (*out == BYTEMAP_NONE)
        return err_set(e, ERR_SPEC,
                       "merge %u: wanted a piece of the vocabulary, found \"%.*s\"",
                       b->merges, len > 64 ? 64 : (int)len, text);
    return 0;
}

int bpe_read_merge(struct bpe *b, const char *left, size_t nleft, const char *right,
                   size_t nright, struct err *e)
{
    uint32_t id[2];

    if (read_half(b, left, nleft, &id[0], e) < 0 ||
        read_half(b, right, nright, &id[1], e) < 0)
        return e->code;
    return bpe_join(b, id[0], id[1], e);
}

int bpe_read_line(struct bpe *b, const char *line, size_t len, struct err *e)
{
    const char *space = memchr(line, ' ', len);
    size_t n = space ? (size_t)(space - line) : 0;

    if (n == 0 || n + 1 == len || memchr(space + 1, ' ', len - n - 1))
        return err_set(e, ERR_SPEC,
                       "merge %u: wanted two pieces with a space between, found "
                       "\"%.*s\"",
                       b->merges, len > 64 ? 64 : (int)len, line);
    return bpe_read_merge(b, line, n, space + 1, len - n - 1, e);
}

static int read_merges(struct bpe *b, const struct bpe_text *t, struct err *e)
{
    unsigned line = 1;

    for (size_t at = 0, n; at < t->len; at += n + 1, line++) {
        const char *end = memchr(t->data + at, '\n', t->len - at);
        size_t len;

        n = len = end ? (size_t)(end - t->data) - at : t->len - at;
        if (len && t->data[at + len - 1] == '\r')
            len--;
        if (line == 1 && len >= 8 && memcmp(t->data, "#version", 8) == 0)
            continue;
        if (len == 0 && at + n + 1 >= t->len)
            break; /* blank at the end */
        if (bpe_read_line(b, t->data + at, len, e) < 0)
            return err_prefix(e, "%s:%u", t->name, line);
    }
    return 0;
}

/* Longer pieces that no merge makes are found in the text as they are. */
static void add_unmade(struct bpe *b)
{
    bool *made = calloc(b->pieces.count, sizeof *made);

    for (uint32_t i = 0; made && i < b->merges; i++)
        made[b->merge[i].result] = true;
    for (uint32_t i = 0; made && i < b->pieces.count; i++) {
        size_t len;
        const char *text = bytemap_at(&b->pieces, i, &len);

        if (len > 1 && !made[i] && !bpe_is_added(b, i) && str_is_utf8(text, len))
            bpe_add(b, i, BPE_RAW);
    }
    free(made);
}

int bpe_read_gpt2(const struct bpe_text *vocab, const struct bpe_text *merges,
                  struct bpe **out, struct err *e)
{
    struct bpe *b = bpe_create(PRETOKEN_GPT2);
    int rc = bpe_json_vocab(b, vocab, e);

    if (rc == 0)
        rc = read_merges(b, merges, e);
    if (rc < 0) {
        bpe_destroy(b);
        return rc;
    }
    add_unmade(b);
    *out = b;
    return 0;
}
