/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_files.h - what tests of BPE share: the fixtures, and tokenizers out of files.
 */
#ifndef TESTS_BPE_FILES_H
#define TESTS_BPE_FILES_H

#include <jansson.h>

#include "data/tokenizer.h"
#include "unit.h"

static inline const char *from_env(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value ? value : otherwise;
}

/* The one fixture that a test reads. */
static inline json_t *fixture_of(const char *name)
{
    static json_t *root;
    char path[4096];

    if (!root) {
        snprintf(path, sizeof path, "%s/tests/fixtures/%s.json",
                 from_env("NND_SRCDIR", "."), name);
        root = json_load_file(path, 0, NULL);
    }
    assert_non_null(root);
    return root;
}

static inline json_t *fixture(void)
{
    return fixture_of("bpe-gpt2");
}

static inline void write_file(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static inline void must(int rc, const struct err *e)
{
    if (rc < 0)
        fail_msg("%s", e->text);
}

static inline void write_json(const char *path, const json_t *json)
{
    assert_int_equal(json_dump_file(json, path, 0), 0);
}

/* A tokenizer out of a tokenizer.json. */
static inline struct tokenizer *open_json(void **state, const json_t *json)
{
    const char *path = unit_path(state, "tokenizer.json");
    struct tokenizer *t = NULL;
    struct err e;

    write_json(path, json);
    must(tokenizer_open(path, &(struct tokenizer_config){0}, &t, &e), &e);
    return t;
}

/* Encode s[len] as a whole, and in two parts that meet near `half`. */
static inline void must_agree(const struct tokenizer *t, const char *s, size_t len,
                              size_t half)
{
    size_t cut = half - tokenizer_open_end(t, s, half);
    struct tokens whole, parts;
    struct err e;

    tokens_init(&whole, tokenizer_vocab(t));
    tokens_init(&parts, tokenizer_vocab(t));
    must(tokenizer_encode(t, s, len, &whole, &e), &e);
    must(tokenizer_encode(t, s, cut, &parts, &e), &e);
    must(cut ? tokenizer_encode_more(t, s + cut, len - cut, &parts, &e)
             : tokenizer_encode(t, s, len, &parts, &e),
         &e);
    if (whole.count != parts.count ||
        memcmp(whole.ids, parts.ids, whole.count * whole.width) != 0)
        fail_msg("\"%s\": other ids when %zu bytes are known", s, half);
    tokens_free(&whole);
    tokens_free(&parts);
}

/* A member of a tokenizer as checkpoints hold it, what it becomes, and the error. */
struct bad_member {
    const char *key, *value, *text;
};

static inline void must_refuse_member(const struct tokenizer *t,
                                      const struct bad_member *bad)
{
    struct tokenizer *u;
    struct buf own = {0};
    struct err e;
    json_t *json;
    char *text;

    must(tokenizer_save(t, &own, &e), &e);
    json = json_loads(own.data, 0, NULL);
    json_object_set_new(json, bad->key, json_loads(bad->value, JSON_DECODE_ANY, NULL));
    text = json_dumps(json, 0);
    assert_int_equal(tokenizer_load("x", text, strlen(text), &u, &e), ERR_SPEC);
    assert_memory_equal(e.text, "x: tokenizer bpe: ", 18);
    assert_string_equal(e.text + 18, bad->text);
    free(text);
    json_decref(json);
    buf_free(&own);
}

#endif
