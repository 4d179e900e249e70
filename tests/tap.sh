# SPDX-License-Identifier: Apache-2.0
#
# tap.sh - TAP for tests written in shell, which read this file first:
#
#     . "${NND_SRCDIR:-.}/tests/tap.sh"
#     tap_ok NAME COMMAND...     passes if COMMAND succeeds and prints nothing
#     tap_skip NAME REASON
#     tap_done
#
# What a failing command prints becomes the test's comment.  A test program may
# be run by hand from the top of the tree, which is built in build/.

# shellcheck shell=sh
: "${NND_SRCDIR:=.}" "${NND_BUILDDIR:=build}"
tap_count=0
tap_failed=0

tap_ok()
{
    tap_name=$1
    shift
    tap_count=$((tap_count + 1))
    if tap_said=$("$@" 2>&1) && [ -z "$tap_said" ]; then
        echo "ok $tap_count - $tap_name"
    else
        tap_failed=1
        echo "not ok $tap_count - $tap_name"
        printf '%s\n' "$tap_said" | sed 's/^/# /'
    fi
}

tap_skip()
{
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

tap_done()
{
    echo "1..$tap_count"
    exit $tap_failed
}
