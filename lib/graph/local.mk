# SPDX-License-Identifier: Apache-2.0
#
# lib/graph/local.mk - nodes, gradients, memory plan, schedule, executor, ops.

noinst_LTLIBRARIES += lib/graph/libgraph.la

lib_graph_libgraph_la_SOURCES =
