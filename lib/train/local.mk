# SPDX-License-Identifier: Apache-2.0
#
# lib/train/local.mk - loop, optimizers, schedules, loss scale, checkpoints.

noinst_LTLIBRARIES += lib/train/libtrain.la

lib_train_libtrain_la_SOURCES =
