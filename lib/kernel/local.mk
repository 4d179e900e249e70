# SPDX-License-Identifier: Apache-2.0
#
# lib/kernel/local.mk - registry, loader and selection of kernels.

noinst_LTLIBRARIES += lib/kernel/libkernel.la

lib_kernel_libkernel_la_SOURCES =
