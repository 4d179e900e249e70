#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# moe.sh - experts against a dense model of equal active width, on equally many tokens
# of a text, with three seeds: is the difference of validation losses more than two of
# its standard deviations?
#
#   bench/moe.sh TRAIN VALID [-t THREADS] [-o DIR] [-S KEY=VALUE]...
#
# Texts, WikiText-2 for one; TRAIN and VALID may be gzipped.  Without them nothing is
# measured: exit status 77.  0: experts are better; 1: they are not.  -o DIR keeps the
# jobs in DIR/KIND-SEED, and goes on with what is there: this may be stopped at any
# time.  SEEDS and MINUTES (20, of steps, for a run) may be set.

set -u
if [ $# -lt 2 ] || [ "${1#-}" != "$1" ] || [ "${2#-}" != "$2" ]; then
    echo "SKIP: no data: say where a text to train on, and one to validate on, are" >&2
    exit 77
fi
train=$1 valid=$2
shift 2
. "$(dirname "$0")/common.sh"
threads=1 out=$work
sets=()
while getopts t:o:S: o; do
    case $o in
    t) threads=$OPTARG ;;
    o) out=$OPTARG ;;
    S) sets+=(-S "$OPTARG") ;;
    *) die "wanted TRAIN VALID [-t THREADS] [-o DIR] [-S KEY=VALUE]..." ;;
    esac
done
worker=$(program worker/nnd-worker) || exit
mkdir -p "$out" || exit
exec 8>"$out/lock" # a rank that outlived its script holds it, too
flock -n 8 || die "$out: somebody is at work there"

# unpacked FILE NAME: a copy of it as plain text.
unpacked()
{
    case $1 in
    *.gz) gzip -dc "$1" >"$out/$2" ;;
    *) cp "$1" "$out/$2" ;;
    esac || die "$1: cannot be read"
}

unpacked "$train" train.txt
unpacked "$valid" valid.txt

# seconds DIR: what the steps of a job have taken so far.
seconds()
{
    metric step_seconds "$1/metrics.jsonl" 2>/dev/null |
        awk '{ x += $1 } END { printf "%d\n", x }'
}

# run KIND SEED: train, or what is left of it; print the least validation loss.
run()
{
    local kind=$1 seed=$2 dir=$out/$1-$2 best left
    local -a more=()
    [ "$kind" = moe ] && more=(-S model.moe.experts=8 -S model.moe.top_k=2)
    left=$((${MINUTES:-20} * 60 - $(seconds "$dir")))
    [ "$left" -gt 0 ] || die "$kind with seed $seed has had its ${MINUTES:-20} minutes"
    timeout --foreground "$left" "$worker" train --job "$here/moe.yaml" --dir "$dir" \
        -S data.train="$out/train.txt" -S data.valid="$out/valid.txt" \
        -S train.threads="$threads" -S seed="$seed" "${more[@]}" \
        ${sets[@]+"${sets[@]}"} >>"$dir.log" 2>&1 || {
        tail -n 20 "$dir.log" >&2
        die "$kind with seed $seed failed, or took more than ${MINUTES:-20} minutes"
    }
    best=$(metric val_loss "$dir/metrics.jsonl" | sort -g | head -n 1)
    [ -n "$best" ] || die "$kind with seed $seed: no validation loss was measured"
    printf '%-6s %4d %9.4f %9.0f %7d\n' "$kind" "$seed" "$best" \
        "$(metric tokens "$dir/metrics.jsonl" | tail -n 1)" "$(seconds "$dir")"
    echo "$kind $best" >>"$work/losses"
}

machine
printf '%-6s %4s %9s %9s %7s\n' KIND SEED VALID TOKENS TIME/s
for seed in ${SEEDS:-1 2 3}; do
    run dense "$seed"
    run moe "$seed"
done
awk '
    { n[$1]++; sum[$1] += $2; square[$1] += $2 * $2 }
    function variance(k) {
        return n[k] > 1 ? (square[k] - sum[k] * sum[k] / n[k]) / (n[k] - 1) : 0
    }
    END {
        d = sum["dense"] / n["dense"] - sum["moe"] / n["moe"]
        v = variance("dense") / n["dense"] + variance("moe") / n["moe"]
        s = v > 0 ? sqrt(v) : 0
        printf "dense - moe: %.4f nats per token, standard deviation %.4f\n", d, s
        print "wanted: more than two standard deviations"
        exit !(d > 2 * s && d > 0)
    }' "$work/losses"
