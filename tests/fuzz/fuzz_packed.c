/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_packed.c - a job as bytes, from a socket or a store.
 * parser: proto/spec_wire.c proto/spec_resolve.c proto/spec_check.c
 * parser: proto/spec_data.c proto/spec_kernels.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "proto/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf one = {0}, two = {0};
    struct spec *s, *back;
    char hex[SHA256_HEX];
    struct err e;

    if (spec_unpack(data, size, &s, &e) < 0)
        return 0;
    if (spec_pack(s, &one, &e) == 0) {
        FUZZ_HOLDS(spec_hash(s, hex, &e) == 0);
        FUZZ_HOLDS(spec_unpack(one.data, one.len, &back, &e) == 0);
        FUZZ_HOLDS(spec_pack(back, &two, &e) == 0);
        FUZZ_HOLDS(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
        spec_destroy(back);
    }
    spec_destroy(s);
    buf_free(&one);
    buf_free(&two);
    return 0;
}
