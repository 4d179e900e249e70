/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crumb.c - a header and an array of nodes in a shared mapping of a file.
 */
#include "trust/crumb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/oom.h"

enum { NODES_MAX = 1 << 20, NOWHERE = -1 };

static const char magic[8] = "nndcrum1";

struct header {
    char magic[8];
    _Atomic int64_t step;
    _Atomic int32_t node; /* being run, or NOWHERE */
    int32_t nodes;
};

struct crumb {
    struct header *head;
    struct crumb_node *node;
    size_t size;
};

static size_t size_of(int nodes)
{
    return sizeof(struct header) + (size_t)nodes * sizeof(struct crumb_node);
}

static int map(const char *path, size_t size, void **out, struct err *e)
{
    int fd, rc = 0;
    unlink(path); /* a reader of the old file keeps it */
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", path);
    /* Real blocks: a full disk is an error now, not a signal later. */
    int full = posix_fallocate(fd, 0, (off_t)size);
    if (full)
        rc = err_sys(e, ERR_FAILED, full, "%s", path);
    else
        *out = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (rc == 0 && *out == MAP_FAILED)
        rc = err_sys(e, ERR_FAILED, errno, "%s", path);
    close(fd);
    if (rc < 0)
        unlink(path);
    return rc;
}

int crumb_create(const char *path, int nodes, struct crumb **out, struct err *e)
{
    void *base = NULL;
    int rc = map(path, size_of(nodes), &base, e);
    if (rc < 0)
        return rc;
    struct crumb *c = oom_calloc(1, sizeof *c);
    c->head = base;
    c->node = (struct crumb_node *)(c->head + 1);
    c->size = size_of(nodes);
    c->head->nodes = nodes;
    atomic_store(&c->head->node, NOWHERE);
    memcpy(c->head->magic, magic, sizeof magic);
    *out = c;
    return 0;
}

void crumb_destroy(struct crumb *c)
{
    if (!c)
        return;
    munmap(c->head, c->size);
    free(c);
}

void crumb_describe(struct crumb *c, int node, const struct crumb_node *what)
{
    if (c && node >= 0 && node < c->head->nodes)
        c->node[node] = *what;
}

void crumb_step(struct crumb *c, int64_t step)
{
    if (c)
        atomic_store_explicit(&c->head->step, step, memory_order_relaxed);
}

void crumb_enter(struct crumb *c, int node)
{
    if (c)
        atomic_store_explicit(&c->head->node, node, memory_order_relaxed);
}

void crumb_leave(struct crumb *c)
{
    crumb_enter(c, NOWHERE);
}

/* Texts of a file that anybody may have written over. */
static void end_texts(struct crumb_node *n)
{
    n->where[sizeof n->where - 1] = n->op[sizeof n->op - 1] = '\0';
    n->plugin[sizeof n->plugin - 1] = n->kernel[sizeof n->kernel - 1] = '\0';
    n->sha256[sizeof n->sha256 - 1] = n->shapes[sizeof n->shapes - 1] = '\0';
}

static int read_node(int fd, struct crumb_node *what, int64_t *step)
{
    struct header h;
    int32_t node;
    if (pread(fd, &h, sizeof h, 0) != (ssize_t)sizeof h ||
        memcmp(h.magic, magic, sizeof magic) != 0)
        return 0;
    node = atomic_load(&h.node);
    if (node < 0 || node >= h.nodes || h.nodes > NODES_MAX ||
        pread(fd, what, sizeof *what, (off_t)size_of(node)) != (ssize_t)sizeof *what)
        return 0;
    end_texts(what);
    *step = atomic_load(&h.step);
    return what->kernel[0] != '\0';
}

int crumb_read(const char *path, struct crumb_node *what, int64_t *step)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return 0;
    int rc = read_node(fd, what, step);
    close(fd);
    return rc;
}
