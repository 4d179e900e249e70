/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_arena.c - objects are zeroed, aligned, apart, and all released.
 */
#include "base/arena.h"

#include "unit.h"

static void objects_are_zeroed_aligned_and_apart(void **state)
{
    struct arena *a = arena_create();
    unsigned char *all[2000];

    (void)state;
    for (size_t i = 0; i < 2000; i++) {
        size_t size = i % 100 ? i % 97 : 20000;

        all[i] = arena_alloc(a, size + 1);
        assert_int_equal((uintptr_t)all[i] % 16, 0);
        for (size_t j = 0; j <= size; j++)
            assert_int_equal(all[i][j], 0);
        memset(all[i], (int)i % 251 + 1, size + 1);
    }
    for (size_t i = 0; i < 2000; i++) {
        assert_int_equal(all[i][0], (int)i % 251 + 1);
        assert_int_equal(all[i][i % 100 ? i % 97 : 20000], (int)i % 251 + 1);
    }
    arena_destroy(a);
    arena_destroy(NULL);
}

static void copies_are_copies(void **state)
{
    struct arena *a = arena_create();
    char text[] = "text";
    char *copy = arena_strdup(a, text);
    char *bytes = arena_memdup(a, "a\0b", 3);

    (void)state;
    text[0] = 'n';
    assert_string_equal(copy, "text");
    assert_memory_equal(bytes, "a\0b", 3);
    assert_null(arena_strdup(a, NULL));
    assert_string_equal(arena_printf(a, "%s-%d", text, 5), "next-5");
    assert_non_null(arena_memdup(a, NULL, 0));
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_zeroed_aligned_and_apart),
        cmocka_unit_test(copies_are_copies),
    };

    return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}
