/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h - who may come in, and what they may ask.
 *
 * On this machine the kernel says who asks, and only nnd's own user is let in.
 * From elsewhere only a key of the allow list comes in (CURVE, asked of us by ZAP,
 * RFC 27); what it may do is the role of its line.  The list is read again whenever
 * it changes, so that a revoked key loses its open connections as well.  And the key
 * of an attempt's ranks, as long as the attempt runs: it tells of that one, and asks
 * nothing.
 */
#ifndef DAEMON_ACCESS_H
#define DAEMON_ACCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "proto/conf.pb-c.h"
#include "proto/keys.h"

struct access;

/* Who asks. */
struct asker {
    uint32_t uid; /* the owner of this asker's jobs          */
    pid_t pid;    /* 0 from elsewhere                        */
    enum role role;
    bool local;
    uint64_t epoch;        /* of the attempt whose rank asks from elsewhere, else 0 */
    char user[33];         /* "" for nnd's own                       */
    char public[KEYS_Z85]; /* the key from elsewhere, else ""    */
};

/* The epoch of the running attempt whose ranks have this key, or 0. */
typedef uint64_t access_ranks_f(const void *arg, const char *public);

/* Read the server's key (DIR/keys/server.key, made when missing) and the allow list
 * (DIR/keys/allow).  A wrong list lets nobody in until it is right. */
int access_open(const char *dir, uint32_t owner, struct access **out, struct err *e);
void access_close(struct access *a); /* NULL is legal */

/* Whom to ask about keys that the list does not have. */
void access_ranks(struct access *a, access_ranks_f *fn, const void *arg);

/* The socket by which libzmq asks about keys; to be there before any other. */
int access_guard(void *ctx, void **zap, struct err *e);

/* Make `socket` a CURVE server with the server's key: for what is bound next. */
int access_secure(const struct access *a, void *socket, struct err *e);

/* Read the server's key again, from its file: 1 when it is another one, which counts
 * from now on, and *old is what it was; 0 when it is the same. */
int access_reread_key(struct access *a, struct key *old, struct err *e);

/* Go back to that one. */
void access_restore_key(struct access *a, const struct key *old);

/* Answer what libzmq asks about keys. */
void access_answer(struct access *a, void *zap);

/* Who sent a message: by "Peer-Address" on this machine, by "User-Id", which
 * access_answer set to the key, from elsewhere.  ERR_DENIED for all others. */
int access_local(const struct access *a, const char *peer, struct asker *out,
                 struct err *e);
int access_remote(struct access *a, const char *public, struct asker *out,
                  struct err *e);

/* May they ask this (Wire__Type)?  ERR_DENIED by role, ERR_RETRY with *later_ms when
 * they asked too much.  now: monotonic ns. */
int access_check(struct access *a, const Nnd__Access *conf, const struct asker *who,
                 unsigned type, int64_t now, uint32_t *later_ms, struct err *e);

/* The same of a question that has waited: *who becomes who its key is now.  Nothing is
 * counted. */
int access_check_again(struct access *a, struct asker *who, unsigned type,
                       struct err *e);

/* Whether they see, or may change, what belongs to `uid`. */
bool access_sees(const Nnd__Access *conf, const struct asker *who, uint32_t uid);
bool access_owns(const struct asker *who, uint32_t uid);

/* The name by which the allow list has the owner of jobs `uid`, NULL: it has none; and
 * the owner's number by the name, 1 when it is there.  NULL is legal: nobody is. */
const char *access_user(const struct access *a, uint32_t uid);
bool access_uid(const struct access *a, const char *user, uint32_t *uid);

/* The server's public key. */
const char *access_public(const struct access *a);

#endif
