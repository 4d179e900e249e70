# SPDX-License-Identifier: Apache-2.0
#
# lib/metric/local.mk - BLEU, chrF, ROUGE.

noinst_LTLIBRARIES += lib/metric/libmetric.la

lib_metric_libmetric_la_SOURCES = \
    lib/metric/metric.c lib/metric/metric.h \
    lib/metric/words.c lib/metric/words.h

unit_tests += tests/unit/test_metric
EXTRA_DIST += \
    tests/fixtures/make_metric.py \
    tests/fixtures/metric-refs.tsv \
    tests/fixtures/metric.tsv
