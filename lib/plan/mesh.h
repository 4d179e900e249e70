/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mesh.h - which rank does what.
 *
 * The world has dp x pp x tp x cp ranks; experts are folded over dp x cp: ep
 * consecutive dp ranks hold one full set of experts, and the dp / ep ranks with
 * the same place in such groups (edp) hold the same experts.  Only dp and ep
 * exist so far; mesh_make refuses the others.
 */
#ifndef PLAN_MESH_H
#define PLAN_MESH_H

#include <stdint.h>

#include "base/err.h"

#define MESH_MAX 1024 /* ranks */

struct mesh {
    int dp, ep, tp, pp, cp, etp; /* sizes                              */
    int world;                   /* ranks                              */
    int rank;                    /* this rank: its dp coordinate       */
    int ep_rank, ep_group;       /* rank % ep, rank / ep               */
    int edp;                     /* dp / ep: replicas of an expert     */
    int chunks;                  /* canonical chunks of a global batch */
    int chunks_local;            /* chunks / dp, owned contiguously    */
};

/* Sizes as in the job.  Errors name the axis, what was wanted and found. */
int mesh_make(int dp, int ep, int tp, int pp, int cp, int etp, int chunks, int rank,
              struct mesh *out, struct err *e);

/* The canonical number of the chunk that dp rank `rank` computes at `position`. */
int mesh_chunk(const struct mesh *m, int rank, int position);

#endif
