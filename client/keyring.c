/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyring.c - the user's own key and the keys of servers, from their files.
 */
#include "client/keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"

enum { HANDSHAKE_MS = 5000, SERVERS_MAX = 1 << 20 };

int keyring_path(const char *name, char out[KEYRING_PATH], struct err *e)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n;

    if (config && *config == '/')
        n = snprintf(out, KEYRING_PATH, "%s/nnd/%s", config, name);
    else if (home && *home == '/')
        n = snprintf(out, KEYRING_PATH, "%s/.config/nnd/%s", home, name);
    else
        return err_set(e, ERR_USAGE,
                       "keys: neither XDG_CONFIG_HOME nor HOME is an absolute path");
    if (n >= KEYRING_PATH)
        return err_set(e, ERR_USAGE, "keys: the path is too long");
    return 0;
}

int keyring_own(char out[KEYRING_PATH], struct err *e)
{
    const char *file = getenv("NND_KEY");

    if (!file || !*file)
        return keyring_path("id.key", out, e);
    if (strlen(file) >= KEYRING_PATH)
        return err_set(e, ERR_USAGE, "NND_KEY: the path is too long");
    strcpy(out, file);
    return 0;
}

/* The next of several keys is tried when the one before was not nnd's; the newest comes
 * first, since it is what stays. */
static int try_servers(struct client *c, const struct key *own,
                       char (*public)[KEYS_Z85], size_t n, struct err *e)
{
    int rc = err_set(e, ERR_DENIED,
                     "the key of nnd at %s is not known; see nnctl key trust", c->uri);

    for (size_t i = n; i-- > 0;) {
        rc = chan_open_curve(c->uri, own, public[i], HANDSHAKE_MS, &c -> chan, e);
        if (rc != ERR_NOTFOUND)
            return rc;
    }
    if (rc == ERR_NOTFOUND) /* who is there is nobody to talk to */
        rc = e->code = ERR_DENIED;
    return rc;
}

int keyring_connect(struct client *c, struct err *e)
{
    char file[KEYRING_PATH], servers[KEYRING_PATH];
    char public[KEYRING_SERVERS][KEYS_Z85];
    struct key own = {0};
    size_t n = 0;
    int rc = keyring_own(file, e);

    if (rc == 0 && !fs_exists(file))
        rc = err_set(e, ERR_DENIED, "%s: no key there; make one with nnctl key new",
                     file);
    if (rc == 0)
        rc = key_read(file, &own, e);
    if (rc == 0)
        rc = keyring_path("servers", servers, e);
    if (rc == 0)
        rc = servers_find(servers, c->uri, public, KEYRING_SERVERS, &n, e);
    if (rc == 0)
        rc = try_servers(c, &own, public, n, e);
    explicit_bzero(&own, sizeof own);
    return rc;
}

int keyring_trust(const char *uri, const char *public, struct err *e)
{
    char path[KEYRING_PATH], known[KEYRING_SERVERS][KEYS_Z85];
    struct buf text = {0};
    size_t n = 0;
    int rc = keyring_path("servers", path, e);

    if (rc == 0)
        rc = servers_find(path, uri, known, KEYRING_SERVERS, &n, e);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (strcmp(known[i], public) == 0)
            return 0;
    if (rc == 0 && n == KEYRING_SERVERS)
        rc = err_set(e, ERR_FAILED, "%s: has %d keys for %s already; take old ones out",
                     path, KEYRING_SERVERS, uri);
    if (rc == 0 && fs_exists(path))
        rc = fs_read(path, SERVERS_MAX, &text, e);
    if (rc == 0) {
        char dir[KEYRING_PATH];

        if (text.len > 0 && text.data[text.len - 1] != '\n')
            buf_puts(&text, "\n");
        buf_printf(&text, "%s %s\n", uri, public);
        rc = keyring_path("", dir, e);
        if (rc == 0)
            rc = fs_mkdirs(dir, e);
        if (rc == 0)
            rc = fs_replace(path, text.data, text.len, e);
    }
    buf_free(&text);
    return rc;
}
