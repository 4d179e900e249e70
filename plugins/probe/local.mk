# SPDX-License-Identifier: Apache-2.0
#
# plugins/probe/local.mk - nnd-plugin-probe: meets an unknown plugin first.

pkglibexec_PROGRAMS += plugins/probe/nnd-plugin-probe

plugins_probe_nnd_plugin_probe_CPPFLAGS = $(PROGRAM_CPPFLAGS)
plugins_probe_nnd_plugin_probe_LDADD = \
    lib/kernel/libkernel.la lib/trust/libtrust.la lib/tensor/libtensor.la $(BASE_LIBS) \
    $(JANSSON_LIBS) -lm
plugins_probe_nnd_plugin_probe_SOURCES = \
    plugins/probe/call.c plugins/probe/call.h \
    plugins/probe/check.c \
    plugins/probe/child.c plugins/probe/child.h \
    plugins/probe/compare.c plugins/probe/compare.h \
    plugins/probe/endure.c plugins/probe/endure.h \
    plugins/probe/family.c plugins/probe/family.h \
    plugins/probe/family_act.c \
    plugins/probe/family_attend.c \
    plugins/probe/family_attn.c \
    plugins/probe/family_cast.c \
    plugins/probe/family_choose.c \
    plugins/probe/family_distill.c \
    plugins/probe/family_gemm.c \
    plugins/probe/family_moe.c \
    plugins/probe/family_norm.c \
    plugins/probe/family_outside.c \
    plugins/probe/family_rnn.c \
    plugins/probe/family_rows.c \
    plugins/probe/family_softmax.c \
    plugins/probe/family_step.c \
    plugins/probe/family_xent.c \
    plugins/probe/grad.c plugins/probe/grad.h \
    plugins/probe/grad_outside.c plugins/probe/grad_outside.h \
    plugins/probe/group.c \
    plugins/probe/info.c \
    plugins/probe/judge.c plugins/probe/judge.h \
    plugins/probe/list.c \
    plugins/probe/main.c \
    plugins/probe/meet.c \
    plugins/probe/probe.h \
    plugins/probe/bench.c \
    plugins/probe/number.c plugins/probe/number.h \
    plugins/probe/pack.c plugins/probe/pack.h \
    plugins/probe/shape.c plugins/probe/shape.h \
    plugins/probe/shape_build.h \
    plugins/probe/shape_choose.c \
    plugins/probe/shape_product.c \
    plugins/probe/shape_rows.c \
    plugins/probe/why.c \
    plugins/probe/run.c plugins/probe/run.h \
    plugins/probe/watch.c plugins/probe/watch.h

slow_tests += \
    tests/sys/plugin_check.test \
    tests/sys/plugin_job.test
sys_tests += \
    tests/sys/plugin_ask.test \
    tests/sys/plugin_faults.test \
    tests/sys/plugin_load.test
EXTRA_DIST += \
    tests/plugins/bad.h \
    tests/plugins/bad-grad.c \
    tests/plugins/bad-job.c \
    tests/plugins/bad-sum.c \
    tests/plugins/bad-kernel.c \
    tests/plugins/bad-load.c
