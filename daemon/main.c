/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - nnd's start, and the way into the background.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "daemon/hub.h"
#include "daemon/notify.h"
#include "daemon/settings.h"

/* --- the background ------------------------------------------------------- */

/* The code of a child that has said its last word, and is about to end. */
static int code_of(pid_t pid)
{
    int status;

    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status)
               ? WEXITSTATUS(status)
               : 1;
}

/* Fork; the parent waits for the child's word, passes on its complaint or its
 * silence, and ends with its code.  Returns, in the child, where to say "ready". */
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
        _exit(code_of(pid));
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

static int reload(void *arg, struct hub_options *out, struct err *e)
{
    return settings_load(arg, out, e);
}

static int serve(struct settings *s, struct hub_options *opt, int ready)
{
    struct hub h;
    struct err e;

    if (s->file) {
        opt->reload = reload;
        opt->reload_arg = s;
    }
    if (hub_open(opt, &h, &e) < 0)
        return complain(&e, ready);
    log_info("listening: version=%s uri=%s slots=%u jobs=%zu", PACKAGE_VERSION, s->uri,
             h.slots, h.njobs);
    notify_say("READY=1");
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
    settings_free(s);
    return 0;
}

/* --- looking -------------------------------------------------------------- */

static void print(void *arg, uint64_t id, const char *text)
{
    (void)arg, (void)id;
    printf("%s\n", text);
}

/* As at a start, and then every job that has ended too. */
static int check(const struct hub_options *opt)
{
    unsigned found = 0;
    struct err e;

    if (hub_check(opt, print, NULL, &found, &e) < 0)
        return complain(&e, -1);
    if (found == 0)
        printf("the store is well\n");
    return found > 0;
}

int main(int argc, char **argv)
{
    static struct settings s;
    struct hub_options opt;
    struct err e;
    int ready = -1;

    umask(077);
    notify_open();
    if (settings_parse(argc, argv, &s, &e) < 0 || settings_load(&s, &opt, &e) < 0)
        return complain(&e, -1);
    log_setup("nnd", s.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, STDERR_FILENO);
    if (s.check)
        return check(&opt);
    if (s.background) {
        ready = go_background(&s, &e);
        if (ready < 0)
            return complain(&e, -1);
    }
    return serve(&s, &opt, ready);
}
