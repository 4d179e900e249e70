/* SPDX-License-Identifier: Apache-2.0 */
/*
 * product.c - see product.h.
 */
#include "product.h"

#include <blis.h>

#include "plugins/cpu/op.h"
#include "plugins/cpu/vec.h"

#define BLOCK NND_BLOCK_ROWS

/* A call below this many multiply-adds is one tile in the caller's thread. */
#define SMALL_CALL 300000.0

extern convert_f convert_base;
extern few_f few_rows_base;
#ifdef __x86_64__
extern convert_f convert_v3, convert_v4;
extern few_f few_rows_v3, few_rows_v4;
#endif

static convert_f *best_convert = convert_base;
static few_f *best_few = few_rows_base;
static int few_agrees;

void convert(void *y, int y_dtype, int64_t ldy, const void *x, int x_dtype, int64_t ldx,
             int64_t rows, int64_t cols, float scale)
{
    best_convert(y, y_dtype, ldy, x, x_dtype, ldx, rows, cols, scale);
}

/* A block [m,n] of a side as f32: itself, or a copy in `room` laid out alike. */
static struct side as_f32(const struct side *s, int64_t m, int64_t n, float *room)
{
    struct side c = {room, NND_F32, 1, 1, NULL, 1};
    int by_rows = s->cs == 1;

    if (s->dtype == NND_F32)
        return *s;
    if (by_rows)
        c.rs = n;
    else
        c.cs = m;
    convert(room, NND_F32, by_rows ? n : m, s->p, s->dtype, by_rows ? s->rs : s->cs,
            by_rows ? m : n, by_rows ? n : m, 1.0f);
    return c;
}

static void sgemm(const struct side *a, const struct side *b, int64_t m, int64_t n,
                  int64_t k, float beta, float *d, int64_t ld)
{
    float one = 1;
    rntm_t rntm;

    bli_rntm_init(&rntm);
    bli_rntm_set_num_threads(1, &rntm);
    bli_rntm_disable_l3_sup(&rntm);
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, m, n, k, &one, (float *)a->p,
                 a->rs, a->cs, (float *)b->p, b->rs, b->cs, &beta, d, ld, 1, NULL,
                 &rntm);
}

void product(const struct side *a, const struct side *b, int64_t m, int64_t n,
             int64_t k, int add, float *d, int64_t ld, const struct slot *s)
{
    if (k == 0 && !add)
        for (int64_t i = 0; i < m; i++)
            memset(d + i * ld, 0, (size_t)n * sizeof *d);
    for (int64_t at = 0; at < k; at += BLOCK) {
        int64_t kb = k - at < BLOCK ? k - at : BLOCK;
        struct side a_block = side_at(a, 0, at), b_block = side_at(b, at, 0);

        a_block = as_f32(&a_block, m, kb, s->a);
        if (m <= FEW_ROWS && few_agrees) {
            best_few(&a_block, &b_block, m, n, kb, add || at > 0, d, ld);
            continue;
        }
        b_block = as_f32(&b_block, kb, n, s->b);
        sgemm(&a_block, &b_block, m, n, kb, add || at > 0 ? 1 : 0, d, ld);
    }
}

/* Do both give the same bits for op(B) as given, or transposed?  Two blocks, so
 * that adding to D is compared too. */
static int few_check(int trans)
{
    enum { M = 5, N = 75, K = BLOCK + 77 };
    static float a[M * K], b[K * N], by_blis[M * N], by_few[M * N];
    struct side left = {a, NND_F32, K, 1, NULL, 1};
    struct side right = {b, NND_F32, N, 1, NULL, 1};
    uint32_t random = 1;

    if (trans) {
        right.rs = 1;
        right.cs = K;
    }
    for (int i = 0; i < K * N; i++) {
        random = random * 1664525u + 1013904223u;
        b[i] = (float)(random >> 8) / 0x1p24f - 0.5f;
        a[i % (M * K)] = (float)(random >> 4 & 0xffffff) / 0x1p24f - 0.3f;
    }
    for (int64_t at = 0; at < K; at += BLOCK) {
        int64_t kb = K - at < BLOCK ? K - at : BLOCK;
        struct side l = side_at(&left, 0, at), r = side_at(&right, at, 0);

        sgemm(&l, &r, M, N, kb, at > 0 ? 1 : 0, by_blis, N);
        if (!best_few(&l, &r, M, N, kb, at > 0, by_few, N))
            return 0;
    }
    return memcmp(by_blis, by_few, sizeof by_blis) == 0;
}

void product_init(void)
{
#ifdef __x86_64__
    if (isa_runs(ISA_V4)) {
        best_convert = convert_v4;
        best_few = few_rows_v4;
    } else if (isa_runs(ISA_V3)) {
        best_convert = convert_v3;
        best_few = few_rows_v3;
    }
#endif
    few_agrees = few_check(0) && few_check(1);
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Steps are multiples of BLIS's inner tiles, 6 x 16 or 12 x 32. */
static int64_t step_of(int64_t size, int64_t parts, int64_t unit)
{
    return divide_up(divide_up(size, parts), unit) * unit;
}

struct grid grid_make(int64_t m, int64_t n, double flops, int threads, int bounded)
{
    struct grid g = {m, n, 0, 0, 1, 1};
    int64_t rows = bounded ? divide_up(m, TILE_ROWS) : 1;
    int64_t cols = bounded ? divide_up(n, TILE_COLS) : 1;
    int64_t want = flops < SMALL_CALL ? 1 : threads;

    while (rows * cols < want) {
        int64_t m_step = divide_up(m, rows), n_step = divide_up(n, cols);

        if (m_step <= 12 && n_step <= 32)
            break;
        if (m_step > 12 && (m_step >= n_step || n_step <= 32))
            rows++;
        else
            cols++;
    }
    g.m_step = step_of(m, rows, 12);
    g.n_step = step_of(n, cols, 32);
    g.rows = (int)divide_up(m, g.m_step);
    g.cols = (int)divide_up(n, g.n_step);
    return g;
}

struct tile grid_tile(const struct grid *g, int i)
{
    struct tile t = {i / g->cols * g->m_step, i % g->cols * g->n_step, g->m_step,
                     g->n_step};

    if (t.i + t.m > g->m)
        t.m = g->m - t.i;
    if (t.j + t.n > g->n)
        t.n = g->n - t.j;
    return t;
}

unsigned uses_of(const struct nnd_tensor *a, const struct nnd_tensor *b,
                 const struct nnd_tensor *d)
{
    return (a->dtype != NND_F32 ? USES_A : 0u) | (b->dtype != NND_F32 ? USES_B : 0u) |
           (d->dtype != NND_F32 ? USES_D : 0u);
}

size_t slot_bytes(unsigned uses)
{
    size_t n = 0;

    if (uses & USES_A)
        n += (size_t)TILE_ROWS * BLOCK;
    if (uses & USES_B)
        n += (size_t)TILE_COLS * BLOCK;
    if (uses & USES_D)
        n += (size_t)TILE_ROWS * TILE_COLS;
    return n * sizeof(float);
}

struct slot slot_at(void *room, unsigned uses)
{
    struct slot s = {NULL, NULL, NULL};
    float *p = room;

    if (uses & USES_A) {
        s.a = p;
        p += (size_t)TILE_ROWS * BLOCK;
    }
    if (uses & USES_B) {
        s.b = p;
        p += (size_t)TILE_COLS * BLOCK;
    }
    if (uses & USES_D)
        s.d = p;
    return s;
}
