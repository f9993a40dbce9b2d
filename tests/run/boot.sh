#!/bin/bash
# boot.sh COMMAND...: in a fresh system (roots.sh), starts systemd as that of a machine is started, with the network that it
# finds, and runs the command on it. The processes end with the command; the machine's own /dev, /run and cgroups stay as
# they are. Root; the packages systemd and dbus.
set -euo pipefail
# A directory of cgroups of its own, which becomes its root.
mount -t tmpfs cgroups /sys/fs/cgroup
mkdir /sys/fs/cgroup/all
mount -t cgroup2 cgroups /sys/fs/cgroup/all
cgroup=/sys/fs/cgroup/all/mtasts-$$
mkdir "$cgroup"
echo $$ >"$cgroup/cgroup.procs"

# shellcheck disable=SC2016
unshare --mount --propagation private --pid --fork --kill-child --mount-proc --cgroup bash -euc '
    umount -R /sys/fs/cgroup
    mount -t cgroup2 cgroups /sys/fs/cgroup
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    mkdir -p /run/dev
    mount -t tmpfs -o mode=755 dev /run/dev
    mkdir /run/dev/pts /run/dev/shm
    for node in null zero full random urandom tty; do
        : >/run/dev/$node
        mount --bind /dev/$node /run/dev/$node
    done
    mount -t devpts -o newinstance,ptmxmode=666,mode=620 pts /run/dev/pts
    mount -t tmpfs -o mode=1777 shm /run/dev/shm
    ln -s pts/ptmx /run/dev/ptmx
    ln -s /proc/self/fd /run/dev/fd
    for stream in stdin:0 stdout:1 stderr:2; do ln -s /proc/self/fd/${stream#*:} /run/dev/${stream%:*}; done
    mount --move /run/dev /dev
    mount -t tmpfs -o mode=755 run /run
    # It is emptied at the start, and has the files of who has called.
    mount -t tmpfs -o mode=1777 tmp /tmp
    # In a container systemd leaves that to whom starts it; credentials reach a service by it.
    mount --make-rshared /
    exec env -i container=other PATH="$PATH" /lib/systemd/systemd' </dev/null >/tmp/console 2>&1 &
keeper=$!
until first=$(cat "/proc/$keeper/task/$keeper/children") && [ -n "$first" ] && grep -q systemd "/proc/${first% }/comm"; do
    kill -0 $keeper 2>/dev/null || { cat /tmp/console >&2; exit 1; }
    sleep 0.1
done
on_it() { nsenter --target "${first% }" --all -- "$@"; }
waited=0
until state=$(on_it systemctl is-system-running 2>/dev/null || :) && [[ $state =~ ^(running|degraded)$ ]]; do
    waited=$((waited + 1))
    [ $waited -lt 600 ] || { cat /tmp/console >&2; echo "boot: $state" >&2; exit 1; }
    sleep 0.1
done
status=0
on_it "$@" || status=$?
# With process 1 all its processes end.
kill -KILL "${first% }"
wait $keeper || :
echo $$ >/sys/fs/cgroup/all/cgroup.procs
find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || :
exit $status
