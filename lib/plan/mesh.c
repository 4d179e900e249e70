/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mesh.c - checks the sizes of a mesh and places one rank in it.
 *
 * Pure arithmetic for daemon and worker alike.  Whether the machines have room
 * for such a mesh is asked elsewhere.
 */
#include "plan/mesh.h"

#include <stddef.h>

static int is_power_of_two(int x)
{
    return x > 0 && (x & (x - 1)) == 0;
}

static int check_one(const char *axis, int size, struct err *e)
{
    if (size == 1)
        return 0;
    return err_set(e, ERR_SPEC, "parallel.%s: wanted 1, found %d: not available yet",
                   axis, size);
}

static int check_power(const char *key, int size, struct err *e)
{
    if (is_power_of_two(size))
        return 0;
    return err_set(e, ERR_SPEC, "%s: wanted a power of two, found %d", key, size);
}

static int check_missing_axes(int tp, int pp, int cp, int etp, struct err *e)
{
    const struct {
        const char *name;
        int size;
    } axis[] = {{"tp", tp}, {"pp", pp}, {"cp", cp}, {"etp", etp}};

    for (size_t i = 0; i < sizeof axis / sizeof *axis; i++) {
        int rc = check_one(axis[i].name, axis[i].size, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_sizes(int dp, int ep, int chunks, struct err *e)
{
    int rc;

    if ((rc = check_power("parallel.dp", dp, e)) < 0 ||
        (rc = check_power("parallel.ep", ep, e)) < 0 ||
        (rc = check_power("train.chunks", chunks, e)) < 0)
        return rc;
    if (dp > MESH_MAX)
        return err_set(e, ERR_SPEC, "parallel.dp: wanted at most %d, found %d",
                       MESH_MAX, dp);
    if (ep > dp)
        return err_set(e, ERR_SPEC,
                       "parallel.ep: wanted at most parallel.dp (%d), found %d", dp,
                       ep);
    if (chunks < dp)
        return err_set(e, ERR_SPEC,
                       "train.chunks: wanted at least parallel.dp (%d), found %d", dp,
                       chunks);
    return 0;
}

int mesh_make(int dp, int ep, int tp, int pp, int cp, int etp, int chunks, int rank,
              struct mesh *out, struct err *e)
{
    int rc;

    if ((rc = check_missing_axes(tp, pp, cp, etp, e)) < 0 ||
        (rc = check_sizes(dp, ep, chunks, e)) < 0)
        return rc;
    if (rank < 0 || rank >= dp)
        return err_set(e, ERR_FAILED, "rank %d: wanted one of the mesh's %d ranks",
                       rank, dp);
    *out = (struct mesh){
        .dp = dp,
        .ep = ep,
        .tp = 1,
        .pp = 1,
        .cp = 1,
        .etp = 1,
        .world = dp,
        .rank = rank,
        .ep_rank = rank % ep,
        .ep_group = rank / ep,
        .edp = dp / ep,
        .chunks = chunks,
        .chunks_local = chunks / dp,
    };
    return 0;
}

int mesh_chunk(const struct mesh *m, int rank, int position)
{
    return rank * m->chunks_local + position;
}
