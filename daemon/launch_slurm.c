/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_slurm.c - ranks by Slurm: as a step where nnd runs within an allocation,
 * as a batch job where it does not.  nnd-slurm speaks with Slurm's programs and
 * stays as long as the ranks do; it carries the signals and the end.
 */
#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "daemon/launch.h"
#include "daemon/launch_slurm.h"

static char **slurm_argv(const struct launch *l, struct arena *arena)
{
    struct launch_args a = launch_args_create(arena);

    launch_add(&a, l->helper);
    launch_add(&a, l->inside ? "step" : "batch");
    launch_add_pair(&a, "--name", l->marker);
    launch_add_pair(&a, "--dir", l->attempt_dir);
    launch_add_number(&a, "--ranks", l->ranks);
    launch_add_number(&a, "--threads", l->threads);
    if (l->extra)
        launch_add_pair(&a, "--extra", l->extra);
    launch_add(&a, "--");
    launch_add_worker(&a, l);
    return a.v;
}

static char **slurm_clean(const struct launch *l, struct arena *arena)
{
    struct launch_args a = launch_args_create(arena);

    launch_add(&a, l->helper);
    launch_add(&a, "clean");
    launch_add_pair(&a, "--name", l->marker);
    return a.v;
}

static int slurm_signal(enum launch_ask ask)
{
    static const int signals[] = {
        [LAUNCH_END] = SIGTERM, [LAUNCH_PAUSE] = SIGTSTP, [LAUNCH_GO_ON] = SIGCONT};

    return signals[ask];
}

static const struct {
    Wire__Failure failure;
    const char *text;
} ends[] = {
    [SLURM_NODE_FAIL - SLURM_END_FIRST] = {WIRE__FAILURE__NODE_LOST,
                                           "Slurm lost a node"},
    [SLURM_PREEMPTED - SLURM_END_FIRST] = {WIRE__FAILURE__PREEMPT,
                                           "Slurm took the nodes for another job"},
    [SLURM_OUT_OF_MEMORY -
        SLURM_END_FIRST] = {WIRE__FAILURE__OOM, "Slurm ended it for its use of memory"},
    [SLURM_TIMEOUT -
        SLURM_END_FIRST] = {WIRE__FAILURE__PREEMPT, "Slurm's time limit was over"},
    [SLURM_CANCELLED - SLURM_END_FIRST] = {WIRE__FAILURE__APP_ERROR,
                                           "canceled with Slurm's own means"},
    [SLURM_REFUSED -
        SLURM_END_FIRST] = {WIRE__FAILURE__START_FAIL, "Slurm did not start it"},
    [SLURM_GONE - SLURM_END_FIRST] = {WIRE__FAILURE__NODE_LOST,
                                      "Slurm knows nothing of it any more"},
};

static void slurm_classify(int wait, struct launch_exit *out)
{
    int code = WEXITSTATUS(wait);

    *out = (struct launch_exit){.code = code};
    if (WIFSIGNALED(wait))
        *out = (struct launch_exit){.signal = WTERMSIG(wait), .self = true};
    else if (code >= SLURM_END_FIRST && code <= SLURM_END_LAST)
        *out = (struct launch_exit){.code = code,
                                    .failure = ends[code - SLURM_END_FIRST].failure,
                                    .text = ends[code - SLURM_END_FIRST].text};
    else if (code > 128 && code < 128 + 65)
        *out = (struct launch_exit){.signal = code - 128};
}

/* srun --label puts "RANK: " before a line, with blanks in front of the number.  It
 * does not tell standard output from errors; all may be the cause. */
static size_t slurm_line(const char *text, size_t len, int *rank, bool *err)
{
    size_t i = 0;
    int r = 0;

    *rank = -1;
    *err = true;
    while (i < len && i < 6 && text[i] == ' ')
        i++;
    if (i == len || !isdigit((unsigned char)text[i]))
        return 0;
    for (int digits = 0; i < len && isdigit((unsigned char)text[i]); i++) {
        if (++digits > 6)
            return 0;
        r = 10 * r + (text[i] - '0');
    }
    if (len - i < 2 || text[i] != ':' || text[i + 1] != ' ')
        return 0;
    *rank = r;
    return i + 2;
}

/* The number at *p, which moves behind it; -1 for none. */
static int take_number(const char **p, const char *end)
{
    int v = -1;

    for (int n = 0; *p < end && n < 6 && isdigit((unsigned char)**p); n++)
        v = 10 * (v < 0 ? 0 : v) + (*(*p)++ - '0');
    return v;
}

/* "srun: error: HOST: task 1: Killed", "... task 3: Exited with exit code 3".  srun's
 * own code is the largest of all ranks', also of those that it asked to end. */
static bool slurm_blame(const char *text, size_t len, int *rank, int *code)
{
    static const char error[] = "srun: error: ", task[] = ": task ";
    static const char exited[] = ": Exited with exit code ";
    const char *p = memmem(text, len, error, sizeof error - 1), *end = text + len;
    int r;

    p = p ? memmem(p, (size_t)(end - p), task, sizeof task - 1) : NULL;
    if (!p)
        return false;
    p += sizeof task - 1;
    r = take_number(&p, end);
    if (r < 0)
        return false;
    *rank = r;
    *code = 0;
    p = memmem(p, (size_t)(end - p), exited, sizeof exited - 1);
    if (!p)
        return true;
    p += sizeof exited - 1;
    r = take_number(&p, end);
    *code = r > 0 ? r : 0;
    return true;
}

const struct launcher launch_slurm = {
    .name = "slurm",
    .program = "nnd-slurm",
    .grace_ms = 20000,
    .queues = true,
    .argv = slurm_argv,
    .signal = slurm_signal,
    .classify = slurm_classify,
    .line = slurm_line,
    .blame = slurm_blame,
    .clean = slurm_clean,
};
