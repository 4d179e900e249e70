/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_safetensors.c - files of tensors: opened, and every tensor read to its end.
 * parser: lib/format/safetensors_read.c lib/format/safetensors_type.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "format/safetensors.h"

static void read_tensor(const struct safetensors *s, const struct safetensors_tensor *t,
                        size_t size)
{
    uint64_t bytes = t->elements * t->element_size;
    char *out;
    struct err e = {0};

    FUZZ_HOLDS(bytes <= size && t->offset + bytes <= size);
    FUZZ_HOLDS(safetensors_find(s, t->name) == t);
    out = malloc(bytes + 1);
    FUZZ_HOLDS(out);
    FUZZ_HOLDS(safetensors_read(s, t, 0, t->elements, out, &e) == 0);
    FUZZ_HOLDS(safetensors_read(s, t, 0, t->elements + 1, out, &e) < 0);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *s;
    struct err e = {0};

    if (safetensors_open(fuzz_file("x.safetensors", data, size), &s, &e) < 0) {
        FUZZ_HOLDS(e.text[0] && !strchr(e.text, '\n'));
        return 0;
    }
    for (size_t i = 0; i < safetensors_count(s); i++)
        read_tensor(s, safetensors_at(s, i), size);
    safetensors_close(s);
    return 0;
}
