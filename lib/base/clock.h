/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - time: monotonic for durations, wall for people.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t clock_mono_ns(void);

/* Microseconds since 1970 of CLOCK_REALTIME. */
int64_t clock_wall_us(void);

/* RFC 3339 in UTC with milliseconds, "2026-11-20T09:30:00.123Z"; size >= 32. */
void clock_iso(int64_t wall_us, char *out, size_t size);

/* "1h12m", "3m05s", "12.3s": at most 8 characters; negative prints "--". */
void clock_human(double seconds, char *out, size_t size);

/* Parse "90s", "5m", "1.5h", "2d", "250ms", or plain seconds into seconds. */
int clock_duration(const char *text, double *seconds, struct err *e);

#endif
