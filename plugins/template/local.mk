# SPDX-License-Identifier: Apache-2.0
#
# plugins/template/local.mk - what `nnctl plugin new` writes; it is part of nnctl.

template_sources = \
    plugins/template/plugin.c \
    plugins/template/Makefile
EXTRA_DIST += $(template_sources)
sys_tests += tests/sys/plugin_kit.test
BUILT_SOURCES += client/template.c
CLEANFILES += client/template.c

# Each file as one string.
client/template.c: $(template_sources)
	$(AM_V_GEN)$(MKDIR_P) client && { \
	echo '/* Made from plugins/template. */'; \
	echo '#include "client/template.h"'; \
	for f in plugin.c Makefile; do \
	    echo "const char template_$${f%.c}[] ="; \
	    sed -e 's/[\\"]/\\&/g' -e 's/	/\\t/g' -e 's/.*/    "&\\n"/' \
	        $(srcdir)/plugins/template/$$f; \
	    echo '    ;'; \
	done; } >$@.tmp && mv $@.tmp $@
