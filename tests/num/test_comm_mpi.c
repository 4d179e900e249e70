/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_comm_mpi.c - every collective over real ranks; comm_mpi.test starts it.
 *
 * Every rank checks what it received, down to the bytes around it; a check has
 * passed when it has on all ranks.  Rank 0 prints a line without a number for
 * each.  With the argument "wrong" ranks disagree about lengths, say what they
 * were told, and end the world with exit code 7.  With "lane-wrong", "lane-failed" and
 * "lane-killed" rank 1 is in such trouble within a lane, in the middle of a sum, while
 * the others compute and then wait.
 */
#include "comm/comm_impl.h"
#include "comm/lane.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS_MAX = 8, GAP = 3, UNTOUCHED = 0xee };

static bool expect(bool ok, const struct comm *c, const char *what)
{
    if (!ok)
        fprintf(stderr, "rank %d of %d: %s\n", comm_rank(c), comm_size(c), what);
    return ok;
}

static void must(int rc, const struct err *e)
{
    if (rc < 0) {
        fprintf(stderr, "%s\n", e->text);
        exit(1);
    }
}

static bool counted(const struct comm *c, struct comm_count before, int64_t calls,
                    int64_t remote, int64_t local)
{
    const struct comm_count now = comm_counted(c);

    return expect(now.calls - before.calls == calls, c, "calls") &&
           expect(now.remote - before.remote == remote, c, "bytes to others") &&
           expect(now.local - before.local == local, c, "bytes to itself");
}

/* Byte k of what rank `from` has for rank `to`. */
static unsigned char byte_of(int from, int to, size_t k)
{
    return (unsigned char)(from * 31 + to * 7 + (int)(k % 251));
}

/* --- alltoallv ------------------------------------------------------------ */

static size_t none(int from, int to)
{
    (void)from, (void)to;
    return 0;
}

static size_t equal(int from, int to)
{
    (void)from, (void)to;
    return 1000;
}

/* Zero for some pairs, a few bytes for some, beyond the eager limit for others. */
static size_t unequal(int from, int to)
{
    static const size_t len[] = {0, 1, 77, 4096, 70001, 0, 300000};

    return len[(from * 3 + to * 5) % 7];
}

/* The same, of no more than 5,000: for what goes in many small windows. */
static size_t unequal_few(int from, int to)
{
    return unequal(from, to) % 5000;
}

static size_t all_to_rank_0(int from, int to)
{
    return to == 0 ? 5000 + (size_t)from : 0;
}

struct layout {
    size_t len[RANKS_MAX], off[RANKS_MAX], total;
};

/* With gaps between the parts, and in descending order of ranks. */
static struct layout lay_out(const struct comm *c, size_t (*len)(int, int),
                             bool sending)
{
    const int me = comm_rank(c);
    struct layout l = {.total = GAP};

    for (int i = comm_size(c) - 1; i >= 0; i--) {
        l.len[i] = sending ? len(me, i) : len(i, me);
        l.off[i] = l.total;
        l.total += l.len[i] + GAP;
    }
    return l;
}

static bool arrived(const struct comm *c, const struct layout *l, unsigned char *recv)
{
    for (int i = 0; i < comm_size(c); i++) {
        for (size_t k = 0; k < l->len[i]; k++)
            if (recv[l->off[i] + k] != byte_of(i, comm_rank(c), k))
                return expect(false, c, "a byte that arrived");
        memset(recv + l->off[i], UNTOUCHED, l->len[i]);
    }
    for (size_t k = 0; k < l->total; k++)
        if (recv[k] != UNTOUCHED)
            return expect(false, c, "a byte beside those that arrived");
    return true;
}

static bool check_alltoallv(struct comm *c, size_t (*len)(int, int))
{
    const struct layout s = lay_out(c, len, true), r = lay_out(c, len, false);
    const struct comm_count before = comm_counted(c);
    const int me = comm_rank(c);
    unsigned char *send = malloc(s.total), *recv = malloc(r.total);
    int64_t remote = 0;
    struct err e;
    bool ok;

    memset(recv, UNTOUCHED, r.total);
    for (int i = 0; i < comm_size(c); i++) {
        for (size_t k = 0; k < s.len[i]; k++)
            send[s.off[i] + k] = byte_of(me, i, k);
        remote += i == me ? 0 : (int64_t)s.len[i];
    }
    must(comm_alltoallv(c, send, s.len, s.off, recv, r.len, r.off, &e), &e);
    ok = arrived(c, &r, recv) && counted(c, before, 1, remote, (int64_t)s.len[me]);
    free(send);
    free(recv);
    return ok;
}

static bool alltoallv_of_nothing(struct comm *c)
{
    return check_alltoallv(c, none);
}

static bool alltoallv_of_equal_parts(struct comm *c)
{
    return check_alltoallv(c, equal);
}

static bool alltoallv_of_unequal_parts(struct comm *c)
{
    return check_alltoallv(c, unequal);
}

static bool alltoallv_to_one_rank(struct comm *c)
{
    return check_alltoallv(c, all_to_rank_0);
}

/* --- the others ----------------------------------------------------------- */

static bool check_allgatherv(struct comm *c, size_t (*len)(int, int))
{
    const struct comm_count before = comm_counted(c);
    const int me = comm_rank(c);
    struct layout l = {.total = GAP};
    unsigned char *buf;
    struct err e;
    bool ok;

    for (int i = 0; i < comm_size(c); i++) {
        l.len[i] = len(i, 0);
        l.off[i] = l.total;
        l.total += l.len[i] + GAP;
    }
    buf = malloc(l.total);
    memset(buf, UNTOUCHED, l.total);
    for (size_t k = 0; k < l.len[me]; k++)
        buf[l.off[me] + k] = byte_of(me, 0, k);
    must(comm_allgatherv(c, buf, l.len, l.off, &e), &e);
    ok = counted(c, before, 1, (int64_t)l.len[me] * (comm_size(c) - 1),
                 (int64_t)l.len[me]);
    for (int i = 0; ok && i < comm_size(c); i++) {
        for (size_t k = 0; ok && k < l.len[i]; k++)
            ok = expect(buf[l.off[i] + k] == byte_of(i, 0, k), c, "a byte gathered");
        memset(buf + l.off[i], UNTOUCHED, l.len[i]);
    }
    for (size_t k = 0; ok && k < l.total; k++)
        ok = expect(buf[k] == UNTOUCHED, c, "a byte beside those gathered");
    free(buf);
    return ok;
}

static bool allgatherv_of_nothing(struct comm *c)
{
    return check_allgatherv(c, none);
}

static bool allgatherv_of_equal_parts(struct comm *c)
{
    return check_allgatherv(c, equal);
}

static bool allgatherv_of_unequal_parts(struct comm *c)
{
    return check_allgatherv(c, unequal);
}

static bool check_allreduce(struct comm *c, enum comm_reduce op, size_t n)
{
    const struct comm_count before = comm_counted(c);
    const int64_t size = comm_size(c), big = INT64_C(1) << 40;
    int64_t *x = malloc((n + 1) * sizeof *x);
    struct err e;
    bool ok;

    for (size_t i = 0; i < n; i++)
        x[i] = op == COMM_OR ? INT64_C(1) << (comm_rank(c) + (int)(i % 50))
                             : (int64_t)i - big * (comm_rank(c) + 1);
    x[n] = UNTOUCHED;
    must(comm_allreduce(c, x, n, op, &e), &e);
    ok = expect(x[n] == UNTOUCHED, c, "the element after the last") &&
         counted(c, before, 1, (int64_t)n * 8 * (size - 1), (int64_t)n * 8);
    for (size_t i = 0; ok && i < n; i++) {
        const int64_t k = (int64_t)i;
        const int64_t want[] = {
            [COMM_SUM] = size * k - big * (size * (size + 1) / 2),
            [COMM_MAX] = k - big,
            [COMM_OR] = ((INT64_C(1) << size) - 1) << (k % 50),
        };

        ok = expect(x[i] == want[op], c, "an element reduced");
    }
    free(x);
    return ok;
}

static bool allreduce_of_each_kind(struct comm *c)
{
    return check_allreduce(c, COMM_SUM, 1000) && check_allreduce(c, COMM_MAX, 1000) &&
           check_allreduce(c, COMM_OR, 1000) && check_allreduce(c, COMM_SUM, 1) &&
           check_allreduce(c, COMM_MAX, 0);
}

static int add_floats(void *arg, void *y, const void *x, size_t n, struct err *e)
{
    float *to = y;
    const float *from = x;

    (void)arg, (void)e;
    for (size_t i = 0; i < n / sizeof *to; i++)
        to[i] += from[i];
    return 0;
}

/* A form of three bytes: the lowest of a float's is lost. */
static void cut_short(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy((char *)to + 3 * i, (const char *)from + 4 * i + 1, 3);
}

static void fill_up(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        memcpy((char *)to + 4 * i + 1, (const char *)from + 3 * i, 3);
        ((char *)to)[4 * i] = 0;
    }
}

static const struct comm_wire three_bytes = {4, 3, cut_short, fill_up};

/* Numbers whose sum depends on the order: 1e8 and what is lost beside it. */
static float summand(int rank, size_t i)
{
    static const float x[] = {1e8f, 3.0f, -1e8f, 7.0f};

    return x[((size_t)rank + i) % 4] + (float)(i % 13) * 1.1f;
}

/* At rank `me`, whose own summand did not travel. */
static float summed(int me, int ranks, size_t i, const struct comm_wire *wire)
{
    float x[RANKS_MAX];

    for (int r = 0; r < ranks; r++) {
        char there[3];

        x[r] = summand(r, i);
        if (!wire || r == me)
            continue;
        wire->narrow(there, &x[r], 1);
        wire->widen(&x[r], there, 1);
    }
    for (int step = 1; step < ranks; step *= 2)
        for (int r = 0; r + step < ranks; r += 2 * step)
            x[r] += x[r + step];
    return x[0];
}

/* Each rank owns `len` elements of a vector; windows of 64 bytes. */
static bool reduce_and_look(struct comm *c, size_t (*len)(int, int),
                            const struct comm_wire *wire)
{
    enum { WINDOW = 64, WIRE = WINDOW / 4 * 3, ROOM = WINDOW + 2 * WIRE };
    static char scratch[RANKS_MAX * ROOM];
    const struct comm_sum sum = {
        .add = add_floats, .scratch = scratch, .window = WINDOW, .wire = wire};
    const struct comm_count before = comm_counted(c);
    const int me = comm_rank(c);
    struct layout l = {.total = GAP};
    int64_t others = 0;
    struct err e;
    bool ok = true;

    for (int i = 0; i < comm_size(c); i++) { /* elements, then bytes */
        l.off[i] = l.total * sizeof(float);
        l.len[i] = len(i, 0) * sizeof(float);
        l.total += len(i, 0) + GAP;
        others += i == me ? 0 : (int64_t)l.len[i];
    }
    float *x = malloc(l.total * sizeof *x);
    for (size_t i = 0; i < l.total; i++)
        x[i] = summand(me, i);
    must(comm_reduce_scatter(c, x, l.len, l.off, &sum, &e), &e);
    for (size_t i = 0; ok && i < l.total; i++) {
        size_t at = i * sizeof *x;
        bool mine = at >= l.off[me] && at < l.off[me] + l.len[me];

        float want = mine ? summed(me, comm_size(c), i, wire) : summand(me, i);
        ok = expect(x[i] == want, c, mine ? "a sum" : "an element of another rank");
    }
    for (int i = (comm_size(c) - 1) * ROOM; ok && i < (int)sizeof scratch; i++)
        ok = expect(scratch[i] == 0, c, "a byte beyond the scratch");
    free(x);
    others = wire ? others / 4 * 3 : others;
    return ok && counted(c, before, 1, others, (int64_t)l.len[me]);
}

static bool check_reduce_scatter(struct comm *c, size_t (*len)(int, int))
{
    return reduce_and_look(c, len, NULL);
}

static bool reduce_scatter_adds_in_a_tree(struct comm *c)
{
    return check_reduce_scatter(c, none) && check_reduce_scatter(c, equal) &&
           check_reduce_scatter(c, unequal_few) &&
           check_reduce_scatter(c, all_to_rank_0);
}

static bool reduce_scatter_sends_a_shorter_form(struct comm *c)
{
    return reduce_and_look(c, none, &three_bytes) &&
           reduce_and_look(c, equal, &three_bytes) &&
           reduce_and_look(c, unequal_few, &three_bytes) &&
           reduce_and_look(c, all_to_rank_0, &three_bytes);
}

static bool check_bcast(struct comm *c, int root, size_t len)
{
    const struct comm_count before = comm_counted(c);
    const int64_t sent = comm_rank(c) == root ? (int64_t)len : 0;
    unsigned char *buf = malloc(len + 1);
    struct err e;
    bool ok;

    memset(buf, UNTOUCHED, len + 1);
    for (size_t k = 0; comm_rank(c) == root && k < len; k++)
        buf[k] = byte_of(root, 1, k);
    must(comm_bcast(c, buf, len, root, &e), &e);
    ok = expect(buf[len] == UNTOUCHED, c, "the byte after the last") &&
         counted(c, before, 1, sent * (comm_size(c) - 1), sent);
    for (size_t k = 0; ok && k < len; k++)
        ok = expect(buf[k] == byte_of(root, 1, k), c, "a byte broadcast");
    free(buf);
    return ok;
}

static bool bcast_from_each_rank(struct comm *c)
{
    bool ok = true;

    for (int root = 0; root < comm_size(c); root++)
        ok = check_bcast(c, root, 100003) && ok;
    return check_bcast(c, 0, 0) && ok;
}

static bool barrier_moves_nothing(struct comm *c)
{
    const struct comm_count before = comm_counted(c);
    struct err e;

    must(comm_barrier(c, &e), &e);
    return counted(c, before, 1, 0, 0);
}

/* --- parts of the world --------------------------------------------------- */

static bool parts_work_by_themselves(struct comm *c)
{
    const struct comm_count before = comm_counted(c);
    const int me = comm_rank(c);
    const int color = me % 2;
    struct comm *part;
    struct err e;
    bool ok;

    must(comm_split(c, color, &part, &e), &e);
    ok = expect(comm_rank(part) == me / 2, c, "the order in a part") &&
         expect(comm_size(part) == (comm_size(c) + 1 - color) / 2, c, "a part's size");
    ok = check_alltoallv(part, unequal) && ok;
    ok = check_allgatherv(part, unequal) && ok;
    ok = check_allreduce(part, COMM_SUM, 10) && ok;
    ok = check_bcast(part, comm_size(part) - 1, 100) && ok;
    ok = counted(c, before, 0, 0, 0) && ok;
    comm_destroy(part);
    return ok;
}

static bool neighbours_split_further(struct comm *c)
{
    struct comm *half, *one;
    struct err e;
    bool ok;

    must(comm_split(c, comm_rank(c) / 2, &half, &e), &e);
    must(comm_split(half, comm_rank(half), &one, &e), &e);
    ok = expect(comm_rank(half) == comm_rank(c) % 2, c, "the order in a half") &&
         expect(comm_size(one) == 1, c, "the size of one") &&
         check_alltoallv(one, unequal);
    comm_destroy(one);
    comm_destroy(half);
    return ok;
}

struct talk {
    struct comm *comm;
    bool ok;
};

static int talk(void *arg, struct err *e)
{
    struct talk *t = arg;

    (void)e;
    t->ok = check_allgatherv(t->comm, unequal) && t->ok;
    t->ok = check_reduce_scatter(t->comm, unequal_few) && t->ok;
    return 0;
}

/* Two threads of every rank at once, each over communicators of its own. */
static bool a_lane_talks_meanwhile(struct comm *c)
{
    struct talk t = {.ok = true};
    struct lane *lane;
    struct err e;
    bool ok = expect(comm_threads(c), c, "threads");

    if (!ok)
        return false;
    must(comm_split(c, 0, &t.comm, &e), &e);
    comm_wait_gently(t.comm);
    must(lane_create(4, &lane, &e), &e);
    for (int i = 0; i < 10; i++) {
        lane_post(lane, t.comm, talk, &t);
        ok = check_alltoallv(c, unequal) && ok;
        ok = check_allreduce(c, COMM_SUM, 100) && ok;
    }
    must(lane_wait(lane, &e), &e);
    lane_destroy(lane);
    comm_destroy(t.comm);
    return ok && t.ok;
}

/* Everything again with messages of at most 64 bytes, ends included. */
static bool long_ones_go_in_pieces(struct comm *c)
{
    struct comm *part;
    struct err e;
    bool ok;

    must(comm_split(c, 0, &part, &e), &e);
    comm_mpi_set_piece(part, 64);
    ok = check_alltoallv(part, unequal);
    ok = check_alltoallv(part, equal) && ok;
    ok = check_allgatherv(part, unequal) && ok;
    ok = check_reduce_scatter(part, unequal_few) && ok;
    ok = check_allreduce(part, COMM_SUM, 8) && ok;
    ok = check_allreduce(part, COMM_MAX, 1001) && ok;
    ok = check_bcast(part, 0, 64 * 5) && ok;
    ok = check_bcast(part, 0, 64 * 5 + 1) && ok;
    comm_destroy(part);
    return ok;
}

static bool a_second_world_is_refused(struct comm *c)
{
    struct comm *other = NULL;
    struct err e;
    int rc = comm_mpi_world(&other, &e);

    return expect(rc == ERR_FAILED && !other, c, "a second world");
}

static const struct {
    const char *name;
    bool (*run)(struct comm *c);
} checks[] = {
    {"alltoallv of nothing", alltoallv_of_nothing},
    {"alltoallv of equal parts", alltoallv_of_equal_parts},
    {"alltoallv of unequal parts", alltoallv_of_unequal_parts},
    {"alltoallv to one rank", alltoallv_to_one_rank},
    {"allgatherv of nothing", allgatherv_of_nothing},
    {"allgatherv of equal parts", allgatherv_of_equal_parts},
    {"allgatherv of unequal parts", allgatherv_of_unequal_parts},
    {"allreduce of each kind", allreduce_of_each_kind},
    {"reduce_scatter adds in a tree", reduce_scatter_adds_in_a_tree},
    {"reduce_scatter sends a shorter form", reduce_scatter_sends_a_shorter_form},
    {"bcast from each rank", bcast_from_each_rank},
    {"barrier moves nothing", barrier_moves_nothing},
    {"parts work by themselves", parts_work_by_themselves},
    {"neighbours split further", neighbours_split_further},
    {"a lane talks meanwhile", a_lane_talks_meanwhile},
    {"long ones go in pieces", long_ones_go_in_pieces},
    {"a second world is refused", a_second_world_is_refused},
};

static int run_checks(struct comm *c)
{
    int failed = 0;

    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        int64_t bad = !checks[i].run(c);
        struct err e;

        must(comm_allreduce(c, &bad, 1, COMM_SUM, &e), &e);
        failed += bad > 0;
        if (comm_rank(c) == 0)
            printf("%s - np %d: %s\n", bad ? "not ok" : "ok", comm_size(c),
                   checks[i].name);
    }
    return failed ? 1 : 0;
}

/* Rank 1 sends rank 0 half of what it waits for, then twice as much. */
static void disagree(struct comm *c)
{
    static char send[2000], recv[2000];
    const size_t off[2] = {0}, sent[2][2] = {{0, 0}, {500, 0}};
    const size_t wanted[2][2] = {{0, 1000}, {0, 0}};
    const size_t sent_more[2][2] = {{0, 0}, {2000, 0}};
    const int me = comm_rank(c);
    struct err e;

    if (comm_alltoallv(c, send, sent[me], off, recv, wanted[me], off, &e) < 0)
        printf("%s\n", e.text);
    if (comm_alltoallv(c, send, sent_more[me], off, recv, wanted[me], off, &e) < 0)
        printf("%s\n", e.text);
    fflush(stdout);
    if (me == 0)
        comm_abort(c, 7);
    for (;;)
        comm_barrier(c, NULL);
}

/* A sum in a lane, of 32 windows for each rank; of the kind that main was told. */
struct trouble {
    struct comm *comm;
    const char *kind;
    int sums;
};

static int add_in_trouble(void *arg, void *y, const void *x, size_t n, struct err *e)
{
    struct trouble *t = arg;
    bool now = comm_rank(t->comm) == 1 && ++t->sums == 20;

    if (now && strcmp(t->kind, "lane-killed") == 0)
        raise(SIGKILL);
    if (now && strcmp(t->kind, "lane-failed") == 0)
        return err_set(e, ERR_FAILED, "rank 1: sum 20 cannot be added");
    return add_floats(NULL, y, x, n, e);
}

static int reduce_in_trouble(void *arg, struct err *e)
{
    struct trouble *t = arg;
    static float x[RANKS_MAX * 512];
    static char scratch[RANKS_MAX * 64];
    const struct comm_sum sum = {
        .add = add_in_trouble, .arg = t, .scratch = scratch, .window = 64};
    bool wrong = strcmp(t->kind, "lane-wrong") == 0 && comm_rank(t->comm) == 1;
    size_t len[RANKS_MAX], off[RANKS_MAX];

    for (int i = 0; i < comm_size(t->comm); i++) {
        len[i] = sizeof x / RANKS_MAX - (wrong && i == 0 ? 8 : 0);
        off[i] = (size_t)i * sizeof x / RANKS_MAX;
    }
    return comm_reduce_scatter(t->comm, x, len, off, &sum, e);
}

/* As a rank of a job is: who learns of an error ends the world; jobs that were posted
 * behind it are dropped, and nobody stands where a post waits for room. */
static void be_in_trouble(struct comm *c, const char *kind)
{
    struct trouble t = {.kind = kind};
    struct lane *lane;
    struct err e;

    must(comm_split(c, 0, &t.comm, &e), &e);
    comm_wait_gently(t.comm);
    must(lane_create(2, &lane, &e), &e);
    for (int i = 0; i < 10; i++)
        lane_post(lane, t.comm, reduce_in_trouble, &t);
    if (lane_wait(lane, &e) == 0)
        return;
    printf("rank %d: %s\n", comm_rank(c), e.text);
    fflush(stdout);
    comm_abort(c, 7);
}

int main(int argc, char **argv)
{
    struct comm *c;
    struct err e;
    int rc;

    must(comm_mpi_world(&c, &e), &e);
    if (argc > 1 && strcmp(argv[1], "wrong") == 0)
        disagree(c);
    if (argc > 1 && strncmp(argv[1], "lane-", 5) == 0)
        be_in_trouble(c, argv[1]);
    rc = run_checks(c);
    comm_destroy(c);
    return rc;
}
