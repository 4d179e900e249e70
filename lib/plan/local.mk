# SPDX-License-Identifier: Apache-2.0
#
# lib/plan/local.mk - job and topology to mesh and rough cost.

noinst_LTLIBRARIES += lib/plan/libplan.la

lib_plan_libplan_la_SOURCES = \
    lib/plan/mesh.c lib/plan/mesh.h \
    lib/plan/rounds.c lib/plan/rounds.h \
    lib/plan/shard.c lib/plan/shard.h \
    lib/plan/tree.c lib/plan/tree.h

unit_tests += \
    tests/unit/test_plan_mesh \
    tests/unit/test_plan_shard \
    tests/unit/test_plan_tree
