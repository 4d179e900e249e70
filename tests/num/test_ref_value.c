/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ref_value.c - forward kernels of ref against formulas written another
 * way, closed forms, and numbers worked out by hand.
 */
#include <complex.h>
#include <stdio.h>

#include "kernel/op.h"
#include "ref.h"
#include "tensor/dtype.h"
#include "tensor/philox.h"

/* An op without a reference, or a reference without an op, is an error. */
static void the_catalogue_is_complete(void **state)
{
    struct nnd_error e;
    (void)state;
    assert_int_equal(ref_plugin(NULL, &e)->nkernels, op_count());
    for (size_t i = 0; i < op_count(); i++)
        assert_non_null(num_kernel(op_name(i)));
}

/* Two implementations of the same rounding: ref's and lib/tensor's. */
static void numbers_are_rounded_alike(void **state)
{
    static const int dtypes[] = {NND_F32, NND_BF16, NND_F16};
    enum { N = 20000 };
    struct nnd_sum p = {.struct_size = sizeof p, .n = 1};
    (void)state;
    p.x[0] = num_random_f64(N, 0, 0);
    double *x = p.x[0].data;
    for (int i = 0; i < N; i++)
        x[i] = ldexp(x[i], i % 60 - 40);
    for (int d = 0; d < 3; d++) {
        uint64_t want = 0;
        size_t size = dtype_size(dtypes[d]);
        p.y = num_tensor(dtypes[d], N, 0, 0);
        num_run("sum", &p);
        for (int i = 0; i < N; i++) {
            dtype_from_f64(dtypes[d], &x[i], &want, 1);
            assert_memory_equal((char *)p.y.data + (size_t)i * size, &want, size);
        }
    }
}

static struct nnd_tensor transposed(struct nnd_tensor t)
{
    struct nnd_tensor r = t;
    r.dim[0] = t.dim[1], r.dim[1] = t.dim[0];
    r.stride[0] = t.stride[1], r.stride[1] = t.stride[0];
    return r;
}

static void expect_product(const struct nnd_gemm *p, const struct nnd_tensor *a,
                           const struct nnd_tensor *b)
{
    for (int m = 0; m < p->d.dim[0]; m++)
        for (int n = 0; n < p->d.dim[1]; n++) {
            long double sum =
                0.5L * *num_at(&p->c, m, n, 0) + *num_at(&p->bias, n, 0, 0);
            for (int k = (int)a->dim[1]; k-- > 0;)
                sum += (long double)*num_at(a, m, k, 0) * *num_at(b, k, n, 0);
            num_near("gemm", *num_at(&p->d, m, n, 0), (double)sum, 1e-13);
        }
}

static void products(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct nnd_gemm p = {.struct_size = sizeof p, .beta = 0.5f};
        p.trans_a = way & 1, p.trans_b = way >> 1;
        struct nnd_tensor a = num_random_f64(4, 600, 0), b = num_random_f64(600, 5, 0);
        p.a = p.trans_a ? transposed(a) : a;
        p.b = p.trans_b ? transposed(b) : b;
        p.c = num_random_f64(4, 5, 0), p.d = num_f64(4, 5, 0);
        p.bias = num_random_f64(5, 0, 0);
        num_run("gemm", &p);
        expect_product(&p, &a, &b);
    }
}

static struct nnd_tensor rows_of(struct nnd_tensor t, int64_t row, int64_t rows)
{
    t.data = num_at(&t, row, 0, 0);
    t.dim[0] = rows;
    return t;
}

static struct nnd_tensor matrix_of(const struct nnd_tensor *t, int64_t index)
{
    struct nnd_tensor r = num_f64(t->dim[1], t->dim[2], 0);
    r.data = num_at(t, index, 0, 0);
    return r;
}

/* A grouped product is products. */
static void grouped_products(void **state)
{
    static const struct nnd_segment seg[] = {{1, 3, 2, 0}, {4, 0, 0, 0}, {6, 4, 1, 0}};
    struct nnd_grouped_gemm p = {
        .struct_size = sizeof p, .segments = seg, .nsegments = 3};
    struct nnd_gemm one = {.struct_size = sizeof one};
    (void)state;
    p.a = num_random_f64(11, 4, 0), p.b = num_random_f64(3, 4, 5);
    p.d = num_f64(11, 5, 0);
    memset(p.d.data, 0xff, 11 * 5 * 8);
    num_run("gemm.grouped", &p);
    for (int s = 0; s < 3; s += 2) {
        one.a = rows_of(p.a, seg[s].row, seg[s].rows);
        one.b = matrix_of(&p.b, seg[s].index);
        one.d = num_f64(seg[s].rows, 5, 0);
        num_run("gemm", &one);
        assert_memory_equal(one.d.data, num_at(&p.d, seg[s].row, 0, 0),
                            (size_t)seg[s].rows * 5 * 8);
    }
    assert_true(isnan(*num_at(&p.d, 0, 0, 0)) && isnan(*num_at(&p.d, 10, 4, 0)));

    p.mode = NND_GROUP_K;
    p.b = num_random_f64(11, 5, 0), p.d = num_f64(3, 4, 5);
    memset(p.d.data, 0xff, 3 * 4 * 5 * 8);
    num_run("gemm.grouped", &p);
    one.trans_a = 1;
    for (int s = 0; s < 3; s++) {
        one.a = rows_of(p.a, seg[s].row, seg[s].rows);
        one.b = rows_of(p.b, seg[s].row, seg[s].rows);
        one.d = num_f64(4, 5, 0);
        num_run("gemm", &one);
        assert_memory_equal(one.d.data, num_at(&p.d, seg[s].index, 0, 0), 4 * 5 * 8);
    }
}

/* Attention by its definition, over all pairs, with a mask. */
static double attention_at(const struct nnd_attn *p, int i, int h, int d, int nq,
                           int nk)
{
    long double sum = 0, out = 0;
    int hk = h * (int)p->k.dim[1] / (int)p->q.dim[1];
    for (int j = 0; j < nk; j++) {
        long double s = 0;
        bool seen = !p->causal || j <= i + nk - nq;
        seen =
            seen && (!p->window || j > (p->causal ? i + nk - nq : nk - 1) - p->window);
        for (int k = 0; k < p->q.dim[2]; k++)
            s += (long double)*num_at(&p->q, i, h, k) * *num_at(&p->k, j, hk, k);
        s *= (long double)p->scale;
        if (p->softcap > 0)
            s = (long double)p->softcap * tanhl(s / (long double)p->softcap);
        sum += seen ? expl(s) : 0;
        out += seen ? expl(s) * *num_at(&p->v, j, hk, d) : 0;
    }
    return sum > 0 ? (double)(out / sum) : 0;
}

static void attention(void **state)
{
    enum { NQ = 5, NK = 4, H = 4, HK = 2, D = 3 };
    (void)state;
    for (int way = 0; way < 8; way++) {
        struct nnd_attn p = {.struct_size = sizeof p,
                             .batch = 1,
                             .max_q = NQ,
                             .max_k = NK,
                             .causal = way & 1,
                             .window = way & 2 ? 2 : 0,
                             .softcap = way & 4 ? 0.5f : 0,
                             .scale = 1.25f};
        p.q = num_random_f64(NQ, H, D), p.k = num_random_f64(NK, HK, D);
        p.v = num_random_f64(NK, HK, D), p.o = num_f64(NQ, H, D);
        p.lse = num_f64(H, NQ, 0);
        num_run("attn.fwd", &p);
        for (int i = 0; i < NQ * H * D; i++)
            num_near("attention", ((double *)p.o.data)[i],
                     attention_at(&p, i / (H * D), i / D % H, i % D, NQ, NK), 1e-14);
        /* With one key less than queries, causal row 0 sees nothing. */
        assert_int_equal(isinf(*num_at(&p.lse, 0, 0, 0)) != 0, p.causal != 0);
    }
}

static double keep_of(const struct nnd_dropout *d, int row, uint32_t head, int column)
{
    uint32_t c[4] = {(uint32_t)d->sample[row], head, (uint32_t)d->pos[row],
                     (uint32_t)column / 4};
    philox4x32(nnd_rng_key(d->state, d->op), c, c);
    return c[column % 4] >= (double)d->p * 4294967296.0 ? 1 / (1 - (double)d->p) : 0;
}

static const uint64_t rng[] = {12, 34};
static const int32_t sample[] = {5, 5, 6, 6, 7}, pos[] = {0, 1, 0, 1, 9};

/* Equal scores and v = 1: what is left of a row is its dropout. */
static void dropout_bits(void **state)
{
    struct nnd_drop p = {.struct_size = sizeof p,
                         .dropout = {0.3f, 8, rng, sample, pos}};
    struct nnd_attn a = {.struct_size = sizeof a,
                         .batch = 1,
                         .max_q = 5,
                         .max_k = 7,
                         .scale = 1,
                         .dropout = p.dropout};
    (void)state;
    p.x = num_random_f64(5, 11, 0), p.y = num_f64(5, 11, 0);
    num_run("dropout", &p);
    for (int t = 0; t < 5; t++)
        for (int n = 0; n < 11; n++)
            assert_true(*num_at(&p.y, t, n, 0) ==
                        *num_at(&p.x, t, n, 0) * keep_of(&p.dropout, t, 0xffffffff, n));

    a.q = num_f64(5, 2, 7), a.k = num_f64(7, 2, 7), a.v = num_f64(7, 2, 7);
    for (int j = 0; j < 7; j++)
        *num_at(&a.v, j, 0, j) = *num_at(&a.v, j, 1, j) = 7;
    a.o = num_f64(5, 2, 7), a.lse = num_f64(2, 5, 0);
    num_run("attn.fwd", &a);
    for (int i = 0; i < 5 * 2 * 7; i++)
        num_near("attention dropout", ((double *)a.o.data)[i],
                 keep_of(&p.dropout, i / 14, (uint32_t)i / 7 % 2, i % 7), 1e-14);
}

static void norms(void **state)
{
    struct nnd_norm p = {.struct_size = sizeof p, .eps = 0.25f};
    (void)state;
    p.x = num_f64(1, 4, 0), p.y = num_f64(1, 4, 0), p.w = num_f64(4, 0, 0);
    p.b = num_f64(4, 0, 0), p.rstd = num_f64(1, 0, 0), p.mean = num_f64(1, 0, 0);
    static const double x[] = {1, 3, 5, 7}, w[] = {1, 2, -1, 4}, b[] = {0, 1, 2, 3};
    memcpy(p.x.data, x, sizeof x);
    memcpy(p.w.data, w, sizeof w);
    memcpy(p.b.data, b, sizeof b);
    num_run("norm.layer.fwd", &p); /* mean 4, variance 5 */
    num_near("mean", *num_at(&p.mean, 0, 0, 0), 4, 0);
    num_near("rstd", *num_at(&p.rstd, 0, 0, 0), 1 / sqrt(5.25), 1e-16);
    for (int n = 0; n < 4; n++)
        num_near("layer", *num_at(&p.y, 0, n, 0), (x[n] - 4) / sqrt(5.25) * w[n] + b[n],
                 1e-15);
    p.b = (struct nnd_tensor){0};
    num_run("norm.rms.fwd", &p); /* mean square 21 */
    for (int n = 0; n < 4; n++)
        num_near("rms", *num_at(&p.y, 0, n, 0), x[n] / sqrt(21.25) * w[n], 1e-15);
}

/* A pair is a complex number, and turns by e^(i angle). */
static void rope(void **state)
{
    static const int32_t at[] = {0, 3, 77};
    (void)state;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        struct nnd_rope p = {.struct_size = sizeof p,
                             .pos = at,
                             .theta = 10000,
                             .interleaved = interleaved};
        p.x = num_random_f64(3, 2, 8), p.y = num_f64(3, 2, 8);
        num_run("rope", &p);
        for (int i = 0; i < 3 * 2 * 4; i++) {
            int t = i / 8, h = i / 4 % 2, k = i % 4;
            int re = interleaved ? 2 * k : k, im = interleaved ? 2 * k + 1 : k + 4;
            double complex z = *num_at(&p.x, t, h, re) + I * *num_at(&p.x, t, h, im);
            z *= cexp(I * at[t] * exp(-log(10000) * k / 4));
            num_near("rope", *num_at(&p.y, t, h, re), creal(z), 1e-13);
            num_near("rope", *num_at(&p.y, t, h, im), cimag(z), 1e-13);
        }
        struct nnd_rope back = p;
        back.inverse = 1;
        back.x = p.y; /* in place */
        num_run("rope", &back);
        for (int i = 0; i < 48; i++)
            num_near("back", ((double *)p.y.data)[i], ((double *)p.x.data)[i], 1e-15);
    }
}

static void activations(void **state)
{
    struct nnd_act p = {.struct_size = sizeof p};
    (void)state;
    p.a = num_f64(1, 2, 0), p.b = num_f64(1, 2, 0), p.y = num_f64(1, 2, 0);
    *num_at(&p.a, 0, 0, 0) = 1, *num_at(&p.a, 0, 1, 0) = -30;
    *num_at(&p.b, 0, 0, 0) = 3, *num_at(&p.b, 0, 1, 0) = 1;
    num_run("act.swiglu.fwd", &p);
    num_near("swiglu", *num_at(&p.y, 0, 0, 0), 3 * 0.73105857863000487, 1e-15);
    num_run("act.gelu.fwd", &p);
    num_near("gelu(1)", *num_at(&p.y, 0, 0, 0), 0.84134474606854293, 1e-15);
    assert_true(*num_at(&p.y, 0, 1, 0) < 0); /* erfc keeps the tail */
    p.approx = 1;
    num_run("act.gelu.fwd", &p);
    num_near("gelu(1)", *num_at(&p.y, 0, 0, 0), 0.84119199060827676, 1e-15);
}

/* No slope at 0; an infinite gradient is not passed on there; a NaN stays one. */
static void relu(void **state)
{
    static const double a[] = {2, -3, 0, -INFINITY, INFINITY, NAN},
                        dy[] = {5, INFINITY, 7, 7, 7, 7}, y[] = {2, 0, 0, 0, INFINITY},
                        da[] = {5, 0, 0, 0, 7};
    struct nnd_act p = {.struct_size = sizeof p};
    (void)state;
    p.a = num_f64(1, 6, 0), p.y = num_f64(1, 6, 0);
    p.dy = num_f64(1, 6, 0), p.da = num_f64(1, 6, 0);
    memcpy(p.a.data, a, sizeof a);
    memcpy(p.dy.data, dy, sizeof dy);
    num_run("act.relu.fwd", &p);
    num_run("act.relu.bwd", &p);
    assert_memory_equal(p.y.data, y, sizeof y);
    assert_memory_equal(p.da.data, da, sizeof da);
    assert_true(isnan(*num_at(&p.y, 0, 5, 0)) && isnan(*num_at(&p.da, 0, 5, 0)));
}

static void softmax(void **state)
{
    static const int32_t len[] = {3, 2, 0};
    static const double dy[] = {1, -2, 4, NAN};
    struct nnd_softmax p = {.struct_size = sizeof p, .len = len, .scale = 2};
    (void)state;
    p.x = num_f64(3, 4, 0), p.y = num_f64(3, 4, 0);
    p.dy = num_f64(3, 4, 0), p.dx = num_f64(3, 4, 0);
    for (int i = 0; i < 4; i++)
        *num_at(&p.x, 0, i, 0) = i < 3 ? 0.5 * log(i + 1) : NAN;
    *num_at(&p.x, 1, 0, 0) = 1000, *num_at(&p.x, 1, 1, 0) = -1000; /* no overflow */
    *num_at(&p.x, 2, 0, 0) = NAN;
    memcpy(p.dy.data, dy, sizeof dy);
    num_run("softmax.fwd", &p);
    for (int i = 0; i < 3; i++)
        num_near("softmax", *num_at(&p.y, 0, i, 0), (i + 1) / 6.0, 1e-15);
    assert_true(*num_at(&p.y, 1, 0, 0) == 1 && *num_at(&p.y, 1, 1, 0) == 0);
    num_run("softmax.bwd", &p); /* <dy, y> = 1.5 */
    num_near("dx", *num_at(&p.dx, 0, 0, 0), 2 * (1 - 1.5) / 6, 1e-15);
    num_near("dx", *num_at(&p.dx, 0, 1, 0), 2 * (-2 - 1.5) / 3, 1e-15);
    num_near("dx", *num_at(&p.dx, 0, 2, 0), 2 * (4 - 1.5) / 2, 1e-15);
    for (int i = 3; i < 12; i++) /* the others */
        assert_true(((double *)p.dx.data)[i] == 0);
    assert_true(*num_at(&p.y, 0, 3, 0) == 0 && *num_at(&p.y, 2, 0, 0) == 0);
}

/* Of pre = 1, beside x = 2 times the slope there; act may be pre. */
static void slopes_with_their_activation(void **state)
{
    static const struct {
        int epilogue;
        double d, act;
    } want[] = {{NND_EPI_DGELU, 2 * 1.0833154705876864, 0.84134474606854293},
                {NND_EPI_DGELU_TANH, 2 * 1.0829640838457826, 0.84119199060827676},
                {NND_EPI_DSILU, 2 * 0.92767051187148668, 0.73105857863000487},
                {NND_EPI_DRELU, 2, 1}};
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct nnd_gemm p = {.struct_size = sizeof p, .epilogue = want[i / 2].epilogue};
        p.a = num_f64(1, 1, 0), p.b = num_f64(1, 1, 0), p.d = num_f64(1, 1, 0);
        p.pre = num_f64(1, 1, 0), p.act = i % 2 ? p.pre : num_f64(1, 1, 0);
        *num_at(&p.a, 0, 0, 0) = 0.5, *num_at(&p.b, 0, 0, 0) = 4;
        *num_at(&p.pre, 0, 0, 0) = 1;
        num_run("gemm", &p);
        num_near("slope", *num_at(&p.d, 0, 0, 0), want[i / 2].d, 1e-15);
        num_near("act", *num_at(&p.act, 0, 0, 0), want[i / 2].act, 1e-15);
    }
}

static void cross_entropy(void **state)
{
    static const int32_t target[] = {3, 0, -1};
    struct nnd_xent p = {.struct_size = sizeof p, .target = target};
    (void)state;
    p.logits = num_f64(3, 5, 0), p.loss = num_f64(3, 0, 0), p.lse = num_f64(3, 0, 0);
    *num_at(&p.logits, 1, 0, 0) = 1000; /* no overflow */
    *num_at(&p.logits, 2, 0, 0) = NAN;
    num_run("xent.fwd", &p);
    num_near("uniform", *num_at(&p.loss, 0, 0, 0), log(5), 1e-15);
    num_near("certain", *num_at(&p.loss, 1, 0, 0), 0, 1e-15);
    num_near("padding", *num_at(&p.loss, 2, 0, 0), 0, 0);
}

/* A teacher of 0 and T log(3) says 1/4 and 3/4 at T; a student of zeros a half: the
 * divergence is (3 log 3) / 4 - log 2. */
static void distilled(void **state)
{
    static const int32_t target[] = {1, 0, -1};
    struct nnd_distill p = {.struct_size = sizeof p, .target = target};
    double kl = 0.75 * log(3) - log(2);
    (void)state;
    p.logits = num_f64(3, 2, 0), p.teacher = num_f64(3, 2, 0);
    p.loss = num_f64(3, 0, 0), p.lse = num_f64(3, 0, 0);
    p.lse_soft = num_f64(3, 0, 0), p.lse_teacher = num_f64(3, 0, 0);
    *num_at(&p.logits, 2, 0, 0) = NAN;
    for (int k = 1; k <= 2; k++) {
        p.temperature = (float)k;
        p.alpha = 0.25f;
        *num_at(&p.teacher, 0, 1, 0) = *num_at(&p.teacher, 1, 1, 0) = k * log(3);
        num_run("distill.fwd", &p);
        for (int t = 0; t < 2; t++)
            num_near("distilled", *num_at(&p.loss, t, 0, 0),
                     0.75 * log(2) + 0.25 * k * k * kl, 1e-15);
        num_near("padding", *num_at(&p.loss, 2, 0, 0), 0, 0);
    }
    *num_at(&p.logits, 0, 1, 0) = 2 * log(3); /* as the teacher */
    p.alpha = 1;
    num_run("distill.fwd", &p);
    num_near("learned", *num_at(&p.loss, 0, 0, 0), 0, 1e-15);
}

/* softmax of log(1, 2, 3, 4) is 1/10, 2/10, 3/10, 4/10. */
static void route(void **state)
{
    static const int32_t at[] = {0, -1, 1};
    struct nnd_route p = {.struct_size = sizeof p,
                          .pos = at,
                          .renormalize = 1,
                          .top_k = 2,
                          .group_rows = 3,
                          .scale = 1};
    (void)state;
    p.z = num_f64(3, 4, 0), p.expert = num_tensor(NND_I32, 3, 2, 0);
    p.gate = num_f64(3, 2, 0), p.count = num_tensor(NND_I32, 1, 4, 0);
    p.psum = num_f64(1, 4, 0), p.zsq = num_f64(1, 0, 0), p.bias = num_f64(4, 0, 0);
    for (int n = 0; n < 4; n++) {
        *num_at(&p.z, 0, n, 0) = log(n + 1);
        *num_at(&p.z, 1, n, 0) = NAN;
    }
    num_run("moe.route.fwd", &p); /* row 2: all equal, ties to the lower */
    static const int32_t expert[] = {3, 2, -1, -1, 0, 1}, count[] = {1, 1, 1, 1};
    static const double gate[] = {4 / 7.0, 3 / 7.0, 0, 0, 0.5, 0.5};
    assert_memory_equal(p.expert.data, expert, sizeof expert);
    assert_memory_equal(p.count.data, count, sizeof count);
    for (int i = 0; i < 6; i++)
        num_near("gate", ((double *)p.gate.data)[i], gate[i], 1e-15);
    for (int n = 0; n < 4; n++)
        num_near("psum", *num_at(&p.psum, 0, n, 0), (n + 1) / 10.0 + 0.25, 1e-15);
    num_near("zsq", *num_at(&p.zsq, 0, 0, 0), log(10) * log(10) + log(4) * log(4),
             1e-14);

    /* The bias chooses, and weighs nothing. */
    p.score = NND_SCORE_SIGMOID;
    *num_at(&p.bias, 0, 0, 0) = 5;
    num_run("moe.route.fwd", &p);
    assert_int_equal(((int32_t *)p.expert.data)[0], 0);
    num_near("sigmoid", *num_at(&p.gate, 0, 0, 0), 0.5 / (0.5 + 0.8), 1e-15);
}

static void sort_and_back(void **state)
{
    static const int32_t expert[] = {2, 0, 1, 2, -1, -1, 0, 2};
    static const int32_t place[] = {3, 0, 2, 4, -1, -1, 1, 5};
    static const int32_t source[] = {1, 6, 2, 0, 3, 7, -1, -1}, total[] = {2, 1, 3, 0};
    struct nnd_sort s = {.struct_size = sizeof s};
    struct nnd_error e;
    (void)state;
    s.expert = num_tensor(NND_I32, 4, 2, 0), s.place = num_tensor(NND_I32, 4, 2, 0);
    s.source = num_tensor(NND_I32, 8, 0, 0), s.total = num_tensor(NND_I32, 4, 0, 0);
    memcpy(s.expert.data, expert, sizeof expert);
    num_run("moe.sort", &s);
    assert_memory_equal(s.place.data, place, sizeof place);
    assert_memory_equal(s.source.data, source, sizeof source);
    assert_memory_equal(s.total.data, total, sizeof total);
    ((int32_t *)s.expert.data)[5] = 4;
    assert_int_equal(num_try("moe.sort", &s, &e), NND_EINVAL);
    assert_string_equal(e.text, "row 2 chose expert 4 of 4");
}

/* Two steps by hand: a first step of Adam goes lr in the gradient's direction. */
static void optimizers(void **state)
{
    const float b1 = 0.9f, b2 = 0.95f;
    float hyper[NND_HYPER_COUNT] = {0.125f, 0.5f, 1 / (1 - 0.9f), 1 / (1 - 0.95f)};
    struct nnd_optim p = {.struct_size = sizeof p,
                          .hyper = hyper,
                          .beta1 = b1,
                          .beta2 = b2,
                          .decay = 0.25f};
    (void)state;
    p.grad = num_f64(1, 0, 0), p.w = num_f64(1, 0, 0), p.m = num_f64(1, 0, 0);
    p.v = num_f64(1, 0, 0), p.out = num_tensor(NND_BF16, 1, 0, 0);
    *num_at(&p.grad, 0, 0, 0) = -6, *num_at(&p.w, 0, 0, 0) = 2;
    num_run("opt.adamw", &p);
    num_near("adamw", *num_at(&p.w, 0, 0, 0), 2 - 0.125 * (-1 + 0.25 * 2), 1e-6);
    assert_int_equal(*(uint16_t *)p.out.data, 0x4004); /* 2.0625 */
    num_near("m", *num_at(&p.m, 0, 0, 0), -3 * (1 - (double)b1), 1e-15);
    num_near("v", *num_at(&p.v, 0, 0, 0), 9 * (1 - (double)b2), 1e-15);

    *num_at(&p.w, 0, 0, 0) = 2, *num_at(&p.m, 0, 0, 0) = *num_at(&p.v, 0, 0, 0) = 0;
    num_run("opt.adam", &p);
    num_near("adam", *num_at(&p.w, 0, 0, 0), 2 + 0.125, 1e-6);
    num_near("m", *num_at(&p.m, 0, 0, 0), (-3 + 0.25 * 2) * (1 - (double)b1), 1e-15);

    p.beta1 = 0.5f;
    *num_at(&p.w, 0, 0, 0) = 2, *num_at(&p.m, 0, 0, 0) = 4;
    num_run("opt.sgd", &p); /* g = -3 + 0.5, m = 2 - 2.5, w = 2 + 0.0625 */
    num_near("m", *num_at(&p.m, 0, 0, 0), -0.5, 0);
    num_near("sgd", *num_at(&p.w, 0, 0, 0), 2.0625, 0);
}

static void rows(void **state)
{
    static const int32_t index[] = {2, -1, 0};
    struct nnd_rows p = {.struct_size = sizeof p, .index = index};
    struct nnd_sqnorm q = {.struct_size = sizeof q};
    (void)state;
    p.x = num_f64(3, 2, 0), p.y = num_f64(2, 0, 0);
    for (int i = 0; i < 6; i++)
        ((double *)p.x.data)[i] = i + 1;
    num_run("rows.sum", &p);
    assert_true(*num_at(&p.y, 0, 0, 0) == 9 && *num_at(&p.y, 1, 0, 0) == 12);
    static const double gathered[] = {5, 6, 0, 0, 1, 2},
                        scattered[] = {5, 6, 0, 0, 1, 2};
    p.y = num_f64(3, 2, 0);
    num_run("rows.gather", &p);
    assert_memory_equal(p.y.data, gathered, sizeof gathered);
    p.y = num_f64(3, 2, 0);
    num_run("rows.scatter", &p);
    assert_memory_equal(p.y.data, scattered, sizeof scattered);

    q.x = num_f64(5000, 0, 0), q.y = num_f64(2, 0, 0);
    for (int i = 0; i < 5000; i++)
        ((double *)q.x.data)[i] = i % 2 ? 2 : 1;
    num_run("sqnorm", &q);
    assert_true(*num_at(&q.y, 0, 0, 0) == 4096 * 2.5);
    assert_true(*num_at(&q.y, 1, 0, 0) == 904 * 2.5);
}

/* What a step leaves: each formula once, with numbers that have no rounding. */
static void step(void **state)
{
    static const float scale = 0.5f;
    static const int32_t counts[] = {1, 3}, rows[] = {2, 0, 5},
                         places[] = {0, 2, 0, 0, 2, 0, 1, 0, 2, 5, 2, 0};
    struct nnd_total t = {.struct_size = sizeof t, .root = 1};
    struct nnd_balance b = {.struct_size = sizeof b,
                            .scale = &scale,
                            .aux_coef = 2,
                            .z_coef = 8,
                            .top_k = 1,
                            .layers = 1};
    struct nnd_balance w = {.struct_size = sizeof w};
    (void)state;
    t.x = num_f64(2, 0, 0), t.y = num_f64(1, 0, 0);
    *num_at(&t.x, 0, 0, 0) = 9, *num_at(&t.x, 1, 0, 0) = 16;
    num_run("total", &t);
    assert_true(*num_at(&t.y, 0, 0, 0) == 5);
    /* f = 2 / 4^2 count = 1/8, 3/8; L = 1/8 1/2 + 3/8 3/2 = 5/8; N = 4. */
    b.count = num_tensor(NND_I32, 1, 2, 0), b.psum = num_f64(1, 2, 0);
    memcpy(b.count.data, counts, sizeof counts);
    *num_at(&b.psum, 0, 0, 0) = 0.5, *num_at(&b.psum, 0, 1, 0) = 1.5;
    b.zsq = num_f64(1, 0, 0), b.stats = num_f64(2, 0, 0);
    *num_at(&b.zsq, 0, 0, 0) = 12;
    b.aux_weight = num_f64(1, 2, 0), b.z_weight = num_f64(1, 0, 0);
    b.load = num_tensor(NND_I64, 2, 0, 0);
    num_run("moe.balance", &b);
    assert_true(*num_at(&b.aux_weight, 0, 0, 0) == 0.125 &&
                *num_at(&b.aux_weight, 0, 1, 0) == 0.375);
    assert_true(*num_at(&b.z_weight, 0, 0, 0) == 1);
    assert_true(*num_at(&b.stats, 0, 0, 0) == 0.625 && *num_at(&b.stats, 1, 0, 0) == 3);
    assert_true(((int64_t *)b.load.data)[0] == 1 && ((int64_t *)b.load.data)[1] == 3);
    w.count = num_tensor(NND_I32, 3, 0, 0);
    memcpy(w.count.data, rows, sizeof rows);
    w.segments = num_tensor(NND_I32, 3, 4, 0), w.leaves = num_tensor(NND_I32, 3, 4, 0);
    num_run("moe.window", &w);
    assert_memory_equal(w.segments.data, places, sizeof places);
    assert_memory_equal(w.leaves.data, places, sizeof places);
}

static void refusals_name_the_tensor(void **state)
{
    struct nnd_gemm p = {.struct_size = sizeof p};
    struct nnd_error e;
    (void)state;
    p.a = num_f64(2, 3, 0), p.b = num_f64(3, 4, 0), p.d = num_f64(2, 5, 0);
    assert_int_equal(num_try("gemm", &p, &e), NND_EINVAL);
    assert_string_equal(e.text, "b has 4 in dimension 1, wanted 5");
    p.b = num_f64(3, 5, 0), p.d.dtype = NND_I32;
    assert_int_equal(num_try("gemm", &p, &e), NND_EUNSUPPORTED);
    p.d.dtype = NND_F64, p.a.ndim = 0;
    assert_int_equal(num_try("gemm", &p, &e), NND_EINVAL);
    assert_string_equal(e.text, "a has 0 dimensions, wanted 2");
    p.a = num_f64(2, 3, 0), p.act = num_f64(2, 5, 0), p.epilogue = NND_EPI_GELU;
    assert_int_equal(num_try("gemm", &p, &e), NND_EINVAL);
    p.struct_size = 8;
    assert_int_equal(num_try("gemm", &p, &e), NND_EINVAL);
    struct nnd_norm n = {.struct_size = sizeof n, .b = num_f64(3, 0, 0)};
    n.db = n.b;
    assert_int_equal(num_try("norm.rms.fwd", &n, &e), NND_EINVAL);
    assert_string_equal(e.text, "b is given, wanted none");
    assert_int_equal(num_try("norm.rms.bwd", &n, &e), NND_EINVAL);
    assert_string_equal(e.text, "db is given, wanted none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_catalogue_is_complete, num_setup,
                                        num_teardown),
        cmocka_unit_test_setup_teardown(numbers_are_rounded_alike, num_setup,
                                        num_teardown),
        cmocka_unit_test_setup_teardown(products, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(grouped_products, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(attention, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(dropout_bits, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(norms, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(rope, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(activations, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(relu, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(softmax, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(slopes_with_their_activation, num_setup,
                                        num_teardown),
        cmocka_unit_test_setup_teardown(cross_entropy, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(distilled, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(route, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(sort_and_back, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(optimizers, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(rows, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(step, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(refusals_name_the_tensor, num_setup,
                                        num_teardown),
    };

    return cmocka_run_group_tests_name("ref/values", tests, NULL, NULL);
}
