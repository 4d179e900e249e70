# SPDX-License-Identifier: Apache-2.0
#
# lib/decode/local.mk - greedy search, beams, sampling.

noinst_LTLIBRARIES += lib/decode/libdecode.la

lib_decode_libdecode_la_SOURCES =
