/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_comm.c - see lab_comm.h.
 */
#include "lab_comm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RANKS_MAX 8

struct post {
    const char *buf;
    const size_t *len, *off;
};

struct lab_meeting {
    pthread_barrier_t barrier;
    int ranks;
    struct post post[RANKS_MAX];
};

struct lab_comm {
    struct comm base;
    struct lab_meeting *m;
};

struct lab_meeting *lab_meeting_create(int ranks)
{
    struct lab_meeting *m = calloc(1, sizeof(*m));
    if (!m || ranks > RANKS_MAX ||
        pthread_barrier_init(&m->barrier, NULL, (unsigned)ranks))
        abort();
    m->ranks = ranks;
    return m;
}

void lab_meeting_destroy(struct lab_meeting *m)
{
    if (!m)
        return;
    pthread_barrier_destroy(&m->barrier);
    free(m);
}

static void show(struct lab_comm *c, struct post p)
{
    c->m->post[c->base.rank] = p;
    pthread_barrier_wait(&c->m->barrier);
}

static int lab_alltoallv(struct comm *base, const void *send, const size_t *send_len,
                         const size_t *send_off, void *recv, const size_t *recv_len,
                         const size_t *recv_off, struct err *e)
{
    struct lab_comm *c = (struct lab_comm *)base;
    int me = base->rank, rc = 0;
    show(c, (struct post){send, send_len, send_off});
    for (int i = 0; i < base->size; i++) {
        const struct post *p = &c->m->post[i];
        if (i == me)
            continue;
        if (p->len[me] != recv_len[i])
            rc = err_set(e, ERR_FAILED, "rank %d sends %zu bytes, %d expects %zu", i,
                         p->len[me], me, recv_len[i]);
        else if (recv_len[i])
            memcpy((char *)recv + recv_off[i], p->buf + p->off[me], recv_len[i]);
    }
    pthread_barrier_wait(&c->m->barrier);
    return rc;
}

static int lab_allgatherv(struct comm *base, void *buf, const size_t *len,
                          const size_t *off, struct err *e)
{
    struct lab_comm *c = (struct lab_comm *)base;
    (void)e;
    show(c, (struct post){buf, len, off});
    for (int i = 0; i < base->size; i++)
        if (i != base->rank && len[i])
            memcpy((char *)buf + off[i], c->m->post[i].buf + off[i], len[i]);
    pthread_barrier_wait(&c->m->barrier);
    return 0;
}

/* Sums only; the numbers of the others are read before anyone writes. */
static int lab_allreduce(struct comm *base, int64_t *x, size_t n, enum comm_reduce op,
                         struct err *e)
{
    struct lab_comm *c = (struct lab_comm *)base;
    if (op != COMM_SUM)
        return err_set(e, ERR_FAILED, "lab allreduce: wanted a sum");
    int64_t *sum = calloc(n + 1, sizeof(*sum));
    if (!sum)
        abort();
    show(c, (struct post){.buf = (const char *)x});
    for (int i = 0; i < base->size; i++)
        for (size_t k = 0; k < n; k++)
            sum[k] += ((const int64_t *)c->m->post[i].buf)[k];
    pthread_barrier_wait(&c->m->barrier);
    memcpy(x, sum, n * sizeof(*sum));
    free(sum);
    return 0;
}

static void lab_destroy(struct comm *base)
{
    free(base);
}

static const struct comm_ops lab_ops = {
    .destroy = lab_destroy,
    .alltoallv = lab_alltoallv,
    .allgatherv = lab_allgatherv,
    .allreduce = lab_allreduce,
};

struct comm *lab_comm_create(struct lab_meeting *m, int rank)
{
    struct lab_comm *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->base = (struct comm){.ops = &lab_ops, .rank = rank, .size = m->ranks};
    c->m = m;
    return &c->base;
}
