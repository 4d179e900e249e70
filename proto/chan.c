/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chan.c - the asking side: one DEALER socket, one question at a time.
 *
 * ZeroMQ tells nobody when the other side is gone, so every question has a
 * deadline and is sent again while nothing is heard; wire.proto says why that
 * does no harm.  What an answer means is left to the caller.
 */
#include "proto/chan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <zmq.h>

#include "base/clock.h"
#include "base/str.h"
#include "proto/keys.h"
#include "proto/wire.pb-c.h"

enum { RESEND_MS = 1000, RESEND_MAX_MS = 8000 };

struct chan {
    void *ctx, *socket;
    char uri[200];
    uint32_t id; /* of the latest question */
    unsigned retry_after_ms;
};

/* --- where nnd lives ------------------------------------------------------ */

int chan_default_dir(const char *xdg_state_home, const char *home, char *out,
                     size_t size, struct err *e)
{
    char path[4096];
    int n;

    if (xdg_state_home && *xdg_state_home == '/')
        n = snprintf(path, sizeof path, "%s/nnd", xdg_state_home);
    else if (home && *home == '/')
        n = snprintf(path, sizeof path, "%s/.local/state/nnd", home);
    else
        return err_set(e, ERR_USAGE,
                       "nnd's folder: neither XDG_STATE_HOME nor HOME is "
                       "an absolute path; name the folder with --dir");
    if (n < 0 || (size_t)n >= sizeof path || (size_t)n >= size)
        return err_set(e, ERR_USAGE, "nnd's folder: the path is too long");
    memcpy(out, path, (size_t)n + 1);
    return 0;
}

int chan_default_uri(const char *dir, char *out, size_t size, struct err *e)
{
    size_t room = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    size_t len = strlen(dir) + strlen("/sock");

    if (len > room || len + strlen("ipc://") >= size)
        return err_set(e, ERR_USAGE,
                       "%s/sock: the path of a socket must be at most %zu bytes, got "
                       "%zu; choose another with --uri",
                       dir, room, len);
    snprintf(out, size, "ipc://%s/sock", dir);
    return 0;
}

/* --- opening -------------------------------------------------------------- */

/* Ask the kernel whether somebody listens: ZeroMQ would try in silence. */
static int probe(const char *uri, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    const char *path = uri + strlen("ipc://");
    int fd, rc, sys;

    memcpy(a.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", uri);
    rc = connect(fd, (struct sockaddr *)&a, sizeof a);
    sys = errno;
    close(fd);
    if (rc == 0 || sys == EAGAIN)
        return 0;
    if (sys == EACCES || sys == EPERM)
        return err_set(e, ERR_DENIED, "nnd at %s: only its owner may talk to it", uri);
    return err_sys(e, ERR_UNREACHABLE, sys, "nnd does not answer at %s", uri);
}

static int check_uri(const char *uri, struct err *e)
{
    size_t room = sizeof((struct sockaddr_un *)0)->sun_path - 1;

    if (!str_starts(uri, "ipc:///"))
        return err_set(e, ERR_USAGE,
                       "address of nnd: must be ipc:///PATH/OF/A/SOCKET or "
                       "tcp://HOST:PORT, got \"%s\"",
                       uri);
    if (strlen(uri) - strlen("ipc://") > room)
        return err_set(
            e, ERR_USAGE,
            "address of nnd: the path must be at most %zu bytes, got %zu: %s", room,
            strlen(uri) - strlen("ipc://"), uri);
    return 0;
}

static int connect_socket(struct chan *c, struct err *e)
{
    const struct {
        int option, value;
    } ints[] = {
        {ZMQ_LINGER, 0},   {ZMQ_IMMEDIATE, 1},      {ZMQ_SNDHWM, 100},
        {ZMQ_RCVHWM, 100}, {ZMQ_RECONNECT_IVL, 20}, {ZMQ_RECONNECT_IVL_MAX, 500},
    };
    int64_t max = CHAN_MAX_MESSAGE;

    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        zmq_setsockopt(c->socket, ints[i].option, &ints[i].value, sizeof(int));
    zmq_setsockopt(c->socket, ZMQ_MAXMSGSIZE, &max, sizeof max);
    if (zmq_connect(c->socket, c->uri) != 0)
        return err_set(e, ERR_USAGE, "%s: %s", c->uri, zmq_strerror(zmq_errno()));
    return 0;
}

/* A chan with a socket that is not connected yet. */
static int create(const char *uri, struct chan **out, struct err *e)
{
    struct chan *c = calloc(1, sizeof *c);

    if (!c)
        return err_set(e, ERR_NOMEM, "%s: out of memory", uri);
    snprintf(c->uri, sizeof c->uri, "%s", uri);
    c->ctx = zmq_ctx_new();
    c->socket = c->ctx ? zmq_socket(c->ctx, ZMQ_DEALER) : NULL;
    if (!c->socket) {
        chan_close(c);
        return err_set(e, ERR_FAILED, "%s: %s", uri, zmq_strerror(zmq_errno()));
    }
    *out = c;
    return 0;
}

int chan_open(const char *uri, bool now, struct chan **out, struct err *e)
{
    struct chan *c = NULL;
    int rc = check_uri(uri, e);

    if (rc == 0 && now)
        rc = probe(uri, e);
    if (rc == 0)
        rc = create(uri, &c, e);
    if (rc == 0)
        rc = connect_socket(c, e);
    if (rc < 0) {
        chan_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

/* --- opening, beyond this machine ------------------------------------------- */

static const char monitor_uri[] = "inproc://handshake";

/* The next event of the connection (ZMQ_EVENT_...), or 0 when none comes in time. */
static int next_event(void *monitor, int64_t until, uint32_t *value)
{
    zmq_pollitem_t item = {.socket = monitor, .events = ZMQ_POLLIN};
    int64_t left = (until - clock_mono_ns()) / 1000000;
    uint16_t event = 0;
    zmq_msg_t m;

    if (left < 0 || zmq_poll(&item, 1, (long)left) <= 0)
        return 0;
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, monitor, 0) == 6) { /* event, value; the address follows */
        memcpy(&event, zmq_msg_data(&m), sizeof event);
        memcpy(value, (char *)zmq_msg_data(&m) + sizeof event, sizeof *value);
    }
    while (zmq_msg_more(&m))
        zmq_msg_recv(&m, monitor, 0);
    zmq_msg_close(&m);
    return event;
}

static int await_handshake(struct chan *c, void *monitor, const struct key *own,
                           int timeout_ms, struct err *e)
{
    int64_t until = clock_mono_ns() + timeout_ms * INT64_C(1000000);
    uint32_t value;

    for (;;) {
        switch (next_event(monitor, until, &value)) {
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            return 0;
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
            return err_set(e, ERR_DENIED, "nnd at %s does not let the key %s in",
                           c->uri, own->public);
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return err_set(e, ERR_NOTFOUND,
                           "who answers at %s does not hold the key that is known of "
                           "nnd there",
                           c->uri);
        case 0:
            return err_set(e, ERR_UNREACHABLE, "nnd does not answer at %s within %d ms",
                           c->uri, timeout_ms);
        default:
            break;
        }
    }
}

static int connect_curve(struct chan *c, const struct key *own, const char *server,
                         int timeout_ms, struct err *e)
{
    void *monitor = NULL;
    int rc;

    if (zmq_setsockopt(c->socket, ZMQ_CURVE_SERVERKEY, server, KEYS_Z85) != 0 ||
        zmq_setsockopt(c->socket, ZMQ_CURVE_PUBLICKEY, own->public, KEYS_Z85) != 0 ||
        zmq_setsockopt(c->socket, ZMQ_CURVE_SECRETKEY, own->secret, KEYS_Z85) != 0)
        return err_set(e, ERR_FAILED, "%s: libzmq does not do CURVE: %s", c->uri,
                       zmq_strerror(zmq_errno()));
    if (zmq_socket_monitor(c->socket, monitor_uri, ZMQ_EVENT_ALL) == 0)
        monitor = zmq_socket(c->ctx, ZMQ_PAIR);
    if (!monitor || zmq_connect(monitor, monitor_uri) != 0)
        rc = err_set(e, ERR_FAILED, "%s: %s", c->uri, zmq_strerror(zmq_errno()));
    else
        rc = connect_socket(c, e);
    if (rc == 0)
        rc = await_handshake(c, monitor, own, timeout_ms, e);
    zmq_socket_monitor(c->socket, NULL, 0);
    if (monitor)
        zmq_close(monitor);
    return rc;
}

int chan_open_curve(const char *uri, const struct key *own, const char *server,
                    int timeout_ms, struct chan **out, struct err *e)
{
    struct chan *c = NULL;
    int rc = 0;

    if (!str_starts(uri, "tcp://") || strlen(uri) >= sizeof c->uri)
        rc = err_set(e, ERR_USAGE,
                     "address of nnd: must be tcp://HOST:PORT, got \"%s\"", uri);
    if (rc == 0)
        rc = create(uri, &c, e);
    if (rc == 0)
        rc = connect_curve(c, own, server, timeout_ms, e);
    if (rc < 0) {
        chan_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void chan_close(struct chan *c)
{
    if (!c)
        return;
    if (c->socket)
        zmq_close(c->socket);
    if (c->ctx)
        zmq_ctx_term(c->ctx);
    free(c);
}

/* --- asking --------------------------------------------------------------- */

/* A packed request on its way. */
struct question {
    const struct chan_op *op;
    uint8_t header[CHAN_HEADER];
    uint8_t *body;
    size_t size;
};

static int question_pack(struct chan *c, unsigned type, const ProtobufCMessage *request,
                         struct question *q, struct err *e)
{
    struct chan_header h = {.version = CHAN_VERSION, .type = (uint16_t)type};

    q->op = chan_op(type);
    if (!q->op || q->op->request != request->descriptor)
        return err_set(e, ERR_FAILED, "message type %u does not carry %s", type,
                       request->descriptor->short_name);
    q->size = protobuf_c_message_get_packed_size(request);
    if (q->size > CHAN_MAX_MESSAGE)
        return err_set(e, ERR_SPEC, "%s: must be at most %d bytes, got %zu",
                       q->op->name, CHAN_MAX_MESSAGE, q->size);
    q->body = malloc(q->size + 1);
    if (!q->body)
        return err_set(e, ERR_NOMEM, "%s: out of memory", q->op->name);
    protobuf_c_message_pack(request, q->body);
    h.length = (uint32_t)q->size;
    h.id = ++c->id;
    chan_header_put(&h, q->header);
    return 0;
}

/* True when it left; false when there is no connection now. */
static bool question_send(struct chan *c, const struct question *q)
{
    if (zmq_send(c->socket, q->header, CHAN_HEADER, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return false;
    return zmq_send(c->socket, q->body, q->size, ZMQ_DONTWAIT) >= 0;
}

/* Receive both frames of a message; false when it had another number of them. */
static bool receive(struct chan *c, zmq_msg_t frames[2])
{
    int n = 0;

    zmq_msg_init(&frames[0]);
    zmq_msg_init(&frames[1]);
    for (bool more = true; more; n++) {
        zmq_msg_t *m = &frames[n == 0 ? 0 : 1]; /* a third would replace the second */

        if (zmq_msg_recv(m, c->socket, ZMQ_DONTWAIT) < 0)
            break;
        more = zmq_msg_more(m);
    }
    if (n == 2)
        return true;
    zmq_msg_close(&frames[0]);
    zmq_msg_close(&frames[1]);
    return false;
}

/* The daemon's refusal becomes the caller's error. */
static int refuse(struct chan *c, const void *data, size_t size, struct err *e)
{
    ProtobufCMessage *m;
    const Wire__Error *w;
    int rc = chan_unpack(&wire__error__descriptor, data, size, &m, e);

    if (rc < 0)
        return rc;
    w = (const Wire__Error *)m;
    c->retry_after_ms = w->has_retry_after_ms ? w->retry_after_ms : 0;
    rc = w->has_code && w->code < 0 && w->code >= ERR_SPEC ? w->code : ERR_FAILED;
    rc = err_set(e, (enum err_code)rc, "%s", w->text ? w->text : "refused by nnd");
    chan_free(m);
    return rc;
}

/* 1: not the answer to q; 0: the answer, in *reply; negative: refused. */
static int understand(struct chan *c, const struct question *q, zmq_msg_t frames[2],
                      ProtobufCMessage **reply, struct err *e)
{
    const void *data = zmq_msg_data(&frames[1]);
    size_t size = zmq_msg_size(&frames[1]);
    struct chan_header h;
    int rc = chan_header_get(zmq_msg_data(&frames[0]), zmq_msg_size(&frames[0]), &h, e);

    if (rc < 0)
        return rc;
    if (h.id != c->id || !(h.flags & CHAN_ANSWER))
        return 1;
    if (h.version != CHAN_VERSION)
        return err_set(e, ERR_PROTOCOL,
                       "nnd at %s speaks protocol version %d, this program version %d",
                       c->uri, h.version, CHAN_VERSION);
    if (h.length != size)
        return err_set(e, ERR_PROTOCOL, "%s: answer is %zu bytes, its header says %u",
                       q->op->name, size, h.length);
    if (h.flags & CHAN_ERROR)
        return refuse(c, data, size, e);
    return chan_unpack(q->op->reply, data, size, reply, e);
}

/* Wait until `until` (CLOCK_MONOTONIC, ns) for the answer; 1: not yet. */
static int await(struct chan *c, const struct question *q, int64_t until,
                 ProtobufCMessage **reply, struct err *e)
{
    for (;;) {
        zmq_pollitem_t item = {.socket = c->socket, .events = ZMQ_POLLIN};
        int64_t left = (until - clock_mono_ns() + 999999) / 1000000;
        zmq_msg_t frames[2];
        int rc = zmq_poll(&item, 1, left > 0 ? (long)left : 0);

        if (rc < 0)
            return err_set(e, ERR_FAILED, "%s: interrupted while waiting for nnd",
                           q->op->name);
        if (rc == 0)
            return 1;
        if (!receive(c, frames))
            continue;
        rc = understand(c, q, frames, reply, e);
        zmq_msg_close(&frames[0]);
        zmq_msg_close(&frames[1]);
        if (rc <= 0)
            return rc;
    }
}

/* Until there is a connection to send on, or `until` has come. */
static int await_connection(struct chan *c, int64_t until, struct err *e)
{
    zmq_pollitem_t item = {.socket = c->socket, .events = ZMQ_POLLOUT};
    int64_t left = (until - clock_mono_ns() + 999999) / 1000000;

    if (zmq_poll(&item, 1, left > 0 ? (long)left : 0) < 0)
        return err_set(e, ERR_FAILED, "%s: interrupted while looking for nnd", c->uri);
    return 0;
}

static int ask(struct chan *c, const struct question *q, int timeout_ms,
               ProtobufCMessage **reply, struct err *e)
{
    int64_t deadline = clock_mono_ns() + (int64_t)timeout_ms * 1000000;
    int64_t resend_ms = RESEND_MS;

    for (;;) {
        int64_t now = clock_mono_ns(), until;
        bool sent = question_send(c, q);
        int rc = 0;

        until = now + (sent ? resend_ms : 10) * 1000000;
        if (!sent)
            rc = await_connection(c, until < deadline ? until : deadline, e);
        if (rc < 0)
            return rc;
        rc = await(c, q, !sent ? 0 : until < deadline ? until : deadline, reply, e);
        if (rc <= 0)
            return rc;
        if (clock_mono_ns() >= deadline)
            return err_set(e, ERR_UNREACHABLE,
                           "nnd at %s did not answer \"%s\" within %d ms", c->uri,
                           q->op->name, timeout_ms);
        if (sent && resend_ms < RESEND_MAX_MS)
            resend_ms *= 2;
    }
}

int chan_call(struct chan *c, unsigned type, const ProtobufCMessage *request,
              int timeout_ms, ProtobufCMessage **reply, struct err *e)
{
    struct question q = {0};
    int rc = question_pack(c, type, request, &q, e);

    c->retry_after_ms = 0;
    if (rc == 0)
        rc = ask(c, &q, timeout_ms, reply, e);
    free(q.body);
    return rc;
}

unsigned chan_retry_after_ms(const struct chan *c)
{
    return c->retry_after_ms;
}

void chan_key(char out[33])
{
    uint8_t bytes[16];

    while (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        ;
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}
