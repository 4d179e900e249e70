/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn.h - the tasks of an attention call: blocks of queries of one head, or
 * blocks of keys of one key head; and the rows that belong to no sequence.
 */
#ifndef CPU_ATTN_H
#define CPU_ATTN_H

#include "op.h"
#include "attn_tile.h"

struct attn_job {
    const struct nnd_attn *p;
    struct drop drop;
    int query_tasks, key_tasks;
    float *delta; /* bwd: [H,T]                                       */
    int fresh;    /* bwd: tasks make delta of their rows themselves   */
    int workers;  /* bwd: who has task i is likely to get i + workers */
};

struct attn_task {
    const struct nnd_attn *p;
    struct drop drop;
    struct seq s;
    int64_t head, key_head;
    int64_t row, rows;     /* of queries, or of keys, within the sequence */
    struct ahead after[2]; /* bwd: keys and values of the task behind it  */
};

struct attn_span {
    int64_t lo, hi;
};

static inline int64_t blocks_of(int64_t rows)
{
    return (rows + TILE - 1) / TILE;
}

static inline struct attn_job attn_job_make(const struct nnd_attn *p)
{
    struct attn_job j = {.p = p, .drop = drop_make(&p->dropout)};
    int64_t queries = 0, keys = 0;

    for (int b = 0; b < p->batch; b++) {
        struct seq s = seq_of(p, b);

        queries += blocks_of(s.nq);
        keys += blocks_of(s.nk);
    }
    j.query_tasks = (int)(queries * p->q.dim[1]);
    j.key_tasks = (int)(keys * p->k.dim[1]);
    return j;
}

/* Task `number` of the blocks of rows of `heads` heads; later blocks first,
 * because with a causal mask they are the long ones. */
static inline int attn_find(const struct attn_job *j, int number, int64_t heads,
                            int of_keys, struct attn_task *t)
{
    *t = (struct attn_task){.p = j->p, .drop = j->drop};
    for (int b = 0; b < j->p->batch; b++) {
        int64_t blocks, rows;

        t->s = seq_of(j->p, b);
        rows = of_keys ? t->s.nk : t->s.nq;
        blocks = blocks_of(rows);
        if (number >= blocks * heads) {
            number -= (int)(blocks * heads);
            continue;
        }
        t->head = number / blocks;
        t->row = number % blocks;
        if (!of_keys)
            t->row = blocks - 1 - t->row;
        t->row *= TILE;
        t->rows = rows - t->row < TILE ? rows - t->row : TILE;
        return 1;
    }
    return 0;
}

static inline int attn_query_task(const struct attn_job *j, int number,
                                  struct attn_task *t)
{
    int found = attn_find(j, number, j->p->q.dim[1], 0, t);

    t->key_head = t->head * j->p->k.dim[1] / j->p->q.dim[1];
    return found;
}

/* `head` is for the caller to set. */
static inline int attn_key_task(const struct attn_job *j, int number,
                                struct attn_task *t)
{
    int found = attn_find(j, number, j->p->k.dim[1], 1, t);

    t->key_head = t->head;
    return found;
}

/* The rows of [0, all) before the first and behind the last sequence. */
static inline void attn_rows_outside(const struct nnd_attn *p, const int32_t *cu,
                                     int64_t max, int64_t all, struct attn_span out[2])
{
    out[0] = (struct attn_span){0, cu ? cu[0] : 0};
    out[1] = (struct attn_span){cu ? cu[p->batch] : p->batch * max, all};
}

/* Rows [lo, hi) of all heads become 0. */
static inline void attn_clear(const struct nnd_tensor *t, int64_t lo, int64_t hi)
{
    for (int64_t r = lo; r < hi; r++)
        for (int64_t h = 0; h < t->dim[1]; h++)
            memset(head_row(t, r, h), 0, (size_t)t->dim[2] * dtype_size(t->dtype));
}

/* A bias or its gradient: [1 or batch, 1 or H, max_q, max_k]. */
static inline int attn_check_bias(const struct nnd_attn *p, const struct nnd_tensor *t,
                                  const char *name, unsigned dtypes,
                                  struct nnd_error *e)
{
    if (t->ndim == 0)
        return NND_OK;
    if (t->ndim != 4 || (t->dim[0] != 1 && t->dim[0] != p->batch) ||
        (t->dim[1] != 1 && t->dim[1] != p->q.dim[1]) || t->dim[2] != p->max_q ||
        t->dim[3] != p->max_k)
        return op_refuse(e, NND_EINVAL, "%s: wanted [1 or %d,1 or %lld,%d,%d]", name,
                         p->batch, (long long)p->q.dim[1], p->max_q, p->max_k);
    if (!(dtypes >> t->dtype & 1) || (t->dim[3] > 1 && t->stride[3] != 1))
        return op_refuse(e, NND_EUNSUPPORTED, "%s: of a type or stride not supported",
                         name);
    return NND_OK;
}

static inline int attn_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = params;
    int64_t h = p->q.dim[1], hk = p->k.dim[1];
    int r = attn_check_bias(p, &p->bias, "bias", IN_FLOATS, e);

    if (r)
        return r;
#if ATTN_PAIRS
    if (p->q.dtype != NND_BF16 || p->k.dtype != NND_BF16 || p->v.dtype != NND_BF16)
        return op_refuse(e, NND_EUNSUPPORTED, "q, k and v: wanted bf16");
#endif

    if (h > 0 && (hk == 0 || h % hk))
        return op_refuse(e, NND_EINVAL, "%lld query heads over %lld key heads",
                         (long long)h, (long long)hk);
    if (p->q.dim[2] < 1 || p->q.dim[2] > HEAD_MAX)
        return op_refuse(e, NND_EUNSUPPORTED, "head size %lld, wanted 1 to %d",
                         (long long)p->q.dim[2], HEAD_MAX);
    if (p->batch < 0 || !(p->dropout.p >= 0 && p->dropout.p < 1))
        return op_refuse(e, NND_EINVAL, "batch %d, dropout %g", p->batch,
                         (double)p->dropout.p);
    return NND_OK;
}

#endif
