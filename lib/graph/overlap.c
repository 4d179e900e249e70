/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlap.c - cutting planes into parts, and letting them go.
 */
#include "graph/overlap.h"

#include <string.h>

#include "base/clock.h"
#include "comm/lane.h"
#include "graph/op_list.h"
#include "graph/peers.h"

/* Elements that go at once, at least of gradients, at most of weights: long enough
 * that sending takes longer than meeting the others.  Between devices no more parts
 * than TRACK_PARTS of a plane, about: each is a launch, and ends a graph of launches.
 */
#define REDUCE_PART (1 << 18)
#define GATHER_PART (1 << 19)
#define TRACK_PARTS 16

struct part {
    struct zero_part z;
    zero_send_f *send;
    int after; /* the node that lets it go; in a program it never falls */
};

/* The parts that go after a node. */
struct release {
    int first, count;
};

struct overlap {
    struct exec *x;
    const struct exec_config *c;
    struct part *part;
    int parts;
    struct release *release; /* [nnode]; NULL: neither lane nor track */
    struct track *track;
    struct exec_sent own; /* what nodes sent themselves                    */
    int64_t wire;         /* what the lane's communicators had sent when last seen */
};

/* What building needs besides. */
struct cutter {
    struct overlap *o;
    const struct graph *g;
    struct arena *mem;
    int room;
    const struct node *reduce[GRAPH_PLANES]; /* NULL: nothing to reduce       */
    int last[GRAPH_PLANES];                  /* the node after which all is finished */
    bool *waits;                             /* [nparam]: finished, not cut yet    */
    int64_t waiting[GRAPH_PLANES];           /* elements of those             */
};

/* --- parts ---------------------------------------------------------------- */

/* Is the plane sent by the lane, or on the track? */
static bool goes_beside(const struct overlap *o, int plane)
{
    return o->c->lane || exec_peers(o->x, plane);
}

/* `least` elements, or a plane's share of them. */
static int64_t part_of(const struct overlap *o, int plane, int64_t elements,
                       int64_t least)
{
    int64_t share = exec_peers(o->x, plane) ? elements / TRACK_PARTS : 0;
    return share > least ? share : least;
}

static void add_part(struct cutter *k, const struct node *n, zero_send_f *send,
                     int64_t lo, int64_t hi, int after)
{
    struct overlap *o = k->o;
    const struct zero_attr *at = n->attr;
    if (o->parts == k->room) {
        k->room = k->room ? 2 * k->room : 64;
        struct part *more = arena_calloc(k->mem, (size_t)k->room, sizeof(*more));
        if (o->parts)
            memcpy(more, o->part, (size_t)o->parts * sizeof(*more));
        o->part = more;
    }
    struct zero_part z = {.exec = o->x,
                          .node = n,
                          .comm = zero_comm(k->g, &o->c->lane_comms, at->plane),
                          .lo = lo,
                          .hi = hi};
    o->part[o->parts++] = (struct part){z, send, after};
}

static int64_t end_of(const struct param *p)
{
    return p->offset + shape_elements(&p->value->shape);
}

/* Cut what is finished and waits: neighbours in the plane go as one. */
static void cut_waiting(struct cutter *k, int plane, int after)
{
    int64_t lo = -1, hi = 0;
    for (int i = 0; i <= k->g->nparam; i++) {
        const struct param *p = i < k->g->nparam ? k->g->param[i] : NULL;
        if (p && p->plane != plane)
            continue;
        bool more = p && k->waits[i];
        if (lo >= 0 && !more) {
            add_part(k, k->reduce[plane], zero_reduce, lo, hi, after);
            lo = -1;
        }
        if (!more)
            continue;
        lo = lo < 0 ? p->offset : lo;
        hi = end_of(p);
        k->waits[i] = false;
    }
    k->waiting[plane] = 0;
}

static int number_of(const struct graph *g, const struct param *p)
{
    int i = 0;
    while (g->param[i] != p)
        i++;
    return i;
}

static void find_reduces(struct cutter *k)
{
    for (int i = 0; i < k->g->nnode; i++) {
        const struct node *n = k->g->node[i];
        const struct param *p = grad_tree_finishes(n);
        if (p)
            k->last[p->plane] = i;
        int plane =
            n->op == &op_grad_reduce ? ((const struct zero_attr *)n->attr)->plane : -1;
        if (plane >= 0 && goes_beside(k->o, plane))
            k->reduce[plane] = n;
    }
}

/* Gradients in the order in which backward finishes them. */
static void cut_gradients(struct cutter *k)
{
    const struct graph *g = k->g;
    find_reduces(k);
    for (int i = 0; i < g->nparam; i++) /* none of a weight that nobody uses */
        k->waits[i] = !g->param[i]->has_grad;
    for (int i = 0; i < g->nnode; i++) {
        const struct param *p = grad_tree_finishes(g->node[i]);
        if (!p || !k->reduce[p->plane])
            continue;
        k->waits[number_of(g, p)] = true;
        k->waiting[p->plane] += shape_elements(&p->value->shape);
        if (k->waiting[p->plane] >=
                part_of(k->o, p->plane, g->plane[p->plane].elements, REDUCE_PART) ||
            i == k->last[p->plane])
            cut_waiting(k, p->plane, i);
    }
    for (int i = 0; i < g->nplane; i++)
        if (k->reduce[i])
            cut_waiting(k, i, k->reduce[i]->id);
}

/* How far the plane's own elements are new once n has run; 0: n changes none. */
static int64_t renews(const struct node *n, int plane)
{
    for (int j = 0; n->op->kernel && j < n->nin; j++) {
        const struct value *v = n->in[j];
        if (v && v->root->storage == STORAGE_PARAM && v->root->param->plane == plane)
            return v->root->param->offset + v->root_offset + shape_elements(&v->shape);
    }
    return 0;
}

/* Weights in windows of what each replica owns.  When this rank's part of one is new
 * is its own affair; that windows go in order is everybody's. */
static void cut_weights(struct cutter *k, const struct node *gather)
{
    const struct zero_attr *at = gather->attr;
    const struct shard *s = &at->shard;
    const int me = zero_rank(k->g, at->plane);
    const int64_t window = part_of(k->o, at->plane, zero_largest(s), GATHER_PART);
    int i = k->g->program[gather->program].first;
    if (k->o->parts && k->o->part[k->o->parts - 1].z.node->program == gather->program)
        i = k->o->part[k->o->parts - 1].after;
    for (int64_t lo = 0; lo < zero_largest(s); lo += window) {
        int64_t mine =
            zero_owned(s, me) < lo + window ? zero_owned(s, me) : lo + window;
        while (i < gather->id && renews(k->g->node[i], at->plane) < s->begin[me] + mine)
            i++;
        add_part(k, gather, zero_gather, lo, lo + window, i);
    }
}

static void index_parts(struct overlap *o)
{
    for (int i = o->parts - 1; i >= 0; i--) {
        struct release *r = &o->release[o->part[i].after];
        r->first = i;
        r->count++;
    }
}

/* Returns how many nodes wait for parts. */
static int cut(struct overlap *o, struct arena *a)
{
    const struct graph *g = exec_graph(o->x);
    struct cutter k = {.o = o, .g = g, .mem = a};
    int waits = 0;
    o->release = arena_calloc(a, (size_t)g->nnode + 1, sizeof(*o->release));
    k.waits = arena_calloc(a, (size_t)g->nparam + 1, sizeof(*k.waits));
    cut_gradients(&k);
    for (int i = 0; i < g->nplane; i++)
        waits += k.reduce[i] != NULL;
    for (int i = 0; i < g->nnode; i++) {
        const struct zero_attr *at = g->node[i]->attr;
        if (g->node[i]->op == &op_param_gather && goes_beside(o, at->plane)) {
            cut_weights(&k, g->node[i]);
            waits++;
        }
    }
    index_parts(o);
    return waits;
}

int overlap_create(struct exec *x, struct arena *a, const struct exec_config *c,
                   struct track *t, struct overlap **out, struct err *e)
{
    struct overlap *o = arena_calloc(a, 1, sizeof(*o));
    o->x = x;
    o->c = c;
    o->track = t;
    int waits = c->lane || t ? cut(o, a) : 0;
    if (t && track_room(t, o->parts, waits, e))
        return e->code;
    *out = o;
    return 0;
}

/* --- letting go ----------------------------------------------------------- */

static int send_part(void *arg, struct err *e)
{
    const struct part *p = arg;
    return p->send(&p->z, e);
}

static int post_after(struct overlap *o, const struct node *n, struct err *e)
{
    const struct release *r = &o->release[n->id];
    for (int i = r->first; i < r->first + r->count; i++)
        if (o->c->lane)
            lane_post(o->c->lane, o->part[i].z.comm, send_part, &o->part[i]);
        else if (track_post(o->track, send_part, &o->part[i], e))
            return e->code;
    return 0;
}

bool overlap_lets_go(const struct overlap *o, const struct node *n, int position)
{
    bool early = n->op == &op_grad_tree && position < o->c->positions - 1;
    return o->release && o->release[n->id].count && !n->op->wire && !early;
}

int overlap_after(struct overlap *o, const struct node *n, int position, struct err *e)
{
    return overlap_lets_go(o, n, position) ? post_after(o, n, e) : 0;
}

int overlap_rehearse(struct overlap *o, struct err *e)
{
    if (o->c->lane || !o->parts)
        return 0;
    for (int i = 0; i < o->parts; i++)
        if (track_post(o->track, send_part, &o->part[i], e))
            return e->code;
    return track_wait(o->track, e);
}

/* Bytes that the lane has sent since this was asked last. */
static int64_t new_wire(struct overlap *o)
{
    struct comm *const all[] = {o->c->lane_comms.world, o->c->lane_comms.edp};
    int64_t n = -o->wire;
    for (int i = 0; i < 2; i++)
        n += comm_counted(all[i]).remote;
    o->wire += n;
    return n;
}

static int send_here(struct overlap *o, const struct node *n, zero_send_f *send,
                     struct zero_part z, struct err *e)
{
    const struct zero_attr *at = n->attr;
    int64_t begin = clock_mono_ns();
    z.exec = o->x;
    z.node = n;
    z.comm = zero_comm(exec_graph(o->x), &o->c->comms, at->plane);
    int rc = send(&z, e);
    begin = clock_mono_ns() - begin;
    o->own.ns += begin;
    o->own.exposed += begin;
    return rc;
}

int overlap_run(struct overlap *o, const struct node *n, zero_send_f *send,
                const struct zero_part *all, struct err *e)
{
    const struct zero_attr *at = n->attr;
    if (!goes_beside(o, at->plane))
        return send_here(o, n, send, *all, e);
    if (post_after(o, n, e))
        return e->code;
    if (!o->c->lane)
        return track_wait(o->track, e);
    int rc = lane_wait(o->c->lane, e);
    if (!rc)
        exec_add_wire(o->x, n, new_wire(o));
    return rc;
}

struct exec_sent overlap_sent(const struct overlap *o)
{
    struct lane_time t = {0};
    if (o->release)
        t = o->c->lane ? lane_timed(o->c->lane) : track_timed(o->track);
    return (struct exec_sent){o->own.ns + t.busy, o->own.exposed + t.exposed};
}
