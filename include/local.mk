# SPDX-License-Identifier: Apache-2.0
#
# include/local.mk - what is installed for those who write plugins.

nndincludedir = $(includedir)/nnd
nndinclude_HEADERS = \
    include/nnd/ops.h \
    include/nnd/plugin.h \
    include/nnd/tokenizer.h

pkgconfigdir = $(libdir)/pkgconfig
nodist_pkgconfig_DATA = include/nnd-plugin.pc

sys_tests += tests/sys/plugin_abi.test
EXTRA_DIST += \
    tests/plugins/abi-1.0/host.c \
    tests/plugins/abi-1.0/plugin.h \
    tests/plugins/old-gemm.c \
    tests/plugins/abi-table \
    tests/plugins/abi.table
