#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# goals.sh - a row of the table in doc/performance.md: a step's share of what the
# machine can do, and PyTorch beside it.
#
#   bench/goals.sh ROW [fp32|bf16] [-r ROUNDS] [-n STEPS] [-t THREADS] [-d DIR]
#                  [-c] [-S KEY=VALUE]...
#   bench/goals.sh head
#
# ROW is a file of bench/goals without .yaml; fp32 unless said otherwise.  In each of
# ROUNDS (5) turns nnd runs in one chunk, in four, and in one with mode fast, then
# PyTorch does, with -c once more with torch.compile, STEPS steps (4) each, of which
# the first two do not count.  The row that is printed has medians of all turns; with
# -d those of earlier calls for the same DIR as well, so that a long row can be had in
# parts.
# PYTHON names the Python that has torch (python3).  See bench/README.md.

set -u
. "$(dirname "$0")/common.sh"

row= precision=fp32 rounds=5 steps=4 threads=0 warm=2 kept=$work
compiled=no changes=()
while [ $# -gt 0 ]; do
    case $1 in
    -n) steps=${2:?-n needs a number}; shift ;;
    -r) rounds=${2:?-r needs a number}; shift ;;
    -t) threads=${2:?-t needs a number}; shift ;;
    -d) kept=${2:?-d needs a folder}; shift ;;
    -c) compiled=yes ;;
    -S) changes+=(-S "${2:?-S needs KEY=VALUE}"); shift ;;
    -*) die "$1: no such option" ;;
    fp32 | bf16) precision=$1 ;;
    *) row=$1 ;;
    esac
    shift
done

head_of_table()
{
    echo "| work | type | GFLOP | peak | ms, 1 chunk | share | ms, 4 | share |" \
        "ms, fast | exact/fast | torch | compiled | ratio | MiB | torch MiB | others |"
    echo "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
}

if [ "$row" = head ]; then
    machine
    echo "commit: $(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)"
    "${PYTHON:-python3}" -c 'import torch; print("torch", torch.__version__)' 2>&1 |
        tail -n 1
    head_of_table
    exit
fi

job=$here/goals/$row.yaml
[ -r "$job" ] || die "wanted one of $(cd "$here/goals" && echo *.yaml), found \"$row\""
[ "$steps" -gt "$warm" ] || die "-n: must be above $warm, got $steps"
mkdir -p "$kept" || exit
python=${PYTHON:-python3}
worker=$(program worker/nnd-worker) || exit
nnctl=$(program client/nnctl) || exit
peak_of=$(program bench/peak) || exit
options=(-S train.steps="$steps" -S train.log_every=1 -S train.valid_every=0
    -S train.precision="$precision" -S checkpoint.every=0
    -S data.train="$work/text" -S parallel.dp=1)
grep -q 'format: pairs' "$job" && options+=(-S data.source="$work/source")
options+=("${changes[@]}")
resolved=$("$nnctl" submit --dry-run "$job" "${options[@]}") || exit
[ "$threads" -gt 0 ] || threads=$(value train threads)
[ "${threads:-0}" -gt 0 ] || threads=$(nproc)
family=$(value model family)

# --- random text --------------------------------------------------------------

# words VOCABULARY LINES LENGTH: every word once, then lines of random ones.  Some of
# a vocabulary are marks, not words.
words()
{
    awk -v n=$(($1 - 8)) -v lines="$2" -v length_of="$3" 'BEGIN {
        srand(1)
        for (i = 0; i < n; i++)
            printf "w%d%s", i, (i + 1) % length_of ? " " : "\n"
        printf "\n"
        for (l = 0; l < lines; l++)
            for (i = 0; i < length_of; i++)
                printf "w%d%s", int(rand() * n), i + 1 < length_of ? " " : "\n"
    }'
}

context=$(value model context)
if [ "$(value data format)" = pairs ]; then
    words "$(value model vocab)" 2000 $((context - 1)) >"$work/text"
    words "$(value model source_vocab)" 2000 $((context - 1)) >"$work/source"
elif [ "$(value data tokenizer)" = word ]; then
    words "$(value model vocab)" 4000 20 >"$work/text"
else
    head -c 300000 /dev/urandom | base64 -w 0 >"$work/text"
fi

# --- what a step computes -----------------------------------------------------

# Multiplications and additions of a step's matrices, forward once and backward twice:
# 6 for each weight and token that meets it, with the output's matrix and without
# tables that are looked up; of attention scores and sums, of which a causal one has
# half.  Experts: those that a token is sent to.
gflop()
{
    local w l v b t s e moe n
    w=$(value model width) l=$(value model layers) v=$(value model vocab)
    b=$(value train batch) t=$context s=$(value model source_context)
    e=$(value model encoder_layers)
    [ "${v:-0}" -gt 0 ] || v=256
    n=$(value model ffn) moe=$(value model experts)
    [ "${moe:-0}" -eq 0 ] || n=$(($(value model expert_ffn) * $(value model top_k)))
    [ "$(value model activation)" = swiglu ] && n=$((n * 3 / 2))
    awk -v family="$family" -v cell="$(value model cell)" -v w="$w" -v l="$l" \
        -v v="$v" -v b="$b" -v t="$t" -v s="$s" -v e="$e" -v ffn="$n" -v moe="$moe" '
        BEGIN {
            gates = cell == "lstm" ? 4 : cell == "gru" ? 3 : 1
            layer = 4 * w * w + 2 * w * ffn + w * moe
            self = 12 * l * b * t * t * w / 2 # half of it is masked
            out = 6 * b * t * w * v
            if (family == "decoder") {
                x = 6 * b * t * l * layer + self + out
            } else if (family == "encdec") {
                x = 6 * b * s * e * layer + 12 * e * b * s * s * w
                x += 6 * b * t * l * (layer + 2 * w * w) + self + out
                x += 6 * b * s * l * 2 * w * w + 12 * l * b * t * s * w
            } else if (family == "rnnlm") {
                x = 6 * b * t * l * gates * 2 * w * w + out
            } else {
                x = 6 * b * s * l * gates * 2 * w * w
                x += 6 * b * t * (l * gates * 2 * w * w + gates * w * w) + out
            }
            printf "%.3f", x / 1e9
        }'
}

# --- turns --------------------------------------------------------------------

# run_nnd NAME OPTION...
run_nnd()
{
    local name=$1
    shift
    rm -rf "$work/$name"
    "$worker" train --job "$job" --dir "$work/$name" --threads "$threads" \
        "${options[@]}" "$@" >"$work/$name.log" 2>&1 ||
        { cat "$work/$name.log" >&2; return 1; }
    metric step_seconds "$work/$name/metrics.jsonl" >"$work/$name.new"
}

# The allocator of glibc gives pages back and takes them again: told not to, PyTorch
# is up to a fifth faster.  run_torch NAME OPTION...
run_torch()
{
    local name=$1
    shift
    MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=34359738368 \
        MALLOC_TOP_PAD_=268435456 OMP_NUM_THREADS=$threads \
        "$python" "$here/torch_step.py" "$@" "$work"/c1/checkpoints/*/manifest.json \
        "$steps" "$threads" >"$work/$name.new" 2>"$work/$name.log" ||
        { tail -n 3 "$work/$name.log" >&2; return 1; }
}

# turn NAME COMMAND...: run it, keep its times, its memory and what else ran.
turn()
{
    local at=$kept/$row.$precision.$1
    watched "${@:2}"
    tail -n +$((warm + 1)) "$work/$1.new" >>"$at.times"
    echo "$peak" >>"$at.kib"
    echo "$others" >>"$kept/$row.$precision.others"
    echo "$1: $(median <"$work/$1.new") s, $((peak / 1024)) MiB, others $others" >&2
}

"$python" -c 'import torch' 2>/dev/null && has_torch=yes || has_torch=no
for ((i = 0; i < rounds; i++)); do
    "$peak_of" "$threads" | awk -v p="$precision" '$1 == p { print $2 }' \
        >>"$kept/$row.$precision.peak"
    turn c1 run_nnd c1 -S train.chunks=1
    turn c4 run_nnd c4 -S train.chunks=4
    turn fast run_nnd fast -S train.chunks=1 -S train.mode=fast
    [ $has_torch = yes ] || continue
    turn torch run_torch torch
    [ $compiled = no ] || turn compiled run_torch compiled --compile
done

# --- the row ------------------------------------------------------------------

# of NAME KIND: the median, or 0.
of()
{
    local at=$kept/$row.$precision.$1
    [ -s "$at" ] && median <"$at" || echo 0
}

awk -v row="$row" -v precision="$precision" -v gflop="$(gflop)" \
    -v peak="$(of peak)" \
    -v c1="$(of c1.times)" -v c4="$(of c4.times)" -v fast="$(of fast.times)" \
    -v torch="$(of torch.times)" -v compiled="$(of compiled.times)" \
    -v kib="$(of c1.kib)" -v torch_kib="$(of torch.kib)" -v others="$(of others)" '
    function ms(x) { return x > 0 ? sprintf("%.1f", x * 1e3) : "-" }
    function share(x) { return sprintf("%.0f %%", 100 * gflop / x / peak) }
    BEGIN {
        best = compiled > 0 && compiled < torch ? compiled : torch
        printf "| %s | %s | %.1f | %.0f | %s | %s |", row, precision, gflop, peak,
            ms(c1), share(c1)
        printf " %s | %s | %s | %.2f |", ms(c4), share(c4), ms(fast), c1 / fast
        printf " %s | %s |", ms(torch), ms(compiled)
        printf " %s |", (best > 0 ? sprintf("%.2fx", best / c1) : "-")
        mib = "-"
        if (torch_kib > 0)
            mib = sprintf("%.0f (%.2fx)", torch_kib / 1024, kib / torch_kib)
        printf " %.0f | %s |", kib / 1024, mib
        printf " %.2f |\n", others
    }'
