/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror.c - pinned memory by value, and the order of copies.
 */
#include "graph/mirror.h"

#include <string.h>
#include <time.h>

#include "graph/op.h"

struct handed {
    const struct value *v;
    void *at;
};

struct mirror {
    struct arena *mem;
    const struct nnd_device_ops *dev;
    const struct nnd_stream *stream;
    void **copy; /* [values], NULL: none yet */
    int values;
    struct handed *handed;
    int nhanded, room_handed;
    void *room; /* for exchanges, or NULL */
    void *sent; /* event: behind the last flush */
    bool pending;
    struct err fault; /* met where nobody could be told */
};

static int failed(const struct mirror *m, const struct value *v, const char *what,
                  struct err *e)
{
    struct nnd_error why = {{0}};
    m->dev->health(m->stream->device, &why);
    return err_set(e, ERR_FAILED, "%s: cannot be %s %s%s%s", v ? v->name : "device",
                   what, m->dev->type, why.text[0] ? ": " : "", why.text);
}

static int make_copy(struct mirror *m, const struct value *v, struct err *e)
{
    if (m->copy[v->id])
        return 0;
    size_t bytes = value_bytes(v);
    void *p;
    if (m->dev->alloc_pinned(bytes ? bytes : 1, &p) != NND_OK)
        return err_set(e, ERR_FAILED, "memory: %s: wanted %zu bytes of the host's",
                       v->name, bytes);
    memset(p, 0, bytes);
    m->copy[v->id] = p;
    return 0;
}

/* All that node n and the loops around it let the host touch. */
static int make_node_copies(struct mirror *m, const struct graph *g,
                            const struct node *n, struct err *e)
{
    const struct value *counts = n->loop ? g->loop[n->loop].counts : NULL;
    if (counts && make_copy(m, counts, e))
        return e->code;
    bool hosted = n->op->run && !op_kernel_of(g, n);
    for (int i = 0; hosted && i < n->nin + n->nout; i++) {
        const struct value *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
        if (v && make_copy(m, v, e))
            return e->code;
    }
    return 0;
}

static int make_copies(struct mirror *m, const struct graph *g, struct err *e)
{
    for (int i = 0; i < g->nvalue; i++) {
        const struct value *v = g->value[i];
        if ((v->storage == STORAGE_INPUT || v->storage == STORAGE_STATE) &&
            v->root == v && make_copy(m, v, e))
            return e->code;
    }
    for (int i = 0; i < g->nnode; i++)
        if (make_node_copies(m, g, g->node[i], e))
            return e->code;
    return 0;
}

int mirror_create(const struct nnd_device_ops *dev, const struct nnd_stream *stream,
                  const struct graph *g, struct mirror **out, struct err *e)
{
    struct arena *mem = arena_create();
    struct mirror *m = arena_alloc(mem, sizeof(*m));
    *m = (struct mirror){.mem = mem, .dev = dev, .stream = stream, .values = g->nvalue};
    m->copy = arena_calloc(mem, (size_t)g->nvalue + 1, sizeof(*m->copy));
    m->room_handed = g->nvalue + 256; /* some at several places */
    m->handed = arena_calloc(mem, (size_t)m->room_handed, sizeof(*m->handed));
    int rc = dev->event_new(stream->device, &m->sent) == NND_OK
                 ? make_copies(m, g, e)
                 : failed(m, NULL, "given an event on", e);
    if (rc) {
        mirror_destroy(m);
        return rc;
    }
    *out = m;
    return 0;
}

void mirror_destroy(struct mirror *m)
{
    if (!m)
        return;
    m->dev->stream_sync(m->stream);
    if (m->sent)
        m->dev->event_del(m->sent);
    if (m->room)
        m->dev->free_pinned(m->room);
    for (int i = 0; i < m->values; i++)
        if (m->copy[i])
            m->dev->free_pinned(m->copy[i]);
    arena_destroy(m->mem);
}

void *mirror_data(struct mirror *m, const struct value *v)
{
    return m->copy[v->id];
}

int mirror_pull(struct mirror *m, const struct value *v, const void *at, struct err *e)
{
    if (make_copy(m, v, e))
        return e->code;
    if (m->dev->copy(m->stream, m->copy[v->id], at, value_bytes(v)) == NND_OK)
        return 0;
    return failed(m, v, "copied from", e);
}

int mirror_push(struct mirror *m, const struct value *v, void *at, struct err *e)
{
    if (m->dev->copy(m->stream, at, m->copy[v->id], value_bytes(v)) == NND_OK)
        return 0;
    return failed(m, v, "copied to", e);
}

int mirror_sync(struct mirror *m, struct err *e)
{
    return m->dev->stream_sync(m->stream) == NND_OK
               ? 0
               : failed(m, NULL, "waited for on", e);
}

/* The last flush may still read what is about to be written; what was enqueued behind
 * it need not be done. */
static int wait_for_flush(struct mirror *m, struct err *e)
{
    const struct timespec nap = {.tv_nsec = 20000};
    int done = m->pending ? m->dev->event_query(m->sent) : 1;
    for (; done == 0; done = m->dev->event_query(m->sent))
        nanosleep(&nap, NULL);
    m->pending = false;
    return done == 1 ? 0 : failed(m, NULL, "waited for on", e);
}

static bool is_handed(const struct mirror *m, const struct value *v, const void *at)
{
    for (int i = 0; i < m->nhanded; i++)
        if (m->handed[i].v == v && m->handed[i].at == at)
            return true;
    return false;
}

/* The copy goes back before the next program. */
static int note(struct mirror *m, const struct value *v, void *at, struct err *e)
{
    if (v->storage != STORAGE_INPUT && v->storage != STORAGE_STATE)
        return 0;
    if (m->nhanded == m->room_handed)
        return err_set(e, ERR_FAILED, "device: more than %d values at once",
                       m->nhanded);
    m->handed[m->nhanded++] = (struct handed){v, at};
    return 0;
}

static int hand(struct mirror *m, const struct value *v, void *at, bool fetch,
                struct err *e)
{
    if (make_copy(m, v, e) || wait_for_flush(m, e))
        return e->code;
    if (is_handed(m, v, at))
        return 0;
    if (fetch && (mirror_pull(m, v, at, e) || mirror_sync(m, e)))
        return e->code;
    return note(m, v, at, e);
}

/* What went wrong where nobody can be told. */
static void *copy_of(struct mirror *m, const struct value *v, int rc,
                     const struct err *e)
{
    if (rc && !m->fault.code)
        m->fault = *e;
    return m->copy[v->id];
}

void *mirror_hand(struct mirror *m, const struct value *v, void *at)
{
    struct err e = {0};
    int rc = hand(m, v, at, v->storage != STORAGE_INPUT, &e);
    return copy_of(m, v, rc, &e);
}

void *mirror_renew(struct mirror *m, const struct value *v, void *at)
{
    struct err e = {0};
    int rc = hand(m, v, at, false, &e);
    return copy_of(m, v, rc, &e);
}

int mirror_gather(struct mirror *m, const struct value *v, void *at, struct err *e)
{
    if (make_copy(m, v, e) || wait_for_flush(m, e))
        return e->code;
    if (is_handed(m, v, at))
        return 0;
    return mirror_pull(m, v, at, e) ? e->code : note(m, v, at, e);
}

int mirror_flush(struct mirror *m, struct err *e)
{
    if (m->fault.code)
        return err_set(e, (enum err_code)m->fault.code, "%s", m->fault.text);
    if (!m->nhanded)
        return 0;
    for (int i = 0; i < m->nhanded; i++)
        if (mirror_push(m, m->handed[i].v, m->handed[i].at, e))
            return e->code;
    m->nhanded = 0;
    if (m->dev->event_record(m->sent, m->stream) != NND_OK)
        return failed(m, NULL, "marked on", e);
    m->pending = true;
    return 0;
}

int mirror_room(struct mirror *m, size_t bytes, struct err *e)
{
    if (!bytes || m->dev->alloc_pinned(bytes, &m->room) == NND_OK)
        return 0;
    return err_set(e, ERR_FAILED, "memory: exchanges: wanted %zu bytes of the host's",
                   bytes);
}

int mirror_fetch(struct mirror *m, const void *at, size_t bytes, void **room,
                 struct err *e)
{
    if (m->dev->copy(m->stream, m->room, at, bytes) != NND_OK)
        return failed(m, NULL, "copied from", e);
    *room = m->room;
    return mirror_sync(m, e);
}

int mirror_return(struct mirror *m, void *at, size_t offset, size_t bytes,
                  struct err *e)
{
    if (!bytes || m->dev->copy(m->stream, (char *)at + offset, (char *)m->room + offset,
                               bytes) == NND_OK)
        return 0;
    return failed(m, NULL, "copied to", e);
}

void mirror_refresh(struct mirror *m, const struct value *v, const void *data)
{
    if (m->copy[v->id])
        memcpy(m->copy[v->id], data, value_bytes(v));
}
