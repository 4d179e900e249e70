# SPDX-License-Identifier: Apache-2.0
#
# worker/local.mk - nnd-worker, one rank.

# All of the worker but its main, for tests as well.
noinst_LTLIBRARIES += worker/libworker.la

worker_libworker_la_LIBADD = $(HWLOC_LIBS)
worker_libworker_la_SOURCES = \
    worker/topo.c worker/topo.h

unit_tests += tests/unit/test_worker_topo
tests_unit_test_worker_topo_LDADD = worker/libworker.la $(LDADD)
