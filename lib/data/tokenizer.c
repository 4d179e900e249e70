/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.c - what all kinds share: the table, the JSON around a kind's own
 * members, and the checks of ids.
 */
#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "data/bpe_file.h"
#include "data/tokenizer_kind.h"
#include "data/utf8.h"

static const struct tokenizer_kind *const kinds[] = {
    &tokenizer_bpe, &tokenizer_byte, &tokenizer_char, &tokenizer_sentencepiece,
    &tokenizer_word};

struct tokenizer {
    const struct tokenizer_kind *kind;
    struct tokenizer_config config; /* its kind is kind->name */
    void *self;
};

static const struct tokenizer_kind *kind_find(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

int tokenizer_wrap(const struct tokenizer_config *c, void *self, struct tokenizer **out,
                   struct err *e)
{
    const struct tokenizer_kind *kind = kind_find(c->kind);
    struct tokenizer *t;

    if (!kind)
        return err_set(
            e, ERR_SPEC,
            "tokenizer: wanted bpe, byte, char, sentencepiece or word, found \"%s\"",
            c->kind);
    t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "tokenizer %s: no memory", kind->name);
    t->kind = kind;
    t->config = *c;
    t->config.kind = kind->name;
    t->config.marks |= kind == &tokenizer_word;
    t->self = self;
    *out = t;
    return ERR_OK;
}

int tokenizer_create(const struct tokenizer_config *c, struct tokenizer **out,
                     struct err *e)
{
    struct tokenizer *t;
    int rc = tokenizer_wrap(c, NULL, &t, e);

    if (rc < 0)
        return rc;
    if (t->kind->create) {
        t->self = t->kind->create(&t->config);
        if (!t->self) {
            rc = err_set(e, ERR_NOMEM, "tokenizer %s: no memory", t->kind->name);
            free(t);
            return rc;
        }
    }
    *out = t;
    return ERR_OK;
}

void tokenizer_destroy(struct tokenizer *t)
{
    if (!t)
        return;
    if (t->kind->destroy)
        t->kind->destroy(t->self);
    free(t);
}

int tokenizer_learns(const struct tokenizer *t)
{
    return t->kind->learn != NULL;
}

int tokenizer_learn(struct tokenizer *t, const char *text, size_t len, struct err *e)
{
    struct buf lower = {0};

    if (!t->kind->learn)
        return ERR_OK;
    if (!str_is_utf8(text, len))
        return err_set(e, ERR_SPEC, "tokenizer %s: the text is not UTF-8",
                       t->kind->name);
    if (t->config.lower)
        utf8_lower(text, len, &lower);
    t->kind->learn(t->self, t->config.lower ? lower.data : text,
                   t->config.lower ? lower.len : len);
    buf_free(&lower);
    return ERR_OK;
}

int tokenizer_seal(struct tokenizer *t, struct err *e)
{
    return t->kind->seal ? t->kind->seal(t->self, e) : ERR_OK;
}

const char *tokenizer_name(const struct tokenizer *t)
{
    return t->kind->name;
}

bool tokenizer_marks(const struct tokenizer *t)
{
    return t->config.marks;
}

const char *tokenizer_lacks(const struct tokenizer *t, const struct tokenizer_config *c)
{
    const struct tokenizer_config *is = &t->config;

    if (c->lower && !is->lower)
        return "lower";
    if (c->split && !is->split)
        return "split";
    return c->strict && !is->strict && t->kind->lacks &&
                   t->kind->lacks(t->self, is->marks)
               ? "strict"
               : NULL;
}

/* Number of the kind's id 0. */
static uint32_t first_id(const struct tokenizer *t)
{
    return t->config.marks ? TOKEN_MARKS : 0;
}

uint32_t tokenizer_vocab(const struct tokenizer *t)
{
    return first_id(t) + t->kind->vocab(t->self);
}

static int encode(const struct tokenizer *t, const char *text, size_t len, bool more,
                  struct tokens *out, struct err *e)
{
    struct tokenizer_ids ids = {out, first_id(t), t->config.marks && !t->config.strict,
                                t->config.strict, more};
    uint64_t before = out->count;
    size_t good = t->kind->any ? len : utf8_valid(text, len);
    int rc;

    if (good < len)
        return err_set(e, ERR_SPEC, "byte %zu: wanted UTF-8, found 0x%02x", good + 1,
                       (unsigned char)text[good]);
    rc = tokens_reserve(out, len, e);
    if (rc == 0)
        rc = t->kind->encode(t->self, text, len, &ids, e);
    if (rc < 0)
        out->count = before;
    return rc;
}

static int encode_lower(const struct tokenizer *t, const char *text, size_t len,
                        bool more, struct tokens *out, struct err *e)
{
    struct buf lower = {0};
    int rc;

    if (!t->config.lower)
        return encode(t, text, len, more, out, e);
    utf8_lower(text, len, &lower);
    rc = encode(t, lower.data ? lower.data : "", lower.len, more, out, e);
    buf_free(&lower);
    return rc;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                     struct tokens *out, struct err *e)
{
    return encode_lower(t, text, len, false, out, e);
}

int tokenizer_encode_more(const struct tokenizer *t, const char *text, size_t len,
                          struct tokens *out, struct err *e)
{
    return encode_lower(t, text, len, true, out, e);
}

size_t tokenizer_open_end(const struct tokenizer *t, const char *text, size_t len)
{
    struct buf lower = {0};
    size_t open;

    if (!t->kind->open || !t->config.lower)
        return t->kind->open ? t->kind->open(t->self, text, len) : 0;
    utf8_lower(text, len, &lower); /* as long as the text */
    open = t->kind->open(t->self, lower.data ? lower.data : "", lower.len);
    buf_free(&lower);
    return open;
}

static void decode_id(const struct tokenizer *t, uint32_t id, struct buf *out)
{
    uint32_t first = first_id(t);

    if (id >= first)
        t->kind->decode(t->self, id - first, out);
    else if (id == TOKEN_UNK)
        buf_puts(out, "<unk>");
}

/* Words of ids[n], with what stands between them. */
static void decode_spaced(const struct tokenizer *t, const uint32_t *ids, size_t n,
                          struct buf *out)
{
    struct buf before = {0}, after = {0};

    for (size_t i = 0; i < n; i++) {
        buf_clear(&after);
        decode_id(t, ids[i], &after);
        if (after.len == 0)
            continue;
        if (before.len && t->kind->spaced(t->self, before.data, after.data))
            buf_puts(out, " ");
        buf_add(out, after.data, after.len);
        buf_clear(&before);
        buf_add(&before, after.data, after.len);
    }
    buf_free(&before);
    buf_free(&after);
}

/* Marks but TOKEN_UNK have no text. */
static int decode_whole(const struct tokenizer *t, const uint32_t *ids, size_t n,
                        struct buf *out, struct err *e)
{
    uint32_t first = first_id(t), *own = calloc(n + 1, sizeof *own);
    size_t count = 0;
    int rc;

    if (!own)
        return err_set(e, ERR_NOMEM, "tokenizer %s: no memory for %zu ids",
                       t->kind->name, n);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= first)
            own[count++] = ids[i] - first;
        else if (ids[i] == TOKEN_UNK)
            own[count++] = UINT32_MAX;
    rc = t->kind->decode_all(t->self, own, count, out, e);
    free(own);
    return rc;
}

int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n,
                     struct buf *out, struct err *e)
{
    uint32_t vocab = tokenizer_vocab(t);
    size_t end = 0;

    for (size_t i = 0; i < n; i++)
        if (ids[i] >= vocab)
            return err_set(e, ERR_SPEC, "tokenizer %s: wanted ids below %u, found %u",
                           t->kind->name, vocab, ids[i]);
    while (end < n && !(t->config.marks && ids[end] == TOKEN_EOS))
        end++;
    if (t->kind->decode_all)
        return decode_whole(t, ids, end, out, e);
    if (t->kind->spaced)
        decode_spaced(t, ids, end, out);
    else
        for (size_t i = 0; i < end; i++)
            decode_id(t, ids[i], out);
    return ERR_OK;
}

/* ---- saving and loading --------------------------------------------------- */

/* What a configuration says besides the kind, and where. */
static const struct {
    const char *name;
    size_t at;
} options[] = {
    {"marks", offsetof(struct tokenizer_config, marks)},
    {"strict", offsetof(struct tokenizer_config, strict)},
    {"lower", offsetof(struct tokenizer_config, lower)},
    {"split", offsetof(struct tokenizer_config, split)},
};

#define NOPTIONS (sizeof options / sizeof options[0])

static void save_options(const struct tokenizer *t, json_t *object)
{
    for (size_t i = 0; i < NOPTIONS; i++)
        if (*(const bool *)((const char *)&t->config + options[i].at))
            json_object_set_new(object, options[i].name, json_true());
}

/* How many of them the object has; negative: one is neither true nor false. */
static int load_options(const json_t *object, struct tokenizer_config *c, struct err *e)
{
    int n = 0;

    for (size_t i = 0; i < NOPTIONS; i++) {
        const json_t *j = json_object_get(object, options[i].name);

        if (j && !json_is_boolean(j))
            return err_set(e, ERR_SPEC, "tokenizer %s: wanted true or false for \"%s\"",
                           c->kind, options[i].name);
        *(bool *)((char *)c + options[i].at) = json_is_true(j);
        n += j != NULL;
    }
    return n;
}

int tokenizer_save(const struct tokenizer *t, struct buf *out, struct err *e)
{
    json_t *root = json_pack("{s:s}", "kind", t->kind->name);
    char *text = NULL;
    int rc = ERR_OK;

    if (root)
        save_options(t, root);
    if (root && t->kind->save)
        rc = t->kind->save(t->self, root, e);
    if (root && rc == 0)
        text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    if (rc < 0)
        return rc;
    if (!text)
        return err_set(e, ERR_NOMEM, "tokenizer %s: no memory", t->kind->name);
    buf_puts(out, text);
    buf_puts(out, "\n");
    free(text);
    return ERR_OK;
}

/* How many members the object has that not all of its kind have. */
static size_t count_more(const json_t *object, const char *const *names)
{
    size_t n = 0;

    for (; names && *names; names++)
        n += json_object_get(object, *names) != NULL;
    return n;
}

/* Build the tokenizer that the object describes. */
static int load_object(const json_t *root, struct tokenizer **out, struct err *e)
{
    struct tokenizer_config c = {.kind =
                                     json_string_value(json_object_get(root, "kind"))};
    struct tokenizer *t;
    int rc, said;

    if (!c.kind)
        return err_set(e, ERR_SPEC, "wanted an object with \"kind\", found none");
    said = load_options(root, &c, e);
    rc = said < 0 ? said : tokenizer_create(&c, &t, e);
    if (rc < 0)
        return rc;
    size_t wanted = 1 + (size_t)said + t->kind->members;

    wanted += count_more(root, t->kind->may_have);
    if (json_object_size(root) != wanted)
        rc = err_set(e, ERR_SPEC, "tokenizer %s: wanted %zu members, found %zu", c.kind,
                     wanted, json_object_size(root));
    else if (t->kind->load)
        rc = t->kind->load(t->self, root, e);
    if (rc < 0)
        tokenizer_destroy(t);
    else
        *out = t;
    return rc;
}

int tokenizer_load(const char *where, const char *json, size_t len,
                   struct tokenizer **out, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);
    int rc;

    if (!root)
        return err_set(e, ERR_SPEC, "%s:%d:%d: wanted JSON: %s", where, why.line,
                       why.column, why.text);
    rc = load_object(root, out, e);
    json_decref(root);
    if (rc < 0)
        err_prefix(e, "%s", where);
    return rc;
}

bool tokenizer_has_hf(const struct tokenizer *t)
{
    struct bpe *b;
    bool has;

    if (!t->kind->as_bpe || t->config.lower || !t->config.marks)
        return t->kind->as_bpe && !t->config.lower;
    b = t->kind->as_bpe(t->self);
    has = bpe_has_json(b, true);
    bpe_destroy(b);
    return has;
}

int tokenizer_write_hf(const struct tokenizer *t, struct buf *out, struct err *e)
{
    struct bpe *b;
    int rc;

    if (!tokenizer_has_hf(t))
        return err_set(e, ERR_SPEC, "tokenizer %s%s%s: has no form as tokenizer.json",
                       t->kind->name, t->config.lower ? ", lower" : "",
                       t->config.marks ? ", marks" : "");
    b = t->kind->as_bpe(t->self);
    rc = bpe_write_json(b, t->config.marks, out, e);
    bpe_destroy(b);
    return rc;
}

int tokenizer_export(const struct tokenizer *t, struct buf *out, struct err *e)
{
    if (tokenizer_has_hf(t))
        return tokenizer_write_hf(t, out, e);
    if (!t->kind->as_model)
        return tokenizer_save(t, out, e);
    buf_add(out, t->kind->as_model(t->self)->data, t->kind->as_model(t->self)->len);
    return ERR_OK;
}

int tokenizer_sha256(const struct tokenizer *t, char hex[SHA256_HEX], struct err *e)
{
    struct buf text = {0};
    int rc = tokenizer_save(t, &text, e);

    if (rc == 0)
        sha256_bytes(text.data, text.len, hex);
    buf_free(&text);
    return rc;
}
