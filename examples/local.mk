# SPDX-License-Identifier: Apache-2.0
#
# examples/local.mk - job files and the demo.
