/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_ssh.c - ranks on several machines, by mpirun, which reaches them with ssh
 * or whatever stands in for it.
 *
 * All machines have nnd-worker and the job's folder at the same place.  mpirun asks
 * its daemons for a sign of life by TCP keepalives, which the kernel answers: a
 * machine that is cut off is found within 3 + 2 x 1 s, on both sides, and each side
 * ends its ranks.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/launch.h"
#include "daemon/launch_mpirun.h"

/* mpirun's code for "lost communication with a remote daemon". */
enum { LOST_DAEMON = 205 };

/* What ranks here inherit, ranks elsewhere are given.  The shepherd sets NND_ATTEMPT;
 * of a name that is not set mpirun would warn. */
static void add_environment(struct launch_args *a)
{
    static const char *const names[] = {"NND_PLUGIN_DIR", "NND_TOKENIZER_DIR"};

    launch_add_pair(a, "-x", "NND_ATTEMPT");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]))
            launch_add_pair(a, "-x", names[i]);
}

static void add_keepalive(struct launch_args *a)
{
    mpirun_add_mca(a, "oob_tcp_keepalive_time", "3");
    mpirun_add_mca(a, "oob_tcp_keepalive_intvl", "1");
    mpirun_add_mca(a, "oob_tcp_keepalive_probes", "2");
}

/* Remote daemons stay in the foreground of what started them, so that they end with
 * it, and each is started from here, so that no machine needs a key for another. */
static char **ssh_argv(const struct launch *l, struct arena *arena)
{
    struct launch_args a = launch_args_create(arena);

    mpirun_add(&a, l);
    if (l->nodes)
        launch_add_pair(&a, "--host", l->nodes);
    launch_add(&a, "--oversubscribe");
    launch_add(&a, "--leave-session-attached");
    add_environment(&a);
    add_keepalive(&a);
    mpirun_add_mca(&a, "plm_rsh_no_tree_spawn", "1");
    if (l->rsh)
        mpirun_add_mca(&a, "plm_rsh_agent", l->rsh);
    if (l->net) {
        mpirun_add_mca(&a, "btl_tcp_if_include", l->net);
        mpirun_add_mca(&a, "oob_tcp_if_include", l->net);
    }
    launch_add_worker(&a, l);
    return a.v;
}

static void ssh_classify(int wait, struct launch_exit *out)
{
    mpirun_classify(wait, out);
    if (out->code != LOST_DAEMON)
        return;
    out->failure = WIRE__FAILURE__NODE_LOST;
    out->text = "the connection to a node was lost";
}

/* "  HNP daemon   : [[2389,0],0] on node nodea", which is mpirun itself, and
 * "  Remote daemon: [[2389,0],1] on node nodeb", which it has lost. */
static size_t ssh_lost(const char *text, size_t len, const char **name)
{
    static const char daemon[] = "Remote daemon", node[] = " on node ";
    const char *d = memmem(text, len, daemon, sizeof daemon - 1);
    const char *end = text + len, *p;

    if (!d)
        return 0;
    p = memmem(d, (size_t)(end - d), node, sizeof node - 1);
    if (!p)
        return 0;
    p += sizeof node - 1;
    *name = p;
    while (p < end && *p != ' ' && *p != '\r' && *p != '\n')
        p++;
    return (size_t)(p - *name);
}

/* On every node: end what carries the attempt's mark.  A node that does not answer
 * in ten seconds ends its ranks by itself, since it is cut off from mpirun too. */
static char **ssh_clean(const struct launch *l, struct arena *arena)
{
    static const char script[] = "rsh=$1 shepherd=$2 marker=$3; shift 3\n"
                                 "for h do\n"
                                 "timeout 10 $rsh \"$h\" \"$shepherd\" --sweep "
                                 "\"$marker\" </dev/null &\n"
                                 "done\n"
                                 "wait\n";
    struct launch_args a = launch_args_create(arena);
    char *nodes = arena_strdup(arena, l->nodes ? l->nodes : ""), *save = NULL;

    launch_add(&a, "/bin/sh");
    launch_add_pair(&a, "-c", script);
    launch_add(&a, "sh");
    launch_add(&a, l->rsh ? l->rsh : "ssh -o BatchMode=yes -o ConnectTimeout=5");
    launch_add(&a, l->shepherd);
    launch_add(&a, l->marker);
    for (char *t = strtok_r(nodes, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
        t[strcspn(t, ":")] = '\0';
        launch_add(&a, t);
    }
    return a.v;
}

const struct launcher launch_ssh = {
    .name = "ssh",
    .program = "mpirun",
    .grace_ms = 3000,
    .argv = ssh_argv,
    .signal = mpirun_signal,
    .classify = ssh_classify,
    .line = mpirun_line,
    .blame = mpirun_blame,
    .lost = ssh_lost,
    .clean = ssh_clean,
};
