/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_worker_agent.c - a rank's line to nnd, against an nnd of a few lines: what
 * is said, what is heard, and that nobody waits for one that is away.
 */
#include "tests/unit/unit.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "proto/chan.h"
#include "worker/agent.h"

enum { KINDS = 64, WAIT_MS = 5000 };

/* Answers every request of a rank with `stop`, and keeps the latest of each type. */
struct server {
    void *ctx, *socket;
    pthread_t thread;
    atomic_bool end, busy;
    atomic_int stop, seen[KINDS];
    pthread_mutex_t lock;
    ProtobufCMessage *last[KINDS];
};

static void pause_ms(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

static void keep(struct server *s, const struct chan_header *h, zmq_msg_t *body)
{
    ProtobufCMessage *m;
    struct err e;

    assert_true(h->type < KINDS && chan_op(h->type));
    assert_int_equal(chan_unpack(chan_op(h->type)->request, zmq_msg_data(body),
                                 zmq_msg_size(body), &m, &e),
                     0);
    pthread_mutex_lock(&s->lock);
    chan_free(s->last[h->type]);
    s->last[h->type] = m;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_add(&s->seen[h->type], 1);
}

static void answer(struct server *s, zmq_msg_t *who, struct chan_header *h)
{
    Wire__RankReply r = WIRE__RANK_REPLY__INIT;
    uint8_t header[CHAN_HEADER], body[64];

    r.has_stop = 1;
    r.stop = (Wire__Stop)atomic_load(&s->stop);
    h->flags = CHAN_ANSWER;
    h->length = (uint32_t)wire__rank_reply__pack(&r, body);
    chan_header_put(h, header);
    zmq_msg_send(who, s->socket, ZMQ_SNDMORE);
    zmq_send(s->socket, header, sizeof header, ZMQ_SNDMORE);
    zmq_send(s->socket, body, h->length, 0);
}

static void *serve(void *arg)
{
    struct server *s = arg;

    while (!atomic_load(&s->end)) {
        zmq_pollitem_t item = {.socket = s->socket, .events = ZMQ_POLLIN};
        zmq_msg_t part[3];
        struct chan_header h;
        struct err e;

        if (zmq_poll(&item, 1, 10) <= 0)
            continue;
        if (atomic_load(&s->busy)) {
            pause_ms(10);
            continue;
        }
        for (int i = 0; i < 3; i++) {
            zmq_msg_init(&part[i]);
            assert_true(zmq_msg_recv(&part[i], s->socket, 0) >= 0);
        }
        assert_int_equal(
            chan_header_get(zmq_msg_data(&part[1]), zmq_msg_size(&part[1]), &h, &e), 0);
        keep(s, &h, &part[2]);
        answer(s, &part[0], &h);
        for (int i = 0; i < 3; i++)
            zmq_msg_close(&part[i]);
    }
    return NULL;
}

static void uri_of(void **state, char out[128])
{
    snprintf(out, 128, "ipc://%s", unit_path(state, "sock"));
}

static struct server *server_start(void **state)
{
    struct server *s = calloc(1, sizeof *s);
    char uri[128];

    uri_of(state, uri);
    pthread_mutex_init(&s->lock, NULL);
    s->ctx = zmq_ctx_new();
    s->socket = zmq_socket(s->ctx, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(s->socket, uri), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    return s;
}

static void server_end(struct server *s)
{
    int none = 0;

    atomic_store(&s->end, true);
    pthread_join(s->thread, NULL);
    zmq_setsockopt(s->socket, ZMQ_LINGER, &none, sizeof none);
    zmq_close(s->socket);
    zmq_ctx_term(s->ctx);
    for (int i = 0; i < KINDS; i++)
        chan_free(s->last[i]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void wait_for(struct server *s, int type, int count)
{
    for (int ms = 0; atomic_load(&s->seen[type]) < count; ms += 5) {
        if (ms > WAIT_MS)
            fail_msg("%s: wanted %d, saw %d", chan_op((unsigned)type)->name, count,
                     atomic_load(&s->seen[type]));
        pause_ms(5);
    }
}

static struct agent *start(void **state)
{
    struct agent_config c = {
        .job = 7, .epoch = 99, .attempt = 3, .rank = 1, .ranks = 4};
    char uri[128];
    struct agent *a;
    struct err e;

    uri_of(state, uri);
    c.uri = uri;
    assert_int_equal(agent_start(&c, &a, &e), 0);
    return a;
}

static void finish(struct agent *a)
{
    agent_end(a, WIRE__FAILURE__NO_FAILURE, "done");
    agent_destroy(a);
}

static void check_who(const Wire__Rank *who)
{
    assert_non_null(who);
    assert_int_equal(who->job, 7);
    assert_int_equal(who->attempt, 3);
    assert_int_equal(who->epoch, 99);
    assert_int_equal(who->rank, 1);
}

/* ------------------------------------------------------------------------- */

static void a_rank_says_where_it_is(void **state)
{
    struct server *s = server_start(state);
    struct agent *a = start(state);
    struct exec_progress p = {.where = "layers.3.mlp"};
    const Wire__RankHello *hello;
    const Wire__RankBeat *beat;

    agent_first(a, 101);
    agent_phase(a, WIRE__PHASE__TRAIN);
    agent_step(a, 105);
    agent_watch(a, &p);
    wait_for(s, WIRE__TYPE__RANK_HELLO, 1);
    wait_for(s, WIRE__TYPE__RANK_BEAT, 3);
    finish(a);
    hello = (const Wire__RankHello *)s->last[WIRE__TYPE__RANK_HELLO];
    check_who(hello->who);
    assert_int_equal(hello->pid, getpid());
    assert_int_equal(hello->ranks, 4);
    beat = (const Wire__RankBeat *)s->last[WIRE__TYPE__RANK_BEAT];
    check_who(beat->who);
    assert_int_equal(beat->phase, WIRE__PHASE__TRAIN);
    assert_int_equal(beat->step, 105);
    assert_int_equal(beat->first_step, 101);
    assert_string_equal(beat->op, "layers.3.mlp");
    assert_true(beat->seq >= 3);
    assert_string_equal(beat->host, hello->host);
    server_end(s);
}

static void what_was_measured_arrives(void **state)
{
    struct server *s = server_start(state);
    struct agent *a = start(state);
    struct metrics m = {.report = {.step = 5,
                                   .loss = 1.25,
                                   .grad_norm = INFINITY,
                                   .targets = 100,
                                   .seconds = 0.5,
                                   .send_seconds = 0.25,
                                   .send_hidden = 0.75,
                                   .skipped = true},
                        .val_loss = NAN,
                        .tokens = 500};
    const Wire__RankMetric *w;
    const Wire__RankEnded *ended;

    agent_metrics(a, &m);
    agent_step(a, 5);
    agent_phase(a, WIRE__PHASE__EVAL);
    agent_end(a, WIRE__FAILURE__NAN, "no number");
    agent_destroy(a);
    assert_int_equal(atomic_load(&s->seen[WIRE__TYPE__RANK_METRIC]), 1);
    assert_int_equal(atomic_load(&s->seen[WIRE__TYPE__RANK_ENDED]), 1);
    w = (const Wire__RankMetric *)s->last[WIRE__TYPE__RANK_METRIC];
    check_who(w->who);
    assert_true(w->has_loss && w->loss == 1.25 && w->tokens_per_s == 200);
    assert_true(w->skipped && w->tokens == 500);
    assert_true(w->send_seconds == 0.25 && w->send_hidden == 0.75);
    assert_false(w->has_grad_norm || w->has_val_loss || w->has_dead_experts);
    ended = (const Wire__RankEnded *)s->last[WIRE__TYPE__RANK_ENDED];
    assert_int_equal(ended->failure, WIRE__FAILURE__NAN);
    assert_string_equal(ended->text, "no number");
    assert_int_equal(ended->step, 5);
    assert_int_equal(ended->phase, WIRE__PHASE__EVAL);
    server_end(s);
}

static void a_wish_to_stop_is_heard(void **state)
{
    struct server *s = server_start(state);
    struct agent *a = start(state);

    wait_for(s, WIRE__TYPE__RANK_BEAT, 1);
    assert_false(agent_stop_asked(a));
    atomic_store(&s->stop, WIRE__STOP__SAVE_AND_LEAVE);
    for (int ms = 0; !agent_stop_asked(a) && ms < WAIT_MS; ms += 5)
        pause_ms(5);
    assert_true(agent_stop_asked(a));
    finish(a);
    server_end(s);
}

/* Says a lot to nobody; then somebody is there, and hears the newest of it. */
static void nnd_may_be_away(void **state)
{
    struct agent *a = start(state);
    int64_t begin = clock_mono_ns();
    struct server *s;

    for (int i = 1; i <= 500; i++) {
        struct metrics m = {.report = {.step = i, .loss = 1}, .val_loss = NAN};

        agent_metrics(a, &m);
        agent_step(a, i);
    }
    assert_true(clock_mono_ns() - begin < 1000000000);
    s = server_start(state);
    wait_for(s, WIRE__TYPE__RANK_HELLO, 1);
    wait_for(s, WIRE__TYPE__RANK_BEAT, 1);
    finish(a);
    assert_int_equal(((const Wire__RankMetric *)s->last[WIRE__TYPE__RANK_METRIC])->step,
                     500);
    server_end(s);
}

static void nobody_waits_long_at_the_end(void **state)
{
    struct agent *a = start(state);
    int64_t begin = clock_mono_ns();

    finish(a);
    assert_true(clock_mono_ns() - begin < INT64_C(4000000000));
}

/* Not so busy that it hears nothing: of what lies in its socket when the rank is gone,
 * there is why. */
static void why_it_leaves_goes_first(void **state)
{
    struct server *s = server_start(state);
    struct agent *a = start(state);
    const Wire__RankEnded *ended;

    wait_for(s, WIRE__TYPE__RANK_HELLO, 1);
    wait_for(s, WIRE__TYPE__RANK_BEAT, 1);
    atomic_store(&s->busy, true);
    for (int i = 1; i <= 5; i++)
        agent_note(a, i, "something");
    agent_end(a, WIRE__FAILURE__KERNEL, "a kernel is wrong");
    agent_destroy(a);
    atomic_store(&s->busy, false);
    wait_for(s, WIRE__TYPE__RANK_ENDED, 1);
    ended = (const Wire__RankEnded *)s->last[WIRE__TYPE__RANK_ENDED];
    assert_int_equal(ended->failure, WIRE__FAILURE__KERNEL);
    assert_string_equal(ended->text, "a kernel is wrong");
    server_end(s);
}

/* In a child, since it ends the process. */
static void an_attempt_that_is_over_ends_at_once(void **state)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(3);
        start(state);
        pause_ms(2 * WAIT_MS);
        _exit(0);
    }
    assert_true(child > 0);
    struct server *s = server_start(state);
    atomic_store(&s->stop, WIRE__STOP__LEAVE);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    server_end(s);
}

static void without_nnd_nothing_happens(void **state)
{
    struct metrics m = {0};

    (void)state;
    agent_phase(NULL, WIRE__PHASE__TRAIN);
    agent_metrics(NULL, &m);
    agent_saved(NULL, 1, "/");
    agent_note(NULL, 1, "");
    assert_false(agent_stop_asked(NULL));
    finish(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_attempt_that_is_over_ends_at_once), /* first: it forks */
        TEST(a_rank_says_where_it_is),
        TEST(what_was_measured_arrives),
        TEST(a_wish_to_stop_is_heard),
        TEST(nnd_may_be_away),
        TEST(nobody_waits_long_at_the_end),
        TEST(why_it_leaves_goes_first),
        TEST(without_nnd_nothing_happens),
    };

    return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
