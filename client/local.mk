# SPDX-License-Identifier: Apache-2.0
#
# client/local.mk - nnctl, the client.

bin_PROGRAMS += client/nnctl
noinst_LTLIBRARIES += client/libclient.la

# What unit tests are interested in; the rest are verbs.
client_libclient_la_LIBADD = $(JANSSON_LIBS)
client_libclient_la_SOURCES = \
    client/cli.c client/cli.h \
    client/progress.c client/progress.h \
    client/table.c client/table.h \
    client/term.c client/term.h \
    client/wire_json.c client/wire_json.h

client_nnctl_CPPFLAGS = $(PROGRAM_CPPFLAGS) -DNND_SBINDIR='"$(sbindir)"' \
    -DNND_BINDIR='"$(bindir)"'
client_nnctl_SOURCES = \
    client/child.c client/child.h \
    client/client.c client/client.h \
    client/cmd.h \
    client/cmd_average.c \
    client/cmd_change.c \
    client/cmd_doctor.c \
    client/cmd_eval.c \
    client/cmd_events.c \
    client/cmd_export.c \
    client/cmd_generate.c \
    client/cmd_help.c \
    client/cmd_key.c \
    client/cmd_logs.c \
    client/cmd_metrics.c \
    client/cmd_plan.c \
    client/cmd_plot.c \
    client/cmd_plugin.c \
    client/cmd_purge.c \
    client/cmd_reload.c \
    client/cmd_run.c \
    client/cmd_show.c \
    client/cmd_status.c \
    client/cmd_submit.c \
    client/cmd_tokenizer.c \
    client/cmd_translate.c \
    client/cmd_wait.c \
    client/cmd_watch.c \
    client/doc.c \
    client/fit.c client/fit.h \
    client/follow.c client/follow.h \
    client/jobfile.c client/jobfile.h \
    client/keyring.c client/keyring.h \
    client/main.c \
    client/model.c client/model.h \
    client/private.c client/private.h \
    client/select.c client/select.h \
    client/sweep.c client/sweep.h \
    client/template.h \
    client/verb.h \
    client/verbs.c
nodist_client_nnctl_SOURCES = client/template.c
client_nnctl_LDADD = \
    client/libclient.la \
    lib/trust/libtrust.la \
    proto/libproto.la \
    proto/libjob.la \
    $(BASE_LIBS) \
    -lm

# The manual and the completion are written by the program that knows its verbs.
nodist_man_MANS += doc/nnctl.1
bashcompletiondir = $(datadir)/bash-completion/completions
nodist_bashcompletion_DATA = doc/completion/nnctl
EXTRA_DIST += doc/nnctl.1.in
CLEANFILES += doc/nnctl.1 doc/completion/nnctl

doc/nnctl.1: doc/nnctl.1.in client/nnctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc && { \
	    sed '/^@VERBS@$$/,$$d' $(srcdir)/doc/nnctl.1.in && \
	    client/nnctl$(EXEEXT) help --man && \
	    sed '1,/^@VERBS@$$/d' $(srcdir)/doc/nnctl.1.in; } >$@.tmp && mv $@.tmp $@

doc/completion/nnctl: client/nnctl$(EXEEXT)
	$(AM_V_GEN)$(MKDIR_P) doc/completion && \
	client/nnctl$(EXEEXT) completion bash >$@.tmp && mv $@.tmp $@

check_PROGRAMS += tests/sys/json-check
tests_sys_json_check_SOURCES = tests/sys/json-check.c
tests_sys_json_check_LDADD = $(JANSSON_LIBS)
sys_tests += \
    tests/sys/client_events.test \
    tests/sys/client_jobs.test \
    tests/sys/client_run.test \
    tests/sys/client_words.test
unit_tests += \
    tests/unit/test_client_progress \
    tests/unit/test_client_text
client_test_libs = \
    client/libclient.la \
    proto/libproto.la \
    $(BASE_LIBS) \
    $(CMOCKA_LIBS) \
    -lm
tests_unit_test_client_progress_LDADD = $(client_test_libs)
tests_unit_test_client_text_LDADD = $(client_test_libs)
