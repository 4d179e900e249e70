/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_tile.h - what attention's forward and backward share: sequences, who sees
 * whom, tiles in f32, and the product of tiles.
 *
 * Products of 64 x 64 tiles through BLIS spend about half their time entering
 * and packing (28-55 % of peak, measured), so they have a small kernel here.  It
 * adds one key (or one query) after the other into each element, leaving out
 * those that the mask hides; hence an element depends neither on the tile's
 * other rows nor on where tiles begin.  Only the softmax's running maximum moves
 * by blocks, of KEYS keys counted from the sequence's first.
 */
#ifndef CPU_ATTN_TILE_H
#define CPU_ATTN_TILE_H

#include "philox.h"
#include "vmath.h"

#define KEYS      64 /* keys of a tile, and queries */
#define LANES_MAX 64
#define HEAD_MAX  512
#define GROUP     4 /* rows that the tile product holds at once */

/* Vectors of columns that it holds at once. */
#if VL == 16
#define WIDE 4
#else
#define WIDE 2
#endif

/* One sequence: its first rows, their numbers; nk counts only real keys. */
struct seq {
    int64_t q, nq, k, nk, room;
};

static inline struct seq seq_of(const struct nnd_attn *p, int64_t b)
{
    struct seq s;

    s.q = p->cu_q ? p->cu_q[b] : b * p->max_q;
    s.nq = p->cu_q ? p->cu_q[b + 1] - s.q : p->max_q;
    s.k = p->cu_k ? p->cu_k[b] : b * p->max_k;
    s.room = p->cu_k ? p->cu_k[b + 1] - s.k : p->max_k;
    s.nk = p->len_k ? p->len_k[b] : s.room;
    return s;
}

static inline int64_t clamp(int64_t x, int64_t lo, int64_t hi)
{
    return x < lo ? lo : x > hi ? hi : x;
}

/* For each lane of a tile the rows that it shares a pair with: [lo, hi). */
struct ranges {
    int32_t lo[LANES_MAX], hi[LANES_MAX];
};

/* Lane i is query q0 + i; rows are the keys [k0, k0 + nk).  Returns whether any
 * pair is seen. */
static inline int keys_seen(struct ranges *r, const struct nnd_attn *p,
                            const struct seq *s, int64_t q0, int64_t lanes, int64_t k0,
                            int64_t nk)
{
    int any = 0;

    memset(r, 0, sizeof *r);
    for (int64_t i = 0; i < lanes; i++) {
        int64_t end = p->causal ? q0 + i + s->nk - s->nq + 1 : s->nk;
        int64_t first = p->window > 0 ? end - p->window : 0;

        r->lo[i] = (int32_t)clamp(first - k0, 0, nk);
        r->hi[i] = (int32_t)clamp(end - k0, r->lo[i], nk);
        any |= r->lo[i] < r->hi[i];
    }
    return any;
}

/* Lane j is key k0 + j; rows are the queries [q0, q0 + nq). */
static inline int queries_seeing(struct ranges *r, const struct nnd_attn *p,
                                 const struct seq *s, int64_t k0, int64_t lanes,
                                 int64_t q0, int64_t nq)
{
    int64_t shift = s->nk - s->nq;
    int any = 0;

    memset(r, 0, sizeof *r);
    for (int64_t j = 0; j < lanes; j++) {
        int64_t at = k0 + j, first = p->causal ? at - shift : 0, end = s->nq;

        if (p->window > 0 && p->causal)
            end = first + p->window;
        if (p->window > 0 && !p->causal && at < s->nk - p->window)
            end = 0;
        r->lo[j] = (int32_t)clamp(first - q0, 0, nq);
        r->hi[j] = (int32_t)clamp(end - q0, r->lo[j], nq);
        any |= r->lo[j] < r->hi[j];
    }
    return any;
}

/* Columns of a tile in memory come in whole cache lines. */
static inline int64_t padded(int64_t d)
{
    return (d + 15) / 16 * 16;
}

static inline void *head_row(const struct nnd_tensor *t, int64_t row, int64_t head)
{
    return (char *)t->data +
           (row * t->stride[0] + head * t->stride[1]) * (int64_t)dtype_size(t->dtype);
}

/* Rows of a head in f32: where they lie, or in `room`, padded with zeros to a
 * multiple of GROUP rows and of 16 columns. */
struct tile {
    const float *x;
    int64_t ld;
};

static inline struct tile tile_load(float *room, const struct nnd_tensor *t,
                                    int64_t row, int64_t head, int64_t rows)
{
    int64_t d = t->dim[2], ld = padded(d);
    struct tile here = {head_row(t, row, head), t->stride[0]}, copy = {room, ld};

    if (t->dtype == NND_F32 && rows % GROUP == 0 && d == ld)
        return here;
    for (int64_t i = 0; i < rows; i++) {
        const void *src = head_row(t, row + i, head);

        for (int64_t c = 0; c < ld; c += VL)
            vec_put(room + i * ld, NND_F32, c, VL, vec_get(src, t->dtype, c, d - c));
    }
    for (int64_t i = rows; i % GROUP; i++)
        memset(room + i * ld, 0, (size_t)ld * sizeof *room);
    return copy;
}

static inline void tile_store(const struct nnd_tensor *t, int64_t row, int64_t head,
                              int64_t rows, const float *x)
{
    int64_t d = t->dim[2], ld = padded(d);

    for (int64_t i = 0; i < rows; i++) {
        void *dst = head_row(t, row + i, head);

        for (int64_t c = 0; c < d; c += VL)
            vec_put(dst, t->dtype, c, d - c, vec_get(x + i * ld, NND_F32, c, VL));
    }
}

/* xt [D,LANES_MAX] = the rows as lanes; lanes behind the rows, up to a multiple of
 * 16, are 0. */
static inline void tile_transpose(float *xt, const struct tile *t, int64_t rows,
                                  int64_t d)
{
    int64_t there = (rows + GROUP - 1) / GROUP * GROUP, lanes = padded(rows);

    for (int64_t c = 0; c < padded(d); c += 4) {
        for (int64_t j = 0; j < there; j += 4)
            turn_square(xt + c * LANES_MAX + j, LANES_MAX, t->x + j * t->ld + c, t->ld);
        for (int64_t i = c; i < c + 4 && there < lanes; i++)
            memset(xt + i * LANES_MAX + there, 0, (size_t)(lanes - there) * sizeof *xt);
    }
}

/* What tile_product() multiplies: weight (r, k) is w[r * wr + k * wk]. */
struct weights {
    const float *w;
    int64_t wr, wk;
};

/* Steps [k, end) of GROUP rows and `wide` vectors of columns, for all rows.  The
 * loops over rows and vectors unroll, so that acc stays in registers. */
static inline __attribute__((always_inline)) void
group_steps(int wide, vf acc[GROUP][WIDE], struct weights w, const float *x,
            int64_t ldx, int32_t k, int32_t end)
{
    for (; k < end; k++) {
        vf b[WIDE];

#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            memcpy(&b[v], x + k * ldx + v * VL, sizeof(vf));
#pragma GCC unroll 4
        for (int r = 0; r < GROUP; r++) {
            vf a = vec_all(w.w[r * w.wr + k * w.wk]);

#pragma GCC unroll 4
            for (int v = 0; v < wide; v++)
                acc[r][v] = vec_fma(a, b[v], acc[r][v]);
        }
    }
}

/* The same for the rows whose range holds k. */
static inline __attribute__((always_inline)) void
group_steps_masked(int wide, vf acc[GROUP][WIDE], struct weights w, const float *x,
                   int64_t ldx, int32_t k, int32_t end, const int32_t *lo,
                   const int32_t *hi)
{
    for (; k < end; k++) {
#pragma GCC unroll 4
        for (int r = 0; r < GROUP; r++) {
            vf a = vec_all(w.w[r * w.wr + k * w.wk]);

            if (k < lo[r] || k >= hi[r])
                continue;
#pragma GCC unroll 4
            for (int v = 0; v < wide; v++) {
                vf b;

                memcpy(&b, x + k * ldx + v * VL, sizeof b);
                acc[r][v] = vec_fma(a, b, acc[r][v]);
            }
        }
    }
}

/* y [GROUP, wide * VL] of tile_product(): what only some rows take, what all
 * take, and again what only some take. */
static inline __attribute__((always_inline)) void
group_product(int wide, float *y, int64_t ldy, struct weights w, const float *x,
              int64_t ldx, const int32_t *lo, const int32_t *hi)
{
    vf acc[GROUP][WIDE];
    int32_t first = lo[0], last = hi[0], all_lo = first, all_hi = last;

    for (int r = 1; r < GROUP; r++) {
        first = lo[r] < first ? lo[r] : first;
        last = hi[r] > last ? hi[r] : last;
        all_lo = lo[r] > all_lo ? lo[r] : all_lo;
        all_hi = hi[r] < all_hi ? hi[r] : all_hi;
    }
    if (all_hi < all_lo)
        all_lo = all_hi = last;
#pragma GCC unroll 4
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            memcpy(&acc[r][v], y + r * ldy + v * VL, sizeof(vf));
    group_steps_masked(wide, acc, w, x, ldx, first, all_lo, lo, hi);
    group_steps(wide, acc, w, x, ldx, all_lo, all_hi);
    group_steps_masked(wide, acc, w, x, ldx, all_hi, last, lo, hi);
#pragma GCC unroll 4
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            memcpy(y + r * ldy + v * VL, &acc[r][v], sizeof(vf));
}

/* y [rows,cols] += sum over k in row r's range of w(r,k) x[k,cols], k ascending;
 * rows a multiple of GROUP, cols of 16. */
static void tile_product(float *y, int64_t ldy, int64_t rows, int64_t cols,
                         struct weights w, const struct tile *x,
                         const struct ranges *seen)
{
    for (int64_t r = 0; r < rows; r += GROUP) {
        struct weights wr = {w.w + r * w.wr, w.wr, w.wk};
        const int32_t *lo = seen->lo + r, *hi = seen->hi + r;
        int64_t c = 0;

        for (; c + WIDE * VL <= cols; c += WIDE * VL)
            group_product(WIDE, y + r * ldy + c, ldy, wr, x->x + c, x->ld, lo, hi);
        for (; c + 2 * VL <= cols; c += 2 * VL)
            group_product(2, y + r * ldy + c, ldy, wr, x->x + c, x->ld, lo, hi);
        for (; c < cols; c += VL)
            group_product(1, y + r * ldy + c, ldy, wr, x->x + c, x->ld, lo, hi);
    }
}

static inline int64_t group_up(int64_t rows)
{
    return (rows + GROUP - 1) / GROUP * GROUP;
}

/* Lanes up to a multiple of GROUP take the last real lane's range: their results
 * are not used, but must not slow the others down. */
static inline void ranges_pad(struct ranges *r, int64_t lanes)
{
    for (int64_t i = lanes; i < group_up(lanes); i++) {
        r->lo[i] = r->lo[lanes - 1];
        r->hi[i] = r->hi[lanes - 1];
    }
}

/* y [rows,LANES_MAX] = rows of `a` times the first `lanes` of bt [d,LANES_MAX]. */
static inline void tile_scores(float *y, const struct tile *a, int64_t rows,
                               const float *bt, int64_t lanes, int64_t d)
{
    struct weights w = {a->x, a->ld, 1};
    struct tile b = {bt, LANES_MAX};
    struct ranges all;

    for (int i = 0; i < LANES_MAX; i++) {
        all.lo[i] = 0;
        all.hi[i] = (int32_t)d;
    }
    memset(y, 0, (size_t)(group_up(rows) * LANES_MAX) * sizeof *y);
    tile_product(y, LANES_MAX, group_up(rows), padded(lanes), w, &b, &all);
}

/* s = softcap tanh(s / softcap) where softcap is on. */
static inline vf cap(vf s, float softcap)
{
    return softcap > 0 ? softcap * vec_tanh(s / softcap) : s;
}

/* The rows that any of the lanes [c, c + VL) sees. */
static inline void lanes_span(const struct ranges *r, int64_t c, int64_t *lo,
                              int64_t *hi)
{
    *lo = LANES_MAX;
    *hi = 0;
    for (int64_t i = c; i < c + VL; i++)
        if (r->lo[i] < r->hi[i]) {
            *lo = r->lo[i] < *lo ? r->lo[i] : *lo;
            *hi = r->hi[i] > *hi ? r->hi[i] : *hi;
        }
}

/* Which of the lanes [c, c + VL) see row `row`. */
static inline vi lanes_seeing(const struct ranges *r, int64_t c, int64_t row)
{
    vi lo, hi;

    memcpy(&lo, r->lo + c, sizeof lo);
    memcpy(&hi, r->hi + c, sizeof hi);
    return (lo <= (int32_t)row) & (hi > (int32_t)row);
}

/* f(i, j) = what dropout multiplies the weight of query row + i and key column +
 * j by, at f[i * fi + j * fj]; `column` is a multiple of 4. */
static inline void drop_tile(float *f, int64_t fi, int64_t fj, const struct nnd_attn *p,
                             const struct drop *drop, int64_t head, int64_t row,
                             int64_t rows, int64_t column, int64_t columns)
{
    uint32_t words[KEYS];

    for (int64_t i = 0; i < rows; i++) {
        drop_words(drop->key, p->dropout.sample[row + i], (uint32_t)head,
                   p->dropout.pos[row + i], column, columns, words);
        for (int64_t j = 0; j < columns; j++)
            f[i * fi + j * fj] = words[j] >= drop->threshold ? drop->scale : 0;
    }
}

#endif
