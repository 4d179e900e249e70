#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# daemon.sh - how fast nnd accepts, answers and starts, and what it costs when nothing
# happens.  Every job is on disk before it is acknowledged.
#
#   bench/daemon.sh [serial|pipelined|clients|decay|status|start|idle]...
#
# Without a word all of them.  Each prints its figure and what is wanted of it; exit
# status 1 when one misses that.

set -u
. "$(dirname "$0")/common.sh"

nnd=$(program daemon/nnd) || exit
nnctl=$(program client/nnctl) || exit
press=$(program tests/sys/press) || exit
uri=ipc://$work/s/sock
missed=0

up()
{
    "$nnd" --dir "$work/s" --slots 64 --background "$@" || die "nnd does not start"
}

down()
{
    local pid
    pid=$(cat "$work/s/lock")
    kill "${1:--TERM}" "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
}

fresh()
{
    rm -rf "$work/s"
    up
}

now()
{
    date +%s.%N
}

# NAME FIGURE UNIT least|most WANTED
verdict()
{
    local ok
    ok=$(awk -v x="$2" -v y="$5" -v how="$4" \
        'BEGIN { print (how == "least" ? x >= y : x <= y) }')
    printf '%-12s %10.5g %-8s (at %s %s)%s\n' "$1" "$2" "$3" "$4" "$5" \
        "$([ "$ok" = 1 ] || echo '  MISSED')"
    [ "$ok" = 1 ] || missed=1
}

per_second()
{
    sed -n 's/.*per-second \([0-9]*\).*/\1/p'
}

# One program after the other, as a shell script would.
serial()
{
    local began n=200
    fresh
    began=$(now)
    for ((i = 0; i < n; i++)); do
        "$nnctl" --uri "$uri" submit "$work/job.yaml" --hold >/dev/null ||
            die "not accepted"
    done
    verdict serial "$(awk -v a="$began" -v b="$(now)" -v n=$n \
        'BEGIN { print n / (b - a) }')" jobs/s least 100
    down
}

pipelined()
{
    fresh
    verdict pipelined "$("$press" "$uri" submit 1 20000 "$work/acks" 64 | per_second)" \
        jobs/s least 2000
    down
}

clients()
{
    local began pids=()
    fresh
    began=$(now)
    for ((i = 0; i < 16; i++)); do
        "$press" "$uri" submit $((i * 2000 + 1)) 2000 "$work/acks$i" 32 >/dev/null &
        pids+=($!)
    done
    wait "${pids[@]}"
    verdict clients "$(awk -v a="$began" -v b="$(now)" \
        'BEGIN { print 32000 / (b - a) }')" jobs/s least 5000
    down
}

# The last tenth of 100,000 jobs, all of them waiting, against the first of another nnd,
# turn by turn: what else the machine does slows down both.
decay()
{
    local young="ipc://$work/young/sock" turns=20 n=500 first
    fresh
    "$press" "$uri" submit 1 90000 "$work/acks" 256 >/dev/null
    "$nnd" --dir "$work/young" --slots 64 --background || die "nnd does not start"
    for ((i = 0; i < turns; i++)); do
        "$press" "$young" submit $((i * n + 1)) $n "$work/acks" 64 |
            per_second >>"$work/first"
        "$press" "$uri" submit $((90000 + i * n + 1)) $n "$work/acks" 64 |
            per_second >>"$work/last"
    done
    first=$(median <"$work/first")
    verdict decay "$(awk -v a="$first" -v b="$(median <"$work/last")" \
        'BEGIN { print b / a }')" "last/1st" least 0.9
    kill "$(cat "$work/young/lock")"
    down
}

filled()
{
    rm -rf "$work/s"
    mkdir -m 700 "$work/s"
    "$press" "$work/s" fill "$1" "$2"
}

status()
{
    local said
    filled 100000 0
    up
    "$press" "$uri" show 2000 100000 >/dev/null
    said=$("$press" "$uri" show 20000 100000)
    verdict status "$(sed -n 's/.*p99-ms \([0-9.]*\).*/\1/p' <<<"$said")" \
        "ms (p99)" most 2
    down
}

# From the call to being able to answer, with 50 attempts to be found again.
start()
{
    local began fake
    fake=$(program tests/sys/fake-worker) || exit
    filled 100000 10000
    up --worker "$fake"
    for ((i = 0; i < 50; i++)); do
        "$nnctl" --uri "$uri" submit "$work/job.yaml" --name "ms=1000" >/dev/null
    done
    while [ "$("$nnctl" --uri "$uri" status --state running -o id | wc -l)" != 50 ]; do
        sleep 0.2
    done
    down -KILL
    began=$(now)
    up --worker "$fake"
    "$nnctl" --uri "$uri" status --state running -o id >"$work/running"
    verdict start "$(awk -v a="$began" -v b="$(now)" 'BEGIN { print b - a }')" s most 3
    [ "$(wc -l <"$work/running")" = 50 ] || die "not all 50 are running"
    "$nnctl" --uri "$uri" cancel --state running --wait >/dev/null ||
        die "the 50 do not end"
    down
}

# Processor time of nnd itself, with 10,000 jobs that wait.
idle()
{
    local before after seconds=10
    filled 100000 10000
    up
    sleep 1
    before=$(cut -d ' ' -f 14,15 "/proc/$(cat "$work/s/lock")/stat")
    sleep $seconds
    after=$(cut -d ' ' -f 14,15 "/proc/$(cat "$work/s/lock")/stat")
    verdict idle "$(awk -v hz="$(getconf CLK_TCK)" -v s=$seconds -v x="$before $after" \
        'BEGIN { split(x, v); print (v[3] + v[4] - v[1] - v[2]) / hz / s * 100 }')" \
        "% of cpu" most 0.2
    down
}

machine
printf 'data: {train: /etc/hostname}\ntrain: {threads: 1}\n' >"$work/job.yaml"
[ $# -gt 0 ] || set -- serial pipelined clients decay status start idle
for what in "$@"; do
    case $what in
    serial | pipelined | clients | decay | status | start | idle) "$what" ;;
    *) die "$what: no such measure" ;;
    esac
done
exit $missed
