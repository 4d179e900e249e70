/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - bytes that grow: for text being written and files being read.
 *
 * data is always NUL-terminated at data[len], so that text needs no copy.
 * A zeroed struct is an empty buffer, whose data is NULL until the first call
 * that adds to it.  Out of memory as in arena.h.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap;
};

void buf_add(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Make room for `more` bytes behind len without changing len. */
void buf_reserve(struct buf *b, size_t more);

/* The same for bytes whose number is not ours to choose: false, and nothing
 * changed, when there is no memory for them. */
bool buf_try_reserve(struct buf *b, size_t more);

/* Drop the contents; keep the memory. */
void buf_clear(struct buf *b);
void buf_free(struct buf *b);

#endif
