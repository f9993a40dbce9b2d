#!/bin/bash
# In a fresh system where systemd runs, on the test Internet, called by pages.sh: the commands of the pages with Exim, with
# Postfix and with the server for Sendmail, and what became of a mail.
set -euo pipefail
cd /home/alice/libmtasts
# shellcheck source=tests/run/block.sh
. tests/run/block.sh
die() {
    journalctl --no-pager | tail -n 60 >&2
    tail -n 20 /var/log/exim4/mainlog >&2 2>/dev/null || :
    echo "pages: $*" >&2
    exit 1
}
trap 'die "line $LINENO: $BASH_COMMAND"' ERR
# as_user COMMANDS: typed after a login. gmail.com and example.com are a domain of the test Internet.
as_user() {
    local commands
    commands=$(sed -E 's/\b(gmail|example)\.com\b/good.test/g' <<<"$1")
    echo "$commands"
    su --login alice --command "cd ~/libmtasts; set -eu; $commands" || die "failed: $commands"
}
# span PAGE COMMAND: a command that is part of a sentence, as the page has it.
span() {
    tr '\n' ' ' <"$1" | grep -qF -- "\`$2\`" || die "$1 has no such command: $2"
    as_user "$2"
}
# soon COMMAND...: within a minute.
soon() {
    local left=600
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || die "not within a minute: $*"
        sleep 0.1
    done
}
mail() { printf 'Subject: test\n\ntext\n' | sendmail -f '' "$1"; }

# The directory of the pages, not the lab's own.
sed -i '/^cache_dir/d' /etc/mtasts/mtasts.toml

echo "== Exim"
as_user "$(block README.md 'Install from source' 2)"
systemctl is-active mtasts-refresh.timer || die "the timer does not run"
as_user "$(block README.md Exim)"
span README.md 'mtasts exim status'
seen=$(span README.md 'sudo exim -bt postmaster@gmail.com')
[[ $seen == *'transport = remote_smtp_mtasts'* ]] || die "exim -bt: $seen"
mail exim@good.test
soon grep -q 'exim@good.test .* CV=yes' /var/log/exim4/mainlog
mail exim@nomatch.test
soon grep -q '== exim@nomatch.test .*mtasts\[no-mx-host-in-policy\]' /var/log/exim4/mainlog
mail exim@expired.test
soon grep -q '== exim@expired.test .*certificate' /var/log/exim4/mainlog
span README.md 'sudo mtasts cache show gmail.com'
span README.md 'sudo mtasts doctor'
# Mail is stuck.
exception=$(grep -o '`example.com 2[^`]*`' README.md | tr -d '`')
[ -n "$exception" ] || die "README has no exception"
echo "${exception/example.com/expired.test}" | sed 's/2026/2099/' >/etc/mtasts/exceptions
rm -f /var/spool/exim4/db/retry*
span README.md 'sudo exim -qff'
soon grep -q '=> exim@expired.test ' /var/log/exim4/mainlog
rm /etc/mtasts/exceptions

echo "== cache and monitoring"
systemctl start mtasts-refresh.service || die "the refresh"
as_user "$(block docs/cache.md 'Set it up')"
as_user "$(block docs/cache.md 'Set it up' 2)"
as_user "$(block docs/fleet.md 'Set it up')"
[ "$(stat -c %a:%U:%G /etc/mtasts/fleet.key)" = 640:root:mtasts ]
grep -qx 'key [0-9a-f]\{64\}' /etc/mtasts/fleet.key
useradd --system nagios
span docs/monitoring.md 'sudo usermod --append --groups mtasts nagios'
su nagios --shell /bin/sh --command 'mtasts cache status' || die "the status"
mkdir -p /var/lib/prometheus/node-exporter /etc/systemd/system/mtasts-refresh.service.d
block docs/monitoring.md Prometheus 1 ini >/etc/systemd/system/mtasts-refresh.service.d/override.conf
setfacl --modify user:mtasts:rwx /var/lib/prometheus/node-exporter
grep -qF 'setfacl --modify user:mtasts:rwx /var/lib/prometheus/node-exporter' docs/monitoring.md || die "setfacl"
systemctl daemon-reload
systemctl start mtasts-refresh.service || die "the refresh for Prometheus"
grep -q '^mtasts_cache_entries ' /var/lib/prometheus/node-exporter/mtasts.prom || die "no metrics"

echo "== Postfix"
span README.md 'sudo mtasts exim remove'
systemctl stop exim4
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends --no-download postfix
# Elsewhere the MX hosts of the test Internet listen.
postconf -e 'inet_interfaces = loopback-only'
systemctl restart postfix
journal() { journalctl --no-pager --output cat --identifier "postfix/$1"; }
as_user "$(block README.md 'Postfix and Sendmail')"
as_user "$(block docs/postfix.md 'Set up')"
as_user "$(block docs/exim.md 'Exim without dlfunc')"
# In place of the lines that are there.
set_lines() { while IFS= read -r line; do postconf -e "$line"; done; }
map=postfix
block docs/postfix.md 'Set up' 1 '' | set_lines
if [ "$(printf '%s\n' 3.10 "$(postconf -h mail_version)" | sort -V | head -n 1)" = 3.10 ]; then
    map=postfix-3.10
    block docs/postfix.md 'Set up' 2 '' | set_lines
fi
grep -xF "$(postconf smtp_tls_policy_maps)" README.md || die "README has another line than docs/postfix.md"
postconf -e 'smtp_tls_loglevel = 1'
as_user 'sudo postfix reload'
answer=$(postmap -q good.test "socketmap:inet:127.0.0.1:8461:$map") || die "no answer"
[[ $answer == 'secure '*'match='*mx.good.test* ]] || die "postmap: $answer"
! postmap -q nopolicy.test "socketmap:inet:127.0.0.1:8461:$map" || die "an answer for nopolicy.test"
span README.md 'sudo mtasts check-mta postfix'
told() { journal smtp | grep -E "to=<$1>, .*status=$2" >/dev/null; }
mail postfix@good.test
soon told postfix@good.test sent
journal smtp | grep 'Verified TLS connection established to mx.good.test' >/dev/null || die "not verified"
mail postfix@expired.test
soon told postfix@expired.test deferred
grep -qF 'http://127.0.0.1:9461/metrics' docs/postfix.md || die "docs/postfix.md has another place for the counters"
exec 3<>/dev/tcp/127.0.0.1/9461
printf 'GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n' >&3
counters=$(timeout 10 cat <&3 || :)
[[ $counters == *mtasts_* ]] || die "the counters: $counters"
as_user 'sudo systemctl reload mtasts-serve'

echo "== Sendmail"
# In place of an editor: at the place that systemd's template has for it.
block docs/sendmail.md 'Set up' 1 '' >/tmp/dropin
printf '#!/bin/sh\nfor file; do :; done\nsed -i "/^### Anything between here/r /tmp/dropin" "$file"\n' >/tmp/editor
chmod 755 /tmp/editor /tmp/dropin
edit=$(block docs/sendmail.md 'Set up' | sed 's|systemctl edit|SYSTEMD_EDITOR=/tmp/editor &|')
# It edits on a terminal alone.
as_user "script -qec '$edit' /dev/null </dev/null"
as_user 'sudo systemctl restart mtasts-serve.service'
exec 4<>/dev/tcp/127.0.0.1/5461
printf '13:sts good.test,' >&4
IFS= read -r -d , -t 30 answer <&4 || die "no answer for Sendmail"
[[ $answer == *:OK\ secure* ]] || die "Sendmail: $answer"

echo "== and away"
as_user 'sudo systemctl disable --now mtasts-serve.service mtasts-refresh.timer'
span README.md 'sudo make uninstall PREFIX=/usr'
[ ! -e /usr/bin/mtasts ] || die "the command is still there"
