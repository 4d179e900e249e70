# SPDX-License-Identifier: Apache-2.0
#
# storm.sh - for tests that press hard on an nnd of their own; read after daemon.sh.
#
#     press ...          tests/sys/press at its socket
#     verify [FILE]      what was acknowledged is in the store, as press says; nnd must
#                        not run
#     shimmed COMMAND    COMMAND with tests/sys/shim.c in between, on SHIM_DIR or $dir/s
#     pause_ms N         sleep for a random time below N ms
#     size SMALL LARGE   SMALL, or LARGE when NND_TESTS=large
#
# HACKING.md says how to run the large tests.

# shellcheck shell=sh disable=SC2034,SC2154
press()
{
    "$NND_BUILDDIR/tests/sys/press" "ipc://$dir/s/sock" "$@"
}

verify()
{
    "$NND_BUILDDIR/tests/sys/press" "${2:-$dir/s}" verify "${1:-$dir/acks}"
}

shimmed()
{
    SHIM_DIR=${SHIM_DIR:-$dir/s} \
        LD_PRELOAD=${NND_SHIM:-$NND_BUILDDIR/tests/sys/.libs/shim.so} "$@"
}

random()
{
    od -An -N4 -tu4 /dev/urandom | tr -d ' '
}

pause_ms()
{
    sleep "$(awk -v r="$(random)" -v n="$1" 'BEGIN { printf "%.3f", r % n / 1000 }')"
}

size()
{
    if [ "${NND_TESTS:-small}" = large ]; then
        echo "$2"
    else
        echo "$1"
    fi
}
