# SPDX-License-Identifier: Apache-2.0
#
# proto/local.mk - the job's schema, the wire, and their generated code.
#
# libjob is a job and nothing else: the worker links it without ZeroMQ.

noinst_LTLIBRARIES += proto/libjob.la proto/libproto.la

proto_libjob_la_LIBADD = $(PROTOBUF_C_LIBS) $(YAML_LIBS) $(JANSSON_LIBS)
nodist_proto_libjob_la_SOURCES = \
    proto/job.pb-c.c proto/job.pb-c.h
proto_libjob_la_SOURCES = \
    proto/field.c proto/field.h \
    proto/rules.c proto/rules.h \
    proto/spec.c proto/spec.h proto/spec_impl.h \
    proto/spec_check.c \
    proto/spec_data.c \
    proto/spec_hints.c \
    proto/spec_kernels.c \
    proto/spec_load.c \
    proto/spec_print.c \
    proto/spec_resolve.c \
    proto/spec_wire.c

proto_libproto_la_LIBADD = $(ZMQ_LIBS) $(PROTOBUF_C_LIBS)
nodist_proto_libproto_la_SOURCES = \
    proto/conf.pb-c.c proto/conf.pb-c.h \
    proto/wire.pb-c.c proto/wire.pb-c.h
proto_libproto_la_SOURCES = \
    proto/chan.c proto/chan.h \
    proto/chan_frame.c \
    proto/conf.c proto/conf.h \
    proto/keys.c proto/keys.h \
    proto/line.c proto/line.h

# What reads a job needs nothing of the engine.
spec_test_libs = proto/libproto.la proto/libjob.la $(BASE_LIBS) $(CMOCKA_LIBS)
sys_tests += tests/sys/pages.test
unit_tests += \
    tests/unit/test_keys \
    tests/unit/test_spec \
    tests/unit/test_spec_bad \
    tests/unit/test_spec_examples \
    tests/unit/test_spec_field \
    tests/unit/test_spec_rules \
    tests/unit/test_spec_wire
tests_unit_test_keys_LDADD = $(spec_test_libs)
tests_unit_test_spec_LDADD = $(spec_test_libs)
tests_unit_test_spec_bad_LDADD = $(spec_test_libs)
tests_unit_test_spec_examples_LDADD = $(spec_test_libs)
tests_unit_test_spec_field_LDADD = $(spec_test_libs)
tests_unit_test_spec_rules_LDADD = $(spec_test_libs)
tests_unit_test_spec_wire_LDADD = $(spec_test_libs)

# The rule is in Makefile.am.
EXTRA_DIST += proto/conf.proto proto/job.proto proto/wire.proto
BUILT_SOURCES += proto/conf.pb-c.h proto/job.pb-c.h proto/wire.pb-c.h
CLEANFILES += \
    proto/conf.pb-c.c proto/conf.pb-c.h \
    proto/job.pb-c.c proto/job.pb-c.h \
    proto/wire.pb-c.c proto/wire.pb-c.h

# The reference pages are written by a program that knows the schemas.
noinst_PROGRAMS += proto/reference
proto_reference_SOURCES = proto/reference.c
proto_reference_LDADD = $(JOB_LIBS)
nodist_man_MANS += doc/nnd-conf.5 doc/nnd-job.5
CLEANFILES += doc/nnd-conf.5 doc/nnd-job.5
doc/nnd-conf.5 doc/nnd-job.5: proto/reference$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && page=$(@F) && page=$${page#nnd-} && \
	    proto/reference$(EXEEXT) $${page%.5} >$@.tmp && mv $@.tmp $@
