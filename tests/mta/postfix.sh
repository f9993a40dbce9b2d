#!/bin/sh
# Turns the namespaces it is started in into a mail host with Postfix: the tree of fetch.sh is laid over /usr, and /var and
# /etc/postfix are private. Says "ready" and stays until standard input ends; as process 1 of its namespace it takes every
# process of the host with it.
#
#   unshare --mount --uts --pid --fork --mount-proc --propagation private postfix.sh BASE TREE LINES [SYSTEM]
#
# BASE is an empty directory on a tmpfs; LINES is a file with lines of main.cf; SYSTEM is the system to which the
# tree belongs, if it is not the machine's. /etc must be private already, as it is in the lab.
set -eu
base=$1 tree=$2 lines=$3 system=${4:-}

for dir in usr var; do mkdir -p "$base/$dir" "$base/$dir.work"; done
mount -t overlay mta-usr -o "lowerdir=$tree/usr:${system:+$system/usr:}/usr,upperdir=$base/usr,workdir=$base/usr.work" /usr
mount -t overlay mta-var -o "lowerdir=$tree/var:/var,upperdir=$base/var,workdir=$base/var.work" /var
cp -a "$tree/etc/postfix" "$base/postfix"
mkdir -p /etc/postfix
mount --bind "$base/postfix" /etc/postfix
mount -t tmpfs -o mode=755 mta-run /run
hostname mail.sender.test
ldconfig

# What the package's maintainer scripts do.
for name in postfix:942 postdrop:943; do
    grep -q "^${name%:*}:" /etc/group || echo "${name%:*}:x:${name#*:}:" >>/etc/group
done
grep -q '^postfix:' /etc/passwd || echo 'postfix:x:942:942::/var/spool/postfix:/usr/sbin/nologin' >>/etc/passwd
cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
cp /usr/share/postfix/dynamicmaps.cf /etc/postfix/dynamicmaps.cf
cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf
echo sender.test >/etc/mailname
: >/etc/aliases
# What Debian writes for an "Internet Site", and a log file in place of a syslog daemon.
postconf -e 'smtp_tls_CApath = /etc/ssl/certs' 'smtp_tls_security_level = may' 'myhostname = mail.sender.test' \
    'myorigin = /etc/mailname' 'alias_maps = hash:/etc/aliases' 'mydestination = localhost' 'mynetworks = 127.0.0.0/8' \
    'inet_interfaces = loopback-only' 'inet_protocols = all' 'maillog_file = /var/log/mail.log'
cat "$lines" >>/etc/postfix/main.cf
cp "$(dirname "$0")/../../examples/postfix/delivery_status" /etc/postfix/
newaliases
postfix set-permissions >/dev/null 2>&1 || true
# Debian 13 does this at the start itself.
grep -q 'internal script' /usr/lib/postfix/configure-instance.sh || /usr/lib/postfix/configure-instance.sh -
postfix start >/dev/null 2>&1
echo ready
read -r _ || true
