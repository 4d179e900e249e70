/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_fwd.c - "attn.fwd": softmax(scale q k^T) v by tiles, with the softmax's
 * maximum and sum carried from tile to tile (Milakov & Gimelshein 2018; Dao et
 * al. 2022).  A task is one block of queries of one head; queries are lanes.
 */
#include "op.h"
#include "attn.h"
#include "plugins/cpu/work.h"

/* A task's tiles. */
struct room {
    float max[LANES_MAX], sum[LANES_MAX], shrink[LANES_MAX];
    struct ranges seen;
    float s[KEYS * LANES_MAX];    /* [key, query]        */
    float drop[KEYS * LANES_MAX]; /* [key, query]        */
    float tiles[];                /* see below           */
};

/* Behind the room: q^T [d, LANES_MAX], o [LANES_MAX, d], k and v [KEYS, d]. */
static float *tile_number(struct room *m, int number, int64_t d)
{
    return m->tiles + number * (int64_t)LANES_MAX * d;
}

static size_t room_bytes(int64_t d)
{
    return (sizeof(struct room) + 4 * LANES_MAX * (size_t)padded(d) * sizeof(float) +
            63) &
           ~(size_t)63;
}

/* Scores of lanes [c, c + VL) become weights; maximum and sum follow. */
static void softmax_lanes(const struct attn_task *t, struct room *m, int64_t c)
{
    const struct nnd_attn *p = t->p;
    vf low = vec_all(-__builtin_inff());
    vf old = vec_get(m->max, NND_F32, c, VL), most = old, sum = vec_all(0);
    vf base, shrink;
    int64_t lo, hi;

    lanes_span(&m->seen, c, &lo, &hi);
    for (int64_t j = lo; j < hi; j++) {
        float *s = m->s + j * LANES_MAX;
        vf x = cap(vec_get(s, NND_F32, c, VL) * p->scale, p->softcap);

        x = vec_pick(lanes_seeing(&m->seen, c, j), x, low);
        vec_put(s, NND_F32, c, VL, x);
        most = vec_max(x, most);
    }
    base = vec_pick(most == low, vec_all(0), most);
    shrink = vec_exp(old - base);
    for (int64_t j = lo; j < hi; j++) {
        float *s = m->s + j * LANES_MAX;
        vf x = vec_exp(vec_get(s, NND_F32, c, VL) - base);

        sum += x;
        if (p->dropout.p > 0)
            x *= vec_get(m->drop + j * LANES_MAX, NND_F32, c, VL);
        vec_put(s, NND_F32, c, VL, x);
    }
    vec_put(m->max, NND_F32, c, VL, most);
    vec_put(m->shrink, NND_F32, c, VL, shrink);
    vec_put(m->sum, NND_F32, c, VL, vec_get(m->sum, NND_F32, c, VL) * shrink + sum);
}

static void shrink_rows(struct room *m, int64_t rows, float *o, int64_t d)
{
    for (int64_t i = 0; i < rows; i++) {
        if (m->shrink[i] == 1.0f)
            continue;
        for (int64_t c = 0; c < d; c += VL)
            vec_put(o + i * d, NND_F32, c, VL,
                    vec_get(o + i * d, NND_F32, c, VL) * m->shrink[i]);
    }
}

/* The keys [k0, k0 + nk) of the sequence. */
static void forward_tile(const struct attn_task *t, struct room *m, int64_t k0,
                         int64_t nk)
{
    const struct nnd_attn *p = t->p;
    int64_t d = padded(p->q.dim[2]);
    float *o = tile_number(m, 1, d);
    struct weights w = {m->s, 1, LANES_MAX};
    struct tile k, v;

    if (!keys_seen(&m->seen, p, &t->s, t->row, t->rows, k0, nk))
        return;
    k = tile_load(tile_number(m, 2, d), &p->k, t->s.k + k0, t->key_head, nk);
    v = tile_load(tile_number(m, 3, d), &p->v, t->s.k + k0, t->key_head, nk);
    tile_scores(m->s, &k, nk, tile_number(m, 0, d), t->rows, p->q.dim[2]);
    if (p->dropout.p > 0)
        drop_tile(m->drop, 1, LANES_MAX, p, &t->drop, t->head, t->s.q + t->row, t->rows,
                  k0, nk);
    for (int64_t c = 0; c < t->rows; c += VL)
        softmax_lanes(t, m, c);
    shrink_rows(m, t->rows, o, d);
    ranges_pad(&m->seen, t->rows);
    tile_product(o, d, group_up(t->rows), d, w, &v, &m->seen);
}

static void finish_rows(const struct attn_task *t, struct room *m, float *o, int64_t d)
{
    float *lse = (float *)row_of(&t->p->lse, t->head) + t->s.q + t->row;

    for (int64_t i = 0; i < t->rows; i++) {
        int empty = m->max[i] == -__builtin_inff();

        lse[i] = empty ? m->max[i] : m->max[i] + log_one(m->sum[i]);
        for (int64_t c = 0; c < d; c += VL) {
            vf x = vec_get(o + i * d, NND_F32, c, VL) / m->sum[i];

            vec_put(o + i * d, NND_F32, c, VL, empty ? vec_all(0) : x);
        }
    }
    tile_store(&t->p->o, t->s.q + t->row, t->head, t->rows, o);
}

static void forward_task(void *arg, int number, void *slot)
{
    const struct attn_job *j = arg;
    struct attn_task t;
    struct room *m = slot;
    int64_t d = padded(j->p->q.dim[2]);
    struct tile q;

    if (!attn_query_task(j, number, &t))
        return;
    q = tile_load(tile_number(m, 1, d), &t.p->q, t.s.q + t.row, t.head, t.rows);
    tile_transpose(tile_number(m, 0, d), &q, t.rows, t.p->q.dim[2]);
    memset(tile_number(m, 1, d), 0, LANES_MAX * (size_t)d * sizeof(float));
    for (int i = 0; i < LANES_MAX; i++) {
        m->max[i] = -__builtin_inff();
        m->sum[i] = 0;
    }
    if (t.p->dropout.p > 0)
        memset(m->drop, 0, sizeof m->drop);
    for (int64_t k0 = 0; k0 < t.s.nk; k0 += KEYS)
        forward_tile(&t, m, k0, t.s.nk - k0 < KEYS ? t.s.nk - k0 : KEYS);
    finish_rows(&t, m, tile_number(m, 1, d), d);
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
                ((float *)row_of(&p->lse, h))[t] = -__builtin_inff();
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
     .params_size = sizeof(struct nnd_attn),
     .args = {ARG(nnd_attn, q, "THD", IN_FLOATS, 0),
              ARG(nnd_attn, k, "SGD", IN_FLOATS, 0),
              ARG(nnd_attn, v, "SGD", IN_FLOATS, 0),
              ARG(nnd_attn, o, "THD", IN_FLOATS, 0),
              ARG(nnd_attn, lse, "HT", IN_F32, 0)},
     .check = attn_check,
     .workspace = forward_workspace,
     .launch = forward_launch},
    {0},
};
