/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_hf.c - what a folder of transformers says beside its tensors, and what an
 * imported checkpoint remembers of it: config.json, the index, origin.json.
 * parser: lib/exchange/hf_config.c lib/exchange/hf_folder.c lib/exchange/origin.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "exchange/hf_config.h"
#include "exchange/origin.h"

/* A model section is what is left, and a class that has a name. */
static void config(const json_t *j)
{
    static const char *const ignore[] = {"x"};
    const char *type = NULL;
    json_t *job = NULL;
    struct err e = {0};

    if (hf_config_read("config.json", j, ignore, 1, &type, &job, &e) < 0) {
        FUZZ_HOLDS(e.text[0] && !strchr(e.text, '\n'));
        return;
    }
    FUZZ_HOLDS(type && json_is_object(json_object_get(job, "model")));
    FUZZ_HOLDS(
        json_is_integer(json_object_get(json_object_get(job, "model"), "vocab")));
    json_decref(job);
}

/* Names of files stay in their folder. */
static void index_of(const json_t *j, struct arena *a)
{
    const char **files;
    struct err e = {0};
    size_t n = 0;

    if (hf_index_read("index", j, a, &files, &n, &e) < 0)
        return;
    FUZZ_HOLDS(n > 0);
    for (size_t i = 0; i < n; i++)
        FUZZ_HOLDS(*files[i] && files[i][0] != '.' && !strchr(files[i], '/'));
}

static void origin_of(const char *text, size_t len, struct arena *a)
{
    struct origin o;
    struct err e = {0};

    if (origin_read(text, len, a, &o, &e) < 0)
        return;
    for (size_t i = 0; i < o.n; i++)
        for (size_t k = 0; k < o.file[i].n; k++)
            FUZZ_HOLDS(o.file[i].tensor[k].dtype &&
                       o.file[i].tensor[k].offset >= o.file[i].head_len);
    origin_free(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct arena *a = arena_create();
    json_t *j = NULL;
    struct err e = {0};

    if (hf_parse("text", text, size, &j, &e) == 0) {
        config(j);
        index_of(j, a);
        origin_of(text, size, a);
    }
    json_decref(j);
    arena_destroy(a);
    return 0;
}
