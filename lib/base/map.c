/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.c - an array of pairs in insertion order, and an open-addressed index
 * into it.
 */
#include "base/map.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/oom.h"

struct pair {
    const char *key;
    void *value;
    uint64_t hash;
};

struct map {
    struct arena *keys;
    struct pair *pairs;
    size_t count;
    size_t *slots;     /* 1 + place in pairs; 0 = free */
    size_t slot_count; /* a power of two, at least twice the count */
};

enum { FIRST_SLOTS = 16 };

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash_text(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ h >> 32;
}

/* The slot that holds key, or the free one where it belongs. */
static size_t find_slot(const struct map *m, const char *key, uint64_t hash)
{
    size_t mask = m->slot_count - 1, i = hash & mask;

    for (; m->slots[i]; i = (i + 1) & mask) {
        const struct pair *p = &m->pairs[m->slots[i] - 1];

        if (p->hash == hash && !strcmp(p->key, key))
            break;
    }
    return i;
}

static void grow(struct map *m)
{
    m->slot_count *= 2;
    free(m->slots);
    m->slots = oom_calloc(m->slot_count, sizeof *m->slots);
    m->pairs = oom_realloc(m->pairs, m->slot_count / 2 * sizeof *m->pairs);
    for (size_t i = 0; i < m->count; i++)
        m->slots[find_slot(m, m->pairs[i].key, m->pairs[i].hash)] = i + 1;
}

struct map *map_create(void)
{
    struct map *m = oom_calloc(1, sizeof *m);

    m->keys = arena_create();
    m->slot_count = FIRST_SLOTS / 2;
    grow(m);
    return m;
}

void map_destroy(struct map *m)
{
    if (!m)
        return;
    arena_destroy(m->keys);
    free(m->pairs);
    free(m->slots);
    free(m);
}

void map_put(struct map *m, const char *key, void *value)
{
    uint64_t hash = hash_text(key);
    size_t slot = find_slot(m, key, hash);

    if (m->slots[slot]) {
        m->pairs[m->slots[slot] - 1].value = value;
        return;
    }
    if (2 * (m->count + 1) > m->slot_count) {
        grow(m);
        slot = find_slot(m, key, hash);
    }
    m->pairs[m->count] = (struct pair){arena_strdup(m->keys, key), value, hash};
    m->slots[slot] = ++m->count;
}

static const struct pair *find_pair(const struct map *m, const char *key)
{
    size_t place = m->slots[find_slot(m, key, hash_text(key))];

    return place ? &m->pairs[place - 1] : NULL;
}

void *map_get(const struct map *m, const char *key)
{
    const struct pair *p = find_pair(m, key);

    return p ? p->value : NULL;
}

bool map_has(const struct map *m, const char *key)
{
    return find_pair(m, key) != NULL;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

const char *map_key(const struct map *m, size_t i)
{
    return m->pairs[i].key;
}

void *map_value(const struct map *m, size_t i)
{
    return m->pairs[i].value;
}
