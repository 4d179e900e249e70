/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - who has which device, the group, and its calls.
 */
#include "graph/peers.h"

#include <stdio.h>
#include <string.h>

#include "kernel/since.h"

/* What each rank tells the others. */
struct told {
    char place[128]; /* of its device, or "" */
    char why[256];   /* there is none       */
};

struct peers {
    const struct nnd_stream *stream;
    const struct nnd_collectives *ops;
    void *group;
    const char *device; /* its type              */
    size_t bytes;       /* of it, that they take */
};

/* --- meeting -------------------------------------------------------------- */

static void tell(const struct nnd_device_ops *dev, int number, struct told *t)
{
    const struct nnd_collectives *ops = since_collectives(dev);
    struct nnd_error why = {{0}};
    if (!ops)
        snprintf(t->why, sizeof t->why, "the device %s has no collectives", dev->type);
    else if (ops->place(number, t->place, sizeof t->place, &why) != NND_OK)
        snprintf(t->why, sizeof t->why, "%s",
                 why.text[0] ? why.text : "no reason given");
}

/* The first reason that they are no group, the same on all ranks; or NULL. */
static const char *why_not(const struct told *t, int ranks, struct arena *a)
{
    for (int i = 0; i < ranks; i++)
        if (t[i].why[0])
            return arena_printf(a, "rank %d of %d: %s", i, ranks, t[i].why);
    for (int i = 0; i < ranks; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(t[i].place, t[j].place) == 0)
                return arena_printf(a, "ranks %d and %d of %d share a device", j, i,
                                    ranks);
    return NULL;
}

static int ask(const struct nnd_device_ops *dev, int number, struct comm *c,
               struct arena *a, const char **why, struct err *e)
{
    int ranks = comm_size(c), me = comm_rank(c);
    struct told *t = arena_calloc(a, (size_t)ranks, sizeof *t);
    size_t *len = arena_calloc(a, (size_t)ranks, sizeof *len);
    size_t *off = arena_calloc(a, (size_t)ranks, sizeof *off);
    for (int i = 0; i < ranks; i++) {
        len[i] = sizeof *t;
        off[i] = (size_t)i * sizeof *t;
    }
    tell(dev, number, &t[me]);
    if (comm_allgatherv(c, t, len, off, e))
        return e->code;
    *why = why_not(t, ranks, a);
    return 0;
}

/* A lack of memory names its line of the plan. */
static int failed(const struct peers *p, int rc, const struct nnd_error *why,
                  struct err *e)
{
    static const char advice[] = "kernels.collectives: false does without";
    const char *text = why->text[0] ? why->text : "no reason given between ranks";
    if (rc != NND_ENOMEM)
        return err_set(e, ERR_FAILED, "device: %s; %s", text, advice);
    return err_set(e, ERR_NOMEM,
                   "memory: collectives: wanted about %zu MiB on %s, refused: %s; %s",
                   p->bytes >> 20, p->device, text, advice);
}

/* The first rank makes an id, with which all join. */
static int join(struct peers *p, struct comm *c, struct err *e)
{
    unsigned char id[NND_GROUP_ID] = {0};
    struct nnd_error why = {{0}};
    int rc = comm_rank(c) == 0 ? p->ops->make_id(id, &why) : NND_OK;
    if (rc != NND_OK)
        return failed(p, rc, &why, e);
    if (comm_bcast(c, id, sizeof id, 0, e))
        return e->code;
    rc = p->ops->join(p->stream->device, id, comm_rank(c), comm_size(c), &p->group,
                      &why);
    return rc == NND_OK ? 0 : failed(p, rc, &why, e);
}

int peers_create(const struct nnd_device_ops *dev, const struct nnd_stream *stream,
                 struct comm *c, struct arena *a, struct peers **out, const char **why,
                 struct err *e)
{
    *out = NULL;
    if (ask(dev, stream->device, c, a, why, e))
        return e->code;
    if (*why)
        return 0;
    struct peers *p = arena_calloc(a, 1, sizeof *p);
    *p = (struct peers){.stream = stream,
                        .ops = since_collectives(dev),
                        .device = dev->type,
                        .bytes = peers_bytes(dev, comm_size(c))};
    if (join(p, c, e)) {
        peers_destroy(p, true);
        return e->code;
    }
    *out = p;
    return 0;
}

void peers_destroy(struct peers *p, bool at_once)
{
    if (p && p->group)
        p->ops->leave(p->group, at_once);
}

size_t peers_bytes(const struct nnd_device_ops *dev, int ranks)
{
    return since_group_bytes(since_collectives(dev), ranks);
}

const char *peers_name(const struct peers *p)
{
    return p->ops->name;
}

/* --- work ----------------------------------------------------------------- */

int peers_reduce(struct peers *p, void *buf, int dtype, const size_t *len,
                 const size_t *off, struct err *e)
{
    struct nnd_error why = {{0}};
    int rc = p->ops->reduce(p->group, p->stream, buf, dtype, len, off, &why);
    return rc == NND_OK ? 0 : failed(p, rc, &why, e);
}

int peers_gather(struct peers *p, void *buf, const size_t *len, const size_t *off,
                 struct err *e)
{
    struct nnd_error why = {{0}};
    int rc = p->ops->gather(p->group, p->stream, buf, len, off, &why);
    return rc == NND_OK ? 0 : failed(p, rc, &why, e);
}
