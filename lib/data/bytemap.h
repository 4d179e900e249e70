/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bytemap.h - byte strings numbered in the order in which they came, and pairs of
 * numbers mapped to a number.
 *
 * The tables of byte-level BPE: its strings may hold any byte, so that map.h, which
 * ends at a NUL, does not do.  Out of memory as in arena.h.
 */
#ifndef DATA_BYTEMAP_H
#define DATA_BYTEMAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define BYTEMAP_NONE UINT32_MAX

/* Zeroed: empty. */
struct bytemap {
    struct buf bytes;
    size_t *end; /* [count]: of string i in bytes; it begins where i - 1 ends */
    uint32_t count, cap;
    uint32_t *slot; /* [slots], number + 1; 0: free */
    size_t slots;
};

void bytemap_free(struct bytemap *m);

/* The number of a string, a new one where it is not there yet. */
uint32_t bytemap_add(struct bytemap *m, const void *bytes, size_t len);

/* The same, or BYTEMAP_NONE where it is not there. */
uint32_t bytemap_find(const struct bytemap *m, const void *bytes, size_t len);

/* String number i < count; good until the next is added. */
const char *bytemap_at(const struct bytemap *m, uint32_t i, size_t *len);

/* Pairs of numbers to a number below BYTEMAP_NONE.  Zeroed: empty. */
struct pairmap {
    struct pairmap_slot {
        uint32_t left, right, value; /* value BYTEMAP_NONE: free */
    } * slot;
    size_t slots, count;
};

void pairmap_free(struct pairmap *m);

/* Where the value of the pair stands: to read, or to set where it is new and still
 * BYTEMAP_NONE, which is to be done at once.  Good until the next call. */
uint32_t *pairmap_put(struct pairmap *m, uint32_t left, uint32_t right);

/* The value of the pair, or BYTEMAP_NONE. */
uint32_t pairmap_get(const struct pairmap *m, uint32_t left, uint32_t right);

#endif
