/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shortage.c - a count that grows.
 */
#include "daemon/shortage.h"

#include <stdio.h>

unsigned long shortage_count(void)
{
    FILE *f = fopen("/proc/vmstat", "re");
    char line[128];
    unsigned long n = 0;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "oom_kill %lu", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}

void shortage_begin(struct shortage *s, unsigned long count)
{
    *s = (struct shortage){.count = count};
}

void shortage_look(struct shortage *s, unsigned long count, int64_t now_ms)
{
    if (count > s->count)
        s->grew_at = now_ms;
    s->count = count;
}

bool shortage_is_near(const struct shortage *s, int64_t now_ms)
{
    return s->grew_at && now_ms - s->grew_at <= SHORTAGE_LATELY_MS;
}
