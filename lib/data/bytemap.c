/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytemap.c - two open-addressed tables.
 */
#include "data/bytemap.h"

#include <stdlib.h>
#include <string.h>

#include "base/oom.h"

enum { FIRST_SLOTS = 64 };

/* ---- strings -------------------------------------------------------------- */

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash_bytes(const unsigned char *p, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

const char *bytemap_at(const struct bytemap *m, uint32_t i, size_t *len)
{
    size_t from = i ? m->end[i - 1] : 0;

    *len = m->end[i] - from;
    return m->bytes.data + from;
}

/* The slot that holds the string, or the free one where it belongs. */
static size_t find_slot(const struct bytemap *m, const void *bytes, size_t len)
{
    size_t mask = m->slots - 1, i = hash_bytes(bytes, len) & mask, n;

    for (; m->slot[i]; i = (i + 1) & mask) {
        const char *have = bytemap_at(m, m->slot[i] - 1, &n);

        if (n == len && memcmp(have, bytes, len) == 0)
            break;
    }
    return i;
}

static void grow_slots(struct bytemap *m)
{
    m->slots = m->slots ? 2 * m->slots : FIRST_SLOTS;
    free(m->slot);
    m->slot = oom_calloc(m->slots, sizeof *m->slot);
    for (uint32_t i = 0; i < m->count; i++) {
        size_t len;
        const char *bytes = bytemap_at(m, i, &len);

        m->slot[find_slot(m, bytes, len)] = i + 1;
    }
}

uint32_t bytemap_add(struct bytemap *m, const void *bytes, size_t len)
{
    size_t i;

    if (2 * (size_t)m->count >= m->slots)
        grow_slots(m);
    i = find_slot(m, bytes, len);
    if (m->slot[i])
        return m->slot[i] - 1;
    if (m->count == m->cap) {
        m->cap = m->cap ? 2 * m->cap : FIRST_SLOTS;
        m->end = oom_realloc(m->end, m->cap * sizeof *m->end);
    }
    buf_add(&m->bytes, bytes, len);
    m->end[m->count] = m->bytes.len;
    m->slot[i] = ++m->count;
    return m->count - 1;
}

uint32_t bytemap_find(const struct bytemap *m, const void *bytes, size_t len)
{
    uint32_t found = m->slots ? m->slot[find_slot(m, bytes, len)] : 0;

    return found ? found - 1 : BYTEMAP_NONE;
}

void bytemap_free(struct bytemap *m)
{
    buf_free(&m->bytes);
    free(m->end);
    free(m->slot);
    *m = (struct bytemap){0};
}

/* ---- pairs ---------------------------------------------------------------- */

/* The finalizer of MurmurHash3 (Appleby), public domain. */
static uint64_t hash_pair(uint32_t left, uint32_t right)
{
    uint64_t h = (uint64_t)left << 32 | right;

    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

static struct pairmap_slot *pair_slot(const struct pairmap *m, uint32_t left,
                                      uint32_t right)
{
    size_t mask = m->slots - 1, i = hash_pair(left, right) & mask;

    while (m->slot[i].value != BYTEMAP_NONE &&
           (m->slot[i].left != left || m->slot[i].right != right))
        i = (i + 1) & mask;
    return &m->slot[i];
}

static void grow_pairs(struct pairmap *m)
{
    struct pairmap old = *m;

    m->slots = old.slots ? 2 * old.slots : FIRST_SLOTS;
    m->slot = oom_calloc(m->slots, sizeof *m->slot);
    for (size_t i = 0; i < m->slots; i++)
        m->slot[i].value = BYTEMAP_NONE;
    for (size_t i = 0; i < old.slots; i++)
        if (old.slot[i].value != BYTEMAP_NONE)
            *pair_slot(m, old.slot[i].left, old.slot[i].right) = old.slot[i];
    free(old.slot);
}

uint32_t *pairmap_put(struct pairmap *m, uint32_t left, uint32_t right)
{
    struct pairmap_slot *s;

    if (2 * m->count >= m->slots)
        grow_pairs(m);
    s = pair_slot(m, left, right);
    if (s->value == BYTEMAP_NONE) {
        s->left = left;
        s->right = right;
        m->count++;
    }
    return &s->value;
}

uint32_t pairmap_get(const struct pairmap *m, uint32_t left, uint32_t right)
{
    return m->slots ? pair_slot(m, left, right)->value : BYTEMAP_NONE;
}

void pairmap_free(struct pairmap *m)
{
    free(m->slot);
    *m = (struct pairmap){0};
}
