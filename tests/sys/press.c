/* SPDX-License-Identifier: Apache-2.0 */
/*
 * press.c - many jobs, fast, for the tests and benches of nnd: submits with questions
 * in flight, remembers what was acknowledged, and looks for it in the store.
 *
 *   press URI submit FIRST N ACKS [WINDOW [DROP [LOG]]]
 *       jobs FIRST to FIRST + N - 1, all held, WINDOW questions at a time (1), a
 *       share DROP of the answers thrown away unread (0); asks again until each is
 *       acknowledged.  ACKS gets lines "number id position", the position being the
 *       size of LOG at that moment.  With PRESS_CANCEL set each job is canceled once it
 *       is acknowledged.  Prints how long it took.  SIGUSR1: submits no more, ends what
 *       it has begun, and leaves as if that had been all.
 *   press URI show N MAX            latency of SHOW for N jobs of 1 to MAX
 *   press DIR verify ACKS [POSITION]
 *       while no nnd runs: everything acknowledged up to POSITION is there, once and
 *       with its exact content, and replaying events gives the rows
 *   press DIR fill ENDED QUEUED     writes such jobs into a store, without nnd
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zmq.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "daemon/store.h"
#include "proto/chan.h"
#include "proto/spec.h"
#include "proto/wire.pb-c.h"

enum { RESEND_MS = 300, MOST = 4096 };

#define MS 1000000LL

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "press: %s: %s\n", what, e->text);
    exit(1);
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

static void check(int rc, const char *what, const struct err *e)
{
    if (rc < 0)
        die(what, e);
}

/* --- jobs ----------------------------------------------------------------- */

static struct spec *make_spec(void)
{
    struct spec *s = spec_create();
    struct err e;

    check(spec_put(s, "train.threads", "1", "press", &e), "threads", &e);
    check(spec_put(s, "data.train", "/etc/hostname", "press", &e), "data", &e);
    check(spec_resolve(s, &e), "resolve", &e);
    return s;
}

/* The packed job number n: every one is another. */
static void make_job(uint64_t n, struct buf *out)
{
    static struct spec *s;
    Nnd__Job j;
    char name[32];

    if (!s)
        s = make_spec();
    j = *spec_job(s);
    snprintf(name, sizeof name, "press %" PRIu64, n);
    j.name = name;
    j.seed = n;
    buf_reserve(out, nnd__job__get_packed_size(&j));
    out->len = nnd__job__pack(&j, (uint8_t *)out->data);
}

/* --- submitting ----------------------------------------------------------- */

struct flight {
    uint64_t job; /* its number, or 0: free                    */
    uint64_t id;  /* once it is acknowledged and to be canceled */
    int64_t again;
};

struct press {
    void *socket;
    struct flight *flights;
    size_t window, free;
    uint64_t next, end, left;
    double drop;
    FILE *acks;
    const char *log;
    bool cancel;
    uint64_t resent, dropped, refused;
};

/* The packed request, and its type. */
static unsigned pack_submit(uint64_t job, struct buf *out)
{
    Wire__Submit m = WIRE__SUBMIT__INIT;
    struct buf spec = {0};
    char key[40];

    make_job(job, &spec);
    snprintf(key, sizeof key, "press-%024" PRIu64, job);
    m.key = key;
    m.has_job = m.has_hold = m.hold = 1;
    m.job = (ProtobufCBinaryData){spec.len, (uint8_t *)spec.data};
    buf_reserve(out, wire__submit__get_packed_size(&m));
    out->len = wire__submit__pack(&m, (uint8_t *)out->data);
    buf_free(&spec);
    return WIRE__TYPE__SUBMIT;
}

static unsigned pack_cancel(uint64_t id, struct buf *out)
{
    Wire__Change m = WIRE__CHANGE__INIT;

    m.has_id = m.has_action = 1;
    m.id = id;
    m.action = WIRE__ACTION__CANCEL;
    buf_reserve(out, wire__change__get_packed_size(&m));
    out->len = wire__change__pack(&m, (uint8_t *)out->data);
    return WIRE__TYPE__CHANGE;
}

/* Numbers of questions: even for submits, odd for cancels. */
static uint32_t question(const struct flight *f)
{
    return (uint32_t)(2 * f->job + (f->id != 0));
}

static void send_job(struct press *p, size_t slot)
{
    struct flight *f = &p->flights[slot];
    struct buf body = {0};
    struct chan_header h = {.version = CHAN_VERSION};
    uint8_t header[CHAN_HEADER];

    h.type = (uint16_t)(f->id ? pack_cancel(f->id, &body) : pack_submit(f->job, &body));
    h.length = (uint32_t)body.len;
    h.id = question(f);
    chan_header_put(&h, header);
    f->again = clock_mono_ns() + RESEND_MS * MS;
    if (zmq_send(p->socket, header, sizeof header, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        f->again = clock_mono_ns() + 5 * MS; /* nobody is connected */
    else
        zmq_send(p->socket, body.data, body.len, ZMQ_DONTWAIT);
    buf_free(&body);
}

static void done(struct press *p, size_t slot)
{
    p->flights[slot].job = p->flights[slot].id = 0;
    p->left--;
}

static void acknowledge(struct press *p, size_t slot, const void *data, size_t size)
{
    ProtobufCMessage *m;
    struct stat st = {.st_size = 0};
    struct err e;

    check(chan_unpack(&wire__submit_reply__descriptor, data, size, &m, &e), "answer",
          &e);
    if (p->log)
        stat(p->log, &st);
    fprintf(p->acks, "%" PRIu64 " %" PRIu64 " %lld\n", p->flights[slot].job,
            ((Wire__SubmitReply *)m)->id, (long long)st.st_size);
    if (p->cancel) {
        p->flights[slot].id = ((Wire__SubmitReply *)m)->id;
        send_job(p, slot);
    } else {
        done(p, slot);
    }
    chan_free(m);
}

/* Refused for now: that job again, in a moment.  Anything else is a fault. */
static void take_refusal(struct press *p, size_t slot, const void *data, size_t size)
{
    ProtobufCMessage *m;
    struct err e;

    check(chan_unpack(&wire__error__descriptor, data, size, &m, &e), "refusal", &e);
    if (((Wire__Error *)m)->code != ERR_RETRY) {
        fprintf(stderr, "press: refused: %s\n", ((Wire__Error *)m)->text);
        exit(-((Wire__Error *)m)->code);
    }
    p->refused++;
    p->flights[slot].again = clock_mono_ns() + 50 * MS;
    chan_free(m);
}

static void take_answer(struct press *p, zmq_msg_t frames[2])
{
    const void *data = zmq_msg_data(&frames[1]);
    size_t size = zmq_msg_size(&frames[1]), slot = 0;
    struct chan_header h;
    struct err e;

    check(chan_header_get(zmq_msg_data(&frames[0]), zmq_msg_size(&frames[0]), &h, &e),
          "header", &e);
    while (slot < p->window &&
           (!p->flights[slot].job || question(&p->flights[slot]) != h.id))
        slot++;
    if (slot == p->window)
        return; /* the second answer to one question */
    if (drand48() < p->drop)
        p->dropped++;
    else if (h.flags & CHAN_ERROR)
        take_refusal(p, slot, data, size);
    else if (p->flights[slot].id)
        done(p, slot);
    else
        acknowledge(p, slot, data, size);
}

static void receive_all(struct press *p)
{
    for (;;) {
        zmq_msg_t frames[2];
        int n = 0;

        zmq_msg_init(&frames[0]);
        zmq_msg_init(&frames[1]);
        while (n < 2 && zmq_msg_recv(&frames[n], p->socket, ZMQ_DONTWAIT) >= 0)
            n++;
        if (n == 2)
            take_answer(p, frames);
        zmq_msg_close(&frames[0]);
        zmq_msg_close(&frames[1]);
        if (n < 2)
            return;
    }
}

static void send_all(struct press *p)
{
    int64_t now = clock_mono_ns();

    for (size_t i = 0; i < p->window; i++) {
        struct flight *f = &p->flights[i];

        if (!f->job && p->next < p->end) {
            f->job = p->next++;
            send_job(p, i);
        } else if (f->job && now >= f->again) {
            p->resent++;
            send_job(p, i);
        }
    }
}

static volatile sig_atomic_t enough;

static void on_usr1(int signal)
{
    (void)signal;
    enough = 1;
}

/* Nothing new: what was not begun is not asked for. */
static void stop_early(struct press *p)
{
    p->left -= p->end - p->next;
    p->end = p->next;
}

static void *open_socket(void *ctx, const char *uri)
{
    void *s = zmq_socket(ctx, ZMQ_DEALER);
    int linger = 0, immediate = 1, hwm = MOST, ivl = 5, most = 50;

    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s, ZMQ_IMMEDIATE, &immediate, sizeof immediate);
    zmq_setsockopt(s, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(s, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(s, ZMQ_RECONNECT_IVL, &ivl, sizeof ivl);
    zmq_setsockopt(s, ZMQ_RECONNECT_IVL_MAX, &most, sizeof most);
    zmq_connect(s, uri);
    return s;
}

static int submit(const char *uri, int argc, char **argv)
{
    void *ctx = zmq_ctx_new();
    struct press p = {
        .socket = open_socket(ctx, uri),
        .next = number(argv[0]),
        .left = number(argv[1]),
        .acks = fopen(argv[2], "a"),
        .window = argc > 3 ? number(argv[3]) : 1,
        .drop = argc > 4 ? atof(argv[4]) : 0,
        .log = argc > 5 ? argv[5] : NULL,
        .cancel = getenv("PRESS_CANCEL") != NULL,
    };
    int64_t began = clock_mono_ns();
    double seconds;
    uint64_t n;

    if (!p.acks || p.window < 1 || p.window > MOST || p.next < 1) {
        fprintf(stderr, "press: submit: wrong arguments\n");
        return 2;
    }
    p.end = p.next + p.left;
    signal(SIGUSR1, on_usr1);
    p.flights = calloc(p.window, sizeof *p.flights);
    while (p.left > 0) {
        zmq_pollitem_t item = {.socket = p.socket, .events = ZMQ_POLLIN};

        if (enough)
            stop_early(&p);
        send_all(&p);
        zmq_poll(&item, 1, 5);
        receive_all(&p);
        fflush(p.acks);
    }
    seconds = (double)(clock_mono_ns() - began) * 1e-9;
    n = p.end - number(argv[0]);
    printf("jobs %" PRIu64 " seconds %.3f per-second %.0f asked-again %" PRIu64
           " dropped %" PRIu64 " refused %" PRIu64 "\n",
           n, seconds, (double)n / seconds, p.resent, p.dropped, p.refused);
    fclose(p.acks);
    free(p.flights);
    zmq_close(p.socket);
    zmq_ctx_term(ctx);
    return 0;
}

/* --- asking --------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int show(const char *uri, int argc, char **argv)
{
    size_t n = number(argv[0]);
    uint64_t most = number(argv[1]);
    double *ms = calloc(n, sizeof *ms);
    struct chan *c;
    struct err e;

    (void)argc;
    check(chan_open(uri, true, &c, &e), "open", &e);
    for (size_t i = 0; i < n; i++) {
        Wire__Show m = WIRE__SHOW__INIT;
        ProtobufCMessage *reply;
        int64_t began = clock_mono_ns();

        m.has_id = 1;
        m.id = 1 + (uint64_t)(drand48() * (double)most);
        check(chan_call(c, WIRE__TYPE__SHOW, &m.base, 10000, &reply, &e), "show", &e);
        ms[i] = (double)(clock_mono_ns() - began) * 1e-6;
        chan_free(reply);
    }
    qsort(ms, n, sizeof *ms, by_size);
    printf("asked %zu p50-ms %.3f p99-ms %.3f max-ms %.3f\n", n, ms[n / 2],
           ms[n - 1 - n / 100], ms[n - 1]);
    free(ms);
    chan_close(c);
    return 0;
}

/* --- looking into the store ----------------------------------------------- */

static unsigned faults;

static void fault(uint64_t job, const char *text)
{
    if (faults++ < 20)
        printf("job %" PRIu64 ": %s\n", job, text);
}

/* The job of this id is number n, unchanged. */
static void check_content(struct store *s, uint64_t id, uint64_t n)
{
    struct buf wanted = {0}, found = {0};
    struct err e;

    make_job(n, &wanted);
    if (store_spec(s, id, &found, &e) < 0)
        fault(id, e.text);
    else if (wanted.len != found.len ||
             memcmp(wanted.data, found.data, wanted.len) != 0)
        fault(id, "is not the job that was submitted");
    if (store_check(s, id, &e) < 0)
        fault(id, e.text);
    buf_free(&wanted);
    buf_free(&found);
}

struct census {
    uint64_t jobs, last;
    uint8_t *seen; /* by number: how many jobs are that one */
    uint64_t size;
};

static bool count_one(void *arg, const struct job *j)
{
    struct census *c = arg;
    unsigned long long n;

    c->jobs++;
    if (j->name && sscanf(j->name, "press %llu", &n) == 1 && n < c->size)
        c->seen[n]++;
    if (j->state == WIRE__STATE__NEW)
        fault(j->id, "was accepted in part");
    return true;
}

static int verify(const char *dir, int argc, char **argv)
{
    const struct store_filter all = {.states = ~0u >> 1};
    uint64_t until = argc > 1 ? number(argv[1]) : UINT64_MAX, n, id, at, acked = 0;
    FILE *acks = fopen(argv[0], "r");
    struct census c = {.size = 4000000};
    struct store *s;
    struct err e;

    c.seen = calloc(c.size, 1);
    check(store_open(dir, &s, &e), "open", &e);
    check(store_check_file(s, &e), "structure", &e);
    check(store_each(s, &all, count_one, &c, &e), "list", &e);
    for (uint64_t i = 0; i < c.size; i++)
        if (c.seen[i] > 1)
            fault(i, "is there more than once");
    while (acks &&
           fscanf(acks, "%" SCNu64 " %" SCNu64 " %" SCNu64, &n, &id, &at) == 3) {
        if (at > until)
            continue;
        acked++;
        if (n >= c.size || c.seen[n] != 1)
            fault(id, "was acknowledged and is not there");
        else
            check_content(s, id, n);
    }
    store_close(s);
    free(c.seen);
    if (acks)
        fclose(acks);
    printf("jobs %" PRIu64 " acknowledged %" PRIu64 " faults %u\n", c.jobs, acked,
           faults);
    return faults > 0;
}

/* --- filling a store ------------------------------------------------------ */

static void post(struct store *s, struct job *j, enum event_kind kind)
{
    struct event ev = {.kind = kind, .bad_rank = -1, .metric = &j->metric};
    struct err e;

    if (kind == EVENT_START)
        ev.attempt = 1;
    if (kind == EVENT_SUBMIT)
        ev.step = 50;
    check(store_post(s, j, &ev, &e), "post", &e);
}

static void put_job(struct store *s, uint64_t n, bool ended)
{
    struct job *j = job_create(0);
    struct submission sub = {.key = NULL};
    struct buf spec = {0};
    char key[40], name[32];
    struct err e;
    bool known;

    make_job(n, &spec);
    snprintf(key, sizeof key, "press-%024" PRIu64, n);
    snprintf(name, sizeof name, "press %" PRIu64, n);
    sub = (struct submission){key, key, spec.data, spec.len, false};
    j->uid = (uint32_t)geteuid();
    j->name = strdup(name);
    j->cwd = strdup("/");
    j->ranks = j->threads = 1;
    j->steps = 1000;
    check(store_add(s, j, &sub, &known, &e), "add", &e);
    post(s, j, EVENT_SUBMIT);
    post(s, j, ended ? EVENT_QUEUE : EVENT_HOLD);
    if (ended) {
        post(s, j, EVENT_START);
        post(s, j, EVENT_UP);
        j->metric.has_step = j->metric.has_loss = 1;
        j->metric.step = j->steps;
        post(s, j, EVENT_COMPLETE);
    }
    job_destroy(j);
    buf_free(&spec);
}

static int fill(const char *dir, int argc, char **argv)
{
    uint64_t ended = number(argv[0]), queued = number(argv[1]);
    struct store *s;
    struct err e;

    (void)argc;
    check(store_open(dir, &s, &e), "open", &e);
    for (uint64_t i = 1; i <= ended + queued; i++) {
        put_job(s, i, i <= ended);
        if (i % 1000 == 0)
            check(store_commit(s, &e), "commit", &e);
    }
    check(store_commit(s, &e), "commit", &e);
    store_close(s);
    return 0;
}

/* --- the command line ----------------------------------------------------- */

int main(int argc, char **argv)
{
    static const struct {
        const char *word;
        int args;
        int (*run)(const char *where, int argc, char **argv);
    } words[] = {
        {"submit", 3, submit},
        {"show", 2, show},
        {"verify", 1, verify},
        {"fill", 2, fill},
    };

    srand48(getpid());
    for (size_t i = 0; argc > 2 && i < sizeof words / sizeof *words; i++)
        if (strcmp(argv[2], words[i].word) == 0 && argc - 3 >= words[i].args)
            return words[i].run(argv[1], argc - 3, argv + 3);
    fprintf(stderr, "press: see the head of press.c\n");
    return 2;
}
