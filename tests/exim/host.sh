#!/bin/sh
# Turns the namespaces it is started in into a mail host of its own: the trees of fetch.sh are laid over /usr, and /var,
# /etc/exim4, /etc/mtasts and /etc/default are private. Says "ready" and stays until standard input ends; as process 1
# of its namespace it takes every process of the host with it.
#
#   unshare --mount --uts --pid --fork --mount-proc --propagation private host.sh BASE NAME TREE...
#
# BASE is an empty directory on a tmpfs: the changed files are to be found in BASE/var, BASE/exim4, BASE/mtasts.
# /etc must be private already, as it is in the lab.
set -eu
base=$1 name=$2
shift 2

usr=
for tree; do usr=$usr$tree/usr:; done
for dir in usr var; do mkdir -p "$base/$dir" "$base/$dir.work"; done
mount -t overlay exim-usr -o "lowerdir=$usr/usr,upperdir=$base/usr,workdir=$base/usr.work" /usr
mount -t overlay exim-var -o "lowerdir=/var,upperdir=$base/var,workdir=$base/var.work" /var
for dir in exim4 mtasts default; do
    mkdir -p "$base/$dir" "/etc/$dir"
    for tree; do
        [ ! -d "$tree/etc/$dir" ] || cp -a "$tree/etc/$dir/." "$base/$dir"
    done
    mount --bind "$base/$dir" "/etc/$dir"
done
mount -t tmpfs -o mode=755 exim-run /run
hostname "$name"
# The library of this host is the one that the test installs, not one that the machine has.
find /usr/lib /usr/local/lib -name 'libmtasts.so*' ! -type d -exec rm -f {} +

# What the packages' maintainer scripts do.
if ! id Debian-exim >/dev/null 2>&1; then
    echo 'Debian-exim:x:941:941::/var/spool/exim4:/usr/sbin/nologin' >>/etc/passwd
    echo 'Debian-exim:x:941:' >>/etc/group
fi
rm -rf /var/spool/exim4 /var/log/exim4 /var/lib/exim4 /var/lib/mtasts
install -d -o Debian-exim -g Debian-exim -m 750 /var/spool/exim4 /var/log/exim4 /run/exim4
install -d -m 755 /var/lib/exim4
# What `mtasts cache setup --user Debian-exim` does, as the drop-in says.
if ! id mtasts >/dev/null 2>&1; then
    echo 'mtasts:x:942:942::/var/lib/mtasts:/usr/sbin/nologin' >>/etc/passwd
    echo 'mtasts:x:942:' >>/etc/group
fi
sed -i 's/^\(mtasts:[^:]*:[^:]*\):.*/\1:Debian-exim/' /etc/group
install -d -o mtasts -g mtasts -m 2770 /var/lib/mtasts
echo "$name" >/etc/mailname
touch /etc/email-addresses

echo ready
read -r _ || true
