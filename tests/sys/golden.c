/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden.c - what a client of today says, kept for the nnd of tomorrow.
 *
 *   golden make               print the requests of a client and of a rank as they are
 *                             now, a line each: type, header, body, in hexadecimal
 *   golden send URI FILE      send those of a file; print "TYPE ok", or its error
 *   golden burst URI FILE PID the same, but nnd stands still while all after the first
 *                             are sent; until the last one is answered
 *   golden load SQL DB        make a database of a dump
 *   golden spoil DB TABLE     overwrite the page of a table's first rows, while nnd has
 *                             the database open
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <sqlite3.h>
#include <zmq.h>

#include "base/buf.h"
#include "base/fs.h"
#include "proto/chan.h"
#include "proto/spec.h"
#include "proto/wire.pb-c.h"

enum { LINE = 1 << 16, ANSWER_MS = 20000 };

static void fail(const char *text)
{
    fprintf(stderr, "golden: %s\n", text);
    exit(1);
}

static void check(int rc, const struct err *e)
{
    if (rc < 0)
        fail(e->text);
}

/* --- make ----------------------------------------------------------------- */

static void print_hex(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", p[i]);
    if (n == 0)
        putchar('-');
}

static void say(unsigned type, const ProtobufCMessage *m)
{
    static uint32_t id;
    struct chan_header h = {
        .version = CHAN_VERSION, .type = (uint16_t)type, .id = ++id};
    uint8_t head[CHAN_HEADER], body[LINE / 4];

    h.length = (uint32_t)protobuf_c_message_get_packed_size(m);
    if (h.length > sizeof body)
        fail("a request is too long");
    protobuf_c_message_pack(m, body);
    chan_header_put(&h, head);
    printf("%s ", chan_op(type)->name);
    print_hex(head, sizeof head);
    putchar(' ');
    print_hex(body, h.length);
    putchar('\n');
}

#define SAY(TYPE, Type, ...)                                                           \
    do {                                                                               \
        Wire__##Type m_ = WIRE__##TYPE##__INIT;                                        \
        Wire__##Type *m = &m_;                                                         \
        __VA_ARGS__;                                                                   \
        say(WIRE__TYPE__##TYPE, &m->base);                                             \
    } while (0)

static void make_submit(void)
{
    static const char job[] = "name: golden\n"
                              "data: {train: /usr/share/common-licenses}\n"
                              "model: {layers: 2, width: 64, heads: 4, context: 32,\n"
                              "        moe: {experts: 4}}\n"
                              "train: {steps: 5, batch: 8, threads: 1}\n";
    Wire__After after = WIRE__AFTER__INIT, *needs[] = {&after};
    struct spec *s = spec_create();
    struct buf packed = {0};
    struct err e;

    check(spec_load_text(s, "golden", job, strlen(job), &e), &e);
    check(spec_resolve(s, &e), &e);
    check(spec_pack(s, &packed, &e), &e);
    SAY(SUBMIT, Submit, m->has_job = 1; m->job.data = (uint8_t *)packed.data;
        m->job.len = packed.len; m->key = (char *)"golden-key-of-job-one";
        m->cwd = (char *)"/tmp"; m->has_hold = m->hold = 1);
    after.has_need = after.has_id = 1;
    after.need = WIRE__NEED__ANY;
    after.id = 1;
    SAY(SUBMIT, Submit, m->has_job = 1; m->job.data = (uint8_t *)packed.data;
        m->job.len = packed.len; m->key = (char *)"golden-key-of-the-array";
        m->cwd = (char *)"/tmp"; m->name = (char *)"two"; m->n_more = 1;
        m->more = &m->job; m->n_label = 2;
        m->label = ((char *[]){(char *)"a", (char *)"b"}); m->n_after = 1;
        m->after = needs);
    buf_free(&packed);
    spec_destroy(s);
}

static void make_change(enum _Wire__Action action, uint32_t priority)
{
    SAY(CHANGE, Change, m->has_id = m->has_action = 1; m->id = 1; m->action = action;
        m->has_priority = priority != 0; m->priority = priority);
}

static void make_client(void)
{
    SAY(HELLO, Hello, m->program = (char *)"nnctl 0.1.0");
    make_submit();
    SAY(LIST, List, m->has_active = m->active = 1; m->has_limit = 1; m->limit = 10);
    SAY(SHOW, Show, m->has_id = 1; m->id = 1);
    make_change(WIRE__ACTION__PRIORITIZE, 70);
    make_change(WIRE__ACTION__CANCEL, 0);
    SAY(EVENTS, Events, m->has_since = m->has_limit = 1; m->limit = 5);
    SAY(METRICS, Metrics, m->has_id = m->has_offset = 1; m->id = 1);
    SAY(LOG, Log, m->has_id = m->has_tail = 1; m->id = 1; m->tail = 5);
    SAY(KERNELS, Kernels, m->has_id = 1; m->id = 1);
    SAY(PURGE, Purge, m->has_dry_run = m->dry_run = 1; m->has_keep = 1);
    SAY(DOCTOR, Doctor, m->has_after = 1);
    SAY(RELOAD, Reload, (void)0);
}

/* Of an attempt that is over: the answer to each is "leave". */
static void make_rank(void)
{
    Wire__Rank who = WIRE__RANK__INIT;

    who.has_job = who.has_attempt = who.has_epoch = who.has_rank = 1;
    who.job = 1;
    who.attempt = 1;
    who.epoch = 3;
    SAY(RANK_HELLO, RankHello, m->who = &who; m->has_pid = m->has_ranks = 1; m->pid = 7;
        m->host = (char *)"a"; m->ranks = 1);
    SAY(RANK_BEAT, RankBeat, m->who = &who; m->has_seq = m->has_step = 1; m->seq = 1;
        m->has_phase = 1; m->phase = WIRE__PHASE__TRAIN; m->op = (char *)"mlp");
    SAY(RANK_METRIC, RankMetric, m->who = &who; m->has_step = m->has_loss = 1;
        m->loss = 2.5);
    SAY(RANK_KERNELS, RankKernels, m->who = &who);
    SAY(RANK_SAVED, RankSaved, m->who = &who; m->has_step = 1;
        m->path = (char *)"/tmp/x");
    SAY(RANK_ENDED, RankEnded, m->who = &who; m->text = (char *)"done");
}

/* --- send ----------------------------------------------------------------- */

static size_t read_hex(const char *text, uint8_t *out, size_t room)
{
    size_t n = 0;
    unsigned byte;

    if (*text == '-')
        return 0;
    for (; text[2 * n] && text[2 * n + 1]; n++)
        if (n == room || sscanf(text + 2 * n, "%2x", &byte) != 1)
            fail("a line is no hexadecimal digits");
        else
            out[n] = (uint8_t)byte;
    return n;
}

/* Returns the number of the request. */
static uint32_t print_answer(void *socket)
{
    uint8_t head[CHAN_HEADER + 1], body[LINE];
    struct chan_header h;
    ProtobufCMessage *m;
    struct err e;
    int n = zmq_recv(socket, head, sizeof head, 0), size;

    if (n != CHAN_HEADER)
        fail("no answer");
    size = zmq_recv(socket, body, sizeof body, 0);
    check(chan_header_get(head, (size_t)n, &h, &e), &e);
    if (!(h.flags & CHAN_ERROR)) {
        check(chan_unpack(chan_op(h.type)->reply, body, (size_t)size, &m, &e), &e);
        printf("%s ok\n", chan_op(h.type)->name);
    } else {
        check(chan_unpack(&wire__error__descriptor, body, (size_t)size, &m, &e), &e);
        printf("%s %d %s\n", chan_op(h.type)->name, ((Wire__Error *)m)->code,
               ((Wire__Error *)m)->text);
    }
    chan_free(m);
    return h.id;
}

/* pid 0: each request waits for the answer to the one before. */
static void send_all(const char *uri, const char *path, pid_t pid)
{
    static char line[LINE], name[64], head[64], body[LINE];
    uint8_t bytes[LINE / 2];
    void *ctx = zmq_ctx_new(), *socket = zmq_socket(ctx, ZMQ_DEALER);
    int linger = 0, ms = ANSWER_MS;
    FILE *f = fopen(path, "re");
    const struct timespec moment = {.tv_nsec = 100000000};
    struct chan_header h = {0};
    struct err e;
    int more = 0;

    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &ms, sizeof ms);
    if (!f || zmq_connect(socket, uri) != 0)
        fail("cannot begin");
    while (fgets(line, sizeof line, f)) {
        if (*line == '#' || sscanf(line, "%63s %63s %65535s", name, head, body) != 3)
            continue;
        if (pid && h.id)
            kill(pid, SIGSTOP);
        zmq_send(socket, bytes, read_hex(head, bytes, sizeof bytes), ZMQ_SNDMORE);
        check(chan_header_get(bytes, CHAN_HEADER, &h, &e), &e);
        zmq_send(socket, bytes, read_hex(body, bytes, sizeof bytes), 0);
        if (!pid || !more++)
            print_answer(socket);
    }
    fclose(f);
    if (pid) {
        nanosleep(&moment, NULL); /* for libzmq to send them */
        kill(pid, SIGCONT);
        while (print_answer(socket) != h.id)
            ;
    }
    zmq_close(socket);
    zmq_ctx_term(ctx);
}

/* --- load ----------------------------------------------------------------- */

static void load(const char *path, const char *db_path)
{
    struct buf sql = {0};
    struct err e;
    sqlite3 *db;

    check(fs_read(path, 1 << 24, &sql, &e), &e);
    if (sqlite3_open(db_path, &db) != SQLITE_OK ||
        sqlite3_exec(db, sql.data, NULL, NULL, NULL) != SQLITE_OK)
        fail(sqlite3_errmsg(db));
    sqlite3_close(db);
    buf_free(&sql);
}

/* --- spoil ---------------------------------------------------------------- */

enum { PAGE = 4096 };

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail(sqlite3_errmsg(db));
}

static int64_t root_of(sqlite3 *db, const char *table)
{
    static const char query[] = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    sqlite3_stmt *st;
    int64_t page;

    if (sqlite3_prepare_v2(db, query, -1, &st, NULL) != SQLITE_OK ||
        sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW)
        fail(sqlite3_errmsg(db));
    page = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return page;
}

/* The page of the first rows below an inner one: the four bytes of its first cell. */
static int64_t first_leaf(FILE *f, int64_t page)
{
    uint8_t b[PAGE];

    for (;;) {
        if (fseek(f, (page - 1) * PAGE, SEEK_SET) != 0 || fread(b, PAGE, 1, f) != 1)
            fail("cannot be read");
        if (b[0] != 5)
            return page;
        const uint8_t *c = b + (b[12] << 8 | b[13]) % (PAGE - 4);
        page = (int64_t)c[0] << 24 | c[1] << 16 | c[2] << 8 | c[3];
    }
}

/* The log goes into the file first, and a change to it afterwards, so that whoever has
 * it open reads pages anew. */
static void spoil(const char *path, const char *table)
{
    uint8_t junk[PAGE];
    sqlite3 *db;
    FILE *f;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        fail(sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 5000);
    run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    memset(junk, 0xa5, sizeof junk);
    f = fopen(path, "r+be");
    if (!f || fseek(f, (first_leaf(f, root_of(db, table)) - 1) * PAGE, SEEK_SET) != 0 ||
        fwrite(junk, sizeof junk, 1, f) != 1 || fclose(f) != 0)
        fail("cannot be overwritten");
    run(db, "INSERT INTO meta VALUES (hex(randomblob(8)), 1)");
    sqlite3_close(db);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "make") == 0) {
        make_client();
        make_rank();
    } else if (argc == 4 && strcmp(argv[1], "send") == 0) {
        send_all(argv[2], argv[3], 0);
    } else if (argc == 5 && strcmp(argv[1], "burst") == 0) {
        send_all(argv[2], argv[3], (pid_t)atoi(argv[4]));
    } else if (argc == 4 && strcmp(argv[1], "load") == 0) {
        load(argv[2], argv[3]);
    } else if (argc == 4 && strcmp(argv[1], "spoil") == 0) {
        spoil(argv[2], argv[3]);
    } else {
        fail("wanted make, send URI FILE, burst URI FILE PID, load SQL DB or spoil DB "
             "TABLE");
    }
    return fflush(stdout) != 0;
}
