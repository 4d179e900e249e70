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

#endif
