#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# results.sh - results that others have published, by nnd: trains a row of the table in
# doc/results.md on data that is not part of nnd, and says whether it came out as well.
#
#   bench/results.sh head
#   bench/results.sh ROW DATA [-s SEED] [-t THREADS] [-o DIR] [-S KEY=VALUE]...
#
# DATA has the folders that bench/README.md names; without it nothing is measured: exit
# status 77.  0: the row's gate is met; 1: it is not.  -o DIR keeps the row's job in
# DIR/ROW-SEED, goes on with what is there, and measures again what is done.

set -u
usage()
{
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}

columns='ROW SEED FIGURE WANTED MET STEPS LOSS THREADS CPU/s TIME/s OTHERS COMMIT'
if [ "${1:-}" = head ]; then
    sed 's/ /:/g;s/:/ | /g;s/^/| /;s/$/ |/' <<<"$columns"
    sed 's/[^ ]*/---/g;s/ / | /g;s/^/| /;s/$/ |/' <<<"$columns"
    exit
fi
[ $# -ge 1 ] || usage
row=$1
data=${2:-}
case $data in
'' | -*)
    echo "SKIP: no data: say where the folder with the texts is" >&2
    exit 77
    ;;
esac
shift 2
. "$(dirname "$0")/common.sh"
. "$here/results/rows.sh"

seed=1 threads=1 out=$work
more=()
while getopts s:t:o:S: o; do
    case $o in
    s) seed=$OPTARG ;;
    t) threads=$OPTARG ;;
    o) out=$OPTARG ;;
    S) more+=(-S "$OPTARG") ;;
    *) usage ;;
    esac
done
worker=$(program worker/nnd-worker) || exit
nnctl=$(program client/nnctl) || exit
dir=$out/$row-$seed
mkdir -p "$dir" || exit
exec 8>"$dir/lock" # a rank that outlived its script holds it, too
flock -n 8 || die "$dir: somebody is at work there"
metrics=$dir/job/metrics.jsonl

# text PATH: where a file of the data is; none is a reason to skip.
text()
{
    [ -r "$data/$1" ] && return
    echo "SKIP: $data has no $1" >&2
    exit 77
}

# train JOB OPTION...: train it, or what is left of it, and note what that took.
train()
{
    local job=$1 start=$EPOCHREALTIME count before own failed=0
    shift
    count=$(cat "$metrics" 2>/dev/null | wc -l)
    taken_by_others
    before=$(<"$work/taken")
    own_seconds
    own=$(<"$work/own")
    "$worker" train --job "$here/results/$job.yaml" --dir "$dir/job" \
        -S seed="$seed" -S train.threads="$threads" "$@" "${more[@]}" \
        >>"$dir/log" 2>&1 || failed=$?
    note_spent
    [ "$failed" -eq 0 ] && return
    tail -n 20 "$dir/log" >&2
    die "$row with seed $seed failed; all of it is in $dir/log"
}

# What the training has taken since $start, unless it was done before.
note_spent()
{
    [ "$(cat "$metrics" 2>/dev/null | wc -l)" != "$count" ] || return 0
    taken_by_others
    own_seconds
    awk -v cpu="$(<"$work/own")" -v own="$own" -v from="$start" -v a="$before" \
        -v to="$EPOCHREALTIME" -v b="$(<"$work/taken")" \
        'BEGIN { print cpu - own, to - from, b - a }' >>"$dir/spent"
    echo "${COMMIT:-$(git -C "$here" describe --always --dirty 2>/dev/null)}" \
        >"$dir/commit"
}

# Processor seconds of this script's children, so far; not to be called in a subshell.
own_seconds()
{
    times >"$work/times"
    awk -F '[ms ]+' 'NR == 2 { print $1 * 60 + $2 + $3 * 60 + $4 }' "$work/times" \
        >"$work/own"
}

# mean NAME N: of a number's last N values.
mean()
{
    metric "$1" "$metrics" | tail -n "$2" |
        awk '{ x += $1 } END { if (!NR) exit 1; print x / NR }'
}

# The loss of training after each fifth of the steps, means of 10.
curve()
{
    metric loss "$metrics" | awk '
        { x[NR] = $1 }
        END {
            for (k = 1; k <= 5; k++) {
                sum = n = 0
                for (i = int(k * NR / 5); i > 0 && n < 10; i--) {
                    sum += x[i]
                    n++
                }
                printf "%s%.3f", (k > 1 ? " " : ""), (n ? sum / n : 0)
            }
        }'
}

# result FIGURE WANTED CONDITION: print the row; CONDITION is awk's.
result()
{
    local met=no steps
    awk "BEGIN { exit !($3) }" && met=yes
    steps=$(metric step "$metrics" | tail -n 1)
    awk -v head="| $row | $seed | $1 | $2 | $met | $steps | $(curve) | $threads" \
        -v commit="$(<"$dir/commit")" '
        { cpu += $1; time += $2; taken += $3 }
        END {
            printf "%s | %.0f | %.0f | %.2f | %s |\n", head, cpu, time,
                (time > 0 && taken > 0 ? taken / time : 0), commit
        }' "$dir/spent"
    [ $met = yes ]
}

what=row_${row//-/_}
declare -F "$what" >/dev/null || die "wanted one of $(rows), found $row"
$what
