/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.c - writing error texts: one line, cut visibly when too long.
 */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

/* The text is one line whatever came in through %s. */
static void flatten(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

static void mark_cut(struct err *e)
{
    strcpy(e->text + sizeof e->text - 4, "...");
}

/* Append to the text of `len` bytes; return its new length. */
static size_t append(struct err *e, size_t len, const char *fmt, va_list ap)
{
    size_t room = sizeof e->text - len;
    int n = vsnprintf(e->text + len, room, fmt, ap);

    if (n < 0)
        return len;
    if ((size_t)n >= room) {
        mark_cut(e);
        return sizeof e->text - 1;
    }
    return len + (size_t)n;
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return code;
    e->code = code;
    e->text[0] = '\0';
    va_start(ap, fmt);
    append(e, 0, fmt, ap);
    va_end(ap);
    flatten(e->text);
    return code;
}

int err_sys(struct err *e, enum err_code code, int sys, const char *fmt, ...)
{
    char reason[128];
    size_t len;
    va_list ap;

    if (!e)
        return code;
    e->code = code;
    e->text[0] = '\0';
    va_start(ap, fmt);
    len = append(e, 0, fmt, ap);
    va_end(ap);
    const char *why = strerror_r(sys, reason, sizeof reason);
    if (snprintf(e->text + len, sizeof e->text - len, ": %s", why) >=
        (int)(sizeof e->text - len))
        mark_cut(e);
    flatten(e->text);
    return code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    struct err old;
    size_t len;
    va_list ap;

    if (!e)
        return ERR_FAILED;
    old = *e;
    va_start(ap, fmt);
    len = append(e, 0, fmt, ap);
    va_end(ap);
    if (snprintf(e->text + len, sizeof e->text - len, ": %s", old.text) >=
        (int)(sizeof e->text - len))
        mark_cut(e);
    flatten(e->text);
    return e->code;
}
