/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_bpe.c - BPE (bpe.h) as a kind: over bytes, learned from the text, or out of
 * files of others.
 *
 * As JSON it is its pieces in the order of their ids, in GPT-2's alphabet, but for the
 * added ones and those of characters; merges as ids, two by two.  That a text is cut in
 * NFC, which added ones are found as it is cut, how spaces are written, and which one
 * is unknown, is said where it is so.
 */
#include <stdlib.h>
#include <string.h>

#include "data/bpe_chars.h"
#include "data/bpe_file.h"
#include "data/bpe_train.h"
#include "data/tokenizer_kind.h"

struct bpe_kind {
    struct bpe_train *train; /* until seal */
    struct bpe *bpe;         /* from then on */
    uint32_t pieces, min_count;
};

static void kind_destroy(void *self)
{
    struct bpe_kind *k = self;

    if (!k)
        return;
    bpe_train_destroy(k->train);
    bpe_destroy(k->bpe);
    free(k);
}

static void *kind_create(const struct tokenizer_config *config)
{
    struct bpe_kind *k = calloc(1, sizeof *k);
    uint32_t marks = config->marks ? TOKEN_MARKS : 0;

    if (!k)
        return NULL;
    k->pieces = config->vocab_size > marks ? config->vocab_size - marks : 0;
    k->min_count = config->min_count;
    k->train = bpe_train_create(PRETOKEN_GPT2);
    return k;
}

void *tokenizer_bpe_self(struct bpe *b)
{
    struct bpe_kind *k = calloc(1, sizeof *k);

    if (k)
        k->bpe = b;
    else
        bpe_destroy(b);
    return k;
}

static void kind_learn(void *self, const char *text, size_t len)
{
    bpe_train_text(((struct bpe_kind *)self)->train, text, len);
}

static int kind_seal(void *self, struct err *e)
{
    struct bpe_kind *k = self;
    int rc = bpe_train_learn(k->train, k->pieces, k->min_count, &k->bpe, e);

    bpe_train_destroy(k->train);
    k->train = NULL;
    return rc;
}

static uint32_t kind_vocab(const void *self)
{
    return ((const struct bpe_kind *)self)->bpe->pieces.count;
}

static bool kind_lacks(const void *self, bool marks)
{
    (void)marks;
    return bpe_lacks(((const struct bpe_kind *)self)->bpe);
}

struct putting {
    const struct tokenizer_ids *out;
    uint32_t refused;  /* BYTEMAP_NONE: none           */
    size_t count, bad; /* tokens; the first refused one */
};

static void put_id(void *arg, uint32_t id)
{
    struct putting *p = arg;

    tokenizer_put(p->out, id);
    p->count++;
    if (id == p->refused && p->bad == 0)
        p->bad = p->count;
}

static int kind_encode(const void *self, const char *text, size_t len,
                       const struct tokenizer_ids *out, struct err *e)
{
    const struct bpe_kind *k = self;
    struct putting p = {out, BYTEMAP_NONE, 0, 0};

    if (tokens_reserve(out->tokens, bpe_most(k->bpe, len), e) < 0)
        return e->code;
    if (out->strict && bpe_lacks(k->bpe))
        p.refused = k->bpe->unknown;
    bpe_encode(k->bpe, text, len, out->more, put_id, &p);
    return p.bad ? err_set(e, ERR_SPEC,
                           "token %zu of the text is unknown to the tokenizer", p.bad)
                 : ERR_OK;
}

static size_t kind_open(const void *self, const char *text, size_t len)
{
    return bpe_open(((const struct bpe_kind *)self)->bpe, text, len);
}

static void kind_decode(const void *self, uint32_t id, struct buf *out)
{
    const struct bpe *b = ((const struct bpe_kind *)self)->bpe;
    size_t len;
    const char *text =
        b->spaces ? bpe_written(b, id, &len) : bytemap_at(&b->pieces, id, &len);

    if (b->spaces)
        bpe_chars_text(text, len, out);
    else
        buf_add(out, text, len);
}

/* Over characters the space in front is no part of the text. */
static int kind_decode_all(const void *self, const uint32_t *ids, size_t n,
                           struct buf *out, struct err *e)
{
    struct buf text = {0};
    size_t front;

    (void)e;
    for (size_t i = 0; i < n; i++)
        if (ids[i] == UINT32_MAX)
            buf_puts(&text, "<unk>");
        else
            kind_decode(self, ids[i], &text);
    front =
        ((const struct bpe_kind *)self)->bpe->spaces && text.len && text.data[0] == ' ';
    buf_add(out, text.data ? text.data + front : "", text.len - front);
    buf_free(&text);
    return ERR_OK;
}

/* ---- saving and loading --------------------------------------------------- */

static const char *const spaces_name[BPE_SPACES] = {
    [BPE_SPACES_EACH] = "each",
    [BPE_SPACES_FIRST] = "first",
    [BPE_SPACES_PARTS] = "parts",
};

static json_t *pieces_json(const struct bpe *b)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < b->pieces.count; i++) {
        struct buf text = {0};

        bpe_show(b, i, &text);
        json_array_append_new(list, json_stringn(text.data, text.len));
        buf_free(&text);
    }
    return list;
}

static json_t *merges_json(const struct bpe *b)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < b->merges; i++) {
        json_array_append_new(list, json_integer(b->merge[i].left));
        json_array_append_new(list, json_integer(b->merge[i].right));
    }
    return list;
}

/* Added pieces that are found in the text as it is, those found as it is cut, or all.
 * By rising ids, so that the same pieces are the same bytes. */
static json_t *added_json(const struct bpe *b, bool raw, bool normal)
{
    const bool wanted[] = {
        [BPE_RAW] = raw, [BPE_NORMAL] = normal, [BPE_PLACES] = false};
    json_t *list = json_array();

    for (uint32_t i = 0; i < b->pieces.count; i++)
        if (wanted[bpe_added_place(b, i)])
            json_array_append_new(list, json_integer(i));
    return list;
}

static int kind_save(const void *self, json_t *object, struct err *e)
{
    const struct bpe *b = ((const struct bpe_kind *)self)->bpe;
    int rc = json_object_set_new(object, "pieces", pieces_json(b));

    rc |= json_object_set_new(object, "merges", merges_json(b));
    rc |= json_object_set_new(object, "added", added_json(b, true, true));
    if (b->nfc)
        rc |= json_object_set_new(object, "nfc", json_true());
    if (b->added[BPE_NORMAL].n)
        rc |= json_object_set_new(object, "normal", added_json(b, false, true));
    if (b->spaces)
        rc |=
            json_object_set_new(object, "spaces", json_string(spaces_name[b->spaces]));
    if (b->unknown != BYTEMAP_NONE)
        rc |= json_object_set_new(object, "unknown", json_integer(b->unknown));
    rc |= json_object_set_new(object, "rule", json_string(pretoken_name[b->rule]));
    rc |= json_object_set_new(object, "whole", json_boolean(b->whole));
    return rc ? err_set(e, ERR_NOMEM, "tokenizer bpe: no memory") : ERR_OK;
}

/* A number of the list, below `end`. */
static int read_id(const json_t *list, size_t i, const char *what, uint32_t end,
                   uint32_t *out, struct err *e)
{
    const json_t *j = json_array_get(list, i);

    if (!json_is_integer(j) || json_integer_value(j) < 0 ||
        json_integer_value(j) >= end)
        return err_set(e, ERR_SPEC, "%s[%zu]: wanted an id below %u", what, i, end);
    *out = (uint32_t)json_integer_value(j);
    return 0;
}

static int load_rule(struct bpe *b, const json_t *object, struct err *e)
{
    const char *name = json_string_value(json_object_get(object, "rule"));
    const json_t *whole = json_object_get(object, "whole");
    const json_t *nfc = json_object_get(object, "nfc");

    if (nfc && !json_is_true(nfc))
        return err_set(e, ERR_SPEC, "wanted true for \"nfc\", or nothing");
    b->whole = json_is_true(whole);
    b->nfc = nfc != NULL;
    for (int i = 0; name && json_is_boolean(whole) && i < PRETOKEN_RULES; i++)
        if (strcmp(pretoken_name[i], name) == 0) {
            b->rule = (enum pretoken_rule)i;
            return 0;
        }
    return err_set(e, ERR_SPEC, "wanted a \"rule\", and \"whole\" true or false");
}

/* Of pieces of characters, of which there are `n`: how spaces are written, and which
 * one is unknown. */
static int load_spaces(struct bpe *b, const json_t *object, size_t n, struct err *e)
{
    const json_t *spaces = json_object_get(object, "spaces");
    const json_t *unknown = json_object_get(object, "unknown");
    const char *name = json_string_value(spaces);

    for (enum bpe_spaces k = BPE_SPACES_EACH; name && k < BPE_SPACES; k++)
        if (strcmp(spaces_name[k], name) == 0)
            b->spaces = k;
    if ((spaces || unknown) && (!b->spaces || b->nfc || b->rule != PRETOKEN_NONE))
        return err_set(e, ERR_SPEC,
                       "wanted \"spaces\" each, first or parts, and rule none");
    if (unknown && (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
                    json_integer_value(unknown) >= (json_int_t)n))
        return err_set(e, ERR_SPEC, "wanted an id below %zu as \"unknown\"", n);
    if (unknown)
        b->unknown = (uint32_t)json_integer_value(unknown);
    return 0;
}

/* place[n]: where those are found that are added. */
static int load_pieces(struct bpe *b, const json_t *list, const enum bpe_place *place,
                       struct err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        const char *text = json_string_value(j);
        bool added = place[i] < BPE_PLACES;
        struct buf bytes = {0};
        int rc;

        if (added && text)
            rc = bpe_piece(b, text, json_string_length(j), e);
        else if (text && bpe_hide(b, text, json_string_length(j), &bytes))
            rc = bpe_piece(b, bytes.data, bytes.len, e);
        else
            rc =
                err_set(e, ERR_SPEC, "pieces[%zu]: wanted text of GPT-2's alphabet", i);
        buf_free(&bytes);
        if (rc < 0)
            return rc;
        if (added)
            bpe_add(b, (uint32_t)i, place[i]);
    }
    return bpe_check(b, e);
}

/* The ids of a list are found in this place, and were in that one before. */
static int load_places(const json_t *list, const char *what, size_t n,
                       enum bpe_place from, enum bpe_place to, enum bpe_place *place,
                       struct err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint32_t id;

        if (read_id(list, i, what, (uint32_t)n, &id, e) < 0)
            return e->code;
        if (place[id] != from)
            return err_set(e, ERR_SPEC, "%s[%zu]: wanted %s id, found %u", what, i,
                           from == BPE_PLACES ? "another" : "an added", id);
        place[id] = to;
    }
    return 0;
}

static int load_added(struct bpe *b, const json_t *object, struct err *e)
{
    const json_t *pieces = json_object_get(object, "pieces");
    const json_t *added = json_object_get(object, "added");
    const json_t *normal = json_object_get(object, "normal");
    size_t n = json_array_size(pieces);
    enum bpe_place *place = calloc(n + 1, sizeof *place);
    int rc = place ? 0 : err_set(e, ERR_NOMEM, "no memory for %zu pieces", n);

    if (rc == 0 &&
        (n > INT32_MAX || !json_is_array(added) || (normal && !json_is_array(normal))))
        rc = err_set(e, ERR_SPEC,
                     "wanted arrays \"pieces\" and \"added\", and \"normal\" if any");
    if (rc == 0)
        rc = load_spaces(b, object, n, e);
    for (size_t i = 0; rc == 0 && i < n; i++)
        place[i] = BPE_PLACES;
    if (rc == 0)
        rc = load_places(added, "added", n, BPE_PLACES, BPE_RAW, place, e);
    if (rc == 0)
        rc = load_places(normal, "normal", n, BPE_RAW, BPE_NORMAL, place, e);
    if (rc == 0)
        rc = load_pieces(b, pieces, place, e);
    free(place);
    return rc;
}

static int load_merges(struct bpe *b, const json_t *list, struct err *e)
{
    if (!json_is_array(list) || json_array_size(list) % 2)
        return err_set(e, ERR_SPEC, "wanted an array \"merges\" of pairs of ids");
    for (size_t i = 0; i < json_array_size(list); i += 2) {
        uint32_t id[2];

        if (read_id(list, i, "merges", b->pieces.count, &id[0], e) < 0 ||
            read_id(list, i + 1, "merges", b->pieces.count, &id[1], e) < 0 ||
            bpe_join(b, id[0], id[1], e) < 0)
            return e->code;
    }
    return 0;
}

static int kind_load(void *self, const json_t *object, struct err *e)
{
    struct bpe_kind *k = self;
    struct bpe *b = bpe_create(PRETOKEN_GPT2);
    int rc = load_rule(b, object, e);

    if (rc == 0)
        rc = load_added(b, object, e);
    if (rc == 0)
        rc = load_merges(b, json_object_get(object, "merges"), e);
    if (rc < 0) {
        bpe_destroy(b);
        return err_prefix(e, "tokenizer bpe");
    }
    bpe_train_destroy(k->train);
    k->train = NULL;
    k->bpe = b;
    return ERR_OK;
}

/* A copy, by the way of its JSON's parts. */
static struct bpe *kind_as_bpe(const void *self)
{
    const struct bpe *from = ((const struct bpe_kind *)self)->bpe;
    struct bpe *b = bpe_create(from->rule);
    size_t len;

    b->whole = from->whole;
    b->nfc = from->nfc;
    b->spaces = from->spaces;
    b->unknown = from->unknown;
    for (uint32_t i = 0; i < from->pieces.count; i++) {
        const char *bytes = bytemap_at(&from->pieces, i, &len);
        enum bpe_place place = bpe_added_place(from, i);

        bpe_piece(b, bytes, len, NULL);
        if (place < BPE_PLACES)
            bpe_add(b, i, place);
    }
    for (uint32_t i = 0; i < from->merges; i++)
        bpe_join(b, from->merge[i].left, from->merge[i].right, NULL);
    return b;
}

static const char *const may_have[] = {"nfc", "normal", "spaces", "unknown", NULL};

const struct tokenizer_kind tokenizer_bpe = {
    .name = "bpe",
    .create = kind_create,
    .destroy = kind_destroy,
    .learn = kind_learn,
    .seal = kind_seal,
    .vocab = kind_vocab,
    .encode = kind_encode,
    .lacks = kind_lacks,
    .open = kind_open,
    .decode = kind_decode,
    .decode_all = kind_decode_all,
    .save = kind_save,
    .load = kind_load,
    .members = 5,
    .may_have = may_have,
    .as_bpe = kind_as_bpe,
};
