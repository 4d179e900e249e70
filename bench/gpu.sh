#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# gpu.sh - the cuda plugin on a GPU: is it right, how fast is it, does it train.
#
#   bench/gpu.sh pack DIR              here: all that the other machine needs
#   bench/gpu.sh [-d DIR] [-o OUT] [SECTION...]
#
# A machine with a GPU may lack all that nnd is built from, so `pack` puts programs,
# plugins and their libraries into DIR; build with --without-mpi before.  There, -d DIR
# says where that is (without: the build tree), -o OUT where logs and tables go
# (./gpu-out).  Sections, in this order when none is named:
#
#   check     every operator against the contract            420 s at most
#   endure    1,000 launches of each, the same bits          450 s
#   huge      tensors of more than 2^31 elements             300 s
#   sanitize  compute-sanitizer's tools over a small job     240 s
#   rates     each operator at the sizes that matter         420 s
#   train     a dense model and one with experts, 124 M      420 s
#   torch     the dense one in PyTorch, where it is           180 s
#
# A section ends when its time is up, and says what it left out; none that fails or is
# cut short ends the others.  Where a call may take ten minutes, call it for each of
# check, endure, rates and train, and for the rest.  GPU_LIMIT is a factor on those
# times (1).  OUT/summary.md, which grows with each call, is the table for
# doc/performance-gpu.md; OUT/SECTION.log has all that was said.

set -u
sections="check endure huge sanitize rates train torch"
source=$(cd "$(dirname "$0")/.." && pwd)
out=$PWD/gpu-out
pack=
limit=${GPU_LIMIT:-1}

die()
{
    echo "gpu.sh: $*" >&2
    exit 1
}

# ---- pack ----

libraries()
{
    ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
        grep -vE '/(libc|libm|libpthread|libdl|librt|ld-[^/]*)\.so'
}

# Would they run there?
check_pack()
{
    if ldd "$1/bin/nnd-worker" | grep -q 'libmpi'; then
        die "the worker wants MPI: build with configure --without-mpi before packing"
    fi
    ldd "$1"/bin/* "$1"/plugins/*.so | grep 'not found' && die "libraries are missing"
    return 0
}

make_pack()
{
    local build=${NND_BUILDDIR:-$source/build} to=$1 file
    mkdir -p "$to/bin" "$to/lib" "$to/plugins" || exit
    for file in worker/nnd-worker plugins/probe/nnd-plugin-probe; do
        [ -x "$build/$file" ] || die "$build/$file is missing: build first"
        cp "$build/$file" "$to/bin/" || exit
    done
    file=${GPU_PLUGIN:-$build/plugins/cuda/.libs/cuda.so}
    [ -f "$file" ] || die "$file is missing: build where nvcc is"
    cp "$file" "$to/plugins/cuda.so" || exit
    cp "$source"/bench/gpu-*.yaml "$source"/bench/torch_*.py "$source/bench/gpu.sh" \
        "$to/" || exit
    check_pack "$to"
    libraries "$to"/bin/* "$to"/plugins/*.so |
        while read -r file; do cp -L "$file" "$to/lib/"; done
    strip "$to"/bin/* "$to"/plugins/*.so "$to"/lib/*.so* 2>/dev/null
    git -C "$source" rev-parse --short HEAD >"$to/commit" 2>/dev/null ||
        echo unknown >"$to/commit"
    du -sh "$to"
}

if [ "${1:-}" = pack ]; then
    make_pack "${2:?pack needs a folder}"
    exit
fi

while [ $# -gt 0 ]; do
    case $1 in
    -d) pack=$(cd "${2:?-d needs a folder}" && pwd) || exit; shift ;;
    -o) mkdir -p "${2:?-o needs a folder}" && out=$(cd "$2" && pwd) || exit; shift ;;
    -*) die "$1: no such option" ;;
    *) break ;;
    esac
    shift
done
mkdir -p "$out" || exit
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
if [ -z "$pack" ]; then
    pack=$work/pack
    make_pack "$pack" || exit
fi
libs=
for dir in /usr/local/cuda/lib64 /usr/local/nvidia/lib64; do
    [ -d "$dir" ] && libs=$libs:$dir
done
# cuBLASLt may be PyTorch's alone.
for dir in $(python3 -c 'import nvidia.cu13 as n; print(n.__path__[0] + "/lib")
' 2>/dev/null) $(python3 -c 'import nvidia.cublas as n; print(n.__path__[0] + "/lib")
' 2>/dev/null); do
    libs=$libs:$dir
done
# Packed libraries are for packed programs: Python has its own.  What the machine has
# goes first where both have one.
wrap()
{
    local path=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/usr/lib/x86_64-linux-gnu
    printf '#!/bin/sh\nexport LD_LIBRARY_PATH="%s"\nexec "%s" "$@"\n' \
        "$path:$pack/lib$libs" "$pack/bin/$1" >"$work/$1"
    chmod +x "$work/$1"
}
wrap nnd-plugin-probe
wrap nnd-worker
probe=$work/nnd-plugin-probe
worker=$work/nnd-worker
plugin=$pack/plugins/cuda.so
summary=$out/summary.md

# ---- the machine ----

smi()
{
    nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1
}

describe()
{
    echo "device: $(smi name), driver $(smi driver_version), clocks now" \
        "$(smi clocks.sm) SM and $(smi clocks.mem) memory, limits" \
        "$(smi clocks.max.sm) and $(smi power.limit); commit $(cat "$pack/commit")"
}

# seconds N: with the factor, at least 1.
seconds()
{
    awk -v s="$1" -v f="$limit" 'BEGIN { n = int(s * f); print n < 1 ? 1 : n }'
}

# begin SECONDS: a section has so many.
begin()
{
    section_end=$((SECONDS + $(seconds "$1")))
}

# timed SECONDS COMMAND...: ended when its time, or its section's, is up.
timed()
{
    local most left=$((section_end - SECONDS))
    most=$(seconds "$1")
    shift
    [ "$left" -gt 0 ] || { echo "left out: the section's time is up"; return 124; }
    timeout -k 5 $((most < left ? most : left)) "$@"
}

# ---- check ----

# Operators one by one, so that one that hangs leaves the others.
check()
{
    local op failed=0
    begin 420
    for op in $("$probe" list "$plugin" | awk '/ priority / { print $2 }' | sort -u); do
        timed 60 "$probe" check --op "$op" "$plugin" >"$work/log" 2>&1 ||
            { echo "exit status $? of $op" >>"$work/log"; failed=1; }
        cat "$work/log"
    done >"$out/check.log"
    timed 60 "$probe" check --mode group "$plugin" >>"$out/check.log" 2>&1 || failed=1
    {
        echo "## Conformance"
        echo
        echo '```'
        grep -cE '^ok' "$out/check.log" | sed 's/$/ kernels pass/'
        grep -vE '^ok' "$out/check.log" | cut -c 1-200 | head -n 60
        echo '```'
    } >>"$summary"
    return $failed
}

# ---- endure, huge ----

# mode NAME SECONDS: a mode of check, kernel by kernel, and what it said of each.
mode()
{
    local failed=0
    begin "$2"
    timed "$2" "$probe" check --mode "$1" --timeout 60 "$plugin" >"$out/$1.log" 2>&1 ||
        failed=1
    {
        echo "## check --mode $1"
        echo
        echo '```'
        grep -cE '^ok' "$out/$1.log" | sed 's/$/ kernels pass/'
        grep -cE '^skip' "$out/$1.log" | sed 's/$/ are skipped/'
        grep -vE '^(ok|skip)' "$out/$1.log" | cut -c 1-200 | head -n 40
        echo '```'
    } >>"$summary"
    return $failed
}

endure()
{
    mode endure 450
}

huge()
{
    mode huge 300
}

# ---- sanitize ----

sanitize()
{
    local tool failed=0
    command -v compute-sanitizer >/dev/null || {
        echo "compute-sanitizer is not here: skipped" | tee -a "$summary"
        return 0
    }
    begin 240
    echo "## compute-sanitizer" >>"$summary"
    for tool in memcheck racecheck synccheck initcheck; do
        timed 60 compute-sanitizer --tool "$tool" --target-processes all \
            "$worker" train --job "$pack/gpu-tiny.yaml" --dir "$work/$tool" \
            --plugins "$pack/plugins" -S data.train="$work/text" \
            >"$work/log" 2>&1 || failed=1
        { echo "== $tool"; tail -n 2000 "$work/log"; } >>"$out/sanitize.log"
        printf -- '- %s: %s\n' "$tool" \
            "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|not supported|Error:|left out' \
                "$work/log" | tail -n 1)" >>"$summary"
    done
    return $failed
}

# ---- rates ----

# op, dtype, shape: a line each.
shapes()
{
    cat <<'SHAPES'
sum bf16 T=16384,N=4096
norm.rms.fwd bf16 T=16384,N=4096
norm.rms.bwd bf16 T=16384,N=4096
norm.layer.fwd bf16 T=16384,N=4096
norm.layer.bwd bf16 T=16384,N=4096
act.swiglu.fwd bf16 T=8192,N=8192
act.swiglu.bwd bf16 T=8192,N=8192
act.gelu.fwd bf16 T=8192,N=8192
rope bf16 T=16384,H=32,D=128
xent.fwd bf16 T=1024,V=50304
xent.bwd bf16 T=1024,V=50304
embed.fwd bf16 T=16384,V=50304,N=768
embed.bwd bf16 T=16384,V=50304,N=768
opt.adamw f32 X=16777216
sqnorm f32 X=16777216
dropout bf16 T=16384,N=4096
rows.sum bf16 T=16384,N=4096
moe.route.fwd f32 T=32768,E=128,K=8
moe.sort f32 T=32768,E=128,K=8
moe.permute bf16 T=8192,E=64,K=2,N=2048
moe.unpermute bf16 T=8192,E=64,K=2,N=2048
gemm bf16 M=4096,N=4096,K=4096
gemm bf16 M=8192,N=8192,K=8192
gemm bf16 M=16384,N=768,K=768
gemm bf16 M=65536,N=2048,K=2048
gemm.grouped bf16 E=8,M=8192,N=2048,K=2048
gemm.grouped bf16 E=8,M=8192,N=2048,K=2048,swiglu
gemm.grouped bf16 E=8,M=8192,N=2048,K=2048,wgrad
gemm bf16 M=32768,N=1536,K=2048
gemm.grouped bf16 E=128,M=256,N=1536,K=2048
gemm.grouped bf16 E=128,M=256,N=1536,K=2048,wgrad
attn.fwd bf16 B=4,T=1024,H=12,G=12,D=64
attn.fwd bf16 B=1,T=2048,H=16,G=2,D=128
attn.fwd bf16 B=1,T=8192,H=16,G=2,D=128
attn.fwd bf16 B=1,T=8192,H=16,G=16,D=64
attn.bwd bf16 B=4,T=1024,H=12,G=12,D=64
attn.bwd bf16 B=1,T=2048,H=16,G=2,D=128
attn.bwd bf16 B=1,T=8192,H=16,G=2,D=128
rnn.seq.fwd bf16 B=64,T=64,H=1024,lstm
rnn.seq.bwd bf16 B=64,T=64,H=1024,lstm
sample bf16 R=32,V=50304
argmax bf16 R=32,V=50304,K=8
cast.quant bf16 T=8192,N=8192
SHAPES
}

rates()
{
    local op dtype shape failed=0
    begin 420
    {
        echo "## Rates"
        echo
        echo '```'
    } >>"$summary"
    while read -r op dtype shape; do
        timed 40 "$probe" bench --vs none --op "$op" --dtype "$dtype" \
            --shape "$shape" "$plugin" >"$work/log" 2>&1 ||
            { echo "exit status $?" >>"$work/log"; failed=1; }
        cat "$work/log" >>"$out/rates.log"
        cut -c 1-150 "$work/log" >>"$summary"
    done < <(shapes)
    echo '```' >>"$summary"
    return $failed
}

# ---- train ----

number()
{
    sed -n 's/.*"'"$2"'":\([^,}]*\).*/\1/p' "$1/metrics.jsonl"
}

median()
{
    sort -g | awk '{ x[NR] = $1 } END { if (NR) print x[int((NR + 1) / 2)] }'
}

# train_one JOB NAME OPTION...: losses, tokens per second without the first five steps.
train_one()
{
    local job=$1 name=$2 dir=$work/$2 rc=0
    shift 2
    timed 140 "$worker" train --job "$pack/$job.yaml" --dir "$dir" --profile \
        --plugins "$pack/plugins" -S data.train="$work/text" "$@" >"$work/log" 2>&1 ||
        rc=$?
    { echo "== $name, exit status $rc"; cat "$work/log" "$dir/metrics.jsonl"; } \
        >>"$out/train.log" 2>&1
    if [ $rc != 0 ]; then
        echo "| $name | $(tail -n 1 "$work/log" | cut -c 1-150 | tr '|' ' ') | | |" |
            tee -a "$summary"
        return 1
    fi
    echo "| $name | $(number "$dir" loss | head -n 1) | $(number "$dir" loss |
        tail -n 1) | $(number "$dir" tokens_per_s | tail -n +6 | median) |" >>"$summary"
}

train()
{
    local failed=0
    {
        echo "## Training"
        echo
        echo "| job | first loss | last loss | tokens/s, median |"
        echo "|---|---|---|---|"
    } >>"$summary"
    begin 420
    train_one gpu-dense gpu-dense || failed=1
    train_one gpu-moe gpu-moe || failed=1
    return $failed
}

# ---- torch ----

torch()
{
    local manifest
    manifest=$(find "$work/gpu-dense/checkpoints" -name manifest.json 2>/dev/null |
        tail -n 1)
    python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || {
        echo "PyTorch with a GPU is not here: skipped" | tee -a "$summary"
        return 0
    }
    begin 180
    # In a call of its own it makes itself the model.
    [ -n "$manifest" ] ||
        timed 60 "$worker" train --job "$pack/gpu-dense.yaml" --dir "$work/gpu-dense" \
            --plugins "$pack/plugins" -S data.train="$work/text" -S train.steps=1 \
            >"$out/torch.log" 2>&1
    manifest=$(find "$work/gpu-dense/checkpoints" -name manifest.json 2>/dev/null |
        tail -n 1)
    [ -n "$manifest" ] || { echo "nothing was trained: skipped"; return 1; }
    echo "PyTorch, seconds a step:" >>"$summary"
    timed 170 python3 "$pack/torch_step.py" --compile --device cuda "$manifest" 30 8 \
        >"$out/torch.log" 2>&1 || { tail -n 3 "$out/torch.log"; return 1; }
    echo "median $(grep -E '^[0-9.]+$' "$out/torch.log" | tail -n +11 | median)" \
        >>"$summary"
}

# ---- all of it ----

# Text enough for the jobs: words by chance, the same every time.
awk 'BEGIN { srand(1); for (i = 0; i < 60000; i++)
    printf "%s%s", substr("the of and a to in is you that it he was for on are as with",
        1 + int(rand() * 50), 2 + int(rand() * 6)), i % 12 ? " " : "\n" }' >"$work/text"
{
    echo "# $(date -u +%Y-%m-%d)"
    echo
    describe
    echo
} >>"$summary"
"$probe" list "$plugin" >"$out/list.log" 2>&1
if grep -q unavailable "$out/list.log"; then
    grep unavailable "$out/list.log"
    die "there is no GPU here"
fi
echo "$plugin: $(wc -c <"$plugin") bytes" >>"$out/list.log"
status=0
section_end=0
for section in ${*:-$sections}; do
    case " $sections " in
    *" $section "*) ;;
    *) die "$section: no such section" ;;
    esac
    began=$SECONDS
    if "$section"; then said=ok; else said=FAILED status=1; fi
    echo "$section: $said, $((SECONDS - began)) s" | tee -a "$summary"
    echo >>"$summary"
done
describe >>"$summary"
exit $status
