/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc.c - the ROUTER sockets, one for this machine and one for others: what came,
 * and to whom the answer goes.  Who may ask is access.h's.
 *
 * On this machine the kernel says who is at the other end (SO_PEERCRED, which
 * libzmq hands out as "Peer-Address" of an ipc connection); from elsewhere the key
 * does ("User-Id").
 */
#include "daemon/rpc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <zmq.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/oom.h"
#include "base/str.h"
#include "daemon/attempt.h"
#include "proto/chan.h"
#include "proto/wire.pb-c.h"

enum {
    BATCH = 256,        /* messages taken before the next commit     */
    MAX_WAITING = 1000, /* long polls                                */
    MAX_OF_ONE = 32,    /* of one client; it may be gone, and nobody says so */
    FILE_POLL_MS = 100,
    CHILD_POLL_MS = 20,
    REKEY_MS = 200, /* for the answer to who asked for another key */
};

/* A request that is not answered yet, or an answer that has not left yet. */
struct envelope {
    zmq_msg_t route; /* routing id of the asker                */
    struct chan_header h;
    ProtobufCMessage *request;
    rpc_handler_f *handler;
    void *socket; /* where it came from, and the answer goes */
    struct asker who;
    int64_t until;   /* a long poll's deadline, monotonic ns   */
    int64_t again;   /* when to look again, 0 at a change      */
    uint64_t change; /* hub->change when it was last looked at */
    bool tied;       /* the answer holds only if the commit does */
    uint8_t *body;   /* the packed answer                      */
    size_t size;
};

struct rpc {
    void *ctx, *socket;
    void *remote, *zap; /* for other machines; NULL: not listening there */
    int64_t rekey_at;   /* when the server's key is looked at again, or 0 */
    struct access *access;
    struct envelope **out; /* answers to be sent after the commit */
    size_t nout, out_cap;
    struct envelope **waiting; /* long polls                          */
    size_t nwaiting;
    uint64_t dropped; /* messages that were not understood   */
};

/* --- opening -------------------------------------------------------------- */

static int listen_at(void *socket, const char *uri, struct err *e)
{
    mode_t mask = umask(0177); /* a socket's mode is 0600 from its first moment */
    int rc = zmq_bind(socket, uri);

    umask(mask);
    if (rc != 0)
        return err_set(e, ERR_FAILED, "listening at %s: %s", uri,
                       zmq_strerror(zmq_errno()));
    return 0;
}

static int bind_socket(void *socket, const char *uri, struct err *e)
{
    const struct {
        int option, value;
    } ints[] = {
        {ZMQ_LINGER, 2000},        {ZMQ_ROUTER_MANDATORY, 1},
        {ZMQ_SNDHWM, 1000},        {ZMQ_RCVHWM, 1000},
        {ZMQ_BACKLOG, 128},        {ZMQ_HANDSHAKE_IVL, 5000},
        {ZMQ_HEARTBEAT_IVL, 2000}, {ZMQ_HEARTBEAT_TIMEOUT, 6000},
    };
    int64_t max = CHAN_MAX_MESSAGE;

    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        zmq_setsockopt(socket, ints[i].option, &ints[i].value, sizeof(int));
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max, sizeof max);
    return listen_at(socket, uri, e);
}

static int open_here(struct rpc *r, const char *uri, struct err *e)
{
    r->ctx = zmq_ctx_new();
    r->socket = r->ctx ? zmq_socket(r->ctx, ZMQ_ROUTER) : NULL;
    if (!r->socket)
        return err_set(e, ERR_FAILED, "%s: %s", uri, zmq_strerror(zmq_errno()));
    return bind_socket(r->socket, uri, e);
}

/* Other machines come in with a key or not at all. */
static int open_remote(struct rpc *r, const char *uri, struct err *e)
{
    int rc;

    r->remote = zmq_socket(r->ctx, ZMQ_ROUTER);
    if (!r->remote)
        return err_set(e, ERR_FAILED, "%s: %s", uri, zmq_strerror(zmq_errno()));
    rc = access_guard(r->ctx, &r->zap, e);
    if (rc == 0)
        rc = access_secure(r->access, r->remote, e);
    if (rc == 0)
        rc = bind_socket(r->remote, uri, e);
    if (rc == 0)
        log_info("listening: uri=%s public-key=%s", uri, access_public(r->access));
    return rc;
}

/* Whose ranks have that key. */
static uint64_t epoch_of(const void *arg, const char *public)
{
    const struct hub *h = arg;

    for (size_t i = 0; i < h->nlive; i++) {
        const struct attempt *a = h->live[i]->live;

        if (a && a->stage < ATTEMPT_OVER && *a->public &&
            strcmp(a->public, public) == 0)
            return h->live[i]->epoch;
    }
    return 0;
}

int rpc_open(const struct hub *h, struct rpc **out, struct err *e)
{
    const char *listen = h->opt.conf->access->listen;
    struct rpc *r = oom_calloc(1, sizeof *r);
    int rc;

    r->waiting = oom_calloc(MAX_WAITING, sizeof *r->waiting);
    rc = access_open(h->opt.dir, h->uid, &r->access, e);
    if (rc == 0)
        access_ranks(r->access, epoch_of, h);
    if (rc == 0)
        rc = open_here(r, h->opt.uri, e);
    if (rc == 0 && *listen)
        rc = open_remote(r, listen, e);
    if (rc < 0) {
        rpc_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

static void envelope_destroy(struct envelope *v)
{
    zmq_msg_close(&v->route);
    chan_free(v->request);
    free(v->body);
    free(v);
}

void rpc_close(struct rpc *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->nout; i++)
        envelope_destroy(r->out[i]);
    for (size_t i = 0; i < r->nwaiting; i++)
        envelope_destroy(r->waiting[i]);
    if (r->socket)
        zmq_close(r->socket);
    if (r->remote)
        zmq_close(r->remote);
    if (r->zap)
        zmq_close(r->zap);
    if (r->ctx)
        zmq_ctx_term(r->ctx);
    access_close(r->access);
    free(r->out);
    free(r->waiting);
    free(r);
}

/* --- another key ---------------------------------------------------------- */

/* What is bound has the key that counted when it was, so it is bound again.  This
 * ends the connections there are: who has another key of nnd's comes back with it,
 * and asks again (wire.proto says that this is always right). */
static int bind_again(struct rpc *r, const char *uri, struct err *e)
{
    const struct timespec moment = {.tv_nsec = 5 * 1000000};
    char bound[256];
    size_t size = sizeof bound;
    int rc = access_secure(r->access, r->remote, e);

    if (rc == 0 && zmq_getsockopt(r->remote, ZMQ_LAST_ENDPOINT, bound, &size) == 0)
        zmq_unbind(r->remote, bound);
    for (int i = 0; rc == 0 && i < 200; i++) { /* the port is free in a moment */
        rc = listen_at(r->remote, uri, e);
        if (rc == 0 || zmq_errno() != EADDRINUSE)
            break;
        nanosleep(&moment, NULL);
        rc = i < 199 ? 0 : rc;
    }
    return rc;
}

static void change_key(struct rpc *r, struct hub *h)
{
    const char *uri = h->opt.conf->access->listen;
    struct key old;
    struct err e;
    int rc = access_reread_key(r->access, &old, &e);

    r->rekey_at = 0;
    if (rc > 0 && (rc = bind_again(r, uri, &e)) < 0) {
        struct err again;

        access_restore_key(r->access, &old);
        if (bind_again(r, uri, &again) < 0)
            log_error("no longer listening: error=\"%s\"", again.text);
    }
    explicit_bzero(&old, sizeof old);
    if (rc < 0) {
        log_error("the server's key stays: error=\"%s\"", e.text);
        return;
    }
    log_info("listening: uri=%s public-key=%s", uri, access_public(r->access));
    for (size_t i = 0; i < h->nlive; i++)
        attempt_say_server(h, h->live[i]->live);
}

int rpc_rekey(struct rpc *r, struct hub *h, struct err *e)
{
    struct key old;
    int rc = r->remote ? access_reread_key(r->access, &old, e) : 0;

    if (rc <= 0)
        return rc;
    access_restore_key(r->access, &old); /* until those who were asked have heard */
    explicit_bzero(&old, sizeof old);
    r->rekey_at = h->now + REKEY_MS * 1000000LL;
    hub_wake(h, r->rekey_at);
    return 1;
}

const char *rpc_public(const struct rpc *r)
{
    return r->remote ? access_public(r->access) : NULL;
}

size_t rpc_poll(const struct rpc *r, zmq_pollitem_t items[RPC_SOCKETS])
{
    void *sockets[RPC_SOCKETS] = {r->socket, r->remote, r->zap};
    size_t n = 0;

    for (size_t i = 0; i < RPC_SOCKETS; i++)
        if (sockets[i])
            items[n++] = (zmq_pollitem_t){.socket = sockets[i], .events = ZMQ_POLLIN};
    return n;
}

size_t rpc_waiting(const struct rpc *r)
{
    return r->nwaiting;
}

/* --- answers -------------------------------------------------------------- */

void *rpc_message(struct arena *a, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = arena_alloc(a, d->sizeof_message);

    protobuf_c_message_init(d, m);
    return m;
}

void *rpc_reply(struct rpc_call *call, const ProtobufCMessageDescriptor *d)
{
    call->reply = rpc_message(call->arena, d);
    return call->reply;
}

static void pack(struct envelope *v, const ProtobufCMessage *m, uint8_t flags)
{
    free(v->body);
    v->size = protobuf_c_message_get_packed_size(m);
    v->body = oom_realloc(NULL, v->size + 1);
    protobuf_c_message_pack(m, v->body);
    v->h.version = CHAN_VERSION;
    v->h.flags = CHAN_ANSWER | flags;
    v->h.length = (uint32_t)v->size;
}

static void pack_error(struct envelope *v, const struct err *e, uint32_t retry_after_ms)
{
    Wire__Error m = WIRE__ERROR__INIT;

    m.has_code = m.has_protocol = 1;
    m.code = e->code;
    m.protocol = CHAN_VERSION;
    m.text = (char *)e->text;
    m.has_retry_after_ms = e->code == ERR_RETRY;
    m.retry_after_ms = retry_after_ms ? retry_after_ms : 1000;
    pack(v, &m.base, CHAN_ERROR);
}

/* Hand an answer over; it leaves with rpc_flush. */
static void answer(struct rpc *r, const struct hub *h, struct envelope *v)
{
    v->tied = store_dirty(h->store);
    if (r->nout == r->out_cap) {
        r->out_cap = r->out_cap ? 2 * r->out_cap : 64;
        r->out = oom_realloc(r->out, r->out_cap * sizeof *r->out);
    }
    r->out[r->nout++] = v;
}

/* An asker that is gone, or does not read, loses its answer; nobody waits. */
static void send_answer(struct envelope *v)
{
    uint8_t header[CHAN_HEADER];

    chan_header_put(&v->h, header);
    if (zmq_msg_send(&v->route, v->socket, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return;
    zmq_send(v->socket, header, sizeof header, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(v->socket, v->body, v->size, ZMQ_DONTWAIT);
}

void rpc_flush(struct rpc *r, const struct err *lost)
{
    for (size_t i = 0; i < r->nout; i++) {
        if (lost && r->out[i]->tied)
            pack_error(r->out[i], lost, 0);
        send_answer(r->out[i]);
        envelope_destroy(r->out[i]);
    }
    r->nout = 0;
}

bool rpc_sees(const struct rpc_call *call, uint32_t uid)
{
    return access_sees(call->hub->opt.conf->access, call->who, uid);
}

const char *rpc_user(const struct rpc_call *call, uint32_t uid)
{
    return access_user(call->access, uid);
}

bool rpc_uid(const struct rpc_call *call, const char *user, uint32_t *uid)
{
    return access_uid(call->access, user, uid);
}

/* --- handling ------------------------------------------------------------- */

static rpc_handler_f *find_handler(uint16_t type)
{
    const struct {
        const struct rpc_row *rows;
        size_t n;
    } tables[] = {
        {rpc_submit_rows, rpc_submit_nrows}, {rpc_job_rows, rpc_job_nrows},
        {rpc_change_rows, rpc_change_nrows}, {rpc_rank_rows, rpc_rank_nrows},
        {rpc_log_rows, rpc_log_nrows},
    };

    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (size_t i = 0; i < tables[t].n; i++)
            if (tables[t].rows[i].type == type)
                return tables[t].rows[i].handler;
    return NULL;
}

/* The value of a request's optional field; false when it has none, or it is absent. */
static const void *find_field(const ProtobufCMessage *m, const char *name)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(m->descriptor, name);
    const char *base = (const char *)m;

    if (!f || f->label != PROTOBUF_C_LABEL_OPTIONAL ||
        !*(const protobuf_c_boolean *)(base + f->quantifier_offset))
        return NULL;
    return base + f->offset;
}

/* Milliseconds a request allows to wait, 0 when it is no long poll. */
static uint32_t wait_ms(const ProtobufCMessage *m)
{
    const uint32_t *ms = find_field(m, "wait_ms");

    if (!ms)
        return 0;
    return *ms < CHAN_MAX_WAIT_MS ? *ms : CHAN_MAX_WAIT_MS;
}

static bool same_route(const struct envelope *a, const struct envelope *b)
{
    zmq_msg_t *x = (zmq_msg_t *)&a->route, *y = (zmq_msg_t *)&b->route;

    return a->socket == b->socket && zmq_msg_size(x) == zmq_msg_size(y) &&
           memcmp(zmq_msg_data(x), zmq_msg_data(y), zmq_msg_size(x)) == 0;
}

static bool is_among(struct envelope *const *list, size_t n, const struct envelope *v)
{
    for (size_t i = 0; i < n; i++)
        if (list[i]->h.id == v->h.id && list[i]->h.type == v->h.type &&
            same_route(list[i], v))
            return true;
    return false;
}

static bool may_wait(const struct rpc *r, const struct envelope *v)
{
    size_t n = 0;

    for (size_t i = 0; i < r->nwaiting; i++)
        n += same_route(r->waiting[i], v);
    return r->nwaiting < MAX_WAITING && n < MAX_OF_ONE;
}

/* Put a long poll aside; false when there are too many. */
static bool set_aside(struct rpc *r, struct hub *h, struct envelope *v, int how)
{
    if (!may_wait(r, v))
        return false;
    v->change = h->change;
    v->again = how == RPC_WAIT_FILE    ? h->now + FILE_POLL_MS * 1000000LL
               : how == RPC_WAIT_CHILD ? h->now + CHILD_POLL_MS * 1000000LL
                                       : 0;
    if (how == RPC_WAIT_CHILD)
        v->until = v->again;
    hub_wake(h, v->again && v->again < v->until ? v->again : v->until);
    r->waiting[r->nwaiting++] = v;
    return true;
}

/* Ask the handler and put the envelope where it belongs. */
static void handle(struct rpc *r, struct hub *h, struct envelope *v)
{
    struct rpc_call call = {
        .hub = h,
        .arena = arena_create(),
        .request = v->request,
        .who = &v->who,
        .access = r->access,
        .uid = v->who.uid,
        .pid = v->who.pid,
        .late = h->now >= v->until || h->leaving,
    };
    struct err e = {0};
    int rc = v->handler(&call, &e);

    if (rc > 0 && !set_aside(r, h, v, rc))
        rc = err_set(&e, ERR_RETRY, "nnd: too many clients are waiting for news");
    if (rc == 0) {
        pack(v, call.reply, 0);
        if (v->size > CHAN_MAX_MESSAGE)
            rc = err_set(&e, ERR_FAILED, "%s: the answer is too big: %zu bytes",
                         chan_op(v->h.type)->name, v->size);
    }
    if (rc < 0)
        pack_error(v, &e, call.retry_after_ms);
    if (rc <= 0)
        answer(r, h, v);
    arena_destroy(call.arena);
}

/* --- receiving ------------------------------------------------------------ */

/* Receive one message: routing id, header, body.  1: nothing is there; 0: frames
 * are set (and *n says how many came). */
static int receive(void *socket, zmq_msg_t frames[3], int *n)
{
    bool more = true;

    for (int i = 0; i < 3; i++)
        zmq_msg_init(&frames[i]);
    for (*n = 0; more; ++*n) {
        zmq_msg_t *m = &frames[*n < 2 ? *n : 2]; /* a fourth replaces the third */

        if (zmq_msg_recv(m, socket, ZMQ_DONTWAIT) < 0)
            break;
        more = zmq_msg_more(m);
    }
    return *n == 0;
}

/* A request about one job is answered to those who see it; to others there is none
 * such. */
static int check_job(const struct hub *h, const struct envelope *v, struct err *e)
{
    const struct hub_options *o = &h->opt;
    const uint64_t *field = find_field(v->request, "id");
    uint64_t id = field ? *field : 0;
    uint32_t uid;
    int rc;

    if (v->who.role >= ROLE_OPERATOR || id == 0)
        return 0;
    rc = hub_owner(h, id, &uid, e);
    if (rc < 0)
        return rc;
    if (!access_sees(o->conf->access, &v->who, uid))
        return err_set(e, ERR_NOTFOUND, "job %llu: no such job",
                       (unsigned long long)id);
    if (v->h.type == WIRE__TYPE__CHANGE && !access_owns(&v->who, uid))
        return err_set(e, ERR_DENIED, "job %llu: belongs to somebody else",
                       (unsigned long long)id);
    return 0;
}

/* Unpack, and check that it may be asked, by this one, now. */
static int check(struct rpc *r, const struct hub *h, struct envelope *v,
                 zmq_msg_t *body, uint32_t *later_ms, struct err *e)
{
    const struct chan_op *op = chan_op(v->h.type);
    int rc;

    if (v->h.version != CHAN_VERSION)
        return err_set(e, ERR_PROTOCOL,
                       "nnd speaks protocol version %d, the request %d", CHAN_VERSION,
                       v->h.version);
    rc = access_check(r->access, h->opt.conf->access, &v->who, v->h.type, h->now,
                      later_ms, e);
    if (rc < 0)
        return rc;
    v->handler = op ? find_handler(v->h.type) : NULL;
    if (!v->handler)
        return err_set(e, ERR_PROTOCOL, "request type %u: not known to this nnd",
                       v->h.type);
    if (v->h.length != zmq_msg_size(body))
        return err_set(e, ERR_PROTOCOL, "%s: request is %zu bytes, its header says %u",
                       op->name, zmq_msg_size(body), v->h.length);
    rc = chan_unpack(op->request, zmq_msg_data(body), zmq_msg_size(body), &v->request,
                     e);
    return rc < 0 ? rc : check_job(h, v, e);
}

/* A message that cannot be answered sensibly is dropped. */
static void drop(struct rpc *r, const struct err *e)
{
    r->dropped++;
    if ((r->dropped & (r->dropped - 1)) == 0) /* 1, 2, 4, 8, ...: never a flood */
        log_warn("dropped: count=%llu error=\"%s\"", (unsigned long long)r->dropped,
                 e->text);
}

static int identify(struct rpc *r, struct envelope *v, zmq_msg_t *frame, struct err *e)
{
    return v->socket == r->socket
               ? access_local(r->access, zmq_msg_gets(frame, "Peer-Address"), &v->who,
                              e)
               : access_remote(r->access, zmq_msg_gets(frame, "User-Id"), &v->who, e);
}

static void take(struct rpc *r, struct hub *h, void *socket, zmq_msg_t frames[3], int n)
{
    struct envelope *v = oom_calloc(1, sizeof *v);
    uint32_t later_ms = 0;
    struct err e;
    int rc;

    v->socket = socket;

    zmq_msg_init(&v->route);
    rc = n == 3 ? chan_header_get(zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1]),
                                  &v->h, &e)
                : err_set(&e, ERR_PROTOCOL, "message: must be 2 frames, got %d", n - 1);
    if (rc == 0 && v->h.flags != 0)
        rc = err_set(&e, ERR_PROTOCOL, "message: flags must be 0, got %d", v->h.flags);
    if (rc == 0)
        rc = identify(r, v, &frames[1], &e);
    zmq_msg_move(&v->route, &frames[0]);
    /* a question that was sent again while it waits, or its answer does: keep the one
     */
    if (rc < 0 || is_among(r->waiting, r->nwaiting, v) ||
        is_among(r->out, r->nout, v)) {
        if (rc < 0)
            drop(r, &e);
        envelope_destroy(v);
        return;
    }
    rc = check(r, h, v, &frames[2], &later_ms, &e);
    if (rc < 0) {
        pack_error(v, &e, later_ms);
        answer(r, h, v);
        return;
    }
    v->until = h->now + wait_ms(v->request) * 1000000LL;
    handle(r, h, v);
}

/* Whose key was taken back meanwhile hears of that, and no news. */
static void handle_again(struct rpc *r, struct hub *h, struct envelope *v)
{
    struct err e;
    int rc = access_check_again(r->access, &v->who, v->h.type, &e);

    if (rc == 0)
        rc = check_job(h, v, &e);
    if (rc == 0) {
        handle(r, h, v);
        return;
    }
    pack_error(v, &e, 0);
    answer(r, h, v);
}

/* Ask again those long polls for which there may be news. */
static void look_again(struct rpc *r, struct hub *h)
{
    size_t n = r->nwaiting;
    struct envelope **old = r->waiting;

    if (n == 0)
        return;
    r->waiting = oom_calloc(MAX_WAITING, sizeof *r->waiting);
    r->nwaiting = 0;
    for (size_t i = 0; i < n; i++) {
        struct envelope *v = old[i];
        int64_t next = v->again && v->again < v->until ? v->again : v->until;

        if (v->change != h->change || h->now >= next || h->leaving) {
            handle_again(r, h, v);
            continue;
        }
        hub_wake(h, next);
        r->waiting[r->nwaiting++] = v;
    }
    free(old);
}

static void receive_all(struct rpc *r, struct hub *h, void *socket)
{
    for (int i = 0; i < BATCH; i++) {
        zmq_msg_t frames[3];
        int n;
        bool none = receive(socket, frames, &n);

        if (!none) {
            h->busy_at = h->now;
            take(r, h, socket, frames, n);
        }
        for (int k = 0; k < 3; k++)
            zmq_msg_close(&frames[k]);
        if (none)
            break;
        if (i == BATCH - 1)
            hub_wake(h, h->now);
    }
}

void rpc_receive(struct rpc *r, struct hub *h)
{
    receive_all(r, h, r->socket);
    if (r->rekey_at && h->now >= r->rekey_at)
        change_key(r, h);
    if (r->rekey_at)
        hub_wake(h, r->rekey_at);
    if (r->zap)
        access_answer(r->access, r->zap);
    if (r->remote)
        receive_all(r, h, r->remote);
    look_again(r, h);
}
