/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome.c - from wait status, last words and marks on the wall to a class of
 * failure, one line for people, and the event that follows.
 */
#include "daemon/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "trust/crumb.h"
#include "trust/quarantine.h"

enum { CAUSE_LINES = 20, CAUSE_BYTES = 64 << 10, BACKOFF_MAX_S = 300 };

/* How it ended, before it is an event. */
struct ending {
    Wire__Failure failure;
    struct launch_exit exit;
    int bad_rank;
    char node[64];  /* that the launcher lost, or "" */
    char word[500]; /* what a rank that nnd did not hear printed at last, or "" */
    char text[1400];
};

/* --- the policy ----------------------------------------------------------- */

/* What the job's own code does wrong it will do wrong again; what happened to it
 * may not happen again. */
bool outcome_is_retried(Wire__Failure f)
{
    static const bool retried[] = {
        [WIRE__FAILURE__SIGNAL] = true,     [WIRE__FAILURE__NODE_LOST] = true,
        [WIRE__FAILURE__HANG] = true,       [WIRE__FAILURE__PREEMPT] = true,
        [WIRE__FAILURE__START_FAIL] = true, [WIRE__FAILURE__DAEMON_LOST] = true,
        [WIRE__FAILURE__KERNEL] = true,
    };

    return (unsigned)f < sizeof retried / sizeof *retried && retried[f];
}

double outcome_backoff(double delay, uint32_t n, uint32_t random)
{
    double d = delay;

    for (uint32_t i = 1; i < n && d < BACKOFF_MAX_S; i++)
        d *= 2;
    if (d > BACKOFF_MAX_S)
        d = BACKOFF_MAX_S;
    return d * (0.8 + 0.4 * ((double)random / UINT32_MAX));
}

/* The program's own doing, not somebody's kill. */
static bool is_crash(int s)
{
    return s == SIGSEGV || s == SIGBUS || s == SIGFPE || s == SIGILL || s == SIGABRT ||
           s == SIGSYS;
}

/* How the attempt before ended, if that was a failure that was tried again. */
static bool last_retry(void *arg, const struct event *ev)
{
    struct event *last = arg;

    if (ev->kind == EVENT_RETRY)
        *last = *ev;
    return true;
}

/* The same error at the same step as the time before: a third attempt is no use.  It
 * counts where the job's own doing is the cause, as in a crash or a hang, not where
 * somebody or something from outside may have been. */
static bool is_repeated(const struct hub *h, const struct job *j,
                        const struct ending *end, uint64_t step)
{
    struct event last = {.kind = EVENT_COUNT};
    bool own = end->failure == WIRE__FAILURE__HANG ||
               (end->failure == WIRE__FAILURE__SIGNAL && is_crash(end->exit.signal));
    struct err e;

    if (!own || step == 0 || j->retries == 0 ||
        store_events(h->store, j->id, 0, last_retry, &last, &e) < 0)
        return false;
    return last.kind == EVENT_RETRY && last.failure == end->failure &&
           last.step == step &&
           (end->failure == WIRE__FAILURE__HANG || last.signal == end->exit.signal);
}

/* --- the log -------------------------------------------------------------- */

/* The end of the attempt's log: whole lines. */
static void read_tail(const struct attempt *a, struct buf *out)
{
    char path[PATH_MAX];
    struct stat st;
    off_t from;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%.4000s/log", a->dir);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0) {
        from = st.st_size > CAUSE_BYTES ? st.st_size - CAUSE_BYTES : 0;
        buf_reserve(out, CAUSE_BYTES + 1);
        n = pread(fd, out->data, CAUSE_BYTES, from);
        out->len = n > 0 ? (size_t)n : 0;
        out->data[out->len] = '\0';
    }
    close(fd);
}

/* Call fn for each line. */
typedef void line_f(void *arg, const char *line, size_t len);
static void each_line(const struct buf *b, line_f *fn, void *arg)
{
    const char *p = b->data, *end = p + b->len;

    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((nl ? nl : end) - p);

        fn(arg, p, len);
        p += len + 1;
    }
}

/* What the launcher says: which rank failed first, which node is lost. */
struct blame {
    const struct launcher *launcher;
    int rank, code; /* code: of its exit, or 0 */
    char node[64];
};

static void find_blame(void *arg, const char *line, size_t len)
{
    struct blame *b = arg;
    const char *name;
    size_t n = 0;
    int rank, code;

    if (b->rank < 0 && b->launcher->blame(line, len, &rank, &code)) {
        b->rank = rank;
        b->code = code;
    }
    if (!*b->node && b->launcher->lost)
        n = b->launcher->lost(line, len, &name);
    if (n > 0 && n < sizeof b->node)
        memcpy(b->node, name, n);
}

/* The first line that a worker printed about why it leaves: "nnd-worker: rank N: ...".
 * It counts where nnd was not told, as when a rank cannot reach it. */
struct last_word {
    const struct launcher *launcher;
    int rank;
    char text[500];
};

static void find_word(void *arg, const char *line, size_t len)
{
    struct last_word *w = arg;
    char mark[64];
    int rank, n;
    bool err;
    size_t skip = w->launcher->line(line, len, &rank, &err);

    if (*w->text || rank < 0 || !err)
        return;
    n = snprintf(mark, sizeof mark, "nnd-worker: rank %d: ", rank);
    if (len - skip <= (size_t)n || memcmp(line + skip, mark, (size_t)n) != 0)
        return;
    skip += (size_t)n;
    w->rank = rank;
    for (size_t i = 0; skip + i < len && i < sizeof w->text - 1; i++)
        w->text[i] = (char)line[skip + i];
}

/* The last lines that one rank (or, with -1, the launcher) printed to stderr. */
struct last_lines {
    const struct launcher *launcher;
    int rank;
    const char *line[CAUSE_LINES];
    size_t len[CAUSE_LINES];
    size_t n;
};

/* mpirun frames what it says in lines of dashes. */
static bool is_rule(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] != '-')
            return false;
    return true;
}

static void keep_line(void *arg, const char *line, size_t len)
{
    struct last_lines *k = arg;
    int rank;
    bool err;
    size_t skip = k->launcher->line(line, len, &rank, &err);

    if (rank != k->rank || !err || len == skip || is_rule(line + skip, len - skip))
        return;
    k->line[k->n % CAUSE_LINES] = line + skip;
    k->len[k->n++ % CAUSE_LINES] = len - skip;
}

/* Text that the journal and clients can hold: other bytes become '?'. */
static void add_text(struct buf *out, const char *text, size_t len)
{
    bool utf8 = str_is_utf8(text, len);

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        char clean =
            c == '\t' || (c >= 0x20 && c != 0x7f && (c < 0x80 || utf8)) ? (char)c : '?';
        buf_add(out, &clean, 1);
    }
}

static void gather_cause(const struct buf *tail, const struct launcher *l, int rank,
                         bool said, struct buf *out)
{
    struct last_lines k = {.launcher = l, .rank = rank};
    size_t first;

    each_line(tail, keep_line, &k);
    if (k.n == 0 && rank >= 0 && !said) { /* then what the launcher has to say */
        k.rank = -1;
        each_line(tail, keep_line, &k);
    }
    first = k.n > CAUSE_LINES ? k.n - CAUSE_LINES : 0;
    for (size_t i = first; i < k.n; i++) {
        size_t len = k.len[i % CAUSE_LINES];

        if (i > first)
            buf_puts(out, "\n");
        add_text(out, k.line[i % CAUSE_LINES], len < 500 ? len : 500);
    }
}

/* --- the class ------------------------------------------------------------ */

static void say(struct ending *end, Wire__Failure f, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct ending *end, Wire__Failure f, const char *fmt, ...)
{
    va_list ap;

    end->failure = f;
    va_start(ap, fmt);
    vsnprintf(end->text, sizeof end->text, fmt, ap);
    va_end(ap);
}

/* Nobody saw the end: the shepherd was killed, or the machine restarted. */
static void classify_unseen(const struct attempt *a, struct ending *end)
{
    if (*a->start_error)
        say(end, WIRE__FAILURE__START_FAIL, "cannot start: %s", a->start_error);
    else if (a->swept_boot)
        say(end, WIRE__FAILURE__NODE_LOST, "the machine was restarted");
    else if (a->status.pid == 0)
        say(end, WIRE__FAILURE__DAEMON_LOST,
            "nnd ended before it could start the ranks");
    else
        say(end, WIRE__FAILURE__DAEMON_LOST,
            "nnd-shepherd was killed; how the attempt ended is not known");
}

/* "rank 1 (node b)": who failed first, as far as that is known. */
static void name_rank(const struct attempt *a, const struct ending *end, char *out,
                      size_t size)
{
    const struct rank *r = end->bad_rank < 0 ? NULL : &a->ranks[end->bad_rank];

    if (!r)
        snprintf(out, size, "a rank");
    else if (*r->host)
        snprintf(out, size, "rank %d (host %s)", end->bad_rank, r->host);
    else
        snprintf(out, size, "rank %d", end->bad_rank);
}

/* A rank died, and the launcher was ended before it had said how: by a signal, or with
 * the code of one that was told to end. */
static bool is_untold(const struct attempt *a, const struct ending *end)
{
    bool ended = end->exit.self ||
                 (!end->exit.signal && end->exit.code == EXIT_FAILURE && !*end->word);

    return ended && a->status.asked && a->lost_posted && end->bad_rank >= 0;
}

static void classify_signal(const struct attempt *a, const char *who,
                            struct ending *end)
{
    int sig = end->exit.signal;

    say(end, WIRE__FAILURE__SIGNAL, "%s was killed by signal %d (%s)",
        end->exit.self ? a->launcher->program : who, sig, strsignal(sig));
    if (sig == SIGKILL && !end->exit.self && a->status.oom)
        say(end, WIRE__FAILURE__OOM, "%s was killed by the kernel for want of memory",
            who);
    if (!a->was_up && a->nup == 0 &&
        !end->exit.self) /* mpirun's codes are ambiguous then */
        say(end, WIRE__FAILURE__START_FAIL,
            "%s ended with code %d before any rank was up", a->launcher->program,
            128 + sig);
}

/* The launcher's end tells by itself what happened. */
static void classify_launcher(struct ending *end)
{
    say(end, end->exit.failure, "%s%s%s", end->exit.text, *end->node ? ": node " : "",
        end->node);
}

/* All ranks did all they had to; mpirun was ended because a process that one of
 * them left behind held it up. */
static bool all_done(const struct attempt *a)
{
    for (uint32_t i = 0; i < a->job->ranks; i++)
        if (!a->ranks[i].ended || a->ranks[i].phase != WIRE__PHASE__DONE)
            return false;
    return a->status.asked && !a->said;
}

/* Who never was up did not get as far as the job's own code; of a rank that was it is
 * the end that counts, whether others were up by then or not. */
static bool is_no_start(const struct attempt *a, const struct ending *end)
{
    return !a->was_up &&
           (end->bad_rank < 0 ? a->nup == 0 : !a->ranks[end->bad_rank].up);
}

static void classify_seen(const struct attempt *a, struct ending *end)
{
    int code = end->exit.code;
    char who[128];

    name_rank(a, end, who, sizeof who);
    if (all_done(a))
        end->exit = (struct launch_exit){0};
    else if (a->status.exec_errno)
        say(end, WIRE__FAILURE__START_FAIL, "cannot run %s: %s", a->launcher->program,
            strerror(a->status.exec_errno));
    else if (a->said)
        say(end, a->said, "%s: %s", who, a->said_text);
    else if (a->job->failure == WIRE__FAILURE__HANG)
        say(end, WIRE__FAILURE__HANG, "%s", a->job->reason ? a->job->reason : "hang");
    else if (end->exit.failure)
        classify_launcher(end);
    else if (is_untold(a, end))
        say(end, WIRE__FAILURE__SIGNAL, "%s is gone; %s did not say how it died", who,
            a->launcher->program);
    else if (end->exit.signal)
        classify_signal(a, who, end);
    else if (code == -ERR_NOMEM)
        say(end, WIRE__FAILURE__OOM, "%s was refused memory (exit code %d)", who, code);
    else if (code == OUTCOME_REQUEUE_ME)
        say(end, WIRE__FAILURE__PREEMPT, "asked to be queued again (exit code %d)",
            code);
    else if (code && *end->word)
        say(end, a->was_up ? WIRE__FAILURE__APP_ERROR : WIRE__FAILURE__START_FAIL,
            "%s: %s", who, end->word);
    else if (code && is_no_start(a, end) && a->nup == 0)
        say(end, WIRE__FAILURE__START_FAIL,
            "%s ended with code %d before any rank was up", a->launcher->program, code);
    else if (code && is_no_start(a, end))
        say(end, WIRE__FAILURE__START_FAIL, "%s ended with code %d before it was up",
            who, code);
    else if (code)
        say(end, WIRE__FAILURE__APP_ERROR, "%s ended with code %d", who, code);
}

/* --- the kernel ----------------------------------------------------------- */

/* A note on the kernel in which a rank died or stood still; what is compiled in has
 * no file to speak of. */
static void suspect(const struct hub *h, const struct crumb_node *n, const char *why)
{
    struct quarantine_file f = {.plugin = n->plugin};
    struct quarantine_note note = {.kernel = n->kernel,
                                   .op = n->op,
                                   .stage = "running",
                                   .reason = why,
                                   .abi = "",
                                   .suspect = true};
    char dir[PATH_MAX];
    struct err e;

    if (!n->sha256[0])
        return;
    snprintf(f.sha256, sizeof f.sha256, "%s", n->sha256);
    snprintf(dir, sizeof dir, "%.4000s/quarantine", h->opt.dir);
    if (quarantine_add(dir, &f, &note, &e) < 0)
        log_warn("%s", e.text);
}

/* Did the rank leave word that it was inside a kernel? */
static bool find_kernel(const struct attempt *a, int rank, struct crumb_node *n,
                        int64_t *step)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.4000s/crumb.%d", a->dir, rank);
    return crumb_read(path, n, step) > 0;
}

/* Ranks that wait for another stand in no kernel. */
static int find_stuck(const struct attempt *a, struct crumb_node *n, int64_t *step)
{
    for (int i = 0; i < (int)a->job->ranks; i++)
        if (find_kernel(a, i, n, step))
            return i;
    return -1;
}

/* Say which kernel was running, and make it a suspect. */
static void blame_kernel(const struct hub *h, const struct attempt *a,
                         struct ending *end)
{
    size_t len = strlen(end->text);
    struct crumb_node n;
    int64_t step;
    int rank = -1;

    if (end->failure == WIRE__FAILURE__HANG)
        rank = find_stuck(a, &n, &step);
    else if (end->failure == WIRE__FAILURE__SIGNAL &&
             (is_crash(end->exit.signal) || is_untold(a, end)) && end->bad_rank >= 0 &&
             find_kernel(a, end->bad_rank, &n, &step))
        rank = end->bad_rank;
    if (rank < 0)
        return;
    snprintf(end->text + len, sizeof end->text - len,
             "; rank %d was in kernel %s/%s (%s of %s, %s, step %lld)", rank, n.plugin,
             n.kernel, n.op, n.where, n.shapes, (long long)step);
    suspect(h, &n, end->text);
}

/* --- the event ------------------------------------------------------------ */

static enum event_kind decide(const struct hub *h, const struct attempt *a,
                              const struct ending *end, uint64_t step)
{
    const struct job *j = a->job;
    bool asked = j->state == WIRE__STATE__STOPPING;

    if (j->cancel_asked)
        return EVENT_CANCELED;
    if (end->failure == WIRE__FAILURE__NO_FAILURE)
        return EVENT_COMPLETE;
    if (asked && j->failure == WIRE__FAILURE__TIME_LIMIT)
        return EVENT_TIMEOUT;
    if (asked && j->failure != WIRE__FAILURE__HANG)
        return EVENT_REQUEUE; /* nnd wanted it so */
    if (!outcome_is_retried(end->failure) || j->retries >= j->retry_max ||
        is_repeated(h, j, end, step))
        return EVENT_FAIL;
    return EVENT_RETRY;
}

static void word_reason(const struct job *j, enum event_kind kind, double delay,
                        struct ending *end)
{
    size_t len = strlen(end->text);
    char *at = end->text + len;
    size_t room = sizeof end->text - len;

    if (kind == EVENT_CANCELED)
        snprintf(end->text, sizeof end->text, "canceled");
    else if (kind == EVENT_REQUEUE)
        snprintf(end->text, sizeof end->text, "stopped by nnd, queued again");
    else if (kind == EVENT_RETRY)
        snprintf(at, room, "; retry %u of %u in %.1f s", j->retries + 1, j->retry_max,
                 delay);
    else if (kind == EVENT_FAIL && outcome_is_retried(end->failure))
        snprintf(at, room, "; %s",
                 j->retries < j->retry_max ? "as the time before, so not retried"
                 : j->retry_max            ? "no retry is left"
                                           : "retries are off");
}

static void read_word(const struct buf *tail, const struct launcher *l,
                      struct ending *end)
{
    struct last_word w = {.launcher = l};
    struct buf clean = {0};

    each_line(tail, find_word, &w);
    if (!*w.text)
        return;
    add_text(&clean, w.text, strlen(w.text));
    snprintf(end->word, sizeof end->word, "%s", clean.data);
    buf_free(&clean);
    end->bad_rank = w.rank;
}

/* Of a rank that never was up nnd does not see the end, but those of the others, which
 * the launcher takes down with it. */
static bool is_unseen(const struct attempt *a, int rank)
{
    return rank >= 0 && rank < (int)a->job->ranks && !a->ranks[rank].up;
}

static void examine(const struct attempt *a, struct ending *end, struct buf *cause)
{
    struct blame blame = {.launcher = a->launcher, .rank = -1};
    struct buf tail = {0};

    end->bad_rank = a->first_bad;
    if (a->told && !a->status.exec_errno)
        a->launcher->classify(a->status.wait, &end->exit);
    read_tail(a, &tail);
    if (tail.data)
        each_line(&tail, find_blame, &blame);
    if (end->bad_rank < 0 || (!a->said && is_unseen(a, blame.rank)))
        end->bad_rank = blame.rank;
    if (tail.data && !a->said)
        read_word(&tail, a->launcher, end);
    if (blame.code && end->exit.code)
        end->exit.code = blame.code;
    memcpy(end->node, blame.node, sizeof end->node);
    if (end->bad_rank >= (int)a->job->ranks)
        end->bad_rank = -1;
    if (a->told)
        classify_seen(a, end);
    else
        classify_unseen(a, end);
    if (end->failure && a->job->state == WIRE__STATE__STOPPING &&
        a->job->failure == WIRE__FAILURE__TIME_LIMIT)
        say(end, WIRE__FAILURE__TIME_LIMIT, "%s",
            a->job->reason ? a->job->reason : "its time is up");
    if (end->failure && tail.data)
        gather_cause(&tail, a->launcher, end->bad_rank, a->said != 0, cause);
    buf_free(&tail);
}

/* Steps done when it ended; of an attempt that came to none, those it took up. */
static uint64_t steps_done(const struct attempt *a)
{
    uint64_t first = a->job->first_step;

    return a->step || !first ? a->step : first - 1;
}

void outcome_post(struct hub *h, struct attempt *a)
{
    struct job *j = a->job;
    struct ending end = {0};
    struct buf cause = {0};
    uint64_t step = steps_done(a);
    uint32_t random = 0;
    double delay;
    enum event_kind kind;
    struct err e;

    examine(a, &end, &cause);
    blame_kernel(h, a, &end);
    kind = decide(h, a, &end, step);
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = UINT32_MAX / 2;
    delay = outcome_backoff(j->retry_delay, j->retries + 1, random);
    word_reason(j, kind, delay, &end);
    struct event ev = {
        .kind = kind,
        .failure = j->cancel_asked ? WIRE__FAILURE__NO_FAILURE : end.failure,
        .exit_code = end.exit.code,
        .signal = end.exit.signal,
        .bad_rank = end.failure ? end.bad_rank : -1,
        .step = step,
        .first_step = j->first_step,
        .due_us = kind == EVENT_RETRY ? clock_wall_us() + (int64_t)(delay * 1e6) : 0,
        .pid = (uint32_t)a->pid,
        .text = *end.text ? end.text : NULL,
        .cause = cause.len ? cause.data : NULL,
        .metric = &j->metric,
    };
    if (hub_post(h, j, &ev, &e) < 0)
        hub_wake(h, h->now + 500000000);
    buf_free(&cause);
}
