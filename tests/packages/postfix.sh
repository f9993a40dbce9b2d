#!/bin/bash
# In a fresh system where systemd runs, on the test Internet, called by fresh.sh: the package mtasts with Debian's Postfix, by
# the commands and the lines of docs/postfix.md.
set -euo pipefail
new=/root/packages/new newer=/root/packages/newer page=/usr/share/doc/libmtasts/docs/postfix.md
map=inet:127.0.0.1:8461:postfix
# shellcheck source=tests/run/block.sh
. /root/packages/block.sh
say() { echo "ok: $*"; }
journal() { journalctl --no-pager --output cat --identifier "postfix/$1"; }
die() {
    echo "--- journal"
    journalctl --no-pager | tail -n 60
    echo "inside: $*"
    exit 1
}
trap 'die "line $LINENO: $BASH_COMMAND"' ERR
export DEBIAN_FRONTEND=noninteractive

# try N COMMAND...: until it succeeds, N tenths of a second long.
try() {
    local left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.1
    done
}

# fate RECIPIENT PATTERN [HANDSHAKE]: Postfix's log says of the recipient, whom nobody else has, what the pattern says.
fate() {
    printf 'Subject: test\n\ntext\n' | sendmail -f '' "$1" || die "no mail to $1 was taken"
    told() { journal smtp | grep "to=<$1>, .*status=" >/dev/null; }
    try 600 told "$1" || die "nothing became of the mail to $1"
    journal smtp | grep "to=<$1>, .*status=" | tail -n 1 | grep -qE -- "$2" || die "the mail to $1 is not $2: $(journal smtp | tail -n 5)"
    say "$1: $2"
}

# enforced PREFIX: what the policies ask is done.
enforced() {
    fate "$1@good.test" 'status=sent'
    journal smtp | grep 'Verified TLS connection established to mx.good.test' >/dev/null || die "no verified connection to mx.good.test"
    fate "$1@expired.test" 'status=deferred .*not trusted|status=deferred .*not verified|status=deferred .*certificate'
    fate "$1@nomatch.test" 'status=deferred'
    fate "$1@testing.test" 'status=sent'
    fate "$1@nopolicy-selfsigned.test" 'status=sent'
}

process() { systemctl show --property MainPID --value mtasts-serve; }
answers() { grep -q '^secure ' <<<"$(postmap -q good.test "socketmap:$map")"; }

# The directory of the packages, not the lab's own.
sed -i '/^cache_dir/d' /etc/mtasts/mtasts.toml
# What the package has brought.
[ "$(systemctl is-enabled mtasts-serve || :)" = disabled ] || die "the server is enabled"
[ "$(systemctl is-active mtasts-serve || :)" = inactive ] || die "the server runs"
[ "$(systemctl is-active mtasts-refresh.timer)" = active ] || die "the timer does not run"
[ "$(stat -c '%U %G %a' /var/lib/mtasts)" = 'mtasts mtasts 2770' ] || die "/var/lib/mtasts: $(stat -c '%U %G %a' /var/lib/mtasts)"
! dpkg-query -W exim4-mtasts libmtasts1 2>/dev/null || die "the package needs more than itself"
say "installed, and the server waits to be enabled"

# The commands of the page for those who have the package, and the lines of the page for this version.
command=$(sed -n '/With the \[package\]/,/^$/p' $page | grep -o '`systemctl [^`]*`' | tr -d '`')
$command || die "$command"
grep -o 'sudo cp .*delivery_status .*' $page | sed 's/^sudo //' >/tmp/commands
[ -s /tmp/commands ] || die "$page has no delivery_status"
sh -e /tmp/commands
set_lines() { while IFS= read -r line; do postconf -e "$line"; done; }
block "$page" 'Set up' 1 '' | set_lines
version=$(postconf -h mail_version)
if [ "$(printf '%s\n' 3.10 "$version" | sort -V | head -n 1)" = 3.10 ]; then
    map=$map-3.10
    block "$page" 'Set up' 2 '' | set_lines
fi
postconf -e 'smtp_tls_loglevel = 1'
[ "$(postconf -h smtp_tls_policy_maps)" = "socketmap:$map" ] || die "the page has other lines: $(postconf -h smtp_tls_policy_maps)"
postfix reload
try 100 answers || die "no answer for good.test"
! postmap -q nopolicy.test "socketmap:$map" || die "an answer for nopolicy.test"
say "postmap -q: $(postmap -q good.test "socketmap:$map")"
mtasts check-mta postfix || die "check-mta: $?"
enforced first
# The refresh finds what the server has fetched, as the unit runs it.
systemctl start mtasts-refresh.service || die "the refresh: $(journalctl --no-pager -u mtasts-refresh | tail -n 5)"
grep -q good.test <<<"$(mtasts cache list)" || die "the cache is empty"
mtasts cache status || die "the status: $?"
systemctl reload mtasts-serve
answers || die "no answer after the reload"

# It is started again however often it ends.
for round in 1 2 3 4 5 6 7; do
    old=$(process)
    kill -9 "$old"
    is_new() { [ "$(process)" != "$old" ] && answers; }
    try 200 is_new || die "no new server after it was killed $round times"
done

# Mail goes on while each file is replaced, and the new server is the one that runs.
before=$(process)
(
    count=0
    while [ ! -e /tmp/enough ]; do
        printf 'Subject: load\n\ntext\n' | sendmail -f '' "load$count@good.test"
        count=$((count + 1))
        sleep 0.1
    done
    echo $count >/tmp/count
) &
load=$!
for folder in $newer $new $newer $new $newer; do
    dpkg -i $folder/mtasts_*.deb >/tmp/dpkg 2>&1 || { cat /tmp/dpkg; die "dpkg -i $folder"; }
done
sleep 1
touch /tmp/enough
wait $load
count=$(cat /tmp/count)
[ "$(process)" != "$before" ] || die "the server was not restarted"
[ "$(systemctl is-enabled mtasts-serve)" = enabled ] || die "the upgrade has disabled the server"
sent() { journal smtp | grep -cE 'to=<load[0-9]+@good.test>.*status=sent'; }
all_sent() { [ "$(sent)" -ge "$count" ]; }
# A connection that the restart has cut makes a mail wait, never fail.
try 100 all_sent || { postqueue -f && try 300 all_sent; } || die "$(sent) of $count mails were sent"
deferred=$(journal smtp | grep -cE 'to=<load[0-9]+@good.test>.*status=deferred' || :)
! journal smtp | grep -E 'to=<load[0-9]+@good.test>.*status=bounced' || die "a mail was bounced"
! journal smtp | grep -E '(Trusted|Untrusted|Anonymous) TLS connection established to mx.good.test' || die "a connection that is not verified"
echo "load: $count of $count verified, $deferred deferred, in 5 upgrades"
enforced upgraded

apt-get remove -q -y mtasts
[ -z "$(pidof mtasts)" ] || die "the server still runs"
# As the page says: mail waits if the server does not run.
fate removed@good.test 'status=deferred'
postconf -X smtp_tls_policy_maps
postfix reload
fate without@good.test 'status=sent'
apt-get install -q -y --no-install-recommends $newer/mtasts_*.deb
[ "$(systemctl is-enabled mtasts-serve)" = enabled ] || die "the operator's choice is lost"
apt-get purge -q -y mtasts
systemctl daemon-reload
! find /etc/systemd /etc/cron.d /usr /var/lib /run -name '*mtasts*' -not -path '/var/lib/dpkg/*' -not -path '/run/systemd/transient/*' | grep . ||
    die "purge has left files"
fate purged@good.test 'status=sent'
say all
