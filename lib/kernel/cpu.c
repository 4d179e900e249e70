/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.c - memory, streams and events where nothing is asynchronous.
 */
#include "kernel/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"

enum { ALIGN = 256 };

struct event {
    int64_t at_ns; /* of the last record */
};

static int count(void)
{
    return 1;
}

static int info(int dev, char *json, size_t len)
{
    struct utsname u;
    (void)dev;
    if (uname(&u) != 0)
        return NND_EDEVICE;
    long long bytes = (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    int n = snprintf(json, len, "{\"name\":\"cpu\",\"arch\":\"%s\",\"bytes\":%lld}",
                     u.machine, bytes);
    return n >= 0 && (size_t)n < len ? NND_OK : NND_EINVAL;
}

static int alloc_pinned(size_t size, void **p)
{
    if (size > SIZE_MAX - ALIGN)
        return NND_ENOMEM;
    size_t whole = (size + ALIGN - 1) / ALIGN * ALIGN;
    void *got = aligned_alloc(ALIGN, whole ? whole : ALIGN);
    if (!got)
        return NND_ENOMEM;
    *p = got;
    return NND_OK;
}

static int free_pinned(void *p)
{
    free(p);
    return NND_OK;
}

static int alloc_on(int dev, size_t size, void **p)
{
    (void)dev;
    return alloc_pinned(size, p);
}

static int free_on(int dev, void *p)
{
    (void)dev;
    return free_pinned(p);
}

static int copy(const struct nnd_stream *s, void *dst, const void *src, size_t size)
{
    (void)s;
    if (size)
        memmove(dst, src, size);
    return NND_OK;
}

static int fill(const struct nnd_stream *s, void *dst, int32_t byte, size_t size)
{
    (void)s;
    if (size)
        memset(dst, byte, size);
    return NND_OK;
}

static int stream_new(int dev, int prio, struct nnd_stream *s)
{
    (void)prio;
    *s = (struct nnd_stream){.device = dev};
    return NND_OK;
}

static int stream_del(struct nnd_stream *s)
{
    (void)s;
    return NND_OK;
}

static int stream_sync(const struct nnd_stream *s)
{
    (void)s;
    return NND_OK;
}

static int event_new(int dev, void **ev)
{
    (void)dev;
    struct event *new = calloc(1, sizeof *new);
    if (!new)
        return NND_ENOMEM;
    *ev = new;
    return NND_OK;
}

static int event_del(void *ev)
{
    free(ev);
    return NND_OK;
}

static int event_record(void *ev, const struct nnd_stream *s)
{
    (void)s;
    ((struct event *)ev)->at_ns = clock_mono_ns();
    return NND_OK;
}

static int event_wait(const struct nnd_stream *s, void *ev)
{
    (void)s;
    (void)ev;
    return NND_OK;
}

static int event_query(void *ev)
{
    (void)ev;
    return 1;
}

static int event_ms(void *a, void *b, float *ms)
{
    const struct event *from = a, *to = b;
    *ms = (float)((double)(to->at_ns - from->at_ns) * 1e-6);
    return NND_OK;
}

static int health(int dev, struct nnd_error *e)
{
    (void)dev;
    (void)e;
    return NND_OK;
}

const struct nnd_device_ops cpu_device = {
    .struct_size = sizeof cpu_device,
    .type = "cpu",
    .count = count,
    .info = info,
    .alloc = alloc_on,
    .free = free_on,
    .alloc_pinned = alloc_pinned,
    .free_pinned = free_pinned,
    .copy = copy,
    .fill = fill,
    .stream_new = stream_new,
    .stream_del = stream_del,
    .stream_sync = stream_sync,
    .event_new = event_new,
    .event_del = event_del,
    .event_record = event_record,
    .event_wait = event_wait,
    .event_query = event_query,
    .event_ms = event_ms,
    .health = health,
};
