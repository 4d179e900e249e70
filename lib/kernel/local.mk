# SPDX-License-Identifier: Apache-2.0
#
# lib/kernel/local.mk - registry, loader and selection of kernels.  The ref
# plugin is compiled in.

noinst_LTLIBRARIES += lib/kernel/libkernel.la

lib_kernel_libkernel_la_LIBADD = plugins/ref/libref.la lib/trust/libtrust.la -ldl
lib_kernel_libkernel_la_SOURCES = \
    lib/kernel/cpu.c lib/kernel/cpu.h \
    lib/kernel/elf.c lib/kernel/elf.h \
    lib/kernel/folders.c lib/kernel/folders.h \
    lib/kernel/hygiene.c lib/kernel/hygiene.h \
    lib/kernel/kernel.h \
    lib/kernel/loader.c lib/kernel/loader.h \
    lib/kernel/op.c lib/kernel/op.h \
    lib/kernel/registry.c \
    lib/kernel/rule.c lib/kernel/rule.h \
    lib/kernel/sample.c lib/kernel/sample.h lib/kernel/sample_impl.h \
    lib/kernel/sample_attn.c \
    lib/kernel/sample_compare.c \
    lib/kernel/schema.c lib/kernel/schema.h \
    lib/kernel/select.c \
    lib/kernel/since.c lib/kernel/since.h \
    lib/kernel/table.c lib/kernel/table.h \
    lib/kernel/tune.c lib/kernel/tune.h \
    lib/kernel/verify.c lib/kernel/verify.h

unit_tests += \
    tests/unit/test_kernel_load \
    tests/unit/test_kernel_sample \
    tests/unit/test_kernel_select \
    tests/unit/test_kernel_tune
