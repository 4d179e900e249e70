# SPDX-License-Identifier: Apache-2.0
#
# slurm.sh - a Slurm of its own for a test in shell: two nodes on this machine, no
# systemd, no control groups; read after daemon.sh.
#
#     slurm_missing         says what is missing here to run Slurm, or nothing
#     slurm_up              start it in $dir/slurm, wait until both nodes are idle
#     slurm_down            end it
#     slurm_jobs            numbers of jobs that Slurm has not ended

# shellcheck shell=sh disable=SC2154
slurm=$dir/slurm
export SLURM_CONF="$slurm/slurm.conf"

slurm_missing()
{
    for p in slurmctld slurmd munged srun sbatch; do
        command -v $p >/dev/null || {
            echo "no $p; Debian's packages are slurm-wlm and munge"
            return
        }
    done
    [ "$(id -u)" = 0 ] || echo "must be root to start slurmd"
}

# Three ports in a row that nobody listens on.
slurm_port()
{
    port=$((20000 + $$ % 9000 * 4))
    while port_used $port || port_used $((port + 1)) || port_used $((port + 2)); do
        port=$((port + 4))
    done
    echo "$port"
}

port_used()
{
    grep -qs ":$(printf %04X "$1") " /proc/net/tcp
}

# Both nodes have this machine's name, so slurmd is told which it is; each has its
# own folder for temporary files, for PMIx's sockets.
slurm_configuration()
{
    port=$(slurm_port)
    host=$(hostname -s)
    cat <<CONF
ClusterName=nndtest
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
AuthType=auth/munge
AuthInfo=socket=$slurm/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
CommunicationParameters=NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd-%n.pid
SlurmdSpoolDir=$slurm/spool-%n
StateSaveLocation=$slurm/state
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd-%n.log
SlurmdTimeout=10
TmpFS=$slurm/tmp-%n
KillWait=2
InactiveLimit=0
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
}

slurm_idle()
{
    sinfo --noheader --format='%D %t' 2>&1 | grep -qx '2 idle' || echo waiting
}

slurm_up()
{
    mkdir -p "$slurm/state" && chmod 755 "$dir" "$slurm"
    dd if=/dev/urandom of="$slurm/munge.key" bs=1024 count=1 2>/dev/null
    chmod 400 "$slurm/munge.key"
    slurm_configuration >"$slurm/slurm.conf"
    munged --force --key-file="$slurm/munge.key" --socket="$slurm/munge.sock" \
        --pid-file="$slurm/munged.pid" --log-file="$slurm/munged.log" \
        --seed-file="$slurm/munged.seed" || return 1
    slurmctld -f "$SLURM_CONF" || return 1
    for n in n1 n2; do
        mkdir -p "$slurm/spool-$n" "$slurm/tmp-$n"
        slurmd -N $n -f "$SLURM_CONF" || return 1
    done
    settles 20 slurm_idle
}

slurm_daemons()
{
    for f in "$slurm"/*.pid; do
        pid=$(cat "$f" 2>/dev/null) && [ -d "/proc/$pid" ] && echo "$pid"
    done
    return 0
}

slurm_down()
{
    for p in $(slurm_daemons); do
        kill "$p"
    done
    settles 10 slurm_daemons
}

slurm_jobs()
{
    squeue --noheader --format=%i
}
