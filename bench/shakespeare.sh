#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# shakespeare.sh - trains nanoGPT's CPU setting on Tiny Shakespeare, in fp32 and
# in bf16, dense and with experts, and holds the validation loss to 1.90 nats per
# character.
#
#   bench/shakespeare.sh PATH [-S KEY=VALUE]...
#
# PATH is the text, or a folder with input.txt in it.  Without PATH nothing is
# measured: exit status 77.  0: every loss is low enough; 1: one is not.

set -u
gate=1.90
text=${1:-}
case $text in
'' | -*)
    echo "SKIP: no data: say where Tiny Shakespeare's input.txt is" >&2
    exit 77
    ;;
esac
shift
[ -d "$text" ] && text=$text/input.txt
. "$(dirname "$0")/common.sh"
[ -r "$text" ] || die "$text: cannot be read"
text=$(realpath "$text")
worker=$(program worker/nnd-worker) || exit

# train JOB PRECISION OPTION...: one row of the table; fails when over the gate.
train()
{
    local job=$1 precision=$2 dir=$work/$1-$2 start=$SECONDS loss verdict=ok
    shift 2
    if ! "$worker" train --job "$here/$job.yaml" --dir "$dir" -S data.train="$text" \
        -S train.precision="$precision" "$@" >"$dir.log" 2>&1; then
        cat "$dir.log" >&2
        die "$job in $precision failed"
    fi
    loss=$(metric val_loss "$dir/metrics.jsonl" | tail -n 1)
    [ -n "$loss" ] || die "$job in $precision: no validation loss was measured"
    awk -v x="$loss" -v gate="$gate" 'BEGIN { exit !(x <= gate) }' || verdict=HIGH
    printf '%-16s %-9s %8.4f %8.4f %8.0f %6d  %s\n' "$job" "$precision" \
        "$(metric loss "$dir/metrics.jsonl" | tail -n 100 | median)" "$loss" \
        "$(metric tokens_per_s "$dir/metrics.jsonl" | median)" \
        $((SECONDS - start)) "$verdict"
    [ "$verdict" = ok ]
}

machine
printf '%-16s %-9s %8s %8s %8s %6s\n' JOB PRECISION TRAIN VALID TOK/S TIME/s
status=0
for job in shakespeare shakespeare-moe; do
    for precision in fp32 bf16; do
        train "$job" "$precision" "$@" || status=1
    done
done
echo "wanted: a validation loss of at most $gate nats per character"
exit $status
