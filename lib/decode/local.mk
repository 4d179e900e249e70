# SPDX-License-Identifier: Apache-2.0
#
# lib/decode/local.mk - beams, sampling.

noinst_LTLIBRARIES += lib/decode/libdecode.la

lib_decode_libdecode_la_SOURCES = \
    lib/decode/decoder.c lib/decode/decoder.h \
    lib/decode/sample.c lib/decode/sample.h \
    lib/decode/search.c lib/decode/search.h

unit_tests += tests/unit/test_decode_sample

num_tests += \
    tests/num/test_decode \
    tests/num/test_mistakes_decode \
    tests/num/test_search
tests_num_test_decode_SOURCES = \
    tests/num/test_decode.c \
    tests/num/scene.c tests/num/scene.h
tests_num_test_search_SOURCES = \
    tests/num/test_search.c \
    tests/num/scene.c tests/num/scene.h
tests_num_test_mistakes_decode_SOURCES = \
    tests/num/test_mistakes_decode.c \
    tests/num/scene.c tests/num/scene.h
tests_num_test_mistakes_decode_LDADD = \
    tests/num/liblab.la $(MPI_COMM_LIBS) $(LDADD)
tests_num_test_decode_LDADD = tests/num/liblab.la $(MPI_COMM_LIBS) $(LDADD)
tests_num_test_search_LDADD = tests/num/liblab.la $(MPI_COMM_LIBS) $(LDADD)
