/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_plan_shard.c - every element has one owner, no block has two, and the
 * owners have about the same.
 */
#include "plan/shard.h"

#include <stdbool.h>

#include "unit.h"

enum { B = SHARD_BLOCK, TENSORS = 6, REPLICAS_MAX = 9 };

/* Whole blocks, short last blocks, less than a block, a stack of experts that
 * are no multiple of a block, padding between, and a plane that starts late. */
static const struct shard_tensor plane[TENSORS] = {
    {.offset = 64, .each = 3 * B, .logical = 1},
    {.offset = 64 + 3 * B, .each = 2 * B + 17, .logical = 1},
    {.offset = 6 * B, .each = 5, .logical = 1},
    {.offset = 6 * B + 16, .each = B + 1000, .logical = 8},
    {.offset = 18 * B, .each = 128, .logical = 64},
    {.offset = 30 * B, .each = 20 * B - 1, .logical = 1},
};

static int64_t size_of(const struct shard_tensor *t)
{
    return t->each * t->logical;
}

static int64_t plane_size(void)
{
    int64_t sum = 0;

    for (int i = 0; i < TENSORS; i++)
        sum += size_of(&plane[i]);
    return sum;
}

static bool is_boundary(const struct shard_tensor *t, int64_t x)
{
    return x % t->each % B == 0;
}

static void check_pieces(const struct shard *s, const struct shard_tensor *t)
{
    int64_t at = 0, blocks = 0;

    for (int r = 0; r < s->replicas; r++) {
        int64_t lo, hi;

        shard_piece(s, t, r, &lo, &hi);
        if (lo == hi)
            continue;
        assert_int_equal(lo, at);
        assert_true(hi > lo);
        assert_true(is_boundary(t, lo));
        assert_true(is_boundary(t, hi) || hi == size_of(t));
        blocks += shard_blocks_in(t, lo, hi);
        at = hi;
    }
    assert_int_equal(at, size_of(t));
    assert_int_equal(blocks, shard_blocks(t));
}

static void check_balance(const struct shard *s)
{
    const int64_t share = plane_size() / s->replicas;

    for (int r = 0; r < s->replicas; r++) {
        int64_t sum = 0, lo, hi;

        for (int i = 0; i < TENSORS; i++) {
            shard_piece(s, &plane[i], r, &lo, &hi);
            sum += hi - lo;
        }
        assert_in_range(sum, share - B, share + B + 1);
    }
}

static void check_ranges(const struct shard *s)
{
    assert_int_equal(s->begin[0], plane[0].offset);
    for (int r = 1; r < s->replicas; r++)
        assert_int_equal(s->begin[r], s->end[r - 1]);
    assert_int_equal(s->end[s->replicas - 1],
                     plane[TENSORS - 1].offset + size_of(&plane[TENSORS - 1]));
}

static void pieces_cover_every_element_once(void **state)
{
    (void)state;
    for (int replicas = 1; replicas <= REPLICAS_MAX; replicas++) {
        struct arena *a = arena_create();
        struct shard s;

        assert_int_equal(shard_make(a, plane, TENSORS, replicas, &s, NULL), 0);
        assert_int_equal(s.replicas, replicas);
        check_ranges(&s);
        for (int i = 0; i < TENSORS; i++)
            check_pieces(&s, &plane[i]);
        check_balance(&s);
        arena_destroy(a);
    }
}

static void one_block_has_one_owner(void **state)
{
    const struct shard_tensor t = {.offset = 0, .each = 100, .logical = 1};
    struct arena *a = arena_create();
    int owners = 0;
    struct shard s;

    (void)state;
    assert_int_equal(shard_make(a, &t, 1, 4, &s, NULL), 0);
    for (int r = 0; r < 4; r++) {
        int64_t lo, hi;

        shard_piece(&s, &t, r, &lo, &hi);
        owners += hi - lo == 100;
        assert_true(hi - lo == 100 || hi == lo);
    }
    assert_int_equal(owners, 1);
    arena_destroy(a);
}

static void equal_tensors_are_cut_evenly(void **state)
{
    const struct shard_tensor t = {.offset = 0, .each = 2 * B, .logical = 4};
    struct arena *a = arena_create();
    struct shard s;

    (void)state;
    assert_int_equal(shard_make(a, &t, 1, 4, &s, NULL), 0);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(s.begin[r], 2 * B * r);
        assert_int_equal(s.end[r], 2 * B * (r + 1));
    }
    arena_destroy(a);
}

static void blocks_start_anew_in_each_logical_tensor(void **state)
{
    const struct shard_tensor t = {.offset = 0, .each = B + 1, .logical = 3};

    (void)state;
    assert_int_equal(shard_blocks(&t), 6);
    assert_int_equal(shard_blocks_in(&t, 0, B), 1);
    assert_int_equal(shard_blocks_in(&t, 0, B + 1), 2);
    assert_int_equal(shard_blocks_in(&t, B, 2 * B + 1), 2);
    assert_int_equal(shard_blocks_in(&t, B + 1, 3 * B + 3), 4);
    assert_int_equal(shard_blocks_in(&t, B, B), 0);
}

static void an_empty_plane_is_nobodys(void **state)
{
    struct arena *a = arena_create();
    struct shard s;

    (void)state;
    assert_int_equal(shard_make(a, NULL, 0, 3, &s, NULL), 0);
    for (int r = 0; r < 3; r++)
        assert_int_equal(s.begin[r], s.end[r]);
    arena_destroy(a);
}

static void refuse(const struct shard_tensor *t, size_t n, int replicas,
                   const char *text)
{
    struct arena *a = arena_create();
    struct shard s = {.replicas = 77};
    struct err e;

    assert_true(shard_make(a, t, n, replicas, &s, &e) < 0);
    assert_string_equal(e.text, text);
    assert_int_equal(s.replicas, 77);
    arena_destroy(a);
}

static void wrong_planes_are_refused(void **state)
{
    const struct shard_tensor overlap[] = {{0, 10, 1}, {9, 10, 1}};
    const struct shard_tensor hollow[] = {{0, 0, 1}};
    const struct shard_tensor huge[] = {{0, INT64_MAX / 2, 3}};

    (void)state;
    refuse(plane, TENSORS, 0, "plane: wanted a replica, found 0");
    refuse(overlap, 2, 2,
           "tensor 1 of the plane: wanted an offset from 10 on, found 9");
    refuse(hollow, 1, 2, "tensor 0 of the plane: wanted elements, found 1 x 0");
    refuse(huge, 1, 2,
           "tensor 0 of the plane: 3 x 4611686018427387903 elements are too many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_cover_every_element_once),
        cmocka_unit_test(one_block_has_one_owner),
        cmocka_unit_test(equal_tensors_are_cut_evenly),
        cmocka_unit_test(blocks_start_anew_in_each_logical_tensor),
        cmocka_unit_test(an_empty_plane_is_nobodys),
        cmocka_unit_test(wrong_planes_are_refused),
    };

    return cmocka_run_group_tests_name("plan/shard", tests, NULL, NULL);
}
