/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_submit.c - a job, or an array of jobs, accepted or refused as a whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/sha256.h"
#include "daemon/attempt.h"
#include "daemon/need.h"
#include "daemon/queue.h"
#include "daemon/rpc.h"
#include "daemon/rules.h"
#include "proto/spec.h"

enum {
    KEY_MIN = 16,
    KEY_MAX = 64,
    NAME_MAX_BYTES = 128,
    LABEL_MAX_BYTES = 512,
    RULES_OF_ARRAY = 16, /* jobs whose required kernels are looked at */
};

/* Free bytes below which no job is accepted: those that run need to end well.  On a
 * small file system an eighth of it. */
static const uint64_t disk_reserve = 16 << 20;

static int check_room(const struct hub *h, struct err *e)
{
    struct statvfs fs;
    uint64_t keep;

    if (statvfs(h->opt.dir, &fs) < 0)
        return 0;
    keep = (uint64_t)fs.f_blocks * fs.f_frsize / 8;
    keep = keep < disk_reserve ? keep : disk_reserve;
    if ((uint64_t)fs.f_bavail * fs.f_frsize >= keep)
        return 0;
    return err_set(e, ERR_RETRY,
                   "%s: the disk is full: %llu KiB are kept for jobs that "
                   "run already",
                   h->opt.dir, (unsigned long long)(keep >> 10));
}

static int check_text(const char *what, const char *text, size_t max, struct err *e)
{
    if (text && (!*text || strlen(text) > max))
        return err_set(e, ERR_SPEC, "%s: must be 1 to %zu bytes, got %zu", what, max,
                       strlen(text));
    return 0;
}

static int check_submit(const Wire__Submit *m, struct err *e)
{
    size_t n = m->key ? strlen(m->key) : 0;
    int rc = 0;

    if (n < KEY_MIN || n > KEY_MAX)
        return err_set(e, ERR_PROTOCOL, "submit.key: must be %d to %d bytes, got %zu",
                       KEY_MIN, KEY_MAX, n);
    if (!m->has_job || m->job.len == 0)
        return err_set(e, ERR_PROTOCOL, "submit.job: is missing");
    if (m->cwd && *m->cwd != '/')
        return err_set(e, ERR_PROTOCOL, "submit.cwd: must be absolute, got \"%s\"",
                       m->cwd);
    if (m->n_more >= ARRAY_MAX)
        return err_set(e, ERR_SPEC, "an array has at most %d jobs, got %zu", ARRAY_MAX,
                       m->n_more + 1);
    if (m->n_label > 0 && m->n_label != m->n_more + 1)
        return err_set(e, ERR_PROTOCOL, "submit.label: must be one per job, got %zu",
                       m->n_label);
    rc = check_text("name", m->name, NAME_MAX_BYTES, e);
    for (size_t i = 0; i < m->n_label && rc == 0; i++)
        rc = check_text("label", m->label[i], LABEL_MAX_BYTES, e);
    return rc;
}

/* --- making --------------------------------------------------------------- */

/* A submission on its way: its jobs, whole, before anything is written. */
struct batch {
    struct rpc_call *call;
    const Wire__Submit *m;
    struct job **jobs;
    size_t n;
    const char *needs; /* or NULL */
    char hash[SHA256_HEX];
};

static const ProtobufCBinaryData *packed(const Wire__Submit *m, size_t i)
{
    return i == 0 ? &m->job : &m->more[i - 1];
}

static char *copy(const char *text)
{
    struct buf b = {0};

    if (!text)
        return NULL;
    buf_puts(&b, text);
    return b.data;
}

static void fill(const struct batch *b, size_t i, const Nnd__Job *spec, struct job *j)
{
    const Wire__Submit *m = b->m;

    j->uid = b->call->uid;
    j->name = copy(m->name ? m->name : spec->name);
    j->cwd = copy(m->cwd ? m->cwd : "/");
    j->steps = spec->train->steps;
    j->retry_max = spec->retry->max;
    j->retry_delay = spec->retry->delay;
    j->priority = spec->queue->priority;
    j->time_limit = spec->queue->time;
    j->warn = spec->queue->warn;
    j->label = m->n_label ? copy(m->label[i]) : NULL;
    j->needs = copy(b->needs);
}

static int make_job(struct batch *b, size_t i, struct err *e)
{
    const ProtobufCBinaryData *data = packed(b->m, i);
    struct job *j = job_create(0);
    const struct launcher *launcher;
    struct spec *spec = NULL;
    int rc = spec_unpack(data->data, data->len, &spec, e);

    if (rc == 0)
        rc = attempt_launcher(b->call->hub, spec_job(spec)->launcher, &launcher, e);
    if (rc == 0)
        rc = queue_fit(b->call->hub, spec_job(spec)->parallel->dp,
                       spec_job(spec)->train->threads, j, e);
    if (rc == 0 && i < RULES_OF_ARRAY)
        rc = rules_check(b->call->hub, spec_job(spec), data->data, data->len, e);
    if (rc == 0)
        fill(b, i, spec_job(spec), j);
    spec_destroy(spec);
    if (rc != 0)
        job_destroy(j);
    if (rc > 0)
        return RPC_WAIT_CHILD;
    if (rc < 0) {
        return b->m->n_more ? err_prefix(e, "job %zu of the array", i + 1) : rc;
    }
    b->jobs[b->n++] = j;
    return 0;
}

/* What is to be looked at is asked for at once, before any of it is waited for: each
 * look may take long, and what it found counts for a while alone. */
static int make_batch(struct batch *b, struct err *e)
{
    const Wire__Submit *m = b->m;
    struct buf needs = {0};
    bool waits = false;
    int rc = need_text(b->call, m->after, m->n_after, &needs, e);

    b->needs = needs.len ? arena_strdup(b->call->arena, needs.data) : NULL;
    buf_free(&needs);
    b->jobs = arena_calloc(b->call->arena, m->n_more + 1, sizeof(struct job *));
    for (size_t i = 0; i <= m->n_more && rc == 0 && !(waits && i == RULES_OF_ARRAY);
         i++) {
        rc = make_job(b, i, e);
        if (waits && rc == ERR_RETRY) /* as many are asked about as may be */
            return RPC_WAIT_CHILD;
        waits |= rc == RPC_WAIT_CHILD;
        rc = rc == RPC_WAIT_CHILD ? 0 : rc;
    }
    return rc < 0 ? rc : waits ? RPC_WAIT_CHILD : 0;
}

/* --- writing -------------------------------------------------------------- */

/* SHA-256 of all jobs, one after the other. */
static void hash_all(const Wire__Submit *m, char hash[SHA256_HEX])
{
    struct sha256 *s;

    if (m->n_more == 0) {
        sha256_bytes(m->job.data, m->job.len, hash);
        return;
    }
    s = sha256_create();
    for (size_t i = 0; i <= m->n_more; i++)
        sha256_add(s, packed(m, i)->data, packed(m, i)->len);
    sha256_hex(s, hash);
    sha256_destroy(s);
}

/* Write a job and its first two events; the first job of all brings the key. */
static int store_one(struct batch *b, size_t i, uint64_t array, struct err *e)
{
    struct hub *h = b->call->hub;
    struct job *j = b->jobs[i];
    bool hold = b->m->has_hold && b->m->hold, known;
    struct event submit = {.kind = EVENT_SUBMIT, .bad_rank = -1, .step = j->priority};
    struct event next = {.kind = hold ? EVENT_HOLD : EVENT_QUEUE, .bad_rank = -1};
    struct submission sub = {
        .key = i == 0 ? b->m->key : NULL,
        .hash = b->hash,
        .spec = packed(b->m, i)->data,
        .spec_size = packed(b->m, i)->len,
        .begins_array = i == 0 && b->n > 1,
    };
    int rc;

    j->array = array;
    rc = store_add(h->store, j, &sub, &known, e);
    if (rc < 0)
        return rc;
    hub_add(h, j);
    rc = hub_post(h, j, &submit, e);
    return rc == 0 ? hub_post(h, j, &next, e) : rc;
}

/* Once one is written, the hub owns it; if the disk refuses another one, the commit
 * will fail and take back all of them. */
static int store_batch(struct batch *b, uint64_t *id, struct err *e)
{
    uint64_t array = 0;
    int rc = 0;

    for (size_t i = 0; i < b->n && rc == 0; i++) {
        struct job *j = b->jobs[i];

        rc = store_one(b, i, array, e);
        if (hub_find(b->call->hub, j->id) == j)
            b->jobs[i] = NULL;
        if (i == 0 && rc == 0) {
            *id = j->id;
            array = j->array;
        }
    }
    return rc;
}

/* 1: the key was seen before, and *id is the job of that time. */
static int is_known(struct batch *b, uint64_t *id, struct err *e)
{
    const struct submission sub = {.key = b->m->key, .hash = b->hash};

    hash_all(b->m, b->hash);
    return store_known(b->call->hub->store, b->call->uid, &sub, id, e);
}

static int accept_new(struct batch *b, uint64_t *id, struct err *e)
{
    struct hub *h = b->call->hub;
    int rc = 0;

    if (h->leaving)
        rc = err_set(e, ERR_RETRY, "nnd is shutting down");
    if (rc == 0)
        rc = check_room(h, e);
    if (rc == 0)
        rc = queue_admit(h, b->call->uid, b->m->n_more + 1, e);
    if (rc == 0)
        rc = make_batch(b, e);
    if (rc == 0)
        rc = store_batch(b, id, e);
    for (size_t i = 0; i < b->n; i++)
        job_destroy(b->jobs[i]);
    return rc;
}

static int on_submit(struct rpc_call *call, struct err *e)
{
    const Wire__Submit *m = (const Wire__Submit *)call->request;
    Wire__SubmitReply *reply = RPC_REPLY(call, Wire__SubmitReply, submit_reply);
    struct batch b = {.call = call, .m = m};
    int rc = check_submit(m, e);

    if (rc == 0)
        rc = is_known(&b, &reply->id, e);
    if (rc < 0)
        return rc;
    reply->has_id = reply->has_known = reply->has_count = 1;
    reply->known = rc;
    reply->count = (uint32_t)m->n_more + 1;
    return rc ? 0 : accept_new(&b, &reply->id, e);
}

const struct rpc_row rpc_submit_rows[] = {
    {WIRE__TYPE__SUBMIT, on_submit},
};
const size_t rpc_submit_nrows = sizeof rpc_submit_rows / sizeof *rpc_submit_rows;
