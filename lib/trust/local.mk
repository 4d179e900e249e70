# SPDX-License-Identifier: Apache-2.0
#
# lib/trust/local.mk - what is known of plugins that did harm.

noinst_LTLIBRARIES += lib/trust/libtrust.la

lib_trust_libtrust_la_LIBADD = $(JANSSON_LIBS)
lib_trust_libtrust_la_SOURCES = \
    lib/trust/crumb.c lib/trust/crumb.h \
    lib/trust/quarantine.c lib/trust/quarantine.h

unit_tests += tests/unit/test_trust
