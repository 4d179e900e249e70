#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# run.sh - fuzz the parsers with libFuzzer, ASan and UBSan, and print how many inputs
# each took and how much of its source they reached.
#
#     tests/fuzz/run.sh [NAME]...     from the top of the tree; all targets, or these
#
# NND_FUZZ_RUNS (20000): inputs per target.  NND_FUZZ_DIR (build-fuzz): what is built,
# the inputs that reached something new, and those that found something (NAME-crash-...:
# run build-fuzz/fuzz_NAME FILE).  Needs clang with its runtime, and llvm.
set -eu
cd "$(dirname "$0")/../.."
: "${NND_FUZZ_RUNS:=20000}" "${NND_FUZZ_DIR:=build-fuzz}" "${NND_FUZZ_CC:=clang}"

mkdir -p "$NND_FUZZ_DIR/proto"
work=$(cd "$NND_FUZZ_DIR" && pwd)
TMPDIR=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/nnd-fuzz-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

packages='libprotobuf-c libzmq sqlite3 yaml-0.1 jansson libutf8proc libcrypto'
sanitize='-fsanitize=address,undefined -fno-sanitize-recover=all'
# shellcheck disable=SC2046
compile()
{
    "$NND_FUZZ_CC" -std=c17 -D_GNU_SOURCE -g -O1 -Ilib -Iinclude -I. -I"$work" \
        $(pkg-config --cflags $packages) $sanitize -fsanitize=fuzzer-no-link \
        -fprofile-instr-generate -fcoverage-mapping "$@"
}

# All that the parsers need; the linker takes what each does.
sources()
{
    ls lib/base/*.c lib/data/*.c lib/train/manifest.c lib/exchange/hf_config.c \
        lib/exchange/hf_folder.c lib/exchange/origin.c lib/format/safetensors*.c \
        proto/*.c tests/fuzz/dir.c \
        daemon/job.c daemon/state.c daemon/status.c daemon/store*.c |
        grep -v '^proto/reference\.c'
    for schema in conf job wire; do
        protoc-c -I. --c_out="$work" proto/$schema.proto
        echo "$work/proto/$schema.pb-c.c"
    done
}

build()
{
    [ ! -f "$work/parsers.a" ] || [ -n "$(find lib include proto daemon tests/fuzz \
        -name '*.[ch]' -newer "$work/parsers.a")" ] || return 0
    rm -f "$work"/*.o "$work/parsers.a"
    for source in $(sources); do
        name=$(echo "${source#"$work"/}" | tr / -)
        compile -c -o "$work/${name%.c}.o" "$source"
    done
    ar rcs "$work/parsers.a" "$work"/*.o
    rm -f "$work"/*.o
}

# shellcheck disable=SC2046
link()
{
    compile -c -o "$work/$1.o" "tests/fuzz/fuzz_$1.c"
    "$NND_FUZZ_CC" $sanitize -fsanitize=fuzzer -fprofile-instr-generate \
        -o "$work/fuzz_$1" "$work/$1.o" "$work/parsers.a" \
        $(pkg-config --libs $packages) -lm -lpthread
}


# How many lines of the sources were executed by these targets together.
# shellcheck disable=SC2046,SC2086
reached()
{
    cov=$("$NND_FUZZ_CC" -print-prog-name=llvm-cov)
    merge=$("$NND_FUZZ_CC" -print-prog-name=llvm-profdata)
    "$merge" merge -sparse -o "$work/profdata" \
        $(for t; do echo "$work/$t.profraw"; done)
    first=$1
    "$cov" report "$work/fuzz_$first" -instr-profile="$work/profdata" \
        $(for t; do echo "-object $work/fuzz_$t"; done) \
        -show-region-summary=false -show-branch-summary=false \
        $(for t; do sed -n 's/^ \* parser: //p' "tests/fuzz/fuzz_$t.c"; done |
            tr ' ' '\n' | sort -u) |
        awk '$1 ~ /\.c$/ {
            sub(/.*\//, "", $1)
            printf "    %-20s %5.1f %% of %d lines\n", $1, 100 * ($5 - $6) / $5, $5
        }'
}

fuzz()
{
    name=$1
    mkdir -p "$work/corpus-$name"
    LLVM_PROFILE_FILE="$work/$name.profraw" "$work/fuzz_$name" \
        -runs="$NND_FUZZ_RUNS" -max_len=8192 -timeout=60 -rss_limit_mb=4096 \
        -print_final_stats=1 -artifact_prefix="$work/$name-" \
        "$work/corpus-$name" "tests/fuzz/corpus/$name" >"$work/$name.log" 2>&1 || {
        echo "$name: FOUND something, see $work/$name.log"
        grep -E 'ERROR|runtime error|does not hold' "$work/$name.log" | head -5
        return 1
    }
    echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' \
        "$work/$name.log") executions, nothing found"
    reached "$name"
}

build
status=0
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(ls tests/fuzz/fuzz_*.c | sed 's/.*fuzz_\(.*\)\.c/\1/')
for name; do
    link "$name"
    fuzz "$name" || status=1
done
if [ $status = 0 ] && [ $# -gt 1 ]; then
    echo "together:"
    reached "$@"
fi
exit $status
