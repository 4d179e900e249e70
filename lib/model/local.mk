# SPDX-License-Identifier: Apache-2.0
#
# lib/model/local.mk - one file per block, one per model family.

noinst_LTLIBRARIES += lib/model/libmodel.la

lib_model_libmodel_la_SOURCES = \
    lib/model/attention.c \
    lib/model/block.h \
    lib/model/decoder.c \
    lib/model/embed.c \
    lib/model/encdec.c \
    lib/model/family.h \
    lib/model/mlp.c \
    lib/model/model.c lib/model/model.h \
    lib/model/moe.c \
    lib/model/norm.c \
    lib/model/recurrent.c \
    lib/model/rnnlm.c \
    lib/model/seq2seq.c
