/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_conf.c - nnd's configuration, and whether a running nnd can take it.
 * parser: proto/conf.c proto/spec_load.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "proto/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spec *s = conf_create(), *plain = conf_create();
    struct err e;

    FUZZ_HOLDS(spec_resolve(plain, &e) == 0);
    if (spec_load_text(s, "nnd.yaml", (const char *)data, size, &e) == 0 &&
        spec_resolve(s, &e) == 0) {
        FUZZ_HOLDS(conf_of(s)->access && conf_of(s)->dir);
        FUZZ_HOLDS(spec_resolve(s, &e) == 0);
        FUZZ_HOLDS(conf_may_change(s, s, &e) == 0);
        conf_may_change(plain, s, &e);
    }
    spec_destroy(s);
    spec_destroy(plain);
    return 0;
}
