/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lexicon.c - learning, saving and loading the tokenizers of a job.
 */
#include "data/lexicon.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "data/pairs.h"
#include "data/text.h"

static const char *const kind_names[] = {
    [NND__DATA__TOKENIZER__BPE] = "bpe",
    [NND__DATA__TOKENIZER__BYTE] = "byte",
    [NND__DATA__TOKENIZER__CHAR] = "char",
    [NND__DATA__TOKENIZER__SENTENCEPIECE] = "sentencepiece",
    [NND__DATA__TOKENIZER__WORD] = "word",
};

static struct tokenizer_config config_of(const Nnd__Data *d)
{
    return (struct tokenizer_config){
        .kind = kind_names[d->tokenizer],
        .marks = d->format == NND__DATA__FORMAT__PAIRS,
        .strict = d->unk == NND__DATA__UNKNOWN__ERROR,
        .lower = d->lower,
        .split = d->split,
        .min_count = d->min_count,
        .max_words = d->max_words,
        .vocab_size = d->vocab_size,
    };
}

static bool has_source(const Nnd__Data *d)
{
    return d->format == NND__DATA__FORMAT__PAIRS && !d->share_vocab;
}

/* ---- learning ------------------------------------------------------------- */

static int learn_line(void *arg, const char *line, size_t len, struct err *e)
{
    return tokenizer_learn(arg, line, len, e);
}

static int learn_text(const Nnd__Data *d, const char *key, struct lexicon *l,
                      struct err *e)
{
    struct arena *a = arena_create();
    struct text_files files;
    int rc = ERR_OK;

    if (d->n_train == 0)
        rc = err_set(e, ERR_SPEC, "%s: wanted files or folders, found none", key);
    if (rc == 0 && (rc = text_find(d->train, d->n_train, a, &files, e)) < 0)
        err_prefix(e, "%s", key);
    if (rc == 0 && d->format == NND__DATA__FORMAT__LINES)
        rc = tokenizer_learn(l->target, "\n", 1, e);
    if (rc == 0)
        rc = text_each_line(&files, learn_line, l->target, e);
    arena_destroy(a);
    return rc;
}

static int learn_pair(void *arg, const struct pair *p, enum pair_side *side,
                      struct err *e)
{
    struct lexicon *l = arg;
    struct tokenizer *source = l->source ? l->source : l->target;

    *side = PAIR_SOURCE;
    if (tokenizer_learn(source, p->text[*side], p->len[*side], e) < 0)
        return e->code;
    *side = PAIR_TARGET;
    return tokenizer_learn(l->target, p->text[*side], p->len[*side], e);
}

static int learn(const Nnd__Data *d, const char *key, struct lexicon *l, struct err *e)
{
    if (!tokenizer_learns(l->target))
        return ERR_OK;
    return d->format == NND__DATA__FORMAT__PAIRS ? pairs_train(d, learn_pair, l, e)
                                                 : learn_text(d, key, l, e);
}

/* What cannot be learned from the text is told with its name. */
static int seal(const Nnd__Data *d, const char *key, struct lexicon *l, struct err *e)
{
    int rc = tokenizer_seal(l->target, e);

    if (rc == 0 && l->source)
        rc = tokenizer_seal(l->source, e);
    if (rc == ERR_SPEC && d->n_train > 1)
        err_prefix(e, "%s: %s and %zu more", key, d->train[0], d->n_train - 1);
    else if (rc == ERR_SPEC && d->n_train)
        err_prefix(e, "%s: %s", key, d->train[0]);
    return rc;
}

static int create(const Nnd__Data *d, const char *key, struct lexicon *l, struct err *e)
{
    struct tokenizer_config c = config_of(d);
    int rc = tokenizer_create(&c, &l->target, e);

    if (rc == 0 && has_source(d))
        rc = tokenizer_create(&c, &l->source, e);
    if (rc == 0)
        rc = learn(d, key, l, e);
    return rc < 0 ? rc : seal(d, key, l, e);
}

/* The job's tokenizers are there already. */
static int open_files(const Nnd__Data *d, struct lexicon *l, struct err *e)
{
    struct tokenizer_config c = config_of(d);

    if (tokenizer_open(d->tokenizer_file, &c, &l->target, e) < 0)
        return err_prefix(e, "data.tokenizer_file");
    if (has_source(d) &&
        tokenizer_open(d->source_tokenizer_file, &c, &l->source, e) < 0)
        return err_prefix(e, "data.source_tokenizer_file");
    return lexicon_check_keys(l, d, e);
}

static bool has_files(const Nnd__Data *d)
{
    return d->tokenizer_file && *d->tokenizer_file;
}

int lexicon_learn(const Nnd__Data *d, struct lexicon *out, struct err *e)
{
    return lexicon_learn_text(d, "data.train", out, e);
}

int lexicon_learn_text(const Nnd__Data *d, const char *key, struct lexicon *out,
                       struct err *e)
{
    struct lexicon l = {0};
    int rc = has_files(d) ? open_files(d, &l, e) : create(d, key, &l, e);

    if (rc < 0)
        lexicon_free(&l);
    else
        *out = l;
    return rc;
}

void lexicon_free(struct lexicon *l)
{
    tokenizer_destroy(l->target);
    tokenizer_destroy(l->source);
    *l = (struct lexicon){0};
}

const struct tokenizer *lexicon_source(const struct lexicon *l)
{
    return l->source ? l->source : l->target;
}

/* ---- saving and loading --------------------------------------------------- */

/* A tokenizer's line without its end. */
static int save_part(const struct tokenizer *t, struct buf *out, struct err *e)
{
    int rc = tokenizer_save(t, out, e);

    if (rc == 0)
        out->data[--out->len] = '\0';
    return rc;
}

int lexicon_save(const struct lexicon *l, struct buf *out, struct err *e)
{
    int rc;

    if (!l->source)
        return tokenizer_save(l->target, out, e);
    buf_puts(out, "{\"source\":");
    rc = save_part(l->source, out, e);
    buf_puts(out, ",\"target\":");
    if (rc == 0)
        rc = save_part(l->target, out, e);
    buf_puts(out, "}\n");
    return rc;
}

static int load_part(const char *where, const json_t *object, struct tokenizer **out,
                     struct err *e)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);
    int rc;

    if (!text)
        return err_set(e, ERR_NOMEM, "%s: no memory", where);
    rc = tokenizer_load(where, text, strlen(text), out, e);
    free(text);
    return rc;
}

int lexicon_load(const char *where, const char *json, size_t len, struct lexicon *out,
                 struct err *e)
{
    struct lexicon l = {0};
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *source = json_object_get(root, "source");
    const json_t *target = json_object_get(root, "target");
    int rc;

    if (!source && !target)
        rc = tokenizer_load(where, json, len, &l.target, e);
    else if (!source || !target || json_object_size(root) != 2)
        rc = err_set(e, ERR_SPEC,
                     "%s: wanted a tokenizer, or \"source\" and \"target\"", where);
    else if ((rc = load_part(where, source, &l.source, e)) == 0)
        rc = load_part(where, target, &l.target, e);
    json_decref(root);
    if (rc < 0)
        lexicon_free(&l);
    else
        *out = l;
    return rc;
}

int lexicon_same(const struct lexicon *a, const struct lexicon *b, struct err *e)
{
    const struct lexicon *both[] = {a, b};
    char hex[2][2][SHA256_HEX];

    for (int i = 0; i < 2; i++)
        if (tokenizer_sha256(both[i]->target, hex[i][0], e) < 0 ||
            tokenizer_sha256(lexicon_source(both[i]), hex[i][1], e) < 0)
            return e->code;
    return strcmp(hex[0][0], hex[1][0]) == 0 && strcmp(hex[0][1], hex[1][1]) == 0;
}

int lexicon_check(const struct lexicon *l, const Nnd__Data *d, struct err *e)
{
    const struct tokenizer *both[] = {l->target, lexicon_source(l)};
    const char *kind = kind_names[d->tokenizer];

    for (int i = 0; i < 2; i++)
        if (strcmp(kind, tokenizer_name(both[i])) != 0)
            return err_set(e, ERR_SPEC,
                           "data.tokenizer: wanted %s, found a %s tokenizer", kind,
                           tokenizer_name(both[i]));
    if (d->format == NND__DATA__FORMAT__PAIRS && !tokenizer_marks(l->target))
        return err_set(e, ERR_SPEC,
                       "data.format: pairs want a vocabulary with <bos> and <eos>, "
                       "found one without: it is of another model");
    if (has_source(d) != (l->source != NULL))
        return err_set(e, ERR_SPEC,
                       "data.share_vocab: wanted %d vocabularies, found %d: they are "
                       "of another model",
                       1 + has_source(d), 1 + (l->source != NULL));
    return ERR_OK;
}

int lexicon_check_keys(const struct lexicon *l, const Nnd__Data *d, struct err *e)
{
    static const struct {
        const char *lacks, *key, *is, *wants;
    } keys[] = {{"lower", "data.lower", "false", "true"},
                {"split", "data.split", "false", "true"},
                {"strict", "data.unk", "replace", "error"}};
    const struct tokenizer *both[] = {l->target, lexicon_source(l)};
    const char *file[] = {d->tokenizer_file,
                          l->source ? d->source_tokenizer_file : d->tokenizer_file};
    struct tokenizer_config c = config_of(d);
    int rc = lexicon_check(l, d, e);

    for (size_t i = 0; rc == 0 && i < 2; i++) {
        const char *lacks = tokenizer_lacks(both[i], &c);

        for (size_t k = 0; lacks && k < sizeof keys / sizeof *keys; k++)
            if (strcmp(keys[k].lacks, lacks) == 0)
                rc = err_set(e, ERR_SPEC, "%s: wanted %s, as %s has it, found %s",
                             keys[k].key, keys[k].is,
                             file[i] && *file[i] ? file[i]
                                                 : "the checkpoint's tokenizer",
                             keys[k].wants);
    }
    return rc;
}
