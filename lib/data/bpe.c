/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe.c - pieces, merges, and a text's ids.
 *
 * Joining keeps a heap of the merges that are possible now, so that a part of any
 * length takes n log n steps.
 */
#include "data/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/oom.h"
#include "data/bpe_chars.h"
#include "data/nfc.h"
#include "data/utf8.h"

struct bpe *bpe_create(enum pretoken_rule rule)
{
    struct bpe *b = oom_calloc(1, sizeof *b);

    b->rule = rule;
    b->unknown = BYTEMAP_NONE;
    for (int i = 0; i < 256; i++)
        b->byte[i] = BYTEMAP_NONE;
    return b;
}

void bpe_destroy(struct bpe *b)
{
    if (!b)
        return;
    bytemap_free(&b->pieces);
    pairmap_free(&b->rank);
    pairmap_free(&b->meet);
    free(b->merge);
    for (int k = 0; k < BPE_PLACES; k++) {
        for (uint32_t i = 0; i < b->added[k].n; i++)
            free(b->added[k].find[i].text);
        free(b->added[k].find);
    }
    free(b);
}

/* The byte that a piece is: over characters it is named, <0x0A>. */
static bool byte_of(const struct bpe *b, const char *piece, size_t len,
                    unsigned char *byte)
{
    if (b->spaces)
        return bpe_chars_byte(piece, len, byte);
    *byte = (unsigned char)piece[0];
    return len == 1;
}

int bpe_piece(struct bpe *b, const void *bytes, size_t len, struct err *e)
{
    uint32_t before = b->pieces.count;
    unsigned char byte;

    if (len == 0)
        return err_set(e, ERR_SPEC, "wanted text as piece %u, found none", before);
    if (bytemap_add(&b->pieces, bytes, len) != before)
        return err_set(e, ERR_SPEC, "wanted each piece once, found \"%.*s\" twice",
                       len > 64 ? 64 : (int)len, (const char *)bytes);
    if (byte_of(b, bytes, len, &byte)) {
        b->byte[byte] = before;
        b->bytes++;
    }
    return 0;
}

/* The piece that two make together. */
static uint32_t together(const struct bpe *b, uint32_t left, uint32_t right)
{
    size_t n[2];
    const char *text[] = {bytemap_at(&b->pieces, left, &n[0]),
                          bytemap_at(&b->pieces, right, &n[1])};
    struct buf both = {0};
    uint32_t id;

    buf_add(&both, text[0], n[0]);
    buf_add(&both, text[1], n[1]);
    id = bytemap_find(&b->pieces, both.data, both.len);
    buf_free(&both);
    return id;
}

/* Over characters what is not text is joined with nothing, so that it is known from the
 * text alone where it can be cut. */
static int check_half(const struct bpe *b, uint32_t id, struct err *e)
{
    unsigned char byte;
    size_t len;
    const char *piece = bytemap_at(&b->pieces, id, &len);

    if (!b->spaces || (id != b->unknown && !byte_of(b, piece, len, &byte)))
        return 0;
    return err_set(e, ERR_SPEC, "merge %u: wanted pieces of text, found \"%.*s\"",
                   b->merges, len > 64 ? 64 : (int)len, piece);
}

int bpe_join(struct bpe *b, uint32_t left, uint32_t right, struct err *e)
{
    uint32_t result, *rank;

    if (left >= b->pieces.count || right >= b->pieces.count)
        return err_set(e, ERR_SPEC, "merge %u: wanted two of the %u pieces", b->merges,
                       b->pieces.count);
    if (check_half(b, left, e) < 0 || check_half(b, right, e) < 0)
        return e->code;
    result = together(b, left, right);
    if (result == BYTEMAP_NONE)
        return err_set(e, ERR_SPEC,
                       "merge %u: wanted a piece that is both together, found none",
                       b->merges);
    rank = pairmap_put(&b->rank, left, right);
    if (*rank != BYTEMAP_NONE)
        return err_set(e, ERR_SPEC, "merge %u: wanted it once, found it as merge %u",
                       b->merges, *rank);
    *rank = b->merges;
    if (b->spaces)
        bpe_chars_join(b, left, right);
    if (b->merges == b->merges_cap) {
        b->merges_cap = b->merges_cap ? 2 * b->merges_cap : 256;
        b->merge = oom_realloc(b->merge, b->merges_cap * sizeof *b->merge);
    }
    b->merge[b->merges++] = (struct bpe_merge){left, right, result};
    return 0;
}

void bpe_add(struct bpe *b, uint32_t id, enum bpe_place place)
{
    struct bpe_added *a = &b->added[place];
    struct buf text = {0};
    uint32_t at = a->n;
    size_t len;
    const char *piece = bytemap_at(&b->pieces, id, &len);

    if (b->nfc && place == BPE_NORMAL)
        nfc_add(piece, len, &text);
    else if (b->spaces == BPE_SPACES_EACH && place == BPE_NORMAL)
        bpe_chars_write(b, BPE_NOTHING, piece, len, &text);
    else
        buf_add(&text, piece, len);
    a->find = oom_realloc(a->find, (a->n + 1) * sizeof *a->find);
    for (; at > 0 && a->find[at - 1].len < text.len; at--)
        a->find[at] = a->find[at - 1];
    a->find[at] = (struct bpe_find){id, text.data, text.len};
    a->n++;
    a->begins[(unsigned char)text.data[0]] = true;
}

enum bpe_place bpe_added_place(const struct bpe *b, uint32_t id)
{
    for (enum bpe_place place = 0; place < BPE_PLACES; place++)
        for (uint32_t i = 0; i < b->added[place].n; i++)
            if (b->added[place].find[i].id == id)
                return place;
    return BPE_PLACES;
}

bool bpe_is_added(const struct bpe *b, uint32_t id)
{
    return bpe_added_place(b, id) < BPE_PLACES;
}

const char *bpe_written(const struct bpe *b, uint32_t id, size_t *len)
{
    const struct bpe_added *a = &b->added[BPE_NORMAL];

    for (uint32_t i = 0; i < a->n; i++)
        if (a->find[i].id == id) {
            *len = a->find[i].len;
            return a->find[i].text;
        }
    return bytemap_at(&b->pieces, id, len);
}

/* ---- one part of a text --------------------------------------------------- */

/* The symbols of a part as a list, and the merges that are possible between a symbol
 * and the next. */
struct joining {
    uint32_t *id, *next, *prev; /* [cap] */
    uint32_t *rank;             /* [cap]: of symbol and next; or BYTEMAP_NONE */
    uint64_t *heap;             /* [3 cap]: rank, then place; the least first */
    size_t cap, heaped;
};

static void joining_reserve(struct joining *j, size_t n)
{
    if (n <= j->cap)
        return;
    j->cap = n < 64 ? 64 : 2 * n;
    j->id = oom_realloc(j->id, j->cap * sizeof *j->id);
    j->next = oom_realloc(j->next, j->cap * sizeof *j->next);
    j->prev = oom_realloc(j->prev, j->cap * sizeof *j->prev);
    j->rank = oom_realloc(j->rank, j->cap * sizeof *j->rank);
    j->heap = oom_realloc(j->heap, 3 * j->cap * sizeof *j->heap);
}

static void joining_free(struct joining *j)
{
    free(j->id);
    free(j->next);
    free(j->prev);
    free(j->rank);
    free(j->heap);
}

static void heap_push(struct joining *j, uint64_t key)
{
    size_t i = j->heaped++;

    for (; i > 0 && j->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        j->heap[i] = j->heap[(i - 1) / 2];
    j->heap[i] = key;
}

static uint64_t heap_pop(struct joining *j)
{
    uint64_t least = j->heap[0], last = j->heap[--j->heaped];
    size_t i = 0;

    for (size_t k; (k = 2 * i + 1) < j->heaped; i = k) {
        k += k + 1 < j->heaped && j->heap[k + 1] < j->heap[k];
        if (j->heap[k] >= last)
            break;
        j->heap[i] = j->heap[k];
    }
    j->heap[i] = last;
    return least;
}

/* Symbol i and the next: is there a merge? */
static void look(const struct bpe *b, struct joining *j, uint32_t i)
{
    uint32_t next = j->next[i];

    j->rank[i] =
        next == BYTEMAP_NONE || j->id[i] == BYTEMAP_NONE || j->id[next] == BYTEMAP_NONE
            ? BYTEMAP_NONE
            : pairmap_get(&b->rank, j->id[i], j->id[next]);
    if (j->rank[i] != BYTEMAP_NONE)
        heap_push(j, (uint64_t)j->rank[i] << 32 | i);
}

/* Symbol i becomes what it and the next are together. */
static void join(const struct bpe *b, struct joining *j, uint32_t i)
{
    uint32_t gone = j->next[i];

    j->id[i] = b->merge[j->rank[i]].result;
    j->next[i] = j->next[gone];
    if (j->next[i] != BYTEMAP_NONE)
        j->prev[j->next[i]] = i;
    j->rank[gone] = BYTEMAP_NONE;
    look(b, j, i);
    if (j->prev[i] != BYTEMAP_NONE)
        look(b, j, j->prev[i]);
}

static size_t ids_of_bytes(const struct bpe *b, const char *text, size_t len,
                           uint32_t *id)
{
    for (size_t i = 0; i < len; i++)
        id[i] = b->byte[(unsigned char)text[i]];
    return len;
}

static void begin(const struct bpe *b, struct joining *j, const char *text, size_t len)
{
    size_t n;

    joining_reserve(j, len);
    j->heaped = 0;
    n = b->spaces ? bpe_chars_ids(b, text, len, j->id)
                  : ids_of_bytes(b, text, len, j->id);
    for (uint32_t i = 0; i < n; i++) {
        j->prev[i] = i ? i - 1 : BYTEMAP_NONE;
        j->next[i] = i + 1 < n ? i + 1 : BYTEMAP_NONE;
    }
    for (uint32_t i = 0; i < n; i++)
        look(b, j, i);
}

/* A text that is being encoded. */
struct encoding {
    const struct bpe *b;
    struct joining j;
    struct buf normal, part; /* as the text is cut, and as a part of that is */
    enum bpe_before before;  /* what stands before the next part */
    bpe_id_f *put;
    void *arg;
};

static void encode_part(struct encoding *x, const char *text, size_t len)
{
    const struct bpe *b = x->b;
    struct joining *j = &x->j;
    uint32_t whole = b->whole ? bytemap_find(&b->pieces, text, len) : BYTEMAP_NONE;

    if (whole != BYTEMAP_NONE) {
        x->put(x->arg, whole);
        return;
    }
    begin(b, j, text, len);
    while (j->heaped) {
        uint64_t key = heap_pop(j);

        if (j->rank[(uint32_t)key] == key >> 32)
            join(b, j, (uint32_t)key);
    }
    for (uint32_t i = 0; i != BYTEMAP_NONE; i = j->next[i])
        x->put(x->arg, j->id[i]);
}

/* ---- the text ------------------------------------------------------------- */

/* The added piece that text begins with, or NULL. */
static const struct bpe_find *added_at(const struct bpe_added *a, const char *text,
                                       size_t len)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct bpe_find *f = &a->find[i];

        if (f->len <= len && memcmp(f->text, text, f->len) == 0)
            return f;
    }
    return NULL;
}

/* How many bytes stand before the first added piece, which *found is, or len. */
static size_t until_added(const struct bpe_added *a, const char *text, size_t len,
                          const struct bpe_find **found)
{
    *found = NULL;
    if (a->n == 0)
        return len;
    for (size_t at = 0; at < len; at++)
        if (a->begins[(unsigned char)text[at]] &&
            (*found = added_at(a, text + at, len - at)) != NULL)
            return at;
    return len;
}

/* The end of the last added piece; 0: there is none. */
static size_t behind_added(const struct bpe_added *a, const char *text, size_t len)
{
    size_t at = 0;

    for (;;) {
        const struct bpe_find *f;
        size_t n = until_added(a, text + at, len - at, &f);

        if (!f)
            return at;
        at += n + f->len;
    }
}

/* A part has at most 2^30 bytes: more of one kind of character is cut there. */
#define PART_MAX ((size_t)1 << 30)

/* What stands between added pieces. */
static void encode_between(struct encoding *x, const char *text, size_t len)
{
    const struct bpe *b = x->b;

    if (b->spaces == BPE_SPACES_FIRST || b->spaces == BPE_SPACES_PARTS) {
        buf_clear(&x->part);
        bpe_chars_write(b, x->before, text, len, &x->part);
        text = x->part.data;
        len = x->part.len;
    }
    for (size_t at = 0, n; at < len; at += n) {
        n = b->spaces ? bpe_chars_next(b, text + at, len - at)
                      : pretoken_next(b->rule, text + at, len - at);
        n = n < PART_MAX ? n : PART_MAX;
        encode_part(x, text + at, n);
    }
}

static size_t encode_added(struct encoding *x, const struct bpe_find *f)
{
    if (!f)
        return 0;
    x->put(x->arg, f->id);
    x->before = BPE_ADDED;
    return f->len;
}

/* A text as it is cut. */
static void encode_normal(struct encoding *x, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        const struct bpe_find *f;
        size_t n = until_added(&x->b->added[BPE_NORMAL], text + at, len - at, &f);

        encode_between(x, text + at, n);
        at += n;
        at += encode_added(x, f);
    }
}

/* A text without the pieces that are found in it as it is. */
static void encode_raw(struct encoding *x, const char *text, size_t len)
{
    const struct bpe *b = x->b;

    if (!b->nfc && b->spaces != BPE_SPACES_EACH) {
        encode_normal(x, text, len);
        return;
    }
    buf_clear(&x->normal);
    if (b->nfc)
        nfc_add(text, len, &x->normal);
    else
        bpe_chars_write(b, x->before, text, len, &x->normal);
    encode_normal(x, x->normal.data, x->normal.len);
}

bool bpe_lacks(const struct bpe *b)
{
    return b->unknown != BYTEMAP_NONE && b->bytes < 256;
}

/* Over characters: U+2581 where there is no such piece, and one in front of each. */
enum { SPACES_GROWTH = 6 };

size_t bpe_most(const struct bpe *b, size_t len)
{
    return b->spaces ? SPACES_GROWTH * len : b->nfc ? NFC_GROWTH * len : len;
}

void bpe_encode(const struct bpe *b, const char *text, size_t len, bool more,
                bpe_id_f *put, void *arg)
{
    struct encoding x = {
        .b = b, .before = more ? BPE_TEXT : BPE_NOTHING, .put = put, .arg = arg};

    for (size_t at = 0; at < len;) {
        const struct bpe_find *f;
        size_t n = until_added(&b->added[BPE_RAW], text + at, len - at, &f);

        encode_raw(&x, text + at, n);
        at += n;
        at += encode_added(&x, f);
    }
    joining_free(&x.j);
    buf_free(&x.normal);
    buf_free(&x.part);
}

/* ---- what waits for more -------------------------------------------------- */

/* A text and its NFC side by side, character after character that begins anew. */
struct abreast {
    const char *text;
    size_t len;
    size_t at, normal; /* how far, in the text and in its NFC */
    size_t from;       /* where in NFC cuts are counted from  */
    size_t cut;        /* of the text: the last that was asked for and is one */
    struct buf part;
};

/* The next place behind `at` where a character begins anew, or len. */
static size_t next_begin(const char *text, size_t len, size_t at)
{
    uint32_t point;
    size_t n = utf8_get(text + at, len - at, &point);

    do {
        at += n ? n : 1;
        n = at < len ? utf8_get(text + at, len - at, &point) : 0;
    } while (at < len && !(n && nfc_begins(point)));
    return at;
}

static bool may_cut(void *arg, size_t at)
{
    struct abreast *a = arg;

    at += a->from;
    while (a->normal < at && a->at < a->len) {
        size_t end = next_begin(a->text, a->len, a->at);

        buf_clear(&a->part);
        nfc_add(a->text + a->at, end - a->at, &a->part);
        a->at = end;
        a->normal += a->part.len;
    }
    if (a->normal == at)
        a->cut = a->at;
    return a->normal == at;
}

/* Where the last character begins anew: what stands before it is what it is in NFC,
 * whatever follows. */
static size_t last_begin(const char *text, size_t len)
{
    uint32_t point;
    size_t at = len;

    while (at > 0) {
        size_t n = utf8_get(text + at - 1, len - at + 1, &point);

        at--;
        if (n && nfc_begins(point))
            break;
    }
    return at;
}

/* A text can be cut where its NFC is cut and a character begins anew. */
static size_t open_nfc(const struct bpe *b, const char *text, size_t len)
{
    struct abreast a = {.text = text, .len = last_begin(text, len)};
    struct buf nfc = {0};

    if (b->rule == PRETOKEN_NONE)
        return 0;
    buf_puts(&nfc, "");
    nfc_add(text, a.len, &nfc);
    a.from = behind_added(&b->added[BPE_NORMAL], nfc.data, nfc.len);
    may_cut(&a, 0);
    pretoken_open(b->rule, nfc.data + a.from, nfc.len - a.from, may_cut, &a);
    buf_free(&nfc);
    buf_free(&a.part);
    return len - a.cut > PRETOKEN_OPEN_MAX ? 0 : len - a.cut;
}

/* A cut stands within the text that it cuts: behind an added piece another one in front
 * would be missed. */
static size_t open_chars(const struct bpe *b, const char *text, size_t len)
{
    size_t at = behind_added(&b->added[BPE_RAW], text, len), open, n;

    if (b->spaces != BPE_SPACES_EACH) {
        at += behind_added(&b->added[BPE_NORMAL], text + at, len - at);
    } else if (b->added[BPE_NORMAL].n) {
        struct buf seen = {0};

        bpe_chars_write(b, BPE_NOTHING, text + at, len - at, &seen);
        n = behind_added(&b->added[BPE_NORMAL], seen.data, seen.len);
        at = len - bpe_chars_behind(text + at, len - at, seen.len - n);
        buf_free(&seen);
    }
    open = bpe_chars_open(b, text + at, len - at);
    if (open == len - at)
        open = len;
    return open > PRETOKEN_OPEN_MAX ? 0 : open;
}

size_t bpe_open(const struct bpe *b, const char *text, size_t len)
{
    size_t at;

    if (b->spaces)
        return open_chars(b, text, len);
    at = behind_added(&b->added[BPE_RAW], text, len);
    if (b->nfc)
        return open_nfc(b, text + at, len - at);
    at += behind_added(&b->added[BPE_NORMAL], text + at, len - at);
    return pretoken_open(b->rule, text + at, len - at, NULL, NULL);
}

/* ---- GPT-2's alphabet ----------------------------------------------------- */

/* Runs of bytes that are not shown as themselves, and what the first is shown as. */
static const struct {
    unsigned char first, last;
    uint32_t point;
} hidden[] = {{0, 32, 0x100}, {127, 160, 0x121}, {173, 173, 0x143}};

enum { HIDDEN = sizeof hidden / sizeof hidden[0] };

uint32_t bpe_glyph(unsigned char byte)
{
    for (int i = 0; i < HIDDEN; i++)
        if (byte >= hidden[i].first && byte <= hidden[i].last)
            return hidden[i].point + byte - hidden[i].first;
    return byte;
}

int bpe_byte(uint32_t point)
{
    for (int i = 0; i < HIDDEN; i++) {
        uint32_t last = hidden[i].point + hidden[i].last - hidden[i].first;

        if (point >= hidden[i].point && point <= last)
            return (int)(hidden[i].first + point - hidden[i].point);
    }
    return point < 256 && bpe_glyph((unsigned char)point) == point ? (int)point : -1;
}

void bpe_bytes(struct bpe *b)
{
    for (uint32_t point = 0; b->pieces.count < 256; point++) {
        int found = bpe_byte(point);
        unsigned char byte = (unsigned char)found;

        if (found >= 0)
            bpe_piece(b, &byte, 1, NULL);
    }
}
