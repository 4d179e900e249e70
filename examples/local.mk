# SPDX-License-Identifier: Apache-2.0
#
# examples/local.mk - job files and the demo.

examplesdir = $(docdir)/examples
dist_examples_DATA = \
    examples/base.yaml \
    examples/block-dot-product.yaml \
    examples/block-flash.yaml \
    examples/block-moe.yaml \
    examples/block-multi-head.yaml \
    examples/block-rotary.yaml \
    examples/block-single-head.yaml \
    examples/demo.yaml \
    examples/dense.yaml \
    examples/en-de.yaml \
    examples/en-fr.yaml \
    examples/gpt2.yaml \
    examples/rnnlm.yaml \
    examples/summarize-en.yaml \
    examples/summarize-zh.yaml \
    examples/translate.yaml \
    examples/zh-en.yaml \
    examples/zh-en.tsv
dist_examples_SCRIPTS = examples/scored.sh
EXTRA_DIST += examples/demo.sh

# What doc/plugins.md tells of; plugin_kit.test builds it as a stranger would.
pluginexampledir = $(examplesdir)/plugin-attention
dist_pluginexample_DATA = \
    examples/plugin-attention/Makefile \
    examples/plugin-attention/common.c \
    examples/plugin-attention/common.h \
    examples/plugin-attention/naive.c \
    examples/plugin-attention/tiled.c
