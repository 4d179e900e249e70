# SPDX-License-Identifier: Apache-2.0
#
# bench/local.mk - benchmarks; none is run by make check.

# Not built by "make" either: make bench/peak bench/line bench/allreduce
EXTRA_PROGRAMS += bench/peak bench/line
bench_peak_SOURCES = bench/peak.c
bench_peak_LDADD = lib/base/libbase.la
bench_line_SOURCES = bench/line.c
bench_line_LDADD = lib/base/libbase.la

if WITH_MPI
EXTRA_PROGRAMS += bench/allreduce
bench_allreduce_SOURCES = bench/allreduce.c
bench_allreduce_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
bench_allreduce_LDADD = $(MPI_COMM_LIBS) lib/comm/libcomm.la lib/base/libbase.la \
    $(MPI_LIBS)
endif

EXTRA_DIST += \
    bench/README.md \
    bench/attention.sh \
    bench/attention_torch.py \
    bench/checkpoint.sh \
    bench/common.sh \
    bench/daemon.sh \
    bench/gpu.sh \
    bench/gpu-dense.yaml \
    bench/gpu-moe.yaml \
    bench/gpu-tiny.yaml \
    bench/goals.sh \
    bench/hostile.sh \
    bench/goals/encdec.yaml \
    bench/goals/gpt.yaml \
    bench/goals/gpt2-256.yaml \
    bench/goals/gpt2-64.yaml \
    bench/goals/gru.yaml \
    bench/goals/lstm.yaml \
    bench/goals/moe.yaml \
    bench/moe.sh \
    bench/moe.yaml \
    bench/results.sh \
    bench/results/fra-eng-transformer.yaml \
    bench/results/fra-eng.yaml \
    bench/results/multi30k-cells.yaml \
    bench/results/multi30k.yaml \
    bench/results/rows.sh \
    bench/results/time-machine.yaml \
    bench/results/torch_kept.py \
    bench/results/torch_lm.py \
    bench/results/torch_pairs.py \
    bench/results/wikitext-2.yaml \
    bench/results/zh-en.yaml \
    bench/shakespeare-moe.yaml \
    bench/shakespeare.sh \
    bench/shakespeare.yaml \
    bench/step.sh \
    bench/step.yaml \
    bench/torch_models.py \
    bench/torch_step.py

# One side of bench/attention.sh; built by make, never installed.
noinst_PROGRAMS += bench/attention
bench_attention_CPPFLAGS = $(PROGRAM_CPPFLAGS)
bench_attention_LDADD = \
    lib/kernel/libkernel.la lib/tensor/libtensor.la $(BASE_LIBS) -lm

# Products beside oneDNN, if configure has found it; built by make, never installed.
noinst_PROGRAMS += bench/gemm
bench_gemm_CPPFLAGS = $(PROGRAM_CPPFLAGS) $(DNNL_CFLAGS)
bench_gemm_LDADD = lib/kernel/libkernel.la lib/tensor/libtensor.la $(BASE_LIBS) \
    $(DNNL_LIBS) -lm
bench_gemm_SOURCES = bench/gemm.c bench/gemm_peer.c bench/gemm_peer.h
