/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line.c - the files by which ranks find nnd, written and read.
 */
#include "proto/line.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"

enum { HOME_MAX = 1024, LOOK_MS = 50 };

static int path_of(const char *dir, const char *name, char out[PATH_MAX], struct err *e)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

    return n < PATH_MAX ? 0 : err_set(e, ERR_USAGE, "%s: the path is too long", dir);
}

static void boot_id(char out[40])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (!f || !fgets(out, 40, f))
        *out = '\0';
    if (f)
        fclose(f);
    out[strcspn(out, "\n")] = '\0';
}

/* What the file says: its three lines, in their order, and nothing else. */
struct home {
    unsigned long long epoch;
    char boot[40], host[256];
};

static bool parse_home(const char *text, struct home *h)
{
    int end = -1;

    return sscanf(text, "epoch %llu boot %39s host %255s %n", &h->epoch, h->boot,
                  h->host, &end) == 3 &&
           end >= 0 && text[end] == '\0';
}

/* --- nnd's end ------------------------------------------------------------- */

int line_say_home(const char *dir, uint64_t epoch, const char *boot, const char *host,
                  struct err *e)
{
    char path[PATH_MAX], text[HOME_MAX];
    int n = snprintf(text, sizeof text, "epoch %llu\nboot %.39s\nhost %.255s\n",
                     (unsigned long long)epoch, boot, host);
    int rc = path_of(dir, "home", path, e);

    return rc < 0 ? rc : fs_replace(path, text, (size_t)n, e);
}

bool line_is_another(const char *dir, uint64_t epoch)
{
    char path[PATH_MAX];
    struct home home = {0};
    struct buf text = {0};
    struct err e;
    bool other = path_of(dir, "home", path, &e) == 0 &&
                 fs_read(path, HOME_MAX, &text, &e) == 0 && text.data &&
                 parse_home(text.data, &home) && home.epoch != epoch;

    buf_free(&text);
    return other;
}

int line_give_key(const char *dir, char public[KEYS_Z85], struct err *e)
{
    char path[PATH_MAX];
    struct key k = {0};
    int rc = path_of(dir, "rank.key", path, e);

    if (rc == 0 && fs_exists(path)) {
        rc = key_read(path, &k, e);
    } else if (rc == 0) {
        rc = key_make("ranks", &k, e);
        if (rc == 0)
            rc = key_write(path, &k, e);
    }
    if (rc == 0)
        strcpy(public, k.public);
    explicit_bzero(&k, sizeof k);
    return rc;
}

int line_say_server(const char *dir, const char *uri, const char *server, struct err *e)
{
    char path[PATH_MAX];
    struct buf text = {0};
    int rc = path_of(dir, "server", path, e);

    buf_printf(&text, "%s %s\n", uri, server);
    if (rc == 0)
        rc = fs_replace(path, text.data, text.len, e);
    buf_free(&text);
    return rc;
}

void line_end(const char *dir)
{
    char path[PATH_MAX];
    struct err e;

    if (path_of(dir, "rank.key", path, &e) == 0)
        unlink(path);
}

/* --- a rank's end ------------------------------------------------------------ */

static int await_file(const char *path, int wait_ms, struct buf *out, struct err *e)
{
    const struct timespec look = {.tv_nsec = LOOK_MS * 1000000};
    int64_t until = clock_mono_ns() + wait_ms * INT64_C(1000000);

    while (!fs_exists(path) && clock_mono_ns() < until)
        nanosleep(&look, NULL);
    return fs_read(path, HOME_MAX, out, e);
}

static int judge(const struct home *h, const char *dir, const char *uri, uint64_t epoch,
                 const char *here, struct err *e)
{
    char boot[40];

    boot_id(boot);
    if (h->epoch != epoch)
        return err_set(e, ERR_SPEC,
                       "%s on host %s is not the folder that nnd has on host %s (it is "
                       "of epoch %llu, wanted %llu): ranks and nnd must share it",
                       dir, here, h->host, h->epoch, (unsigned long long)epoch);
    if (str_starts(uri, "ipc://") && *boot && strcmp(boot, h->boot) != 0)
        return err_set(e, ERR_SPEC,
                       "nnd on host %s cannot be reached from host %s at %s: give nnd "
                       "an address with access.listen",
                       h->host, here, uri);
    return 0;
}

int line_check_home(const char *dir, const char *uri, uint64_t epoch, int wait_ms,
                    struct err *e)
{
    char path[PATH_MAX], here[256] = "?";
    struct home home = {0};
    struct buf text = {0};
    int rc = path_of(dir, "home", path, e);

    if (rc < 0)
        return rc;
    gethostname(here, sizeof here - 1);
    rc = await_file(path, wait_ms, &text, e);
    if (rc < 0)
        rc = err_set(e, ERR_SPEC,
                     "%s cannot be read on host %s: ranks and nnd must share that "
                     "folder",
                     path, here);
    else if (!text.data || !parse_home(text.data, &home))
        rc = err_set(e, ERR_SPEC,
                     "%s on host %s: wanted the lines epoch, boot and host, found "
                     "something else",
                     path, here);
    else
        rc = judge(&home, dir, uri, epoch, here, e);
    buf_free(&text);
    return rc;
}

/* "tcp://10.0.0.1:5599 KEY" */
static int read_server(const char *path, char uri[256], char public[KEYS_Z85],
                       struct err *e)
{
    struct buf text = {0};
    int end = -1, rc = fs_read(path, HOME_MAX, &text, e);

    if (rc == 0 &&
        (!text.data || sscanf(text.data, "%255s %40s %n", uri, public, &end) != 2 ||
         end < 0 || text.data[end] != '\0' || !keys_is_z85(public)))
        rc = err_set(e, ERR_SPEC,
                     "%s: wanted an address and a key, found something "
                     "else",
                     path);
    buf_free(&text);
    return rc;
}

static int open_far(const char *dir, int timeout_ms, struct chan **out, struct err *e)
{
    char path[PATH_MAX], uri[256], public[KEYS_Z85];
    struct key own = {0};
    int rc = path_of(dir, "rank.key", path, e);

    if (rc == 0)
        rc = key_read(path, &own, e);
    if (rc == 0)
        rc = path_of(dir, "server", path, e);
    if (rc == 0)
        rc = read_server(path, uri, public, e);
    if (rc == 0)
        rc = chan_open_curve(uri, &own, public, timeout_ms, out, e);
    explicit_bzero(&own, sizeof own);
    return rc;
}

int line_open(const char *dir, const char *uri, int timeout_ms, struct chan **out,
              struct err *e)
{
    return str_starts(uri, "tcp://") ? open_far(dir, timeout_ms, out, e)
                                     : chan_open(uri, false, out, e);
}
