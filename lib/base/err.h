/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - the one error idiom of the house.
 *
 * A function that can fail returns 0 or a negative enum err_code and takes a
 * caller-owned `struct err *` as its last argument.  The function that decides
 * on the error writes the text, once, in one line: the thing, the place, what
 * was wanted, what was found.  Callers pass it on, or put a noun in front.
 * Printing and exiting are left to programs.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

/* The negated value is nnctl's exit code; see nnctl(1), EXIT STATUS. */
enum err_code {
    ERR_OK = 0,
    ERR_FAILED = -1,      /* the operation failed                        */
    ERR_USAGE = -2,       /* wrong command line                          */
    ERR_NOTFOUND = -3,    /* no such job, file, tensor                   */
    ERR_DENIED = -4,      /* permission                                  */
    ERR_UNREACHABLE = -5, /* the daemon does not answer                  */
    ERR_PROTOCOL = -6,    /* version or message not understood           */
    ERR_RETRY = -7,       /* refused now, may be accepted later          */
    ERR_SPEC = -8,        /* the job's description is wrong              */
    ERR_NOMEM = -9,       /* memory was refused                          */
};

/* One line of text, without a newline, NUL-terminated; cut with "..." if long. */
struct err {
    int code;
    char text[1000];
};

/* Set code and text; return the code, so that `return err_set(...)` reads well.
 * A null e is legal: only the code is returned. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, and append ": " and the text of errno value `sys`; the code is
 * ERR_NOMEM when that is ENOMEM. */
int err_sys(struct err *e, enum err_code code, int sys, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The code that errno value `sys` of a file operation stands for. */
enum err_code err_code_of(int sys);

/* Put "PREFIX: " before the text already there; return e's code. */
int err_prefix(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
