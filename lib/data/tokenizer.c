/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer.c - what all kinds share: the table, the JSON around a kind's own
 * members, and the checks of ids.
 */
#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "data/tokenizer_kind.h"

static const struct tokenizer_kind *const kinds[] = {&tokenizer_byte, &tokenizer_char};

struct tokenizer {
    const struct tokenizer_kind *kind;
    void *self;
};

static const struct tokenizer_kind *kind_find(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

int tokenizer_create(const char *name, struct tokenizer **out, struct err *e)
{
    const struct tokenizer_kind *kind = kind_find(name);
    struct tokenizer *t;

    if (!kind)
        return err_set(e, ERR_SPEC, "tokenizer: wanted byte or char, found \"%s\"",
                       name);
    t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_FAILED, "tokenizer %s: no memory", name);
    t->kind = kind;
    if (kind->create) {
        t->self = kind->create();
        if (!t->self) {
            free(t);
            return err_set(e, ERR_FAILED, "tokenizer %s: no memory", name);
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
    if (!t->kind->learn)
        return ERR_OK;
    if (!str_is_utf8(text, len))
        return err_set(e, ERR_SPEC, "tokenizer %s: the text is not UTF-8",
                       t->kind->name);
    t->kind->learn(t->self, text, len);
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

uint32_t tokenizer_vocab(const struct tokenizer *t)
{
    return t->kind->vocab(t->self);
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                     struct tokens *out, struct err *e)
{
    uint64_t before = out->count;
    int rc = tokens_reserve(out, len, e);

    if (rc == 0)
        rc = t->kind->encode(t->self, text, len, out, e);
    if (rc < 0)
        out->count = before;
    return rc;
}

int tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t n,
                     struct buf *out, struct err *e)
{
    uint32_t vocab = tokenizer_vocab(t);

    for (size_t i = 0; i < n; i++)
        if (ids[i] >= vocab)
            return err_set(e, ERR_SPEC, "tokenizer %s: wanted ids below %u, found %u",
                           t->kind->name, vocab, ids[i]);
    for (size_t i = 0; i < n; i++)
        t->kind->decode(t->self, ids[i], out);
    return ERR_OK;
}

int tokenizer_save(const struct tokenizer *t, struct buf *out, struct err *e)
{
    json_t *root = json_pack("{s:s}", "kind", t->kind->name);
    char *text = NULL;
    int rc = ERR_OK;

    if (root && t->kind->save)
        rc = t->kind->save(t->self, root, e);
    if (root && rc == 0)
        text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    if (rc < 0)
        return rc;
    if (!text)
        return err_set(e, ERR_FAILED, "tokenizer %s: no memory", t->kind->name);
    buf_puts(out, text);
    buf_puts(out, "\n");
    free(text);
    return ERR_OK;
}

/* Build the tokenizer that the object describes. */
static int load_object(const json_t *root, struct tokenizer **out, struct err *e)
{
    const char *name = json_string_value(json_object_get(root, "kind"));
    struct tokenizer *t;
    int rc;

    if (!name)
        return err_set(e, ERR_SPEC, "wanted an object with \"kind\", found none");
    rc = tokenizer_create(name, &t, e);
    if (rc < 0)
        return rc;
    if (json_object_size(root) != 1 + t->kind->members)
        rc = err_set(e, ERR_SPEC, "tokenizer %s: wanted %zu members, found %zu", name,
                     1 + t->kind->members, json_object_size(root));
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

int tokenizer_sha256(const struct tokenizer *t, char hex[SHA256_HEX], struct err *e)
{
    struct buf text = {0};
    int rc = tokenizer_save(t, &text, e);

    if (rc == 0)
        sha256_bytes(text.data, text.len, hex);
    buf_free(&text);
    return rc;
}
