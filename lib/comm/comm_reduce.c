/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_reduce.c - reduce-scatter: exchange in windows that stay in the cache, and
 * add each as it comes.
 *
 * MPI_Allreduce adds whole vectors in an order of its own, and reaches half of what
 * memory allows.  Here a window goes from everybody straight to its owner, who adds
 * it while it is warm: of the two ways over the bus one is saved.
 */
#include <string.h>

#include "comm/comm_impl.h"

enum { RANKS = 1024 }; /* more would not pair up in one machine's memory anyway */

/* The exchange of one window. */
struct turn {
    size_t send_len[RANKS], recv_len[RANKS], recv_off[RANKS];
    size_t send_off[RANKS];
    char *piece[RANKS]; /* where rank i's summand of this rank's window is */
};

static size_t part_of(size_t len, size_t from, size_t window)
{
    size_t left = len > from ? len - from : 0;

    return left < window ? left : window;
}

/* Returns what every rank sends to this one. */
static size_t plan_turn(const struct comm *c, char *buf, const size_t *len,
                        const size_t *off, size_t from, const struct comm_sum *s,
                        struct turn *t)
{
    const size_t mine = part_of(len[c->rank], from, s->window);
    size_t at = 0;

    for (int i = 0; i < c->size; i++) {
        t->send_len[i] = part_of(len[i], from, s->window);
        t->send_off[i] = off[i] + from;
        t->recv_len[i] = mine;
        t->recv_off[i] = at;
        t->piece[i] = s->scratch + at;
        at += i == c->rank ? 0 : mine;
    }
    t->piece[c->rank] = buf + off[c->rank] + from;
    return mine;
}

/* Send and receive lie behind the pieces, in the form that elements have on their way.
 */
static int exchange_narrow(struct comm *c, const char *buf, size_t mine,
                           const struct comm_sum *s, struct turn *t, struct err *e)
{
    const struct comm_wire *w = s->wire;
    size_t at = mine * ((size_t)c->size - 1);

    for (int i = 0; i < c->size; i++) {
        size_t n = i == c->rank ? 0 : t->send_len[i] / w->here;

        w->narrow(s->scratch + at, buf + t->send_off[i], n);
        t->send_off[i] = at;
        at += t->send_len[i] = n * w->there;
    }
    for (int i = 0; i < c->size; i++) {
        t->recv_off[i] = at;
        at += t->recv_len[i] = i == c->rank ? 0 : mine / w->here * w->there;
    }
    int rc = c->ops->alltoallv(c, s->scratch, t->send_len, t->send_off, s->scratch,
                               t->recv_len, t->recv_off, e);

    for (int i = 0; rc == 0 && i < c->size; i++)
        w->widen(t->piece[i], s->scratch + t->recv_off[i], t->recv_len[i] / w->there);
    return rc;
}

static int exchange(struct comm *c, const char *buf, size_t mine,
                    const struct comm_sum *s, struct turn *t, struct err *e)
{
    if (s->wire)
        return exchange_narrow(c, buf, mine, s, t, e);
    return c->ops->alltoallv(c, buf, t->send_len, t->send_off, s->scratch, t->recv_len,
                             t->recv_off, e);
}

/* piece[0..n) become one, where this rank's was: a sum of two stays in place of the
 * one that is or holds it.  (Addition of two numbers commutes.) */
static int add_pieces(const struct comm *c, char **piece, size_t bytes,
                      const struct comm_sum *s, struct err *e)
{
    for (int step = 1; step < c->size; step *= 2)
        for (int i = 0; i + step < c->size; i += 2 * step) {
            bool upper = c->rank >= i + step && c->rank < i + 2 * step;
            char *into = piece[upper ? i + step : i];
            int rc = s->add(s->arg, into, piece[upper ? i : i + step], bytes, e);

            if (rc < 0)
                return rc;
            piece[i] = into;
        }
    return 0;
}

static size_t longest(const struct comm *c, const size_t *len)
{
    size_t most = 0;

    for (int i = 0; i < c->size; i++)
        most = len[i] > most ? len[i] : most;
    return most;
}

int comm_reduce_scatter(struct comm *c, void *buf, const size_t *len, const size_t *off,
                        const struct comm_sum *s, struct err *e)
{
    const size_t most = c->size > 1 ? longest(c, len) : 0;
    size_t remote = 0;
    struct turn t;

    if (c->size > RANKS)
        return err_set(e, ERR_FAILED, "comm reduce_scatter: wanted %d ranks, found %d",
                       RANKS, c->size);
    for (size_t from = 0; from < most; from += s->window) {
        size_t mine = plan_turn(c, buf, len, off, from, s, &t);
        int rc = exchange(c, buf, mine, s, &t, e);

        if (rc == 0 && mine > 0)
            rc = add_pieces(c, t.piece, mine, s, e);
        if (rc < 0)
            return rc;
    }
    for (int i = 0; i < c->size; i++)
        remote += i == c->rank ? 0 : len[i];
    if (s->wire)
        remote = remote / s->wire->here * s->wire->there;
    comm_note(c, remote, len[c->rank]);
    return 0;
}
