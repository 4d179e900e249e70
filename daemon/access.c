/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.c - keys and roles, and how often somebody may ask.
 */
#include "daemon/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/oom.h"
#include "base/str.h"
#include "proto/chan.h"
#include "proto/wire.pb-c.h"

enum { BUCKETS = 256 }; /* users whose asking is counted at a time */

static const char domain[] = "nnd";

/* What a user has saved up: a token bucket. */
struct bucket {
    uint32_t uid;
    bool used;
    double tokens;
    int64_t at; /* monotonic ns, when it was counted */
};

struct access {
    uint32_t owner;
    struct key key;
    char key_path[4096], list_path[4096];
    access_ranks_f *ranks;
    const void *ranks_arg;
    struct allow_list list;
    bool list_seen;        /* there or not, right or wrong   */
    struct stat list_stat; /* of the file that was read last */
    struct bucket buckets[BUCKETS];
};

/* --- what a request needs ------------------------------------------------------- */

/* Requests that are not here are the ranks', which run here as nnd's own user, or
 * come from elsewhere with the key of their attempt. */
static const struct need {
    unsigned type;
    enum role role;
    bool expensive; /* counts for the rate */
} needs[] = {
    {WIRE__TYPE__HELLO, ROLE_OBSERVER, false},
    {WIRE__TYPE__SUBMIT, ROLE_USER, true},
    {WIRE__TYPE__LIST, ROLE_OBSERVER, true},
    {WIRE__TYPE__SHOW, ROLE_OBSERVER, false},
    {WIRE__TYPE__CHANGE, ROLE_USER, true},
    {WIRE__TYPE__EVENTS, ROLE_OBSERVER, true},
    {WIRE__TYPE__METRICS, ROLE_OBSERVER, true},
    {WIRE__TYPE__LOG, ROLE_OBSERVER, true},
    {WIRE__TYPE__KERNELS, ROLE_OBSERVER, false},
    {WIRE__TYPE__PURGE, ROLE_OPERATOR, false},
    {WIRE__TYPE__DOCTOR, ROLE_OPERATOR, false},
    {WIRE__TYPE__SHUTDOWN, ROLE_ADMIN, false},
    {WIRE__TYPE__RELOAD, ROLE_ADMIN, false},
};

static const struct need *find_need(unsigned type)
{
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (needs[i].type == type)
            return &needs[i];
    return NULL;
}

/* --- opening ------------------------------------------------------------------------
 */

static int own_key(struct access *a, const char *path, struct err *e)
{
    char host[64] = "here", name[80];
    struct key k;
    int rc;

    if (fs_exists(path))
        return key_read(path, &a->key, e);
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "nnd@%s", host);
    rc = key_make(name, &k, e);
    if (rc == 0)
        rc = key_write(path, &k, e);
    if (rc == 0)
        a->key = k;
    return rc;
}

/* Neither written, nor another one, nor given to others: only ctime tells the last. */
static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
           a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Take the allow list over when it has changed; one that is not there is of no size
 * and of no time, and is told of once.  One that could not be read, for want of
 * descriptors or from a bad disk, is read again. */
static void refresh(struct access *a)
{
    struct allow_list list;
    struct stat st;
    struct err e;
    int rc;

    if (stat(a->list_path, &st) < 0)
        st = (struct stat){0};
    if (a->list_seen && is_same(&st, &a->list_stat))
        return;
    allow_list_free(&a->list);
    rc = allow_list_read(a->list_path, &list, &e);
    a->list_seen = rc == 0 || rc == ERR_SPEC || rc == ERR_DENIED;
    a->list_stat = st;
    if (rc < 0) {
        log_warn("nobody is let in: error=\"%s\"", e.text);
        return;
    }
    a->list = list;
    log_info("allow list read: keys=%zu", list.n);
}

int access_open(const char *dir, uint32_t owner, struct access **out, struct err *e)
{
    struct access *a = oom_calloc(1, sizeof *a);
    char path[4200];
    int rc;

    a->owner = owner;
    snprintf(path, sizeof path, "%.4000s/keys", dir);
    snprintf(a->list_path, sizeof a->list_path, "%.4000s/keys/allow", dir);
    rc = fs_mkdirs(path, e);
    snprintf(a->key_path, sizeof a->key_path, "%.4000s/keys/server.key", dir);
    if (rc == 0)
        rc = own_key(a, a->key_path, e);
    if (rc < 0) {
        access_close(a);
        return rc;
    }
    refresh(a);
    *out = a;
    return 0;
}

void access_close(struct access *a)
{
    if (!a)
        return;
    allow_list_free(&a->list);
    explicit_bzero(&a->key, sizeof a->key);
    free(a);
}

const char *access_public(const struct access *a)
{
    return a->key.public;
}

/* --- keys at the door ------------------------------------------------------------ */

/* libzmq lets every key in when no domain is set, or nobody is there to be asked:
 * hence the domain, and the REP socket that is bound before anyone can come.  And
 * access_remote refuses a message without the name that only access_answer gives. */
int access_guard(void *ctx, void **zap, struct err *e)
{
    const int none = 0;
    void *s = zmq_socket(ctx, ZMQ_REP);

    if (!s || zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_bind(s, "inproc://zeromq.zap.01") != 0) {
        if (s)
            zmq_close(s);
        return err_set(e, ERR_FAILED, "CURVE: %s", zmq_strerror(zmq_errno()));
    }
    *zap = s;
    return 0;
}

int access_secure(const struct access *a, void *socket, struct err *e)
{
    const int one = 1;

    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof one) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, a->key.secret, KEYS_Z85) != 0 ||
        zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain)) != 0)
        return err_set(e, ERR_FAILED, "CURVE: %s", zmq_strerror(zmq_errno()));
    return 0;
}

int access_reread_key(struct access *a, struct key *old, struct err *e)
{
    struct key k;
    int rc = key_read(a->key_path, &k, e);

    if (rc == 0 && strcmp(k.secret, a->key.secret) != 0) {
        *old = a->key;
        a->key = k;
        rc = 1;
    }
    explicit_bzero(&k, sizeof k);
    return rc;
}

void access_restore_key(struct access *a, const struct key *old)
{
    a->key = *old;
}

void access_ranks(struct access *a, access_ranks_f *fn, const void *arg)
{
    a->ranks = fn;
    a->ranks_arg = arg;
}

static uint64_t epoch_of(const struct access *a, const char *public)
{
    return a->ranks ? a->ranks(a->ranks_arg, public) : 0;
}

/* The entry of a key that may come in now, or NULL. */
static const struct allowed *find_allowed(struct access *a, const char *public)
{
    const struct allowed *found;

    refresh(a);
    found = allow_list_find(&a->list, public);
    return found && found->until_us > clock_wall_us() ? found : NULL;
}

/* One question of RFC 27: version, id, domain, address, identity, mechanism, key. */
struct zap_question {
    char version[8], id[64], domain[32], address[128], identity[256], mechanism[16];
    uint8_t key[32];
    size_t id_len, key_len;
    int frames;
};

static bool receive_question(void *zap, struct zap_question *q)
{
    struct {
        void *to;
        size_t room;
        size_t *len;
    } frames[] = {
        {q->version, sizeof q->version - 1, NULL},
        {q->id, sizeof q->id, &q->id_len},
        {q->domain, sizeof q->domain - 1, NULL},
        {q->address, sizeof q->address - 1, NULL},
        {q->identity, sizeof q->identity - 1, NULL},
        {q->mechanism, sizeof q->mechanism - 1, NULL},
        {q->key, sizeof q->key, &q->key_len},
    };
    int more = 1;
    size_t size = sizeof more;

    *q = (struct zap_question){0};
    for (; more; q->frames++) {
        char rest[256];
        bool known = q->frames < (int)(sizeof frames / sizeof *frames);
        int n = zmq_recv(zap, known ? frames[q->frames].to : rest,
                         known ? frames[q->frames].room : sizeof rest, ZMQ_DONTWAIT);

        if (n < 0)
            return false;
        if (known && frames[q->frames].len)
            *frames[q->frames].len = (size_t)n;
        if (zmq_getsockopt(zap, ZMQ_RCVMORE, &more, &size) != 0)
            return false;
    }
    return true;
}

static bool is_good_question(const struct zap_question *q)
{
    return q->frames == 7 && strcmp(q->version, "1.0") == 0 &&
           strcmp(q->domain, domain) == 0 && strcmp(q->mechanism, "CURVE") == 0 &&
           q->key_len == sizeof q->key && q->id_len <= sizeof q->id;
}

void access_answer(struct access *a, void *zap)
{
    struct zap_question q;

    while (receive_question(zap, &q)) {
        char public[KEYS_Z85] = "";
        bool who = is_good_question(&q) &&
                   zmq_z85_encode(public, q.key, sizeof q.key) &&
                   (epoch_of(a, public) || find_allowed(a, public));

        if (!who)
            log_warn("refused: address=%s key=%s", q.address,
                     *public ? public : "none");
        zmq_send(zap, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(zap, q.id, q.id_len, ZMQ_SNDMORE);
        zmq_send(zap, who ? "200" : "400", 3, ZMQ_SNDMORE);
        zmq_send(zap, who ? "OK" : "not allowed", who ? 2 : 11, ZMQ_SNDMORE);
        zmq_send(zap, public, who ? strlen(public) : 0, ZMQ_SNDMORE);
        zmq_send(zap, "", 0, 0);
    }
}

/* --- who asks ----------------------------------------------------------------------
 */

/* "localhost:UID:GID:PID" */
static bool parse_peer(const char *text, uint32_t *uid, pid_t *pid)
{
    char copy[64], *part[4], *save = NULL;
    uint64_t u, g, p;
    int n = 0;

    if (!text || strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text);
    for (char *t = strtok_r(copy, ":", &save); t && n < 4;
         t = strtok_r(NULL, ":", &save))
        part[n++] = t;
    if (n != 4 || strcmp(part[0], "localhost") != 0 || !str_to_u64(part[1], &u) ||
        !str_to_u64(part[2], &g) || !str_to_u64(part[3], &p) || u >= UINT32_MAX)
        return false;
    *uid = (uint32_t)u;
    *pid = (pid_t)p;
    return true;
}

int access_local(const struct access *a, const char *peer, struct asker *out,
                 struct err *e)
{
    struct asker who = {.local = true, .role = ROLE_ADMIN};

    if (!parse_peer(peer, &who.uid, &who.pid))
        return err_set(e, ERR_DENIED, "message: the system does not say whose it is");
    *out = who;
    if (who.uid == a->owner)
        return 0;
    out->role = ROLE_NONE;
    return 0;
}

int access_remote(struct access *a, const char *public, struct asker *out,
                  struct err *e)
{
    const struct allowed *found;

    if (!public)
        return err_set(e, ERR_DENIED, "message: it came without a key");
    *out = (struct asker){.epoch = epoch_of(a, public)};
    snprintf(out->public, sizeof out->public, "%s", public);
    found = out->epoch ? NULL : find_allowed(a, public);
    if (!found)
        return 0; /* it was allowed in once, and is told that it is not any more */
    out->uid = found->uid;
    out->role = found->role;
    strcpy(out->user, found->user);
    return 0;
}

/* --- what they may ask --------------------------------------------------------------
 */

static struct bucket *find_bucket(struct access *a, uint32_t uid, int64_t now)
{
    struct bucket *oldest = &a->buckets[0];

    for (size_t i = 0; i < BUCKETS; i++) {
        struct bucket *b = &a->buckets[i];

        if (b->used && b->uid == uid)
            return b;
        if (!b->used || b->at < oldest->at)
            oldest = b;
    }
    *oldest = (struct bucket){.uid = uid, .used = true, .tokens = 1e9, .at = now};
    return oldest;
}

/* One request off the user's bucket; milliseconds to wait when it is empty. */
static uint32_t spend(struct access *a, const Nnd__Access *conf, uint32_t uid,
                      int64_t now)
{
    struct bucket *b = find_bucket(a, uid, now);

    b->tokens += (double)(now - b->at) * 1e-9 * conf->rate;
    b->at = now;
    if (b->tokens > conf->burst)
        b->tokens = conf->burst;
    if (b->tokens < 1)
        return (uint32_t)((1 - b->tokens) / conf->rate * 1000) + 1;
    b->tokens--;
    return 0;
}

static int refuse_stranger(const struct access *a, const struct asker *who,
                           struct err *e)
{
    if (who->local)
        return err_set(e, ERR_DENIED,
                       "nnd belongs to user %u, the request is user %u's",
                       (unsigned)a->owner, (unsigned)who->uid);
    return err_set(e, ERR_DENIED, "this key is not allowed any more");
}

static int check_role(const struct access *a, const struct asker *who, unsigned type,
                      struct err *e)
{
    const struct need *need = find_need(type);
    const struct chan_op *op = chan_op(type);
    enum role role = need ? need->role : ROLE_ADMIN;

    if (who->epoch && !need)
        return 0;
    if (who->epoch)
        return err_set(e, ERR_DENIED, "%s: a rank's key is for what ranks say",
                       op->name);
    if (who->role == ROLE_NONE)
        return refuse_stranger(a, who, e);
    if (who->role < role || (!need && !who->local))
        return err_set(e, ERR_DENIED, "%s: needs the role %s, this key has %s",
                       op ? op->name : "request", role_name(role),
                       role_name(who->role));
    return 0;
}

int access_check(struct access *a, const Nnd__Access *conf, const struct asker *who,
                 unsigned type, int64_t now, uint32_t *later_ms, struct err *e)
{
    const struct need *need = find_need(type);
    int rc = check_role(a, who, type, e);

    if (rc < 0 || !need || !need->expensive || who->role >= ROLE_OPERATOR)
        return rc;
    *later_ms = spend(a, conf, who->uid, now);
    if (*later_ms == 0)
        return 0;
    return err_set(e, ERR_RETRY, "user %s asks too often: at most %g requests a second",
                   who->user, conf->rate);
}

int access_check_again(struct access *a, struct asker *who, unsigned type,
                       struct err *e)
{
    char public[KEYS_Z85];
    int rc;

    if (who->local)
        return 0;
    strcpy(public, who->public);
    rc = access_remote(a, public, who, e);
    return rc == 0 ? check_role(a, who, type, e) : rc;
}

bool access_owns(const struct asker *who, uint32_t uid)
{
    return who->role >= ROLE_OPERATOR || who->uid == uid;
}

bool access_sees(const Nnd__Access *conf, const struct asker *who, uint32_t uid)
{
    return !conf->private_ || access_owns(who, uid);
}

const char *access_user(const struct access *a, uint32_t uid)
{
    for (size_t i = 0; a && i < a->list.n; i++)
        if (a->list.items[i].uid == uid)
            return a->list.items[i].user;
    return NULL;
}

bool access_uid(const struct access *a, const char *user, uint32_t *uid)
{
    for (size_t i = 0; a && i < a->list.n; i++)
        if (strcmp(a->list.items[i].user, user) == 0) {
            *uid = a->list.items[i].uid;
            return true;
        }
    return false;
}
