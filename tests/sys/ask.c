/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.c - asks nnd one thing, for tests in shell; prints "field value" lines.
 *
 *   ask URI submit STEPS RANKS NAME [KEY]     prints the id
 *   ask URI show ID [FIELD]                   all fields, or the value of one
 *   ask URI wait ID SECONDS                   until it has ended; prints the state
 *   ask URI until ID STATE SECONDS            until it is in that state
 *   ask URI list | hello | events [ID] | ranks ID | log ID [RANK] | metrics ID | cause
 * ID ask URI cancel|hold|release|suspend|resume ID ask URI shutdown [stop] The exit
 * status is that of the error, as nnctl's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "proto/chan.h"
#include "proto/spec.h"
#include "proto/wire.pb-c.h"

static struct chan *chan;
static int patience_ms = 10000; /* ASK_MS */

static void check(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "ask: %s\n", e->text);
    exit(-rc);
}

static void *call(unsigned type, ProtobufCMessage *m)
{
    ProtobufCMessage *reply;
    struct err e;

    check(chan_call(chan, type, m, patience_ms, &reply, &e), &e);
    return reply;
}

static uint64_t number(const char *text)
{
    return text ? strtoull(text, NULL, 10) : 0;
}

/* "field value" for every scalar that is there; of one field the value alone. */
static void print(const ProtobufCMessage *m, const char *only)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;

    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        const char *at = (const char *)m + f->offset;
        int has = 1;

        if (f->label == PROTOBUF_C_LABEL_REPEATED ||
            (only && strcmp(only, f->name) != 0))
            continue;
        if (f->type != PROTOBUF_C_TYPE_STRING)
            has = *(const protobuf_c_boolean *)((const char *)m + f->quantifier_offset);
        else
            has = *(char *const *)at != NULL;
        if (!has)
            continue;
        if (!only)
            printf("%s ", f->name);
        if (f->type == PROTOBUF_C_TYPE_STRING)
            printf("%s\n", *(char *const *)at);
        else if (f->type == PROTOBUF_C_TYPE_UINT64)
            printf("%" PRIu64 "\n", *(const uint64_t *)at);
        else if (f->type == PROTOBUF_C_TYPE_DOUBLE)
            printf("%.6f\n", *(const double *)at);
        else if (f->type == PROTOBUF_C_TYPE_ENUM)
            printf("%s\n",
                   protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)at)
                       ->name);
        else
            printf("%d\n", *(const int *)at);
    }
}

/* ASK_SET="KEY=VALUE KEY=VALUE": over what is said below. */
static void put_set(struct spec *s)
{
    char *text = strdup(getenv("ASK_SET") ? getenv("ASK_SET") : ""), *save = NULL;
    struct err e;

    for (char *t = strtok_r(text, " ", &save); t; t = strtok_r(NULL, " ", &save)) {
        char *value = strchr(t, '=');

        if (!value)
            continue;
        *value++ = '\0';
        check(spec_put(s, t, value, "test", &e), &e);
    }
    free(text);
}

static void ask_submit(int argc, char **argv)
{
    Wire__Submit m = WIRE__SUBMIT__INIT;
    struct spec *s = spec_create();
    struct buf b = {0};
    char key[33];
    struct err e;

    chan_key(key);
    check(spec_put(s, "train.steps", argv[0], "test", &e), &e);
    check(spec_put(s, "parallel.dp", argv[1], "test", &e), &e);
    check(spec_put(s, "name", argv[2], "test", &e), &e);
    check(spec_put(s, "train.threads", "1", "test", &e), &e);
    check(spec_put(s, "retry.delay", "0.5", "test", &e), &e);
    check(spec_put(s, "retry.max", "2", "test", &e), &e);
    check(spec_put(s, "data.train", "/etc/hostname", "test", &e), &e);
    put_set(s);
    check(spec_resolve(s, &e), &e);
    check(spec_pack(s, &b, &e), &e);
    m.key = argc > 3 ? argv[3] : key;
    m.has_job = 1;
    m.job.data = (uint8_t *)b.data;
    m.job.len = b.len;
    m.has_hold = m.hold = getenv("ASK_HOLD") != NULL;
    printf("%" PRIu64 "\n",
           ((Wire__SubmitReply *)call(WIRE__TYPE__SUBMIT, &m.base))->id);
}

static Wire__ShowReply *show(uint64_t id, uint32_t wait_ms, uint64_t version)
{
    Wire__Show m = WIRE__SHOW__INIT;

    m.has_id = m.has_wait_ms = 1;
    m.id = id;
    m.wait_ms = wait_ms;
    m.has_version = version != 0;
    m.version = version;
    return call(WIRE__TYPE__SHOW, &m.base);
}

static void ask_show(int argc, char **argv)
{
    print(&show(number(argv[0]), 0, 0)->job->base, argc > 1 ? argv[1] : NULL);
}

static const char *state_word(Wire__State s)
{
    return protobuf_c_enum_descriptor_get_value(&wire__state__descriptor, (int)s)->name;
}

/* Follow a job by long polls until it has ended or is in `state`. */
static void follow(uint64_t id, const char *state, double seconds)
{
    int64_t end = clock_mono_ns() + (int64_t)(seconds * 1e9);
    uint64_t version = 0;

    while (clock_mono_ns() < end) {
        Wire__JobInfo *j = show(id, 500, version)->job;

        if (state ? strcmp(state_word(j->state), state) == 0
                  : j->state >= WIRE__STATE__COMPLETED) {
            printf("%s\n", state_word(j->state));
            return;
        }
        version = j->version;
    }
    fprintf(stderr, "ask: job %" PRIu64 " is %s after %g s\n", id,
            state_word(show(id, 0, 0)->job->state), seconds);
    exit(1);
}

static void ask_wait(int argc, char **argv)
{
    follow(number(argv[0]), NULL, argc > 1 ? atof(argv[1]) : 20);
}

static void ask_until(int argc, char **argv)
{
    follow(number(argv[0]), argv[1], argc > 2 ? atof(argv[2]) : 20);
}

static void ask_list(int argc, char **argv)
{
    Wire__List m = WIRE__LIST__INIT;
    Wire__ListReply *r = call(WIRE__TYPE__LIST, &m.base);

    (void)argc;
    (void)argv;
    for (size_t i = 0; i < r->n_jobs; i++)
        printf("%" PRIu64 " %s %s\n", r->jobs[i]->id, state_word(r->jobs[i]->state),
               r->jobs[i]->name);
}

static void ask_hello(int argc, char **argv)
{
    Wire__Hello m = WIRE__HELLO__INIT;

    print(call(WIRE__TYPE__HELLO, &m.base), argc > 0 ? argv[0] : NULL);
}

static void ask_events(int argc, char **argv)
{
    Wire__Events m = WIRE__EVENTS__INIT;
    Wire__EventsReply *r;

    m.has_id = argc > 0;
    m.id = number(argc > 0 ? argv[0] : NULL);
    r = call(WIRE__TYPE__EVENTS, &m.base);
    for (size_t i = 0; i < r->n_events; i++)
        printf("%" PRIu64 " %" PRIu64 " %s %s %" PRIu64 " %s\n", r->events[i]->seq,
               r->events[i]->job, r->events[i]->name, state_word(r->events[i]->state),
               r->events[i]->step, r->events[i]->text ? r->events[i]->text : "");
}

static void ask_log(int argc, char **argv)
{
    Wire__Log m = WIRE__LOG__INIT;
    Wire__LogReply *r;

    m.has_id = m.has_offset = 1;
    m.id = number(argv[0]);
    m.has_rank = argc > 1;
    m.rank = argc > 1 ? atoi(argv[1]) : 0;
    do {
        r = call(WIRE__TYPE__LOG, &m.base);
        for (size_t i = 0; i < r->n_lines; i++)
            printf("%d%s %.*s\n", r->lines[i]->rank, r->lines[i]->err ? "!" : ":",
                   (int)r->lines[i]->text.len, (char *)r->lines[i]->text.data);
        m.offset = r->next;
    } while (!r->eof);
}

static void ask_metrics(int argc, char **argv)
{
    Wire__Metrics m = WIRE__METRICS__INIT;
    Wire__MetricsReply *r;

    (void)argc;
    m.has_id = m.has_offset = 1;
    m.id = number(argv[0]);
    do {
        r = call(WIRE__TYPE__METRICS, &m.base);
        printf("%.*s", (int)r->lines.len, (char *)r->lines.data);
        m.offset = r->next;
    } while (!r->eof);
}

/* The newest attempt that ended: what it says about itself, and its last lines. */
static void ask_cause(int argc, char **argv)
{
    Wire__ShowReply *r = show(number(argv[0]), 0, 0);
    size_t n = r->n_attempts;

    (void)argc;
    while (n > 0 && !r->attempts[n - 1]->has_ended_us)
        n--;
    if (n == 0)
        return;
    print(&r->attempts[n - 1]->base, NULL);
    for (size_t i = 0; i < r->attempts[n - 1]->n_cause; i++)
        printf("cause %s\n", r->attempts[n - 1]->cause[i]);
}

static void ask_ranks(int argc, char **argv)
{
    Wire__ShowReply *r = show(number(argv[0]), 0, 0);

    (void)argc;
    for (size_t i = 0; i < r->n_ranks; i++)
        printf("%u %u\n", r->ranks[i]->rank, r->ranks[i]->pid);
}

static void change(Wire__Action action, char **argv)
{
    Wire__Change m = WIRE__CHANGE__INIT;
    Wire__ChangeReply *r;

    m.has_id = m.has_action = 1;
    m.id = number(argv[0]);
    m.action = action;
    r = call(WIRE__TYPE__CHANGE, &m.base);
    printf("%s\n", state_word(r->state));
}

static void ask_shutdown(int argc, char **argv)
{
    Wire__Shutdown m = WIRE__SHUTDOWN__INIT;

    (void)argv;
    m.has_stop_jobs = 1;
    m.stop_jobs = argc > 0;
    call(WIRE__TYPE__SHUTDOWN, &m.base);
}

static const struct {
    const char *name;
    int args;
    void (*run)(int argc, char **argv);
} verbs[] = {
    {"submit", 3, ask_submit}, {"show", 1, ask_show},   {"wait", 1, ask_wait},
    {"until", 2, ask_until},   {"list", 0, ask_list},   {"hello", 0, ask_hello},
    {"events", 0, ask_events}, {"log", 1, ask_log},     {"metrics", 1, ask_metrics},
    {"cause", 1, ask_cause},   {"ranks", 1, ask_ranks}, {"shutdown", 0, ask_shutdown},
};

static const struct {
    const char *name;
    Wire__Action action;
} actions[] = {
    {"cancel", WIRE__ACTION__CANCEL},   {"hold", WIRE__ACTION__HOLD},
    {"release", WIRE__ACTION__RELEASE}, {"suspend", WIRE__ACTION__SUSPEND},
    {"resume", WIRE__ACTION__RESUME},
};

int main(int argc, char **argv)
{
    struct err e;

    if (argc < 3)
        return 2;
    if (getenv("ASK_MS"))
        patience_ms = atoi(getenv("ASK_MS"));
    check(chan_open(argv[1], true, &chan, &e), &e);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[2], verbs[i].name) == 0 && argc - 3 >= verbs[i].args) {
            verbs[i].run(argc - 3, argv + 3);
            return fflush(stdout) != 0;
        }
    }
    for (size_t i = 0; argc == 4 && i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(argv[2], actions[i].name) == 0) {
            change(actions[i].action, argv + 3);
            return fflush(stdout) != 0;
        }
    }
    return 2;
}
