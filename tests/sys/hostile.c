/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile.c - sends nnd what no client of ours would: wrong frames, wrong headers,
 * random bodies, ranks that are none, clients that never read; then asks politely.
 *
 *   hostile URI      0 when nnd still answers as it should
 *   hostile URI plain    ask without a key what needs one, and say what comes
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <zmq.h>

#include "proto/chan.h"
#include "proto/wire.pb-c.h"

static uint32_t seed = 20261120;

static uint32_t draw(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)draw();
}

static void fail(const char *text)
{
    printf("%s\n", text);
    exit(1);
}

/* ms: for how long an answer is waited for. */
static void *dealer(void *ctx, const char *uri, int ms)
{
    void *s = zmq_socket(ctx, ZMQ_DEALER);
    int linger = 0;

    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s, ZMQ_RCVTIMEO, &ms, sizeof ms);
    if (zmq_connect(s, uri) != 0)
        fail("cannot connect");
    return s;
}

/* 0 to 5 frames of random bytes, some with a header that looks right. */
static void wrong_frames(void *s)
{
    for (int i = 0; i < 300; i++) {
        uint8_t bytes[64];
        int frames = 1 + (int)(draw() % 5);

        for (int f = 0; f < frames; f++) {
            size_t n = draw() % sizeof bytes;

            fill(bytes, sizeof bytes);
            if (f == 0 && draw() % 2) {
                memcpy(bytes, "nnd1", 4);
                n = CHAN_HEADER;
            }
            zmq_send(s, bytes, n, f + 1 < frames ? ZMQ_SNDMORE : 0);
        }
    }
}

/*
 * A version from the future is told which version it met, after all answers to what
 * came before.
 */
static void other_version(void *s)
{
    uint8_t header[CHAN_HEADER];
    struct chan_header h = {.version = 99, .type = WIRE__TYPE__HELLO, .id = 424242};
    struct err e;

    chan_header_put(&h, header);
    zmq_send(s, header, sizeof header, ZMQ_SNDMORE);
    zmq_send(s, "", 0, 0);
    for (;;) {
        uint8_t body[4096];

        if (zmq_recv(s, header, sizeof header, 0) != CHAN_HEADER)
            fail("another version is not answered");
        zmq_recv(s, body, sizeof body, 0);
        if (chan_header_get(header, sizeof header, &h, &e) < 0)
            fail(e.text);
        if (h.id == 424242)
            break;
    }
    if (h.version != CHAN_VERSION || h.flags != (CHAN_ANSWER | CHAN_ERROR))
        fail("another version is answered wrongly");
}

/*
 * A right header of every type over a body of random bytes.  nnd throws away answers
 * that would not fit a queue of a thousand: we let it come after.
 */
static void wrong_bodies(void *s)
{
    for (int i = 0; i < 2000; i++) {
        uint8_t header[CHAN_HEADER], body[200];
        struct chan_header h = {.version = CHAN_VERSION,
                                .type = (uint16_t)(draw() % 40),
                                .length = draw() % sizeof body,
                                .id = (uint32_t)i};

        fill(body, sizeof body);
        if (i % 3 == 0) /* something like a rank's words: a message, then numbers */
            memcpy(body, "\x0a\x08\x08\x01\x10\x01\x18\x01\x20\x05\x10\x05", 12);
        chan_header_put(&h, header);
        zmq_send(s, header, sizeof header, ZMQ_SNDMORE);
        zmq_send(s, body, h.length, 0);
        if (i % 100 == 0)
            other_version(s);
    }
}

/* More long polls than nnd holds, from a client that never reads. */
static void never_reads(void *s)
{
    Wire__Events m = WIRE__EVENTS__INIT;
    uint8_t header[CHAN_HEADER], body[64];
    struct chan_header h = {.version = CHAN_VERSION, .type = WIRE__TYPE__EVENTS};

    m.has_since = m.has_wait_ms = 1;
    m.since = 1u << 30;
    m.wait_ms = 60000;
    h.length = (uint32_t)wire__events__pack(&m, body);
    for (uint32_t i = 0; i < 1500; i++) {
        h.id = i;
        chan_header_put(&h, header);
        zmq_send(s, header, sizeof header, ZMQ_SNDMORE);
        zmq_send(s, body, h.length, 0);
    }
}

/* Connections that say nothing, or no ZeroMQ. */
static void raw_bytes(const char *uri)
{
    for (int i = 0; i < 50; i++) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        uint8_t bytes[128];

        snprintf(a.sun_path, sizeof a.sun_path, "%s", uri + strlen("ipc://"));
        if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
            fail("cannot connect");
        fill(bytes, sizeof bytes);
        if (i % 2 && write(fd, bytes, sizeof bytes) < 0)
            fail("cannot write");
        if (i % 4)
            close(fd); /* the others stay open until the end */
    }
}

/* A rank that is none is told to leave. */
static void no_rank(struct chan *c)
{
    Wire__Rank who = WIRE__RANK__INIT;
    Wire__RankSaved m = WIRE__RANK_SAVED__INIT;
    ProtobufCMessage *reply;
    struct err e;

    who.has_job = who.has_attempt = who.has_epoch = 1;
    who.job = who.attempt = 1;
    who.epoch = 12345678;
    m.who = &who;
    m.path = "/etc/passwd";
    if (chan_call(c, WIRE__TYPE__RANK_SAVED, &m.base, 60000, &reply, &e) < 0)
        fail(e.text);
    if (((Wire__RankReply *)reply)->stop != WIRE__STOP__LEAVE)
        fail("a rank of no attempt is not told to leave");
    chan_free(reply);
}

static void ask_politely(struct chan *c)
{
    Wire__Hello m = WIRE__HELLO__INIT;
    ProtobufCMessage *reply;
    struct err e;

    if (chan_call(c, WIRE__TYPE__HELLO, &m.base, 60000, &reply, &e) < 0)
        fail(e.text);
    if (((Wire__HelloReply *)reply)->protocol != CHAN_VERSION)
        fail("the answer to hello is wrong");
    chan_free(reply);
}

/* A question without a key to whom wants one: "no answer" is right. */
static int ask_plainly(const char *uri)
{
    struct chan_header h = {.version = CHAN_VERSION, .type = WIRE__TYPE__HELLO};
    void *ctx = zmq_ctx_new(), *s = dealer(ctx, uri, 2000);
    uint8_t header[CHAN_HEADER], answer[64];

    chan_header_put(&h, header);
    zmq_send(s, header, sizeof header, ZMQ_SNDMORE);
    zmq_send(s, "", 0, 0);
    puts(zmq_recv(s, answer, sizeof answer, 0) < 0 ? "no answer" : "an answer");
    zmq_close(s);
    zmq_ctx_term(ctx);
    return 0;
}

int main(int argc, char **argv)
{
    void *ctx, *mad, *rude;
    struct chan *c;
    struct err e;

    if (argc == 3 && strcmp(argv[2], "plain") == 0)
        return ask_plainly(argv[1]);
    if (argc != 2)
        return 2;
    ctx = zmq_ctx_new();
    mad = dealer(ctx, argv[1], 60000);
    rude = dealer(ctx, argv[1], 60000);
    raw_bytes(argv[1]);
    wrong_frames(mad);
    wrong_bodies(mad);
    other_version(mad);
    never_reads(rude);
    if (chan_open(argv[1], true, &c, &e) < 0)
        fail(e.text);
    no_rank(c);
    ask_politely(c);
    chan_close(c);
    zmq_close(mad);
    zmq_close(rude);
    zmq_ctx_term(ctx);
    return 0;
}
