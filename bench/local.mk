# SPDX-License-Identifier: Apache-2.0
#
# bench/local.mk - benchmarks; none is run by make check.

EXTRA_DIST += \
    bench/README.md \
    bench/checkpoint.sh \
    bench/common.sh \
    bench/shakespeare-moe.yaml \
    bench/shakespeare.sh \
    bench/shakespeare.yaml \
    bench/step.sh \
    bench/step.yaml \
    bench/torch_step.py
