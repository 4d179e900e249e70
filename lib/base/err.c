/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.c - writing error texts: one line, valid UTF-8, cut visibly when long.
 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* Append to e's text; what does not fit is cut, visibly. */
static void vappend(struct err *e, const char *fmt, va_list ap)
{
    size_t len = strlen(e->text), room = sizeof e->text - len;
    int n = vsnprintf(e->text + len, room, fmt, ap);

    if (n < 0)
        e->text[len] = '\0';
    if (n < 0 || (size_t)n < room)
        return;
    len = sizeof e->text - 4;
    while (len && (e->text[len] & 0xC0) == 0x80) /* not within a character */
        len--;
    strcpy(e->text + len, "...");
}

__attribute__((format(printf, 2, 3))) static void append(struct err *e, const char *fmt,
                                                         ...)
{
    va_list ap;

    va_start(ap, fmt);
    vappend(e, fmt, ap);
    va_end(ap);
}

/* Whatever came in through %s: one line, and text that JSON can carry. */
static void clean(struct err *e)
{
    int utf8 = str_is_utf8(e->text, strlen(e->text));

    for (char *p = e->text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c < ' ' || c == 0x7F)
            *p = ' ';
        else if (c >= 0x80 && !utf8)
            *p = '?';
    }
}

/* Texts are made in a copy: e's old text may be among the arguments. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    struct err made = {.code = code};
    va_list ap;

    if (!e)
        return code;
    va_start(ap, fmt);
    vappend(&made, fmt, ap);
    va_end(ap);
    clean(&made);
    *e = made;
    return code;
}

int err_sys(struct err *e, enum err_code code, int sys, const char *fmt, ...)
{
    struct err made = {.code = sys == ENOMEM ? ERR_NOMEM : code};
    char reason[128];
    va_list ap;

    if (!e)
        return made.code;
    va_start(ap, fmt);
    vappend(&made, fmt, ap);
    va_end(ap);
    append(&made, ": %s", strerror_r(sys, reason, sizeof reason));
    clean(&made);
    *e = made;
    return made.code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    struct err made = {.code = e ? e->code : ERR_FAILED};
    va_list ap;

    if (!e)
        return ERR_FAILED;
    va_start(ap, fmt);
    vappend(&made, fmt, ap);
    va_end(ap);
    append(&made, ": %s", e->text);
    clean(&made);
    *e = made;
    return e->code;
}

enum err_code err_code_of(int sys)
{
    switch (sys) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOTFOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    default:
        return ERR_FAILED;
    }
}
