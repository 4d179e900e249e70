/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_bwd.c - "attn.bwd".  With z = scale q k^T, s = cap(z) + bias, p = exp(s -
 * lse), m what dropout multiplies by and delta = rowsum(dout o):
 *   ds = p (m (dout v^T) - delta),  dz = ds cap'(z) scale
 *   dq = dz k, dk = dz^T q, dv = (m p)^T dout, dbias = ds.
 * Scores are computed again, tile by tile; memory is O(T).  One pass by sequence
 * and key head gives dq, dk and dv where that makes tasks enough for the threads
 * and dq fits beside; else one pass by blocks of queries gives dq, another by
 * blocks of keys dk and dv.  Both add the same numbers in the same order: dq over
 * keys, dk and dv over heads and queries.  dbias has a pass of its own, by the rows
 * that it has, over the sequences and heads that share them.
 */
#include <stdalign.h>

#include "attn.h"
#include "op.h"
#include "par.h"
#include "work.h"

struct room {
    struct seen seen, turned;    /* lanes are keys; lanes are queries */
    struct rows k, k_steps;      /* the key block's */
    alignas(64) float lse[TILE]; /* of the tile's queries, for powers of two */
    /* [query, key]: scores, dout v^T; then in their places p, and dz or ds. */
    float s[TILE * TILE], ds[TILE * TILE];
    float drop[TILE * TILE], slope[TILE * TILE], bias[TILE * TILE];
#if ATTN_PAIRS
    word p[TILE * TILE], dz[TILE * TILE]; /* by steps of queries */
    word dz_rows[TILE * TILE];
#endif
    word tiles[];
};

/* Behind the room; then dq of a sequence where one pass gives all. */
enum {
    K_SIDE,
    V_SIDE,
    K_ROWS,
    K_STEPS,
    Q_ROWS,
    Q_STEPS,
    G_ROWS, /* dout */
    G_STEPS,
    DK,
    DV,
    TILES
};

/* Which gradients a pass makes. */
enum { WANT_DQ = 1, WANT_DKV = 2, WANT_DBIAS = 4, PLAIN = 8 /* no more than p */ };

/* What a tile's products bring near, each while it runs. */
enum { BY_SCORES, BY_SLOPES, BY_DK, BY_DV, BY_DQ, PRODUCTS };

static const struct ahead nothing[PRODUCTS];

/* Where dq would take more, two passes are made. */
#define DQ_MAX ((size_t)1 << 20)

static word *p_of(struct room *m)
{
#if ATTN_PAIRS
    return m->p;
#else
    return m->s;
#endif
}

static word *dz_of(struct room *m)
{
#if ATTN_PAIRS
    return m->dz;
#else
    return m->ds;
#endif
}

/* The same, to be read by rows of queries. */
static word *dz_rows_of(struct room *m)
{
#if ATTN_PAIRS
    return m->dz_rows;
#else
    return m->ds;
#endif
}

static word *tile_number(struct room *m, int number, int64_t d)
{
    return m->tiles + number * (int64_t)TILE * d;
}

/* dq of the heads of one key head, rows up to max_q; 0 where that is too much. */
static size_t dq_bytes(const struct nnd_attn *p)
{
    size_t group = (size_t)(p->q.dim[1] / (p->k.dim[1] ? p->k.dim[1] : 1));
    size_t rows = (size_t)group_up(p->max_q > 0 ? p->max_q : 0);
    size_t size = group * rows * (size_t)padded(p->q.dim[2]) * sizeof(float);

    return size <= DQ_MAX ? size : 0;
}

static size_t room_bytes(const struct nnd_attn *p)
{
    size_t tiles = TILES * TILE * (size_t)padded(p->q.dim[2]) * sizeof(word);

    return (sizeof(struct room) + tiles + dq_bytes(p) + 63) & ~(size_t)63;
}

/* ---- a tile of queries by keys ---- */

/* One vector of ds and of what dropout leaves of p, from the tiles of row i. */
static inline __attribute__((always_inline)) void
pair_slopes(int masked, int plain, const struct room *m, int64_t c, int64_t i,
            float factor, float delta, vf *p, vf *ds)
{
    int64_t at = i * TILE + c;
    vf s = word_load(m->s + at), drop;

    if (masked)
        s = vec_pick(lanes_seeing(&m->seen, c, i), s, vec_all(-INF));
    *p = vec_exp2(vec_fma(s, vec_all(factor), vec_all(-m->lse[i])));
    *ds = word_load(m->ds + at);
    if (masked)
        *ds = vec_pick(s == -INF, vec_all(0), *ds);
    if (plain) {
        *ds = *p * (*ds - delta);
        return;
    }
    drop = word_load(m->drop + at);
    *ds = *p * (*ds * drop - delta);
    *p *= drop;
}

/* Rows [lo, hi), both even, of `wide` vectors from lane c: s and dout v^T become
 * weights and gradients. */
static inline __attribute__((always_inline)) void
slopes_lanes(int wide, int masked, int want, struct room *m, int64_t c, int64_t lo,
             int64_t hi, float factor, const float *delta)
{
    for (int64_t i = lo; i < hi; i += 2)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++) {
            int64_t at = c + v * VL;
            vf p[2], ds[2];

            pair_slopes(masked, want & PLAIN, m, at, i, factor, delta[i], &p[0],
                        &ds[0]);
            pair_slopes(masked, want & PLAIN, m, at, i + 1, factor, delta[i + 1], &p[1],
                        &ds[1]);
            weights_put(p_of(m), i, at, p[0], p[1]);
            if (want & WANT_DBIAS) {
                memcpy(m->ds + i * TILE + at, &ds[0], sizeof(vf));
                memcpy(m->ds + (i + 1) * TILE + at, &ds[1], sizeof(vf));
                continue;
            }
            if (!(want & PLAIN)) {
                ds[0] *= word_load(m->slope + i * TILE + at);
                ds[1] *= word_load(m->slope + (i + 1) * TILE + at);
            }
            weights_put(dz_of(m), i, at, ds[0], ds[1]);
            if (PER_WORD > 1)
                weights_put_rows(dz_rows_of(m), i, at, ds[0], ds[1]);
        }
}

static void slopes_tile(struct room *m, const float *delta, float factor, int want)
{
    const struct seen *seen = &m->seen;

    if (seen->whole && (want & PLAIN))
        for (int64_t c = 0; c < TILE; c += WIDE * VL)
            slopes_lanes(WIDE, 0, PLAIN, m, c, 0, TILE, factor, delta);
    else if (want & PLAIN)
        for (int v = 0; v < seen->vectors; v++)
            slopes_lanes(1, 1, PLAIN, m, v * VL, seen->first[v], seen->end[v], factor,
                         delta);
    else
        for (int v = 0; v < seen->vectors; v++)
            slopes_lanes(1, 1, want, m, v * VL, seen->first[v], seen->end[v], factor,
                         delta);
}

/* What the tiles `drop`, `slope` and `bias` hold. */
static float extras(const struct attn_task *t, struct room *m, int64_t q0, int64_t nq)
{
    const struct nnd_attn *p = t->p;
    float factor = LOG2_E;

    if (scores_are_plain(p)) {
        factor *= p->scale;
    } else {
        if (p->bias.ndim)
            bias_tile(m->bias, &p->bias, t->s.number, t->head, q0, nq, t->row, t->rows);
        scores_finish(m->s, m->slope, p->bias.ndim ? m->bias : NULL, p, &m->seen);
    }
    if (p->dropout.p > 0)
        drop_tile(m->drop, TILE, 1, p, &t->drop, t->head, t->s.q + q0, nq, t->row,
                  t->rows);
    return factor;
}

/* Are scores no more than products, and dbias not wanted? */
static int is_plain(const struct nnd_attn *p, int want)
{
    return scores_are_plain(p) && p->dropout.p == 0 && !(want & WANT_DBIAS);
}

/* Logarithms for powers of two; a row that sees nothing gets weights 0. */
static void lse_load(struct room *m, const float *lse, int64_t nq)
{
    for (int64_t i = 0; i < TILE; i++)
        m->lse[i] = i < nq && lse[i] != -INF ? lse[i] * LOG2_E : INF;
}

/* The queries [q0, q0 + nq) of head t->head against the keys [t->row, ...), whose
 * sides are loaded; dq, when wanted, are the queries' rows. */
static void key_tile(const struct attn_task *t, struct room *m, const float *deltas,
                     int64_t q0, int64_t nq, int want, float *dq,
                     const struct ahead next[PRODUCTS])
{
    const struct nnd_attn *p = t->p;
    int64_t size = p->q.dim[2], d = padded(size), rows = group_up(nq);
    struct rows q, g, steps;
    float delta[TILE] = {0}, factor;

    if (!queries_seeing(&m->seen, p, &t->s, t->row, t->rows, q0, nq))
        return;
    memcpy(delta, deltas + q0, (size_t)nq * sizeof *delta);
    lse_load(m, (const float *)row_of(&p->lse, t->head) + t->s.q + q0, nq);
    q = rows_load(tile_number(m, Q_ROWS, d), &p->q, t->s.q + q0, t->head, nq);
    g = rows_load(tile_number(m, G_ROWS, d), &p->dout, t->s.q + q0, t->head, nq);
    tile_scores(m->s, q.x, q.ld, tile_number(m, K_SIDE, d), d / PER_WORD, rows,
                &m->seen, next[BY_SCORES]);
    tile_scores(m->ds, g.x, g.ld, tile_number(m, V_SIDE, d), d / PER_WORD, rows,
                &m->seen, next[BY_SLOPES]);
    factor = extras(t, m, q0, nq);
    if (is_plain(p, want))
        want |= PLAIN;
    slopes_tile(m, delta, factor, want);
    if (want & WANT_DKV) {
        steps = rows_steps(tile_number(m, Q_STEPS, d), &q, nq, size);
        tile_by_lanes(tile_number(m, DK, d), d, dz_of(m), steps.x, steps.ld,
                      group_up(t->rows), &m->seen, next[BY_DK]);
        steps = rows_steps(tile_number(m, G_STEPS, d), &g, nq, size);
        tile_by_lanes(tile_number(m, DV, d), d, p_of(m), steps.x, steps.ld,
                      group_up(t->rows), &m->seen, next[BY_DV]);
    }
    if (want & WANT_DQ) {
        keys_seen(&m->turned, p, &t->s, q0, nq, t->row, t->rows);
        tile_by_rows(dq, d, dz_rows_of(m), m->k_steps.x, m->k_steps.ld, rows,
                     &m->turned, next[BY_DQ]);
    }
}

/* The sides of the keys [t->row, t->row + t->rows) of t->key_head. */
static void sides_load(const struct attn_task *t, struct room *m)
{
    const struct nnd_attn *p = t->p;
    int64_t size = p->q.dim[2], d = padded(size), row = t->s.k + t->row;
    struct rows v =
        rows_load(tile_number(m, K_ROWS, d), &p->v, row, t->key_head, t->rows);

    rows_turn(tile_number(m, V_SIDE, d), &v, t->rows, size);
    m->k = rows_load(tile_number(m, K_ROWS, d), &p->k, row, t->key_head, t->rows);
    rows_turn(tile_number(m, K_SIDE, d), &m->k, t->rows, size);
    m->k_steps = rows_steps(tile_number(m, K_STEPS, d), &m->k, t->rows, size);
}

/* delta of the rows [lo, hi) of `heads` heads from `first` on. */
static void delta_heads(const struct attn_job *j, int64_t lo, int64_t hi, int64_t first,
                        int64_t heads)
{
    const struct nnd_attn *p = j->p;
    int64_t d = p->q.dim[2];

    for (int64_t t = lo; t < hi; t++)
        for (int64_t h = first; h < first + heads; h++) {
            const void *o = head_row(&p->o, t, h), *g = head_row(&p->dout, t, h);
            struct lanes s = {0};

            for (int64_t c = 0; c < d; c += LANES)
                for (int u = 0; u < PER; u++) {
                    int64_t i = c + u * VL;

                    s.v[u] += vec_get(o, p->o.dtype, i, d - i) *
                              vec_get(g, p->dout.dtype, i, d - i);
                }
            j->delta[h * p->q.dim[0] + t] = lanes_sum(&s);
        }
}

static const float *deltas_of(const struct attn_job *j, const struct attn_task *t)
{
    return j->delta + t->head * t->p->q.dim[0] + t->s.q;
}

/* Tiles that dropout and slopes do not write. */
static void room_clear(const struct attn_job *j, struct room *m, int want)
{
    if (is_plain(j->p, want))
        return;
    if (j->p->dropout.p > 0)
        memset(m->drop, 0, sizeof m->drop);
    else
        for (int i = 0; i < TILE * TILE; i++)
            m->drop[i] = 1;
    for (int i = 0; i < TILE * TILE; i++)
        m->slope[i] = 1;
}

/* ---- dk and dv by blocks of keys, with their part of dq or not ---- */

/* A tile of queries of a head; head: its number within the key head's group. */
struct place {
    int64_t head, q0, nq;
};

/* The next place that sees any of the keys [t->row, t->row + t->rows). */
static int place_next(const struct attn_task *t, int64_t heads, struct place *at)
{
    for (;;) {
        at->q0 += TILE;
        if (at->q0 >= t->s.nq) {
            at->q0 = 0;
            at->head++;
        }
        at->nq = t->s.nq - at->q0 < TILE ? t->s.nq - at->q0 : TILE;
        if (at->head >= heads || at->nq <= 0)
            return 0;
        if (tile_shows(t->p, &t->s, at->q0, at->nq, t->row, t->rows))
            return 1;
    }
}

/* Do these queries see none of the keys from k1 on? */
static int place_done(const struct attn_task *t, const struct place *at, int64_t k1)
{
    return k1 >= t->s.nk || !tile_shows(t->p, &t->s, at->q0, at->nq, k1, t->s.nk - k1);
}

/* Do they see none of the keys before this block? */
static int place_fresh(const struct attn_task *t, const struct place *at)
{
    return t->row == 0 || !tile_shows(t->p, &t->s, at->q0, at->nq, 0, t->row);
}

/* What a tile brings near: the next one's rows; with the last one rows of dk and dv,
 * and the next block of keys, if that is ours, too. */
static void place_ahead(const struct attn_task *t, const struct place *next, int ours,
                        struct ahead out[PRODUCTS])
{
    const struct nnd_attn *p = t->p;
    int64_t first = t->key_head * (p->q.dim[1] / p->k.dim[1]);
    int64_t row = t->s.k + t->row, k1 = t->row + t->rows;
    int64_t rows = clamp(t->s.nk - k1, 0, TILE);

    memset(out, 0, PRODUCTS * sizeof *out);
    if (next) {
        int64_t head = first + next->head, q = t->s.q + next->q0;

        out[BY_SCORES] = (struct ahead){&p->q, q, head, next->nq};
        out[BY_SLOPES] = (struct ahead){&p->dout, q, head, next->nq};
        if (ours && place_fresh(t, next))
            out[BY_DK] = (struct ahead){&p->o, q, head, next->nq};
        return;
    }
    out[BY_SCORES] = t->after[0];
    out[BY_SLOPES] = t->after[1];
    if (ours && rows > 0) {
        out[BY_SCORES] = (struct ahead){&p->k, t->s.k + k1, t->key_head, rows};
        out[BY_SLOPES] = (struct ahead){&p->v, t->s.k + k1, t->key_head, rows};
    }
    out[BY_DK] = (struct ahead){&p->dk, row, t->key_head, t->rows};
    out[BY_DV] = (struct ahead){&p->dv, row, t->key_head, t->rows};
}

/* dq [heads, group_up(nq), d], or NULL; goes out where it is complete. */
static void key_block(const struct attn_job *j, struct attn_task *t, struct room *m,
                      int want, float *dq)
{
    const struct nnd_attn *p = t->p;
    int64_t d = padded(p->q.dim[2]), group = p->q.dim[1] / p->k.dim[1];
    int64_t first = t->key_head * group, stride = group_up(t->s.nq) * d;
    struct place next = {.q0 = -TILE};
    int more = place_next(t, group, &next);

    sides_load(t, m);
    memset(tile_number(m, DK, d), 0, 2 * TILE * (size_t)d * sizeof(float));
    while (more) {
        struct place at = next;
        int64_t row = t->s.q + at.q0, done = dq && place_done(t, &at, t->row + t->rows);
        float *to = dq ? dq + at.head * stride + at.q0 * d : NULL;
        struct ahead ahead[PRODUCTS];

        t->head = first + at.head;
        more = place_next(t, group, &next);
        place_ahead(t, more ? &next : NULL, dq != NULL, ahead);
        if (done)
            ahead[BY_DQ] = (struct ahead){&p->dq, row, t->head, at.nq};
        if (j->fresh && place_fresh(t, &at))
            delta_heads(j, row, row + at.nq, t->head, 1);
        key_tile(t, m, deltas_of(j, t), at.q0, at.nq, want, to, ahead);
        if (done)
            rows_store(&p->dq, row, t->head, at.nq, to, p->scale);
    }
    rows_store(&p->dk, t->s.k + t->row, t->key_head, t->rows, tile_number(m, DK, d),
               p->scale);
    rows_store(&p->dv, t->s.k + t->row, t->key_head, t->rows, tile_number(m, DV, d), 1);
}

static void key_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    struct attn_task t;

    room_clear(j, slot, WANT_DKV);
    if (attn_key_task(j, number, &t))
        key_block(j, &t, slot, WANT_DKV, NULL);
}

/* Bring the first rows near, and know those of task `next`. */
static void sequence_begin(const struct attn_job *j, struct attn_task *t, int64_t next)
{
    const struct nnd_attn *p = j->p;
    const struct nnd_tensor *first[] = {&p->q, &p->dout, &p->o};
    int64_t heads = p->k.dim[1], group = p->q.dim[1] / heads;

    for (int i = 0; i < 3; i++)
        rows_near(first[i], t->s.q, t->key_head * group, clamp(t->s.nq, 0, TILE));
    if (next < p->batch * heads) {
        struct seq s = seq_of(p, next / heads);
        int64_t rows = clamp(s.nk, 0, TILE);

        t->after[0] = (struct ahead){&p->k, s.k, next % heads, rows};
        t->after[1] = (struct ahead){&p->v, s.k, next % heads, rows};
    }
}

/* All of a sequence's key head. */
static void sequence_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    const struct nnd_attn *p = j->p;
    int64_t d = padded(p->q.dim[2]), heads = p->k.dim[1], group = p->q.dim[1] / heads;
    struct attn_task t = {.p = p, .drop = j->drop, .key_head = number % heads};
    struct room *m = slot;
    float *dq = tile_number(m, TILES, d);
    int64_t stride;

    t.s = seq_of(p, number / heads);
    stride = group_up(t.s.nq) * d;
    sequence_begin(j, &t, number + j->workers);
    room_clear(j, m, WANT_DQ | WANT_DKV);
    memset(dq, 0, (size_t)(group * stride) * sizeof *dq);
    for (t.row = 0; t.row < t.s.nk; t.row += TILE) {
        t.rows = t.s.nk - t.row < TILE ? t.s.nk - t.row : TILE;
        key_block(j, &t, m, WANT_DQ | WANT_DKV, dq);
    }
    for (struct place at = {0}; at.q0 < t.s.nq; at.q0 += TILE) {
        at.nq = t.s.nq - at.q0 < TILE ? t.s.nq - at.q0 : TILE;
        for (int64_t h = 0; place_done(&t, &at, 0) && h < group; h++)
            rows_store(&p->dq, t.s.q + at.q0, t.key_head * group + h, at.nq,
                       dq + h * stride + at.q0 * d, 0);
    }
}

/* ---- by blocks of queries: dq, and dbias ---- */

/* The tiles of the queries [q0, q0 + nq) of t->head in order of keys; `each` sees
 * those that show anything. */
static void query_block(const struct attn_job *j, struct attn_task *t, struct room *m,
                        int64_t q0, int64_t nq, int want, float *out,
                        void (*each)(const struct attn_task *t, struct room *m,
                                     int64_t nq, float *out))
{
    for (t->row = 0; t->row < t->s.nk; t->row += TILE) {
        t->rows = t->s.nk - t->row < TILE ? t->s.nk - t->row : TILE;
        if (!queries_seeing(&m->seen, t->p, &t->s, t->row, t->rows, q0, nq))
            continue;
        sides_load(t, m);
        key_tile(t, m, deltas_of(j, t), q0, nq, want, out, nothing);
        if (each)
            each(t, m, nq, out);
    }
}

static void query_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    const struct nnd_attn *p = j->p;
    struct room *m = slot;
    int64_t d = padded(p->q.dim[2]), q0, nq;
    float *dq = tile_number(m, DK, d);
    struct attn_task t;

    if (!attn_query_task(j, number, &t))
        return;
    q0 = t.row;
    nq = t.rows;
    room_clear(j, m, WANT_DQ);
    memset(dq, 0, TILE * (size_t)d * sizeof *dq);
    query_block(j, &t, m, q0, nq, WANT_DQ, dq, NULL);
    rows_store(&p->dq, t.s.q + q0, t.head, nq, dq, p->scale);
}

/* out [nq, max_k] += the tile's ds. */
static void bias_add(const struct attn_task *t, struct room *m, int64_t nq, float *out)
{
    int64_t ld = t->p->dbias.stride[2];

    for (int64_t i = 0; i < nq; i++)
        for (int64_t c = 0; c < t->rows; c += VL) {
            float *to = out + i * ld + t->row + c;
            vf x = vec_pick(lanes_seeing(&m->seen, c, i),
                            word_load(m->ds + i * TILE + c), vec_all(0));

            x += vec_get(to, NND_F32, 0, t->rows - c);
            vec_put(to, NND_F32, 0, t->rows - c, x);
        }
}

/* One block of rows of one matrix of dbias, over all sequences and heads whose
 * scores it was added to, in order. */
static void bias_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    const struct nnd_attn *p = j->p;
    const struct nnd_tensor *db = &p->dbias;
    int64_t blocks = blocks_of(p->max_q), q0 = number % blocks * TILE;
    int64_t nq = p->max_q - q0 < TILE ? p->max_q - q0 : TILE;
    int64_t matrix = number / blocks, b0 = matrix / db->dim[1],
            h0 = matrix % db->dim[1];
    int64_t batch = db->dim[0] > 1 ? b0 + 1 : p->batch;
    int64_t heads = db->dim[1] > 1 ? h0 + 1 : p->q.dim[1];
    float *out = (float *)db->data + b0 * db->stride[0] + h0 * db->stride[1] +
                 q0 * db->stride[2];

    room_clear(j, slot, WANT_DBIAS);
    for (int64_t i = 0; i < nq; i++)
        memset(out + i * db->stride[2], 0, (size_t)p->max_k * sizeof *out);
    for (int64_t b = b0; b < batch; b++)
        for (int64_t h = h0; h < heads; h++) {
            struct attn_task t = {
                .p = p, .drop = j->drop, .s = seq_of(p, b), .head = h};
            int64_t there = clamp(t.s.nq - q0, 0, nq);

            t.key_head = h * p->k.dim[1] / p->q.dim[1];
            if (there > 0)
                query_block(j, &t, slot, q0, there, WANT_DBIAS, out, bias_add);
        }
}

/* Tasks enough, and dq of every sequence fits. */
static int one_pass(const struct nnd_attn *p, const struct nnd_launch *l)
{
    int64_t tasks = p->batch * p->k.dim[1];

    if (dq_bytes(p) == 0 || (l->nthreads > 1 && tasks < 2 * (int64_t)l->nthreads))
        return 0;
    for (int b = 0; b < p->batch; b++)
        if (seq_of(p, b).nq > p->max_q)
            return 0;
    return 1;
}

/* ---- */

static void delta_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct attn_job *j = arg;

    delta_heads(j, lo, hi, 0, j->p->q.dim[1]);
}

/* Rows that no task writes: outside every sequence, and keys that do not count. */
static void clear_rest(const struct nnd_attn *p)
{
    struct attn_span q[2], k[2];

    attn_rows_outside(p, p->cu_q, p->max_q, p->q.dim[0], q);
    attn_rows_outside(p, p->cu_k, p->max_k, p->k.dim[0], k);
    for (int i = 0; i < 2; i++) {
        attn_clear(&p->dq, q[i].lo, q[i].hi);
        attn_clear(&p->dk, k[i].lo, k[i].hi);
        attn_clear(&p->dv, k[i].lo, k[i].hi);
    }
    for (int b = 0; b < p->batch; b++) {
        struct seq s = seq_of(p, b);

        attn_clear(&p->dk, s.k + s.nk, s.k + s.room);
        attn_clear(&p->dv, s.k + s.nk, s.k + s.room);
    }
}

static size_t delta_bytes(const struct nnd_attn *p)
{
    return ((size_t)(p->q.dim[0] * p->q.dim[1]) * sizeof(float) + 255) & ~(size_t)255;
}

static int backward_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attn *p = params;
    struct attn_job j = attn_job_make(p);
    size_t before = delta_bytes(p), slot = room_bytes(p);
    size_t size = l->workspace_size - before;
    char *room = (char *)l->workspace + before;
    int r = NND_OK;

    j.delta = l->workspace;
    clear_rest(p);
    j.fresh = one_pass(p, l) && !p->dbias.ndim;
    j.workers = l->nthreads;
    if (!j.fresh)
        r = par_rows(l, p->q.dim[0], p->q.dim[1] * p->q.dim[2], delta_rows, &j);
    if (!r && p->dbias.ndim)
        r = work_run(l, (int)(p->dbias.dim[0] * p->dbias.dim[1] * blocks_of(p->max_q)),
                     slot, room, size, bias_task, &j);
    if (r)
        return r;
    if (one_pass(p, l))
        return work_run(l, (int)(p->batch * p->k.dim[1]), slot, room, size,
                        sequence_task, &j);
    r = work_run(l, j.query_tasks, slot, room, size, query_task, &j);
    return r ? r : work_run(l, j.key_tasks, slot, room, size, key_task, &j);
}

static size_t backward_workspace(const void *params)
{
    const struct nnd_attn *p = params;

    return delta_bytes(p) + work_room(room_bytes(p));
}

static int backward_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = params;
    int r = attn_check(params, e);

#if ATTN_PAIRS
    if (!r && p->dout.dtype != NND_BF16)
        return op_refuse(e, NND_EUNSUPPORTED, "dout: wanted bf16");
#endif
    return r ? r : attn_check_bias(p, &p->dbias, "dbias", IN_F32, e);
}

extern const struct op OPS(attn_bwd)[];

const struct op OPS(attn_bwd)[] = {
    {.name = "attn.bwd",
     .check = backward_check,
     .workspace = backward_workspace,
     .launch = backward_launch},
    {0},
};
