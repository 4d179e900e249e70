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

client_nnctl_CPPFLAGS = $(PROGRAM_CPPFLAGS) -DNND_SBINDIR='"$(sbindir)"'
client_nnctl_SOURCES = \
    client/child.c client/child.h \
    client/client.c client/client.h \
    client/cmd.h \
    client/cmd_change.c \
    client/cmd_events.c \
    client/cmd_generate.c \
    client/cmd_help.c \
    client/cmd_logs.c \
    client/cmd_metrics.c \
    client/cmd_plan.c \
    client/cmd_plugin.c \
    client/cmd_run.c \
    client/cmd_show.c \
    client/cmd_status.c \
    client/cmd_submit.c \
    client/cmd_wait.c \
    client/cmd_watch.c \
    client/doc.c \
    client/follow.c client/follow.h \
    client/jobfile.c client/jobfile.h \
    client/main.c \
    client/private.c client/private.h \
    client/verb.h \
    client/verbs.c
client_nnctl_LDADD = \
    client/libclient.la \
    proto/libproto.la \
    proto/libjob.la \
    $(BASE_LIBS) \
    -lm
