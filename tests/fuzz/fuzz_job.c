/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_job.c - a job file, and behind NUL bytes what -S gives.
 * parser: proto/spec_load.c proto/field.c proto/spec.c proto/spec_resolve.c
 * parser: proto/spec_check.c proto/spec_data.c proto/spec_kernels.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "proto/spec.h"

/* The same job by another way. */
static void same(struct spec *a, const char hex[SHA256_HEX])
{
    char other[SHA256_HEX];
    struct err e;

    FUZZ_HOLDS(spec_resolve(a, &e) == 0);
    FUZZ_HOLDS(spec_hash(a, other, &e) == 0);
    FUZZ_HOLDS(strcmp(hex, other) == 0);
    spec_destroy(a);
}

static void through_bytes(struct spec *s)
{
    struct buf bytes = {0}, yaml = {0};
    struct spec *back;
    char hex[SHA256_HEX];
    struct err e;

    if (spec_pack(s, &bytes, &e) == 0) {
        FUZZ_HOLDS(spec_hash(s, hex, &e) == 0);
        FUZZ_HOLDS(spec_unpack(bytes.data, bytes.len, &back, &e) == 0);
        same(back, hex);
        spec_print_yaml(s, &yaml);
        back = spec_create();
        FUZZ_HOLDS(spec_load_text(back, "printed", yaml.data, yaml.len, &e) == 0);
        same(back, hex);
        buf_clear(&yaml);
        spec_hints(s, &yaml);
        json_decref(spec_to_json(spec_job(s)));
    }
    buf_free(&bytes);
    buf_free(&yaml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = text + size;
    const char *nul = size ? memchr(text, '\0', size) : NULL;
    struct spec *s = spec_create();
    struct err e;
    int rc = spec_load_text(s, "job.yaml", text, nul ? (size_t)(nul - text) : size, &e);

    while (rc == 0 && nul && nul + 1 < end) {
        size_t len = strnlen(nul + 1, (size_t)(end - nul - 1));
        char *assignment = strndup(nul + 1, len);

        rc = spec_set(s, assignment, &e);
        free(assignment);
        nul += 1 + len;
    }
    if (rc == 0)
        spec_anchor(s, "/somewhere");
    if (rc == 0 && spec_resolve(s, &e) == 0)
        through_bytes(s);
    spec_destroy(s);
    return 0;
}
