/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_json_chars.c - the parts of a tokenizer.json whose pieces are of characters, as
 * transformers writes them for Llama 2 and Mistral.
 */
#include <string.h>

#include "data/bpe_chars.h"
#include "data/bpe_json.h"
#include "data/bpe_part.h"
#include "data/utf8.h"

#define SEEN    "\"\u2581\""
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":"
#define META(scheme)                                                                   \
    "{\"type\":\"Metaspace\",\"replacement\":" SEEN ",\"prepend_scheme\":\"" scheme    \
    "\",\"split\":false}"

/* The two parts that make U+2581 of spaces. */
static const struct form {
    const char *normalizer, *pre_tokenizer;
} forms[BPE_SPACES] = {
    [BPE_SPACES_BYTES] = {"null", "null"},
    [BPE_SPACES_EACH] = {"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":"
                         "\"Prepend\",\"prepend\":" SEEN "}," REPLACE
                         "\" \"},\"content\":" SEEN "}]}",
                         "null"},
    [BPE_SPACES_FIRST] = {"null", META("first")},
    [BPE_SPACES_PARTS] = {"null", META("always")},
};

static const char decoder_form[] =
    "{\"type\":\"Sequence\",\"decoders\":[" REPLACE SEEN
    "},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":"
    "\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}";

static json_t *part_of(const char *form)
{
    return json_loads(form, JSON_DECODE_ANY, NULL);
}

static bool is_form(const json_t *j, const char *form)
{
    json_t *want = part_of(form);
    bool same = json_equal(j ? j : json_null(), want) != 0;

    json_decref(want);
    return same;
}

/* ---- reading -------------------------------------------------------------- */

#define BESIDE "is not supported beside byte_fallback"

static const struct part_member model_members[] = {
    {"type", false},
    {"vocab", false},
    {"merges", false},
    {"unk_token", false},
    {"fuse_unk", false},
    {"byte_fallback", false},
    {"ignore_merges", true},
    {"dropout", true},
    {"continuing_subword_prefix", true},
    {"end_of_word_suffix", true},
    {NULL, false},
};

/* As old files have it: "add_prefix_space" and "str_rep" say the same once more. */
static json_t *without_old(const json_t *meta)
{
    json_t *j = json_deep_copy(meta);

    if (!json_object_get(j, "prepend_scheme"))
        json_object_set_new(j, "prepend_scheme", json_string("always"));
    if (json_is_true(json_object_get(j, "add_prefix_space")))
        json_object_del(j, "add_prefix_space");
    if (is_form(json_object_get(j, "str_rep"), SEEN))
        json_object_del(j, "str_rep");
    return j;
}

static int read_metaspace(const json_t *j, enum bpe_spaces *out, struct err *e)
{
    json_t *meta = without_old(j);

    *out = BPE_SPACES;
    for (enum bpe_spaces k = BPE_SPACES_FIRST; k < BPE_SPACES; k++)
        if (is_form(meta, forms[k].pre_tokenizer))
            *out = k;
    json_decref(meta);
    return *out < BPE_SPACES
               ? 0
               : err_set(e, ERR_SPEC,
                         "pre_tokenizer Metaspace: wanted replacement \u2581, "
                         "prepend_scheme first or always, and split false");
}

/* Spaces are written anew by one of both parts, once. */
static int read_spaces(const json_t *normalizer, const json_t *pre,
                       enum bpe_spaces *out, struct err *e)
{
    bool each = is_form(normalizer, forms[BPE_SPACES_EACH].normalizer);

    *out = BPE_SPACES_EACH;
    if (!each && !part_empty(normalizer))
        return err_set(e, ERR_SPEC,
                       "normalizer %s " BESIDE
                       ", only a Sequence of Prepend \u2581 and "
                       "Replace of spaces by it",
                       part_type(normalizer));
    if (each ? !part_empty(pre) : !part_is(pre, "Metaspace"))
        return err_set(e, ERR_SPEC, "pre_tokenizer %s " BESIDE ", only %s",
                       *part_type(pre) ? part_type(pre) : "null",
                       each ? "null behind a normalizer" : "Metaspace");
    return each ? 0 : read_metaspace(pre, out, e);
}

int bpe_json_chars(const json_t *root, enum bpe_spaces *spaces, struct err *e)
{
    const json_t *decoder = json_object_get(root, "decoder");
    json_t *model = json_object_get(root, "model");

    if (part_check("model", model, model_members, e) < 0)
        return e->code;
    if (!json_is_true(json_object_get(model, "fuse_unk")))
        return err_set(e, ERR_SPEC, "model: wanted fuse_unk true beside byte_fallback");
    if (!part_empty(decoder) && !is_form(decoder, decoder_form) &&
        !(part_is(decoder, "Metaspace") &&
          is_form(json_object_get(decoder, "replacement"), SEEN)))
        return err_set(e, ERR_SPEC,
                       "decoder %s " BESIDE ", only a Sequence of Replace, "
                       "ByteFallback, Fuse and Strip, or Metaspace of \u2581",
                       part_type(decoder));
    return read_spaces(json_object_get(root, "normalizer"),
                       json_object_get(root, "pre_tokenizer"), spaces, e);
}

int bpe_json_unknown(struct bpe *b, const json_t *model, const struct bpe_row *rows,
                     uint32_t n, struct err *e)
{
    const json_t *name = json_object_get(model, "unk_token");
    uint32_t i = 0;

    if (part_empty(name))
        return 0;
    while (i < n && (!rows[i].text || !json_is_string(name) ||
                     strcmp(rows[i].text, json_string_value(name)) != 0))
        i++;
    if (i == n)
        return err_set(e, ERR_SPEC, "model: wanted a piece as unk_token, found none");
    b->unknown = i;
    return 0;
}

/* An added piece of one character is found before any is looked for, but for one that
 * is found as a text is written, and for U+2581. */
static bool is_looked_for(enum bpe_spaces spaces, const char *text, bool normal)
{
    size_t len = strlen(text);
    unsigned char byte;
    uint32_t point;

    if (bpe_chars_byte(text, len, &byte))
        return true;
    return utf8_get(text, len, &point) == len &&
           ((normal && spaces == BPE_SPACES_EACH) || point == 0x2581);
}

int bpe_json_new(enum bpe_spaces spaces, const char *part, const char *text,
                 bool normal, struct err *e)
{
    if (!spaces || !is_looked_for(spaces, text, normal))
        return 0;
    return err_set(e, ERR_SPEC, "%s: wanted it in the vocabulary too", part);
}

/* ---- writing -------------------------------------------------------------- */

void bpe_json_chars_write(const struct bpe *b, json_t *root)
{
    json_t *model = json_object_get(root, "model");
    const char *unknown;
    size_t len;

    json_object_set_new(root, "normalizer", part_of(forms[b->spaces].normalizer));
    json_object_set_new(root, "pre_tokenizer", part_of(forms[b->spaces].pre_tokenizer));
    json_object_set_new(root, "decoder", part_of(decoder_form));
    json_object_set_new(model, "fuse_unk", json_true());
    json_object_set_new(model, "byte_fallback", json_true());
    if (b->unknown == BYTEMAP_NONE)
        return;
    unknown = bytemap_at(&b->pieces, b->unknown, &len);
    json_object_set_new(model, "unk_token", json_stringn(unknown, len));
}
