/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_fwd.c - "attn.fwd": softmax(scale q k^T) v by tiles, with the softmax's
 * maximum and sum carried from tile to tile (Milakov & Gimelshein 2018; Dao et
 * al. 2022).  A task is one block of queries of one head; queries are lanes, so
 * that maxima and sums need no step across a vector.
 */
#include <stdalign.h>

#include "attn.h"
#include "op.h"
#include "work.h"

/* A task's tiles, by whole cache lines: a vector on two of them takes twice as long. */
struct room {
    struct seen seen;
    alignas(64) float max[TILE];
    float sum[TILE], shrink[TILE];
    float s[TILE * TILE]; /* [key, query]: scores, and weights in their place */
#if ATTN_PAIRS
    word p[TILE * TILE]; /* the weights, by steps of keys */
#endif
    float drop[TILE * TILE]; /* [key, query]          */
    float bias[TILE * TILE], turned[TILE * TILE];
    word tiles[]; /* see below */
};

/* Behind the room: q^T [words, TILE], o [TILE, d], k and v by rows, v by steps. */
enum { Q_SIDE, O_ROWS, K_ROWS, V_ROWS, V_STEPS, TILES };

static word *weights_of(struct room *m)
{
#if ATTN_PAIRS
    return m->p;
#else
    return m->s;
#endif
}

static word *tile_number(struct room *m, int number, int64_t d)
{
    return m->tiles + number * (int64_t)TILE * d;
}

static size_t room_bytes(int64_t d)
{
    size_t tiles = TILES * TILE * (size_t)padded(d) * sizeof(word);

    return (sizeof(struct room) + tiles + 63) & ~(size_t)63;
}

/* The largest score of each lane of `wide` vectors, over rows [lo, hi). */
static inline __attribute__((always_inline)) void lanes_most(int wide, int masked,
                                                             struct room *m, int64_t c,
                                                             int64_t lo, int64_t hi,
                                                             vf *most)
{
    for (int64_t j = lo; j < hi; j++)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++) {
            vf x = word_load(m->s + j * TILE + c + v * VL);

            if (masked)
                x = vec_pick(lanes_seeing(&m->seen, c, j), x, vec_all(-INF));
            most[v] = vec_max(x, most[v]);
        }
}

/* Weights of one row of a vector, of which the sum takes part before dropout. */
static inline __attribute__((always_inline)) vf lanes_weight(int masked, struct room *m,
                                                             int64_t c, int64_t j,
                                                             float factor, vf base,
                                                             vf *sum)
{
    vf x = word_load(m->s + j * TILE + c);

    if (masked)
        x = vec_pick(lanes_seeing(&m->seen, c, j), x, vec_all(-INF));
    x = vec_exp2(vec_fma(x, vec_all(factor), -base));
    *sum += x;
    return x;
}

/* Lanes [c, c + wide VL), rows [lo, hi), both even: scores become weights; maximum
 * and sum follow.  factor: from scores to powers of two. */
static inline __attribute__((always_inline)) void
softmax_lanes(int wide, int masked, struct room *m, int64_t c, int64_t lo, int64_t hi,
              float factor, int dropping)
{
    vf most[WIDE], base[WIDE], sum[WIDE];

#pragma GCC unroll 4
    for (int v = 0; v < wide; v++)
        most[v] = word_load(m->max + c + v * VL);
    lanes_most(wide, masked, m, c, lo, hi, most);
#pragma GCC unroll 4
    for (int v = 0; v < wide; v++) {
        vf old = word_load(m->max + c + v * VL) * factor, low = vec_all(-INF), shrink;

        sum[v] = vec_all(0);
        base[v] = vec_pick(most[v] == low, vec_all(0), most[v] * factor);
        shrink = vec_exp2(old - base[v]);
        memcpy(m->max + c + v * VL, &most[v], sizeof(vf));
        memcpy(m->shrink + c + v * VL, &shrink, sizeof shrink);
    }
    for (int64_t j = lo; j < hi; j += 2)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++) {
            int64_t at = c + v * VL;
            vf x = lanes_weight(masked, m, at, j, factor, base[v], &sum[v]);
            vf y = lanes_weight(masked, m, at, j + 1, factor, base[v], &sum[v]);

            if (dropping) {
                x *= word_load(m->drop + j * TILE + at);
                y *= word_load(m->drop + (j + 1) * TILE + at);
            }
            weights_put(weights_of(m), j, at, x, y);
        }
#pragma GCC unroll 4
    for (int v = 0; v < wide; v++) {
        int64_t at = c + v * VL;
        vf all = word_load(m->sum + at) * word_load(m->shrink + at) + sum[v];

        memcpy(m->sum + at, &all, sizeof all);
    }
}

static void softmax_tile(struct room *m, float factor, int dropping)
{
    if (m->seen.whole && !dropping)
        for (int64_t c = 0; c < TILE; c += WIDE * VL)
            softmax_lanes(WIDE, 0, m, c, 0, TILE, factor, 0);
    else
        for (int v = 0; v < m->seen.vectors; v++)
            softmax_lanes(1, 1, m, v * VL, m->seen.first[v], m->seen.end[v], factor,
                          dropping);
}

static void shrink_rows(struct room *m, int64_t rows, float *o, int64_t d)
{
    for (int64_t i = 0; i < rows; i++) {
        if (m->shrink[i] == 1.0f)
            continue;
        for (int64_t c = 0; c < d; c += VL) {
            vf x = word_load(o + i * d + c) * m->shrink[i];

            memcpy(o + i * d + c, &x, sizeof x);
        }
    }
}

/* From products to what softmax is taken of, and the factor to powers of two. */
static float forward_scores(const struct attn_task *t, struct room *m, int64_t k0,
                            int64_t nk)
{
    const struct nnd_attn *p = t->p;
    const float *bias = NULL;

    if (scores_are_plain(p))
        return p->scale * LOG2_E;
    if (p->bias.ndim) {
        bias_tile(m->turned, &p->bias, t->s.number, t->head, t->row, t->rows, k0, nk);
        tile_turn(m->bias, m->turned);
        bias = m->bias;
    }
    scores_finish(m->s, NULL, bias, p, &m->seen);
    return LOG2_E;
}

/* What a tile brings near: the keys and values of the next one, which begins at key
 * k1; behind the last one that shows anything, the rows that o will be written to. */
static void rows_ahead(const struct attn_task *t, int64_t k1, struct ahead next[2])
{
    const struct nnd_attn *p = t->p;
    int64_t rows = clamp(t->s.nk - k1, 0, TILE);

    next[0] = (struct ahead){&p->k, t->s.k + k1, t->key_head, rows};
    next[1] = (struct ahead){&p->v, t->s.k + k1, t->key_head, rows};
    if (rows > 0 && tile_shows(p, &t->s, t->row, t->rows, k1, rows))
        return;
    next[0] = (struct ahead){&p->o, t->s.q + t->row, t->head, t->rows};
    next[1].t = NULL;
}

/* The keys [k0, k0 + nk) of the sequence. */
static void forward_tile(const struct attn_task *t, struct room *m, int64_t k0,
                         int64_t nk)
{
    const struct nnd_attn *p = t->p;
    int64_t size = p->q.dim[2], d = padded(size);
    float *o = tile_number(m, O_ROWS, d);
    struct ahead next[2];
    struct rows k, v;
    float factor;

    if (!keys_seen(&m->seen, p, &t->s, t->row, t->rows, k0, nk))
        return;
    rows_ahead(t, k0 + nk, next);
    k = rows_load(tile_number(m, K_ROWS, d), &p->k, t->s.k + k0, t->key_head, nk);
    v = rows_load(tile_number(m, V_ROWS, d), &p->v, t->s.k + k0, t->key_head, nk);
    v = rows_steps(tile_number(m, V_STEPS, d), &v, nk, size);
    tile_scores(m->s, k.x, k.ld, tile_number(m, Q_SIDE, d), d / PER_WORD, group_up(nk),
                &m->seen, next[0]);
    factor = forward_scores(t, m, k0, nk);
    if (p->dropout.p > 0)
        drop_tile(m->drop, 1, TILE, p, &t->drop, t->head, t->s.q + t->row, t->rows, k0,
                  nk);
    softmax_tile(m, factor, p->dropout.p > 0);
    shrink_rows(m, t->rows, o, d);
    tile_by_lanes(o, d, weights_of(m), v.x, v.ld, group_up(t->rows), &m->seen, next[1]);
}

static void finish_rows(const struct attn_task *t, struct room *m, float *o, int64_t d)
{
    const struct nnd_attn *p = t->p;
    float *lse = (float *)row_of(&p->lse, t->head) + t->s.q + t->row;
    float factor = scores_are_plain(p) ? p->scale * LOG2_E : LOG2_E;

    for (int64_t i = 0; i < t->rows; i += VL) {
        vf most = word_load(m->max + i), sum = word_load(m->sum + i), inverse;
        vi empty = sum == vec_all(0); /* a NaN is not nothing */

        /* The rounding of max * factor is in the sum as well, and cancels. */
        most = most * factor * LN_2 + vec_log(sum);
        vec_put(lse, NND_F32, i, t->rows - i, vec_pick(empty, vec_all(-INF), most));
        inverse = 1.0f / vec_pick(empty, vec_all(1), sum);
        memcpy(m->shrink + i, &inverse, sizeof inverse);
    }
    for (int64_t i = 0; i < t->rows; i++) {
        if (m->sum[i] == 0)
            memset(o + i * d, 0, (size_t)d * sizeof *o);
        row_store(&p->o, t->s.q + t->row + i, t->head, o + i * d, m->shrink[i]);
    }
}

static void forward_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    struct attn_task t;
    struct room *m = slot;
    int64_t d = padded(j->p->q.dim[2]);
    struct rows q;

    if (!attn_query_task(j, number, &t))
        return;
    q = rows_load(tile_number(m, O_ROWS, d), &t.p->q, t.s.q + t.row, t.head, t.rows);
    rows_turn(tile_number(m, Q_SIDE, d), &q, t.rows, t.p->q.dim[2]);
    memset(tile_number(m, O_ROWS, d), 0, TILE * (size_t)d * sizeof(float));
    for (int i = 0; i < TILE; i++) {
        m->max[i] = -INF;
        m->sum[i] = 0;
    }
    if (t.p->dropout.p > 0)
        memset(m->drop, 0, sizeof m->drop);
    for (int64_t k0 = 0; k0 < t.s.nk; k0 += TILE)
        forward_tile(&t, m, k0, t.s.nk - k0 < TILE ? t.s.nk - k0 : TILE);
    finish_rows(&t, m, tile_number(m, O_ROWS, d), d);
}

static int forward_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attn *p = params;
    struct attn_job j = attn_job_make(p);
    struct attn_span rest[2];

    attn_rows_outside(p, p->cu_q, p->max_q, p->q.dim[0], rest);
    for (int i = 0; i < 2; i++) {
        attn_clear(&p->o, rest[i].lo, rest[i].hi);
        for (int64_t h = 0; h < p->lse.dim[0]; h++)
            for (int64_t t = rest[i].lo; t < rest[i].hi; t++)
                ((float *)row_of(&p->lse, h))[t] = -INF;
    }
    return work_run(l, j.query_tasks, room_bytes(p->q.dim[2]), l->workspace,
                    l->workspace_size, forward_task, &j);
}

static size_t forward_workspace(const void *params)
{
    const struct nnd_attn *p = params;

    return work_room(room_bytes(p->q.dim[2]));
}

extern const struct op OPS(attn_fwd)[];

const struct op OPS(attn_fwd)[] = {
    {.name = "attn.fwd",
     .check = attn_check,
     .workspace = forward_workspace,
     .launch = forward_launch},
    {0},
};
