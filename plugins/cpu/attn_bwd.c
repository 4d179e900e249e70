/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_bwd.c - "attn.bwd".  With s = cap(scale q k^T), p = exp(s - lse), m what
 * dropout multiplies by and delta = rowsum(dout o):
 *   ds = p (m (dout v^T) - delta) cap'(s) scale
 *   dq = ds k, dk = ds^T q, dv = (m p)^T dout.
 * Scores are computed again, tile by tile; memory is O(T).  One pass by sequence
 * and key head gives all three where that makes tasks enough for the threads and
 * dq fits beside; else one pass by blocks of queries gives dq, another by blocks
 * of keys dk and dv.  Both add the same numbers in the same order: dq over keys,
 * dk and dv over heads and queries, one after the other.
 */
#include "op.h"
#include "par.h"
#include "attn.h"
#include "plugins/cpu/work.h"

struct room {
    struct ranges seen;
    struct tile k;                /* the key block's rows */
    float p[KEYS * LANES_MAX];    /* [row, lane]: scores, then weights     */
    float ds[KEYS * LANES_MAX];   /* [row, lane]: dout v^T, then gradients */
    float drop[KEYS * LANES_MAX]; /* [row, lane]                           */
    float tiles[];
};

/* Behind the room: two transposed sides, two moving sides, the rows of the sides,
 * two results; then dq of a sequence where one pass gives all. */
enum { SIDE_A, SIDE_B, MOVING_A, MOVING_B, ROWS, RESULT_A, RESULT_B, TILES };

/* Where dq would take more, two passes are made. */
#define DQ_MAX ((size_t)1 << 20)

static float *tile_number(struct room *m, int number, int64_t d)
{
    return m->tiles + number * (int64_t)LANES_MAX * d;
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
    size_t tiles = TILES * LANES_MAX * (size_t)padded(p->q.dim[2]) * sizeof(float);

    return (sizeof(struct room) + tiles + dq_bytes(p) + 63) & ~(size_t)63;
}

/* VL pairs: from scores and dout v^T in p and ds to weights and gradients. */
static inline void pair_slopes(const struct nnd_attn *a, vi seen, vf lse, vf delta,
                               vf drop, float *p, float *ds)
{
    vf s = cap(vec_get(p, NND_F32, 0, VL) * a->scale, a->softcap), zero = vec_all(0);
    vf w = vec_pick(seen, vec_exp(s - lse), zero);
    vf g = w * (vec_get(ds, NND_F32, 0, VL) * drop - delta) * a->scale;

    if (a->softcap > 0)
        g *= 1.0f - (s / a->softcap) * (s / a->softcap);
    vec_put(p, NND_F32, 0, VL, w * drop);
    vec_put(ds, NND_F32, 0, VL, vec_pick(seen, g, zero));
}

/* ---- dq: lanes are queries, rows are keys ---- */

static void query_slopes(const struct attn_task *t, struct room *m, const float *lse,
                         const float *delta)
{
    int dropping = t->p->dropout.p > 0;

    for (int64_t c = 0; c < t->rows; c += VL) {
        vf l = vec_get(lse, NND_F32, c, t->rows - c);
        vf d = vec_get(delta, NND_F32, c, t->rows - c);
        vi real = l > -__builtin_inff();
        int64_t lo, hi;

        lanes_span(&m->seen, c, &lo, &hi);
        for (int64_t j = lo; j < hi; j++) {
            int64_t at = j * LANES_MAX + c;
            vf drop = dropping ? vec_get(m->drop + at, NND_F32, 0, VL) : vec_all(1);

            pair_slopes(t->p, lanes_seeing(&m->seen, c, j) & real, l, d, drop,
                        m->p + at, m->ds + at);
        }
    }
}

static void query_tile(const struct attn_task *t, struct room *m, const float *delta,
                       int64_t k0, int64_t nk)
{
    const struct nnd_attn *p = t->p;
    int64_t size = p->q.dim[2], d = padded(size);
    const float *lse = (const float *)row_of(&p->lse, t->head) + t->s.q + t->row;
    struct weights w = {m->ds, 1, LANES_MAX};
    struct tile k, v;

    if (!keys_seen(&m->seen, p, &t->s, t->row, t->rows, k0, nk))
        return;
    k = tile_load(tile_number(m, MOVING_A, d), &p->k, t->s.k + k0, t->key_head, nk);
    v = tile_load(tile_number(m, MOVING_B, d), &p->v, t->s.k + k0, t->key_head, nk);
    tile_scores(m->p, &k, nk, tile_number(m, SIDE_A, d), t->rows, size);
    tile_scores(m->ds, &v, nk, tile_number(m, SIDE_B, d), t->rows, size);
    if (p->dropout.p > 0)
        drop_tile(m->drop, 1, LANES_MAX, p, &t->drop, t->head, t->s.q + t->row, t->rows,
                  k0, nk);
    query_slopes(t, m, lse, delta);
    ranges_pad(&m->seen, t->rows);
    tile_product(tile_number(m, RESULT_A, d), d, group_up(t->rows), d, w, &k, &m->seen);
}

/* Load rows of a head, also as lanes. */
static struct tile side_load(struct room *m, int side, const struct nnd_tensor *x,
                             int64_t row, int64_t head, int64_t rows)
{
    int64_t size = x->dim[2], d = padded(size);
    struct tile t = tile_load(tile_number(m, ROWS, d), x, row, head, rows);

    tile_transpose(tile_number(m, side, d), &t, rows, size);
    return t;
}

static void query_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    const struct nnd_attn *p = j->p;
    struct room *m = slot;
    int64_t d = padded(p->q.dim[2]), nk;
    struct attn_task t;
    const float *delta;

    if (!attn_query_task(j, number, &t))
        return;
    delta = j->delta + t.head * p->q.dim[0] + t.s.q + t.row;
    if (p->dropout.p > 0)
        memset(m->drop, 0, sizeof m->drop);
    side_load(m, SIDE_A, &p->q, t.s.q + t.row, t.head, t.rows);
    side_load(m, SIDE_B, &p->dout, t.s.q + t.row, t.head, t.rows);
    memset(tile_number(m, RESULT_A, d), 0, LANES_MAX * (size_t)d * sizeof(float));
    for (int64_t k0 = 0; k0 < t.s.nk; k0 += KEYS) {
        nk = t.s.nk - k0 < KEYS ? t.s.nk - k0 : KEYS;
        query_tile(&t, m, delta, k0, nk);
    }
    tile_store(&p->dq, t.s.q + t.row, t.head, t.rows, tile_number(m, RESULT_A, d));
}

/* ---- dk, dv: lanes are keys, rows are queries ---- */

static void key_slopes(const struct attn_task *t, struct room *m, const float *lse,
                       const float *delta)
{
    int dropping = t->p->dropout.p > 0;

    for (int64_t c = 0; c < t->rows; c += VL) {
        int64_t lo, hi;

        lanes_span(&m->seen, c, &lo, &hi);
        for (int64_t i = lo; i < hi; i++) {
            int64_t at = i * LANES_MAX + c;
            vi real = (vi){0} - (lse[i] > -__builtin_inff());
            vf drop = dropping ? vec_get(m->drop + at, NND_F32, 0, VL) : vec_all(1);

            pair_slopes(t->p, lanes_seeing(&m->seen, c, i) & real, vec_all(lse[i]),
                        vec_all(delta[i]), drop, m->p + at, m->ds + at);
        }
    }
}

/* The queries [q0, q0 + nq) of head t->head; dq, when given, are their rows. */
static void key_tile(const struct attn_task *t, struct room *m, const float *delta,
                     int64_t q0, int64_t nq, float *dq)
{
    const struct nnd_attn *p = t->p;
    int64_t size = p->q.dim[2], d = padded(size), rows = group_up(t->rows);
    const float *lse = (const float *)row_of(&p->lse, t->head) + t->s.q + q0;
    struct weights wp = {m->p, 1, LANES_MAX}, ws = {m->ds, 1, LANES_MAX};
    struct weights by_rows = {m->ds, LANES_MAX, 1};
    struct tile q, g;

    if (!queries_seeing(&m->seen, p, &t->s, t->row, t->rows, q0, nq))
        return;
    q = tile_load(tile_number(m, MOVING_A, d), &p->q, t->s.q + q0, t->head, nq);
    g = tile_load(tile_number(m, MOVING_B, d), &p->dout, t->s.q + q0, t->head, nq);
    tile_scores(m->p, &q, nq, tile_number(m, SIDE_A, d), t->rows, size);
    tile_scores(m->ds, &g, nq, tile_number(m, SIDE_B, d), t->rows, size);
    if (p->dropout.p > 0)
        drop_tile(m->drop, LANES_MAX, 1, p, &t->drop, t->head, t->s.q + q0, nq, t->row,
                  t->rows);
    key_slopes(t, m, lse, delta + q0);
    ranges_pad(&m->seen, t->rows);
    tile_product(tile_number(m, RESULT_A, d), d, rows, d, ws, &q, &m->seen);
    tile_product(tile_number(m, RESULT_B, d), d, rows, d, wp, &g, &m->seen);
    if (!dq)
        return;
    keys_seen(&m->seen, p, &t->s, q0, nq, t->row, t->rows);
    ranges_pad(&m->seen, nq);
    tile_product(dq, d, group_up(nq), d, by_rows, &m->k, &m->seen);
}

/* The keys [t->row, t->row + t->rows) of t->key_head: dk and dv, and their part
 * of dq [heads, group_up(nq), d] when given. */
static void key_block(struct attn_task *t, struct room *m, const float *delta,
                      float *dq)
{
    const struct nnd_attn *p = t->p;
    int64_t d = padded(p->q.dim[2]), group = p->q.dim[1] / p->k.dim[1];
    int64_t first = t->key_head * group, stride = group_up(t->s.nq) * d;

    if (p->dropout.p > 0)
        memset(m->drop, 0, sizeof m->drop);
    side_load(m, SIDE_B, &p->v, t->s.k + t->row, t->key_head, t->rows);
    m->k = side_load(m, SIDE_A, &p->k, t->s.k + t->row, t->key_head, t->rows);
    memset(tile_number(m, RESULT_A, d), 0, 2 * LANES_MAX * (size_t)d * sizeof(float));
    for (t->head = first; t->head < first + group; t->head++)
        for (int64_t q0 = 0; q0 < t->s.nq; q0 += LANES_MAX)
            key_tile(t, m, delta + t->head * p->q.dim[0] + t->s.q, q0,
                     t->s.nq - q0 < LANES_MAX ? t->s.nq - q0 : LANES_MAX,
                     dq ? dq + (t->head - first) * stride + q0 * d : NULL);
    tile_store(&p->dk, t->s.k + t->row, t->key_head, t->rows,
               tile_number(m, RESULT_A, d));
    tile_store(&p->dv, t->s.k + t->row, t->key_head, t->rows,
               tile_number(m, RESULT_B, d));
}

static void key_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    struct attn_task t;

    if (attn_key_task(j, number, &t))
        key_block(&t, slot, j->delta, NULL);
}

/* ---- all of a sequence's key head in one pass ---- */

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
    memset(dq, 0, (size_t)(group * stride) * sizeof *dq);
    for (t.row = 0; t.row < t.s.nk; t.row += KEYS) {
        t.rows = t.s.nk - t.row < KEYS ? t.s.nk - t.row : KEYS;
        key_block(&t, m, j->delta, dq);
    }
    for (int64_t h = 0; h < group; h++)
        tile_store(&p->dq, t.s.q, t.key_head * group + h, t.s.nq, dq + h * stride);
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
    const struct nnd_attn *p = j->p;
    int64_t d = p->q.dim[2];

    for (int64_t t = lo; t < hi; t++)
        for (int64_t h = 0; h < p->q.dim[1]; h++) {
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
    int r;

    j.delta = l->workspace;
    clear_rest(p);
    r = par_rows(l, p->q.dim[0], p->q.dim[1] * p->q.dim[2], delta_rows, &j);
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

extern const struct op OPS(attn_bwd)[];

const struct op OPS(attn_bwd)[] = {
    {.name = "attn.bwd",
     .params_size = sizeof(struct nnd_attn),
     .args =
         {ARG(nnd_attn, q, "THD", IN_FLOATS, 0), ARG(nnd_attn, k, "SGD", IN_FLOATS, 0),
          ARG(nnd_attn, v, "SGD", IN_FLOATS, 0), ARG(nnd_attn, o, "THD", IN_FLOATS, 0),
          ARG(nnd_attn, lse, "HT", IN_F32, 0), ARG(nnd_attn, dout, "THD", IN_FLOATS, 0),
          ARG(nnd_attn, dq, "THD", IN_FLOATS, 0),
          ARG(nnd_attn, dk, "SGD", IN_FLOATS, 0),
          ARG(nnd_attn, dv, "SGD", IN_FLOATS, 0)},
     .check = attn_check,
     .workspace = backward_workspace,
     .launch = backward_launch},
    {0},
};
