/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyring.h - where this user's keys are, and the way to an nnd elsewhere.
 *
 * FOLDER is $XDG_CONFIG_HOME/nnd or ~/.config/nnd: FOLDER/id.key is the key that is
 * used (NND_KEY names another file), FOLDER/servers the public keys of nnd's.
 */
#ifndef CLIENT_KEYRING_H
#define CLIENT_KEYRING_H

#include "client/client.h"
#include "proto/keys.h"

enum { KEYRING_PATH = 4096, KEYRING_SERVERS = 4 };

/* FOLDER/NAME. */
int keyring_path(const char *name, char out[KEYRING_PATH], struct err *e);

/* The file of the key that is used. */
int keyring_own(char out[KEYRING_PATH], struct err *e);

/* Connect c->chan to c->uri, tcp://..., with each key that nnd may have there. */
int keyring_connect(struct client *c, struct err *e);

/* Remember that nnd at `uri` may have this public key too. */
int keyring_trust(const char *uri, const char *public, struct err *e);

#endif
