# SPDX-License-Identifier: Apache-2.0
#
# plugins/ref/local.mk - plain C kernels, the oracle: as a plugin like any other,
# and as libref.la for what has it compiled in.

noinst_LTLIBRARIES += plugins/ref/libref.la
plugin_LTLIBRARIES += plugins/ref/ref.la

plugins_ref_libref_la_CPPFLAGS = -D_GNU_SOURCE $(PLUGIN_INCLUDES)
plugins_ref_libref_la_LIBADD = -lm
plugins_ref_libref_la_SOURCES = \
    plugins/ref/act.c \
    plugins/ref/attend.c \
    plugins/ref/attn.c \
    plugins/ref/cast.c \
    plugins/ref/check.c \
    plugins/ref/choose.c \
    plugins/ref/distill.c \
    plugins/ref/dropout.c \
    plugins/ref/embed.c \
    plugins/ref/gemm.c \
    plugins/ref/grouped.c \
    plugins/ref/impl.h \
    plugins/ref/norm.c \
    plugins/ref/number.c \
    plugins/ref/optim.c \
    plugins/ref/pack.c \
    plugins/ref/permute.c \
    plugins/ref/ref.c plugins/ref/ref.h \
    plugins/ref/rnn.c \
    plugins/ref/rope.c \
    plugins/ref/route.c \
    plugins/ref/rows.c \
    plugins/ref/softmax.c \
    plugins/ref/sort.c \
    plugins/ref/sqnorm.c \
    plugins/ref/step.c \
    plugins/ref/sum.c \
    plugins/ref/xent.c \
    plugins/ref/xent_linear.c

plugins_ref_ref_la_CPPFLAGS = $(PLUGIN_INCLUDES)
plugins_ref_ref_la_LDFLAGS = $(PLUGIN_LINK_FLAGS)
plugins_ref_ref_la_LIBADD = plugins/ref/libref.la
plugins_ref_ref_la_SOURCES = plugins/ref/entry.c

num_tests += \
    tests/num/test_ref_cast \
    tests/num/test_ref_grad \
    tests/num/test_ref_recurrent \
    tests/num/test_ref_value
EXTRA_DIST += tests/num/ref.h
