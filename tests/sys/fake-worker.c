/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake-worker.c - a rank that trains nothing: it sleeps, counts steps, talks to
 * nnd as a real rank does, and goes wrong in the way that the job's name says.
 *
 * The name is a list of words:
 *   ms=N          milliseconds per step
 *   save=N        a checkpoint every N steps
 *   kill=R@S/SIG  rank R sends itself signal SIG after step S
 *   exit=R@S/C    rank R ends with code C after step S; S 0: after a step's time,
 *                 before it says hello
 *   say=R@S       rank R reports an error, and ends with code 1, after step S
 *   stop=R@S      rank R stands still for ever after step S; R 99 is every rank
 *   spin=R@S      rank R computes for ever after step S, and goes on beating
 *   meet          ranks meet in a barrier of MPI after each step, and beat from a
 *                 thread
 *   miss=R@S      with meet: rank R goes to another barrier than the others
 *   wait=S        with meet: a moment of work for rank 0 alone after step S, while
 *                 the others are in the barrier: a good time to kill
 *   eval=N/MS     every N steps a validation that takes MS
 *   write=MS      a checkpoint takes MS
 *   until=A       goes wrong in attempts up to A only
 *   orphan        rank 0 leaves a child behind, in a session of its own, without
 *                 the attempt's marker and deaf to TERM
 *   deaf          does not listen to being asked to stop
 *   mute          says no hello, sends no beats
 *   stuck=A       attempt A stands still before its first step
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <pthread.h>

#include "base/buf.h"
#include "base/fs.h"
#include "comm/comm.h"
#include "proto/line.h"
#include "proto/spec.h"
#include "proto/wire.pb-c.h"

enum { ALL = 99 };

struct fault {
    int rank;
    unsigned long step;
    int number;
};

struct worker {
    const char *job, *dir, *uri;
    unsigned attempt;
    unsigned long long epoch;
    unsigned rank, ranks;
    unsigned long steps, first, ms, save, until;
    unsigned long eval, eval_ms, write_ms, wait, stuck;
    struct fault kill, exit, say, stop, spin, miss;
    bool orphan, deaf, mute, meet;
    struct comm *world, *other;
    pthread_mutex_t lock; /* of the channel and what beats say */
    Wire__Phase phase;
    unsigned long meetings;
    bool waits;
    struct chan *chan;
    unsigned long step, seq;
    Wire__Rank who;
    Wire__Stop asked;
    char host[64];
};

static volatile sig_atomic_t terminated;

static void on_term(int sig)
{
    (void)sig;
    terminated = 1;
}

static void fail(const char *text)
{
    fprintf(stderr, "fake-worker: %s\n", text);
    exit(8);
}

static void sleep_ms(unsigned long ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000L};

    nanosleep(&t, NULL);
}

/* --- what it was told ----------------------------------------------------- */

static void parse_args(struct worker *w, int argc, char **argv)
{
    static const struct option options[] = {
        {"job", 1, 0, 'j'},   {"dir", 1, 0, 'd'},     {"attempt", 1, 0, 'a'},
        {"epoch", 1, 0, 'e'}, {"threads", 1, 0, 't'}, {"uri", 1, 0, 'u'},
        {0, 0, 0, 0},
    };
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    const char *ranks = getenv("OMPI_COMM_WORLD_SIZE");
    int c;

    if (!rank) { /* srun's */
        rank = getenv("SLURM_PROCID");
        ranks = getenv("SLURM_NTASKS");
    }
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'j')
            w->job = optarg;
        else if (c == 'd')
            w->dir = optarg;
        else if (c == 'a')
            w->attempt = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'e')
            w->epoch = strtoull(optarg, NULL, 10);
        else if (c == 'u')
            w->uri = optarg;
        else if (c != 't')
            fail("unknown option");
    }
    if (!w->job || !w->dir || !w->uri || !w->attempt || !w->epoch)
        fail("an option is missing");
    w->rank = rank ? (unsigned)atoi(rank) : 0;
    w->ranks = ranks ? (unsigned)atoi(ranks) : 1;
}

static bool parse_fault(const char *word, const char *name, struct fault *f)
{
    size_t len = strlen(name);

    if (strncmp(word, name, len) != 0)
        return false;
    return sscanf(word + len, "%d@%lu/%d", &f->rank, &f->step, &f->number) >= 2;
}

static void parse_word(struct worker *w, const char *word)
{
    unsigned long n = strchr(word, '=') ? strtoul(strchr(word, '=') + 1, NULL, 10) : 0;

    if (strncmp(word, "ms=", 3) == 0)
        w->ms = n;
    else if (strncmp(word, "save=", 5) == 0)
        w->save = n;
    else if (strncmp(word, "until=", 6) == 0)
        w->until = n;
    else if (strncmp(word, "write=", 6) == 0)
        w->write_ms = n;
    else if (strncmp(word, "wait=", 5) == 0)
        w->wait = n;
    else if (strncmp(word, "stuck=", 6) == 0)
        w->stuck = n;
    else if (sscanf(word, "eval=%lu/%lu", &w->eval, &w->eval_ms) == 2)
        return;
    else if (strcmp(word, "meet") == 0)
        w->meet = true;
    else if (strcmp(word, "orphan") == 0)
        w->orphan = true;
    else if (strcmp(word, "deaf") == 0)
        w->deaf = true;
    else if (strcmp(word, "mute") == 0)
        w->mute = true;
    else if (!parse_fault(word, "kill=", &w->kill) &&
             !parse_fault(word, "exit=", &w->exit) &&
             !parse_fault(word, "say=", &w->say) &&
             !parse_fault(word, "stop=", &w->stop) &&
             !parse_fault(word, "spin=", &w->spin) &&
             !parse_fault(word, "miss=", &w->miss))
        return;
}

static void read_job(struct worker *w)
{
    struct buf b = {0};
    struct spec *spec;
    struct err e;
    char *save = NULL, name[128];

    if (fs_read(w->job, 1 << 20, &b, &e) < 0 ||
        spec_unpack(b.data, b.len, &spec, &e) < 0)
        fail(e.text);
    w->steps = spec_job(spec)->train->steps;
    w->kill.rank = w->exit.rank = w->say.rank = w->stop.rank = -1;
    w->spin.rank = w->miss.rank = -1;
    w->until = ~0ul;
    snprintf(name, sizeof name, "%s", spec_job(spec)->name);
    for (char *t = strtok_r(name, " ", &save); t; t = strtok_r(NULL, " ", &save))
        parse_word(w, t);
    spec_destroy(spec);
    buf_free(&b);
}

/* --- talking to nnd ------------------------------------------------------- */

static void tell(struct worker *w, unsigned type, ProtobufCMessage *m)
{
    ProtobufCMessage *reply;
    struct err e;

    if (w->mute || chan_call(w->chan, type, m, 60, &reply, &e) < 0)
        return;
    if (((Wire__RankReply *)reply)->stop > w->asked)
        w->asked = ((Wire__RankReply *)reply)->stop;
    chan_free(reply);
}

static void hello(struct worker *w)
{
    Wire__RankHello m = WIRE__RANK_HELLO__INIT;

    m.who = &w->who;
    m.has_pid = m.has_ranks = m.has_first_step = 1;
    m.pid = (uint32_t)getpid();
    m.ranks = w->ranks;
    m.first_step = w->first;
    m.host = w->host;
    tell(w, WIRE__TYPE__RANK_HELLO, &m.base);
}

static void beat_locked(struct worker *w)
{
    Wire__RankBeat m = WIRE__RANK_BEAT__INIT;

    m.who = &w->who;
    m.has_pid = m.has_phase = m.has_step = m.has_seq = m.has_first_step = 1;
    m.has_meetings = m.has_waits = 1;
    m.pid = (uint32_t)getpid();
    m.phase = w->phase;
    m.step = w->step;
    m.seq = ++w->seq;
    m.op = w->waits ? "the barrier" : "sleep";
    m.first_step = w->first;
    m.meetings = w->meetings;
    m.waits = w->waits;
    m.host = w->host;
    tell(w, WIRE__TYPE__RANK_BEAT, &m.base);
}

static void beat(struct worker *w, Wire__Phase phase)
{
    pthread_mutex_lock(&w->lock);
    w->phase = phase;
    beat_locked(w);
    pthread_mutex_unlock(&w->lock);
}

/* The thread, for ranks whose main one does not come to it. */
static void *beat_on(void *arg)
{
    struct worker *w = arg;

    for (;;) {
        sleep_ms(200);
        pthread_mutex_lock(&w->lock);
        beat_locked(w);
        pthread_mutex_unlock(&w->lock);
        if (w->asked == WIRE__STOP__LEAVE)
            _exit(3);
    }
    return NULL;
}

static void start_thread(struct worker *w)
{
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, beat_on, w) != 0)
        fail("a thread");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Ranks of a world of MPI, and a second communicator to get lost in. */
static void enter_world(struct worker *w)
{
    struct err e;

    if (comm_mpi_world(&w->world, &e) < 0 || comm_split(w->world, 0, &w->other, &e) < 0)
        fail(e.text);
}

static void meet(struct worker *w, struct comm *where)
{
    struct err e;

    w->meetings++;
    w->waits = true;
    if (comm_barrier(where, &e) < 0)
        fail(e.text);
    w->waits = false;
}

static void tell_locked(struct worker *w, unsigned type, ProtobufCMessage *m)
{
    pthread_mutex_lock(&w->lock);
    tell(w, type, m);
    pthread_mutex_unlock(&w->lock);
}

static void metric(struct worker *w)
{
    Wire__RankMetric m = WIRE__RANK_METRIC__INIT;
    char path[4200];
    FILE *f;

    m.who = &w->who;
    m.has_step = m.has_loss = m.has_tokens_per_s = m.has_step_seconds = 1;
    m.step_seconds = (double)w->ms / 1000;
    m.step = w->step;
    m.loss = 10.0 / (double)(w->step + 1);
    m.tokens_per_s = 1000;
    m.has_send_hidden = 1;
    m.send_hidden = 0.75;
    snprintf(path, sizeof path, "%s/metrics.jsonl", w->dir);
    f = fopen(path, "ae");
    if (!f)
        fail("metrics.jsonl");
    fprintf(f, "{\"attempt\":%u,\"step\":%lu,\"loss\":%.6f,\"tokens_per_s\":1000}\n",
            w->attempt, w->step, m.loss);
    fclose(f);
    tell_locked(w, WIRE__TYPE__RANK_METRIC, &m.base);
}

static void ended(struct worker *w, Wire__Failure failure, const char *text)
{
    Wire__RankEnded m = WIRE__RANK_ENDED__INIT;

    m.who = &w->who;
    m.has_failure = m.has_step = m.has_phase = 1;
    m.failure = failure;
    m.text = (char *)text;
    m.step = w->step;
    m.phase = w->phase;
    tell_locked(w, WIRE__TYPE__RANK_ENDED, &m.base);
}

/* --- checkpoints: a folder that names the step ---------------------------- */

static void save(struct worker *w)
{
    Wire__RankSaved m = WIRE__RANK_SAVED__INIT;
    char path[4200], text[32];
    struct err e;

    snprintf(path, sizeof path, "%s/checkpoints/newest", w->dir);
    snprintf(text, sizeof text, "%lu", w->step);
    if (fs_replace(path, text, strlen(text), &e) < 0)
        fail(e.text);
    m.who = &w->who;
    m.has_step = 1;
    m.step = w->step;
    m.path = path;
    tell_locked(w, WIRE__TYPE__RANK_SAVED, &m.base);
}

static void resume(struct worker *w)
{
    char path[4200];
    struct buf b = {0};
    struct err e;

    snprintf(path, sizeof path, "%s/checkpoints/newest", w->dir);
    if (fs_exists(path) && fs_read(path, 64, &b, &e) == 0)
        w->step = strtoul(b.data, NULL, 10);
    w->first = w->step + 1;
    buf_free(&b);
}

/* As nnd-worker does: an error is its last line, and ends the attempt. */
static void open_line(struct worker *w)
{
    char dir[4200];
    struct err e;

    snprintf(dir, sizeof dir, "%s/attempt-%u", w->dir, w->attempt);
    if (line_check_home(dir, w->uri, w->epoch, 500, &e) == 0 &&
        line_open(dir, w->uri, 5000, &w->chan, &e) == 0)
        return;
    fprintf(stderr, "nnd-worker: rank %u: %s\n", w->rank, e.text);
    exit(8);
}

/* --- life ----------------------------------------------------------------- */

static void leave_orphan(const struct worker *w)
{
    pid_t pid = fork();

    if (pid != 0)
        return;
    setsid();
    signal(SIGTERM, SIG_IGN);
    if (fork() != 0)
        _exit(0);
    for (int fd = 0; fd < 64; fd++) /* mpirun waits for its ranks' output to end */
        close(fd);
    execle("/bin/sleep", w->dir, "600", (char *)NULL, (char *[]){NULL});
    _exit(1);
}

/* JOB/starts: one line a process, so that a second start is seen. */
static void note_start(const struct worker *w)
{
    char path[4200];
    FILE *f;

    snprintf(path, sizeof path, "%s/starts", w->dir);
    f = fopen(path, "ae");
    if (!f)
        fail("starts");
    fprintf(f, "%u %u\n", w->attempt, w->rank);
    fclose(f);
}

static bool due(const struct worker *w, const struct fault *f)
{
    return (f->rank == (int)w->rank || f->rank == ALL) && f->step == w->step &&
           w->attempt <= w->until;
}

static void go_wrong(struct worker *w)
{
    if (due(w, &w->kill)) {
        fprintf(stderr, "about to be killed at step %lu\n", w->step);
        signal(w->kill.number, SIG_DFL); /* sanitizers would take it */
        raise(w->kill.number);
    }
    if (due(w, &w->exit)) {
        fprintf(stderr, "about to exit at step %lu\n", w->step);
        exit(w->exit.number);
    }
    if (due(w, &w->say)) {
        ended(w, WIRE__FAILURE__APP_ERROR, "the sky fell down");
        exit(1);
    }
    while (due(w, &w->stop))
        pause();
    if (due(w, &w->spin))
        start_thread(w);
    while (due(w, &w->spin))
        sleep_ms(1);
    if (due(w, &w->miss))
        meet(w, w->other);
}

static void stop_as_asked(struct worker *w)
{
    if (w->deaf || (w->asked == WIRE__STOP__GO_ON && !terminated))
        return;
    if (w->asked == WIRE__STOP__LEAVE)
        _exit(3);
    if (w->rank == 0 && w->save)
        save(w);
    ended(w, WIRE__FAILURE__NO_FAILURE, "stopped as asked");
    sleep_ms(50);
    exit(w->step == w->steps ? 0 : 75);
}

static void take_checkpoint(struct worker *w)
{
    if (w->write_ms) {
        beat(w, WIRE__PHASE__SAVE);
        sleep_ms(w->write_ms);
    }
    if (w->rank == 0)
        save(w);
}

static void validate(struct worker *w)
{
    beat(w, WIRE__PHASE__EVAL);
    sleep_ms(w->eval_ms);
}

static void train(struct worker *w)
{
    while (w->step < w->steps) {
        sleep_ms(w->ms);
        w->step++;
        if (w->rank == 0) {
            printf("step %lu\n", w->step);
            metric(w);
        }
        if (w->save && w->step % w->save == 0)
            take_checkpoint(w);
        if (w->eval && w->step % w->eval == 0)
            validate(w);
        beat(w, WIRE__PHASE__TRAIN);
        go_wrong(w);
        if (w->wait == w->step && w->rank == 0 && w->attempt <= w->until)
            sleep_ms(3000);
        if (w->meet)
            meet(w, w->world);
        stop_as_asked(w);
    }
}

int main(int argc, char **argv)
{
    static struct worker w = {
        .ms = 10, .lock = PTHREAD_MUTEX_INITIALIZER, .phase = WIRE__PHASE__TRAIN};

    if (argc < 2 || strcmp(argv[1], "train") != 0)
        fail("the task must be \"train\"");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, on_term);
    setvbuf(stdout, NULL, _IOLBF, 0);
    parse_args(&w, argc - 1, argv + 1);
    open_line(&w);
    read_job(&w);
    resume(&w);
    if (w.deaf)
        signal(SIGTERM, SIG_IGN);
    wire__rank__init(&w.who);
    w.who.has_job = w.who.has_attempt = w.who.has_epoch = w.who.has_rank = 1;
    w.who.job = strtoull(strrchr(w.dir, '/') + 1, NULL, 10);
    w.who.attempt = w.attempt;
    w.who.epoch = w.epoch;
    w.who.rank = w.rank;
    gethostname(w.host, sizeof w.host - 1);
    note_start(&w);
    if (w.meet)
        enter_world(&w);
    if (due(&w, &w.exit)) {
        sleep_ms(w.ms);
        exit(w.exit.number);
    }
    hello(&w);
    while (w.stuck == w.attempt)
        pause();
    if (w.meet)
        start_thread(&w);
    if (w.orphan && w.rank == 0)
        leave_orphan(&w);
    train(&w);
    w.phase = WIRE__PHASE__DONE;
    ended(&w, WIRE__FAILURE__NO_FAILURE, "all steps done");
    if (!w.meet) { /* else the thread has it, and ends with the process */
        chan_close(w.chan);
        return 0;
    }
    comm_destroy(w.other);
    comm_destroy(w.world);
    _exit(0);
}
