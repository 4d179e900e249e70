#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# checkpoint.sh - what saving costs: steps that run while a checkpoint is being
# written, against the others of the same run.
#
#   bench/checkpoint.sh [JOB.yaml] [-n STEPS] [-e EVERY] [-S KEY=VALUE]...
#
# A step counts as one during a checkpoint when it begins before the checkpoint's
# manifest is written, the copy that is made between steps included.  It may take
# 1.15 times as long as another, by the medians; exit status 1 when it takes longer.

set -u
. "$(dirname "$0")/common.sh"

job=$here/step.yaml
steps=100 every=10 gate=1.15
options=()
while [ $# -gt 0 ]; do
    case $1 in
    -n) steps=${2:?-n needs a number}; shift ;;
    -e) every=${2:?-e needs a number}; shift ;;
    -S) options+=(-S "${2:?-S needs KEY=VALUE}"); shift ;;
    -*) die "$1: no such option" ;;
    *) job=$1 ;;
    esac
    shift
done
worker=$(program worker/nnd-worker) || exit

machine
"$worker" train --job "$job" --dir "$work" "${options[@]}" -S train.steps="$steps" \
    -S train.valid_every=0 -S train.log_every=1 -S checkpoint.every="$every" \
    -S checkpoint.keep="$steps" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

# "end STEP SECONDS" of each checkpoint, then "step STEP SECONDS" of each step.
{
    for folder in "$work"/checkpoints/step-*; do
        echo "end $((10#${folder##*-})) $(stat -c %.6Y "$folder/manifest.json")"
    done
    metric time "$work/metrics.jsonl" | tr -d '"' | date -f - +%s.%6N |
        paste -d ' ' <(metric step "$work/metrics.jsonl") - | sed 's/^/step /'
} | awk -v during="$work/during" -v others="$work/others" '
    $1 == "end" { end[$2] = $3; next }
    $2 > 5 { print $3 - before > (before < until ? during : others) }
    { before = $3 }
    $2 in end { until = end[$2] }'

[ -s "$work/during" ] && [ -s "$work/others" ] ||
    die "no step to compare: more steps, please, or another -e"
awk -v d="$(median <"$work/during")" -v o="$(median <"$work/others")" -v gate=$gate \
    -v nd="$(wc -l <"$work/during")" -v no="$(wc -l <"$work/others")" -v mib="$(
        du -sm "$work"/checkpoints/* | awk '{ print $1; exit }')" 'BEGIN {
    printf "checkpoint: %d MiB\n", mib
    printf "steps during one: %d, median %.1f ms\n", nd, d * 1e3
    printf "other steps:      %d, median %.1f ms\n", no, o * 1e3
    printf "ratio: %.3f, at most %.2f is wanted\n", d / o, gate
    exit d / o > gate }'
