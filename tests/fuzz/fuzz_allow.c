/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_allow.c - the list of keys that nnd lets in, and a client's list of servers.
 * parser: proto/keys.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "proto/keys.h"

static void same(const struct allow_list *a, const struct allow_list *b)
{
    FUZZ_HOLDS(a->n == b->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct allowed *x = &a->items[i], *y = &b->items[i];

        FUZZ_HOLDS(strcmp(x->public, y->public) == 0 && strcmp(x->user, y->user) == 0);
        FUZZ_HOLDS(x->uid == y->uid && x->role == y->role);
        FUZZ_HOLDS(x->until_us == y->until_us);
        FUZZ_HOLDS(allow_list_find(a, y->public) == x);
    }
}

static void servers(const uint8_t *data, size_t size)
{
    char key[2][KEYS_Z85];
    struct err e;
    size_t n = 0;

    if (servers_find(fuzz_file("servers", data, size), "tcp://a:1", key, 2, &n, &e) < 0)
        return;
    FUZZ_HOLDS(n <= 2);
    for (size_t i = 0; i < n; i++)
        FUZZ_HOLDS(keys_is_z85(key[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct allow_list list, back;
    char path[300];
    struct err e;

    servers(data, size);
    if (allow_list_parse("keys", (const char *)data, size, &list, &e) < 0)
        return 0;
    snprintf(path, sizeof path, "%s/keys", fuzz_dir());
    FUZZ_HOLDS(allow_list_write(path, &list, &e) == 0);
    FUZZ_HOLDS(allow_list_read(path, &back, &e) == 0);
    same(&list, &back);
    allow_list_free(&list);
    allow_list_free(&back);
    return 0;
}
