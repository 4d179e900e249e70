/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_task.c - the product of one task out of packed blocks, and how a call is cut
 * into tasks.
 *
 * Each task packs what it needs into its worker's room: nobody waits for anybody,
 * and what two tasks both pack is a few parts in a hundred of what they multiply.
 */
#include "gemm.h"

/* A call below this many multiply-adds is one task in the caller's thread. */
#define SMALL_CALL 300000.0

/* Packing an element takes about as long as so many multiply-adds. */
#define PACK_COST 8

#if GEMM_WORD == 1 && defined(__FMA__)

/* Few rows take B as it is, with the same bits. */
static int is_few(const struct gemm_task *t)
{
    return t->m <= FEW_ROWS && !t->pair && !t->sums && t->a.cs == 1 && !t->b.index;
}

static void product_of_few(const struct gemm_task *t)
{
    float rows[FEW_ROWS * GEMM_K];
    struct side left = {rows, NND_F32, GEMM_K, 1, NULL, 1};

    for (int64_t at = 0; at < t->k; at += GEMM_K) {
        int64_t size = t->k - at < GEMM_K ? t->k - at : GEMM_K;
        struct side a = side_at(&t->a, 0, at), b = side_at(&t->b, at, 0);

        for (int64_t i = 0; i < t->m; i++) {
            const void *row = side_row(&a, i);

            if (row)
                gemm_convert(rows + i * GEMM_K, NND_F32, 0, row, a.dtype, 0, 1, size,
                             1.0f);
            else
                memset(rows + i * GEMM_K, 0, (size_t)size * sizeof *rows);
        }
        gemm_few(&left, &b, t->m, t->n, size, t->add || at > 0, t->d, t->ld);
    }
}

#else

static int is_few(const struct gemm_task *t)
{
    (void)t;
    return 0;
}

static void product_of_few(const struct gemm_task *t)
{
    (void)t;
}

#endif

/* sums [m] = or += the sums of block a [m,k] over K. */
static void sum_block(const struct side *a, int64_t m, int64_t k, int add, float *sums)
{
    for (int64_t i = 0; i < m; i += VL) {
        vf s = vec_all(0);

        for (int64_t at = 0; at < k; at++)
            s = s + vec_get((const char *)a->p + at * a->cs * side_size(a), a->dtype, i,
                            m - i);
        if (add)
            s = vec_get(sums, NND_F32, i, m - i) + s;
        vec_put(sums, NND_F32, i, m - i, s);
    }
}

/* Block [m,k] of a side will be packed next. */
static struct gemm_ahead ahead_of(const struct side *s, int64_t m, int64_t k)
{
    int64_t rows = s->cs == 1 ? m : k, cols = s->cs == 1 ? k : m;
    struct gemm_ahead w = {.side = *s, .rows = rows, .bytes = cols * side_size(s)};

    if (s->cs != 1) {
        w.side.rs = s->cs;
        w.side.cs = 1;
    }
    return w;
}

/* Rows [first, last) of d have their sums. */
static void end_rows(const struct gemm_task *t, int64_t first, int64_t last)
{
    if (t->end)
        gemm_end(t->end, t->i + first, t->j, last - first, t->cols,
                 t->d + first * t->ld, t->ld);
}

/* One block of K: B packed once, A group by group, and what comes next brought near
 * meanwhile. */
static void add_block(const struct gemm_task *t, int64_t at, int64_t k,
                      const struct gemm_room *room)
{
    int64_t panels = (t->m + GEMM_MR - 1) / GEMM_MR;
    int64_t after = t->k - at - k < GEMM_K ? t->k - at - k : GEMM_K;
    struct side b = side_at(&t->b, at, 0), b2;
    struct gemm_ahead ahead[2] = {{.rows = 0}, {.rows = 0}};
    int add = t->add || at > 0;

    if (t->pair)
        b2 = side_at(&t->b2, at, 0);
    gemm_pack_right(&b, t->pair ? &b2 : NULL, k, t->cols, room->b);
    if (after > 0) {
        b = side_at(&t->b, at + k, 0);
        ahead[1] = ahead_of(&b, after, t->cols);
    }
    for (int64_t q = 0; q < panels; q += GEMM_GROUP_PANELS) {
        int64_t end = q + GEMM_GROUP_PANELS < panels ? q + GEMM_GROUP_PANELS : panels;
        int64_t first = t->m * q / panels, last = t->m * end / panels;
        struct side a = side_at(&t->a, first, at);
        struct gemm_left left;

        gemm_pack_left(&a, last - first, k, room->a, &left);
        if (t->sums)
            sum_block(&a, last - first, k, at > 0, t->sums + first);
        a = side_at(&t->a, last, at);
        ahead[0] = ahead_of(
            &a, t->m - last < GEMM_GROUP_ROWS ? t->m - last : GEMM_GROUP_ROWS, k);
        gemm_multiply(&left, room->b, t->n, k, add, t->d + first * t->ld, t->ld, ahead);
        if (after == 0)
            end_rows(t, first, last);
    }
}

/* Of no columns there is nothing but the sums of A. */
static void sums_alone(const struct gemm_task *t)
{
    for (int64_t at = 0; t->sums && at < t->k; at += GEMM_K) {
        struct side a = side_at(&t->a, 0, at);

        sum_block(&a, t->m, t->k - at < GEMM_K ? t->k - at : GEMM_K, at > 0, t->sums);
    }
}

/* Sums over an empty K. */
static void product_of_none(const struct gemm_task *t)
{
    if (!t->add)
        for (int64_t i = 0; i < t->m; i++)
            memset(t->d + i * t->ld, 0, (size_t)t->n * sizeof *t->d);
    if (t->sums)
        memset(t->sums, 0, (size_t)t->m * sizeof *t->sums);
    end_rows(t, 0, t->m);
}

void gemm_product(const struct gemm_task *t, const struct gemm_room *room)
{
    if (t->k == 0) {
        product_of_none(t);
        return;
    }
    if (t->n == 0) {
        sums_alone(t);
        return;
    }
    if (is_few(t)) {
        product_of_few(t);
        end_rows(t, 0, t->m);
        return;
    }
    for (int64_t at = 0; at < t->k; at += GEMM_K)
        add_block(t, at, t->k - at < GEMM_K ? t->k - at : GEMM_K, room);
}

/* ---- how a call is cut ---- */

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static struct gemm_grid grid_of(int64_t m, int64_t n, int64_t rows, int64_t cols)
{
    struct gemm_grid g = {.m = m, .n = n};

    g.m_step = divide_up(m, rows);
    g.n_step = divide_up(divide_up(n, cols), GEMM_NR) * GEMM_NR;
    g.rows = (int)divide_up(m, g.m_step);
    g.cols = (int)divide_up(n, g.n_step);
    return g;
}

/* How long the call takes on `threads`, each with the same number of tasks. */
static int64_t time_of(const struct gemm_grid *g, int threads)
{
    int64_t turns = divide_up((int64_t)g->rows * g->cols, threads);

    return turns * (g->m_step * g->n_step + PACK_COST * (g->m_step + g->n_step));
}

struct gemm_grid gemm_cut(int64_t m, int64_t n, int64_t k, int threads,
                          int64_t most_rows, int64_t most_cols)
{
    int64_t rows = divide_up(m, most_rows), cols = divide_up(n, most_cols);
    struct gemm_grid best = grid_of(m, n, rows, cols);
    int more = threads < 8 ? 2 * threads : 16;

    if ((double)m * (double)n * (double)k < SMALL_CALL)
        return best;
    for (int64_t r = rows; r <= rows + more; r++)
        for (int64_t c = cols; c <= cols + more; c++) {
            struct gemm_grid g = grid_of(m, n, r, c);

            if (time_of(&g, threads) < time_of(&best, threads))
                best = g;
        }
    return best;
}

struct gemm_tile gemm_tile_at(const struct gemm_grid *g, int i)
{
    struct gemm_tile t = {i / g->cols * g->m_step, i % g->cols * g->n_step, g->m_step,
                          g->n_step};

    if (t.i + t.m > g->m)
        t.m = g->m - t.i;
    if (t.j + t.n > g->n)
        t.n = g->n - t.j;
    return t;
}

/* ---- rooms ---- */

#define LEFT_ROWS    ((size_t)GEMM_GROUP_ROWS * GEMM_ROW_STEP)
#define LEFT_COLUMNS ((size_t)GEMM_GROUP_PANELS * GEMM_LEFT_STEP)
#define LEFT_WORDS   ((LEFT_ROWS > LEFT_COLUMNS ? LEFT_ROWS : LEFT_COLUMNS) + 64)
#define RIGHT_WORDS  ((size_t)GEMM_COLS / GEMM_NR * GEMM_RIGHT_STEP + 64)

size_t gemm_room_bytes(size_t d)
{
    size_t words = LEFT_WORDS + RIGHT_WORDS + d;

    return (words * sizeof(float) + 255) & ~(size_t)255;
}

struct gemm_room gemm_room_at(void *p)
{
    float *a = p;

    return (struct gemm_room){a, a + LEFT_WORDS, a + LEFT_WORDS + RIGHT_WORDS};
}
