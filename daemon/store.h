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
 * Damage costs what is damaged and nothing else: a file that is damaged is copied
 * as far as it can be read, a row that contradicts its events is made anew from
 * them, and one that cannot be is set aside.
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

/* A submission's key is remembered that long, whatever becomes of the job. */
enum { STORE_KEY_DAYS = 7 };

/* Open or make DIR/nnd.db.  A damaged file is salvaged.  Refuses one of a newer
 * version, which is left untouched, what is no database, and a folder on a network
 * file system, where neither locks nor shared memory can be trusted. */
int store_open(const char *dir, struct store **out, struct err *e);
void store_close(struct store *s);

/* DIR has one, if only the copy of one that was salvaged. */
bool store_exists(const char *dir);

/* A random name for this store, 32 hexadecimal digits. */
const char *store_uuid(const struct store *s);

/* The file was damaged when it was opened. */
bool store_was_salvaged(const struct store *s);

/* Add a job (its id becomes j->id) with the packed Nnd__Job and the submitter's
 * key.  When (uid, key) is known already: *known becomes true, j->id that job's,
 * and nothing is added; ERR_SPEC when it came with another specification.  The
 * jobs of an array follow its first one, without a key. */
struct submission {
    const char *key, *hash; /* hash: SHA-256 of all that is submitted, hexadecimal */
    const void *spec;
    size_t spec_size;
    bool begins_array; /* j->array becomes the job's own id */
};
int store_add(struct store *s, struct job *j, const struct submission *sub, bool *known,
              struct err *e);

/* 1 with *id when (uid, key) is known, 0 when not; ERR_SPEC as above. */
int store_known(struct store *s, uint32_t uid, const struct submission *sub,
                uint64_t *id, struct err *e);

/* Append *ev for *j, fold it in, write the job's row.  Sets ev->seq, time_us,
 * job and state.  ERR_FAILED when the event cannot happen in this state (nothing
 * written), ERR_RETRY when the disk refuses. */
int store_post(struct store *s, struct job *j, struct event *ev, struct err *e);

/* Give no job a number up to `last`; *skipped says whether one might have got it. */
int store_skip(struct store *s, uint64_t last, bool *skipped, struct err *e);

/* Forget a job that has ended, and keys that are older than STORE_KEY_DAYS. */
int store_forget(struct store *s, uint64_t id, struct err *e);
int store_forget_keys(struct store *s, struct err *e);

/* The folders of forgotten jobs are remembered until they are gone. */
typedef void store_folder_f(void *arg, uint64_t id);
int store_folders(struct store *s, store_folder_f *fn, void *arg, struct err *e);
int store_folder_gone(struct store *s, uint64_t id, struct err *e);

/* Make durable what was written since the last commit.  ERR_RETRY: it is gone. */
int store_commit(struct store *s, struct err *e);

/* Something was written since the last commit. */
bool store_dirty(const struct store *s);

/* Sequence number of the newest event. */
uint64_t store_seq(const struct store *s);

/* --- reading -------------------------------------------------------------- */

/* One job; ERR_NOTFOUND, whose text tells what was once accepted from what never was.
 * The caller destroys it. */
int store_job(struct store *s, uint64_t id, struct job **out, struct err *e);

/* Jobs with first <= id < before (0: no bound) whose state is one of `states`, a set
 * of bits 1 << Wire__State; since_us: submitted or ended since, 0 for all. */
struct store_filter {
    unsigned states;
    uint64_t first, before;
    int64_t since_us;
};

/* Call fn for the jobs that pass, newest first, until it returns false.  The job
 * belongs to the store. */
typedef bool store_job_f(void *arg, const struct job *j);
int store_each(struct store *s, const struct store_filter *f, store_job_f *fn,
               void *arg, struct err *e);

/* Call fn for job `id` and, when it is an array's first, for the array's others, in
 * the order of their numbers, until it returns false.  Those that are not there any
 * more are left out, be it the first. */
typedef bool store_state_f(void *arg, uint64_t id, Wire__State state);
int store_array(struct store *s, uint64_t id, store_state_f *fn, void *arg,
                struct err *e);

/* Call fn for jobs that have ended, before `before_us` (0: no bound), those that
 * ended first before others, until it returns false. */
int store_ended(struct store *s, int64_t before_us, store_job_f *fn, void *arg,
                struct err *e);

/* How many have ended and are still known. */
int store_count_ended(struct store *s, uint64_t *out, struct err *e);

/* The packed specification of a job, appended to *out. */
int store_spec(struct store *s, uint64_t id, struct buf *out, struct err *e);

/* Call fn for events with seq > since, of one job or (0) of all, oldest first,
 * until fn returns false.  The event belongs to the store. */
typedef bool store_event_f(void *arg, const struct event *ev);
int store_events(struct store *s, uint64_t job, uint64_t since, store_event_f *fn,
                 void *arg, struct err *e);

/* --- damage --------------------------------------------------------------- */

/* Replay a job's events and compare with its row, and its specification with the
 * hash of what was submitted: ERR_FAILED names the first thing that differs. */
int store_check(struct store *s, uint64_t id, struct err *e);

/* Make a job whole that store_check complained about: its row is made anew from its
 * events (*lost false), or, where these or the specification are damaged too, set
 * aside in the table `damaged` (*lost true).  Takes a commit to last. */
int store_mend(struct store *s, uint64_t id, const char *why, bool *lost,
               struct err *e);

/* Everything at once: the file's structure and up to `most` jobs above `after`, for
 * each damaged one fn(arg, id, complaint).  *next becomes the last id looked at, 0 at
 * the end, *seen how many jobs that was. */
typedef void store_complaint_f(void *arg, uint64_t id, const char *text);
int store_check_all(struct store *s, uint64_t after, unsigned most,
                    store_complaint_f *fn, void *arg, uint64_t *next, unsigned *seen,
                    struct err *e);

/* The structure of the whole file; ERR_FAILED says what is wrong with it. */
int store_check_file(struct store *s, struct err *e);

#endif
