/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_tile.h - what attention's forward and backward share: sequences, who sees
 * whom, and what a score is before the softmax.
 *
 * Tiles are counted from a sequence's first key and query.  What a mask hides
 * weighs 0 within a tile that shows anything, and tiles that show nothing are left
 * out.
 */
#ifndef CPU_ATTN_TILE_H
#define CPU_ATTN_TILE_H

#include "attn_word.h"

#define HEAD_MAX 512
#define LOG2_E   1.44269504088896341f
#define LN_2     0.693147180559945309f
#define INF      __builtin_inff()

/* One sequence: its number, its first rows, how many; nk counts only real keys. */
struct seq {
    int64_t number, q, nq, k, nk, room;
};

static inline struct seq seq_of(const struct nnd_attn *p, int64_t b)
{
    struct seq s = {.number = b};

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

/* ---- who sees whom ---- */

/* From ranges of `lanes` lanes to spans of vectors; returns whether anything is
 * seen. */
static inline int seen_spans(struct seen *s, int64_t lanes, int64_t rows)
{
    int any = 0;

    s->whole = lanes == TILE && rows == TILE;
    s->vectors = (int)((lanes + VL - 1) / VL);
    for (int v = 0; v < s->vectors; v++) {
        int32_t first = TILE, end = 0;

        for (int i = v * VL; i < (v + 1) * VL; i++) {
            s->whole &= s->lo[i] == 0 && s->hi[i] == TILE;
            if (s->lo[i] < s->hi[i]) {
                first = s->lo[i] < first ? s->lo[i] : first;
                end = s->hi[i] > end ? s->hi[i] : end;
            }
        }
        any |= first < end;
        s->first[v] = first < end ? first / GROUP * GROUP : 0;
        s->end[v] = first < end ? (int32_t)group_up(end) : 0;
    }
    return any;
}

/* Every lane sees the keys [lo, hi), counted from the sequence's first. */
static inline void query_range(const struct nnd_attn *p, const struct seq *s, int64_t i,
                               int64_t *lo, int64_t *hi)
{
    *hi = p->causal ? i + s->nk - s->nq + 1 : s->nk;
    *lo = p->window > 0 ? *hi - p->window : 0;
}

/* What a tile of queries by keys shows: a range grows with its query, so the first
 * and the last tell of all. */
enum { SHOWS_NONE, SHOWS_SOME, SHOWS_ALL };

static inline int tile_shows(const struct nnd_attn *p, const struct seq *s, int64_t q0,
                             int64_t nq, int64_t k0, int64_t nk)
{
    int64_t lo[2], hi[2];

    query_range(p, s, q0, &lo[0], &hi[0]);
    query_range(p, s, q0 + nq - 1, &lo[1], &hi[1]);
    if (hi[1] <= k0 || lo[0] >= k0 + nk)
        return SHOWS_NONE;
    return lo[1] <= k0 && hi[0] >= k0 + nk ? SHOWS_ALL : SHOWS_SOME;
}

static inline void seen_whole(struct seen *r)
{
    for (int i = 0; i < TILE; i++) {
        r->lo[i] = 0;
        r->hi[i] = TILE;
    }
    for (int v = 0; v < TILE / VL; v++) {
        r->first[v] = 0;
        r->end[v] = TILE;
    }
    r->vectors = TILE / VL;
    r->whole = 1;
}

/* Lanes are the queries q0 + i; rows are the keys [k0, k0 + nk). */
static inline int keys_seen(struct seen *r, const struct nnd_attn *p,
                            const struct seq *s, int64_t q0, int64_t lanes, int64_t k0,
                            int64_t nk)
{
    int shows = tile_shows(p, s, q0, lanes, k0, nk);

    if (shows == SHOWS_NONE)
        return 0;
    if (shows == SHOWS_ALL && lanes == TILE && nk == TILE) {
        seen_whole(r);
        return 1;
    }
    memset(r, 0, sizeof *r);
    for (int64_t i = 0; i < lanes; i++) {
        int64_t lo, hi;

        query_range(p, s, q0 + i, &lo, &hi);
        r->lo[i] = (int32_t)clamp(lo - k0, 0, nk);
        r->hi[i] = (int32_t)clamp(hi - k0, r->lo[i], nk);
    }
    return seen_spans(r, lanes, nk);
}

/* Lanes are the keys k0 + j; rows are the queries [q0, q0 + nq). */
static inline int queries_seeing(struct seen *r, const struct nnd_attn *p,
                                 const struct seq *s, int64_t k0, int64_t lanes,
                                 int64_t q0, int64_t nq)
{
    int64_t shift = s->nk - s->nq;
    int shows = tile_shows(p, s, q0, nq, k0, lanes);

    if (shows == SHOWS_NONE)
        return 0;
    if (shows == SHOWS_ALL && lanes == TILE && nq == TILE) {
        seen_whole(r);
        return 1;
    }
    memset(r, 0, sizeof *r);
    for (int64_t j = 0; j < lanes; j++) {
        int64_t at = k0 + j, first = p->causal ? at - shift : 0, end = s->nq;

        if (p->window > 0 && p->causal)
            end = first + p->window;
        if (p->window > 0 && !p->causal && at < s->nk - p->window)
            end = 0;
        r->lo[j] = (int32_t)clamp(first - q0, 0, nq);
        r->hi[j] = (int32_t)clamp(end - q0, r->lo[j], nq);
    }
    return seen_spans(r, lanes, nq);
}

/* Which of the lanes [c, c + VL) see row `row`. */
static inline vi lanes_seeing(const struct seen *r, int64_t c, int64_t row)
{
    vi lo, hi;

    memcpy(&lo, r->lo + c, sizeof lo);
    memcpy(&hi, r->hi + c, sizeof hi);
    return (lo <= (int32_t)row) & (hi > (int32_t)row);
}

/* ---- scores ---- */

/* 2^t for t <= 127; 0 below the normal numbers, whose arithmetic is slow; a NaN is one.
 * The polynomial's relative error on [-1/2, 1/2] is 2e-9 (fitted, exact at 0). */
static inline vf vec_exp2(vf t)
{
    const float magic = 0x1.8p23f + 127; /* the last bits are the exponent of 2^n */
    vf n = t + magic, f = t - (n - magic);
    vf p = vec_fma(vec_all(1.53533605e-4f), f, vec_all(1.33988750e-3f));

    p = vec_fma(p, f, vec_all(9.61843692e-3f));
    p = vec_fma(p, f, vec_all(5.55033237e-2f));
    p = vec_fma(p, f, vec_all(2.40226477e-1f));
    p = vec_fma(p, f, vec_all(6.93147182e-1f));
    p = vec_fma(p, f, vec_all(1.0f));
    p = p * (vf)((vu)n << 23); /* not by adding bits: those of a NaN may be any */
    return vec_pick(t < -126.0f, vec_all(0), p);
}

/* Do scores take more than a factor? */
static inline int scores_are_plain(const struct nnd_attn *p)
{
    return p->softcap == 0 && p->bias.ndim == 0 && p->scale > 0;
}

/* The bias of head `head`, queries [q0, q0 + nq) and keys [k0, k0 + nk) of sequence
 * `number`; [TILE, TILE] by rows of queries. */
static inline void bias_tile(float *out, const struct nnd_tensor *bias, int64_t number,
                             int64_t head, int64_t q0, int64_t nq, int64_t k0,
                             int64_t nk)
{
    int64_t at = (bias->dim[0] > 1 ? number * bias->stride[0] : 0) +
                 (bias->dim[1] > 1 ? head * bias->stride[1] : 0) + k0;

    for (int64_t i = 0; i < nq; i++) {
        const char *row =
            (const char *)bias->data +
            (at + (q0 + i) * bias->stride[2]) * (int64_t)dtype_size(bias->dtype);

        for (int64_t c = 0; c < nk; c += VL)
            vec_put(out + i * TILE, NND_F32, c, VL,
                    vec_get(row, bias->dtype, c, nk - c));
    }
}

/* x [TILE, TILE] turned over. */
static inline void tile_turn(float *y, const float *x)
{
    for (int64_t i = 0; i < TILE; i += 4)
        for (int64_t j = 0; j < TILE; j += 4)
            turn_square(y + j * TILE + i, TILE, x + i * TILE + j, TILE);
}

/* Products of q and k become scores: s = cap(scale s) + bias.  slope, when given,
 * becomes cap's derivative. */
static inline void scores_finish(float *s, float *slope, const float *bias,
                                 const struct nnd_attn *p, const struct seen *seen)
{
    for (int v = 0; v < seen->vectors; v++)
        for (int64_t r = seen->first[v]; r < seen->end[v]; r++) {
            int64_t at = r * TILE + v * VL;
            vf x = word_load(s + at) * p->scale, d = vec_all(1);

            if (p->softcap > 0) {
                vf t = vec_tanh(x / p->softcap);

                x = p->softcap * t;
                d = 1.0f - t * t;
            }
            if (bias)
                x += word_load(bias + at);
            memcpy(s + at, &x, sizeof x);
            if (slope)
                memcpy(slope + at, &d, sizeof d);
        }
}

/* f(i, j) = what dropout multiplies the weight of query row + i and key column +
 * j by, at f[i * fi + j * fj]; `column` is a multiple of 4. */
static inline void drop_tile(float *f, int64_t fi, int64_t fj, const struct nnd_attn *p,
                             const struct drop *drop, int64_t head, int64_t row,
                             int64_t rows, int64_t column, int64_t columns)
{
    uint32_t words[TILE];

    for (int64_t i = 0; i < rows; i++) {
        drop_words(drop->key, p->dropout.sample[row + i], (uint32_t)head,
                   p->dropout.pos[row + i], column, columns, words);
        for (int64_t j = 0; j < columns; j++)
            f[i * fi + j * fj] = words[j] >= drop->threshold ? drop->scale : 0;
    }
}

#endif
