# SPDX-License-Identifier: Apache-2.0
#
# plugins/cpu/local.mk - kernels for this processor.
