/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_sentencepiece.c - the kind that is loaded: NAME.so out of the folders of
 * tokenizers, behind <nnd/tokenizer.h>.
 *
 * Its JSON holds the bytes of its model, so that a checkpoint needs no other file.  It
 * stays loaded: a library of C++ does not like to go.
 */
#include <dlfcn.h>
#include <limits.h>
#include <nnd/tokenizer.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "data/tokenizer_kind.h"

#define NAME "sentencepiece"

struct sentencepiece {
    const struct nnd_tokenizer *api; /* from seal or load on */
    void *self;
    struct buf model;
    struct buf text; /* until seal: what to learn from, ended by newlines */
    size_t at;       /* of text that is being learned */
    uint32_t vocab;
};

/* ---- loading -------------------------------------------------------------- */

static const char *folders_said;

void tokenizer_folders(const char *folders)
{
    folders_said = folders;
}

static int check_api(const char *path, const struct nnd_tokenizer *api, struct err *e)
{
    if (!api || api->size < sizeof *api || api->abi != NND_TOKENIZER_ABI)
        return err_set(e, ERR_FAILED, "%s: wanted a tokenizer of ABI %d, found ABI %d",
                       path, NND_TOKENIZER_ABI, api ? (int)api->abi : 0);
    if (!api->name || strcmp(api->name, NAME) != 0 || !api->open || !api->close ||
        !api->vocab || !api->unknown || !api->encode || !api->decode)
        return err_set(e, ERR_FAILED, "%s: wanted the tokenizer %s, found another",
                       path, NAME);
    return 0;
}

static int load_file(const char *path, const struct nnd_tokenizer **out, struct err *e)
{
    const struct nnd_tokenizer *(*entry)(void);
    const struct nnd_tokenizer *api;
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol;
    int rc;

    if (!lib)
        return err_set(e, ERR_FAILED, "tokenizer %s: %s", NAME, dlerror());
    symbol = dlsym(lib, "nnd_tokenizer_v1");
    if (!symbol)
        return err_set(e, ERR_FAILED, "%s: wanted nnd_tokenizer_v1, found none", path);
    memcpy(&entry, &symbol, sizeof entry);
    api = entry();
    rc = check_api(path, api, e);
    if (rc == 0)
        *out = api;
    return rc;
}

static int load_api(const struct nnd_tokenizer **out, struct err *e)
{
    const char *at = folders_said ? folders_said : "";

    for (size_t n; *at; at += n + (at[n] == ':')) {
        char path[PATH_MAX];

        n = strcspn(at, ":");
        if (n == 0 || n + sizeof NAME + 5 > sizeof path)
            continue;
        snprintf(path, sizeof path, "%.*s/%s.so", (int)n, at, NAME);
        if (fs_exists(path))
            return load_file(path, out, e);
    }
    return err_set(
        e, ERR_NOTFOUND,
        "tokenizer %s: wanted %s.so in a folder of tokenizers, found none in "
        "\"%s\"",
        NAME, NAME, folders_said ? folders_said : "");
}

/* ---- life ----------------------------------------------------------------- */

static void sp_destroy(void *self)
{
    struct sentencepiece *s = self;

    if (!s)
        return;
    if (s->self)
        s->api->close(s->self);
    buf_free(&s->model);
    buf_free(&s->text);
    free(s);
}

static void *sp_create(const struct tokenizer_config *config)
{
    struct sentencepiece *s = calloc(1, sizeof *s);
    uint32_t marks = config->marks ? TOKEN_MARKS : 0;

    if (s)
        s->vocab = config->vocab_size > marks ? config->vocab_size - marks : 0;
    return s;
}

static int open_model(struct sentencepiece *s, struct err *e)
{
    struct nnd_tokenizer_error why = {""};

    if (!s->api && load_api(&s->api, e) < 0)
        return e->code;
    if (s->api->open(s->model.data, s->model.len, &s->self, &why) < 0) {
        s->self = NULL;
        return err_set(e, ERR_SPEC, "tokenizer %s: %s", NAME, why.text);
    }
    return 0;
}

int tokenizer_sentencepiece_self(const void *model, size_t len, void **out,
                                 struct err *e)
{
    struct sentencepiece *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return err_set(e, ERR_NOMEM, "tokenizer %s: no memory", NAME);
    buf_add(&s->model, model, len);
    rc = open_model(s, e);
    if (rc < 0)
        sp_destroy(s);
    else
        *out = s;
    return rc;
}

/* ---- learning ------------------------------------------------------------- */

static void sp_learn(void *self, const char *text, size_t len)
{
    struct sentencepiece *s = self;

    buf_add(&s->text, text, len);
    buf_puts(&s->text, "\n");
}

static int next_text(void *arg, const char **text, size_t *len)
{
    struct sentencepiece *s = arg;
    const char *end;

    if (s->at >= s->text.len)
        return 0;
    *text = s->text.data + s->at;
    end = memchr(*text, '\n', s->text.len - s->at);
    *len = (size_t)(end - *text);
    s->at += *len + 1;
    return 1;
}

static void put_bytes(void *arg, const char *bytes, size_t len)
{
    buf_add(arg, bytes, len);
}

static int sp_seal(void *self, struct err *e)
{
    struct sentencepiece *s = self;
    struct nnd_tokenizer_error why = {""};
    int rc = load_api(&s->api, e);

    if (rc == 0 && !s->api->learn)
        rc = err_set(e, ERR_SPEC,
                     "tokenizer %s: wanted data.tokenizer_file: it cannot "
                     "learn",
                     NAME);
    if (rc == 0 &&
        s->api->learn(s->vocab, next_text, s, put_bytes, &s->model, &why) < 0)
        rc = err_set(e, ERR_SPEC, "tokenizer %s: %s", NAME, why.text);
    buf_free(&s->text);
    return rc < 0 ? rc : open_model(s, e);
}

/* ---- both ways ------------------------------------------------------------ */

static uint32_t sp_vocab(const void *self)
{
    const struct sentencepiece *s = self;

    return s->api->vocab(s->self);
}

struct encoding {
    const struct tokenizer_ids *out;
    uint32_t unknown, vocab;
    struct err *e;
    int rc;
};

static void put_ids(void *arg, const uint32_t *ids, size_t n)
{
    struct encoding *x = arg;

    if (x->rc == 0)
        x->rc = tokens_reserve(x->out->tokens, n, x->e);
    for (size_t i = 0; x->rc == 0 && i < n; i++)
        if (ids[i] >= x->vocab)
            x->rc = err_set(x->e, ERR_FAILED, "tokenizer %s: gave id %u of %u", NAME,
                            ids[i], x->vocab);
        else if (ids[i] != x->unknown || !x->out->first)
            tokenizer_put(x->out, ids[i]);
        else if (x->out->unknown)
            tokens_put(x->out->tokens, TOKEN_UNK);
        else
            x->rc = err_set(x->e, ERR_SPEC,
                            "token %zu of the text is unknown to the model of %s",
                            i + 1, NAME);
}

static int sp_encode(const void *self, const char *text, size_t len,
                     const struct tokenizer_ids *out, struct err *e)
{
    const struct sentencepiece *s = self;
    struct encoding x = {.out = out,
                         .unknown = s->api->unknown(s->self),
                         .vocab = s->api->vocab(s->self),
                         .e = e};
    struct nnd_tokenizer_error why = {""};

    if (s->api->encode(s->self, text, len, put_ids, &x, &why) < 0)
        return err_set(e, ERR_SPEC, "tokenizer %s: %s", NAME, why.text);
    return x.rc;
}

static bool sp_lacks(const void *self, bool marks)
{
    const struct sentencepiece *s = self;

    (void)marks;
    return s->api->unknown(s->self) != UINT32_MAX;
}

static int sp_decode_all(const void *self, const uint32_t *ids, size_t n,
                         struct buf *out, struct err *e)
{
    const struct sentencepiece *s = self;
    struct nnd_tokenizer_error why = {""};
    uint32_t unknown = s->api->unknown(s->self), *known = calloc(n + 1, sizeof *known);
    size_t count = 0;
    int rc = 0;

    if (!known)
        return err_set(e, ERR_NOMEM, "tokenizer %s: no memory for %zu ids", NAME, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t id = ids[i] == UINT32_MAX ? unknown : ids[i];

        if (id != UINT32_MAX)
            known[count++] = id;
    }
    if (count && s->api->decode(s->self, known, count, put_bytes, out, &why) < 0)
        rc = err_set(e, ERR_SPEC, "tokenizer %s: %s", NAME, why.text);
    free(known);
    return rc;
}

/* ---- saving and loading: the model's bytes, two digits each ---------------- */

static int sp_save(const void *self, json_t *object, struct err *e)
{
    static const char digits[] = "0123456789abcdef";
    const struct sentencepiece *s = self;
    struct buf hex = {0};
    int rc;

    buf_reserve(&hex, 2 * s->model.len + 1);
    for (size_t i = 0; i < s->model.len; i++) {
        unsigned char byte = (unsigned char)s->model.data[i];
        const char two[] = {digits[byte >> 4], digits[byte & 15]};

        buf_add(&hex, two, 2);
    }
    rc = json_object_set_new(object, "model", json_stringn(hex.data, hex.len));
    buf_free(&hex);
    return rc ? err_set(e, ERR_NOMEM, "tokenizer %s: no memory", NAME) : ERR_OK;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int sp_load(void *self, const json_t *object, struct err *e)
{
    struct sentencepiece *s = self;
    const json_t *j = json_object_get(object, "model");
    const char *hex = json_string_value(j);
    size_t n = json_string_length(j);

    if (!hex || n == 0 || n % 2)
        return err_set(e, ERR_SPEC, "tokenizer %s: wanted \"model\" in pairs of digits",
                       NAME);
    buf_reserve(&s->model, n / 2 + 1);
    for (size_t i = 0; i < n; i += 2) {
        int high = digit_of(hex[i]), low = digit_of(hex[i + 1]);

        if (high < 0 || low < 0)
            return err_set(e, ERR_SPEC,
                           "tokenizer %s: wanted digits of base 16 as \"model\"", NAME);
        buf_add(&s->model, &(char){(char)(high << 4 | low)}, 1);
    }
    return open_model(s, e);
}

static const struct buf *sp_as_model(const void *self)
{
    return &((const struct sentencepiece *)self)->model;
}

const struct tokenizer_kind tokenizer_sentencepiece = {
    .name = NAME,
    .create = sp_create,
    .destroy = sp_destroy,
    .learn = sp_learn,
    .seal = sp_seal,
    .vocab = sp_vocab,
    .encode = sp_encode,
    .lacks = sp_lacks,
    .decode_all = sp_decode_all,
    .save = sp_save,
    .load = sp_load,
    .members = 1,
    .as_model = sp_as_model,
};
