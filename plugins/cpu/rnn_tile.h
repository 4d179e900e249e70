/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnn_tile.h - what both directions of a recurrent layer share: rows in the order
 * of their length, recurrent weights packed once for all steps, and the product
 * of some rows with a panel of them.
 *
 * A panel is up to PANEL vectors of columns; a step of its sum is one word of each
 * row: a float, or, where the processor multiplies them, a pair of bf16.  An
 * element's sum runs in the order of its words whatever rows and panels there
 * are, so rows keep their bits, and panels may go to any thread.
 */
#ifndef CPU_RNN_TILE_H
#define CPU_RNN_TILE_H

#include <stdatomic.h>

#include "op.h"
#include "par.h"
#include "vmath.h"

#define PANEL      4  /* vectors of a panel, at most                   */
#define STEP_BLOCK 64 /* words of a sum between visits of other rows   */
#define ROW_BLOCK  64 /* rows whose sums are held at once              */

/* Numbers in a word. */
#ifdef __AVX512BF16__
#define PAIR    2
#define IN_CELL (1u << NND_BF16)
#else
#define PAIR    1
#define IN_CELL IN_FLOATS
#endif

/* Rows that a tile holds at once: as many sums as there are registers. */
#define TILE_ROWS(nv) (VL == 16 ? ((nv) == 4 ? 6 : 8) : ((nv) == 4 ? 2 : 4))

/* sum + a * b, a one word for all lanes. */
static inline vf word_fma(vf sum, float a, vf b)
{
#if PAIR == 2
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)(__m512)vec_all(a), (__m512bh)b);
#else
    return vec_fma(vec_all(a), b, sum);
#endif
}

/* `ahead`: what will be multiplied soon; one line of it is asked for at each step. */
static inline __attribute__((always_inline)) void
tile_fixed(int rows, int nv, float *acc, const float *a, int64_t lda, const float *w,
           int64_t steps, const float *ahead)
{
    vf sum[8][PANEL];

#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            memcpy(&sum[r][v], acc + (r * nv + v) * VL, sizeof(vf));
    for (int64_t k = 0; k < steps; k++) {
        vf b[PANEL];

        __builtin_prefetch(ahead + k * VL);
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            memcpy(&b[v], w + (k * nv + v) * VL, sizeof(vf));
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                sum[r][v] = word_fma(sum[r][v], a[r * lda + k], b[v]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            memcpy(acc + (r * nv + v) * VL, &sum[r][v], sizeof(vf));
}

static inline __attribute__((always_inline)) void
tile_rows(int rows, int nv, float *acc, const float *a, int64_t lda, const float *w,
          int64_t steps, const float *ahead)
{
    switch (rows) {
    case 1:
        tile_fixed(1, nv, acc, a, lda, w, steps, ahead);
        break;
    case 2:
        tile_fixed(2, nv, acc, a, lda, w, steps, ahead);
        break;
    case 3:
        tile_fixed(3, nv, acc, a, lda, w, steps, ahead);
        break;
    case 4:
        tile_fixed(4, nv, acc, a, lda, w, steps, ahead);
        break;
    case 5:
        tile_fixed(5, nv, acc, a, lda, w, steps, ahead);
        break;
    case 6:
        tile_fixed(6, nv, acc, a, lda, w, steps, ahead);
        break;
    case 7:
        tile_fixed(7, nv, acc, a, lda, w, steps, ahead);
        break;
    default:
        tile_fixed(8, nv, acc, a, lda, w, steps, ahead);
        break;
    }
}

/* acc [rows, nv * VL] += a [rows,steps] w [steps, nv * VL], in words. */
static inline __attribute__((always_inline)) void
panel_fixed(int nv, float *acc, int64_t rows, const float *a, int64_t lda,
            const float *w, int64_t steps)
{
    int64_t tiles = (rows + TILE_ROWS(nv) - 1) / TILE_ROWS(nv);

    for (int64_t k = 0; k < steps; k += STEP_BLOCK) {
        int64_t n = steps - k < STEP_BLOCK ? steps - k : STEP_BLOCK;
        const float *next = w + (k + STEP_BLOCK) * nv * VL;

        for (int64_t i = 0; i < tiles; i++) {
            int64_t lo = rows * i / tiles, hi = rows * (i + 1) / tiles;

            tile_rows((int)(hi - lo), nv, acc + lo * nv * VL, a + lo * lda + k, lda,
                      w + k * nv * VL, n, next + (i < nv ? i : 0) * STEP_BLOCK * VL);
        }
    }
}

static __attribute__((noinline, unused)) void
panel_product(int nv, float *acc, int64_t rows, const float *a, int64_t lda,
              const float *w, int64_t steps)
{
    switch (nv) {
    case 1:
        panel_fixed(1, acc, rows, a, lda, w, steps);
        break;
    case 2:
        panel_fixed(2, acc, rows, a, lda, w, steps);
        break;
    case 3:
        panel_fixed(3, acc, rows, a, lda, w, steps);
        break;
    default:
        panel_fixed(4, acc, rows, a, lda, w, steps);
        break;
    }
}

/* ---- words ---- */

/* Numbers k and k + 1, or number k, of a row of n as one word; 0 behind its end. */
static inline float word_of(const void *row, int dtype, int64_t k, int64_t n)
{
#if PAIR == 2
    const uint16_t *x = row;
    uint32_t bits = k < n ? x[k] : 0;
    float word;

    (void)dtype;
    bits |= k + 1 < n ? (uint32_t)x[k + 1] << 16 : 0;
    memcpy(&word, &bits, sizeof word);
    return word;
#else
    return k >= n             ? 0
           : dtype == NND_F32 ? ((const float *)row)[k]
                              : vec_widen((vh){((const uint16_t *)row)[k]}, dtype)[0];
#endif
}

/* VL numbers into a row of words at number i, rounded to `dtype` on the way;
 * returns them as rounded. */
static inline vf words_put(float *row, int64_t i, int dtype, vf x)
{
#if PAIR == 2
    vh h = vec_to_bf16(x);

    (void)dtype;
    memcpy((uint16_t *)row + i, &h, sizeof h);
    return vec_from_bf16(h);
#else
    if (dtype != NND_F32)
        x = vec_widen(vec_narrow(x, dtype), dtype);
    memcpy(row + i, &x, sizeof x);
    return x;
#endif
}

/* ---- a call ---- */

static inline int64_t up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static inline int gates_of(int cell)
{
    return cell <= NND_CELL_RELU ? 1 : cell == NND_CELL_GRU ? 3 : 4;
}

/* Everything of a call.  Rows are called by slots, the longest row first: those
 * that have a step i are slots 0 to active(i). */
struct job {
    const struct nnd_rnn *p;
    int64_t rows, steps, hidden, gates;
    int64_t units;         /* hidden, up to whole vectors     */
    int64_t panels, words; /* words: of a panel's sum  */
    int nv;                /* vectors of a panel              */
    int parts;             /* of the panels, for the threads  */
    int plain;             /* f32 and whole vectors, nothing else */
    int32_t *row, *len;    /* of a slot                   */
    float *w;              /* [panels][words][nv * VL]        */
    float *in[2];          /* [rows][ld] words: what is multiplied, by turns */
    int64_t ld;
    float *acc;  /* [rows][units]: c, or dh         */
    float *acc2; /* [rows][units]: dc               */
    float *bias; /* [panels][nv * VL]               */
    int64_t step;
    atomic_int *turn; /* [parts]: how often a part was taken */
};

#define PARTS_MAX 256

/* Which part a thread takes of a step that all take one of: the one that it had
 * the last time, whose weights its cache holds, unless someone was faster. */
static inline int take_part(const struct job *j, int64_t turn)
{
    static _Thread_local int mine;
    int last = (int)turn;

    for (int i = 0; i < j->parts; i++) {
        int part = (mine + i) % j->parts, was = last;

        if (atomic_compare_exchange_strong(&j->turn[part], &was, last + 1)) {
            mine = part;
            return part;
        }
    }
    return -1;
}

/* Absent, or f32 with rows of whole vectors. */
static inline int is_plain(const struct nnd_tensor *t)
{
    return !t->ndim || (t->dtype == NND_F32 && t->dim[t->ndim - 1] % VL == 0);
}

/* How the rows of units lie.  plain is a constant where these are inlined: no vector is
 * cut and all is f32. */
struct units {
    int plain;
    int64_t left; /* from the vector's first unit to the row's end */
};

static inline __attribute__((always_inline)) vf
units_get(struct units u, const void *row, int dtype, int64_t i)
{
    return vec_get(row, u.plain ? NND_F32 : dtype, i, u.plain ? VL : u.left);
}

static inline __attribute__((always_inline)) void units_put(struct units u, void *row,
                                                            int dtype, int64_t i, vf x)
{
    vec_put(row, u.plain ? NND_F32 : dtype, i, u.plain ? VL : u.left, x);
}

static inline void *step_at(const struct nnd_tensor *t, int64_t b, int64_t step)
{
    return (char *)t->data +
           (b * t->stride[0] + step * t->stride[1]) * (int64_t)dtype_size(t->dtype);
}

/* Where step i of a slot stands in its row. */
static inline int64_t place(const struct job *j, int64_t slot, int64_t i)
{
    return j->p->reverse ? j->len[slot] - 1 - i : i;
}

static inline int64_t active(const struct job *j, int64_t i)
{
    int64_t n = j->rows;

    while (n > 0 && j->len[n - 1] <= i)
        n--;
    return n;
}

/* Rows by falling length, equal ones in their order; the status of a bad one. */
static inline int order_rows(struct job *j)
{
    const int32_t *len = j->p->len;
    int64_t n = 0;

    for (int64_t b = 0; b < j->rows; b++)
        if (len && (len[b] < 0 || len[b] > j->steps))
            return op_wrong("row %lld has %d steps of %lld", (long long)b, len[b],
                            (long long)j->steps);
    for (int64_t want = j->steps; want >= 0; want--)
        for (int64_t b = 0; b < j->rows; b++)
            if ((len ? len[b] : j->steps) == want) {
                j->row[n] = (int32_t)b;
                j->len[n++] = (int32_t)want;
            }
    return NND_OK;
}

/* Zeros behind the rows' ends. */
static inline void clear_padding(const struct job *j, const struct nnd_tensor *t)
{
    size_t row = (size_t)t->dim[2] * dtype_size(t->dtype);

    for (int64_t s = 0; t->ndim && s < j->rows; s++)
        for (int64_t i = j->len[s]; i < j->steps; i++)
            memset(step_at(t, j->row[s], i), 0, row);
}

/* Is a step's work worth waking others for? */
static inline int parts_of(const struct job *j, const struct nnd_launch *l)
{
    int64_t work = j->rows * j->panels * j->nv * VL * j->words;

    if (l->nthreads < 2 || work < 1 << 18)
        return 1;
    work = j->panels < l->nthreads ? j->panels : l->nthreads;
    return (int)(work < PARTS_MAX ? work : PARTS_MAX);
}

static inline int64_t first_panel(const struct job *j, int part)
{
    return j->panels * part / j->parts;
}

#endif
