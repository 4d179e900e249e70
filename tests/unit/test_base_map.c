/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_map.c - what was put is got, in the order in which it was put.
 */
#include "base/map.h"

#include "unit.h"

static void order_is_insertion_order(void **state)
{
    struct map *m = map_create();
    static int values[5000];
    char key[32];

    (void)state;
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key.%d", i * 7919 % 5000);
        map_put(m, key, &values[i]);
    }
    assert_int_equal(map_count(m), 5000);
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "key.%d", i * 7919 % 5000);
        assert_string_equal(map_key(m, (size_t)i), key);
        assert_ptr_equal(map_value(m, (size_t)i), &values[i]);
        assert_ptr_equal(map_get(m, key), &values[i]);
    }
    map_destroy(m);
    map_destroy(NULL);
}

static void put_replaces(void **state)
{
    struct map *m = map_create();
    int a, b;

    (void)state;
    map_put(m, "x", &a);
    map_put(m, "y", NULL);
    map_put(m, "x", &b);
    assert_int_equal(map_count(m), 2);
    assert_ptr_equal(map_get(m, "x"), &b);
    assert_string_equal(map_key(m, 0), "x");
    assert_true(map_has(m, "y"));
    assert_null(map_get(m, "y"));
    assert_false(map_has(m, ""));
    assert_null(map_get(m, "z"));
    map_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_insertion_order),
        cmocka_unit_test(put_replaces),
    };

    return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
