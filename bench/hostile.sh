#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# hostile.sh - how long one client waits for the status of a job while another one does
# its worst (tests/sys/rage.c), and what nnd's memory does meanwhile.
#
#     cd build && make check TESTS= && ../bench/hostile.sh [SECONDS]
#
# The goal is a p99 of 50 ms at most.
NND_SRCDIR=$(cd "$(dirname "$0")/.." && pwd)
: "${NND_BUILDDIR:=$PWD}"
. "$NND_SRCDIR/tests/sys/daemon.sh"

nnd_up || exit 1
job=$(ASK_HOLD=1 ask submit 5 1 waits)
echo "beside   asked   p50 ms   p99 ms   max ms   KiB before   KiB at most"
for kind in calm storm deaf open; do
    "$NND_BUILDDIR/tests/sys/rage" "ipc://$dir/s/sock" "$(nnd_pid)" "$job" $kind \
        "${1:-10}" | awk -v kind=$kind '
        { value[$1] = $2 }
        END {
            printf "%-6s %7d %8.2f %8.2f %8.2f %12d %13d\n", kind, value["asked"],
                value["p50_us"] / 1000, value["p99_us"] / 1000,
                value["max_us"] / 1000, value["rss_before"], value["rss_peak"]
        }'
done
