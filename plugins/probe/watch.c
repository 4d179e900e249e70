/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - malloc and its kin, pthread_create and thrd_create, in front of the C
 * library's: a program's symbols come before those of what it loads, so plugins call
 * these.
 */
#include "watch.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

static atomic_int watching, allocations, threads;

/* Sanitizers have their own functions in this place. */
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__

static void count(atomic_int *what)
{
    if (atomic_load_explicit(&watching, memory_order_relaxed))
        atomic_fetch_add_explicit(what, 1, memory_order_relaxed);
}

/* What glibc calls its own by. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);

void *malloc(size_t size)
{
    count(&allocations);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(&allocations);
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
    count(&allocations);
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
    count(&allocations);
    return __libc_memalign(align, size);
}

void *memalign(size_t align, size_t size)
{
    count(&allocations);
    return __libc_memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    void *p;
    count(&allocations);
    if (align < sizeof(void *) || (align & (align - 1)))
        return EINVAL;
    p = __libc_memalign(align, size);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

typedef int create_f(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                   void *arg)
{
    static create_f *real;
    void *symbol = real ? NULL : dlsym(RTLD_NEXT, "pthread_create");
    if (symbol)
        memcpy(&real, &symbol, sizeof real);
    count(&threads);
    return real ? real(thread, attr, fn, arg) : EAGAIN;
}

typedef int c11_create_f(thrd_t *, thrd_start_t, void *);

int thrd_create(thrd_t *thread, thrd_start_t fn, void *arg)
{
    static c11_create_f *real;
    void *symbol = real ? NULL : dlsym(RTLD_NEXT, "thrd_create");
    if (symbol)
        memcpy(&real, &symbol, sizeof real);
    count(&threads);
    return real ? real(thread, fn, arg) : thrd_error;
}

#endif

void watch_begin(void)
{
    atomic_store(&allocations, 0);
    atomic_store(&threads, 0);
    atomic_store(&watching, 1);
}

void watch_end(struct watch *out)
{
    atomic_store(&watching, 0);
    out->allocations = atomic_load(&allocations);
    out->threads = atomic_load(&threads);
}

int watch_judge(const struct watch *w, struct err *e)
{
    if (w->threads)
        return err_set(e, ERR_FAILED, "launch() starts threads: %d", w->threads);
    if (w->allocations)
        return err_set(e, ERR_FAILED, "launch() allocates: %d call%s of malloc",
                       w->allocations, w->allocations == 1 ? "" : "s");
    return 0;
}
