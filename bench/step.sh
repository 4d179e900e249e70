#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# step.sh - what a training step costs: tokens per second, time by operator, memory
# against the plan, and the same model in PyTorch where that is installed.
#
#   bench/step.sh [JOB.yaml] [-n STEPS] [-r ROUNDS] [-t THREADS] [-S KEY=VALUE]...
#
# nnd and PyTorch take turns, ROUNDS times (3) of STEPS steps (20) each; the first
# five steps of a turn do not count, and the median of the others is shown.  THREADS
# (all processors) are in all, over the ranks of the job.  PYTHON names the Python
# that has torch (python3).  See bench/README.md.

set -u
. "$(dirname "$0")/common.sh"

job=$here/step.yaml
steps=20 rounds=3 threads=$(nproc) warm=5
options=()
while [ $# -gt 0 ]; do
    case $1 in
    -n) steps=${2:?-n needs a number}; shift ;;
    -r) rounds=${2:?-r needs a number}; shift ;;
    -t) threads=${2:?-t needs a number}; shift ;;
    -S) options+=(-S "${2:?-S needs KEY=VALUE}"); shift ;;
    -*) die "$1: no such option" ;;
    *) job=$1 ;;
    esac
    shift
done
[ "$steps" -gt "$warm" ] || die "-n: must be above $warm, got $steps"
[ -r "$job" ] || die "$job: cannot be read"
python=${PYTHON:-python3}
worker=$(program worker/nnd-worker) || exit
nnctl=$(program client/nnctl) || exit
options+=(-S train.steps="$steps" -S train.log_every=1 -S train.valid_every=0
    -S checkpoint.every=0 -S kernels.check=off)

resolved=$("$nnctl" submit --dry-run "$job" "${options[@]}") || exit

ranks=$(value parallel dp)
each=$((threads / ranks > 0 ? threads / ranks : 1))
tokens=$(($(value train batch) * $(value model context)))
launch=()
if [ "$ranks" -gt 1 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    launch=(mpirun -np "$ranks" --bind-to none --oversubscribe
        --mca pml ob1 --mca btl self,vader)
fi

# --- the two ------------------------------------------------------------------

run_nnd()
{
    "${launch[@]}" "$worker" train --job "$job" --dir "$work/nnd-$1" \
        --threads "$each" --profile "${options[@]}" >"$work/nnd-$1.log" 2>&1 ||
        { cat "$work/nnd-$1.log" >&2; return 1; }
}

run_torch()
{
    "$python" "$here/torch_step.py" "$work"/nnd-1/checkpoints/*/manifest.json \
        "$steps" "$threads" >"$work/torch-$1.log"
}

# Keep the times of a turn that count, and show it: turn NAME NUMBER TIMES.
turn()
{
    tail -n +$((warm + 1)) "$3" >>"$work/$1.times"
    printf '%-8s %5d %12.1f %12.1f %10.1f %8s\n' "$1" "$2" \
        "$(median <"$3" | awk '{ print $1 * 1e3 }')" \
        "$(median <"$3" | awk -v t=$tokens '{ print t / $1 }')" \
        "$(awk -v kb=$peak 'BEGIN { print kb / 1024 }')" "$others"
}

machine
echo "job: $job: $tokens tokens a step, $(value train precision)," \
    "$ranks ranks of $each threads"
has_torch=no
[ "$(value train precision)" = fp16 ] || ! "$python" -c 'import torch' 2>/dev/null ||
    has_torch=yes
printf '%-8s %5s %12s %12s %10s %8s\n' WHO TURN ms/STEP TOKENS/s MEM/MiB OTHERS
most=0
for ((i = 1; i <= rounds; i++)); do
    watched run_nnd "$i"
    metric step_seconds "$work/nnd-$i/metrics.jsonl" >"$work/seconds"
    turn nnd "$i" "$work/seconds"
    [ "$peak" -gt "$most" ] && most=$peak
    [ $has_torch = yes ] || continue
    watched run_torch "$i"
    turn torch "$i" "$work/torch-$i.log"
done

# --- the sum ------------------------------------------------------------------

for who in nnd torch; do
    [ -f "$work/$who.times" ] && median <"$work/$who.times" | awk -v who=$who \
        -v t=$tokens '{ printf "%s: %.0f tokens/s, the median of all turns\n",
            who, t / $1 }'
done
if [ $has_torch = yes ]; then
    awk -v a="$(median <"$work/nnd.times")" -v b="$(median <"$work/torch.times")" \
        'BEGIN { printf "nnd is %.2f times as fast as PyTorch\n", b / a }'
elif [ "$(value train precision)" = fp16 ]; then
    echo "torch: not compared in fp16"
else
    echo "torch: not compared, as $python cannot import it; PYTHON names another"
fi

"$worker" plan --job "$job" --json "${options[@]}" >"$work/plan" ||
    die "nnd-worker plan failed"
sed -n 's/.*"rank":0,"bytes":{[^}]*"total":\([0-9]*\).*/\1/p' "$work/plan" |
    awk -v kb="$most" '{
        printf "memory of a rank: %.1f MiB planned, %.1f MiB measured\n",
            $1 / 1048576, kb / 1024
    }'
echo
echo "time of rank 0 by operator, last turn of nnd:"
awk '/ % .* calls / && $2 >= 0.1 { sub(/ *0\.0 GFLOP\/s$/, ""); print }' \
    "$work/nnd-$rounds.log"
echo
echo "and by layer, forward and backward:"
awk '/ % .* backward / && $2 >= 0.1 { sub(/ *0\.0 GFLOP\/s$/, ""); print }
    /^gradients and weights/' "$work/nnd-$rounds.log"
