/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - what survives: jobs and their journal, in one SQLite file.
 *
 * Writing gathers in one transaction until store_commit, so that all that came
 * in while the disk was busy shares one wait (group commit).  Nothing may be
 * told to anyone before store_commit has returned 0.  When anything fails, the
 * transaction is gone as a whole, and the caller reloads what it touched.
 *
 * The job table is the sum of the event table: store_check replays to see it.
 */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "daemon/job.h"

struct store;

/* Open or make DIR/nnd.db.  Refuses a damaged file, and one of a newer version,
 * which is left untouched. */
int store_open(const char *dir, struct store **out, struct err *e);
void store_close(struct store *s);

/* A random name for this store, 32 hexadecimal digits. */
const char *store_uuid(const struct store *s);

/* Add a job (its id becomes j->id) with the packed Nnd__Job and the submitter's
 * key.  When (uid, key) is known already: *known becomes true, *id that job's,
 * and nothing is added; ERR_SPEC when it came with another specification. */
struct submission {
    const char *key, *hash; /* hash: SHA-256 of the packed job, hexadecimal */
    const void *spec;
    size_t spec_size;
};
int store_add(struct store *s, struct job *j, const struct submission *sub, bool *known,
              struct err *e);

/* Append *ev for *j, fold it in, write the job's row.  Sets ev->seq, time_us,
 * job and state.  ERR_FAILED when the event cannot happen in this state (nothing
 * written), ERR_RETRY when the disk refuses. */
int store_post(struct store *s, struct job *j, struct event *ev, struct err *e);

/* Make durable what was written since the last commit.  ERR_RETRY: it is gone. */
int store_commit(struct store *s, struct err *e);

/* Something was written since the last commit. */
bool store_dirty(const struct store *s);

/* Sequence number of the newest event. */
uint64_t store_seq(const struct store *s);

/* --- reading -------------------------------------------------------------- */

/* One job; ERR_NOTFOUND.  The caller destroys it. */
int store_job(struct store *s, uint64_t id, struct job **out, struct err *e);

/* Call fn for jobs with id < before (0: no bound) that pass the filter, newest
 * first, until fn returns false.  The job belongs to the store.  `states` is a
 * set of bits 1 << Wire__State; since_us: submitted or ended since, 0 for all. */
typedef bool store_job_f(void *arg, const struct job *j);
int store_each(struct store *s, unsigned states, uint64_t before, int64_t since_us,
               store_job_f *fn, void *arg, struct err *e);

/* The packed specification of a job, appended to *out. */
int store_spec(struct store *s, uint64_t id, struct buf *out, struct err *e);

/* Call fn for events with seq > since, of one job or (0) of all, oldest first,
 * until fn returns false.  The event belongs to the store. */
typedef bool store_event_f(void *arg, const struct event *ev);
int store_events(struct store *s, uint64_t job, uint64_t since, store_event_f *fn,
                 void *arg, struct err *e);

/* Replay a job's events and compare with its row: ERR_FAILED names the first
 * field that differs. */
int store_check(struct store *s, uint64_t id, struct err *e);

#endif
