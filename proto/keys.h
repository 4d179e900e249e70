/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - who is who beyond this machine: CurveZMQ keys (RFC 26) in files.
 *
 * A key file holds one key pair, readable by its owner alone:
 *
 *     name alice@laptop
 *     created 2026-11-20T09:30:00.000Z
 *     public <40 characters, Z85>
 *     secret <40 characters, Z85>
 *
 * nnd's allow list has a line per key that may come in:
 *
 *     <public> user=alice uid=1000 role=operator until=2027-01-01 comment=laptop
 *
 * A client's list of servers has a line per address, with the public keys that nnd
 * may have there; two while its key is being replaced:
 *
 *     tcp://10.0.0.1:5599 <public> <public>
 *
 * Empty lines and lines that begin with "# " are comments everywhere.  (A key may
 * contain "#", but no space.)  What these mean is for those who call: nnd
 * (daemon/access.h), nnctl key, and chan.h.
 */
#ifndef PROTO_KEYS_H
#define PROTO_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

enum { KEYS_Z85 = 41 /* bytes of a key as text, with its NUL */ };

struct key {
    char name[80], created[32];
    char public[KEYS_Z85], secret[KEYS_Z85];
};

/* Roles, each including those before it. */
enum role {
    ROLE_NONE,
    ROLE_OBSERVER, /* looks                                */
    ROLE_USER,     /* has jobs                             */
    ROLE_OPERATOR, /* changes everybody's                  */
    ROLE_ADMIN,    /* ends nnd, reads its configuration    */
    ROLE_COUNT
};

struct allowed {
    char public[KEYS_Z85];
    char user[33];
    uint32_t uid; /* the owner of this user's jobs; one per user */
    enum role role;
    int64_t until_us; /* wall clock; INT64_MAX: for ever         */
    const char *comment;
    int line;
};

struct allow_list {
    struct arena *arena; /* owns all of it */
    struct allowed *items;
    size_t n;
};

const char *role_name(enum role r);
enum role role_of(const char *name); /* ROLE_NONE when there is none such */

/* True for 40 characters of Z85 (RFC 32). */
bool keys_is_z85(const char *text);

/* A new pair, named, of now.  What no word has, a blank or half a character, is "_" in
 * its name. */
int key_make(const char *name, struct key *out, struct err *e);

/* Write a key file with mode 0600; an existing one is refused. */
int key_write(const char *path, const struct key *k, struct err *e);

/* Read a key file; ERR_DENIED when others could read it or it is another's,
 * ERR_SPEC with FILE:LINE when it does not hold. */
int key_read(const char *path, struct key *out, struct err *e);

/* Read an allow list; a missing one is empty.  Checked like a key file, except that
 * others may read it.  Free with allow_list_free. */
int allow_list_read(const char *path, struct allow_list *out, struct err *e);
int allow_list_parse(const char *file, const char *text, size_t len,
                     struct allow_list *out, struct err *e);
void allow_list_free(struct allow_list *l);

/* Replace the entries of the file by these, durably; its comments stay, each before the
 * entry that it stood before.  An entry's line is where it was read, or 0. */
int allow_list_write(const char *path, const struct allow_list *l, struct err *e);

/* The entry of a key, or NULL. */
const struct allowed *allow_list_find(const struct allow_list *l, const char *public);

/* Two dates: "2027-01-01" (midnight UTC, the day it ends) to and from time. */
bool keys_date_parse(const char *text, int64_t *us);
void keys_date_print(int64_t us, char out[16]);

/* The public keys that a list of servers has for `uri`, at most max of them; 0 when
 * it has none.  A missing file has none. */
int servers_find(const char *path, const char *uri, char (*out)[KEYS_Z85], size_t max,
                 size_t *n, struct err *e);

#endif
