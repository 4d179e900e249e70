/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.c - how fast the kernels of matrix products are: beside the peaks of the
 * registers, and beside oneDNN where configure has found it, all in one process and
 * by turns.  bench/README.md says how to read it.
 *
 *   bench/gemm [-t THREADS] [-r ROUNDS] [-k KERNEL]... [-w WHAT] [-f REGEX]
 *              [-m MIB] PLUGIN.so...
 */
#include "gemm_peer.h"

#include <regex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "kernel/kernel.h"

enum { KERNELS_MOST = 8, ROUNDS_MOST = 64, RUNNERS_MOST = 16, COPIES_MOST = 256 };

static struct {
    int threads, rounds, mib;
    cpu_set_t cpus;
    const char *what; /* "" for all */
    const char *named[KERNELS_MOST];
    int nnamed;
    struct pool *pool;
    struct kernels *kernels;
    struct peer *peer;
    void *workspace;
    size_t workspace_size;
    regex_t filter; /* of the lines that are measured */
    double peak[2]; /* GFLOP/s of all threads: f32, bf16 */
} bench = {.threads = 2, .rounds = 7, .what = ""};

static void give_up(const char *text)
{
    fprintf(stderr, "bench/gemm: %s\n", text);
    exit(1);
}

static void *room(size_t size)
{
    void *p = NULL;

    if (posix_memalign(&p, 4096, size + 4096))
        give_up("out of memory");
    memset(p, 0, size);
    return p;
}

/* Bytes that are numbers in [-1, 1) of `dtype`. */
static void *numbers(int64_t n, int dtype)
{
    static uint32_t random = 1;
    float *f = room((size_t)n * 4);
    uint16_t *h = (uint16_t *)f;

    for (int64_t i = 0; i < n; i++) {
        float x;

        random = random * 1664525u + 1013904223u;
        x = (float)(random >> 9) / 0x1p22f - 1.0f;
        if (dtype == NND_F32) {
            f[i] = x;
        } else {
            uint32_t u;

            memcpy(&u, &x, sizeof u);
            h[i] = (uint16_t)(u >> 16);
        }
    }
    return f;
}

/* ---- processors ---- */

/* Thread `index` of ours, or of the peer's, on that processor of those we may have: two
 * that met on one would halve a figure. */
static void stay(void *arg, int index)
{
    cpu_set_t one;

    (void)arg;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && index >= 0; cpu++)
        if (CPU_ISSET(cpu, &bench.cpus) && index-- == 0)
            CPU_SET(cpu, &one);
    if (CPU_COUNT(&one))
        sched_setaffinity(0, sizeof one, &one);
}

/* ---- things that take turns ---- */

struct runner {
    char name[40];
    void (*run)(void *arg);
    void *arg;
    double seconds[ROUNDS_MOST];
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Seconds of one run, of `times` in a row, after one that does not count.  The pause
 * lets the other library's threads fall asleep. */
static double seconds_of(const struct runner *r, int times)
{
    int64_t begin;

    usleep(3000);
    r->run(r->arg);
    begin = clock_mono_ns();
    for (int i = 0; i < times; i++)
        r->run(r->arg);
    return (double)(clock_mono_ns() - begin) * 1e-9 / times;
}

/* Let all take turns, and print GFLOP/s, the share of the peak, and the ratio to the
 * last one. */
static void race(const char *label, struct runner *r, int n, double flops, double peak)
{
    int times[RUNNERS_MOST];
    double last;

    for (int i = 0; i < n; i++)
        times[i] = (int)(0.02 / seconds_of(&r[i], 1)) + 1;
    for (int round = 0; round < bench.rounds; round++)
        for (int i = 0; i < n; i++)
            r[i].seconds[round] = seconds_of(&r[i], times[i]);
    last = median(r[n - 1].seconds, bench.rounds);
    printf("%-34s", label);
    for (int i = 0; i < n; i++) {
        double s = median(r[i].seconds, bench.rounds), rate = flops / s * 1e-9;

        printf(" | %s %.0f %.0f%%", r[i].name, rate, 100 * rate / peak);
        if (i < n - 1)
            printf(" %.2fx", last / s);
    }
    printf("\n");
    fflush(stdout);
}

/* ---- our kernels ---- */

/* A kernel, and calls that differ in where their operands lie; each run is the next. */
struct ours {
    const struct nnd_kernel *kernel;
    const char *params;
    size_t size; /* of one call's params */
    int calls, next;
};

static void run_ours(void *arg)
{
    struct ours *o = arg;
    const void *params = o->params + (size_t)(o->next++ % o->calls) * o->size;
    struct nnd_launch l = {.struct_size = sizeof l,
                           .workspace = bench.workspace,
                           .workspace_size = bench.workspace_size,
                           .nthreads = bench.threads};
    struct nnd_error e = {{0}};

    if (o->kernel->launch(o->kernel->self, NULL, params, &l, &e))
        give_up(e.text);
}

static void need_room(const struct ours *o)
{
    struct nnd_need need = {.struct_size = sizeof need};

    o->kernel->need(o->kernel->self, o->params, &need);
    if (need.workspace > bench.workspace_size) {
        free(bench.workspace);
        bench.workspace_size = need.workspace;
        bench.workspace = room(need.workspace);
    }
}

static int is_named(const struct nnd_kernel *k)
{
    for (int i = 0; i < bench.nnamed; i++)
        if (strstr(k->name, bench.named[i]))
            return 1;
    return 0;
}

/* The kernels to be measured on a call: those named, or else the best. */
static int add_ours(struct runner *r, struct ours *o, const char *op,
                    const void *params, size_t size, int calls)
{
    const struct nnd_kernel *best = NULL;
    int n = 0;

    for (size_t i = 0; i < kernels_plugin_count(bench.kernels); i++) {
        const struct nnd_plugin *p = kernels_plugin(bench.kernels, i);

        for (uint32_t j = 0; j < p->nkernels; j++) {
            const struct nnd_kernel *k = p->kernels[j];
            struct nnd_error e;

            if (strcmp(k->op, op) || k->supports(k->self, params, &e))
                continue;
            if (!best || k->priority > best->priority)
                best = k;
            if (is_named(k) && n < KERNELS_MOST)
                o[n++].kernel = k;
        }
    }
    if (!bench.nnamed && best)
        o[n++].kernel = best;
    for (int i = 0; i < n; i++) {
        o[i].params = params;
        o[i].size = size;
        o[i].calls = calls;
        need_room(&o[i]);
        snprintf(r[i].name, sizeof r[i].name, "%s", o[i].kernel->name);
        r[i].run = run_ours;
        r[i].arg = &o[i];
    }
    return n;
}

static struct nnd_tensor tensor(void *data, int dtype, int64_t rows, int64_t cols)
{
    struct nnd_tensor t = {.data = data,
                           .dim = {rows, cols},
                           .stride = {cols, 1},
                           .ndim = 2,
                           .dtype = dtype,
                           .align_log2 = 6};

    return t;
}

static int is_wanted(const char *label)
{
    return regexec(&bench.filter, label, 0, NULL, 0) == 0;
}

/* ---- plain products ---- */

/* A product of the peer's, by operands that lie apart as ours do. */
struct peers {
    struct peer_product *one[COPIES_MOST];
    int n, next;
};

static void run_peers(void *arg)
{
    struct peers *p = arg;

    peer_run(p->one[p->next++ % p->n]);
}

/* op(A) [m,k] op(B) [k,n], form 0: as given, 1: B is a transpose, 2: A is one. */
struct product {
    int m, n, k, form, dtype;
    int calls;
    struct nnd_gemm p[COPIES_MOST];
    struct peers peers[2]; /* plain, packed */
};

/* As many sets of operands as fill what -m says. */
static int calls_of(const struct product *x)
{
    int64_t size = x->dtype == NND_F32 ? 4 : 2, m = x->m, n = x->n, k = x->k;
    int64_t bytes = (m * k + k * n) * size + m * n * 4;
    int64_t calls = ((int64_t)bench.mib << 20) / bytes + 1;

    return calls < COPIES_MOST ? (int)calls : COPIES_MOST;
}

static void make_operands(struct product *x)
{
    int m = x->m, n = x->n, k = x->k, ta = x->form == 2, tb = x->form == 1;

    x->calls = calls_of(x);
    for (int i = 0; i < x->calls; i++) {
        void *a = numbers((int64_t)m * k, x->dtype);
        void *b = numbers((int64_t)k * n, x->dtype);
        float *d = room((size_t)m * (size_t)n * 4);

        x->p[i] = (struct nnd_gemm){
            .struct_size = sizeof x->p[i], .trans_a = ta, .trans_b = tb};
        x->p[i].a = ta ? tensor(a, x->dtype, k, m) : tensor(a, x->dtype, m, k);
        x->p[i].b = tb ? tensor(b, x->dtype, n, k) : tensor(b, x->dtype, k, n);
        x->p[i].d = tensor(d, NND_F32, m, n);
        for (int packed = 0; packed < 2; packed++) {
            struct peers *peers = &x->peers[packed];

            peers->one[i] =
                peer_product(bench.peer, m, n, k, ta, tb, x->dtype, packed, a, b, d);
            peers->n += peers->one[i] != NULL;
        }
    }
}

static void free_operands(struct product *x)
{
    for (int i = 0; i < x->calls; i++) {
        peer_product_free(x->peers[0].one[i]);
        peer_product_free(x->peers[1].one[i]);
        free(x->p[i].a.data);
        free(x->p[i].b.data);
        free(x->p[i].d.data);
    }
}

static void one_gemm(const int *shape, int form, int dtype)
{
    static const char *const forms[] = {"NN", "NT", "TN"};
    static struct product x;
    struct runner r[RUNNERS_MOST];
    struct ours o[KERNELS_MOST] = {{0}};
    char label[64];
    int count;

    memset(&x, 0, sizeof x);
    x.m = shape[0];
    x.n = shape[1];
    x.k = shape[2];
    x.form = form;
    x.dtype = dtype;
    snprintf(label, sizeof label, "%s %5dx%5dx%5d %s",
             dtype == NND_F32 ? "f32" : "bf16", x.m, x.n, x.k, forms[form]);
    if (!is_wanted(label))
        return;
    make_operands(&x);
    count = add_ours(r, o, "gemm", x.p, sizeof x.p[0], x.calls);
    for (int packed = 1; packed >= 0; packed--) {
        if (x.peers[packed].n < x.calls)
            continue;
        snprintf(r[count].name, sizeof r[count].name, "onednn%s",
                 packed ? "-packed" : "");
        r[count].run = run_peers;
        r[count++].arg = &x.peers[packed];
    }
    race(label, r, count, 2.0 * x.m * x.n * x.k, bench.peak[dtype == NND_BF16]);
    free_operands(&x);
}

static void all_gemms(void)
{
    static const int shape[][4] = {
        {2048, 512, 512, 7},  {2048, 2048, 512, 7},  {2048, 512, 2048, 7},
        {256, 1024, 512, 7},  {64, 1024, 512, 7},    {8192, 10000, 512, 7},
        {512, 512, 2048, 4},  {10000, 512, 8192, 4}, {4096, 384, 384, 7},
        {4096, 1536, 384, 7}, {1024, 2304, 768, 7},  {1024, 3072, 768, 7},
        {4096, 384, 1536, 7}, {384, 1536, 4096, 4},  {1024, 768, 3072, 7},
        {256, 50304, 768, 7}};

    for (int dtype = NND_F32; dtype <= NND_BF16; dtype += NND_BF16 - NND_F32)
        for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
            for (int form = 0; form < 3; form++)
                if (shape[i][3] >> form & 1)
                    one_gemm(shape[i], form, dtype);
}

/* ---- grouped products against a loop ---- */

struct loop {
    struct peer_product *one[64];
    int n;
};

static void run_loop(void *arg)
{
    struct loop *l = arg;

    for (int i = 0; i < l->n; i++)
        peer_run(l->one[i]);
}

/* Rows of expert e: `rows` each, or with `uneven` from a quarter to four times. */
static int rows_of(int e, int experts, int rows, int uneven)
{
    double x = experts > 1 ? (double)e / (experts - 1) : 0;

    return uneven ? (int)(rows * (0.25 + 2.25 * x * x)) : rows;
}

static void one_grouped(int experts, int rows, int n, int k, int uneven, int form,
                        int dtype)
{
    static const char *const forms[] = {"NN", "NT", "K"};
    struct nnd_segment seg[64];
    int total = 0, by_k = form == 2;
    struct nnd_grouped_gemm p = {.struct_size = sizeof p,
                                 .segments = seg,
                                 .nsegments = experts,
                                 .mode = by_k ? NND_GROUP_K : NND_GROUP_M,
                                 .trans_b = form == 1};
    struct runner r[RUNNERS_MOST];
    struct ours o[KERNELS_MOST];
    struct loop loop = {.n = experts};
    char *a, *b, label[80];
    float *d;
    int64_t size = dtype == NND_F32 ? 4 : 2;
    int count;

    snprintf(label, sizeof label, "%s %2d experts of %s%4d rows %s",
             dtype == NND_F32 ? "f32" : "bf16", experts, uneven ? "~" : " ", rows,
             forms[form]);
    if (!is_wanted(label))
        return;
    for (int e = 0; e < experts; e++) {
        seg[e] = (struct nnd_segment){total, rows_of(e, experts, rows, uneven), e, 0};
        total += seg[e].rows;
    }
    a = numbers((int64_t)total * (by_k ? n : k), dtype);
    b = numbers(by_k ? (int64_t)total * k : (int64_t)experts * n * k, dtype);
    d = room((size_t)(by_k ? (int64_t)experts * n * k : (int64_t)total * n) * 4);
    p.a = tensor(a, dtype, total, by_k ? n : k);
    p.b = tensor(b, dtype, total, k);
    p.d = tensor(d, NND_F32, total, n);
    if (by_k)
        p.d = (struct nnd_tensor){.data = d,
                                  .dim = {experts, n, k},
                                  .stride = {(int64_t)n * k, k, 1},
                                  .ndim = 3,
                                  .dtype = NND_F32};
    else
        p.b = (struct nnd_tensor){.data = b,
                                  .dim = {experts, form ? n : k, form ? k : n},
                                  .stride = {(int64_t)n * k, form ? k : n, 1},
                                  .ndim = 3,
                                  .dtype = dtype};
    count = add_ours(r, o, "gemm.grouped", &p, sizeof p, 1);
    for (int e = 0; e < experts; e++) {
        char *x = a + (int64_t)seg[e].row * (by_k ? n : k) * size;
        char *w = b + (by_k ? (int64_t)seg[e].row : (int64_t)e * n) * k * size;
        float *y = by_k ? d + (int64_t)e * n * k : d + (int64_t)seg[e].row * n;

        loop.one[e] =
            by_k ? peer_product(bench.peer, n, k, seg[e].rows, 1, 0, dtype, 0, x, w, y)
                 : peer_product(bench.peer, seg[e].rows, n, k, 0, form, dtype, 0, x, w,
                                y);
    }
    if (loop.one[0]) {
        snprintf(r[count].name, sizeof r[count].name, "onednn-loop");
        r[count].run = run_loop;
        r[count++].arg = &loop;
    }
    race(label, r, count, 2.0 * total * n * k, bench.peak[dtype == NND_BF16]);
    for (int e = 0; e < experts; e++)
        peer_product_free(loop.one[e]);
    free(a);
    free(b);
    free(d);
}

static void all_grouped(void)
{
    static const int load[][3] = {{64, 16, 0}, {64, 64, 0},  {8, 64, 0},   {8, 256, 0},
                                  {8, 256, 1}, {8, 1024, 0}, {8, 1024, 1}, {32, 64, 1}};

    for (int dtype = NND_F32; dtype <= NND_BF16; dtype += NND_BF16 - NND_F32)
        for (size_t i = 0; i < sizeof load / sizeof load[0]; i++)
            for (int form = 0; form < 3; form++)
                one_grouped(load[i][0], load[i][1], 1024, 512, load[i][2], form, dtype);
}

/* ---- */

static void measure_peaks(void)
{
    for (int i = 0; i < 2; i++) {
        for (int r = 0; r < bench.rounds; r++) {
            double x = peak_rate(bench.pool, i == 1);

            bench.peak[i] = x > bench.peak[i] ? x : bench.peak[i];
        }
    }
    printf("peaks of %d threads: f32 %.0f, bf16 pairs %.0f GFLOP/s\n", bench.threads,
           bench.peak[0], bench.peak[1]);
    if (bench.peak[1] < bench.peak[0])
        bench.peak[1] = bench.peak[0];
}

static void load_plugins(char **path, int n)
{
    struct err e;

    for (int i = 0; i < n; i++)
        if (kernels_load(bench.kernels, path[i], &e))
            give_up(e.text);
}

int main(int argc, char **argv)
{
    const char *filter = "";
    struct err e;
    int c;

    while ((c = getopt(argc, argv, "t:r:k:w:f:m:")) != -1)
        if (c == 't')
            bench.threads = atoi(optarg);
        else if (c == 'r')
            bench.rounds = atoi(optarg);
        else if (c == 'k' && bench.nnamed < KERNELS_MOST)
            bench.named[bench.nnamed++] = optarg;
        else if (c == 'w')
            bench.what = optarg;
        else if (c == 'f')
            filter = optarg;
        else if (c == 'm')
            bench.mib = atoi(optarg);
        else
            give_up("usage: gemm [-t THREADS] [-r ROUNDS] [-k KERNEL]... "
                    "[-w gemm|grouped] [-f REGEX] [-m MIB] PLUGIN.so...");
    if (bench.rounds < 1 || bench.rounds > ROUNDS_MOST || bench.threads < 1 ||
        bench.mib < 0)
        give_up("-t, -r, -m: out of range");
    if (regcomp(&bench.filter, filter, REG_EXTENDED | REG_NOSUB))
        give_up("-f: wanted a regular expression");
    sched_getaffinity(0, sizeof bench.cpus, &bench.cpus);
    stay(NULL, 0);
    bench.peer = peer_create(bench.threads, stay);
    if (pool_create(bench.threads, stay, NULL, &bench.pool, &e) ||
        kernels_create(bench.pool, &bench.kernels, &e))
        give_up(e.text);
    if (bench.threads <= CPU_COUNT(&bench.cpus))
        pool_alone(bench.pool);
    load_plugins(argv + optind, argc - optind);
    printf("oneDNN: %s\n", peer_version(bench.peer));
    measure_peaks();
    if (!strcmp(bench.what, "") || !strcmp(bench.what, "gemm"))
        all_gemms();
    if (!strcmp(bench.what, "") || !strcmp(bench.what, "grouped"))
        all_grouped();
    kernels_destroy(bench.kernels);
    pool_destroy(bench.pool);
    peer_destroy(bench.peer);
    free(bench.workspace);
    regfree(&bench.filter);
    return 0;
}
