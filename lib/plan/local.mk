# SPDX-License-Identifier: Apache-2.0
#
# lib/plan/local.mk - job and topology to mesh and rough cost.

noinst_LTLIBRARIES += lib/plan/libplan.la

lib_plan_libplan_la_SOURCES =
