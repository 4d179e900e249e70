/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - nnd's command line, and the way into the background.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/hub.h"
#include "proto/chan.h"

static const char usage_text[] =
    "usage: nnd [--dir DIR] [option]...\n"
    "Coordinates training jobs; talk to it with nnctl(1).\n"
    "  --dir DIR           folder for jobs and state [$XDG_STATE_HOME/nnd]\n"
    "  --uri ipc://PATH    socket [ipc://DIR/sock]\n"
    "  --slots N           processors to hand out [as many as there are]\n"
    "  --oversubscribe     accept jobs that need more slots than there are\n"
    "  --grace TIME        for a job to save and stop before it is killed [10s]\n"
    "  --hang TIME         shortest standstill that is called a hang [60s]\n"
    "  --exit-when-idle    end when no job is left and nobody asks for 10 s\n"
    "  --background        return once it listens; log to DIR/nnd.log\n"
    "  --worker PATH       nnd-worker\n"
    "  --shepherd PATH     nnd-shepherd\n"
    "  --mpirun PATH       mpirun\n"
    "  --debug             log more\n"
    "  --help, --version\n"
    "See nnd(8).\n";

enum {
    OPT_DIR = 256,
    OPT_URI,
    OPT_SLOTS,
    OPT_OVERSUBSCRIBE,
    OPT_GRACE,
    OPT_HANG,
    OPT_IDLE,
    OPT_BACKGROUND,
    OPT_WORKER,
    OPT_SHEPHERD,
    OPT_MPIRUN,
    OPT_DEBUG,
    OPT_FAILPOINT,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option options[] = {
    {"dir", required_argument, NULL, OPT_DIR},
    {"uri", required_argument, NULL, OPT_URI},
    {"slots", required_argument, NULL, OPT_SLOTS},
    {"oversubscribe", no_argument, NULL, OPT_OVERSUBSCRIBE},
    {"grace", required_argument, NULL, OPT_GRACE},
    {"hang", required_argument, NULL, OPT_HANG},
    {"exit-when-idle", no_argument, NULL, OPT_IDLE},
    {"background", no_argument, NULL, OPT_BACKGROUND},
    {"worker", required_argument, NULL, OPT_WORKER},
    {"shepherd", required_argument, NULL, OPT_SHEPHERD},
    {"mpirun", required_argument, NULL, OPT_MPIRUN},
    {"debug", no_argument, NULL, OPT_DEBUG},
    {"failpoint", required_argument, NULL, OPT_FAILPOINT},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

struct settings {
    struct hub_options hub;
    char dir[PATH_MAX], uri[PATH_MAX];
    char worker[PATH_MAX], shepherd[PATH_MAX], mpirun[PATH_MAX];
    bool background, debug;
};

static int set_path(char out[PATH_MAX], const char *what, const char *path,
                    struct err *e)
{
    char cwd[PATH_MAX] = "";
    int n;

    if (*path != '/' && !getcwd(cwd, sizeof cwd))
        return err_sys(e, ERR_FAILED, errno, "the current folder");
    n = snprintf(out, PATH_MAX, "%s%s%s", cwd, *cwd ? "/" : "", path);
    if (!*path || n < 0 || n >= PATH_MAX)
        return err_set(e, ERR_USAGE, "%s: must be a path of 1 to %d bytes", what,
                       PATH_MAX - 1);
    return 0;
}

static int set_time(int *ms, const char *what, const char *text, struct err *e)
{
    double seconds;
    int rc = clock_duration(text, &seconds, e);

    if (rc < 0)
        return err_prefix(e, "%s", what);
    if (seconds > 86400)
        return err_set(e, ERR_USAGE, "%s: must be at most 1d, got %s", what, text);
    *ms = (int)(seconds * 1000);
    return 0;
}

static int set_slots(uint32_t *out, const char *text, struct err *e)
{
    uint64_t n;

    if (!str_to_u64(text, &n) || n < 1 || n > 65536)
        return err_set(e, ERR_USAGE, "--slots: must be 1 to 65536, got \"%s\"", text);
    *out = (uint32_t)n;
    return 0;
}

static int set_option(struct settings *s, int option, const char *value, struct err *e)
{
    switch (option) {
    case OPT_DIR:
        return set_path(s->dir, "--dir", value, e);
    case OPT_URI:
        snprintf(s->uri, sizeof s->uri, "%s", value);
        return 0;
    case OPT_SLOTS:
        return set_slots(&s->hub.slots, value, e);
    case OPT_OVERSUBSCRIBE:
        s->hub.oversubscribe = true;
        return 0;
    case OPT_GRACE:
        return set_time(&s->hub.grace_ms, "--grace", value, e);
    case OPT_HANG:
        return set_time(&s->hub.hang_ms, "--hang", value, e);
    case OPT_IDLE:
        s->hub.exit_when_idle = true;
        return 0;
    case OPT_BACKGROUND:
        s->background = true;
        return 0;
    case OPT_WORKER:
        return set_path(s->worker, "--worker", value, e);
    case OPT_SHEPHERD:
        return set_path(s->shepherd, "--shepherd", value, e);
    case OPT_MPIRUN:
        return set_path(s->mpirun, "--mpirun", value, e);
    case OPT_FAILPOINT:
        s->hub.failpoint = value;
        return 0;
    case OPT_DEBUG:
        s->debug = true;
        return 0;
    default:
        return err_set(e, ERR_USAGE, "see nnd --help");
    }
}

static int parse(struct settings *s, int argc, char **argv, struct err *e)
{
    int c, rc = 0;

    while (rc == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == OPT_HELP || c == OPT_VERSION) {
            if (c == OPT_HELP)
                fputs(usage_text, stdout);
            else
                printf("nnd %s\n", PACKAGE_VERSION);
            exit(fflush(stdout) != 0);
        }
        rc = set_option(s, c, optarg, e);
    }
    if (rc == 0 && optind < argc)
        return err_set(e, ERR_USAGE, "unexpected argument \"%s\"; see nnd --help",
                       argv[optind]);
    return rc;
}

/* --- where the other programs are ----------------------------------------- */

/* The program `name` beside this one (a build tree), else where it is installed. */
static void default_program(char out[PATH_MAX], const char *folder, const char *name,
                            const char *installed)
{
    int n;

    if (*out)
        return;
    n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    if (!*folder || n >= PATH_MAX || access(out, X_OK) < 0)
        snprintf(out, PATH_MAX, "%s", installed);
}

static void default_programs(struct settings *s)
{
    char folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    char *slash;

    folder[n > 0 ? n : 0] = '\0';
    slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    default_program(s->shepherd, folder, "nnd-shepherd",
                    NND_LIBEXECDIR "/nnd-shepherd");
    default_program(s->worker, folder, "../worker/nnd-worker",
                    NND_LIBEXECDIR "/nnd-worker");
    default_program(s->mpirun, "", "", NND_MPIRUN);
}

static int fill_in(struct settings *s, struct err *e)
{
    int rc = 0;

    if (!*s->dir)
        rc = chan_default_dir(getenv("XDG_STATE_HOME"), getenv("HOME"), s->dir,
                              sizeof s->dir, e);
    if (rc == 0 && !*s->uri)
        rc = chan_default_uri(s->dir, s->uri, sizeof s->uri, e);
    if (rc == 0 && !str_starts(s->uri, "ipc:///"))
        rc = err_set(e, ERR_USAGE, "--uri: must be ipc:///PATH, got \"%s\"", s->uri);
    default_programs(s);
    s->hub.dir = s->dir;
    s->hub.uri = s->uri;
    s->hub.worker = s->worker;
    s->hub.shepherd = s->shepherd;
    s->hub.mpirun = s->mpirun;
    return rc;
}

/* --- the background ------------------------------------------------------- */

/* Fork; the parent waits for the child's word, passes on its complaint or its
 * silence, and ends.  Returns, in the child, where to say "ready". */
static int go_background(const struct settings *s, struct err *e)
{
    char path[PATH_MAX + 16], word[1200];
    int ends[2], log;
    ssize_t n;
    pid_t pid;

    if (fs_mkdirs(s->dir, e) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/nnd.log", s->dir);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        err_sys(e, ERR_FAILED, errno, "%s", path);
        return -1;
    }
    pid = fork();
    if (pid < 0) {
        err_sys(e, ERR_FAILED, errno, "going to the background");
        return -1;
    }
    if (pid > 0) {
        close(ends[1]);
        n = read(ends[0], word, sizeof word - 1);
        if (n == 5 && memcmp(word, "ready", 5) == 0)
            _exit(0);
        fprintf(stderr, "%.*s", (int)(n > 0 ? n : 0), word);
        _exit(1);
    }
    close(ends[0]);
    setsid();
    dup2(log, STDERR_FILENO);
    dup2(log, STDOUT_FILENO);
    close(log);
    log = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(log, STDIN_FILENO);
    close(log);
    return ends[1];
}

static int complain(const struct err *e, int fd)
{
    dprintf(fd >= 0 ? fd : STDERR_FILENO, "nnd: %s\n", e->text);
    return e->code < 0 ? -e->code : 1;
}

static int serve(const struct settings *s, int ready)
{
    struct hub h;
    struct err e;

    if (hub_open(&s->hub, &h, &e) < 0)
        return complain(&e, ready);
    log_info("listening: version=%s uri=%s slots=%u jobs=%zu", PACKAGE_VERSION, s->uri,
             h.slots, h.njobs);
    if (ready >= 0) {
        if (write(ready, "ready", 5) < 0)
            log_warn("the starting program is gone");
        close(ready);
    }
    if (hub_run(&h, &e) < 0) {
        hub_close(&h);
        return complain(&e, -1);
    }
    hub_close(&h);
    return 0;
}

int main(int argc, char **argv)
{
    static struct settings s = {.hub = {.grace_ms = 10000, .hang_ms = 60000}};
    struct err e;
    int ready = -1;

    umask(077);
    if (parse(&s, argc, argv, &e) < 0 || fill_in(&s, &e) < 0)
        return complain(&e, -1);
    if (s.background) {
        ready = go_background(&s, &e);
        if (ready < 0)
            return complain(&e, -1);
    }
    log_setup("nnd", s.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, STDERR_FILENO);
    return serve(&s, ready);
}
