/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c - signals and limits, there and back.
 */
#include "daemon/child.h"

#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>

static struct rlimit files; /* as nnd was started with */
static bool raised;

void child_differ(void)
{
    struct rlimit most;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is a full disk, not an end */
    if (raised || getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    most = files;
    most.rlim_cur = most.rlim_max;
    raised = setrlimit(RLIMIT_NOFILE, &most) == 0;
}

void child_reset(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    if (raised)
        setrlimit(RLIMIT_NOFILE, &files);
}
