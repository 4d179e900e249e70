/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.c - questions to nnd-worker about kernels, and what it answered.
 */
#include "daemon/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/oom.h"
#include "base/sha256.h"
#include "base/str.h"
#include "daemon/child.h"

#define SECOND 1000000000LL

enum {
    ROOM = 32,      /* answers that are kept                         */
    KEEP_S = 10,    /* an answer counts: plugins come and go         */
    WAIT_S = 2,     /* and as long as it is asked for so often: by an array that waits
                       for the answers about its other jobs                        */
    PATIENCE_S = 30 /* then the question is given up                 */
};

struct question {
    char about[SHA256_HEX]; /* "": free                               */
    pid_t child;            /* 0: answered                            */
    int out;                /* what it printed, a file without a name */
    int64_t at;             /* asked, or answered; monotonic ns       */
    int64_t used;           /* asked for last                         */
    char text[600];         /* why not; "" for met                    */
};

struct rules {
    struct question v[ROOM];
};

struct rules *rules_create(void)
{
    return oom_calloc(1, sizeof(struct rules));
}

size_t rules_children(const struct rules *r, pid_t out[RULES_CHILDREN])
{
    size_t n = 0;

    for (size_t i = 0; i < ROOM && n < RULES_CHILDREN; i++)
        if (r->v[i].child)
            out[n++] = r->v[i].child;
    return n;
}

/* sweep.c may have taken its end: then it is no child any more. */
static bool has_ended(const struct question *q)
{
    return waitpid(q->child, NULL, WNOHANG) != 0;
}

static void end_child(struct question *q)
{
    if (!has_ended(q)) {
        kill(q->child, SIGKILL);
        waitpid(q->child, NULL, 0);
    }
    close(q->out);
    q->child = 0;
}

void rules_destroy(struct rules *r)
{
    for (size_t i = 0; r && i < ROOM; i++)
        if (r->v[i].child)
            end_child(&r->v[i]);
    free(r);
}

/* --- what is asked ------------------------------------------------------------- */

/* A rule, or a device, which may not be there or have lost its driver. */
static bool names_any(const Nnd__Job *job)
{
    return job->kernels->n_rule > 0 || strcmp(job->kernels->device, "cpu") != 0;
}

static bool runs_here(const struct hub *h, const Nnd__Job *job)
{
    if (job->launcher == NND__LAUNCHER__ANY)
        return h->opt.conf->launcher == NND__CONFIG__LAUNCHER__LOCAL;
    return job->launcher == NND__LAUNCHER__LOCAL;
}

/* What shapes and kernels depend on: jobs of a sweep over other things are one. */
static void hash_of(const Nnd__Job *job, char out[SHA256_HEX])
{
    Nnd__Job j = *job;
    Nnd__Train t = *job->train;
    Nnd__Data d = NND__DATA__INIT;
    uint8_t *bytes;
    size_t n;

    d.has_format = d.has_sampling = d.has_share_vocab = 1;
    d.format = job->data->format;
    d.sampling = job->data->sampling;
    d.share_vocab = job->data->share_vocab;
    t.has_lr = t.has_steps = 0;
    j.train = &t;
    j.name = NULL;
    j.has_seed = 0;
    j.data = &d;
    j.checkpoint = NULL;
    j.retry = NULL;
    j.queue = NULL;
    n = nnd__job__get_packed_size(&j);
    bytes = oom_realloc(NULL, n + 1);
    nnd__job__pack(&j, bytes);
    sha256_bytes(bytes, n, out);
    free(bytes);
}

/* --- asking -------------------------------------------------------------------- */

/* Only async-signal-safe calls between fork and exec: libzmq has threads. */
static void become_worker(char **argv, int job, int out)
{
    child_reset();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(out, STDOUT_FILENO) < 0 || dup2(job, STDIN_FILENO) < 0)
        _exit(126);
    execv(argv[0], argv);
    _exit(127);
}

static int memory_file(const char *name, const void *data, size_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd >= 0 && size && pwrite(fd, data, size, 0) != (ssize_t)size) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int ask(struct hub *h, struct question *q, const void *data, size_t size)
{
    char quarantine[4200];
    char *argv[] = {(char *)h->opt.worker, "kernels",      "--verdict", "--job",
                    "/proc/self/fd/0",     "--quarantine", quarantine,  NULL};
    int job = memory_file("job", data, size), out = memory_file("verdict", NULL, 0);
    pid_t child = -1;

    snprintf(quarantine, sizeof quarantine, "%.4000s/quarantine", h->opt.dir);
    if (job >= 0 && out >= 0)
        child = fork();
    if (child == 0)
        become_worker(argv, job, out);
    if (job >= 0)
        close(job);
    if (child < 0) {
        log_warn("kernels are not looked at: error=\"%s\"", strerror(errno));
        if (out >= 0)
            close(out);
        return -1;
    }
    q->child = child;
    q->out = out;
    q->at = h->now;
    return 0;
}

/* --- what was answered --------------------------------------------------------- */

/* Whether nobody could tell, which is said in the log, or it is met, text is "". */
static void read_answer(struct question *q)
{
    static const char unmet[] = "unmet: ";
    char line[sizeof q->text];
    ssize_t n = pread(q->out, line, sizeof line - 1, 0);

    line[n > 0 ? n : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (str_starts(line, unmet) && str_is_utf8(line, strlen(line)))
        snprintf(q->text, sizeof q->text, "%s", line + strlen(unmet));
    else if (strcmp(line, "met") != 0)
        log_warn("kernels are not looked at: nnd-worker says \"%.100s\"", line);
}

static void look(struct hub *h, struct question *q)
{
    if (q->child && has_ended(q))
        read_answer(q);
    else if (q->child && h->now > q->at + PATIENCE_S * SECOND)
        log_warn("kernels are not looked at: nnd-worker takes too long");
    else
        return;
    end_child(q);
    q->at = h->now;
}

/* The question about this, or an empty place for it; NULL when too many are asked. */
static struct question *find(struct hub *h, const char about[SHA256_HEX])
{
    struct question *place = NULL;
    int asked = 0;

    for (size_t i = 0; i < ROOM; i++) {
        struct question *q = &h->rules->v[i];

        look(h, q);
        if (!q->child && h->now > q->at + KEEP_S * SECOND &&
            h->now > q->used + WAIT_S * SECOND)
            *q = (struct question){0};
        if (strcmp(q->about, about) == 0)
            return q;
        asked += q->child != 0;
        if (!q->child && (!place || q->at < place->at))
            place = q;
    }
    return asked < RULES_CHILDREN ? place : NULL;
}

int rules_check(struct hub *h, const Nnd__Job *job, const void *data, size_t size,
                struct err *e)
{
    char about[SHA256_HEX];
    struct question *q;

    if (!names_any(job) || !runs_here(h, job))
        return 0;
    hash_of(job, about);
    q = find(h, about);
    if (!q)
        return err_set(e, ERR_RETRY, "the kernels of other jobs are being looked at");
    if (strcmp(q->about, about) != 0) {
        *q = (struct question){0};
        if (ask(h, q, data, size) < 0)
            return 0;
        strcpy(q->about, about);
    }
    q->used = h->now;
    if (q->child)
        return 1;
    return *q->text ? err_set(e, ERR_SPEC, "%s", q->text) : 0;
}
