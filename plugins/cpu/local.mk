# SPDX-License-Identifier: Apache-2.0
#
# plugins/cpu/local.mk - kernels for this processor.  What computes is compiled
# once for each instruction set, from the same sources and to the same bits.

plugin_LTLIBRARIES += plugins/cpu/cpu.la

CPU_CFLAGS = $(AM_CFLAGS) -fno-math-errno -Wno-psabi
CPU_CPPFLAGS = -D_GNU_SOURCE -I$(srcdir) $(PLUGIN_INCLUDES)

cpu_kernels = \
    plugins/cpu/act.c \
    plugins/cpu/attend.c \
    plugins/cpu/choose.c \
    plugins/cpu/distill.c \
    plugins/cpu/embed.c \
    plugins/cpu/families.c \
    plugins/cpu/gemm_few.c \
    plugins/cpu/norm.c \
    plugins/cpu/optim.c \
    plugins/cpu/permute.c \
    plugins/cpu/rnn_gate.h \
    plugins/cpu/rnn_tile.h \
    plugins/cpu/rope.c \
    plugins/cpu/route.c \
    plugins/cpu/rows.c \
    plugins/cpu/softmax.c \
    plugins/cpu/sum.c \
    plugins/cpu/xent.c

# These make kernels of their own where the processor multiplies pairs of bf16.
cpu_products = \
    plugins/cpu/attn_bwd.c \
    plugins/cpu/attn_fwd.c \
    plugins/cpu/convert.c \
    plugins/cpu/gemm.c \
    plugins/cpu/gemm_end.c \
    plugins/cpu/gemm_pack.c \
    plugins/cpu/gemm_rate.c \
    plugins/cpu/gemm_task.c \
    plugins/cpu/gemm_tile.c \
    plugins/cpu/grouped.c \
    plugins/cpu/rnn_bwd.c \
    plugins/cpu/rnn_fwd.c \
    plugins/cpu/xent_linear.c

noinst_LTLIBRARIES += plugins/cpu/libbase.la
plugins_cpu_libbase_la_CPPFLAGS = $(CPU_CPPFLAGS) -DISA_SUFFIX=base
plugins_cpu_libbase_la_CFLAGS = $(CPU_CFLAGS) $(ISA_BASE_FLAGS)
plugins_cpu_libbase_la_SOURCES = $(cpu_kernels) $(cpu_products)

plugins_cpu_cpu_la_CPPFLAGS = $(CPU_CPPFLAGS)
plugins_cpu_cpu_la_LDFLAGS = $(PLUGIN_LINK_FLAGS)
plugins_cpu_cpu_la_LIBADD = plugins/cpu/libbase.la
plugins_cpu_cpu_la_SOURCES = \
    plugins/cpu/calls.c \
    plugins/cpu/op.c plugins/cpu/op.h \
    plugins/cpu/par.c plugins/cpu/par.h \
    plugins/cpu/act.h \
    plugins/cpu/attn.h \
    plugins/cpu/attn_tile.h \
    plugins/cpu/attn_word.h \
    plugins/cpu/gemm.h \
    plugins/cpu/philox.h \
    plugins/cpu/side.h \
    plugins/cpu/plugin.c \
    plugins/cpu/vec.h \
    plugins/cpu/vmath.h \
    plugins/cpu/work.c plugins/cpu/work.h

if X86_64
ISA_BASE_FLAGS = -march=x86-64-v2
ISA_V3_FLAGS = -march=x86-64-v3
ISA_V4_FLAGS = -march=x86-64-v4

noinst_LTLIBRARIES += plugins/cpu/libv3.la plugins/cpu/libv4.la
plugins_cpu_libv3_la_CPPFLAGS = $(CPU_CPPFLAGS) -DISA_SUFFIX=v3
plugins_cpu_libv3_la_CFLAGS = $(CPU_CFLAGS) $(ISA_V3_FLAGS)
plugins_cpu_libv3_la_SOURCES = $(cpu_kernels) $(cpu_products)
plugins_cpu_libv4_la_CPPFLAGS = $(CPU_CPPFLAGS) -DISA_SUFFIX=v4
plugins_cpu_libv4_la_CFLAGS = $(CPU_CFLAGS) $(ISA_V4_FLAGS)
plugins_cpu_libv4_la_SOURCES = $(cpu_kernels) $(cpu_products)
noinst_LTLIBRARIES += plugins/cpu/libbf16.la
plugins_cpu_libbf16_la_CPPFLAGS = $(CPU_CPPFLAGS) -DISA_SUFFIX=bf16
plugins_cpu_libbf16_la_CFLAGS = $(CPU_CFLAGS) $(ISA_V4_FLAGS) -mavx512bf16
plugins_cpu_libbf16_la_SOURCES = plugins/cpu/families_bf16.c $(cpu_products)
plugins_cpu_cpu_la_LIBADD += plugins/cpu/libv3.la plugins/cpu/libv4.la
plugins_cpu_cpu_la_LIBADD += plugins/cpu/libbf16.la
endif

# Tests of the plugins cpu and blis, over the same calls.
cpu_case_sources = tests/unit/cpu_cases.c tests/unit/cpu_cases.h \
    tests/unit/cpu_cases_loss.c \
    tests/unit/cpu_cases_recurrent.c
slow_tests += tests/sys/plugin_fast.test
unit_tests += tests/unit/test_cpu_math tests/unit/test_cpu_bits tests/unit/test_cpu_rows
unit_tests += tests/unit/test_cpu_calls tests/unit/test_cpu_work
tests_unit_test_cpu_work_SOURCES = tests/unit/test_cpu_work.c plugins/cpu/par.c \
    plugins/cpu/work.c
tests_unit_test_cpu_math_CFLAGS = $(CPU_CFLAGS)
tests_unit_test_cpu_bits_SOURCES = tests/unit/test_cpu_bits.c $(cpu_case_sources)
tests_unit_test_cpu_calls_SOURCES = tests/unit/test_cpu_calls.c $(cpu_case_sources)
tests_unit_test_cpu_rows_SOURCES = tests/unit/test_cpu_rows.c $(cpu_case_sources)
