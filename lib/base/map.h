/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.h - strings to pointers, remembered in insertion order.
 *
 * Iteration order is insertion order, so that nothing printed or computed
 * depends on a hash.  Keys are copied; values are the caller's.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct map;

struct map *map_create(void);
void map_destroy(struct map *m);

/* Insert or replace. */
void map_put(struct map *m, const char *key, void *value);

/* The value of key, or NULL. */
void *map_get(const struct map *m, const char *key);
bool map_has(const struct map *m, const char *key);

size_t map_count(const struct map *m);

/* The i-th pair in insertion order, 0 <= i < map_count. */
const char *map_key(const struct map *m, size_t i);
void *map_value(const struct map *m, size_t i);

#endif
