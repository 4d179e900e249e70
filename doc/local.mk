# SPDX-License-Identifier: Apache-2.0
#
# doc/local.mk - manual pages and other documents.

dist_man_MANS += \
    doc/nnd-plugin-probe.8 \
    doc/nnd-plugin.7 \
    doc/nnd-shepherd.8 \
    doc/nnd-slurm.8 \
    doc/nnd.8
dist_doc_DATA = \
    README.md \
    doc/exchange.md \
    doc/multi30k-by-length.svg \
    doc/operating.md \
    doc/daemon-figures.md \
    doc/performance.md \
    doc/performance-gpu.md \
    doc/plugins.md \
    doc/reproducibility.md \
    doc/results.md \
    doc/sequences.md

blocksdir = $(docdir)/blocks
dist_blocks_DATA = \
    doc/blocks/README.md \
    doc/blocks/dot-product.md \
    doc/blocks/flash.md \
    doc/blocks/moe.md \
    doc/blocks/multi-head.md \
    doc/blocks/rotary.md \
    doc/blocks/single-head.md

sys_tests += tests/sys/docs.test
