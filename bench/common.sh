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
