/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.c - bump allocation out of blocks that double in size.
 */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/oom.h"

enum { ALIGN = 16, FIRST_BLOCK = 4096, LARGEST_BLOCK = 1 << 20 };

/* A block's bytes follow its header. */
struct block {
    struct block *next;
    size_t used, size;
};

struct arena {
    struct block *blocks; /* the one being filled comes first */
    size_t next_size;
};

static char *block_bytes(struct block *b)
{
    return (char *)b + (sizeof *b + ALIGN - 1) / ALIGN * ALIGN;
}

static struct block *block_create(size_t size)
{
    size_t head = (sizeof(struct block) + ALIGN - 1) / ALIGN * ALIGN;
    struct block *b = oom_calloc(1, head + size);

    b->size = size;
    return b;
}

struct arena *arena_create(void)
{
    struct arena *a = oom_calloc(1, sizeof *a);

    a->next_size = FIRST_BLOCK;
    return a;
}

void arena_destroy(struct arena *a)
{
    if (!a)
        return;
    for (struct block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

/* A block with room for `size`: a large object gets one of its own, behind the
 * one being filled, whose rest stays in use. */
static struct block *add_block(struct arena *a, size_t size)
{
    struct block *b;

    if (size > a->next_size / 4 && a->blocks) {
        b = block_create(size);
        b->next = a->blocks->next;
        a->blocks->next = b;
        return b;
    }
    b = block_create(size > a->next_size ? size : a->next_size);
    b->next = a->blocks;
    a->blocks = b;
    if (a->next_size < LARGEST_BLOCK)
        a->next_size *= 2;
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    struct block *b = a->blocks;

    if (size > SIZE_MAX / 2)
        oom_abort("an arena object", size);
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    if (!b || b->size - b->used < size)
        b = add_block(a, size);
    void *p = block_bytes(b) + b->used;
    b->used += size;
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(n, size, &total))
        oom_abort("an arena array", SIZE_MAX);
    return arena_alloc(a, total);
}

void *arena_memdup(struct arena *a, const void *p, size_t size)
{
    void *copy = arena_alloc(a, size);

    if (size)
        memcpy(copy, p, size);
    return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_memdup(a, s, strlen(s) + 1) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    int n;

    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = arena_alloc(a, n < 0 ? 1 : (size_t)n + 1);
    if (n > 0)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}
