#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# attention.sh - attention forward and backward: our kernels, PyTorch's fused and
# plain ones, and the registers' peaks, by turns in one run.
#
#   bench/attention.sh [-n ROUNDS] [-t THREADS] [-k RULE] [T...]
#
# 48 heads of 64, causal, for each T (256 1024 4096) in fp32 and bf16, ROUNDS (5)
# turns each after one that does not count; medians are shown.  PyTorch's plain form
# runs only up to T = 1024, and at most -m T: it keeps T x T numbers per head.
# PYTHON names the Python that has torch (python3).  RULE chooses our kernels
# ("attn=blis").  See bench/README.md.

set -u
. "$(dirname "$0")/common.sh"

rounds=5 threads=$(nproc) rule= most=1024
lengths=()
while [ $# -gt 0 ]; do
    case $1 in
    -n) rounds=${2:?-n needs a number}; shift ;;
    -t) threads=${2:?-t needs a number}; shift ;;
    -k) rule=${2:?-k needs a rule}; shift ;;
    -m) most=${2:?-m needs a number}; shift ;;
    -*) die "$1: no such option" ;;
    *) lengths+=("$1") ;;
    esac
    shift
done
[ ${#lengths[@]} -gt 0 ] || lengths=(256 1024 4096)
python=${PYTHON:-python3}
ours=$(program bench/attention) || exit
has_torch=no
"$python" -c 'import torch' 2>/dev/null && has_torch=yes

# PyTorch is quicker when the C library does not give its pages back.
export MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824
export MALLOC_TOP_PAD_=268435456

# serve NAME COMMAND...: start a server; its pipes are file descriptors in[NAME]
# and out[NAME].
declare -A in out pid
serve()
{
    local who=$1 from to
    shift
    mkfifo "$work/$who.in" "$work/$who.out"
    "$@" <"$work/$who.in" >"$work/$who.out" 2>"$work/$who.err" &
    pid[$who]=$!
    exec {to}>"$work/$who.in" {from}<"$work/$who.out"
    in[$who]=$to out[$who]=$from
}

# One turn of a server: its answer.
turn()
{
    echo >&"${in[$1]}"
    read -r answer <&"${out[$1]}" || die "$1: $(cat "$work/$1.err")"
}

stop()
{
    local to=${in[$1]} from=${out[$1]}
    echo q >&"$to"
    wait "${pid[$1]}"
    exec {to}>&- {from}<&-
    sed "s/^/# /" "$work/$1.err"
    rm -f "$work/$1".*
    unset "in[$1]" "out[$1]" "pid[$1]"
}

# Products of T x T x 64 that a causal mask leaves: 2 forward, 5 backward.
flop()
{
    awk -v t="$1" 'BEGIN { print 48 * 7 * 2 * 64 * t * t / 2 * 1e-9 }'
}

# case T DTYPE
measure()
{
    local t=$1 dtype=$2 who all=(nnd) i
    serve peaks "$ours" peaks "$threads"
    serve nnd "$ours" "$t" "$dtype" "$threads" ${rule:+"$rule"}
    if [ $has_torch = yes ]; then
        serve fused "$python" "$here/attention_torch.py" "$t" "$dtype" "$threads" fused
        all+=(fused)
        if [ "$t" -le "$most" ]; then
            serve plain "$python" "$here/attention_torch.py" "$t" "$dtype" \
                "$threads" plain
            all+=(plain)
        fi
    fi
    for ((i = 0; i <= rounds; i++)); do
        turn peaks
        [ "$i" -eq 0 ] || echo "$answer" >>"$work/times.peaks"
        for who in "${all[@]}"; do
            turn "$who"
            [ "$i" -eq 0 ] || echo "$answer" >>"$work/times.$who"
        done
    done
    for who in peaks "${all[@]}"; do
        stop "$who" >>"$work/notes"
    done
    for who in "${all[@]}"; do
        awk -v t="$t" -v d="$dtype" -v who="$who" -v gflop="$(flop "$t")" \
            -v fwd="$(cut -d ' ' -f 1 "$work/times.$who" | median)" \
            -v bwd="$(cut -d ' ' -f 2 "$work/times.$who" | median)" \
            -v mem="$(tail -n 1 "$work/times.$who" | cut -d ' ' -f 3)" \
            -v f32="$(cut -d ' ' -f 1 "$work/times.peaks" | median)" \
            -v f16="$(cut -d ' ' -f 2 "$work/times.peaks" | median)" '
            BEGIN {
                s = fwd + bwd
                printf "%5d %-5s %-6s %9.1f %9.1f %9.1f %8.0f %5.0f%% %5s %8.0f\n",
                    t, d, who, fwd * 1e3, bwd * 1e3, s * 1e3, gflop / s,
                    100 * gflop / s / f32,
                    (f16 > 0 ? sprintf("%.0f%%", 100 * gflop / s / f16) : "-"), mem
            }'
        rm -f "$work/times.$who"
    done
    rm -f "$work/times.peaks"
}

machine
printf '%5s %-5s %-6s %9s %9s %9s %8s %6s %5s %8s\n' T TYPE WHO FWD/ms BWD/ms SUM/ms \
    GFLOP/s FP32 BF16 PEAK/MiB
for t in "${lengths[@]}"; do
    for dtype in fp32 bf16; do
        measure "$t" "$dtype"
    done
done
sort -u "$work/notes"
