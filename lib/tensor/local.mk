# SPDX-License-Identifier: Apache-2.0
#
# lib/tensor/local.mk - dtype, shape, storage, Philox.

noinst_LTLIBRARIES += lib/tensor/libtensor.la

lib_tensor_libtensor_la_SOURCES =
