/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory owned by phase: many small objects, one release.
 *
 * For metadata only (graphs, parsed jobs, tables).  Running out of memory here
 * ends the program with one line on stderr; buffers that a user sizes are
 * allocated by their owners and refused with an error instead.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena;

/* A new, empty arena.  Release it and all it gave out with arena_destroy. */
struct arena *arena_create(void);
void arena_destroy(struct arena *a);

/* `size` zeroed bytes, aligned to 16; never NULL.  Lives as long as the arena. */
void *arena_alloc(struct arena *a, size_t size);

/* `n` zeroed objects of `size` bytes; checks the product. */
void *arena_calloc(struct arena *a, size_t n, size_t size);

/* Copies; a NULL string stays NULL. */
char *arena_strdup(struct arena *a, const char *s);
void *arena_memdup(struct arena *a, const void *p, size_t size);
char *arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
