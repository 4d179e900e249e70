/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line.c - how far processors are from one another: the time that a line of the cache
 * takes from one to another and back.
 *
 *   make bench/line && bench/line
 *
 * Prints "I J NS" for each pair of processors that this process may use.  Those that
 * share a cache are several times nearer than those that do not; where a hypervisor
 * moves its guests about, the same two are near at one moment and far at the next.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

enum { WARM = 2000, ROUNDS = 20000 };

static _Alignas(128) atomic_int ball;

static void stay_on(int processor)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (sched_setaffinity(0, sizeof set, &set)) {
        fprintf(stderr, "line: cannot run on processor %d\n", processor);
        exit(1);
    }
}

/* Odd numbers go to the other one, even ones come back. */
static void wait_for(int number)
{
    while (atomic_load(&ball) != number)
        ;
}

static void *throw_back(void *arg)
{
    stay_on(*(const int *)arg);
    for (int i = 0; i < WARM + ROUNDS; i++) {
        wait_for(2 * i + 1);
        atomic_store(&ball, 2 * i + 2);
    }
    return NULL;
}

static double there_and_back(int one, int other)
{
    int64_t begin = 0;
    pthread_t thread;

    stay_on(one);
    atomic_store(&ball, 0);
    if (pthread_create(&thread, NULL, throw_back, &other)) {
        fprintf(stderr, "line: no second thread\n");
        exit(1);
    }
    for (int i = 0; i < WARM + ROUNDS; i++) {
        if (i == WARM)
            begin = clock_mono_ns();
        atomic_store(&ball, 2 * i + 1);
        wait_for(2 * i + 2);
    }
    int64_t end = clock_mono_ns();

    pthread_join(thread, NULL);
    return (double)(end - begin) / ROUNDS;
}

int main(void)
{
    cpu_set_t may;

    if (sched_getaffinity(0, sizeof may, &may)) {
        fprintf(stderr, "line: which processors it may use is not known\n");
        return 1;
    }
    for (int i = 0; i < CPU_SETSIZE; i++)
        for (int j = i + 1; j < CPU_SETSIZE; j++)
            if (CPU_ISSET(i, &may) && CPU_ISSET(j, &may))
                printf("%d %d %.0f\n", i, j, there_and_back(i, j));
    return 0;
}
