/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rage.c - presses on nnd with a client of bad manners while another one asks for the
 * status of a job, and prints what that one had to wait and what nnd took.
 *
 *   rage URI PID JOB KIND SECONDS
 *
 * KIND: calm (nobody else), storm (random multipart messages at full rate), deaf (asks
 * for all events and never reads), open (1,000 connections that never say who they are,
 * held until nnd has closed them).  Prints "name value" lines; sizes in KiB, times in
 * microseconds.  0 when every question was answered.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "base/clock.h"
#include "proto/chan.h"
#include "proto/wire.pb-c.h"

enum { CONNECTIONS = 1000, ASKED_MAX = 1 << 20 };

static uint32_t seed = 20261120;

static uint32_t draw(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static void *dealer(const char *uri)
{
    void *s = zmq_socket(zmq_ctx_new(), ZMQ_DEALER);
    int linger = 0, high = 1000;

    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s, ZMQ_SNDHWM, &high, sizeof high);
    if (zmq_connect(s, uri) != 0)
        exit(1);
    return s;
}

/* --- bad manners ------------------------------------------------------------ */

/* Frames of any number and content; two of three look like messages. */
static void storm(const char *uri)
{
    void *s = dealer(uri);
    uint8_t bytes[512], back[512];

    for (uint32_t i = 0;; i++) {
        unsigned frames = draw() % 3 ? 2 : draw() % 6;
        struct chan_header h = {.version = CHAN_VERSION,
                                .type = (uint16_t)(draw() % 40),
                                .length = draw() % sizeof bytes,
                                .id = i};

        if (h.type == WIRE__TYPE__SHUTDOWN) /* an empty one is right, and obeyed */
            h.type = 0;

        for (size_t k = 0; k < sizeof bytes; k += 3)
            memcpy(bytes + k, &(uint32_t){draw()}, sizeof bytes - k < 3 ? 1 : 3);
        for (unsigned f = 0; f < frames; f++) {
            uint8_t header[CHAN_HEADER];
            bool head = f == 0 && frames == 2;

            chan_header_put(&h, header);
            zmq_send(s, head ? header : bytes, head ? sizeof header : h.length,
                     f + 1 < frames ? ZMQ_SNDMORE : 0);
        }
        while (i % 2 && zmq_recv(s, back, sizeof back, ZMQ_DONTWAIT) >= 0)
            continue;
    }
}

static void deaf(const char *uri)
{
    Wire__Events m = WIRE__EVENTS__INIT;
    struct chan_header h = {.version = CHAN_VERSION, .type = WIRE__TYPE__EVENTS};
    uint8_t header[CHAN_HEADER], body[64];
    void *s = dealer(uri);

    m.has_since = 1;
    h.length = (uint32_t)wire__events__pack(&m, body);
    for (;; h.id++) {
        chan_header_put(&h, header);
        zmq_send(s, header, sizeof header, ZMQ_SNDMORE);
        zmq_send(s, body, h.length, 0);
    }
}

/* Ends when the other side has closed the last one. */
static void half_open(const char *uri)
{
    static int fd[CONNECTIONS];
    char byte;

    for (int i = 0; i < CONNECTIONS; i++) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};

        snprintf(a.sun_path, sizeof a.sun_path, "%s", uri + strlen("ipc://"));
        fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd[i] < 0 || connect(fd[i], (struct sockaddr *)&a, sizeof a) != 0)
            _exit(1);
        if (i % 2 && write(fd[i], "\xff\0\0\0\0\0\0\0\1\x7f", 10) < 0)
            _exit(1); /* the beginning of a greeting */
    }
    for (int i = 0; i < CONNECTIONS; i++)
        while (read(fd[i], &byte, 1) > 0)
            continue;
    _exit(0);
}

static void calm(const char *uri)
{
    (void)uri;
    pause();
}

static const struct {
    const char *name;
    void (*run)(const char *uri);
    bool ends;
} kinds[] = {
    {"calm", calm, false},
    {"storm", storm, false},
    {"deaf", deaf, false},
    {"open", half_open, true},
};

/* --- good manners ----------------------------------------------------------- */

static long rss_kib(const char *pid)
{
    char path[64], text[200] = "";
    long size = 0, pages = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%s/statm", pid);
    f = fopen(path, "r");
    if (f && fgets(text, sizeof text, f))
        sscanf(text, "%ld %ld", &size, &pages);
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int count_fds(const char *pid)
{
    char path[64];
    int n = 0;
    DIR *d;

    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n - 2;
}

static int64_t ask(struct chan *c, uint64_t job)
{
    int64_t begin = clock_mono_ns();
    Wire__Show m = WIRE__SHOW__INIT;
    ProtobufCMessage *reply;
    struct err e;

    m.has_id = 1;
    m.id = job;
    if (chan_call(c, WIRE__TYPE__SHOW, &m.base, 30000, &reply, &e) < 0) {
        printf("%s\n", e.text);
        exit(1);
    }
    chan_free(reply);
    return (clock_mono_ns() - begin) / 1000;
}

static int by_size(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void tell(int64_t *us, size_t n)
{
    qsort(us, n, sizeof *us, by_size);
    printf("asked %zu\np50_us %lld\np99_us %lld\nmax_us %lld\n", n,
           (long long)us[n / 2], (long long)us[n * 99 / 100], (long long)us[n - 1]);
}

/* Ask until the time is over, or the other one has ended; 1 when it ended badly. */
static int watch(const char *uri, const char *pid, uint64_t job, pid_t other, bool ends,
                 double seconds)
{
    static int64_t us[ASKED_MAX];
    int64_t stop = clock_mono_ns() + (int64_t)(seconds * 1e9);
    long before = rss_kib(pid), peak = before;
    int status = 0, fds = 0;
    struct chan *c;
    struct err e;
    size_t n = 0;

    if (chan_open(uri, false, &c, &e) < 0)
        return 1;
    while (clock_mono_ns() < stop && n < ASKED_MAX) {
        long now = rss_kib(pid);
        int open = count_fds(pid);

        us[n++] = ask(c, job);
        peak = now > peak ? now : peak;
        fds = open > fds ? open : fds;
        usleep(2000);
        if (ends && waitpid(other, &status, WNOHANG) == other)
            break;
    }
    if (!ends || clock_mono_ns() >= stop) {
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
    }
    ends = ends && (clock_mono_ns() >= stop || status != 0);
    tell(us, n);
    printf("rss_before %ld\nrss_peak %ld\nfds_peak %d\n", before, peak, fds);
    chan_close(c);
    return ends;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    size_t k = 0, n = sizeof kinds / sizeof *kinds;
    pid_t other;

    while (argc == 6 && k < n && strcmp(kinds[k].name, argv[4]) != 0)
        k++;
    if (argc != 6 || k == n)
        return 2;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    other = fork();
    if (other == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        kinds[k].run(argv[1]);
        _exit(0);
    }
    return watch(argv[1], argv[2], strtoull(argv[3], NULL, 10), other, kinds[k].ends,
                 atof(argv[5]));
}
