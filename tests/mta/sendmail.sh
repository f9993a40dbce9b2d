#!/bin/sh
# The same as postfix.sh beside it with Sendmail, whose sendmail.cf is made of LINES (a piece of sendmail.mc). Its log goes
# to the socket BASE/log, which the test reads.
set -eu
base=$1 tree=$2 lines=$3 system=${4:-}

for dir in usr var; do mkdir -p "$base/$dir" "$base/$dir.work"; done
mount -t overlay mta-usr -o "lowerdir=$tree/usr:${system:+$system/usr:}/usr,upperdir=$base/usr,workdir=$base/usr.work" /usr
mount -t overlay mta-var -o "lowerdir=$tree/var:/var,upperdir=$base/var,workdir=$base/var.work" /var
cp -a "$tree/etc/mail" "$base/mail"
mkdir -p /etc/mail
mount --bind "$base/mail" /etc/mail
mount -t tmpfs -o mode=755 mta-run /run
# syslog(3) knows no other place than /dev/log.
mkdir "$base/dev"
mount -t tmpfs -o mode=755 mta-dev "$base/dev"
for node in null zero full random urandom tty; do
    : >"$base/dev/$node"
    mount --bind "/dev/$node" "$base/dev/$node"
done
: >"$base/dev/log"
mount --bind "$base/log" "$base/dev/log"
ln -s /proc/self/fd "$base/dev/fd"
mount --move "$base/dev" /dev
hostname mail.sender.test
ldconfig

for name in smmta:951 smmsp:952; do
    grep -q "^${name%:*}:" /etc/group || echo "${name%:*}:x:${name#*:}:" >>/etc/group
    grep -q "^${name%:*}:" /etc/passwd || echo "${name%:*}:x:${name#*:}:${name#*:}::/var/lib/sendmail:/usr/sbin/nologin" >>/etc/passwd
done
install -d -o root -g root -m 700 /var/spool/mqueue
install -d -m 755 /var/lib/sendmail /run/sendmail
: >/etc/mail/aliases
: >/etc/mail/local-host-names
{
    cat <<'MC'
define(`_USE_ETC_MAIL_')dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
OSTYPE(`debian')dnl
DOMAIN(`debian-mta')dnl
undefine(`confHOST_STATUS_DIRECTORY')dnl
define(`confDOMAIN_NAME', `mail.sender.test')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
define(`confTRY_NULL_MX_LIST', `True')dnl
MC
    cat "$lines"
} >/etc/mail/sendmail.mc
m4 /etc/mail/sendmail.mc >/etc/mail/sendmail.cf
ln -sf /usr/libexec/sendmail/sendmail /usr/sbin/sendmail
/usr/sbin/sendmail -Am -C /etc/mail/sendmail.cf -bi >/dev/null
echo ready
read -r _ || true
