# SPDX-License-Identifier: Apache-2.0
#
# lib/base/local.mk - the ground layer: errors, memory, text, time, files.

noinst_LTLIBRARIES += lib/base/libbase.la

lib_base_libbase_la_LIBADD = $(CRYPTO_LIBS) -lpthread
lib_base_libbase_la_SOURCES = \
    lib/base/arena.h \
    lib/base/buf.h \
    lib/base/clock.h \
    lib/base/err.c lib/base/err.h \
    lib/base/fs.h \
    lib/base/log.h \
    lib/base/map.h \
    lib/base/pool.h \
    lib/base/sha256.h \
    lib/base/str.h

unit_tests += tests/unit/test_base_err
