/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ref_cast.c - 8-bit floats and block scales: the numbers of OCP's tables, what
 * blocks lose, and a product of two block-scaled matrices; fill, scale, amax.
 */
#include "plugins/ref/impl.h"
#include "ref.h"

static void eight_bits(void **state)
{
    static const struct {
        int dtype, bits;
        double x;
    } known[] = {
        {NND_E4M3, 0x7e, 448},     {NND_E4M3, 0x08, 0x1p-6},  {NND_E4M3, 0x01, 0x1p-9},
        {NND_E4M3, 0x38, 1},       {NND_E4M3, 0xc4, -3},      {NND_E5M2, 0x7b, 57344},
        {NND_E5M2, 0x04, 0x1p-14}, {NND_E5M2, 0x01, 0x1p-16}, {NND_E5M2, 0x3d, 1.25},
        {NND_E5M2, 0x80, -0.0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_true(ref_get8(known[i].dtype, (uint8_t)known[i].bits) == known[i].x);
        assert_int_equal(ref_put8(known[i].dtype, known[i].x), known[i].bits);
    }
    for (int d = NND_E4M3; d <= NND_E5M2; d++)
        for (int b = 0; b < 256; b++) {
            double x = ref_get8(d, (uint8_t)b);
            if (isfinite(x))
                assert_int_equal(ref_put8(d, x), b);
        }
    assert_true(isnan(ref_get8(NND_E4M3, 0x7f)) && isnan(ref_get8(NND_E5M2, 0x7f)));
    assert_true(isinf(ref_get8(NND_E5M2, 0x7c)));
    assert_int_equal(ref_put8(NND_E4M3, 1e9), 0x7e);        /* the largest */
    assert_int_equal(ref_put8(NND_E4M3, 1 + 0x1p-4), 0x38); /* a tie, to even */
    assert_int_equal(ref_put8(NND_E4M3, 1 + 0x3p-4), 0x3a);
}

/* An 8-bit matrix with blocks of rows x columns. */
static struct nnd_tensor scaled(int64_t m, int64_t n, int scale_dtype, int rows,
                                int cols)
{
    struct nnd_tensor t = num_tensor(NND_E4M3, m, n, 0);
    t.scale_dtype = scale_dtype;
    t.scale_rows = rows;
    t.scale_block = cols;
    t.scale_stride = cols ? (n + cols - 1) / cols + 1 : 0; /* one that nobody has */
    t.scale = arena_calloc(num_arena, (size_t)(m * (t.scale_stride + 1)), 4);
    return t;
}

/* Numbers whose size differs from row to row and from column to column. */
static struct nnd_tensor uneven(int64_t m, int64_t n)
{
    struct nnd_tensor x = num_random_f64(m, n, 0);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            *num_at(&x, i, j, 0) *= ldexp(1, (int)(i % 5 - 2 + j / 32 % 7));
    return x;
}

static struct nnd_tensor quantized(const struct nnd_tensor *x, int dtype, int rows,
                                   int cols)
{
    struct nnd_cast p = {.struct_size = sizeof p, .x = *x};
    p.y = scaled(x->dim[0], x->dim[1], dtype, rows, cols);
    num_run("cast.quant", &p);
    return p.y;
}

static struct nnd_tensor dequantized(const struct nnd_tensor *x)
{
    struct nnd_cast p = {.struct_size = sizeof p, .x = *x};
    p.y = num_f64(x->dim[0], x->dim[1], 0);
    num_run("cast.dequant", &p);
    return p.y;
}

/* Half a step of three bits of fraction, or of the smallest numbers, of the block's
 * scale. */
static void expect_close(const struct nnd_tensor *x, const struct nnd_tensor *back,
                         double smallest)
{
    for (int64_t i = 0; i < num_count(x); i++) {
        double want = ((double *)x->data)[i], got = ((double *)back->data)[i];
        if (!(fabs(got - want) <= fabs(want) * 0x1p-4 + smallest))
            fail_msg("element %d: %g of %g", (int)i, got, want);
    }
}

static void blocks_lose_half_a_step(void **state)
{
    static const struct {
        int dtype, rows, cols;
    } blocks[] = {{NND_E8M0, 0, 32},   {NND_F32, 0, 32},  {NND_F32, 1, 128},
                  {NND_F32, 128, 128}, {NND_E8M0, 4, 16}, {NND_F32, 0, 0}};
    struct nnd_tensor x = uneven(9, 200);
    (void)state;
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        struct nnd_tensor q =
            quantized(&x, blocks[i].dtype, blocks[i].rows, blocks[i].cols);
        struct nnd_tensor back = dequantized(&q);
        expect_close(&x, &back, 256.0 / 448 * 0x1p-9); /* the largest block's */
    }
}

/* A scale is the least that holds the block; nothing saturates. */
static void scales_are_the_least(void **state)
{
    struct nnd_tensor x = num_f64(1, 96, 0);
    double *v = x.data;
    (void)state;
    v[0] = 448, v[1] = -3; /* fits as it is */
    v[32] = 449;           /* twice */
    v[64] = 0;             /* nothing */
    struct nnd_tensor q = quantized(&x, NND_E8M0, 0, 32);
    const uint8_t *s = q.scale;
    assert_int_equal(s[0], 127);
    assert_int_equal(s[1], 128);
    assert_int_equal(s[2], 127);
    assert_int_equal(((uint8_t *)q.data)[0], 0x7e);
    memset(v, 0, 96 * sizeof *v);
    v[0] = 0x1p-149, v[32] = 448 * 0x1p-150; /* f32 has no scale below 2^-149 */
    q = quantized(&x, NND_F32, 0, 32);
    assert_true(((const float *)q.scale)[0] == 0x1p-149f);
    assert_true(((const float *)q.scale)[1] == 0x1p-149f);
    assert_int_equal(((uint8_t *)q.data)[0], 0x38);
    v[1] = -3;
    v[64] = NAN, v[32] = INFINITY;
    q = quantized(&x, NND_E8M0, 0, 32);
    struct nnd_tensor back = dequantized(&q);
    assert_true(isnan(*num_at(&back, 0, 64, 0)) && isnan(*num_at(&back, 0, 40, 0)));
    assert_true(*num_at(&back, 0, 1, 0) == -3);
}

/* The product of what the scales say: blocks of A along K, of B along K in its rows
 * (1 x 32), or in both directions (32 x 32). */
static void block_scaled_product(void **state)
{
    struct nnd_tensor x = uneven(5, 70), y = uneven(6, 70);
    (void)state;
    for (int square = 0; square < 2; square++) {
        struct nnd_gemm p = {.struct_size = sizeof p, .trans_b = 1}, plain = p;
        p.a = quantized(&x, NND_E8M0, 0, 32);
        p.b = quantized(&y, NND_F32, square ? 32 : 0, 32);
        p.d = num_f64(5, 6, 0), plain.d = num_f64(5, 6, 0);
        plain.a = dequantized(&p.a), plain.b = dequantized(&p.b);
        num_run("gemm", &p);
        num_run("gemm", &plain);
        assert_memory_equal(p.d.data, plain.d.data, 30 * sizeof(double));
    }
}

static void refusals(void **state)
{
    struct nnd_error e;
    struct nnd_tensor x = uneven(3, 64);
    struct nnd_cast p = {
        .struct_size = sizeof p, .x = x, .y = scaled(3, 64, NND_BF16, 0, 32)};
    (void)state;
    assert_int_equal(num_try("cast.quant", &p, &e), NND_EUNSUPPORTED);
    assert_string_equal(e.text, "y: scales of dtype 4, wanted f32 or e8m0");
    p.y.scale_dtype = NND_F32, p.y.scale_stride = 1;
    assert_int_equal(num_try("cast.quant", &p, &e), NND_EINVAL);
    assert_string_equal(e.text, "y: 1 scales a row, wanted 2");
}

static void fill_scale_amax(void **state)
{
    const float factor = 0.5f;
    struct nnd_cast p = {.struct_size = sizeof p, .value = -2.5f, .factor = &factor};
    (void)state;
    p.y = num_f64(3, 4, 0), p.amax = num_f64(1, 0, 0);
    num_run("fill", &p);
    p.x = p.y;
    num_run("scale", &p);
    for (int i = 0; i < 12; i++)
        assert_true(((double *)p.y.data)[i] == -1.25);
    *num_at(&p.x, 2, 3, 0) = 7;
    num_run("amax", &p);
    assert_true(*num_at(&p.amax, 0, 0, 0) == 7);
    *num_at(&p.x, 0, 0, 0) = NAN;
    num_run("amax", &p);
    assert_true(isnan(*num_at(&p.amax, 0, 0, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(eight_bits, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(blocks_lose_half_a_step, num_setup,
                                        num_teardown),
        cmocka_unit_test_setup_teardown(scales_are_the_least, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(block_scaled_product, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(refusals, num_setup, num_teardown),
        cmocka_unit_test_setup_teardown(fill_scale_amax, num_setup, num_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
