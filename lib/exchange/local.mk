# SPDX-License-Identifier: Apache-2.0
#
# lib/exchange/local.mk - models from and to other programs' formats.

noinst_LTLIBRARIES += lib/exchange/libexchange.la

lib_exchange_libexchange_la_LIBADD = $(PROTOBUF_C_LIBS) $(JANSSON_LIBS)
nodist_lib_exchange_libexchange_la_SOURCES = \
    lib/exchange/onnx.pb-c.c lib/exchange/onnx.pb-c.h
lib_exchange_libexchange_la_SOURCES = \
    lib/exchange/hf_config.c lib/exchange/hf_config.h \
    lib/exchange/hf_export.c lib/exchange/hf_export.h \
    lib/exchange/hf_folder.c lib/exchange/hf_folder.h \
    lib/exchange/hf_import.c lib/exchange/hf_import.h \
    lib/exchange/hf_tensor.c lib/exchange/hf_tensor.h \
    lib/exchange/onnx_body.c lib/exchange/onnx_body.h \
    lib/exchange/onnx_emit.c lib/exchange/onnx_emit.h \
    lib/exchange/onnx_export.c lib/exchange/onnx_export.h \
    lib/exchange/onnx_info.c lib/exchange/onnx_info.h \
    lib/exchange/onnx_model.c lib/exchange/onnx_model.h \
    lib/exchange/onnx_recurrent.c \
    lib/exchange/origin.c lib/exchange/origin.h \
    lib/exchange/outline.c lib/exchange/outline.h

EXTRA_DIST += lib/exchange/onnx.proto
BUILT_SOURCES += lib/exchange/onnx.pb-c.h
CLEANFILES += lib/exchange/onnx.pb-c.c lib/exchange/onnx.pb-c.h

# What a checkpoint says, for tests that compare it with other programs.
check_PROGRAMS += tests/num/logits
tests_num_logits_SOURCES = tests/num/logits.c
tests_num_logits_LDADD = \
    worker/libworker.la $(MPI_COMM_LIBS) $(ENGINE_LIBS) -lm

unit_tests += tests/unit/test_exchange_hf tests/unit/test_exchange_onnx
sys_tests += \
    tests/num/exchange_hf.test \
    tests/num/exchange_onnx.test \
    tests/sys/exchange.test
EXTRA_DIST += tests/num/exchange_hf.py tests/num/exchange_onnx.py
