# SPDX-License-Identifier: Apache-2.0
#
# plugins/blis/local.mk - matrix products over BLIS.  It shares vectors, tables
# and the queue of tasks with plugins/cpu.

if WITH_BLIS
plugin_LTLIBRARIES += plugins/blis/blis.la

BLIS_PLUGIN_CPPFLAGS = $(CPU_CPPFLAGS) $(BLIS_CFLAGS)

blis_kernels = \
    plugins/cpu/convert.c \
    plugins/cpu/gemm_few.c

noinst_LTLIBRARIES += plugins/blis/libbase.la
plugins_blis_libbase_la_CPPFLAGS = $(BLIS_PLUGIN_CPPFLAGS) -DISA_SUFFIX=base
plugins_blis_libbase_la_CFLAGS = $(CPU_CFLAGS) $(ISA_BASE_FLAGS)
plugins_blis_libbase_la_SOURCES = $(blis_kernels)

plugins_blis_blis_la_CPPFLAGS = $(BLIS_PLUGIN_CPPFLAGS)
plugins_blis_blis_la_CFLAGS = $(CPU_CFLAGS)
plugins_blis_blis_la_LDFLAGS = $(PLUGIN_LINK_FLAGS)
plugins_blis_blis_la_LIBADD = plugins/blis/libbase.la $(BLIS_LIBS)
plugins_blis_blis_la_SOURCES = \
    plugins/blis/gemm.c \
    plugins/blis/plugin.c \
    plugins/blis/product.c plugins/blis/product.h \
    plugins/cpu/calls.c \
    plugins/cpu/op.c \
    plugins/cpu/par.c \
    plugins/cpu/work.c

if X86_64
noinst_LTLIBRARIES += plugins/blis/libv3.la plugins/blis/libv4.la
plugins_blis_libv3_la_CPPFLAGS = $(BLIS_PLUGIN_CPPFLAGS) -DISA_SUFFIX=v3
plugins_blis_libv3_la_CFLAGS = $(CPU_CFLAGS) $(ISA_V3_FLAGS)
plugins_blis_libv3_la_SOURCES = $(blis_kernels)
plugins_blis_libv4_la_CPPFLAGS = $(BLIS_PLUGIN_CPPFLAGS) -DISA_SUFFIX=v4
plugins_blis_libv4_la_CFLAGS = $(CPU_CFLAGS) $(ISA_V4_FLAGS)
plugins_blis_libv4_la_SOURCES = $(blis_kernels)
plugins_blis_blis_la_LIBADD += plugins/blis/libv3.la plugins/blis/libv4.la
endif
endif
