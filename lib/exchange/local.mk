# SPDX-License-Identifier: Apache-2.0
#
# lib/exchange/local.mk - models from and to other programs' formats.

noinst_LTLIBRARIES += lib/exchange/libexchange.la

lib_exchange_libexchange_la_LIBADD = $(JANSSON_LIBS)
lib_exchange_libexchange_la_SOURCES = \
    lib/exchange/hf_config.c lib/exchange/hf_config.h \
    lib/exchange/hf_export.c lib/exchange/hf_export.h \
    lib/exchange/hf_folder.c lib/exchange/hf_folder.h \
    lib/exchange/hf_import.c lib/exchange/hf_import.h \
    lib/exchange/hf_tensor.c lib/exchange/hf_tensor.h \
    lib/exchange/origin.c lib/exchange/origin.h \
    lib/exchange/outline.c lib/exchange/outline.h

# What a checkpoint says, for tests that compare it with other programs.
check_PROGRAMS += tests/num/logits
tests_num_logits_SOURCES = tests/num/logits.c
tests_num_logits_LDADD = \
    worker/libworker.la $(MPI_COMM_LIBS) $(ENGINE_LIBS) -lm

unit_tests += tests/unit/test_exchange_hf
sys_tests += tests/num/exchange_hf.test tests/sys/exchange.test
EXTRA_DIST += tests/num/exchange_hf.py
