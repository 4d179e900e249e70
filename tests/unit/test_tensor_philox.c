/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tensor_philox.c - the known answers that the authors of Philox publish
 * with Random123 (kat_vectors, philox4x32 10).
 */
#include "tensor/philox.h"

#include "unit.h"

static const struct {
    uint64_t key;
    uint32_t counter[4], out[4];
} known[] = {
    {0, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {UINT64_MAX,
     {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {0x299f31d0a4093822,
     {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void known_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        uint32_t out[4];
        philox4x32(known[i].key, known[i].counter, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void output_may_replace_counter(void **state)
{
    uint32_t x[4];
    (void)state;
    memcpy(x, known[2].counter, sizeof x);
    philox4x32(known[2].key, x, x);
    assert_memory_equal(x, known[2].out, sizeof x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(output_may_replace_counter),
    };

    return cmocka_run_group_tests_name("tensor/philox", tests, NULL, NULL);
}
