/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - "TIME LEVEL WHO: text", one write per line.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { LONGEST_LINE = 2048 };

/* Set once by the program, before it starts threads. */
static struct {
    char who[32];
    enum log_level level;
    int fd;
} sink = {.fd = -1};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_setup(const char *who, enum log_level level, int fd)
{
    snprintf(sink.who, sizeof sink.who, "%s", who);
    sink.level = level;
    sink.fd = fd;
}

/* End the line: cut visibly what is too long, and keep it one line. */
static size_t finish(char *line, size_t len)
{
    if (len > LONGEST_LINE - 2) {
        len = LONGEST_LINE - 2;
        memcpy(line + len - 3, "...", 3);
    }
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < ' ')
            line[i] = ' ';
    line[len] = '\n';
    return len + 1;
}

static void emit(enum log_level level, const char *fmt, va_list ap)
{
    int saved = errno, head, n;
    char line[LONGEST_LINE], when[32];
    size_t len;

    if (sink.fd < 0 || level > sink.level)
        return;
    clock_iso(clock_wall_us(), when, sizeof when);
    head =
        snprintf(line, sizeof line, "%s %-5s %s: ", when, level_names[level], sink.who);
    n = vsnprintf(line + head, sizeof line - (size_t)head, fmt, ap);
    len = finish(line, (size_t)head + (n > 0 ? (size_t)n : 0));
    while (write(sink.fd, line, len) < 0 && errno == EINTR)
        ;
    errno = saved;
}

void log_error(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_ERROR, fmt, ap);
    va_end(ap);
}

void log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_WARN, fmt, ap);
    va_end(ap);
}

void log_info(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_INFO, fmt, ap);
    va_end(ap);
}

void log_debug(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    emit(LOG_LEVEL_DEBUG, fmt, ap);
    va_end(ap);
}
