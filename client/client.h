/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - what every verb of nnctl is given: the common options, the way to
 * nnd, and the ways to say something.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "client/cli.h"
#include "proto/chan.h"
#include "proto/wire.pb-c.h"

enum { CLIENT_JSON_VERSION = 1 }; /* "v" of every JSON object printed */

/* What the common options say; the same for every verb. */
struct common {
    const char *uri, *color;
    bool json, help;
};

extern const struct opt common_options[];

struct client {
    struct common opt;
    const char *verb;    /* for messages; NULL before it is known  */
    struct arena *arena; /* lives as long as the client            */
    struct chan *chan;   /* NULL until client_connect              */
    char uri[256];       /* where nnd is asked, once that is known */
    bool colored;        /* stdout takes colours                   */
};

/* Connect to nnd unless connected: ERR_UNREACHABLE when nobody is there. */
int client_connect(struct client *c, struct err *e);

/* Fill c->uri from --uri, NND_URI or the user's folder. */
int client_find_uri(struct client *c, struct err *e);

/* Connect when needed, ask, and return the answer, of the type that wire.proto
 * names for the request.  A refusal "later" is obeyed for a few seconds.
 * wait_ms: that of the request if it is a long poll, else 0.
 * Free *reply with chan_free. */
int client_call(struct client *c, unsigned type, const void *request, int wait_ms,
                void *reply, struct err *e);

/* A job's number from the command line. */
int client_id(const char *text, uint64_t *id, struct err *e);

/* Print "nnctl: VERB: ..." on stderr; for what is not an error. */
void client_say(const struct client *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Say that the job is left alone, and how to come back: "watch", "logs -f". */
void client_leave(const struct client *c, const char *back, uint64_t id);

/* Print an object as one line on stdout, "v" first, and drop the reference. */
void client_print_json(json_t *object);

/* Report an error as asked for and return nnctl's exit code for it. */
int client_report(const struct client *c, const struct err *e);

/* {"code": "spec", "message": "..."}; the caller owns the reference. */
json_t *client_error_json(const struct err *e);

#endif
