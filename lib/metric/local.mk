# SPDX-License-Identifier: Apache-2.0
#
# lib/metric/local.mk - BLEU, chrF, ROUGE, perplexity.

noinst_LTLIBRARIES += lib/metric/libmetric.la

lib_metric_libmetric_la_SOURCES =
