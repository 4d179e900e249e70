#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# autogen.sh - from a fresh clone to a configure script, and further if asked.
#
#   ./autogen.sh               generate configure
#   ./autogen.sh check [ARG]   install what is missing, configure with ARG...,
#                              build in build/ and run the test suite
#   ./autogen.sh demo [ARG]    the same set-up, then train a small model
#
# Only check and demo touch the system, and only by apt-get install of packages
# that they name first.

set -eu
cd "$(dirname "$0")"

# The Debian 12 packages that nnd is built from; configure.ac checks for them.
packages="
    build-essential autoconf automake libtool pkgconf
    protobuf-c-compiler libprotobuf-c-dev libzmq3-dev libhwloc-dev
    libsqlite3-dev libyaml-dev libjansson-dev libssl-dev libcmocka-dev libmicrohttpd-dev
    libutf8proc-dev libblis-serial-dev libopenmpi-dev openmpi-bin
    libsentencepiece-dev
"
# What some tests need besides, and skip without.  A machine that is there to test, as
# .ci/run's, says NND_TEST_PACKAGES=yes and gets them; nobody else's gets a Slurm.
test_packages="libfaketime munge slurm-client slurmctld slurmd"
build=build

say()
{
    echo "autogen.sh: $*"
}

die()
{
    say "$*" >&2
    exit 1
}

usage()
{
    sed -n 's/^#   //p' "$0"
}

installed()
{
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

missing_packages()
{
    for p in "$@"; do
        installed "$p" || echo "$p"
    done
}

# Nobody's system is changed unasked: root has decided already by being root.
become_root()
{
    [ "$(id -u)" -eq 0 ] && return
    command -v sudo >/dev/null || die "not root, and no sudo; install them as root"
    [ -t 0 ] || die "not root, and no terminal to ask on; install them as root"
    printf 'Install them now with sudo apt-get? [y/N] '
    read -r answer
    case $answer in
    [Yy]*) sudo=sudo ;;
    *) die "nothing was installed" ;;
    esac
}

install_packages()
{
    command -v dpkg-query >/dev/null || {
        say "not a Debian system: configure will name what is missing"
        return
    }
    # shellcheck disable=SC2046,SC2086 # one word per package is what is wanted
    set -- $(missing_packages $packages)
    [ $# -eq 0 ] && return
    say "missing packages: $*"
    sudo=
    become_root
    $sudo apt-get update -q
    $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "$@"
}

# Without them the tests that need them say so.
install_test_packages()
{
    [ "${NND_TEST_PACKAGES:-no}" = yes ] && [ "$(id -u)" -eq 0 ] &&
        command -v dpkg-query >/dev/null || return 0
    # shellcheck disable=SC2046,SC2086 # as above
    set -- $(missing_packages $test_packages)
    [ $# -gt 0 ] || return 0
    say "packages for tests: $*"
    timeout 60 apt-get update -q &&
        DEBIAN_FRONTEND=noninteractive timeout 120 \
            apt-get install -y -q --no-install-recommends "$@" ||
        say "not installed; what needs them is skipped"
}

# Generate only what is out of date: make takes care of the rest by itself.
generate()
{
    if [ -f build-aux/missing ] && [ -f configure ] &&
        [ -z "$(find configure.ac m4/nnd.m4 -newer configure)" ]; then
        return
    fi
    autoreconf -fi
}

# A build folder configured with the same arguments is used again.
configure_build()
{
    mkdir -p "$build"
    asked="$*"
    if [ -f "$build/Makefile" ] && [ -f "$build/autogen-args" ] &&
        [ "$(cat "$build/autogen-args")" = "$asked" ]; then
        return
    fi
    source=$(pwd)
    (cd "$build" && "$source/configure" "$@")
    echo "$asked" >"$build/autogen-args"
}

set_up()
{
    install_packages
    install_test_packages
    generate
    configure_build "$@"
    make -C "$build" -j"$(nproc)"
}

task=${1:-generate}
[ $# -gt 0 ] && shift
case $task in
generate)
    autoreconf -fi
    ;;
check)
    set_up "$@"
    make -C "$build" check
    ;;
demo)
    set_up "$@"
    exec examples/demo.sh "$build"
    ;;
-h | --help)
    usage
    ;;
*)
    usage >&2
    die "no such task: $task"
    ;;
esac
