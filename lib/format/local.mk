# SPDX-License-Identifier: Apache-2.0
#
# lib/format/local.mk - safetensors, HF, ONNX, TensorBoard files.

noinst_LTLIBRARIES += lib/format/libformat.la

lib_format_libformat_la_LIBADD = $(JANSSON_LIBS)
lib_format_libformat_la_SOURCES = \
    lib/format/hf.c lib/format/hf.h \
    lib/format/safetensors.h \
    lib/format/safetensors_read.c \
    lib/format/safetensors_type.c lib/format/safetensors_type.h \
    lib/format/safetensors_write.c

unit_tests += tests/unit/test_format_hf
unit_tests += tests/unit/test_format_safetensors
