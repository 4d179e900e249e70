/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_sample.c - a part of a call, computed by itself, has the numbers of the
 * whole call; and one number that is off is seen.
 */
#include "kernel/sample.h"

#include <math.h>
#include <unistd.h>

#include "base/log.h"
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
    if (ref->supports(ref->self, s->params, &why) ||
        ref->launch(ref->self, NULL, s->params, &l, &why) ||
        ref->launch(ref->self, NULL, params, &l, &why))
        fail_msg("%s", why.text);
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
    assert_true(sample_make("gemm", &p, NULL, a, &s));
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
    assert_true(sample_make("attn.fwd", &p, NULL, a, &s));
    assert_int_equal(s.output[0].mine.dim[0], 8); /* of the second sequence */
    assert_int_equal(s.output[0].mine.dim[1], 2);
    assert_ptr_equal(s.output[0].real.data, (float *)p.o.data + 12 * 32);
    run_both("attn.fwd", &p, &s);
    expect_same(&s);
    arena_destroy(a);
}

/* A contiguous tensor of three or four dimensions. */
static struct nnd_tensor block(struct arena *a, const int64_t *dim, int ndim, int seed)
{
    struct nnd_tensor t = {.ndim = ndim, .dtype = NND_F32, .align_log2 = 2};
    int64_t n = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        t.dim[i] = dim[i];
        t.stride[i] = n;
        n *= dim[i];
    }
    t.data = numbers(a, n, seed);
    return t;
}

/* Of several sequences and heads, each with a bias of its own. */
static struct nnd_attn attention_with_bias(struct arena *a)
{
    static const int32_t cu[] = {0, 0, 20, 50};
    static const int64_t q[] = {50, 4, 8}, k[] = {50, 2, 8}, bias[] = {3, 4, 30, 30};
    struct nnd_attn p = {.struct_size = sizeof p,
                         .cu_q = cu,
                         .cu_k = cu,
                         .batch = 3,
                         .max_q = 30,
                         .max_k = 30,
                         .causal = 1,
                         .scale = 0.5f};
    p.q = block(a, q, 3, 1), p.o = block(a, q, 3, 2);
    p.k = block(a, k, 3, 3), p.v = block(a, k, 3, 4);
    p.dout = block(a, q, 3, 5), p.dq = block(a, q, 3, 6);
    p.dk = block(a, k, 3, 7), p.dv = block(a, k, 3, 8);
    p.bias = block(a, bias, 4, 9), p.dbias = block(a, bias, 4, 10);
    p.lse = matrix(a, 4, 50, 11);
    return p;
}

static void a_bias_goes_along(void **state)
{
    struct arena *a = arena_create();
    struct nnd_attn p = attention_with_bias(a);
    struct sample s;
    struct err e;
    (void)state;
    assert_true(sample_make("attn.fwd", &p, NULL, a, &s));
    run_both("attn.fwd", &p, &s);
    expect_same(&s);
    assert_true(sample_make("attn.bwd", &p, NULL, a, &s));
    assert_int_equal(s.noutputs, 4);
    assert_string_equal(s.output[3].name, "dbias");
    run_both("attn.bwd", &p, &s);
    expect_same(&s);
    /* Of sequence 1, head 1, row 19: the sample's [0,1,19,3]. */
    ((float *)p.dbias.data)[(1 * 4 + 1) * 900 + 19 * 30 + 3] += 1;
    assert_true(sample_compare(&s, &e) < 0);
    assert_non_null(strstr(e.text, "dbias[0,1,19,3] of the sample is "));
    p.dbias.dim[0] = 1; /* a sum over sequences, of which the sample has one */
    assert_true(sample_make("attn.bwd", &p, NULL, a, &s));
    assert_int_equal(s.noutputs, 3);
    arena_destroy(a);
}

static struct nnd_rnn lstm(struct arena *a, const int32_t *len)
{
    static const int64_t x[] = {9, 6, 20}, y[] = {9, 6, 5};
    struct nnd_rnn p = {.struct_size = sizeof p, .cell = NND_CELL_LSTM, .len = len};
    p.x = block(a, x, 3, 1), p.gates = block(a, x, 3, 2), p.dx = block(a, x, 3, 3);
    p.y = block(a, y, 3, 4), p.c = block(a, y, 3, 5), p.dy = block(a, y, 3, 6);
    p.h_prev = block(a, y, 3, 7);
    p.u = matrix(a, 20, 5, 8);
    p.h0 = matrix(a, 9, 5, 9), p.c0 = matrix(a, 9, 5, 10);
    p.h_last = matrix(a, 9, 5, 11), p.c_last = matrix(a, 9, 5, 12);
    p.dh0 = matrix(a, 9, 5, 13), p.dc0 = matrix(a, 9, 5, 14);
    return p;
}

static void sequences_stand_for_themselves(void **state)
{
    static const int32_t len[] = {6, 0, 1, 2, 3, 4, 5, 6, 4};
    struct arena *a = arena_create();
    struct nnd_rnn p = lstm(a, len);
    struct sample s;
    struct err e;
    (void)state;
    assert_true(sample_make("rnn.seq.fwd", &p, NULL, a, &s));
    assert_int_equal(s.noutputs, 5);
    assert_int_equal(s.output[0].mine.dim[0], 2);
    run_both("rnn.seq.fwd", &p, &s);
    expect_same(&s);
    assert_true(sample_make("rnn.seq.bwd", &p, NULL, a, &s));
    assert_int_equal(s.noutputs, 4);
    run_both("rnn.seq.bwd", &p, &s);
    expect_same(&s);
    ((float *)p.dx.data)[(8 * 6 + 3) * 20 + 7] += 1; /* the last row's last step */
    assert_true(sample_compare(&s, &e) < 0);
    assert_non_null(strstr(e.text, "dx[1,3,7] of the sample is "));
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
    assert_true(sample_make("xent.fwd", &p, NULL, a, &s));
    assert_int_equal(s.noutputs, 2);
    run_both("xent.fwd", &p, &s);
    expect_same(&s);
    arena_destroy(a);
}

/* Losses of some 7e-5, between numbers of 14: what the last bit of 14 is, 9.5e-7, may
 * be off in every row, and a hundredth of the loss as it is at the beginning may not.
 */
static void what_is_known_already(void **state)
{
    struct arena *a = arena_create();
    struct sample s;
    struct err e;
    int32_t *target = arena_calloc(a, ROWS, sizeof *target);
    float seed = 1.0f / ROWS;
    struct nnd_xent p = {.struct_size = sizeof p, .target = target, .seed = &seed};
    (void)state;
    p.logits = matrix(a, ROWS, COLUMNS, 1);
    for (int i = 0; i < ROWS; i++) {
        target[i] = i;
        ((float *)p.logits.data)[i * COLUMNS + i] = 14;
    }
    p.loss = block(a, (int64_t[]){ROWS}, 1, 3),
    p.lse = block(a, (int64_t[]){ROWS}, 1, 4);
    assert_true(sample_make("xent.fwd", &p, NULL, a, &s));
    run_both("xent.fwd", &p, &s);
    float *loss = p.loss.data;
    assert_true(loss[0] > 1e-5f && loss[0] < 2e-4f);
    for (int i = 0; i < ROWS; i++)
        loss[i] += 9.5e-7f;
    expect_same(&s);
    for (int i = 0; i < ROWS; i++)
        loss[i] += 0.045f;
    assert_true(sample_compare(&s, &e) < 0);
    p.dlogits = matrix(a, ROWS, COLUMNS, 5);
    assert_true(sample_make("xent.bwd", &p, NULL, a, &s));
    run_both("xent.bwd", &p, &s);
    float *slope = p.dlogits.data;
    for (int i = 0; i < ROWS; i++)
        slope[i * COLUMNS + i] += 9.5e-7f * seed;
    expect_same(&s);
    slope[0] += 0.01f * seed;
    assert_true(sample_compare(&s, &e) < 0);
    arena_destroy(a);
}

/* Whichever number of an output is asked for, the sample has it. */
static void a_sample_has_what_is_asked_for(void **state)
{
    struct arena *a = arena_create();
    struct sample s;
    struct err e = {0};
    struct nnd_gemm p = {.struct_size = sizeof p};
    (void)state;
    p.a = matrix(a, ROWS, INNER, 1);
    p.b = matrix(a, INNER, COLUMNS, 2);
    p.d = matrix(a, ROWS, COLUMNS, 3);
    for (int64_t i = 0; i < ROWS * COLUMNS; i += 17) {
        float *at = (float *)p.d.data + i, was;
        assert_true(sample_make("gemm", &p, at, a, &s));
        assert_int_equal(s.output[0].mine.dim[0] * s.output[0].mine.dim[1], 16 * 32);
        run_both("gemm", &p, &s);
        expect_same(&s);
        assert_false(sample_lost(&s, &e));
        was = *at;
        *at = NAN;
        assert_true(sample_lost(&s, &e));
        assert_non_null(strstr(e.text, "of the sample is nan, wanted "));
        *at = was;
    }
    arena_destroy(a);
}

/* Of attention: that sequence, that head, and its row of queries. */
static void attention_where_it_is_asked_for(void **state)
{
    static const int32_t cu[] = {0, 3, 20, 50};
    struct arena *a = arena_create();
    struct sample s;
    struct err e = {0};
    struct nnd_attn p = {.struct_size = sizeof p,
                         .cu_q = cu,
                         .cu_k = cu,
                         .batch = 3,
                         .max_q = 30,
                         .max_k = 30,
                         .causal = 1,
                         .scale = 0.5f};
    struct nnd_tensor *const q[] = {&p.q, &p.o, &p.dout, &p.dq};
    struct nnd_tensor *const k[] = {&p.k, &p.v, &p.dk, &p.dv};
    (void)state;
    for (int i = 0; i < 4; i++) {
        *q[i] = block(a, (int64_t[]){50, 4, 8}, 3, i);
        *k[i] = block(a, (int64_t[]){50, 2, 8}, 3, i + 5);
    }
    p.lse = matrix(a, 4, 50, 9);
    for (int64_t row = 0; row < 50; row += 7)
        for (int64_t head = 0; head < 4; head++) {
            float *at = (float *)p.o.data + row * 32 + head * 8 + 3, was;
            assert_true(sample_make("attn.fwd", &p, at, a, &s));
            run_both("attn.fwd", &p, &s);
            expect_same(&s);
            was = *at;
            *at = INFINITY;
            assert_true(sample_lost(&s, &e));
            *at = was;
            at = (float *)p.dk.data + row * 16 + head / 2 * 8;
            assert_true(sample_make("attn.bwd", &p, at, a, &s));
            run_both("attn.bwd", &p, &s);
            expect_same(&s);
            was = *at;
            *at = NAN;
            assert_true(sample_lost(&s, &e));
            *at = was;
        }
    arena_destroy(a);
}

/* Where ref has none, or one at the end of its type's range, nothing is lost. */
static void what_nobody_has_is_not_lost(void **state)
{
    struct arena *a = arena_create();
    struct sample s;
    struct err e = {0};
    struct nnd_act p = {.struct_size = sizeof p};
    (void)state;
    p.a = matrix(a, 3, 4, 1), p.b = matrix(a, 3, 4, 2), p.y = matrix(a, 3, 4, 3);
    ((float *)p.a.data)[5] = NAN;
    ((float *)p.a.data)[6] = 2e19f, ((float *)p.b.data)[6] = 1e19f;
    assert_true(sample_make("act.swiglu.fwd", &p, NULL, a, &s));
    run_both("act.swiglu.fwd", &p, &s);
    ((float *)p.y.data)[6] = INFINITY;
    assert_false(sample_lost(&s, &e));
    ((float *)p.y.data)[7] = INFINITY;
    assert_true(sample_lost(&s, &e));
    assert_non_null(strstr(e.text, "y[1,3] of the sample is inf"));
    arena_destroy(a);
}

static void norm_of_a_sum(int64_t rows)
{
    struct arena *a = arena_create();
    struct sample s;
    struct err e = {0};
    struct nnd_norm p = {.struct_size = sizeof p, .eps = 1e-5f};
    p.x = matrix(a, rows, COLUMNS, 1), p.add = matrix(a, rows, COLUMNS, 2);
    p.y = matrix(a, rows, COLUMNS, 3), p.sum = matrix(a, rows, COLUMNS, 4);
    p.w = block(a, (int64_t[]){COLUMNS}, 1, 5);
    p.rstd = block(a, (int64_t[]){rows}, 1, 6);
    assert_true(sample_make("norm.rms.fwd", &p, NULL, a, &s));
    assert_int_equal(s.noutputs, 3);
    assert_ptr_not_equal(((struct nnd_norm *)s.params)->sum.data, p.sum.data);
    run_both("norm.rms.fwd", &p, &s);
    expect_same(&s);
    ((float *)p.sum.data)[7] += 1;
    assert_true(sample_compare(&s, &e) < 0);
    assert_non_null(strstr(e.text, "sum[0,7] of the sample is "));
    arena_destroy(a);
}

static void a_sum_goes_along(void **state)
{
    (void)state;
    norm_of_a_sum(ROWS);
    norm_of_a_sum(7);
}

/* Rows choose two of six experts, as ref and the kernel have it. */
static struct nnd_route routes(struct arena *a)
{
    enum { EXPERTS = 6, CHOICES = 2 };
    struct nnd_route p = {.struct_size = sizeof p,
                          .pos = arena_calloc(a, ROWS, sizeof *p.pos),
                          .score = NND_SCORE_SOFTMAX,
                          .top_k = CHOICES,
                          .group_rows = ROWS,
                          .scale = 1};
    p.z = matrix(a, ROWS, EXPERTS, 1), p.gate = matrix(a, ROWS, CHOICES, 2);
    p.expert = matrix(a, ROWS, CHOICES, 3), p.count = matrix(a, 1, EXPERTS, 4);
    p.expert.dtype = p.count.dtype = NND_I32;
    p.psum = matrix(a, 1, EXPERTS, 5), p.zsq = block(a, (int64_t[]){1}, 1, 6);
    p.psum.data = arena_calloc(a, EXPERTS, sizeof(double));
    p.zsq.data = arena_calloc(a, 1, sizeof(double));
    p.psum.dtype = p.zsq.dtype = NND_F64;
    return p;
}

static void a_near_tie_falls_either_way(void **state)
{
    struct arena *a = arena_create();
    struct nnd_route p = routes(a);
    int32_t *expert = p.expert.data, *count = p.count.data;
    struct sample s;
    struct err e = {0};
    (void)state;
    assert_true(sample_make("moe.route.fwd", &p, NULL, a, &s));
    run_both("moe.route.fwd", &p, &s);
    expect_same(&s);
    int32_t was = expert[5], other = (was + 1) % 6;
    count[was]--;
    count[other]++;
    assert_true(sample_compare(&s, &e) < 0); /* though nobody chose otherwise */
    assert_non_null(strstr(e.text, "count[0,"));
    expert[5] = other;
    expect_same(&s);
    count[0]++;
    assert_true(sample_compare(&s, &e) < 0);
    arena_destroy(a);
}

static int yes(const void *self, const void *params, struct nnd_error *e)
{
    (void)self, (void)params, (void)e;
    return NND_OK;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    (void)self, (void)params, (void)out;
    return NND_OK;
}

static int serve(const void *self, void *plan, const void *params,
                 const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)params, (void)l, (void)e;
    return NND_OK;
}

static const struct nnd_kernel lenient = {.struct_size = sizeof lenient,
                                          .name = "lenient",
                                          .op = "act.relu.fwd",
                                          .device = "cpu",
                                          .op_version = 1,
                                          .supports = yes,
                                          .need = need,
                                          .launch = serve};
static const struct nnd_kernel *const kernels[] = {&lenient};
static const struct nnd_plugin plugin = {.struct_size = sizeof plugin,
                                         .abi_major = NND_ABI_MAJOR,
                                         .abi_minor = NND_ABI_MINOR,
                                         .name = "mine",
                                         .version = "1",
                                         .kernels = kernels,
                                         .nkernels = 1};

static void what_ref_refuses_is_said_once(void **state)
{
    struct arena *a = arena_create();
    struct nnd_act p = {.struct_size = sizeof p};
    struct nnd_launch l = {.struct_size = sizeof l, .nthreads = 1};
    struct nnd_error why;
    struct verify *v;
    struct err e;
    char said[1000];
    int fds[2], status;
    (void)state;
    p.a = matrix(a, 3, 4, 1), p.y = matrix(a, 3, 5, 2);
    assert_int_equal(pipe(fds), 0);
    log_setup("rank 0", LOG_LEVEL_INFO, fds[1]);
    assert_int_equal(kernels_add(ks, &plugin, "/mine.so", &e), 0);
    assert_int_equal(verify_create(ks, "all", &v, &e), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(verify_launch(v, &lenient, NULL, &p, &l, &why, &status, &e),
                         0);
    log_setup("", LOG_LEVEL_ERROR, -1);
    close(fds[1]);
    ssize_t n = read(fds[0], said, sizeof said - 1);
    close(fds[0]);
    said[n > 0 ? n : 0] = '\0';
    assert_int_equal(verify_count(v), 0);
    const char *line = strstr(said, "kernel mine/lenient is not held against ref: ");
    assert_non_null(line);
    assert_null(strstr(line + 1, "kernel mine/lenient"));
    verify_destroy(v);
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
    assert_false(sample_make("vendor.op", NULL, NULL, a, &s));
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_of_a_product),
        cmocka_unit_test(last_queries_see_what_they_saw),
        cmocka_unit_test(a_bias_goes_along),
        cmocka_unit_test(sequences_stand_for_themselves),
        cmocka_unit_test(rows_and_their_numbers),
        cmocka_unit_test(a_sum_goes_along),
        cmocka_unit_test(a_near_tie_falls_either_way),
        cmocka_unit_test(what_ref_refuses_is_said_once),
        cmocka_unit_test(what_is_known_already),
        cmocka_unit_test(a_sample_has_what_is_asked_for),
        cmocka_unit_test(attention_where_it_is_asked_for),
        cmocka_unit_test(what_nobody_has_is_not_lost),
        cmocka_unit_test(who_is_checked_when),
    };

    return cmocka_run_group_tests_name("kernel/sample", tests, setup, teardown);
}
