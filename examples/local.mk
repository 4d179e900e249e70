# SPDX-License-Identifier: Apache-2.0
#
# examples/local.mk - job files and the demo.

examplesdir = $(docdir)/examples
dist_examples_DATA = \
    examples/demo.yaml \
    examples/dense.yaml \
    examples/gpt2.yaml \
    examples/translate.yaml \
    examples/zh-en.tsv
EXTRA_DIST += examples/demo.sh
