/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_mpirun.c - how to talk to mpirun and how to read what it says.
 */
#include "daemon/launch_mpirun.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

void mpirun_add_mca(struct launch_args *a, const char *name, const char *value)
{
    launch_add(a, "--mca");
    launch_add_pair(a, name, value);
}

void mpirun_add(struct launch_args *a, const struct launch *l)
{
    launch_add(a, l->mpirun);
    if (l->root)
        launch_add(a, "--allow-run-as-root");
    launch_add_number(a, "-np", l->ranks);
    launch_add(a, "--tag-output");
    launch_add_pair(a, "--bind-to", "none");
    launch_add_pair(a, "--wdir", l->attempt_dir);
    mpirun_add_mca(a, "pml", "ob1");
    mpirun_add_mca(a, "btl", "self,vader,tcp");
    mpirun_add_mca(a, "odls_base_sigkill_timeout", "1");
    mpirun_add_mca(a, "orte_tmpdir_base", l->tmp_dir);
}

/* It hands TSTP on as STOP, and CONT, to all ranks wherever they are. */
int mpirun_signal(enum launch_ask ask)
{
    static const int signals[] = {
        [LAUNCH_END] = SIGTERM, [LAUNCH_PAUSE] = SIGTSTP, [LAUNCH_GO_ON] = SIGCONT};

    return signals[ask];
}

/* mpirun's own code is that of the lowest rank which failed; 128 + N: by signal. */
void mpirun_classify(int wait, struct launch_exit *out)
{
    *out = (struct launch_exit){0};
    if (WIFSIGNALED(wait)) {
        out->signal = WTERMSIG(wait);
        out->self = true;
        return;
    }
    out->code = WEXITSTATUS(wait);
    if (out->code > 128 && out->code < 128 + 65) {
        out->signal = out->code - 128;
        out->code = 0;
    }
}

/* --tag-output puts "[1,RANK]<stdout>:" or "[1,RANK]<stderr>:" before a line. */
size_t mpirun_line(const char *text, size_t len, int *rank, bool *err)
{
    size_t i = 3;
    int r = 0;

    *rank = -1;
    *err = true;
    if (len < 13 || memcmp(text, "[1,", 3) != 0)
        return 0;
    for (; i < len && i < 9 && isdigit((unsigned char)text[i]); i++)
        r = 10 * r + (text[i] - '0');
    if (i == 3 || len - i < 10 || text[i] != ']')
        return 0;
    if (memcmp(text + i, "]<stdout>:", 10) == 0)
        *err = false;
    else if (memcmp(text + i, "]<stderr>:", 10) != 0)
        return 0;
    *rank = r;
    return i + 10;
}

/* The number after `before` in a line, or -1. */
static int number_after(const char *text, size_t len, const char *before)
{
    const char *p = memmem(text, len, before, strlen(before));
    const char *end = text + len;
    int v = 0;

    if (!p)
        return -1;
    p += strlen(before);
    if (p == end || !isdigit((unsigned char)*p))
        return -1;
    for (int digits = 0; p < end && isdigit((unsigned char)*p) && digits < 6; digits++)
        v = 10 * v + (*p++ - '0');
    return v;
}

/* "mpirun noticed that process rank 1 with PID 123 on node X exited on signal 9"
 * "  Process name: [[52143,1],1]" */
bool mpirun_blame(const char *text, size_t len, int *rank, int *code)
{
    static const char name[] = "Process name: [[";
    const char *p = memmem(text, len, name, sizeof name - 1);
    int r = number_after(text, len, "noticed that process rank ");

    if (r < 0 && p)
        r = number_after(p, len - (size_t)(p - text), ",1],");
    if (r < 0)
        return false;
    *rank = r;
    *code = 0;
    return true;
}
