/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_comm.h - ranks that are threads of one process, for tests.
 *
 * Each rank shows where its bytes are and, when all have, copies what is meant
 * for it.  Only what graphs use exists: alltoallv, allgatherv, sums.
 */
#ifndef NUM_LAB_COMM_H
#define NUM_LAB_COMM_H

#include "comm/comm_impl.h"

struct lab_meeting;

/* Where `ranks` threads meet; outlives its communicators. */
struct lab_meeting *lab_meeting_create(int ranks);
void lab_meeting_destroy(struct lab_meeting *m);

struct comm *lab_comm_create(struct lab_meeting *m, int rank);

#endif
