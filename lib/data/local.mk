# SPDX-License-Identifier: Apache-2.0
#
# lib/data/local.mk - tokenizers, corpora, batching.

noinst_LTLIBRARIES += lib/data/libdata.la

lib_data_libdata_la_LIBADD = $(JANSSON_LIBS)
lib_data_libdata_la_SOURCES = \
    lib/data/batch.c lib/data/batch.h \
    lib/data/corpus.c lib/data/corpus.h \
    lib/data/lexicon.c lib/data/lexicon.h \
    lib/data/order.c lib/data/order.h \
    lib/data/packs.c lib/data/packs.h \
    lib/data/pairs.c lib/data/pairs.h \
    lib/data/text.c lib/data/text.h \
    lib/data/tokenizer.c lib/data/tokenizer.h \
    lib/data/tokenizer_byte.c \
    lib/data/tokenizer_char.c \
    lib/data/tokenizer_kind.h \
    lib/data/tokenizer_word.c \
    lib/data/tokens.c lib/data/tokens.h \
    lib/data/utf8.c lib/data/utf8.h

unit_tests += \
    tests/unit/test_data_batch \
    tests/unit/test_data_corpus \
    tests/unit/test_data_pairs \
    tests/unit/test_data_tokenizer
