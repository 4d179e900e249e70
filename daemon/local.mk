# SPDX-License-Identifier: Apache-2.0
#
# daemon/local.mk - nnd, the coordinator, and nnd-shepherd.

noinst_LTLIBRARIES += daemon/libdaemon.la

daemon_libdaemon_la_LIBADD = $(SQLITE_LIBS) $(ZMQ_LIBS) $(HWLOC_LIBS)
daemon_libdaemon_la_SOURCES = \
    daemon/job.c daemon/job.h \
    daemon/proc.c daemon/proc.h \
    daemon/state.c daemon/state.h \
    daemon/status.c daemon/status.h \
    daemon/store.c daemon/store.h \
    daemon/store_impl.h \
    daemon/store_read.c

pkglibexec_PROGRAMS += nnd-shepherd
