/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_node.c - the table of machines: what is read, what fits, where ranks go.
 */
#include "tests/unit/unit.h"

#include "daemon/node.h"

static int load(const char *dir, const char *text, struct nodes *t, struct err *e)
{
    char path[128];

    snprintf(path, sizeof path, "%s/nodes", dir);
    assert_int_equal(fs_replace(path, text, strlen(text), e), 0);
    return nodes_load(path, t, e);
}

static void refuses(const char *dir, const char *text, const char *words)
{
    struct nodes t;
    struct err e = {0};

    assert_true(load(dir, text, &t, &e) < 0);
    if (!strstr(e.text, words))
        fail_msg("wanted \"%s\" in: %s", words, e.text);
}

static void test_file(void **state)
{
    struct nodes t;
    struct err e = {0};

    assert_int_equal(load(*state, "# all\n\n a 4 # first\n\tb.x-1\t2\n", &t, &e), 0);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.slots, 6);
    assert_string_equal(t.v[1].name, "b.x-1");
    nodes_free(&t);
    refuses(*state, "# none\n", "names no node");
    refuses(*state, "a 1\na 2\n", "line 2: a: is there twice");
    refuses(*state, "a\n", "wanted its slots");
    refuses(*state, "a 0\n", "wanted its slots, 1 to 65536, found \"0\"");
    refuses(*state, "a 2 3\n", "found \"3\"");
    refuses(*state, "-o 2\n", "wanted the name of a host");
    refuses(*state, "a;b 2\n", "wanted the name of a host");
}

/* RANKS of THREADS threads go to WHERE; NULL: they do not fit. */
static void goes(const struct nodes *t, uint32_t ranks, uint32_t threads,
                 const char *where)
{
    struct buf out = {0};
    bool fits = nodes_place(t, ranks, threads, false, &out);

    assert_int_equal(fits, where != NULL);
    if (where)
        assert_string_equal(out.data, where);
    buf_free(&out);
}

static void test_places(void **state)
{
    struct nodes t;
    struct buf out = {0};
    struct err e = {0};

    assert_int_equal(load(*state, "a 4\nb 2\nc 8\n", &t, &e), 0);
    goes(&t, 3, 1, "a:3"); /* the first that has room for all */
    goes(&t, 5, 1, "c:5"); /* one node before several         */
    goes(&t, 10, 1, "a:4,b:2,c:4");
    goes(&t, 3, 3, "a:1,c:2"); /* a rank's threads are on one     */
    goes(&t, 4, 3, NULL);
    assert_int_equal(nodes_room(&t, 3, true), 3);
    nodes_take(&t, "a:4,c:7", 11, 1);
    goes(&t, 3, 1, "b:2,c:1");
    goes(&t, 4, 1, NULL);
    nodes_take(&t, "gone:3", 3, 1); /* is not in the table any more */
    nodes_clear(&t);
    goes(&t, 14, 1, "a:4,b:2,c:8");
    assert_true(nodes_place(&t, 20, 1, true, &out));
    assert_string_equal(out.data, "a:7,b:7,c:6");
    buf_free(&out);
    nodes_free(&t);
}

static void test_here(void **state)
{
    struct nodes t;
    struct err e = {0};

    (void)state;
    assert_int_equal(nodes_local("here", 3, &t, &e), 0);
    nodes_take(&t, NULL, 2, 1);
    goes(&t, 1, 1, "here:1");
    goes(&t, 2, 1, NULL);
    nodes_free(&t);
    assert_int_equal(nodes_local("here", 0, &t, &e), 0);
    assert_true(t.slots >= 1);
    nodes_free(&t);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_file),
        TEST(test_places),
        TEST(test_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
