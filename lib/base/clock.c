/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c - reading clocks, and durations to and from text.
 */
#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

int64_t clock_mono_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int64_t clock_wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

void clock_iso(int64_t wall_us, char *out, size_t size)
{
    int64_t us = wall_us % 1000000;
    time_t seconds = wall_us / 1000000;
    char date[32];
    struct tm tm;

    if (us < 0) {
        us += 1000000;
        seconds--;
    }
    if (!gmtime_r(&seconds, &tm) || !strftime(date, sizeof date, "%FT%T", &tm))
        strcpy(date, "-");
    snprintf(out, size, "%s.%03dZ", date, (int)(us / 1000));
}

void clock_human(double seconds, char *out, size_t size)
{
    double s = round(seconds), m = round(seconds / 60), h = round(seconds / 3600);

    if (!(seconds >= 0))
        snprintf(out, size, "--");
    else if (seconds < 59.95)
        snprintf(out, size, "%.1fs", seconds);
    else if (s < 3600)
        snprintf(out, size, "%dm%02ds", (int)s / 60, (int)s % 60);
    else if (m < 100 * 60)
        snprintf(out, size, "%dh%02dm", (int)m / 60, (int)m % 60);
    else if (h < 10000 * 24)
        snprintf(out, size, "%dd%02dh", (int)h / 24, (int)h % 24);
    else
        snprintf(out, size, ">9999d");
}

static const struct unit {
    const char *name;
    double seconds;
} units[] = {{"", 1}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};

static const struct unit *find_unit(const char *name)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (!strcmp(units[i].name, name))
            return &units[i];
    return NULL;
}

int clock_duration(const char *text, double *seconds, struct err *e)
{
    size_t len = strspn(text, "0123456789.");
    const struct unit *unit = find_unit(text + len);
    char number[32];
    double value;

    if (unit && len < sizeof number) {
        memcpy(number, text, len);
        number[len] = '\0';
        if (str_to_double(number, &value)) {
            *seconds = value * unit->seconds;
            return 0;
        }
    }
    return err_set(e, ERR_USAGE,
                   "duration: wanted a number with ms, s, m, h or d, such as 90s or "
                   "1.5h, found \"%s\"",
                   text);
}
