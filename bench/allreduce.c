/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allreduce.c - the sum of a vector over ranks: our reduce-scatter and all-gather
 * against MPI_Allreduce, turn by turn.
 *
 *   make bench/allreduce && mpirun -np 2 bench/allreduce [MB [TURNS]]
 *
 * Prints the median, the least and the most of TURNS (15) turns, in milliseconds, of
 * a vector of MB megabytes (100) of f32 on every rank, in place for both.  Both
 * results are held against the numbers that were put in.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "comm/comm.h"

enum { WINDOW = 1 << 18, HUGE = 1 << 21, TURNS_MAX = 1000 };

struct bench {
    struct comm *world;
    float *x;
    size_t n;
    size_t len[1024], off[1024];
    struct comm_sum sum;
};

static void stop(const char *why)
{
    fprintf(stderr, "allreduce: %s\n", why);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* As wide as the processor has it, as the kernels of a job are. */
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static int
add(void *arg, void *y, const void *x, size_t bytes, struct err *e)
{
    typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
    const size_t vecs = bytes / sizeof(vec);

    (void)arg, (void)e;
    for (size_t i = 0; i < vecs; i++)
        ((vec *)y)[i] += ((const vec *)x)[i];
    for (size_t i = vecs * sizeof(vec) / sizeof(float); i < bytes / sizeof(float); i++)
        ((float *)y)[i] += ((const float *)x)[i];
    return 0;
}

static float first_value(int rank, size_t i)
{
    return (float)((i * 7 + (size_t)rank * 3) % 1009);
}

static void fill(struct bench *b)
{
    for (size_t i = 0; i < b->n; i++)
        b->x[i] = first_value(comm_rank(b->world), i);
}

static void check(const struct bench *b)
{
    for (size_t i = 0; i < b->n; i++) {
        float want = 0;

        for (int r = 0; r < comm_size(b->world); r++)
            want += first_value(r, i);
        if (b->x[i] != want)
            stop("a sum is wrong");
    }
}

/* Slice by slice, so that a sum is sent on while it is in the cache. */
static void ours(struct bench *b)
{
    const size_t ranks = (size_t)comm_size(b->world), slice = ranks * WINDOW;
    const size_t all = b->n * sizeof *b->x;
    struct err e;

    for (size_t at = 0; at < all; at += slice) {
        size_t bytes = all - at < slice ? all - at : slice;
        size_t share = bytes / ranks / sizeof *b->x * sizeof *b->x;

        for (size_t i = 0; i < ranks; i++) {
            b->off[i] = at + i * share;
            b->len[i] = i + 1 < ranks ? share : bytes - i * share;
        }
        if (comm_reduce_scatter(b->world, b->x, b->len, b->off, &b->sum, &e) < 0 ||
            comm_allgatherv(b->world, b->x, b->len, b->off, &e) < 0)
            stop(e.text);
    }
}

static void mpis(struct bench *b)
{
    MPI_Allreduce(MPI_IN_PLACE, b->x, (int)b->n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

/* Milliseconds until everybody is done. */
static double timed(struct bench *b, void (*f)(struct bench *b))
{
    int64_t begin;

    fill(b);
    MPI_Barrier(MPI_COMM_WORLD);
    begin = clock_mono_ns();
    f(b);
    MPI_Barrier(MPI_COMM_WORLD);
    begin = clock_mono_ns() - begin;
    check(b);
    return (double)begin * 1e-6;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double show(const char *name, double *ms, int turns, double mb)
{
    qsort(ms, (size_t)turns, sizeof *ms, ascending);
    printf("%-30s %8.1f ms  (%.1f to %.1f)  %6.2f GB/s\n", name, ms[turns / 2], ms[0],
           ms[turns - 1], mb / ms[turns / 2]);
    return ms[turns / 2];
}

static void open_bench(struct bench *b, double mb)
{
    struct err e;
    size_t bytes;
    int ranks;

    if (comm_mpi_world(&b->world, &e) < 0) {
        fprintf(stderr, "allreduce: %s\n", e.text);
        exit(1);
    }
    ranks = comm_size(b->world);
    b->n = (size_t)(mb * 1e6) / sizeof *b->x;
    bytes = (b->n * sizeof *b->x + HUGE - 1) / HUGE * HUGE;
    b->sum = (struct comm_sum){.add = add, .window = WINDOW};
    b->sum.scratch = malloc((size_t)ranks * WINDOW);
    b->x = aligned_alloc(HUGE, bytes);
    if (!b->x || !b->sum.scratch)
        stop("no memory");
    madvise(b->x, bytes, MADV_HUGEPAGE); /* for both; ignored where there is none */
}

int main(int argc, char **argv)
{
    static struct bench b;
    static double own[TURNS_MAX], mpi[TURNS_MAX];
    double mb = argc > 1 ? atof(argv[1]) : 100;
    int turns = argc > 2 ? atoi(argv[2]) : 15;

    if (mb <= 0 || mb > 4000 || turns < 1 || turns > TURNS_MAX) {
        fprintf(stderr, "usage: allreduce [MB [TURNS]]\n");
        return 2;
    }
    open_bench(&b, mb);
    for (int i = -1; i < turns; i++) { /* one turn to warm up */
        double m = timed(&b, mpis), o = timed(&b, ours);

        mpi[i < 0 ? 0 : i] = m;
        own[i < 0 ? 0 : i] = o;
    }
    if (comm_rank(b.world) == 0) {
        double m, o;

        printf("%.0f MB of f32, %d ranks, %d turns\n", mb, comm_size(b.world), turns);
        m = show("MPI_Allreduce", mpi, turns, mb);
        o = show("reduce-scatter + all-gather", own, turns, mb);
        printf("%.2f times as fast\n", m / o);
    }
    free(b.sum.scratch);
    free(b.x);
    comm_destroy(b.world);
    return 0;
}
