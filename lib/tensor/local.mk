# SPDX-License-Identifier: Apache-2.0
#
# lib/tensor/local.mk - dtype, shape, storage, Philox.

noinst_LTLIBRARIES += lib/tensor/libtensor.la

lib_tensor_libtensor_la_SOURCES = \
    lib/tensor/dtype.c lib/tensor/dtype.h \
    lib/tensor/philox.c lib/tensor/philox.h

unit_tests += \
    tests/unit/test_tensor_dtype \
    tests/unit/test_tensor_philox
