/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_manifest.c - what a checkpoint says about itself: as it is, and under a right
 * hash, since whoever changes a manifest can make one.
 * parser: lib/train/manifest.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "train/manifest.h"

/* What was read can be written and read again. */
static void again(const struct manifest *m, struct arena *a)
{
    struct buf one = {0}, two = {0};
    struct manifest back;
    struct err e;

    for (size_t i = 0; i < m->ntensor; i++) /* it is written as it is */
        if (strpbrk(m->tensor[i].type, "\"\\\n\t\r\b\f") != NULL)
            return;
    manifest_print(m, &one);
    FUZZ_HOLDS(manifest_parse("m", one.data, one.len, a, &back, &e) == 0);
    manifest_print(&back, &two);
    FUZZ_HOLDS(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    buf_free(&one);
    buf_free(&two);
}

static void parse(const char *text, size_t len)
{
    struct arena *a = arena_create();
    struct manifest m;
    struct err e;

    if (manifest_parse("m", text, len, a, &m, &e) == 0)
        again(&m, a);
    arena_destroy(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_create();
    struct buf text = {0};
    const char *seed, *job;
    char hex[SHA256_HEX];
    struct err e;

    parse((const char *)data, size);
    buf_add(&text, data, size);
    sha256_bytes(text.data ? text.data : "", text.len, hex);
    buf_printf(&text, "\"sha256\": \"%s\"\n}\n", hex);
    parse(text.data, text.len);
    text.len = size;
    text.data[size] = '\0';
    manifest_job(text.data, a, &seed, &job, &e);
    buf_free(&text);
    arena_destroy(a);
    return 0;
}
