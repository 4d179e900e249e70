# SPDX-License-Identifier: Apache-2.0
#
# proto/local.mk - the job's schema, the wire, and their generated code.

noinst_LTLIBRARIES += proto/libproto.la

proto_libproto_la_LIBADD = \
    $(ZMQ_LIBS) $(PROTOBUF_C_LIBS) $(YAML_LIBS) $(JANSSON_LIBS)
nodist_proto_libproto_la_SOURCES = \
    proto/job.pb-c.c proto/job.pb-c.h
proto_libproto_la_SOURCES =

# The rule is in Makefile.am.
EXTRA_DIST += proto/job.proto
BUILT_SOURCES += proto/job.pb-c.h
CLEANFILES += proto/job.pb-c.c proto/job.pb-c.h
