/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_key.c - a key file.
 * parser: proto/keys.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <unistd.h>

#include "proto/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct key k, back;
    char path[300];
    struct err e;

    if (key_read(fuzz_file("key", data, size), &k, &e) < 0)
        return 0;
    FUZZ_HOLDS(keys_is_z85(k.public) && keys_is_z85(k.secret));
    snprintf(path, sizeof path, "%s/again", fuzz_dir());
    unlink(path);
    if (!*k.name || !*k.created)
        return 0;
    FUZZ_HOLDS(key_write(path, &k, &e) == 0);
    FUZZ_HOLDS(key_read(path, &back, &e) == 0);
    FUZZ_HOLDS(memcmp(k.secret, back.secret, sizeof k.secret) == 0);
    FUZZ_HOLDS(strcmp(k.name, back.name) == 0);
    return 0;
}
