# SPDX-License-Identifier: Apache-2.0
#
# netns.sh - two nodes and a switch between them, each a network namespace with a
# name of its own for the host; read after daemon.sh.  Nothing of it is seen outside:
# the namespaces last as long as the processes that hold them.
#
#     nodes_missing         says what is missing here, or nothing
#     nodes_up              make them: 10.77.0.1 and 10.77.0.2
#     on HOST COMMAND...    run it there
#     unplug, plug HOST     take its cable out of the switch, and put it back
#     nodes_down            end them
#     $dir/rsh              "rsh HOST COMMAND" for the launcher ssh

# shellcheck shell=sh disable=SC2154
nodes=$dir/nodes

nodes_missing()
{
    for p in unshare nsenter ip; do
        command -v $p >/dev/null || {
            echo "no $p; Debian's packages are util-linux and iproute2"
            return
        }
    done
    unshare -n -u true 2>/dev/null || {
        echo "network namespaces cannot be made here"
        return
    }
    unshare -n sh -c 'ip link add br0 type bridge &&
        ip link add veth0 type veth peer name veth1' 2>/dev/null ||
        echo "no bridge or veth in this kernel"
}

holder()
{
    cat "$nodes/$1"
}

on()
{
    on_host=$1
    shift
    nsenter -t "$(holder "$on_host")" -n -u "$@"
}

# Hold new namespaces by a process, whose pid goes to a file named as the host.
node_add()
{
    unshare -n -u sh -c 'hostname "$1"; echo $$ >"$2/new"; mv "$2/new" "$2/$1"
        exec sleep 1000' - "$1" "$nodes" >/dev/null 2>&1 &
    until [ -s "$nodes/$1" ]; do
        sleep 0.02
    done
}

nodes_up()
{
    mkdir -p "$nodes"
    cat >"$dir/rsh" <<RSH
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\$1
shift
unset NND_PLUGIN_DIR NND_TOKENIZER_DIR # ssh hands nothing on
exec nsenter -t "\$(cat "$nodes/\$host")" -n -u sh -c "\$*"
RSH
    chmod +x "$dir/rsh"
    node_add switch
    on switch ip link add br0 type bridge
    on switch ip link set br0 up
    i=0
    for host in 10.77.0.1 10.77.0.2; do
        i=$((i + 1))
        node_add $host
        on switch ip link add port$i type veth peer name eth0 netns "$(holder $host)"
        on switch ip link set port$i master br0 up
        on $host ip addr add $host/24 dev eth0
        on $host ip link set eth0 up
        on $host ip link set lo up
    done
}

unplug()
{
    on switch ip link set "port${1##*.}" down
}

plug()
{
    on switch ip link set "port${1##*.}" up
}

nodes_down()
{
    for f in "$nodes"/*; do
        [ -s "$f" ] && kill "$(cat "$f")"
        rm -f "$f"
    done
    return 0
}
