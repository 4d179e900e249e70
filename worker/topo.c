/* SPDX-License-Identifier: Apache-2.0 */
/*
 * topo.c - asks hwloc for the processors in use order, once, and divides them.
 *
 * hwloc's logical order puts neighbours next to each other; the kernel's
 * numbers need not.  Disallowed PUs are restricted away at the start, so that
 * everything after counts what is left.
 */
#include "worker/topo.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fs.h"
#include "base/sha256.h"

struct topo {
    hwloc_topology_t hw;
    int cores, pus, nodes;
    hwloc_obj_t *core; /* [cores] the first PU of each core, in logical order */
    hwloc_obj_t *pu;   /* [pus] all PUs, in logical order                     */
};

/* --- what there is -------------------------------------------------------- */

static int count(const struct topo *t, hwloc_obj_type_t type)
{
    int n = hwloc_get_nbobjs_by_type(t->hw, type);

    return n > 0 ? n : 0;
}

/* The PU stands for a core when it is the first below its core; where hwloc
 * knows of no cores (some virtual machines), every PU is one. */
static bool leads_core(const struct topo *t, hwloc_obj_t pu)
{
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(t->hw, HWLOC_OBJ_CORE, pu);

    return !core || hwloc_bitmap_first(core->cpuset) == (int)pu->os_index;
}

static int list_pus(struct topo *t, struct err *e)
{
    const int n = count(t, HWLOC_OBJ_PU);

    t->pu = calloc((size_t)n, sizeof *t->pu);
    t->core = calloc((size_t)n, sizeof *t->core);
    if (!t->pu || !t->core)
        return err_sys(e, ERR_NOMEM, ENOMEM, "topology: list of %d PUs", n);
    t->pus = n;
    for (int i = 0; i < n; i++) {
        t->pu[i] = hwloc_get_obj_by_type(t->hw, HWLOC_OBJ_PU, (unsigned)i);
        if (leads_core(t, t->pu[i]))
            t->core[t->cores++] = t->pu[i];
    }
    t->nodes = count(t, HWLOC_OBJ_NUMANODE);
    return 0;
}

/* Obey whoever bound this process before it could look: mpirun, srun, taskset. */
static int restrict_to_binding(struct topo *t, struct err *e)
{
    hwloc_bitmap_t may = hwloc_bitmap_alloc();
    int rc = 0;

    if (!may)
        return err_sys(e, ERR_NOMEM, ENOMEM, "topology: a set of PUs");
    if (hwloc_get_cpubind(t->hw, may, HWLOC_CPUBIND_THREAD) == 0 &&
        hwloc_bitmap_intersects(may, hwloc_topology_get_allowed_cpuset(t->hw)) &&
        hwloc_topology_restrict(t->hw, may, HWLOC_RESTRICT_FLAG_REMOVE_CPULESS) < 0)
        rc = err_sys(e, ERR_FAILED, errno,
                     "topology: restrict it to this process's PUs");
    hwloc_bitmap_free(may);
    return rc;
}

static int load(const char *machine, struct topo **out, struct err *e)
{
    struct topo *t = calloc(1, sizeof *t);
    int rc;

    if (!t || hwloc_topology_init(&t->hw) < 0) {
        free(t);
        return err_sys(e, ERR_NOMEM, ENOMEM, "topology");
    }
    if (machine && hwloc_topology_set_synthetic(t->hw, machine) < 0) {
        rc = err_set(e, ERR_FAILED,
                     "topology: \"%s\" is not in hwloc's synthetic syntax", machine);
        goto fail;
    }
    if (hwloc_topology_load(t->hw) < 0) {
        rc =
            err_sys(e, ERR_FAILED, errno, "topology: hwloc cannot read this machine's");
        goto fail;
    }
    if ((!machine && (rc = restrict_to_binding(t, e)) < 0) || (rc = list_pus(t, e)) < 0)
        goto fail;
    *out = t;
    return 0;

fail:
    topo_destroy(t);
    return rc;
}

int topo_here(struct topo **out, struct err *e)
{
    return load(NULL, out, e);
}

int topo_synthetic(const char *machine, struct topo **out, struct err *e)
{
    return load(machine, out, e);
}

void topo_destroy(struct topo *t)
{
    if (!t)
        return;
    hwloc_topology_destroy(t->hw);
    free(t->pu);
    free(t->core);
    free(t);
}

int topo_pus(const struct topo *t)
{
    return t->pus;
}

int topo_cores(const struct topo *t)
{
    return t->cores;
}

int topo_nodes(const struct topo *t)
{
    return t->nodes;
}

int topo_share(const struct topo *t, int ranks)
{
    return t->cores < ranks ? 1 : t->cores / ranks;
}

/* --- who shares it -------------------------------------------------------- */

/* Equal for ranks that share processors: the running kernel (containers on one
 * machine have one) and the PUs that it gives them. */
static int pus_key(const struct topo *t, int64_t *key, struct err *e)
{
    char hex[SHA256_HEX], host[256] = "", *set = NULL;
    struct buf text = {0};

    if (fs_read("/proc/sys/kernel/random/boot_id", 4096, &text, NULL) < 0) {
        gethostname(host, sizeof host - 1);
        buf_puts(&text, host);
    }
    if (hwloc_bitmap_asprintf(&set, hwloc_get_root_obj(t->hw)->cpuset) < 0) {
        buf_free(&text);
        return err_sys(e, ERR_NOMEM, ENOMEM, "topology: a set of PUs");
    }
    buf_puts(&text, set);
    sha256_bytes(text.data, text.len, hex);
    hex[15] = '\0'; /* 60 bits: a positive int64 */
    *key = (int64_t)strtoll(hex, NULL, 16);
    free(set);
    buf_free(&text);
    return 0;
}

int topo_sit(const struct topo *t, struct comm *c, int *rank, int *ranks, struct err *e)
{
    const int size = comm_size(c), me = comm_rank(c);
    int64_t *key = calloc((size_t)size, sizeof *key);
    int rc, lower = 0, all = 0;

    if (!key)
        return err_sys(e, ERR_NOMEM, ENOMEM, "topology: keys of %d ranks", size);
    rc = pus_key(t, &key[me], e);
    if (rc == 0)
        rc = comm_allreduce(c, key, (size_t)size, COMM_MAX, e);
    for (int i = 0; rc == 0 && i < size; i++) {
        all += key[i] == key[me];
        lower += i < me && key[i] == key[me];
    }
    free(key);
    if (rc < 0)
        return rc;
    *rank = lower;
    *ranks = all;
    return 0;
}

/* --- who takes which ------------------------------------------------------ */

bool topo_fits(const struct topo *t, const struct topo_seat *s)
{
    return (long long)s->ranks * s->threads <= t->pus;
}

/* Rank r has the places [r n / ranks, (r + 1) n / ranks) of n, at least
 * `threads` of them where all fit, and spreads its threads over those. */
static hwloc_obj_t place(const struct topo *t, const struct topo_seat *s, int thread)
{
    const bool by_core = (long long)s->ranks * s->threads <= t->cores;
    const long long n = by_core ? t->cores : t->pus;
    const long long from = n * s->rank / s->ranks, to = n * (s->rank + 1) / s->ranks;

    return (by_core ? t->core : t->pu)[from + (to - from) * thread / s->threads];
}

int topo_pu(const struct topo *t, const struct topo_seat *s, int thread)
{
    return topo_fits(t, s) ? (int)place(t, s, thread)->os_index : -1;
}

int topo_bind(const struct topo *t, const struct topo_seat *s, int thread,
              struct err *e)
{
    hwloc_obj_t pu;

    if (!topo_fits(t, s))
        return 0;
    pu = place(t, s, thread);
    if (hwloc_set_cpubind(t->hw, pu->cpuset, HWLOC_CPUBIND_THREAD) < 0)
        return err_sys(e, ERR_FAILED, errno, "topology: bind thread %d to PU %u",
                       thread, pu->os_index);
    return 0;
}

int topo_unbind(const struct topo *t, struct err *e)
{
    if (hwloc_set_cpubind(t->hw, hwloc_get_root_obj(t->hw)->cpuset,
                          HWLOC_CPUBIND_THREAD) < 0)
        return err_sys(e, ERR_FAILED, errno, "topology: unbind a thread");
    return 0;
}
