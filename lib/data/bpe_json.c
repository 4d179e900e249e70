/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_json.c - tokenizer.json: what of it is understood, and written again.
 */
#include "data/bpe_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/bpe_part.h"
#include "data/tokenizer.h"

/* Ids of one file; more is hardly a vocabulary. */
enum { ROWS_MAX = 1 << 22 };

static const char *const mark_name[TOKEN_MARKS] = {"<pad>", "<bos>", "<eos>", "<unk>"};

/* ---- ids ------------------------------------------------------------------ */

struct rows {
    struct bpe_row *row; /* [cap] */
    uint32_t n, cap;     /* n: the highest id, and one */
};

static int make_room(struct rows *r, uint32_t n, struct err *e)
{
    uint32_t cap = r->cap ? r->cap : 256;
    struct bpe_row *row;

    while (cap < n)
        cap *= 2;
    if (cap > r->cap) {
        row = reallocarray(r->row, cap, sizeof *row);
        if (!row)
            return err_set(e, ERR_NOMEM, "no memory for %u ids", cap);
        memset(row + r->cap, 0, (cap - r->cap) * sizeof *row);
        r->row = row;
        r->cap = cap;
    }
    r->n = r->n < n ? n : r->n;
    return 0;
}

static int place(struct rows *r, const char *text, const json_t *id, bool added,
                 struct err *e)
{
    json_int_t at = json_integer_value(id);

    if (!json_is_integer(id) || at < 0 || at >= ROWS_MAX)
        return err_set(e, ERR_SPEC, "wanted an id for \"%.64s\"", text);
    if (make_room(r, (uint32_t)at + 1, e) < 0)
        return e->code;
    if (r->row[at].text && strcmp(r->row[at].text, text) != 0)
        return err_set(e, ERR_SPEC,
                       "wanted id %lld once, found \"%.64s\" and \"%.64s\"",
                       (long long)at, r->row[at].text, text);
    for (uint32_t i = 0; added && i < r->n; i++)
        if (i != at && r->row[i].text && strcmp(r->row[i].text, text) == 0)
            return err_set(e, ERR_SPEC, "wanted \"%.64s\" once, found ids %u and %lld",
                           text, i, (long long)at);
    r->row[at].text = text;
    r->row[at].added |= added;
    return 0;
}

static int place_vocab(struct rows *r, json_t *vocab, struct err *e)
{
    const char *text;
    json_t *id;

    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return err_set(e, ERR_SPEC, "wanted an object of pieces with their ids");
    json_object_foreach(vocab, text, id)
    {
        if (place(r, text, id, false, e) < 0)
            return e->code;
    }
    return 0;
}

static json_t *parse(const struct bpe_text *file, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb(file->data, file->len, JSON_REJECT_DUPLICATES, &why);

    if (!root)
        err_set(e, ERR_SPEC, "%s:%d:%d: wanted JSON: %s", file->name, why.line,
                why.column, why.text);
    return root;
}

int bpe_json_vocab(struct bpe *b, const struct bpe_text *file, struct err *e)
{
    json_t *root = parse(file, e);
    struct rows r = {0};
    int rc;

    if (!root)
        return e->code;
    rc = place_vocab(&r, root, e);
    if (rc == 0)
        rc = bpe_read_pieces(b, r.row, 0, r.n, e);
    if (rc < 0)
        err_prefix(e, "%s", file->name);
    free(r.row);
    json_decref(root);
    return rc;
}

/* ---- what is supported ---------------------------------------------------- */

static const struct part_member root_members[] = {
    {"version", false},        {"truncation", true},
    {"padding", true},         {"added_tokens", false},
    {"normalizer", false},     {"pre_tokenizer", false},
    {"post_processor", false}, {"decoder", false},
    {"model", false},          {NULL, false},
};
static const struct part_member model_members[] = {
    {"type", false},
    {"vocab", false},
    {"merges", false},
    {"unk_token", false}, /* all bytes are pieces: nothing is unknown */
    {"fuse_unk", false},
    {"ignore_merges", false},
    {"dropout", true},
    {"byte_fallback", true},
    {"continuing_subword_prefix", true},
    {"end_of_word_suffix", true},
    {NULL, false},
};
static const struct part_member normalizer_members[] = {
    {"type", false}, {"normalizers", false}, {NULL, false}};
static const struct part_member added_members[] = {
    {"id", false},    {"content", false}, {"normalized", false}, {"special", false},
    {"lstrip", true}, {"rstrip", true},   {"single_word", true}, {NULL, false},
};

/* A ByteLevel pre-tokenizer: does it cut as well? */
static int byte_level(const json_t *j, bool *cuts, struct err *e)
{
    const json_t *regex = json_object_get(j, "use_regex");

    if (!part_is(j, "ByteLevel"))
        return part_refuse("pre_tokenizer", j, e);
    if (!json_is_false(json_object_get(j, "add_prefix_space")))
        return err_set(e, ERR_SPEC,
                       "pre_tokenizer ByteLevel: wanted add_prefix_space false");
    *cuts = !json_is_false(regex);
    return 0;
}

static int split_rule(const json_t *j, enum pretoken_rule *out, struct err *e)
{
    const json_t *pattern = json_object_get(j, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *behavior = json_string_value(json_object_get(j, "behavior"));

    if (!part_is(j, "Split"))
        return part_refuse("pre_tokenizer", j, e);
    if (!behavior || strcmp(behavior, "Isolated") != 0 ||
        !part_empty(json_object_get(j, "invert")))
        return err_set(e, ERR_SPEC, "pre_tokenizer Split: wanted behavior Isolated");
    for (int i = 0; regex && i < PRETOKEN_RULES; i++)
        if (pretoken_regex[i] && strcmp(pretoken_regex[i], regex) == 0) {
            *out = (enum pretoken_rule)i;
            return 0;
        }
    return err_set(e, ERR_SPEC,
                   "pre_tokenizer Split: the pattern \"%.100s\" is not supported, only "
                   "those of gpt2, llama3 and qwen2",
                   regex ? regex : "");
}

/* ByteLevel, or a Split and then a ByteLevel that does not cut. */
static int read_rule(const json_t *j, enum pretoken_rule *out, struct err *e)
{
    const json_t *list = json_object_get(j, "pretokenizers");
    bool cuts;

    if (!part_is(j, "Sequence") || json_array_size(list) != 2) {
        if (byte_level(j, &cuts, e) < 0)
            return e->code;
        *out = cuts ? PRETOKEN_GPT2 : PRETOKEN_NONE;
        return 0;
    }
    if (split_rule(json_array_get(list, 0), out, e) < 0 ||
        byte_level(json_array_get(list, 1), &cuts, e) < 0)
        return e->code;
    return cuts ? err_set(e, ERR_SPEC,
                          "pre_tokenizer ByteLevel: wanted use_regex false behind a "
                          "Split")
                : 0;
}

/* NFC, once or in a list, or nothing. */
static int read_normalizer(json_t *j, bool *nfc, struct err *e)
{
    const json_t *list = json_object_get(j, "normalizers");
    bool several = part_is(j, "Sequence") && json_is_array(list);

    if (part_empty(j))
        return 0;
    if (!several && (!part_is(j, "NFC") || list))
        return part_refuse("normalizer", j, e);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!part_is(json_array_get(list, i), "NFC"))
            return part_refuse("normalizer", json_array_get(list, i), e);
    *nfc = !several || json_array_size(list) > 0;
    return part_check("normalizer", j, normalizer_members, e);
}

/* ---- what is put around a text -------------------------------------------- */

#define TEMPLATE "post_processor TemplateProcessing"

static const struct part_member posts_members[] = {
    {"type", false}, {"processors", false}, {NULL, false}};
static const struct part_member template_members[] = {{"type", false},
                                                      {"single", false},
                                                      {"pair", false},
                                                      {"special_tokens", false},
                                                      {NULL, false}};
static const struct part_member place_members[] = {
    {"id", false}, {"type_id", false}, {NULL, false}};
static const struct part_member special_members[] = {
    {"id", false}, {"ids", false}, {"tokens", false}, {NULL, false}};

/* A list of places, each a special token that is known or a text: A, or A and B. */
struct places {
    const char *name;
    const json_t *list, *special;
    int texts, wanted;
};

static const char *const text_name[] = {"A", "B"};

static int check_place(struct places *p, json_t *j, struct err *e)
{
    json_t *token = json_object_get(j, "SpecialToken");
    json_t *place = token ? token : json_object_get(j, "Sequence");
    const char *id = json_string_value(json_object_get(place, "id"));

    if (json_object_size(j) != 1 || !id ||
        !json_is_integer(json_object_get(place, "type_id")))
        return err_set(e, ERR_SPEC,
                       TEMPLATE ": %s: wanted places of a SpecialToken or a Sequence",
                       p->name);
    if (token ? !json_object_get(p->special, id)
              : p->texts == p->wanted || strcmp(id, text_name[p->texts]) != 0)
        return err_set(
            e, ERR_SPEC, TEMPLATE ": %s: wanted %s, found \"%.64s\"", p->name,
            token ? "one of its special_tokens" : "each text once, in order", id);
    p->texts += token == NULL;
    return part_check(TEMPLATE, place, place_members, e);
}

static int check_places(json_t *template, const char *name, int wanted, struct err *e)
{
    struct places p = {name, json_object_get(template, name),
                       json_object_get(template, "special_tokens"), 0, wanted};

    for (size_t i = 0; i < json_array_size(p.list); i++)
        if (check_place(&p, json_array_get(p.list, i), e) < 0)
            return e->code;
    return p.texts == wanted
               ? 0
               : err_set(e, ERR_SPEC, TEMPLATE ": %s: wanted the text %s, found none",
                         name, text_name[p.texts]);
}

static int check_special(const char *name, json_t *j, struct err *e)
{
    const char *id = json_string_value(json_object_get(j, "id"));
    const json_t *ids = json_object_get(j, "ids");
    const json_t *tokens = json_object_get(j, "tokens");
    size_t n = json_array_size(ids), good = 0;

    while (good < n && json_is_integer(json_array_get(ids, good)) &&
           json_is_string(json_array_get(tokens, good)))
        good++;
    if (!id || strcmp(id, name) != 0 || n == 0 || good < n ||
        json_array_size(tokens) != n)
        return err_set(e, ERR_SPEC,
                       TEMPLATE ": special_tokens: wanted id, ids and tokens of "
                                "\"%.64s\"",
                       name);
    return part_check(TEMPLATE, j, special_members, e);
}

/* Special tokens before and behind a text, and between two, are not a text's: who reads
 * it puts its own marks where it wants them.  That there is nothing else is checked. */
static int check_template(json_t *template, struct err *e)
{
    const char *name;
    json_t *special;

    if (part_check(TEMPLATE, template, template_members, e) < 0)
        return e->code;
    json_object_foreach(json_object_get(template, "special_tokens"), name, special)
    {
        if (check_special(name, special, e) < 0)
            return e->code;
    }
    return check_places(template, "single", 1, e) < 0
               ? e->code
               : check_places(template, "pair", 2, e);
}

static int check_post(json_t *post, struct err *e)
{
    if (part_empty(post) || part_is(post, "ByteLevel"))
        return 0;
    return part_is(post, "TemplateProcessing") ? check_template(post, e)
                                               : part_refuse("post_processor", post, e);
}

/* One, or several in a list. */
static int check_posts(json_t *post, struct err *e)
{
    const json_t *list = json_object_get(post, "processors");
    int rc = 0;

    if (!part_is(post, "Sequence") || !json_is_array(list))
        return check_post(post, e);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = check_post(json_array_get(list, i), e);
    return rc < 0 ? rc : part_check("post_processor", post, posts_members, e);
}

/* ---- the other parts ------------------------------------------------------- */

/* Over bytes. */
static int read_bytes(const json_t *root, struct bpe *b, struct err *e)
{
    const json_t *decoder = json_object_get(root, "decoder");

    if (!part_empty(decoder) && !part_is(decoder, "ByteLevel"))
        return part_refuse("decoder", decoder, e);
    if (part_check("model", json_object_get(root, "model"), model_members, e) < 0 ||
        read_normalizer(json_object_get(root, "normalizer"), &b->nfc, e) < 0)
        return e->code;
    return read_rule(json_object_get(root, "pre_tokenizer"), &b->rule, e);
}

/* Parts of which one form, or none, is understood. */
static int read_parts(json_t *root, struct bpe *b, struct err *e)
{
    const json_t *model = json_object_get(root, "model");

    if (part_check("", root, root_members, e) < 0)
        return e->code;
    if (!json_is_object(model) || (*part_type(model) && !part_is(model, "BPE")))
        return part_refuse("model", model, e);
    if (check_posts(json_object_get(root, "post_processor"), e) < 0)
        return e->code;
    if (!json_is_true(json_object_get(model, "byte_fallback")))
        return read_bytes(root, b, e);
    b->rule = PRETOKEN_NONE;
    return bpe_json_chars(root, &b->spaces, e);
}

/* ---- reading -------------------------------------------------------------- */

static bool is_taken(const struct rows *r, const json_t *id)
{
    json_int_t at = json_integer_value(id);

    return at >= 0 && at < r->n && r->row[at].text;
}

static int place_added(struct rows *r, const json_t *list, enum bpe_spaces spaces,
                       struct err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *t = json_array_get(list, i), *id = json_object_get(t, "id");
        const char *text = json_string_value(json_object_get(t, "content"));
        bool normal = json_is_true(json_object_get(t, "normalized"));
        char part[80];

        if (!text || !*text)
            return err_set(e, ERR_SPEC, "added_tokens[%zu]: wanted \"content\"", i);
        snprintf(part, sizeof part, "added token %.64s", text);
        if (part_check(part, t, added_members, e) < 0 ||
            (!is_taken(r, id) && bpe_json_new(spaces, part, text, normal, e) < 0) ||
            place(r, text, id, true, e) < 0)
            return e->code;
        if (normal)
            r->row[json_integer_value(id)].place = BPE_NORMAL;
    }
    return 0;
}

/* Where a text is cut as it is, and all added pieces from `from` on are found in the
 * same place, there is but one. */
static void settle_places(struct rows *r, uint32_t from, const struct bpe *b)
{
    bool as_it_is = !b->nfc && b->spaces != BPE_SPACES_EACH;
    bool seen[BPE_PLACES] = {false};

    for (uint32_t i = from; i < r->n; i++)
        if (r->row[i].added)
            seen[r->row[i].place] = true;
    for (uint32_t i = 0; i < r->n && as_it_is; i++)
        if (!seen[BPE_RAW])
            r->row[i].place = BPE_RAW;
}

/* A text that is cut and shown in GPT-2's alphabet has no other letters, so that no id
 * but those of added tokens stands for them. */
static int check_alphabet(const struct bpe *b, const struct rows *r, uint32_t from,
                          struct err *e)
{
    for (uint32_t i = from; i < r->n; i++) {
        const char *text = r->row[i].text;
        struct buf bytes = {0};
        bool good = !text || r->row[i].added || bpe_hide(b, text, strlen(text), &bytes);

        buf_free(&bytes);
        if (!good)
            return err_set(e, ERR_SPEC,
                           "model: wanted GPT-2's alphabet, or an added token, found "
                           "\"%.64s\"",
                           text);
    }
    return 0;
}

static int read_merges(struct bpe *b, const json_t *list, struct err *e)
{
    if (!json_is_array(list))
        return err_set(e, ERR_SPEC, "model: wanted an array \"merges\"");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *m = json_array_get(list, i);
        const json_t *half[] = {json_array_get(m, 0), json_array_get(m, 1)};
        int rc;

        if (json_is_string(m))
            rc = bpe_read_line(b, json_string_value(m), json_string_length(m), e);
        else if (json_array_size(m) == 2 && json_is_string(half[0]) &&
                 json_is_string(half[1]))
            rc = bpe_read_merge(b, json_string_value(half[0]),
                                json_string_length(half[0]), json_string_value(half[1]),
                                json_string_length(half[1]), e);
        else
            rc = err_set(e, ERR_SPEC, "merge %zu: wanted two pieces", i);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool has_marks(const struct rows *r)
{
    for (uint32_t i = 0; i < TOKEN_MARKS; i++)
        if (i >= r->n || !r->row[i].text || !r->row[i].added ||
            strcmp(r->row[i].text, mark_name[i]) != 0)
            return false;
    return true;
}

static int read_root(json_t *root, struct bpe *b, bool *marks, struct err *e)
{
    const json_t *model = json_object_get(root, "model");
    struct rows r = {0};
    int rc = read_parts(root, b, e);

    if (rc == 0)
        rc = place_vocab(&r, json_object_get(model, "vocab"), e);
    if (rc == 0)
        rc = place_added(&r, json_object_get(root, "added_tokens"), b->spaces, e);
    if (rc == 0 && b->spaces)
        rc = bpe_json_unknown(b, model, r.row, r.n, e);
    if (rc == 0) {
        *marks = !b->spaces && has_marks(&r);
        settle_places(&r, *marks ? TOKEN_MARKS : 0, b);
        b->whole = json_is_true(json_object_get(model, "ignore_merges"));
        rc = check_alphabet(b, &r, *marks ? TOKEN_MARKS : 0, e);
    }
    if (rc == 0)
        rc = bpe_read_pieces(b, r.row, *marks ? TOKEN_MARKS : 0, r.n, e);
    if (rc == 0)
        rc = read_merges(b, json_object_get(model, "merges"), e);
    free(r.row);
    return rc;
}

int bpe_read_json(const struct bpe_text *file, struct bpe **out, bool *marks,
                  struct err *e)
{
    json_t *root = parse(file, e);
    struct bpe *b;
    int rc;

    if (!root)
        return e->code;
    b = bpe_create(PRETOKEN_GPT2);
    rc = read_root(root, b, marks, e);
    if (rc < 0) {
        err_prefix(e, "%s", file->name);
        bpe_destroy(b);
    } else {
        *out = b;
    }
    json_decref(root);
    return rc;
}

/* ---- writing -------------------------------------------------------------- */

static json_t *shown(const struct bpe *b, uint32_t id)
{
    struct buf text = {0};
    json_t *j;

    bpe_show(b, id, &text);
    j = json_stringn(text.data, text.len);
    buf_free(&text);
    return j;
}

static json_t *added_json(uint32_t id, json_t *content, bool normal)
{
    return json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id,
                     "content", content, "single_word", 0, "lstrip", 0, "rstrip", 0,
                     "normalized", (int)normal, "special", 1);
}

static json_t *vocab_json(const struct bpe *b, uint32_t first)
{
    json_t *vocab = json_object();

    for (uint32_t i = 0; i < first; i++)
        json_object_set_new(vocab, mark_name[i], json_integer(i));
    for (uint32_t i = 0; i < b->pieces.count; i++) {
        json_t *text = shown(b, i);

        json_object_set_new(vocab, json_string_value(text), json_integer(first + i));
        json_decref(text);
    }
    return vocab;
}

static json_t *merges_json(const struct bpe *b)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < b->merges; i++)
        json_array_append_new(list, json_pack("[o, o]", shown(b, b->merge[i].left),
                                              shown(b, b->merge[i].right)));
    return list;
}

static json_t *all_added(const struct bpe *b, uint32_t first)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < first; i++)
        json_array_append_new(list, added_json(i, json_string(mark_name[i]), false));
    for (uint32_t i = 0; i < b->pieces.count; i++)
        if (bpe_is_added(b, i))
            json_array_append_new(list,
                                  added_json(first + i, shown(b, i),
                                             bpe_added_place(b, i) == BPE_NORMAL));
    return list;
}

static json_t *byte_level_json(bool regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                     "trim_offsets", 1, "use_regex", (int)regex);
}

static json_t *rule_json(enum pretoken_rule rule)
{
    if (rule == PRETOKEN_GPT2 || rule == PRETOKEN_NONE)
        return byte_level_json(rule == PRETOKEN_GPT2);
    return json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence",
                     "pretokenizers", "type", "Split", "pattern", "Regex",
                     pretoken_regex[rule], "behavior", "Isolated", "invert", 0,
                     byte_level_json(false));
}

bool bpe_has_json(const struct bpe *b, bool marks)
{
    bool told_apart = !marks || !b->spaces;

    for (int i = 0; told_apart && marks && i < TOKEN_MARKS; i++)
        told_apart = bytemap_find(&b->pieces, mark_name[i], strlen(mark_name[i])) ==
                     BYTEMAP_NONE;
    return told_apart;
}

int bpe_write_json(const struct bpe *b, bool marks, struct buf *out, struct err *e)
{
    uint32_t first = marks ? TOKEN_MARKS : 0;
    json_t *model = json_pack(
        "{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
        "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
        "byte_fallback", 0, "ignore_merges", (int)b->whole, "vocab",
        vocab_json(b, first), "merges", merges_json(b));
    json_t *root = json_pack("{s:s, s:n, s:n, s:o, s:o?, s:o, s:n, s:o, s:o}",
                             "version", "1.0", "truncation", "padding", "added_tokens",
                             all_added(b, first), "normalizer",
                             b->nfc ? json_pack("{s:s}", "type", "NFC") : json_null(),
                             "pre_tokenizer", rule_json(b->rule), "post_processor",
                             "decoder", byte_level_json(true), "model", model);
    char *text;

    if (root && b->spaces)
        bpe_json_chars_write(b, root);
    text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text)
        return err_set(e, ERR_NOMEM, "tokenizer.json: no memory");
    buf_puts(out, text);
    buf_puts(out, "\n");
    free(text);
    return 0;
}
