#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh - see nnd work, from nothing to a model that writes: start a private
# nnd, submit demo.yaml, watch it, let the model write, show the kernels it ran
# on, stop everything.  For people; `./autogen.sh demo` runs it after the build.
#
#   examples/demo.sh [BUILD [OPTION...]]     OPTION: for nnctl submit
#
# BUILD is the build folder ("build").  What is made lies in a folder below
# TMPDIR, which is removed at the end unless KEEP is set.

set -eu
source=$(cd "$(dirname "$0")" && pwd)
build=$(cd "${1:-build}" && pwd)
[ $# -gt 0 ] && shift
dir=$(mktemp -d "${TMPDIR:-/tmp}/nnd-demo-XXXXXX")
nnd=
NND_URI=ipc://$dir/sock
export NND_URI

# nnd has a session of its own, so a signal to all of us leaves it to this.
stop()
{
    trap - EXIT HUP INT TERM
    if [ -n "$nnd" ]; then
        nnctl cancel --all --wait >/dev/null 2>&1 || true
        kill "$nnd" 2>/dev/null || true
        while kill -0 "$nnd" 2>/dev/null; do
            sleep 0.1
        done
    fi
    if [ -n "${KEEP:-}" ]; then
        say "logs and checkpoints stay in $dir"
    else
        rm -rf "$dir"
    fi
}

trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

nnctl()
{
    "$build/client/nnctl" "$@"
}

say()
{
    printf '\n== %s\n' "$*"
}

die()
{
    echo "demo.sh: $*" >&2
    exit 1
}

start_nnd()
{
    "$build/daemon/nnd" --dir "$dir" --oversubscribe --background
    nnd=$(nnctl version --json | sed -n 's/.*"pid":\([0-9]*\).*/\1/p')
    [ -n "$nnd" ] || die "nnd was started but does not answer"
}

say "a private nnd"
start_nnd
nnctl version

say "the plan of examples/demo.yaml: a Mixture-of-Experts Transformer on two ranks"
nnctl plan "$source/demo.yaml" "$@" | sed '/^kernels/,$d'

say "nnctl submit, nnctl watch"
id=$(nnctl submit "$source/demo.yaml" "$@")
nnctl watch "$id"
[ "$(nnctl status "$id" -o state)" = completed ] || die "job $id is not completed"

say "nnctl generate: what the model writes after \"This program is\""
nnctl generate "$id" --prompt "This program is" --tokens 300 --temperature 0.7

say "nnctl show --kernels: what it ran on"
nnctl show "$id" --kernels
if nnctl show "$id" --kernels --json | grep -q '"plugin":"ref"'; then
    die "a kernel of ref, the slow reference, was used"
fi

say "done"
