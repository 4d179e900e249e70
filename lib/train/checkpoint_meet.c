/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_meet.c - markers in a folder, and waiting for them.
 */
#include "train/checkpoint_meet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"

#define MARKER_MAX (256u << 20) /* bytes */
#define DISMISS_S  5.0          /* how long a failed rank 0 waits for the others */

enum marker { MARKER_HERE, MARKER_DONE, MARKER_FAILED, MARKER_KINDS };

static const char *const marker_name[MARKER_KINDS] = {"here", "done", "failed"};

static int marker_path(const struct meet *m, enum marker kind, int rank, char *out,
                       size_t size, struct err *e)
{
    int n = snprintf(out, size, "%s/%s.%d.%d", m->folder, marker_name[kind], m->serial,
                     rank);

    return n < (int)size ? 0
                         : err_sys(e, ERR_FAILED, ENAMETOOLONG, "folder %s", m->folder);
}

static int marker_put(const struct meet *m, enum marker kind, const void *data,
                      size_t len, struct err *e)
{
    char path[PATH_MAX];
    int rc = marker_path(m, kind, m->rank, path, sizeof path, e);

    return rc < 0 ? rc : fs_replace(path, data, len, e);
}

static int marker_read(const struct meet *m, enum marker kind, int rank,
                       struct buf *out, struct err *e)
{
    char path[PATH_MAX];
    int rc = marker_path(m, kind, rank, path, sizeof path, e);

    return rc < 0 ? rc : fs_read(path, MARKER_MAX, out, e);
}

/* ---- looking ------------------------------------------------------------- */

/* What a look at the folder shows of one rank. */
struct sight {
    bool folder, has[MARKER_KINDS];
    struct timespec touched; /* its sign of life */
};

static struct sight look(const struct meet *m, int rank)
{
    struct sight s = {0};
    int dir = open(m->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    s.folder = dir >= 0 || errno != ENOENT;
    if (dir < 0)
        return s;
    for (enum marker k = 0; k < MARKER_KINDS; k++) {
        char name[64];
        struct stat st;

        snprintf(name, sizeof name, "%s.%d.%d", marker_name[k], m->serial, rank);
        s.has[k] = fstatat(dir, name, &st, 0) == 0;
        if (k == MARKER_HERE && s.has[k])
            s.touched = st.st_mtim;
    }
    close(dir);
    return s;
}

/* Waiting for a rank: time runs out when nothing changes. */
struct wait {
    struct sight last;
    int64_t since, pause; /* ns */
};

#define PAUSE_FIRST 1000000  /* ns */
#define PAUSE_MOST  50000000 /* ns */

static struct wait wait_begin(void)
{
    return (struct wait){.since = clock_mono_ns(), .pause = PAUSE_FIRST};
}

static bool sight_equal(const struct sight *a, const struct sight *b)
{
    return a->folder == b->folder && memcmp(a->has, b->has, sizeof a->has) == 0 &&
           a->touched.tv_sec == b->touched.tv_sec &&
           a->touched.tv_nsec == b->touched.tv_nsec;
}

/* Sleep after a look that showed `now`; false when patience is at its end. */
static bool wait_on(struct wait *w, const struct sight *now, double patience)
{
    struct timespec t;

    if (!sight_equal(now, &w->last)) {
        w->last = *now;
        w->since = clock_mono_ns();
    }
    if ((double)(clock_mono_ns() - w->since) > patience * 1e9)
        return false;
    t = (struct timespec){.tv_nsec = w->pause};
    nanosleep(&t, NULL);
    w->pause = 2 * w->pause < PAUSE_MOST ? 2 * w->pause : PAUSE_MOST;
    return true;
}

/* ---- telling ------------------------------------------------------------- */

int meet_here(const struct meet *m, struct err *e)
{
    return marker_put(m, MARKER_HERE, "", 0, e);
}

void meet_touch(const struct meet *m)
{
    char path[PATH_MAX];

    if (marker_path(m, MARKER_HERE, m->rank, path, sizeof path, NULL) == 0)
        utimensat(AT_FDCWD, path, NULL, 0);
}

void meet_worked(struct meet *m, uint64_t bytes)
{
    m->silent += bytes;
    if (m->silent < MEET_BYTES)
        return;
    meet_touch(m);
    m->silent = 0;
}

int meet_done(const struct meet *m, const void *data, size_t len, struct err *e)
{
    return marker_put(m, MARKER_DONE, data, len, e);
}

/* Where there is no room for the reason, the bare marker may still fit. */
void meet_failed(const struct meet *m, const char *why)
{
    char path[PATH_MAX];
    int fd;

    if (marker_put(m, MARKER_FAILED, why, strlen(why), NULL) == 0 ||
        marker_path(m, MARKER_FAILED, m->rank, path, sizeof path, NULL) < 0)
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

/* ---- waiting ------------------------------------------------------------- */

static int silent(const struct meet *m, int rank, const char *what, struct err *e)
{
    return err_set(e, ERR_FAILED,
                   "%s: wanted rank %d to %s, found no sign of it for %.0f s",
                   m->folder, rank, what, m->patience);
}

/* The error that rank's failed marker tells of; rank 0 speaks for all. */
static int failure(const struct meet *m, int rank, struct err *e)
{
    struct buf why = {0};
    int rc = marker_read(m, MARKER_FAILED, rank, &why, NULL);

    rc = err_set(e, ERR_FAILED, "%s",
                 rc == 0 && why.len ? why.data : "could not write, nor say why");
    buf_free(&why);
    return rank ? err_prefix(e, "rank %d", rank) : rc;
}

static int gone(const struct meet *m, struct err *e)
{
    return err_set(e, ERR_FAILED, "%s: rank 0 gave up and removed it", m->folder);
}

int meet_wait_ready(const struct meet *m, struct err *e)
{
    struct wait w = wait_begin();
    struct sight s;

    do {
        s = look(m, 0);
        if (s.has[MARKER_FAILED])
            return failure(m, 0, e);
        if (!s.folder)
            return gone(m, e);
        if (s.has[MARKER_HERE])
            return 0;
    } while (wait_on(&w, &s, m->patience));
    return silent(m, 0, "begin", e);
}

int meet_gather(const struct meet *m, int r, struct buf *data, struct err *e)
{
    struct wait w = wait_begin();
    struct sight s;

    do {
        s = look(m, r);
        if (s.has[MARKER_FAILED])
            return failure(m, r, e);
        if (s.has[MARKER_DONE])
            return marker_read(m, MARKER_DONE, r, data, e);
        meet_touch(m);
    } while (wait_on(&w, &s, m->patience));
    return silent(m, r, "finish its part", e);
}

void meet_dismiss(const struct meet *m)
{
    double patience = m->patience < DISMISS_S ? m->patience : DISMISS_S;
    int64_t end = clock_mono_ns() + (int64_t)(patience * 1e9);

    for (int r = 1; r < m->world; r++) {
        struct wait w = wait_begin();
        struct sight s;

        do
            s = look(m, r);
        while (!s.has[MARKER_FAILED] && clock_mono_ns() < end &&
               wait_on(&w, &s, patience));
    }
}

int meet_wait_end(const struct meet *m, struct err *e)
{
    struct wait w = wait_begin();
    struct sight s;

    do {
        s = look(m, 0);
        if (s.has[MARKER_FAILED])
            return failure(m, 0, e);
        if (!s.folder)
            return 0;
    } while (wait_on(&w, &s, m->patience));
    return silent(m, 0, "finish the checkpoint", e);
}

int meet_clear(const struct meet *m, struct err *e)
{
    for (int r = 0; r < m->world; r++)
        for (enum marker k = 0; k < MARKER_KINDS; k++) {
            char path[PATH_MAX];
            int rc = marker_path(m, k, r, path, sizeof path, e);

            if (rc < 0)
                return rc;
            if (unlink(path) < 0 && errno != ENOENT)
                return err_sys(e, err_code_of(errno), errno, "remove %s", path);
        }
    return 0;
}
