# SPDX-License-Identifier: Apache-2.0
#
# lib/format/local.mk - safetensors, HF, ONNX, TensorBoard files.

noinst_LTLIBRARIES += lib/format/libformat.la

lib_format_libformat_la_SOURCES =
