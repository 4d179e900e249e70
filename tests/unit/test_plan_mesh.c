/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_plan_mesh.c - places of ranks, owners of chunks, and every refusal.
 */
#include "plan/mesh.h"

#include "unit.h"

static void places_of_a_rank(void **state)
{
    struct mesh m;
    struct err e;

    (void)state;
    assert_int_equal(mesh_make(4, 2, 1, 1, 1, 1, 8, 3, &m, &e), 0);
    assert_int_equal(m.world, 4);
    assert_int_equal(m.rank, 3);
    assert_int_equal(m.ep_rank, 1);
    assert_int_equal(m.ep_group, 1);
    assert_int_equal(m.edp, 2);
    assert_int_equal(m.chunks, 8);
    assert_int_equal(m.chunks_local, 2);
}

static void every_chunk_has_one_owner(void **state)
{
    (void)state;
    for (int dp = 1; dp <= 8; dp *= 2) {
        int next = 0;
        struct mesh m;

        assert_int_equal(mesh_make(dp, 1, 1, 1, 1, 1, 8, 0, &m, NULL), 0);
        for (int r = 0; r < dp; r++)
            for (int p = 0; p < m.chunks_local; p++)
                assert_int_equal(mesh_chunk(&m, r, p), next++);
        assert_int_equal(next, 8);
    }
}

static void experts_are_held_by_consecutive_ranks(void **state)
{
    (void)state;
    for (int r = 0; r < 8; r++) {
        struct mesh m;

        assert_int_equal(mesh_make(8, 4, 1, 1, 1, 1, 8, r, &m, NULL), 0);
        assert_int_equal(m.ep_group * m.ep + m.ep_rank, r);
        assert_in_range(m.ep_rank, 0, 3);
        assert_in_range(m.ep_group, 0, m.edp - 1);
    }
}

/* dp, ep, tp, pp, cp, etp, chunks, rank */
static const struct {
    int at[8], code;
    const char *text;
} wrong[] = {
    {{1, 1, 2, 1, 1, 1, 4, 0},
     ERR_SPEC,
     "parallel.tp: wanted 1, found 2: not available yet"},
    {{1, 1, 1, 2, 1, 1, 4, 0},
     ERR_SPEC,
     "parallel.pp: wanted 1, found 2: not available yet"},
    {{1, 1, 1, 1, 4, 1, 4, 0},
     ERR_SPEC,
     "parallel.cp: wanted 1, found 4: not available yet"},
    {{1, 1, 1, 1, 1, 0, 4, 0},
     ERR_SPEC,
     "parallel.etp: wanted 1, found 0: not available yet"},
    {{3, 1, 1, 1, 1, 1, 4, 0}, ERR_SPEC, "parallel.dp: wanted a power of two, found 3"},
    {{0, 1, 1, 1, 1, 1, 4, 0}, ERR_SPEC, "parallel.dp: wanted a power of two, found 0"},
    {{2048, 1, 1, 1, 1, 1, 2048, 0},
     ERR_SPEC,
     "parallel.dp: wanted at most 1024, found 2048"},
    {{4, 3, 1, 1, 1, 1, 4, 0}, ERR_SPEC, "parallel.ep: wanted a power of two, found 3"},
    {{4, 1, 1, 1, 1, 1, 6, 0},
     ERR_SPEC,
     "train.chunks: wanted a power of two, found 6"},
    {{4, 1, 1, 1, 1, 1, -4, 0},
     ERR_SPEC,
     "train.chunks: wanted a power of two, found -4"},
    {{2, 4, 1, 1, 1, 1, 4, 0},
     ERR_SPEC,
     "parallel.ep: wanted at most parallel.dp (2), found 4"},
    {{8, 1, 1, 1, 1, 1, 4, 0},
     ERR_SPEC,
     "train.chunks: wanted at least parallel.dp (8), found 4"},
    {{2, 1, 1, 1, 1, 1, 4, 2}, ERR_FAILED, "rank 2: wanted one of the mesh's 2 ranks"},
    {{2, 1, 1, 1, 1, 1, 4, -1},
     ERR_FAILED,
     "rank -1: wanted one of the mesh's 2 ranks"},
};

static void wrong_meshes_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const int *x = wrong[i].at;
        struct mesh m = {.dp = 77};
        struct err e;

        assert_int_equal(
            mesh_make(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], &m, &e),
            wrong[i].code);
        assert_string_equal(e.text, wrong[i].text);
        assert_int_equal(m.dp, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_of_a_rank),
        cmocka_unit_test(every_chunk_has_one_owner),
        cmocka_unit_test(experts_are_held_by_consecutive_ranks),
        cmocka_unit_test(wrong_meshes_are_refused),
    };

    return cmocka_run_group_tests_name("plan/mesh", tests, NULL, NULL);
}
