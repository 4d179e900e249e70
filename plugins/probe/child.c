/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - fork, limit, watch, and say what happened.
 */
#include "child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

enum {
    STAGE_SIZE = 400,
    RESULT_MAX = 8 << 20,  /* bytes that a child may answer with */
    WORDS_MAX = 160,       /* bytes quoted of its standard error */
    KEEP_BYTES = 32 << 20, /* the most that mallopt() takes */
    TICK_MS = 20
};

/* Shared with the child. */
static char *stage;

/* What the child sends first. */
struct answer {
    int64_t code, size; /* of the error, or 0; of the result, or of its text */
};

struct child {
    pid_t pid;
    int result, words; /* read end of the result; its standard error */
};

void child_stage(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(stage, STAGE_SIZE, fmt, ap);
    va_end(ap);
}

static void limit(int what, rlim_t value)
{
    struct rlimit r = {value, value};
    setrlimit(what, &r);
}

/* Softly: child_device lifts it again. */
static void limit_data(rlim_t value)
{
    struct rlimit r;
    getrlimit(RLIMIT_DATA, &r);
    r.rlim_cur = value < r.rlim_max ? value : r.rlim_max;
    setrlimit(RLIMIT_DATA, &r);
}

void child_device(void)
{
    limit_data(RLIM_INFINITY);
}

/* Of processor time what the clock leaves to all threads that run at once: it is the
 * clock that ends a child, which says so. */
static void limit_all(double seconds)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, (rlim_t)((double)(cores > 4 ? cores : 4) * seconds) + 2);
    limit(RLIMIT_FSIZE, 16 << 20);
    limit(RLIMIT_NOFILE, 256);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    limit_data((rlim_t)8 << 30);
#endif
}

static bool write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static _Noreturn void child_main(child_f *fn, void *arg, double seconds, int result,
                                 int words)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    limit_all(seconds);
    /* blocks come and go by the thousand: pages stay, and need not be cleared again */
    mallopt(M_MMAP_THRESHOLD, KEEP_BYTES);
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(words, 2);
    struct buf out = {0};
    struct err e = {0};
    bool failed = fn(arg, &out, &e) != 0;
    child_stage("ending");
    const char *text = failed ? e.text : out.data;
    struct answer a = {.size = (int64_t)(failed ? strlen(e.text) : out.len)};
    if (failed)
        a.code = e.code < 0 ? e.code : ERR_FAILED;
    bool sent =
        write_all(result, &a, sizeof a) && write_all(result, text, (size_t)a.size);
    _exit(sent ? 0 : 1);
}

static int start(child_f *fn, void *arg, double seconds, struct child *c, struct err *e)
{
    int pipefd[2];
    c->words = memfd_create("stderr", MFD_CLOEXEC);
    if (c->words < 0 || pipe2(pipefd, O_CLOEXEC) != 0)
        return err_sys(e, ERR_FAILED, errno, "cannot start a child");
    c->pid = fork();
    if (c->pid == 0) {
        close(pipefd[0]);
        child_main(fn, arg, seconds, pipefd[1], c->words);
    }
    int rc = c->pid < 0 ? err_sys(e, ERR_FAILED, errno, "cannot start a child") : 0;
    close(pipefd[1]);
    if (rc < 0) {
        close(pipefd[0]);
        close(c->words);
        return rc;
    }
    fcntl(pipefd[0], F_SETFL, O_NONBLOCK);
    c->result = pipefd[0];
    return 0;
}

/* Read what is there; true when all has come. */
static bool receive(int fd, struct buf *got)
{
    char block[65536];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) > 0 && got->len < RESULT_MAX)
        buf_add(got, block, (size_t)n);
    struct answer a;
    if (got->len < sizeof a)
        return false;
    memcpy(&a, got->data, sizeof a);
    return a.size >= 0 && got->len - sizeof a >= (size_t)a.size;
}

/* Wait for the answer, the end, or the clock.  True: the answer came. */
static bool watch(struct child *c, double seconds, struct buf *got, int *status,
                  bool *timed_out)
{
    int64_t end = clock_mono_ns() + (int64_t)(seconds * 1e9);
    bool ended = false, complete = false;
    *timed_out = false;
    while (!ended && !complete && !*timed_out) {
        struct pollfd p = {.fd = c->result, .events = POLLIN};
        poll(&p, 1, TICK_MS);
        ended = waitpid(c->pid, status, WNOHANG) == c->pid;
        complete = receive(c->result, got);
        *timed_out = clock_mono_ns() > end;
    }
    kill(-c->pid, SIGKILL); /* the whole session, whatever it started */
    if (!ended) {
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, status, 0) < 0 && errno == EINTR)
            ;
    }
    return complete;
}

/* The last line that the child wrote to standard error, if any. */
static void last_words(int fd, char *out)
{
    char tail[WORDS_MAX + 1] = "";
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > WORDS_MAX ? size - WORDS_MAX : 0;
    ssize_t n = pread(fd, tail, WORDS_MAX, from);
    while (n > 0 && (tail[n - 1] == '\n' || tail[n - 1] == '\0'))
        n--;
    tail[n > 0 ? n : 0] = '\0';
    const char *line = strrchr(tail, '\n');
    strcpy(out, line ? line + 1 : tail);
}

static int explain(const struct child *c, int status, bool timed_out, double seconds,
                   struct err *e)
{
    char words[WORDS_MAX + 1];
    last_words(c->words, words);
    stage[STAGE_SIZE - 1] = '\0';
    const char *sep = words[0] ? "; it said: " : "";
    if (timed_out)
        return err_set(e, ERR_FAILED, "no end after %g s while %s%s%s", seconds, stage,
                       sep, words);
    if (WIFSIGNALED(status))
        return err_set(e, ERR_FAILED, "killed by SIG%s while %s%s%s",
                       sigabbrev_np(WTERMSIG(status)), stage, sep, words);
    return err_set(e, ERR_FAILED,
                   "the process ended itself with status %d while %s%s%s",
                   WEXITSTATUS(status), stage, sep, words);
}

static int take_answer(const struct buf *got, struct buf *out, struct err *e)
{
    struct answer a;
    memcpy(&a, got->data, sizeof a);
    const char *text = got->data + sizeof a;
    if (a.code)
        return err_set(e, (enum err_code)a.code, "%.*s", (int)a.size, text);
    buf_add(out, text, (size_t)a.size);
    return 0;
}

/* As oom_abort() ends a process. */
static bool lacked_memory(const struct child *c, int status)
{
    char words[WORDS_MAX + 1];
    last_words(c->words, words);
    return WIFEXITED(status) && WEXITSTATUS(status) == -ERR_NOMEM &&
           str_starts(words, "out of memory: ");
}

int child_run(child_f *fn, void *arg, double seconds, struct buf *out, struct err *e)
{
    if (!stage)
        stage = mmap(NULL, STAGE_SIZE, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (stage == MAP_FAILED) {
        err_sys(e, ERR_FAILED, errno, "cannot start a child");
        return CHILD_UNABLE;
    }
    strcpy(stage, "starting");
    struct child c = {0};
    if (start(fn, arg, seconds, &c, e) < 0)
        return CHILD_UNABLE;
    struct buf got = {0};
    int status = 0, rc = 0;
    bool timed_out;
    if (watch(&c, seconds, &got, &status, &timed_out))
        rc = take_answer(&got, out, e) < 0 ? CHILD_SAID : 0;
    else if (explain(&c, status, timed_out, seconds, e) < 0)
        rc = timed_out                   ? CHILD_LATE
             : lacked_memory(&c, status) ? CHILD_UNABLE
                                         : CHILD_DIED;
    buf_free(&got);
    close(c.result);
    close(c.words);
    return rc;
}
