/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_file.c - tokenizers out of files: which kind of file it is.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "data/bpe_file.h"
#include "data/tokenizer_kind.h"

/* The vocabulary of a large model takes some tens of megabytes. */
#define FILE_MAX ((size_t)1 << 28)

static int wrap(struct bpe *b, const struct tokenizer_config *c, bool marks,
                struct tokenizer **out, struct err *e)
{
    struct tokenizer_config config = {.kind = "bpe",
                                      .marks = c->marks || marks,
                                      .strict = c->strict && bpe_lacks(b),
                                      .lower = c->lower};
    void *self = tokenizer_bpe_self(b);

    return self ? tokenizer_wrap(&config, self, out, e)
                : err_set(e, ERR_NOMEM, "tokenizer bpe: no memory");
}

/* Our own form has a "kind", Hugging Face's a "model". */
static int open_json(const char *path, const struct buf *text,
                     const struct tokenizer_config *c, struct tokenizer **out,
                     struct err *e)
{
    struct bpe_text file = {path, text->data, text->len};
    json_t *root = json_loadb(text->data, text->len, 0, NULL);
    bool own = json_object_get(root, "kind") != NULL, marks;
    struct bpe *b;
    int rc;

    json_decref(root);
    if (own)
        return tokenizer_load(path, text->data, text->len, out, e);
    rc = bpe_read_json(&file, &b, &marks, e);
    return rc < 0 ? rc : wrap(b, c, marks, out, e);
}

static bool is_model(const char *path, const struct tokenizer_config *c)
{
    size_t n = strlen(path);

    return c->kind ? strcmp(c->kind, "sentencepiece") == 0
                   : n > 6 && strcmp(path + n - 6, ".model") == 0;
}

static int open_model(const char *path, const struct buf *model,
                      const struct tokenizer_config *c, struct tokenizer **out,
                      struct err *e)
{
    struct tokenizer_config config = {.kind = "sentencepiece",
                                      .marks = c->marks,
                                      .strict = c->strict,
                                      .lower = c->lower};
    void *self;

    if (tokenizer_sentencepiece_self(model->data, model->len, &self, e) < 0)
        return err_prefix(e, "%s", path);
    return tokenizer_wrap(&config, self, out, e);
}

static int open_file(const char *path, const struct tokenizer_config *c,
                     struct tokenizer **out, struct err *e)
{
    struct buf text = {0};
    int rc = fs_read(path, FILE_MAX, &text, e);

    if (rc == 0)
        rc = is_model(path, c) && !(text.len && text.data[0] == '{')
                 ? open_model(path, &text, c, out, e)
                 : open_json(path, &text, c, out, e);
    buf_free(&text);
    return rc;
}

/* GPT-2's two files, under either name. */
static int open_gpt2(char path[2][PATH_MAX + 32], const struct tokenizer_config *c,
                     struct tokenizer **out, struct err *e)
{
    struct buf text[2] = {{0}, {0}};
    struct bpe *b;
    int rc = fs_read(path[0], FILE_MAX, &text[0], e);

    if (rc == 0)
        rc = fs_read(path[1], FILE_MAX, &text[1], e);
    if (rc == 0)
        rc = bpe_read_gpt2(&(struct bpe_text){path[0], text[0].data, text[0].len},
                           &(struct bpe_text){path[1], text[1].data, text[1].len}, &b,
                           e);
    if (rc == 0)
        rc = wrap(b, c, false, out, e);
    buf_free(&text[0]);
    buf_free(&text[1]);
    return rc;
}

static int open_folder(const char *dir, const struct tokenizer_config *c,
                       struct tokenizer **out, struct err *e)
{
    static const char *const names[][2] = {{"vocab.json", "merges.txt"},
                                           {"encoder.json", "vocab.bpe"}};
    char path[2][PATH_MAX + 32];

    snprintf(path[0], sizeof path[0], "%s/tokenizer.json", dir);
    if (fs_exists(path[0]))
        return open_file(path[0], c, out, e);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (int k = 0; k < 2; k++)
            snprintf(path[k], sizeof path[k], "%s/%s", dir, names[i][k]);
        if (fs_exists(path[0]))
            return open_gpt2(path, c, out, e);
    }
    return err_set(e, ERR_NOTFOUND,
                   "%s: wanted tokenizer.json, or vocab.json and merges.txt, found "
                   "neither",
                   dir);
}

int tokenizer_open(const char *path, const struct tokenizer_config *c,
                   struct tokenizer **out, struct err *e)
{
    struct stat st;

    if (strlen(path) >= PATH_MAX)
        return err_set(e, ERR_SPEC, "wanted a shorter path");
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? open_folder(path, c, out, e)
                                                       : open_file(path, c, out, e);
}
