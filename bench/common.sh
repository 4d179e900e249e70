# SPDX-License-Identifier: Apache-2.0
#
# common.sh - what the scripts of bench share; read by them, not run.

name=${0##*/}
here=$(cd "$(dirname "$0")" && pwd)
build=${NND_BUILDDIR:-$here/../build}

# Files go to a folder that goes with the script, unless NND_BENCH_KEEP is set.
work=$(mktemp -d) || exit 1
if [ -n "${NND_BENCH_KEEP:-}" ]; then
    echo "$name: everything stays in $work"
else
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
fi

die()
{
    echo "$name: $*" >&2
    exit 1
}

# Where a program of the build tree is: program worker/nnd-worker.
program()
{
    [ -x "$build/$1" ] || die "$build/$1 is missing: build first, or set NND_BUILDDIR"
    echo "$build/$1"
}

# Values of a number in a metrics file, a line each: metric val_loss FILE.
metric()
{
    sed -n 's/.*"'"$1"'":\([^,}]*\).*/\1/p' "$2"
}

# Median of the numbers on standard input.
median()
{
    sort -g | awk '
        { x[NR] = $1 }
        END {
            if (!NR)
                exit 1
            print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2
        }'
}

# What the machine is, and who else is on it.
machine()
{
    echo "machine: $(nproc) processors, $(sed -n 's/^model name[^:]*: *//p' \
        /proc/cpuinfo | head -n 1), load $(cut -d ' ' -f 1-3 /proc/loadavg)"
}

# A number of the job that stands resolved in $resolved: value SECTION KEY.
value()
{
    awk -v section="$1:" -v key="$2:" '
        /^[^ ]/ { inside = $1 == section }
        inside && $1 == key { print $2; exit }' <<<"$resolved"
}

# --- what happens meanwhile ---------------------------------------------------

# Processor seconds that programs other than our children have taken so far.  The
# shell knows its children's times in itself alone, not in a subshell.
taken_by_others()
{
    times >"$work/times"
    awk -v hz="$(getconf CLK_TCK)" -F '[ms ]+' '
        FNR == 2 && NR == 2 { own = $1 * 60 + $2 + $3 * 60 + $4 }
        /^cpu / { print ($2 + $3 + $4 + $7 + $8 + $9) / hz - own }' \
        "$work/times" /proc/stat >"$work/taken"
}

# The processes given and all below them.
family()
{
    local p
    for p; do
        echo "$p"
        family $(cat /proc/"$p"/task/*/children 2>/dev/null)
    done
}

# watched COMMAND...: run it; peak becomes the most that any process of it had in
# memory of its own, in KiB, and others the processors that other programs took.
watched()
{
    local pid p kb before wall=$EPOCHREALTIME
    taken_by_others
    before=$(<"$work/taken")
    peak=0
    "$@" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        for p in $(family $pid); do
            kb=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' /proc/"$p"/status \
                2>/dev/null)
            [ "${kb:-0}" -gt $peak ] && peak=$kb
        done
        sleep 0.2
    done
    wait $pid || die "$1 failed; see above"
    taken_by_others
    others=$(awk -v a="$before" -v b="$(<"$work/taken")" -v from="$wall" \
        -v to="$EPOCHREALTIME" '
        BEGIN { x = (b - a) / (to - from); printf "%.2f", (x > 0 ? x : 0) }')
}
