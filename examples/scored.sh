#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# scored.sh - from texts to a scored model, by one command: train a job of pairs, let
# the model write for a text that it has not seen, score that.
#
#   examples/scored.sh JOB.yaml DIR SOURCE REFERENCE [OPTION...]
#
# SOURCE and REFERENCE have a text a line; OPTIONs are nnctl run's, and say where the
# texts to learn from are.  DIR is made, and keeps the job.  WORDS=zh or char cuts words
# for BLEU otherwise than 13a; BEAM is how many texts are looked at side by side (5).
#
#   examples/scored.sh examples/en-de.yaml run test.en test.de \
#       -S data.source=train.en -S data.train=train.de \
#       -S data.valid_source=val.en -S data.valid=val.de
#   examples/scored.sh examples/en-fr.yaml run test.en test.fr -S data.train=fra.txt
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
nnctl eval "$dir/jobs/1" --source "$source" --reference "$reference" \
    --words "${WORDS:-13a}" --beam "${BEAM:-5}"
