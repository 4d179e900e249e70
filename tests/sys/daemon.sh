# SPDX-License-Identifier: Apache-2.0
#
# daemon.sh - an nnd of its own for a test in shell, with ranks that train
# nothing; read after tap.sh.
#
#     nnd_up [OPTION]...    start it (again), in $dir/s, by $nnd_begin if that is set
#     nnd_kill              kill -9
#     nnd_down              end it, and look whether anything is left
#     ask ...               tests/sys/ask at its socket
#     nnd_pid               its pid, if it runs
#     is WANTED GOT         says so when they differ
#     has TEXT WORDS        says so when WORDS do not contain TEXT
#     left                  processes of its jobs, one pid per line

# NND_ASK and NND_FAKE: ask and fake-worker of another build than the daemon's, say of
# one without sanitizers, so that a slow nnd does not meet slow ranks as well.

# shellcheck shell=sh disable=SC2034,SC2154
dir=$(mktemp -d /tmp/nnd-test-XXXXXX) || exit 99
fake=${NND_FAKE:-$NND_BUILDDIR/tests/sys/fake-worker}
nnd_begin=
trap 'nnd_clean' EXIT
trap 'exit 1' HUP INT TERM

ask()
{
    "${NND_ASK:-$NND_BUILDDIR/tests/sys/ask}" "ipc://$dir/s/sock" "$@"
}

nnd_up()
{
    $nnd_begin "$NND_BUILDDIR/daemon/nnd" --dir "$dir/s" --slots 4 --worker "$fake" \
        --grace 2s --background "$@"
}

# Its pid, as its lock file says; empty when it does not run.
nnd_pid()
{
    pid=$(cat "$dir/s/lock" 2>/dev/null)
    grep -qs "$dir/s" "/proc/${pid:-none}/cmdline" && echo "$pid"
}

nnd_kill()
{
    pid=$(nnd_pid)
    [ -n "$pid" ] || { echo "nnd does not run"; return 1; }
    kill -9 "$pid"
    while [ -d "/proc/$pid" ]; do
        sleep 0.01
    done
}

nnd_down()
{
    ask shutdown stop || return 1
    settles 15 nnd_pid
    left
}

# Every process of a job names a folder below $dir in its command line.
left()
{
    grep -ls -- "$dir/s/jobs[/]" /proc/[0-9]*/cmdline | grep -v "/$$/" | cut -d/ -f3
    return 0
}

nnd_clean()
{
    for p in $(nnd_pid) $(left); do
        kill -9 "$p" 2>/dev/null
    done
    rm -rf "$dir"
}

is()
{
    [ "$1" = "$2" ] || echo "wanted \"$1\", got \"$2\""
}

has()
{
    case $2 in
    *"$1"*) ;;
    *) echo "wanted \"$1\" in: $2" ;;
    esac
}

# Wait until COMMAND prints nothing: for thrice the SECONDS that it may take where
# nothing else has to be done.
settles()
{
    tries=$(($1 * 60))
    shift
    while [ -n "$("$@")" ] && [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        sleep 0.05
    done
    "$@"
    return 0
}

# Like is, for what COMMAND prints, which may take some seconds to be so.
soon()
{
    wanted=$1
    shift
    tries=600
    until found=$("$@" 2>/dev/null); [ "$found" = "$wanted" ] || [ "$tries" = 0 ]; do
        tries=$((tries - 1))
        sleep 0.05
    done
    is "$wanted" "$found"
}
