/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chan.h - messages of wire.proto over ZeroMQ: framing for both sides, and the
 * asking side (nnctl and ranks).  The answering side is daemon/rpc.c.
 *
 * What comes in is never trusted: sizes are checked before unpacking, memory
 * for unpacking is capped, strings are checked for UTF-8.
 */
#ifndef PROTO_CHAN_H
#define PROTO_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"

enum {
    CHAN_VERSION = 1,
    CHAN_HEADER = 16,             /* bytes of the first frame             */
    CHAN_MAX_MESSAGE = 1 << 20,   /* bytes of the second frame            */
    CHAN_MAX_UNPACKED = 16 << 20, /* bytes of memory one message may take */
    CHAN_MAX_WAIT_MS = 60000,     /* longest wait_ms of a long poll       */
};

enum chan_flag { CHAN_ANSWER = 1, CHAN_ERROR = 2 };

struct chan_header {
    uint8_t version, flags;
    uint16_t type; /* Wire__Type */
    uint32_t length;
    uint32_t id;
};

/* One row of the protocol: a type, and what is said for it. */
struct chan_op {
    uint16_t type;
    const char *name; /* "submit" */
    const ProtobufCMessageDescriptor *request, *reply;
};

/* The row of a type, or NULL when there is none. */
const struct chan_op *chan_op(unsigned type);

/* Write *h into, read it from, the 16 bytes of a first frame.  Reading refuses
 * (ERR_PROTOCOL) wrong sizes, magic and lengths; it lets every version pass,
 * since only the caller knows what to do about another one. */
void chan_header_put(const struct chan_header *h, uint8_t out[CHAN_HEADER]);
int chan_header_get(const void *data, size_t size, struct chan_header *out,
                    struct err *e);

/* Unpack one message of our own or a foreign hand.  ERR_PROTOCOL on anything
 * that is malformed, too big, or not UTF-8 where text is due.  Free the message
 * with chan_free. */
int chan_unpack(const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                ProtobufCMessage **out, struct err *e);
void chan_free(ProtobufCMessage *m); /* NULL is legal */

/* --- asking --------------------------------------------------------------- */

struct chan;
struct key;

/* Connect to "ipc:///path/of/a/socket".  With `now`, ERR_UNREACHABLE when nobody
 * listens there, found out at once; without it (ranks, whose daemon may be away
 * for a while) only chan_call notices.  A chan belongs to one thread. */
int chan_open(const char *uri, bool now, struct chan **out, struct err *e);
void chan_close(struct chan *c); /* at once; NULL is legal */

/* Connect to "tcp://HOST:PORT" with CURVE, as the holder of `own`, to who holds the
 * secret of `server` (Z85).  Returns when both have shown that: ERR_DENIED when nnd
 * does not let the key in; ERR_NOTFOUND when who is there is not the one with that
 * secret; ERR_UNREACHABLE when nobody answers within timeout_ms. */
int chan_open_curve(const char *uri, const struct key *own, const char *server,
                    int timeout_ms, struct chan **out, struct err *e);

/* Ask and wait for the answer: op by type, request of the matching message type.
 * Sends again while nothing is heard (see wire.proto), after 1, 2, 4 and then every 8
 * seconds.  *reply is of the op's reply type; free it with chan_free.
 * Errors: what nnd answered (its code and text), ERR_UNREACHABLE when timeout_ms
 * have passed without an answer, ERR_PROTOCOL when another version answers,
 * ERR_SPEC when the request is bigger than a message may be.
 * A long poll needs timeout_ms well above its wait_ms. */
int chan_call(struct chan *c, unsigned type, const ProtobufCMessage *request,
              int timeout_ms, ProtobufCMessage **reply, struct err *e);

/* After chan_call returned ERR_RETRY: milliseconds nnd asked to wait; 0 unknown. */
unsigned chan_retry_after_ms(const struct chan *c);

/* 32 hexadecimal digits of randomness and a NUL: a key for Submit. */
void chan_key(char out[33]);

/* --- where nnd lives ------------------------------------------------------ */

/* The folder of a user's daemon: `xdg_state_home`/nnd, else `home`/.local/state/nnd
 * (values of the environment variables, NULL or empty when unset). */
int chan_default_dir(const char *xdg_state_home, const char *home, char *out,
                     size_t size, struct err *e);

/* "ipc://DIR/sock"; refuses a path longer than a socket's can be. */
int chan_default_uri(const char *dir, char *out, size_t size, struct err *e);

#endif
