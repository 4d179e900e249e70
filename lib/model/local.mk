# SPDX-License-Identifier: Apache-2.0
#
# lib/model/local.mk - one file per block, one per model family.

noinst_LTLIBRARIES += lib/model/libmodel.la

lib_model_libmodel_la_SOURCES =
