# SPDX-License-Identifier: Apache-2.0
#
# plugins/tokenizers/local.mk - tokenizers that are loaded; each links what it needs.
# Their symbols are kept in by a script, since templates of C++ come out of any list.

EXTRA_DIST += \
    plugins/tokenizers/exports.map \
    plugins/tokenizers/sentencepiece/sentencepiece.cc

if WITH_SENTENCEPIECE
tokenizer_LTLIBRARIES += plugins/tokenizers/sentencepiece/sentencepiece.la
plugins_tokenizers_sentencepiece_sentencepiece_la_CPPFLAGS = $(PLUGIN_INCLUDES) \
    -DSENTENCEPIECE_VERSION='"$(SENTENCEPIECE_VERSION)"'
plugins_tokenizers_sentencepiece_sentencepiece_la_CXXFLAGS = -std=c++17 -Wall -Wextra \
    $(SENTENCEPIECE_CFLAGS) $(WERROR_FLAGS) $(SANITIZER_FLAGS)
plugins_tokenizers_sentencepiece_sentencepiece_la_LDFLAGS = $(AM_LDFLAGS) -module \
    -avoid-version -shared -Wl,--version-script=$(srcdir)/plugins/tokenizers/exports.map
plugins_tokenizers_sentencepiece_sentencepiece_la_LIBADD = $(SENTENCEPIECE_LIBS)
plugins_tokenizers_sentencepiece_sentencepiece_la_SOURCES = \
    plugins/tokenizers/sentencepiece/sentencepiece.cc
endif
