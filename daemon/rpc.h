/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc.h - the answering side of wire.proto.
 *
 * A handler answers one type of request.  It reads and posts, and never waits:
 * the answer leaves after the commit, and a long poll without news is asked
 * again later.  Handlers stand in rpc_submit.c, rpc_job.c, rpc_change.c, rpc_rank.c and
 * rpc_log.c, one table each, and all look the same.
 */
#ifndef DAEMON_RPC_H
#define DAEMON_RPC_H

#include <protobuf-c/protobuf-c.h>
#include <zmq.h>

#include "base/arena.h"
#include "base/err.h"
#include "daemon/access.h"
#include "daemon/hub.h"

struct rpc;

/* One request on its way through a handler. */
struct rpc_call {
    struct hub *hub;
    struct arena *arena; /* for the answer, until it is packed      */
    const ProtobufCMessage *request;
    ProtobufCMessage *reply; /* set by the handler                      */
    const struct asker *who;
    const struct access *access; /* NULL: nobody comes from elsewhere */
    uid_t uid;                   /* who->uid: the owner of what is submitted */
    pid_t pid;
    bool late;               /* a long poll whose time is up: answer now */
    uint32_t retry_after_ms; /* with ERR_RETRY                          */
};

/* Returned by a handler instead of an answer: ask me again within wait_ms, after
 * a visible change or (RPC_WAIT_FILE) a file may have grown; or (RPC_WAIT_CHILD), in
 * whatever kind of request, a child may have ended. */
enum { RPC_WAIT = 1, RPC_WAIT_FILE = 2, RPC_WAIT_CHILD = 3 };

/* 0 with call->reply set; RPC_WAIT...; or an error that becomes the answer. */
typedef int rpc_handler_f(struct rpc_call *call, struct err *e);

struct rpc_row {
    uint16_t type; /* Wire__Type */
    rpc_handler_f *handler;
};

extern const struct rpc_row rpc_submit_rows[], rpc_job_rows[], rpc_change_rows[],
    rpc_rank_rows[], rpc_log_rows[];
extern const size_t rpc_submit_nrows, rpc_job_nrows, rpc_change_nrows, rpc_rank_nrows,
    rpc_log_nrows;

/* Jobs of an array; their numbers follow each other. */
enum { ARRAY_MAX = 1000 };

/* Listen where the hub's options say. */
int rpc_open(const struct hub *h, struct rpc **out, struct err *e);
void rpc_close(struct rpc *r);

/* What to poll for news: at most RPC_SOCKETS items; returns how many. */
enum { RPC_SOCKETS = 3 };
size_t rpc_poll(const struct rpc *r, zmq_pollitem_t items[RPC_SOCKETS]);

/* Take what came in (a bounded number of messages) and long polls that are due. */
void rpc_receive(struct rpc *r, struct hub *h);

/* Send the answers gathered since the last call; with `lost`, tell all who wrote, and
 * who came after them, that their request was refused because the disk refused. */
void rpc_flush(struct rpc *r, const struct err *lost);

/* The server's key is another one in its file: from a moment later, when whoever asked
 * for it has heard, it counts, and 1 is returned.  0: it is the same, or nobody from
 * elsewhere could come in. */
int rpc_rekey(struct rpc *r, struct hub *h, struct err *e);

/* The server's public key; NULL when nnd does not listen for other machines. */
const char *rpc_public(const struct rpc *r);

/* Long polls that wait. */
size_t rpc_waiting(const struct rpc *r);

/* Whether the asker may see what belongs to this user; the user's name by keys, or
 * NULL, and the number by the name. */
bool rpc_sees(const struct rpc_call *call, uint32_t uid);
const char *rpc_user(const struct rpc_call *call, uint32_t uid);
bool rpc_uid(const struct rpc_call *call, const char *user, uint32_t *uid);

/* Allocate an answer in the call's arena and make it the reply. */
#define RPC_REPLY(call, type, lower)                                                   \
    ((type *)rpc_reply((call), &wire__##lower##__descriptor))
void *rpc_reply(struct rpc_call *call, const ProtobufCMessageDescriptor *d);

/* Allocate a message in the arena. */
void *rpc_message(struct arena *a, const ProtobufCMessageDescriptor *d);

#endif
