# SPDX-License-Identifier: Apache-2.0
#
# lib/data/local.mk - tokenizers, corpora, batching.

noinst_LTLIBRARIES += lib/data/libdata.la

lib_data_libdata_la_SOURCES =
