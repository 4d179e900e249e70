# SPDX-License-Identifier: Apache-2.0
#
# lib/graph/local.mk - nodes, gradients, memory plan, schedule, executor, ops.

noinst_LTLIBRARIES += lib/graph/libgraph.la

lib_graph_libgraph_la_SOURCES = \
    lib/graph/again.c lib/graph/again.h \
    lib/graph/bind.c \
    lib/graph/exec.c lib/graph/exec.h \
    lib/graph/exec_create.c \
    lib/graph/exec_impl.h \
    lib/graph/exec_record.c \
    lib/graph/grad.c lib/graph/grad.h \
    lib/graph/graph.c lib/graph/graph.h \
    lib/graph/memory.c lib/graph/memory.h \
    lib/graph/mirror.c lib/graph/mirror.h \
    lib/graph/op.h lib/graph/op_list.h lib/graph/op_table.c lib/graph/ops.h \
    lib/graph/op_act.c \
    lib/graph/op_attend.c \
    lib/graph/op_attention.c \
    lib/graph/op_choose.c \
    lib/graph/op_distill.c \
    lib/graph/op_dropout.c \
    lib/graph/op_embed.c \
    lib/graph/op_expert.c \
    lib/graph/op_grouped.c lib/graph/op_grouped.h \
    lib/graph/op_grouped_swiglu.c \
    lib/graph/op_linear.c \
    lib/graph/op_norm.c \
    lib/graph/op_optim.c \
    lib/graph/op_outside.c \
    lib/graph/op_pad.c \
    lib/graph/op_permute.c \
    lib/graph/op_recurrent.c \
    lib/graph/op_report.c \
    lib/graph/op_rope.c \
    lib/graph/op_route.c \
    lib/graph/op_rows.c \
    lib/graph/op_softmax.c \
    lib/graph/op_sort.c \
    lib/graph/op_sqnorm.c \
    lib/graph/op_steps.c \
    lib/graph/op_stats.c \
    lib/graph/op_sum.c \
    lib/graph/op_swiglu.c \
    lib/graph/op_view.c \
    lib/graph/op_want.c \
    lib/graph/op_xent.c \
    lib/graph/op_xent_linear.c \
    lib/graph/op_zero.c \
    lib/graph/overlap.c lib/graph/overlap.h \
    lib/graph/pack.c lib/graph/pack.h \
    lib/graph/peers.c lib/graph/peers.h \
    lib/graph/trace.c lib/graph/trace.h \
    lib/graph/track.c lib/graph/track.h

unit_tests += tests/unit/test_graph_again
unit_tests += tests/unit/test_graph_ops

# Every operator, found through op_table.
num_tests += tests/num/test_op_grad
tests_num_test_op_grad_SOURCES = \
    tests/num/lab_comm.c tests/num/lab_comm.h \
    tests/num/op_cases.c tests/num/op_cases.h \
    tests/num/op_cases_moe.c \
    tests/num/op_cases_random.c \
    tests/num/op_cases_recurrent.c \
    tests/num/op_cases_step.c \
    tests/num/op_lab.c tests/num/op_lab.h \
    tests/num/test_op_grad.c

num_tests += tests/num/test_op_mixed
tests_num_test_op_mixed_SOURCES = \
    tests/num/lab_comm.c tests/num/lab_comm.h \
    tests/num/op_lab.c tests/num/op_lab.h \
    tests/num/test_op_mixed.c

# A device whose memory the host cannot touch; the test compiles it.
slow_tests += tests/sys/device.test
EXTRA_DIST += tests/plugins/sim.c

# Operators and types that a plugin brings.
num_tests += tests/num/test_outside
tests_num_test_outside_SOURCES = \
    tests/num/lab_comm.c tests/num/lab_comm.h \
    tests/num/op_lab.c tests/num/op_lab.h \
    tests/num/test_outside.c
EXTRA_DIST += tests/plugins/toy.c
