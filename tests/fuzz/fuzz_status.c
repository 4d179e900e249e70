/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_status.c - a shepherd's status file.
 * parser: daemon/status.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "daemon/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct status s, back;

    memset(&s, 0, sizeof s);
    memset(&back, 0, sizeof back);
    if (status_parse((const char *)data, size, &s) < 0)
        return 0;
    FUZZ_HOLDS(s.pid > 0);
    FUZZ_HOLDS(status_write(fuzz_dir(), &s) == 0);
    FUZZ_HOLDS(status_read(fuzz_dir(), &back) == 0);
    FUZZ_HOLDS(strcmp(s.boot, back.boot) == 0 && s.pid == back.pid);
    FUZZ_HOLDS(s.start == back.start && s.started_us == back.started_us);
    FUZZ_HOLDS(s.ended_us == back.ended_us && s.ended == back.ended);
    FUZZ_HOLDS(s.wait == back.wait && s.exec_errno == back.exec_errno);
    FUZZ_HOLDS(s.asked == back.asked && s.left == back.left && s.oom == back.oom);
    return 0;
}
