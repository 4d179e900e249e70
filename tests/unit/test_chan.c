/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_chan.c - headers and messages as a hostile hand would write them, and the
 * asking side against nobody, against silence and against another version.
 */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <zmq.h>

#include "base/clock.h"
#include "proto/chan.h"
#include "proto/wire.pb-c.h"

static const struct chan_header good = {1, 2, 0x1234, 77, 0xdeadbeef};

static void test_header_round_trip(void **state)
{
    const uint8_t wanted[CHAN_HEADER] = {'n', 'n', 'd', '1', 1,    2,    0x12, 0x34,
                                         0,   0,   0,   77,  0xde, 0xad, 0xbe, 0xef};
    uint8_t bytes[CHAN_HEADER];
    struct chan_header h;
    struct err e;

    (void)state;
    chan_header_put(&good, bytes);
    assert_memory_equal(bytes, wanted, sizeof wanted);
    assert_int_equal(chan_header_get(bytes, sizeof bytes, &h, &e), 0);
    assert_memory_equal(&h, &good, sizeof h);
}

static void test_header_refused(void **state)
{
    uint8_t bytes[CHAN_HEADER + 1] = {0};
    struct chan_header h, big = good;
    struct err e;

    (void)state;
    chan_header_put(&good, bytes);
    for (size_t n = 0; n <= CHAN_HEADER + 1; n++)
        assert_int_equal(chan_header_get(bytes, n, &h, &e),
                         n == CHAN_HEADER ? 0 : ERR_PROTOCOL);
    for (int i = 0; i < 4; i++) {
        bytes[i] ^= 1;
        assert_int_equal(chan_header_get(bytes, CHAN_HEADER, &h, &e), ERR_PROTOCOL);
        bytes[i] ^= 1;
    }
    big.length = CHAN_MAX_MESSAGE;
    chan_header_put(&big, bytes);
    assert_int_equal(chan_header_get(bytes, CHAN_HEADER, &h, &e), 0);
    big.length++;
    chan_header_put(&big, bytes);
    assert_int_equal(chan_header_get(bytes, CHAN_HEADER, &h, &e), ERR_PROTOCOL);
}

/* --- messages ------------------------------------------------------------- */

static int unpack(const void *data, size_t size)
{
    ProtobufCMessage *m = NULL;
    struct err e;
    int rc = chan_unpack(&wire__list_reply__descriptor, data, size, &m, &e);

    if (rc < 0)
        assert_null(m);
    chan_free(m);
    return rc;
}

/* ListReply with one job of a name. */
static size_t pack_name(const char *name, size_t len, uint8_t *out)
{
    size_t n = 0;

    out[n++] = 1 << 3 | 2; /* jobs */
    out[n++] = (uint8_t)(len + 2);
    out[n++] = 2 << 3 | 2; /* name */
    out[n++] = (uint8_t)len;
    memcpy(out + n, name, len);
    return n + len;
}

static void test_text(void **state)
{
    static const struct {
        const char *name;
        size_t len;
        int rc;
    } cases[] = {
        {"plain", 5, 0},
        {"", 0, 0},
        {"gr\xc3\xbc\xc3\x9f", 6, 0},
        {"a\0b", 3, ERR_PROTOCOL},
        {"\xff", 1, ERR_PROTOCOL},
        {"\xc3", 1, ERR_PROTOCOL},
        {"\xc0\xaf", 2, ERR_PROTOCOL},
        {"\xed\xa0\x80", 3, ERR_PROTOCOL},
    };
    uint8_t bytes[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = pack_name(cases[i].name, cases[i].len, bytes);

        assert_int_equal(unpack(bytes, n), cases[i].rc);
        for (size_t cut = 1; cut < n; cut++) /* every cut leaves half a field */
            assert_int_equal(unpack(bytes, cut), ERR_PROTOCOL);
    }
}

/* Two bytes on the wire ask for a whole JobInfo in memory. */
static void test_amplification(void **state)
{
    static uint8_t bytes[CHAN_MAX_MESSAGE + 2];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i += 2)
        bytes[i] = 1 << 3 | 2;
    assert_int_equal(unpack(bytes, 2000), 0);
    assert_int_equal(unpack(bytes, CHAN_MAX_MESSAGE), ERR_PROTOCOL);
    assert_int_equal(unpack(bytes, sizeof bytes), ERR_PROTOCOL);
}

static void test_random_bytes(void **state)
{
    static const uint16_t types[] = {1, 2,  3,  4,  5,  6,  7,  8,
                                     9, 10, 32, 33, 34, 35, 36, 37};
    uint32_t seed = 12345;

    (void)state;
    for (int i = 0; i < 40000; i++) {
        uint8_t bytes[48];
        const struct chan_op *op = chan_op(types[i % 16]);
        ProtobufCMessage *m = NULL;
        struct err e;
        size_t n;

        for (size_t k = 0; k < sizeof bytes; k++) {
            seed = seed * 1664525 + 1013904223;
            bytes[k] = (uint8_t)(seed >> 24);
        }
        n = seed % sizeof bytes;
        if (i % 2) { /* nearly right */
            pack_name("some name", 9, bytes);
            bytes[seed % 13] ^= (uint8_t)(1 << (seed >> 8) % 8);
        }
        if (chan_unpack(i % 4 < 2 ? op->request : op->reply, bytes, n, &m, &e) == 0)
            chan_free(m);
        else
            assert_int_equal(e.code, ERR_PROTOCOL);
    }
}

/* No message may contain itself: unpacking has no limit of depth. */
static void no_circle(const ProtobufCMessageDescriptor *d, int depth)
{
    assert_true(depth < 6);
    for (unsigned i = 0; i < d->n_fields; i++)
        if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            no_circle(d->fields[i].descriptor, depth + 1);
}

static void test_table(void **state)
{
    size_t n = 0;

    (void)state;
    for (unsigned type = 0; type < 100; type++) {
        const struct chan_op *op = chan_op(type);

        if (!op)
            continue;
        n++;
        assert_int_equal(op->type, type);
        no_circle(op->request, 0);
        no_circle(op->reply, 0);
    }
    assert_int_equal(n, wire__type__descriptor.n_values);
}

/* --- asking --------------------------------------------------------------- */

static const char *uri(const char *dir)
{
    static char text[128];

    snprintf(text, sizeof text, "ipc://%s/sock", dir);
    return text;
}

static int hello(struct chan *c, int ms, struct err *e)
{
    Wire__Hello m = WIRE__HELLO__INIT;
    ProtobufCMessage *reply = NULL;
    int rc = chan_call(c, WIRE__TYPE__HELLO, &m.base, ms, &reply, e);

    chan_free(reply);
    return rc;
}

static void test_nobody_there(void **state)
{
    struct chan *c = NULL;
    struct err e;
    int64_t begin = clock_mono_ns();

    assert_int_equal(chan_open(uri(*state), true, &c, &e), ERR_UNREACHABLE);
    assert_true(clock_mono_ns() - begin < 500000000);
    assert_int_equal(chan_open(uri(*state), false, &c, &e), 0);
    assert_int_equal(hello(c, 100, &e), ERR_UNREACHABLE);
    chan_close(c);
    assert_int_equal(chan_open("tcp://127.0.0.1:1", true, &c, &e), ERR_USAGE);
    assert_int_equal(chan_open("ipc://relative", true, &c, &e), ERR_USAGE);
}

static void test_silence(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct chan *c;
    struct err e;

    snprintf(a.sun_path, sizeof a.sun_path, "%s/sock", (char *)*state);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(chan_open(uri(*state), true, &c, &e), 0);
    assert_int_equal(hello(c, 200, &e), ERR_UNREACHABLE);
    assert_non_null(strstr(e.text, "\"hello\""));
    chan_close(c);
    close(fd);
}

/* A daemon in the same thread: take a question, answer it with a header of ours. */
static void serve(void *router, const struct chan_header *h, const void *body,
                  size_t size, int extra_frames)
{
    uint8_t id[64], header[CHAN_HEADER], rest[256];
    int n = zmq_recv(router, id, sizeof id, 0);
    struct chan_header asked, out = *h;
    struct err e;

    assert_true(n > 0);
    assert_int_equal(zmq_recv(router, header, sizeof header, 0), CHAN_HEADER);
    assert_int_equal(chan_header_get(header, sizeof header, &asked, &e), 0);
    assert_int_equal(asked.type, WIRE__TYPE__HELLO);
    zmq_recv(router, rest, sizeof rest, 0);
    out.id += asked.id;
    chan_header_put(&out, header);
    zmq_send(router, id, (size_t)n, ZMQ_SNDMORE);
    zmq_send(router, header, sizeof header, ZMQ_SNDMORE);
    zmq_send(router, body, size, extra_frames ? ZMQ_SNDMORE : 0);
    while (extra_frames-- > 0)
        zmq_send(router, "x", 1, extra_frames ? ZMQ_SNDMORE : 0);
}

struct answers {
    char uri[128];
    int n;
    struct {
        struct chan_header h; /* id: added to the one asked */
        const char *body;
        size_t size;
        int extra;
    } v[4];
};

static void *serve_all(void *arg)
{
    const struct answers *a = arg;
    void *ctx = zmq_ctx_new(), *router = zmq_socket(ctx, ZMQ_ROUTER);
    int ms = 4000;

    zmq_setsockopt(router, ZMQ_RCVTIMEO, &ms, sizeof ms);
    zmq_bind(router, a->uri);
    for (int i = 0; i < a->n; i++)
        serve(router, &a->v[i].h, a->v[i].body, a->v[i].size, a->v[i].extra);
    usleep(100000); /* for what was sent to be read */
    zmq_close(router);
    zmq_ctx_term(ctx);
    return NULL;
}

static int ask_against(const char *dir, struct answers *a, int ms, struct err *e)
{
    pthread_t thread;
    struct chan *c;
    int rc;

    snprintf(a->uri, sizeof a->uri, "%s", uri(dir));
    assert_int_equal(pthread_create(&thread, NULL, serve_all, a), 0);
    assert_int_equal(chan_open(a->uri, false, &c, e), 0);
    rc = hello(c, ms, e);
    chan_close(c);
    pthread_join(thread, NULL);
    return rc;
}

static void test_answers(void **state)
{
    /* version, flags, type, length, id */
    static const struct chan_header right = {1, CHAN_ANSWER, WIRE__TYPE__HELLO, 0, 0};
    static const struct chan_header other = {9, CHAN_ANSWER, WIRE__TYPE__HELLO, 0, 0};
    static const struct chan_header error = {1, CHAN_ANSWER | CHAN_ERROR,
                                             WIRE__TYPE__HELLO, 4, 0};
    static const struct chan_header late = {1, CHAN_ANSWER, WIRE__TYPE__HELLO, 0,
                                            (uint32_t)-1};
    static const struct chan_header wrong = {1, CHAN_ANSWER, WIRE__TYPE__HELLO, 9, 0};
    static const char refusal[] = {1 << 3, 13, 2 << 3 | 2, 0}; /* sint32 -7, "" */
    struct answers ok = {.n = 1, .v = {{right, "", 0, 0}}};
    struct answers version = {.n = 1, .v = {{other, "", 0, 0}}};
    struct answers refused = {.n = 1, .v = {{error, refusal, 4, 0}}};
    struct answers length = {.n = 1, .v = {{wrong, "", 0, 0}}};
    struct answers garbage = {.n = 1, .v = {{{1, 1, 1, 3, 0}, "\x0a\xff\xff", 3, 0}}};
    /* an old answer and one of three frames are passed over; it asks again */
    struct answers again = {
        .n = 3, .v = {{late, "", 0, 0}, {right, "", 0, 1}, {right, "", 0, 0}}};
    struct err e;

    assert_int_equal(ask_against(*state, &ok, 3000, &e), 0);
    assert_int_equal(ask_against(*state, &version, 3000, &e), ERR_PROTOCOL);
    assert_non_null(strstr(e.text, "version 9"));
    assert_int_equal(ask_against(*state, &refused, 3000, &e), ERR_RETRY);
    assert_int_equal(ask_against(*state, &length, 3000, &e), ERR_PROTOCOL);
    assert_int_equal(ask_against(*state, &garbage, 3000, &e), ERR_PROTOCOL);
    assert_int_equal(ask_against(*state, &again, 6000, &e), 0);
}

static void test_too_big_to_send(void **state)
{
    Wire__Submit m = WIRE__SUBMIT__INIT;
    ProtobufCMessage *reply;
    struct chan *c;
    struct err e;

    m.has_job = 1;
    m.job.len = CHAN_MAX_MESSAGE;
    m.job.data = calloc(1, m.job.len);
    assert_int_equal(chan_open(uri(*state), false, &c, &e), 0);
    assert_int_equal(chan_call(c, WIRE__TYPE__SUBMIT, &m.base, 1000, &reply, &e),
                     ERR_SPEC);
    chan_close(c);
    free(m.job.data);
}

static void test_places(void **state)
{
    char dir[64], address[256], deep[200];
    struct err e;

    (void)state;
    assert_int_equal(chan_default_dir("/x", "/home/me", dir, sizeof dir, &e), 0);
    assert_string_equal(dir, "/x/nnd");
    assert_int_equal(chan_default_dir("", "/home/me", dir, sizeof dir, &e), 0);
    assert_string_equal(dir, "/home/me/.local/state/nnd");
    assert_int_equal(chan_default_dir(NULL, NULL, dir, sizeof dir, &e), ERR_USAGE);
    assert_int_equal(chan_default_uri("/x/nnd", address, sizeof address, &e), 0);
    assert_string_equal(address, "ipc:///x/nnd/sock");
    memset(deep, 'd', sizeof deep);
    deep[0] = '/';
    deep[150] = '\0';
    assert_int_equal(chan_default_uri(deep, address, sizeof address, &e), ERR_USAGE);
}

#define IN_DIR(fn)                                                                     \
    cmocka_unit_test_setup_teardown(fn, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_round_trip),
        cmocka_unit_test(test_header_refused),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_amplification),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_table),
        IN_DIR(test_nobody_there),
        IN_DIR(test_silence),
        IN_DIR(test_answers),
        IN_DIR(test_too_big_to_send),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
