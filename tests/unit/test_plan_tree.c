/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_plan_tree.c - whatever the order of arrival, the sum has the bits of the
 * recursive sum over chunk numbers, and the buffers are as few as promised.
 */
#include "plan/tree.h"

#include <math.h>

#include "unit.h"

enum { LEAVES_MAX = 64, WIDTH = 3 };

static uint32_t seed;

static uint32_t draw(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Numbers of very different sizes, so that any other order rounds otherwise. */
static void draw_leaves(float (*x)[WIDTH], int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < WIDTH; j++)
            x[i][j] = ldexpf((float)draw() / (1 << 24) - 0.5f, (int)(draw() % 20));
}

static float recursive_sum(float (*x)[WIDTH], int from, int n, int j)
{
    if (n == 1)
        return x[from][j];
    return recursive_sum(x, from, n / 2, j) + recursive_sum(x, from + n / 2, n / 2, j);
}

/* Do what the tree says; what it should not look at any more becomes NaN. */
static void run_step(const struct tree_step *st, const float *leaf, float (*buf)[WIDTH])
{
    float sum[WIDTH];

    memcpy(buf[st->leaf], leaf, sizeof sum);
    memcpy(sum, buf[st->leaf], sizeof sum);
    for (int k = 0; k < st->n; k++)
        for (int j = 0; j < WIDTH; j++)
            sum[j] += buf[st->with[k]][j];
    for (int j = 0; j < WIDTH; j++) {
        buf[st->leaf][j] = NAN;
        for (int k = 0; k < st->n; k++)
            buf[st->with[k]][j] = NAN;
    }
    memcpy(buf[st->into], sum, sizeof sum);
}

/* Returns the buffers that the tree asked for. */
static int check_order(const int *order, int n)
{
    struct arena *a = arena_create();
    struct tree t;
    struct err e;
    float x[LEAVES_MAX][WIDTH], buf[LEAVES_MAX][WIDTH], want[WIDTH];

    draw_leaves(x, n);
    for (int j = 0; j < WIDTH; j++)
        want[j] = recursive_sum(x, 0, n, j);
    assert_int_equal(tree_make(a, order, n, &t, &e), 0);
    assert_int_equal(t.arrivals, n);
    for (int i = 0; i < n; i++) {
        assert_in_range(t.step[i].leaf, 0, t.buffers - 1);
        assert_in_range(t.step[i].into, 0, t.buffers - 1);
        run_step(&t.step[i], x[order[i]], buf);
    }
    assert_memory_equal(buf[0], want, sizeof want);
    arena_destroy(a);
    return t.buffers;
}

static int log2_of(int n)
{
    return n == 1 ? 0 : 1 + log2_of(n / 2);
}

static void in_sequence_needs_a_carry_stack(void **state)
{
    int order[LEAVES_MAX];

    (void)state;
    for (int i = 0; i < LEAVES_MAX; i++)
        order[i] = i;
    for (int n = 1; n <= LEAVES_MAX; n *= 2)
        assert_int_equal(check_order(order, n), log2_of(n) + 1);
}

/* Chunks of `sources` ranks arrive round by round: for position p, for source s. */
static void interleaved_sources_add_up(void **state)
{
    int order[LEAVES_MAX];

    (void)state;
    for (int n = 1; n <= LEAVES_MAX; n *= 2) {
        for (int sources = 1; sources <= n; sources *= 2) {
            const int local = n / sources;

            for (int i = 0; i < n; i++)
                order[i] = i % sources * local + i / sources;
            assert_in_range(check_order(order, n), 1,
                            (local > 1 ? sources : 1) * log2_of(n) + 1);
        }
    }
}

static void random_orders_add_up(void **state)
{
    int order[LEAVES_MAX];

    (void)state;
    for (int trial = 0; trial < 200; trial++) {
        const int n = 1 << draw() % 7;

        for (int i = 0; i < n; i++)
            order[i] = i;
        for (int i = n - 1; i > 1; i--) {
            int j = 1 + (int)(draw() % (uint32_t)i), was = order[i];

            order[i] = order[j];
            order[j] = was;
        }
        check_order(order, n);
    }
}

static void steps_are_those_of_a_binary_counter(void **state)
{
    const int order[] = {0, 1, 2, 3};
    struct arena *a = arena_create();
    struct tree t;

    (void)state;
    assert_int_equal(tree_make(a, order, 4, &t, NULL), 0);
    assert_int_equal(t.step[0].n, 0);
    assert_int_equal(t.step[0].into, t.step[0].leaf);
    assert_int_equal(t.step[1].n, 1);
    assert_int_equal(t.step[1].with[0], 0);
    assert_int_equal(t.step[2].n, 0);
    assert_int_equal(t.step[2].leaf, 1);
    assert_int_equal(t.step[3].leaf, 2);
    assert_int_equal(t.step[3].n, 2);
    assert_int_equal(t.step[3].with[0], 1);
    assert_int_equal(t.step[3].with[1], 0);
    assert_int_equal(t.step[3].into, 0);
    arena_destroy(a);
}

static void longest_chain_fits(void **state)
{
    const int n = 1 << TREE_CHAIN_MAX;
    struct arena *a = arena_create();
    int *order = arena_calloc(a, (size_t)n, sizeof *order);
    struct tree t;

    (void)state;
    for (int i = 0; i < n; i++)
        order[i] = i;
    assert_int_equal(tree_make(a, order, n, &t, NULL), 0);
    assert_int_equal(t.buffers, TREE_CHAIN_MAX + 1);
    assert_int_equal(t.step[n - 1].n, TREE_CHAIN_MAX);
    assert_int_equal(t.step[n - 1].into, 0);
    arena_destroy(a);
}

static void refuse(const int *order, int n, int code, const char *text)
{
    struct arena *a = arena_create();
    struct tree t = {.arrivals = 77};
    struct err e;

    assert_int_equal(tree_make(a, order, n, &t, &e), code);
    assert_string_equal(e.text, text);
    assert_int_equal(t.arrivals, 77);
    arena_destroy(a);
}

static void wrong_orders_are_refused(void **state)
{
    (void)state;
    refuse((int[]){0, 1, 2}, 3, ERR_SPEC,
           "train.chunks: wanted a power of two of at most 32768, found 3");
    refuse(NULL, 0, ERR_SPEC,
           "train.chunks: wanted a power of two of at most 32768, found 0");
    refuse(NULL, 1 << 16, ERR_SPEC,
           "train.chunks: wanted a power of two of at most 32768, found 65536");
    refuse((int[]){1, 0}, 2, ERR_FAILED, "arrival 0: wanted chunk 0, found 1");
    refuse((int[]){0, 0}, 2, ERR_FAILED,
           "arrival 1: wanted a new chunk below 2, found 0");
    refuse((int[]){0, 2}, 2, ERR_FAILED,
           "arrival 1: wanted a new chunk below 2, found 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_sequence_needs_a_carry_stack),
        cmocka_unit_test(interleaved_sources_add_up),
        cmocka_unit_test(random_orders_add_up),
        cmocka_unit_test(steps_are_those_of_a_binary_counter),
        cmocka_unit_test(longest_chain_fits),
        cmocka_unit_test(wrong_orders_are_refused),
    };

    return cmocka_run_group_tests_name("plan/tree", tests, NULL, NULL);
}
