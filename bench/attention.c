/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.c - one side of bench/attention.sh: attention forward and backward
 * through the plugin's kernels, and what the processor's registers can do.
 *
 *   attention T fp32|bf16 THREADS [RULE]   serves: for each line on standard input
 *                                          one forward and one backward, a line
 *                                          "FORWARD BACKWARD PEAK" (seconds, MiB)
 *   attention peaks THREADS                serves: a line "FP32 BF16" (GFLOP/s)
 *
 * A line "q" ends a server.
 *
 * 8 sequences of 6 heads of 64, causal, random contents.  PEAK is what the process
 * has held at most.  RULE chooses among kernels, as --kernel of a job does.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pool.h"
#include "kernel/folders.h"
#include "kernel/kernel.h"

enum { BATCH = 8, HEADS = 6, SIZE = 64, CHAINS = 12 };

static void die(const char *what)
{
    fprintf(stderr, "attention: %s\n", what);
    exit(1);
}

/* ---- peaks ---- */

struct peak {
    const char *name;
    int (*there)(void);
    void (*loop)(void *arg, int i);
    double flops; /* of one pass of the loop */
};

enum { PASSES = 20000000 };

#ifdef __x86_64__
#define TWELVE(op, r)                                                                  \
    op " " r "13," r "14," r "0;" op " " r "13," r "14," r "1;" op " " r "13," r       \
       "14," r "2;" op " " r "13," r "14," r "3;" op " " r "13," r "14," r "4;" op     \
       " " r "13," r "14," r "5;" op " " r "13," r "14," r "6;" op " " r "13," r       \
       "14," r "7;" op " " r "13," r "14," r "8;" op " " r "13," r "14," r "9;" op     \
       " " r "13," r "14," r "10;" op " " r "13," r "14," r "11;"
#define REGISTERS                                                                      \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",    \
        "xmm10", "xmm11", "xmm13", "xmm14"

/* Twelve chains that depend on nothing but themselves; all numbers are 0. */
static void fma_512(void *arg, int i)
{
    (void)arg, (void)i;
    __asm__ volatile("vzeroall" ::: REGISTERS);
    for (int n = 0; n < PASSES; n++)
        __asm__ volatile(TWELVE("vfmadd231ps", "%%zmm")::: REGISTERS);
    __asm__ volatile("vzeroupper");
}

static void fma_256(void *arg, int i)
{
    (void)arg, (void)i;
    __asm__ volatile("vzeroall" ::: REGISTERS);
    for (int n = 0; n < PASSES; n++)
        __asm__ volatile(TWELVE("vfmadd231ps", "%%ymm")::: REGISTERS);
    __asm__ volatile("vzeroupper");
}

static void dot_bf16(void *arg, int i)
{
    (void)arg, (void)i;
    __asm__ volatile("vzeroall" ::: REGISTERS);
    for (int n = 0; n < PASSES; n++)
        __asm__ volatile(TWELVE("vdpbf16ps", "%%zmm")::: REGISTERS);
    __asm__ volatile("vzeroupper");
}

static int has_512(void)
{
    return __builtin_cpu_supports("avx512f");
}

static int has_256(void)
{
    return __builtin_cpu_supports("fma");
}

static int has_bf16(void)
{
    return __builtin_cpu_supports("avx512bf16");
}

/* The widest of each type comes first. */
static const struct peak fp32_peaks[] = {
    {"avx512", has_512, fma_512, CHAINS * 32.0},
    {"avx2", has_256, fma_256, CHAINS * 16.0},
};
static const struct peak bf16_peaks[] = {
    {"avx512bf16", has_bf16, dot_bf16, CHAINS * 64.0},
};
#else
static const struct peak fp32_peaks[] = {{"none", NULL, NULL, 0}};
static const struct peak bf16_peaks[] = {{"none", NULL, NULL, 0}};
#endif

/* GFLOP/s of all threads; 0 where there is no such instruction. */
static double measure(struct pool *pool, const struct peak *p, size_t n)
{
    int threads = pool_threads(pool);

    for (size_t i = 0; i < n; i++) {
        int64_t start;

        if (!p[i].there || !p[i].there())
            continue;
        start = clock_mono_ns();
        pool_run(pool, threads, p[i].loop, NULL);
        return p[i].flops * PASSES * threads / (double)(clock_mono_ns() - start);
    }
    return 0;
}

static void serve_peaks(struct pool *pool)
{
    char line[16];

    while (fgets(line, sizeof line, stdin) && *line != 'q') {
        double f = measure(pool, fp32_peaks, sizeof fp32_peaks / sizeof *fp32_peaks);
        double b = measure(pool, bf16_peaks, sizeof bf16_peaks / sizeof *bf16_peaks);

        printf("%.1f %.1f\n", f, b);
        fflush(stdout);
    }
}

/* ---- attention ---- */

struct run {
    struct nnd_attn p;
    const struct nnd_kernel *fwd, *bwd;
    struct nnd_launch launch;
};

static uint16_t to_bf16(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

/* About normal: a sum of uniform numbers less its mean, of deviation 1. */
static float random_number(uint64_t *state)
{
    double sum = 0;

    for (int i = 0; i < 3; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 40) / 0x1p24;
    }
    return (float)((sum - 1.5) * 2);
}

static struct nnd_tensor tensor(int64_t rows, int dtype, uint64_t seed)
{
    int64_t n = rows * HEADS * SIZE;
    size_t bytes = (size_t)n * (dtype == NND_F32 ? 4 : 2);
    struct nnd_tensor t = {.data = aligned_alloc(256, (bytes + 255) & ~(size_t)255),
                           .dim = {rows, HEADS, SIZE},
                           .stride = {HEADS * SIZE, SIZE, 1},
                           .ndim = 3,
                           .dtype = dtype,
                           .align_log2 = 8};

    if (!t.data)
        die("out of memory");
    for (int64_t i = 0; i < n; i++) {
        float x = random_number(&seed);

        if (dtype == NND_F32)
            ((float *)t.data)[i] = x;
        else
            ((uint16_t *)t.data)[i] = to_bf16(x);
    }
    return t;
}

static void fill_params(struct nnd_attn *p, int t, int dtype)
{
    int64_t rows = (int64_t)BATCH * t;
    struct nnd_tensor *all[] = {&p->q,  &p->k,  &p->v,  &p->o,
                                &p->dq, &p->dk, &p->dv, &p->dout};

    *p = (struct nnd_attn){.struct_size = sizeof *p,
                           .batch = BATCH,
                           .max_q = t,
                           .max_k = t,
                           .causal = 1,
                           .scale = (float)(1 / sqrt((double)SIZE))};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = tensor(rows, dtype, i + 1);
    p->lse = (struct nnd_tensor){
        .data = calloc((size_t)rows * HEADS, sizeof(float)),
        .dim = {HEADS, rows},
        .stride = {rows, 1},
        .ndim = 2,
        .dtype = NND_F32,
        .align_log2 = 4,
    };
    if (!p->lse.data)
        die("out of memory");
}

static void choose(struct run *r, struct kernels *ks, const char *rule)
{
    struct kernel_want wants[] = {{"attn.fwd", "bench", "bench", &r->p, false},
                                  {"attn.bwd", "bench", "bench", &r->p, false}};
    struct kernel_policy policy = {
        .device = "cpu", .rules = &rule, .nrules = rule != NULL};
    struct kernel_table *table;
    struct nnd_need fwd = {.struct_size = sizeof fwd}, bwd = fwd;
    struct err e;

    if (kernel_select(ks, &policy, wants, 2, &table, &e) < 0)
        die(e.text);
    r->fwd = kernel_table_find(table, "attn.fwd", "bench");
    r->bwd = kernel_table_find(table, "attn.bwd", "bench");
    r->fwd->need(r->fwd->self, &r->p, &fwd);
    r->bwd->need(r->bwd->self, &r->p, &bwd);
    r->launch.workspace_size =
        fwd.workspace > bwd.workspace ? fwd.workspace : bwd.workspace;
    r->launch.workspace = aligned_alloc(256, r->launch.workspace_size + 256);
    fprintf(stderr, "kernels %s %s, workspace %.1f MiB\n", r->fwd->name, r->bwd->name,
            (double)r->launch.workspace_size / 1048576);
}

/* Seconds. */
static double launch(const struct run *r, const struct nnd_kernel *k)
{
    struct nnd_error e = {""};
    int64_t start = clock_mono_ns();

    if (k->launch(k->self, NULL, &r->p, &r->launch, &e))
        die(e.text);
    return (double)(clock_mono_ns() - start) * 1e-9;
}

static double peak_mib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    long kib = 0;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return (double)kib / 1024;
}

static void serve_attention(struct run *r)
{
    char line[16];

    while (fgets(line, sizeof line, stdin) && *line != 'q') {
        double fwd = launch(r, r->fwd), bwd = launch(r, r->bwd);

        printf("%.6f %.6f %.1f\n", fwd, bwd, peak_mib());
        fflush(stdout);
    }
}

static void load(struct kernels *ks)
{
    struct buf folders = {0};
    char *rest = NULL;
    struct err e;

    kernel_folders(getenv("NND_PLUGIN_DIR"), NND_PLUGINDIR, &folders);
    for (char *dir = strtok_r(folders.data, ":", &rest); dir;
         dir = strtok_r(NULL, ":", &rest))
        if (kernels_load_dir(ks, dir, &e) < 0)
            die(e.text);
    buf_free(&folders);
}

int main(int argc, char **argv)
{
    static struct run r;
    int peaks = argc == 3 && strcmp(argv[1], "peaks") == 0;
    struct kernels *ks;
    struct pool *pool;
    struct err e;

    if (!peaks && argc < 4)
        die("usage: attention T fp32|bf16 THREADS [RULE], or attention peaks THREADS");
    r.launch = (struct nnd_launch){.struct_size = sizeof r.launch,
                                   .nthreads = atoi(argv[peaks ? 2 : 3])};
    if (pool_create(r.launch.nthreads, NULL, NULL, &pool, &e) < 0)
        die(e.text);
    if (peaks) {
        serve_peaks(pool);
        return 0;
    }
    if (kernels_create(pool, &ks, &e) < 0)
        die(e.text);
    load(ks);
    fill_params(&r.p, atoi(argv[1]), strcmp(argv[2], "fp32") ? NND_BF16 : NND_F32);
    choose(&r, ks, argc > 4 ? argv[4] : NULL);
    serve_attention(&r);
    return 0;
}
