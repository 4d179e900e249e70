/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slurm.c - nnd-slurm, which stands between nnd-shepherd and Slurm's programs for
 * one attempt: it starts the ranks, stays until they have ended, hands signals on,
 * and exits with how they ended (launch_slurm.h).
 *
 *     nnd-slurm batch ...   outside an allocation: sbatch, and watch the job
 *     nnd-slurm step ...    within one: srun
 *     nnd-slurm clean ...   end what an attempt of this name may have left
 *
 * It says in the attempt's folder when the ranks wait for nodes no more: how long Slurm
 * lets them wait is no fault of theirs.
 *
 * nnd decides whether an attempt is tried again, so Slurm must not: --no-requeue, and
 * a job that it started again all the same is taken back.  libc only.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/launch_slurm.h"

enum {
    FIRST_POLL_MS = 200, /* then longer, up to ...                     */
    POLL_MS = 1000,
    CANCEL_MS = 10000, /* between TERM and scancel                    */
    CLEAN_MS = 20000,
    UNKNOWN_MAX = 3, /* answers "no such job" before it is believed */
    MAX_ARGS = 160,
};

struct work {
    const char *name, *dir, *ranks, *threads, *extra;
    char **command; /* of a rank                            */
    char id[32];    /* of Slurm's job                       */
    pid_t child;    /* srun, in an allocation               */
    bool asked;     /* to end                               */
    bool ran;       /* has been seen running                */
    bool held;      /* to stand still, which waits for that */
    bool said;      /* that it began, in `dir`              */
    int64_t cancel_at, poll_ms;
    int unknown;
    sigset_t signals;
};

static void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    dprintf(STDERR_FILENO, "nnd-slurm: %s\n", text);
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- running Slurm's programs --------------------------------------------- */

static void become(const struct work *w, char *const argv[], int out)
{
    sigprocmask(SIG_UNBLOCK, &w->signals, NULL);
    if (out >= 0)
        dup2(out, STDOUT_FILENO);
    execvp(argv[0], argv);
    complain("cannot run %s: %s", argv[0], strerror(errno));
    _exit(127);
}

/* Run argv; what it printed goes to out (cut, terminated).  Its exit status, or -1. */
static int run(const struct work *w, char *const argv[], char *out, size_t size)
{
    int ends[2], raw = -1;
    size_t len = 0;
    ssize_t n = 1;
    char rest[512];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    pid = fork();
    if (pid == 0)
        become(w, argv, ends[1]);
    close(ends[1]);
    while (pid > 0 && n != 0) {
        bool full = len >= size - 1;

        n = read(ends[0], full ? rest : out + len, full ? sizeof rest : size - 1 - len);
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0 && !full)
            len += (size_t)n;
    }
    close(ends[0]);
    out[len] = '\0';
    while (pid > 0 && waitpid(pid, &raw, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(raw) ? WEXITSTATUS(raw) : -1;
}

#define RUN(w, out, size, ...) run((w), (char *[]){__VA_ARGS__, NULL}, (out), (size))

static void cancel(const struct work *w, const char *id, char *signal)
{
    char out[256];

    if (signal)
        RUN(w, out, sizeof out, "scancel", "--quiet", signal, (char *)id);
    else
        RUN(w, out, sizeof out, "scancel", "--quiet", (char *)id);
}

/* Ids of the attempt's jobs, or of its steps within this allocation, one a line; -1
 * when Slurm does not say. */
static int list(const struct work *w, bool steps, char *out, size_t size)
{
    char name[256], line[256], *text = out, *save = NULL, found[8192];
    size_t len = 0;
    int rc;

    snprintf(name, sizeof name, "--name=%s", w->name);
    if (!steps)
        return RUN(w, out, size, "squeue", "--noheader", "--format=%i", name);
    rc = RUN(w, found, sizeof found, "squeue", "--steps", "--noheader",
             "--format=%i %j", "--job", getenv("SLURM_JOB_ID"));
    *text = '\0';
    for (char *l = strtok_r(found, "\n", &save); rc == 0 && l;
         l = strtok_r(NULL, "\n", &save)) {
        char id[64], job[160];

        if (sscanf(l, "%63s %159s", id, job) != 2 || strcmp(job, w->name) != 0)
            continue;
        snprintf(line, sizeof line, "%s\n", id);
        if (len + strlen(line) < size)
            len += (size_t)snprintf(out + len, size - len, "%s", line);
    }
    return rc;
}

/* Do to all of the attempt's jobs or steps; how many there were, -1: not known. */
static int cancel_all(const struct work *w, bool steps, char *signal)
{
    char ids[8192], *save = NULL;
    int n = 0;

    if (list(w, steps, ids, sizeof ids) != 0)
        return -1;
    for (char *id = strtok_r(ids, " \n", &save); id;
         id = strtok_r(NULL, " \n", &save)) {
        cancel(w, id, signal);
        n++;
    }
    return n;
}

/* Say in DIR/began that the ranks wait for nodes no more, and since when, on the clock
 * of launch_began.  What cannot be written is tried again. */
static void say_began(struct work *w)
{
    char path[4200], fresh[4210];
    struct timespec t;
    int fd;

    snprintf(path, sizeof path, "%s/began", w->dir);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    clock_gettime(CLOCK_BOOTTIME, &t);
    w->said = dprintf(fd, "%lld", (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000) > 0;
    close(fd);
    w->said = w->said && rename(fresh, path) == 0;
}

/* --- arguments ------------------------------------------------------------ */

struct args {
    char *v[MAX_ARGS];
    size_t n;
};

static void add(struct args *a, const char *text)
{
    if (a->n < MAX_ARGS - 1)
        a->v[a->n++] = (char *)text;
}

static void add_pair(struct args *a, const char *option, const char *value)
{
    add(a, option);
    add(a, value);
}

/* What the ranks need, in a form that both programs understand. */
static void add_size(struct args *a, const struct work *w)
{
    add_pair(a, "--job-name", w->name);
    add_pair(a, "--ntasks", w->ranks);
    add_pair(a, "--cpus-per-task", w->threads);
}

static void add_extra(struct args *a, const struct work *w)
{
    char *copy = strdup(w->extra ? w->extra : ""), *save = NULL;

    for (char *t = copy ? strtok_r(copy, " ", &save) : NULL; t;
         t = strtok_r(NULL, " ", &save))
        add(a, t);
}

/* A rank that fails takes the others down, as mpirun does it. */
static void add_srun(struct args *a, const struct work *w)
{
    add(a, "srun");
    add(a, "--label");
    add(a, "--kill-on-bad-exit=1");
    add(a, "--input=none");
    add_size(a, w);
}

/* Open MPI's ranks meet by PMIx, unless the site has set something else. */
static void prefer_pmix(void)
{
    setenv("SLURM_MPI_TYPE", "pmix", 0);
}

/* --- an allocation's step ------------------------------------------------- */

static int exit_of(int raw)
{
    return WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
}

static void start_step(struct work *w)
{
    pid_t self = getpid();
    struct args a = {.n = 0};

    prefer_pmix();
    add_srun(&a, w);
    add_extra(&a, w);
    for (char **v = w->command; *v; v++)
        add(&a, *v);
    w->child = fork();
    if (w->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != self)
            _exit(127);
        become(w, a.v, -1);
    }
}

/* srun waits as long as other steps have the processors.  Slurm gives a step its
 * number when it gets them, and lists none before, or one that is no number. */
static bool step_runs(const struct work *w)
{
    char ids[8192], *save = NULL;

    if (list(w, true, ids, sizeof ids) != 0)
        return false;
    for (char *id = strtok_r(ids, "\n", &save); id; id = strtok_r(NULL, "\n", &save)) {
        const char *dot = strchr(id, '.');

        if (dot && isdigit((unsigned char)dot[1]))
            return true;
    }
    return false;
}

static bool step_ended(struct work *w, int *code)
{
    int raw;

    if (waitpid(w->child, &raw, WNOHANG) != w->child) {
        w->ran = w->ran || step_runs(w);
        return false;
    }
    *code = exit_of(raw);
    return true;
}

/* srun hands TERM on to its tasks; standing still it does not know. */
static void step_signal(struct work *w, int sig)
{
    if (sig == SIGTERM)
        kill(w->child, SIGTERM);
    else
        cancel_all(w, true, sig == SIGTSTP ? "--signal=STOP" : "--signal=CONT");
}

static void step_cancel(struct work *w)
{
    cancel_all(w, true, NULL);
}

/* --- a batch job ---------------------------------------------------------- */

static void quote(FILE *f, const char *word)
{
    fputs(" '", f);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", f);
        else
            fputc(*word, f);
    fputc('\'', f);
}

/* The script is srun and nothing else: what happens to the one happens to both. */
static bool write_script(const struct work *w, const char *path)
{
    struct args a = {.n = 0};
    FILE *f = fopen(path, "we");
    bool ok;

    if (!f)
        return false;
    add_srun(&a, w);
    for (char **v = w->command; *v; v++)
        add(&a, *v);
    fputs("#!/bin/sh\nexec", f);
    for (size_t i = 0; i < a.n; i++)
        quote(f, a.v[i]);
    fputc('\n', f);
    ok = fflush(f) == 0 && !ferror(f);
    return fclose(f) == 0 && ok;
}

/* sbatch may have been heard although it says that it failed. */
static bool start_batch(struct work *w)
{
    char script[4200], log[4200], out[256];
    struct args a = {.n = 0};
    int rc;

    prefer_pmix();
    snprintf(script, sizeof script, "%s/script", w->dir);
    snprintf(log, sizeof log, "%s/log", w->dir);
    if (!write_script(w, script)) {
        complain("%s: %s", script, strerror(errno));
        return false;
    }
    add(&a, "sbatch");
    add(&a, "--parsable");
    add(&a, "--no-requeue");
    add(&a, "--open-mode=append");
    add(&a, "--signal=TERM@60");
    add_pair(&a, "--output", log);
    add_pair(&a, "--chdir", w->dir);
    add_size(&a, w);
    add_extra(&a, w);
    add(&a, script);
    rc = run(w, a.v, out, sizeof out);
    out[strcspn(out, ";\n")] = '\0';
    if (rc != 0 || !isdigit((unsigned char)*out)) {
        cancel_all(w, false, NULL);
        return false;
    }
    snprintf(w->id, sizeof w->id, "%.31s", out);
    dprintf(STDOUT_FILENO, "nnd-slurm: job %s\n", w->id);
    return true;
}

/* The value after KEY= in a line of "KEY=VALUE KEY=VALUE", cut. */
static bool value_of(const char *line, const char *key, char *out, size_t size)
{
    size_t len = strlen(key);
    const char *p = line;

    while ((p = strstr(p, key)) && !((p == line || p[-1] == ' ') && p[len] == '='))
        p += len;
    if (!p)
        return false;
    p += len + 1;
    snprintf(out, size, "%.*s", (int)strcspn(p, " \n"), p);
    return true;
}

static const struct {
    const char *state;
    int code; /* 0: as ExitCode says */
} finals[] = {
    {"COMPLETED", 0},
    {"FAILED", 0},
    {"CANCELLED", SLURM_CANCELLED},
    {"TIMEOUT", SLURM_TIMEOUT},
    {"DEADLINE", SLURM_TIMEOUT},
    {"NODE_FAIL", SLURM_NODE_FAIL},
    {"BOOT_FAIL", SLURM_NODE_FAIL},
    {"PREEMPTED", SLURM_PREEMPTED},
    {"OUT_OF_MEMORY", SLURM_OUT_OF_MEMORY},
};

/* ExitCode=CODE:SIGNAL */
static int exit_code(const char *line)
{
    char text[32];
    int code = 0, sig = 0;

    if (!value_of(line, "ExitCode", text, sizeof text) ||
        sscanf(text, "%d:%d", &code, &sig) < 1)
        return SLURM_GONE;
    return sig ? 128 + sig : code;
}

/* True when the state is one that is never left. */
static bool is_final(const char *state, const char *line, int *code)
{
    for (size_t i = 0; i < sizeof finals / sizeof *finals; i++) {
        if (strcmp(state, finals[i].state) != 0)
            continue;
        *code = finals[i].code ? finals[i].code : exit_code(line);
        return true;
    }
    return false;
}

/* A job that is started again would be a second attempt under the first one's name. */
static bool was_requeued(struct work *w, const char *state, const char *line)
{
    char restarts[16] = "0";

    value_of(line, "Restarts", restarts, sizeof restarts);
    return strcmp(restarts, "0") != 0 || strcmp(state, "REQUEUED") == 0 ||
           (w->ran && strcmp(state, "PENDING") == 0);
}

/* Signals go to the ranks; a job that has none yet is taken back at once.  To hand it
 * anything else scancel would wait until it has, so that is kept until the job is seen
 * running, which may be later than its ranks have said that they are. */
static void batch_signal(struct work *w, int sig)
{
    w->held = sig == SIGTSTP && !w->ran;
    if (sig == SIGTERM)
        cancel(w, w->id, w->ran ? "--signal=TERM" : NULL);
    else if (w->ran)
        cancel(w, w->id, sig == SIGTSTP ? "--signal=STOP" : "--signal=CONT");
}

static bool batch_ended(struct work *w, int *code)
{
    char line[16384], state[32] = "";
    int rc = RUN(w, line, sizeof line, "scontrol", "--oneliner", "show", "job", w->id);

    if (rc != 0 || !value_of(line, "JobState", state, sizeof state)) {
        char ids[4096]; /* forgotten, or is nobody there to answer? */

        if (list(w, false, ids, sizeof ids) != 0 || *ids)
            return false;
        *code = SLURM_GONE;
        return ++w->unknown >= UNKNOWN_MAX;
    }
    w->unknown = 0;
    if (was_requeued(w, state, line)) {
        cancel_all(w, false, NULL);
        *code = SLURM_PREEMPTED;
        return true;
    }
    w->ran |= strcmp(state, "RUNNING") == 0;
    if (w->ran && w->held)
        batch_signal(w, SIGTSTP);
    return is_final(state, line, code);
}

static void batch_cancel(struct work *w)
{
    cancel(w, w->id, NULL);
}

/* --- staying with it ------------------------------------------------------ */

struct mode {
    bool (*ended)(struct work *w, int *code);
    void (*signal)(struct work *w, int sig);
    void (*cancel)(struct work *w);
};

static const struct mode batch = {batch_ended, batch_signal, batch_cancel};
static const struct mode step = {step_ended, step_signal, step_cancel};

static int stay(struct work *w, const struct mode *m)
{
    int code = 0;

    for (w->poll_ms = FIRST_POLL_MS; !m->ended(w, &code);) {
        struct timespec t = {w->poll_ms / 1000, w->poll_ms % 1000 * 1000000};
        int sig;

        if (w->ran && !w->said)
            say_began(w);
        sig = sigtimedwait(&w->signals, NULL, &t);
        if (sig == SIGTERM && !w->asked) {
            w->asked = true;
            w->cancel_at = now_ms() + CANCEL_MS;
        }
        if (sig == SIGTERM || sig == SIGTSTP || sig == SIGCONT)
            m->signal(w, sig);
        if (w->asked && now_ms() >= w->cancel_at) {
            m->cancel(w);
            w->cancel_at = now_ms() + CANCEL_MS;
        }
        w->poll_ms = sig > 0 || w->asked ? FIRST_POLL_MS : w->poll_ms * 5 / 4;
        w->poll_ms = w->poll_ms > POLL_MS ? POLL_MS : w->poll_ms;
    }
    return w->asked && code == SLURM_CANCELLED ? 128 + SIGTERM : code;
}

static int clean(struct work *w)
{
    struct timespec t = {0, FIRST_POLL_MS * 1000000};
    int64_t end = now_ms() + CLEAN_MS;
    bool steps = getenv("SLURM_JOB_ID") != NULL;

    while (now_ms() < end) {
        if (cancel_all(w, steps, NULL) == 0)
            return 0;
        nanosleep(&t, NULL);
    }
    return 1;
}

/* --- options -------------------------------------------------------------- */

static const char usage_text[] =
    "usage: nnd-slurm batch|step --name NAME --dir DIR --ranks N --threads N\n"
    "                 [--extra ARGUMENTS] -- RANK [ARGUMENT]...\n"
    "       nnd-slurm clean --name NAME\n"
    "Starts ranks by Slurm for nnd(8); see nnd-slurm(8).\n";

static void usage(int fd, int status)
{
    dprintf(fd, "%s", usage_text);
    exit(status);
}

static void parse(struct work *w, int argc, char **argv)
{
    static const struct option options[] = {
        {"name", required_argument, NULL, 'n'},
        {"dir", required_argument, NULL, 'd'},
        {"ranks", required_argument, NULL, 'r'},
        {"extra", required_argument, NULL, 'x'},
        {"threads", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (c == 'n')
            w->name = optarg;
        else if (c == 'd')
            w->dir = optarg;
        else if (c == 'r')
            w->ranks = optarg;
        else if (c == 't')
            w->threads = optarg;
        else if (c == 'x')
            w->extra = optarg;
        else if (c == 'h')
            usage(STDOUT_FILENO, 0);
        else if (c == 'V')
            exit(printf("nnd-slurm %s\n", PACKAGE_VERSION) < 0);
        else
            usage(STDERR_FILENO, 2);
    }
    w->command = argv + optind;
}

/* A batch job's end is asked for; only a step's is a child's. */
static void catch_signals(struct work *w, bool child)
{
    static const int caught[] = {SIGTERM, SIGTSTP, SIGCONT};

    sigemptyset(&w->signals);
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
        sigaddset(&w->signals, caught[i]);
    if (child)
        sigaddset(&w->signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &w->signals, NULL);
}

int main(int argc, char **argv)
{
    struct work w = {.child = 0};
    const char *what = argc > 1 ? argv[1] : "";
    bool whole;

    parse(&w, *what == '-' ? argc : argc - 1, *what == '-' ? argv : argv + 1);
    catch_signals(&w, strcmp(what, "step") == 0);
    whole = w.name && w.dir && w.ranks && w.threads && *w.command;
    if (strcmp(what, "clean") == 0 && w.name)
        return clean(&w);
    if (strcmp(what, "step") == 0 && whole && getenv("SLURM_JOB_ID")) {
        start_step(&w);
        return w.child < 0 ? SLURM_REFUSED : stay(&w, &step);
    }
    if (strcmp(what, "batch") == 0 && whole)
        return start_batch(&w) ? stay(&w, &batch) : SLURM_REFUSED;
    usage(STDERR_FILENO, 2);
}
