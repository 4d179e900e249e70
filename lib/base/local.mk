# SPDX-License-Identifier: Apache-2.0
#
# lib/base/local.mk - the ground layer: errors, memory, text, time, files.

noinst_LTLIBRARIES += lib/base/libbase.la

lib_base_libbase_la_LIBADD = $(CRYPTO_LIBS) -lpthread -lm
lib_base_libbase_la_SOURCES = \
    lib/base/arena.c lib/base/arena.h \
    lib/base/buf.c lib/base/buf.h \
    lib/base/clock.c lib/base/clock.h \
    lib/base/err.c lib/base/err.h \
    lib/base/fs.c lib/base/fs.h \
    lib/base/log.c lib/base/log.h \
    lib/base/map.c lib/base/map.h \
    lib/base/oom.c lib/base/oom.h \
    lib/base/pool.c lib/base/pool.h \
    lib/base/sha256.c lib/base/sha256.h \
    lib/base/str.c lib/base/str.h

unit_tests += tests/unit/test_base_arena
unit_tests += tests/unit/test_base_buf
unit_tests += tests/unit/test_base_clock
unit_tests += tests/unit/test_base_err
unit_tests += tests/unit/test_base_fs
unit_tests += tests/unit/test_base_log
unit_tests += tests/unit/test_base_map
unit_tests += tests/unit/test_base_pool
unit_tests += tests/unit/test_base_sha256
unit_tests += tests/unit/test_base_str
