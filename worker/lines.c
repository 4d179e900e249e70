/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.c - reading lines.
 */
#include "worker/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/str.h"
#include "data/unicode.h"

enum { MAX_TEXT = 1 << 28 };

static int read_stdin(struct buf *out, struct err *e)
{
    size_t n;

    do {
        if (!buf_try_reserve(out, 65536) || out->len > MAX_TEXT)
            return err_set(e, ERR_FAILED, "standard input: too long");
        n = fread(out->data + out->len, 1, 65536, stdin);
        out->len += n;
    } while (n > 0);
    out->data[out->len] = '\0';
    return ferror(stdin) ? err_set(e, ERR_FAILED, "standard input: cannot be read") : 0;
}

static int split(struct lines *l, struct err *e)
{
    const char *at = l->all.data ? l->all.data : "", *end = at + l->all.len;
    size_t room = 1;

    at += str_mark(at, l->all.len);
    for (const char *c = at; c < end; c++)
        room += *c == '\n';
    l->line = calloc(room, sizeof *l->line);
    if (!l->line)
        return err_set(e, ERR_NOMEM, "memory: %zu lines", room);
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);

        l->line[l->n++] = (struct line){at, n && at[n - 1] == '\r' ? n - 1 : n};
        at += n + 1;
    }
    return 0;
}

int lines_read(const char *path, struct lines *out, struct err *e)
{
    int rc;

    out->name = path ? path : "standard input";
    rc = path ? fs_read(path, MAX_TEXT, &out->all, e) : read_stdin(&out->all, e);
    if (rc == 0)
        rc = split(out, e);
    for (size_t i = 0; rc == 0 && i < out->n; i++)
        if (!str_is_utf8(out->line[i].text, out->line[i].len))
            rc = err_set(e, ERR_SPEC, "%s:%zu: wanted UTF-8 text", out->name, i + 1);
    return rc;
}

void lines_free(struct lines *l)
{
    free(l->line);
    buf_free(&l->all);
    *l = (struct lines){0};
}

bool line_is_blank(const struct line *l)
{
    return unicode_blank(l->text, l->len);
}
