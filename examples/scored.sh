#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# scored.sh - from texts to a scored model, by one command: train a job of pairs, let
# the model write for a text that it has not seen, score that.
#
#   examples/scored.sh JOB.yaml DIR SOURCE REFERENCE [OPTION...]
#
# SOURCE and REFERENCE have a text a line; OPTIONs are nnctl run's, and say where the
# texts to learn from are.  DIR is made, and keeps the job; what writes is the best
# checkpoint where the job has train.best, else the newest.  WORDS=zh or char cuts words
# for BLEU otherwise than 13a; BEAM is how many texts are looked at side by side (5).
#
#   examples/scored.sh examples/en-de.yaml run test.en test.de \
#       -S data.source=train.en -S data.train=train.de \
#       -S data.valid_source=val.en -S data.valid=val.de
#   examples/scored.sh examples/en-fr.yaml run test.en test.fr -S data.train=fra.txt
#   examples/scored.sh examples/zh-en.yaml run test.zh test.en -S data.train=cmn.txt
#   examples/scored.sh examples/summarize-en.yaml run test.text test.tldr \
#       -S data.train=train.tsv -S data.valid=dev.tsv
#   WORDS=zh examples/scored.sh examples/summarize-zh.yaml run test.text test.title \
#       -S data.train=train.tsv

set -eu
[ $# -ge 4 ] || {
    sed -n 's/^#   //p' "$0" >&2
    exit 2
}
job=$1 dir=$2 source=$3 reference=$4
shift 4

nnctl run "$job" --dir "$dir" "$@"
made=$dir/jobs/$(ls "$dir/jobs" | sort -n | tail -n 1) # of DIR's jobs the last
best=
if grep -q '^"best": ' "$made"/checkpoints/*/manifest.json; then
    best=--best
fi
nnctl eval "$made" $best --source "$source" --reference "$reference" \
    --words "${WORDS:-13a}" --beam "${BEAM:-5}"
