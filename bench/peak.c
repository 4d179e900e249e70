/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peak.c - what the registers of this machine can do: fused multiply-adds in f32 and
 * dot products of bf16, with nothing loaded or stored.
 *
 *   make bench/peak && bench/peak [THREADS]
 *
 * Prints "fp32 X BEST" and "bf16 Y BEST", GFLOP/s of so many threads (1): the median
 * and the best of 49 turns of about 20 ms.  Who shares a processor with programs that
 * are not seen has moments in which they rest, which is the best, and no step of a
 * second has.  Where the processor has no bf16 products, its peak is that of fp32:
 * there they are converted first.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

enum { CHAINS = 12, TURNS = 49, THREADS_MAX = 1024, TURN_NS = 20000000 };

/* Runs `loops` times over CHAINS independent chains; returns the operations done. */
typedef double kernel_f(long loops);

#if defined(__x86_64__)
/* In assembler, for a compiler may put what it cannot see through into memory.  Zeros
 * take as long as other numbers. */
static double fma_avx512(long loops)
{
    const double done = (double)loops * CHAINS * 16 * 2;

    __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n\t"
                     "vxorps %%ymm\\r, %%ymm\\r, %%ymm\\r\n\t"
                     ".endr\n"
                     "1:\n\t"
                     ".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n\t"
                     "vfmadd213ps %%zmm13, %%zmm12, %%zmm\\r\n\t"
                     ".endr\n\t"
                     "dec %0\n\t"
                     "jnz 1b"
                     : "+r"(loops)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");
    return done;
}

static double fma_avx2(long loops)
{
    const double done = (double)loops * CHAINS * 8 * 2;

    __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n\t"
                     "vxorps %%ymm\\r, %%ymm\\r, %%ymm\\r\n\t"
                     ".endr\n"
                     "1:\n\t"
                     ".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n\t"
                     "vfmadd213ps %%ymm13, %%ymm12, %%ymm\\r\n\t"
                     ".endr\n\t"
                     "dec %0\n\t"
                     "jnz 1b"
                     : "+r"(loops)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");
    return done;
}

static double dot_bf16(long loops)
{
    const double done = (double)loops * CHAINS * 32 * 2;

    __asm__ volatile(".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n\t"
                     "vxorps %%ymm\\r, %%ymm\\r, %%ymm\\r\n\t"
                     ".endr\n"
                     "1:\n\t"
                     ".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n\t"
                     "vdpbf16ps %%zmm13, %%zmm12, %%zmm\\r\n\t"
                     ".endr\n\t"
                     "dec %0\n\t"
                     "jnz 1b"
                     : "+r"(loops)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");
    return done;
}

static kernel_f *fp32_kernel(void)
{
    return __builtin_cpu_supports("avx512f") ? fma_avx512
           : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? fma_avx2
                                                                             : NULL;
}

static kernel_f *bf16_kernel(void)
{
    return __builtin_cpu_supports("avx512bf16") ? dot_bf16 : NULL;
}
#else
static kernel_f *fp32_kernel(void)
{
    return NULL;
}

static kernel_f *bf16_kernel(void)
{
    return NULL;
}
#endif

struct turn {
    pthread_barrier_t *meet;
    kernel_f *kernel;
    long loops;
    double done; /* operations */
    int64_t begin, end;
};

static void *run(void *arg)
{
    struct turn *t = arg;

    pthread_barrier_wait(t->meet);
    t->begin = clock_mono_ns();
    t->done = t->kernel(t->loops);
    t->end = clock_mono_ns();
    return NULL;
}

/* GFLOP/s of a turn of `loops` loops on every thread; 0: no thread could be had. */
static double turn(kernel_f *kernel, int threads, long loops, int64_t *ns)
{
    static pthread_t thread[THREADS_MAX];
    static struct turn t[THREADS_MAX];
    pthread_barrier_t meet;
    int64_t begin = INT64_MAX, end = 0;
    double done = 0;

    pthread_barrier_init(&meet, NULL, (unsigned)threads);
    for (int i = 0; i < threads; i++) {
        t[i] = (struct turn){.meet = &meet, .kernel = kernel, .loops = loops};
        if (pthread_create(&thread[i], NULL, run, &t[i])) {
            fprintf(stderr, "peak: no thread %d of %d\n", i + 1, threads);
            exit(1);
        }
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        done += t[i].done;
        begin = t[i].begin < begin ? t[i].begin : begin;
        end = t[i].end > end ? t[i].end : end;
    }
    *ns = end - begin;
    pthread_barrier_destroy(&meet);
    return done / (double)*ns;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(const char *name, kernel_f *kernel, int threads)
{
    double rate[TURNS];
    long loops = 1000;
    int64_t ns = 0;

    while (turn(kernel, threads, loops, &ns) > 0 && ns < TURN_NS)
        loops *= 2;
    for (int i = 0; i < TURNS; i++)
        rate[i] = turn(kernel, threads, loops, &ns);
    qsort(rate, TURNS, sizeof rate[0], ascending);
    printf("%s %.1f %.1f\n", name, rate[TURNS / 2], rate[TURNS - 1]);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    kernel_f *fp32 = fp32_kernel(), *bf16 = bf16_kernel();

    if (threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: peak [THREADS]\n");
        return 2;
    }
    if (!fp32) {
        fprintf(stderr, "peak: no kernel for this processor\n");
        return 1;
    }
    measure("fp32", fp32, threads);
    measure("bf16", bf16 ? bf16 : fp32, threads);
    return 0;
}
