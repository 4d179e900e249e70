/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_sample.c - a part of a call, computed by itself, has the numbers of the
 * whole call; and one number that is off is seen.
 */
#include "kernel/sample.h"

#include <math.h>

#include "base/pool.h"
#include "kernel/kernel.h"
#include "kernel/verify.h"
#include "unit.h"

enum { ROWS = 70, INNER = 33, COLUMNS = 90 };

static struct pool *pool;
static struct kernels *ks;

static int setup(void **state)
{
    struct err e;
    (void)state;
    return pool_create(1, NULL, NULL, &pool, &e) < 0 ||
           kernels_create(pool, &ks, &e) < 0;
}

static int teardown(void **state)
{
    (void)state;
    kernels_destroy(ks);
    pool_destroy(pool);
    return 0;
}

static float *numbers(struct arena *a, int64_t n, int seed)
{
    float *x = arena_calloc(a, (size_t)n, sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)sin((double)(i * 7 + seed));
    return x;
}

static struct nnd_tensor matrix(struct arena *a, int64_t rows, int64_t columns,
                                int seed)
{
    struct nnd_tensor t = {.data = numbers(a, rows * columns, seed),
                           .dim = {rows, columns},
                           .stride = {columns, 1},
                           .ndim = 2,
                           .dtype = NND_F32,
                           .align_log2 = 2};
    return t;
}

/* ref does the whole call, and the sample of it. */
static void run_both(const char *op, void *params, struct sample *s)
{
    const struct nnd_kernel *ref = kernels_ref(ks, op);
    struct nnd_launch l = {.struct_size = sizeof l, .nthreads = 1};
    struct nnd_error why = {{0}};
    l.workspace_size = 1 << 16; /* more than any of these calls needs */
    l.workspace = malloc(l.workspace_size);
    assert_int_equal(ref->launch(ref->self, NULL, s->params, &l, &why), 0);
    assert_int_equal(ref->launch(ref->self, NULL, params, &l, &why), 0);
    free(l.workspace);
}

static void expect_same(const struct sample *s)
{
    struct err e = {0};
    if (sample_compare(s, &e) < 0)
        fail_msg("%s", e.text);
}

static void check_gemm(int trans_a, int trans_b, float beta)
{
    struct arena *a = arena_create();
    struct sample s;
    struct err e = {0};
    struct nnd_gemm p = {
        .struct_size = sizeof p, .trans_a = trans_a, .trans_b = trans_b, .beta = beta};
    p.a = trans_a ? matrix(a, INNER, ROWS, 1) : matrix(a, ROWS, INNER, 1);
    p.b = trans_b ? matrix(a, COLUMNS, INNER, 2) : matrix(a, INNER, COLUMNS, 2);
    p.d = matrix(a, ROWS, COLUMNS, 3);
    p.c = p.d; /* in place */
    assert_true(sample_make("gemm", &p, a, &s));
    assert_int_equal(s.output[0].mine.dim[0], 16);
    assert_int_equal(s.output[0].mine.dim[1], 32);
    run_both("gemm", &p, &s);
    expect_same(&s);
    /* The last row that a sample of every fourth has. */
    ((float *)p.d.data)[60 * COLUMNS + 62] += 5;
    assert_true(sample_compare(&s, &e) < 0);
    assert_non_null(strstr(e.text, "d[15,31] of the sample is "));
    arena_destroy(a);
}

static void a_part_of_a_product(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        check_gemm(i & 1, i >> 1 & 1, i >> 2 ? 0.5f : 0);
}

static void last_queries_see_what_they_saw(void **state)
{
    struct arena *a = arena_create();
    struct sample s;
    static const int32_t cu[] = {0, 0, 20, 50};
    struct nnd_attn p = {.struct_size = sizeof p,
                         .cu_q = cu,
                         .cu_k = cu,
                         .batch = 3,
                         .max_q = 30,
                         .max_k = 30,
                         .causal = 1,
                         .window = 5,
                         .scale = 0.5f};
    struct nnd_tensor *const q[] = {&p.q, &p.o}, *const k[] = {&p.k, &p.v};
    (void)state;
    for (int i = 0; i < 2; i++) {
        *q[i] = matrix(a, 50, 4 * 8, i);
        *k[i] = matrix(a, 50, 2 * 8, i + 5);
        q[i]->ndim = k[i]->ndim = 3;
        q[i]->dim[1] = 4, k[i]->dim[1] = 2;
        q[i]->dim[2] = k[i]->dim[2] = q[i]->stride[1] = k[i]->stride[1] = 8;
        q[i]->stride[2] = k[i]->stride[2] = 1;
    }
    p.lse = matrix(a, 4, 50, 9);
    assert_true(sample_make("attn.fwd", &p, a, &s));
    assert_int_equal(s.output[0].mine.dim[0], 8); /* of the second sequence */
    assert_int_equal(s.output[0].mine.dim[1], 2);
    assert_ptr_equal(s.output[0].real.data, (float *)p.o.data + 12 * 32);
    run_both("attn.fwd", &p, &s);
    expect_same(&s);
    arena_destroy(a);
}

static void rows_and_their_numbers(void **state)
{
    struct arena *a = arena_create();
    struct sample s;
    int32_t *target = arena_calloc(a, ROWS, sizeof *target);
    struct nnd_xent p = {.struct_size = sizeof p, .target = target};
    (void)state;
    for (int i = 0; i < ROWS; i++)
        target[i] = i % 5 - 1;
    p.logits = matrix(a, ROWS, COLUMNS, 1);
    p.loss = p.lse = matrix(a, 1, ROWS, 1);
    p.lse.data = numbers(a, ROWS, 4);
    p.loss.ndim = p.lse.ndim = 1;
    p.loss.dim[0] = p.lse.dim[0] = ROWS;
    p.loss.stride[0] = p.lse.stride[0] = 1;
    assert_true(sample_make("xent.fwd", &p, a, &s));
    assert_int_equal(s.noutputs, 2);
    run_both("xent.fwd", &p, &s);
    expect_same(&s);
    arena_destroy(a);
}

static void who_is_checked_when(void **state)
{
    struct verify *v = NULL;
    struct err e;
    (void)state;
    assert_int_equal(verify_create(ks, "off", &v, &e), 0);
    assert_null(v);
    assert_false(verify_found(v));
    assert_int_equal(verify_create(ks, "sample:x", &v, &e), ERR_SPEC);
    assert_int_equal(verify_create(ks, "sample:3", &v, &e), 0);
    assert_int_equal(verify_count(v), 0);
    verify_destroy(v);
    struct sample s;
    struct arena *a = arena_create();
    assert_false(sample_make("vendor.op", NULL, a, &s));
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_of_a_product),
        cmocka_unit_test(last_queries_see_what_they_saw),
        cmocka_unit_test(rows_and_their_numbers),
        cmocka_unit_test(who_is_checked_when),
    };

    return cmocka_run_group_tests_name("kernel/sample", tests, setup, teardown);
}
