# SPDX-License-Identifier: Apache-2.0
#
# plugins/probe/local.mk - nnd-plugin-probe: meets an unknown plugin first.
