# SPDX-License-Identifier: Apache-2.0
#
# lib/data/local.mk - tokenizers, corpora, batching.

noinst_LTLIBRARIES += lib/data/libdata.la

lib_data_libdata_la_LIBADD = $(JANSSON_LIBS) $(UTF8PROC_LIBS)
lib_data_libdata_la_SOURCES = \
    lib/data/batch.c lib/data/batch.h \
    lib/data/bpe.c lib/data/bpe.h \
    lib/data/bpe_chars.c lib/data/bpe_chars.h \
    lib/data/bpe_file.c lib/data/bpe_file.h \
    lib/data/bpe_json.c lib/data/bpe_json.h \
    lib/data/bpe_json_chars.c \
    lib/data/bpe_part.c lib/data/bpe_part.h \
    lib/data/bpe_train.c lib/data/bpe_train.h \
    lib/data/bytemap.c lib/data/bytemap.h \
    lib/data/corpus.c lib/data/corpus.h \
    lib/data/lexicon.c lib/data/lexicon.h \
    lib/data/nfc.c lib/data/nfc.h \
    lib/data/order.c lib/data/order.h \
    lib/data/packs.c lib/data/packs.h \
    lib/data/pairs.c lib/data/pairs.h \
    lib/data/pretoken.c lib/data/pretoken.h \
    lib/data/text.c lib/data/text.h \
    lib/data/tokenizer.c lib/data/tokenizer.h \
    lib/data/tokenizer_bpe.c \
    lib/data/tokenizer_byte.c \
    lib/data/tokenizer_char.c \
    lib/data/tokenizer_file.c \
    lib/data/tokenizer_kind.h \
    lib/data/tokenizer_sentencepiece.c \
    lib/data/tokenizer_word.c \
    lib/data/tokens.c lib/data/tokens.h \
    lib/data/unicode.c lib/data/unicode.h lib/data/unicode_table.h \
    lib/data/utf8.c lib/data/utf8.h

EXTRA_DIST += \
    tests/fixtures/bpe-chars.json \
    tests/fixtures/bpe-gpt2.json \
    tests/fixtures/make_bpe.py \
    tests/fixtures/make_bpe_chars.py \
    tests/fixtures/make_unicode.py \
    tests/unit/bpe_files.h

unit_tests += \
    tests/unit/test_data_batch \
    tests/unit/test_data_bpe \
    tests/unit/test_data_bpe_chars \
    tests/unit/test_data_bpe_file \
    tests/unit/test_data_corpus \
    tests/unit/test_data_nfc \
    tests/unit/test_data_pairs \
    tests/unit/test_data_tokenizer \
    tests/unit/test_mistakes_data
