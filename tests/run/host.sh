#!/bin/bash
# In a fresh system where systemd runs, in a network without a way out, called by pages.sh: the commands of docs/host.md with a real
# authority, and what the server may do in the sandbox of its unit.
set -euo pipefail
cd /home/alice/libmtasts
# shellcheck source=tests/run/block.sh
. tests/run/block.sh
die() {
    journalctl --no-pager --unit mtasts-host | tail -n 40 >&2
    echo "pages: $*" >&2
    exit 1
}
trap 'die "line $LINENO: $BASH_COMMAND"' ERR
typed() {
    echo "$1"
    bash -euc "$1" || die "failed: $1"
}
# span COMMAND: a command that is part of a sentence, as the page has it.
span() {
    tr '\n' ' ' <docs/host.md | grep -qF -- "\`$1\`" || die "docs/host.md has no such command: $1"
    typed "$1"
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
journal() { journalctl --no-pager --output cat --unit mtasts-host "$@"; }
# said TEXT [SINCE]
said() { journal ${2:+--since "$2"} | grep -F -- "$1" >/dev/null; }
fetch() { curl -sS --max-time 10 --cacert /srv/roots.pem "https://mta-sts.$1/.well-known/mta-sts.txt"; }
is_served() { fetch "$1" 2>/dev/null | grep '^version: STSv1' >/dev/null; }
process() { systemctl show --property MainPID --value mtasts-host; }
# of_process NAME: a line of its status.
of_process() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$(process)/status"; }
# drop_in: what an operator writes by `systemctl edit`.
drop_in() {
    mkdir -p /etc/systemd/system/mtasts-host.service.d
    cat >/etc/systemd/system/mtasts-host.service.d/override.conf
    systemctl daemon-reload
}
# refused WHY: the server does not start, and its ledger stays as it is.
refused() {
    local before since
    systemctl stop mtasts-host
    systemctl reset-failed mtasts-host 2>/dev/null || :
    before=$(sha256sum /var/lib/mtasts-host/ledger.db)
    since=$(date '+%F %T')
    ! systemctl start mtasts-host 2>/dev/null || die "it has started: $1"
    soon said "$1" "$since"
    systemctl stop mtasts-host
    systemctl reset-failed mtasts-host 2>/dev/null || :
    [ "$(sha256sum /var/lib/mtasts-host/ledger.db)" = "$before" ] || die "the ledger has changed: $1"
    echo "refused: $1"
}

echo "== an authority, in whose DNS every name leads to this host"
ip link set lo up
ip address add 8.8.8.1/32 dev lo
echo nameserver 127.0.0.1 >/etc/resolv.conf
cd /srv
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=Root' -days 2 -keyout root.key -out root.pem 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=pebble -keyout pebble.key -out pebble.csr 2>/dev/null
openssl x509 -req -in pebble.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 -extfile <(echo subjectAltName=IP:127.0.0.1) \
    -out pebble.pem 2>/dev/null
cat >pebble.json <<'END'
{ "pebble": { "listenAddress": "127.0.0.1:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "/srv/pebble.pem",
  "privateKey": "/srv/pebble.key", "httpPort": 80, "tlsPort": 443, "externalAccountBindingRequired": false } }
END
pebble-challtestsrv -dns01 127.0.0.1:53 -management 127.0.0.1:8055 -http01 '' -https01 '' -tlsalpn01 '' -defaultIPv4 8.8.8.1 \
    -defaultIPv6 '' >/dev/null 2>&1 &
PEBBLE_VA_NOSLEEP=1 pebble -config pebble.json -dnsserver 127.0.0.1:53 >pebble.log 2>&1 &
soon curl -sS --cacert root.pem -o roots.pem https://127.0.0.1:15000/roots/0
cd - >/dev/null

echo "== from nothing to a policy"
typed "$(block docs/host.md 'From nothing to a policy')"
settings=/etc/mtasts/host.toml
{
    echo 'dns = ["8.8.8.1:53"]'
    echo 'name_servers = ["ns1.sts.example.net"]'
    block docs/host.md 'From nothing to a policy' 1 toml |
        sed -e 's/"192.0.2.1", "2001:db8::1"/"8.8.8.1"/' \
            -e '/^agree_to_terms/a directory = "https://127.0.0.1:14000/dir"\nca_file = "/srv/root.pem"'
} >$settings
span 'mtasts host check'
systemctl log-level debug
typed "$(block docs/host.md 'From nothing to a policy' 2)"
[ "$(systemctl is-active mtasts-host)" = active ] || die "it is not active"
soon is_served example.com
fetch example.com
span 'mtasts host add example.com'
token=$(mtasts host records example.com | grep -o '[a-z0-9]*\.sts\.example\.net' | head -n 1)
[ "$(dig +short @8.8.8.1 "$token" A)" = 8.8.8.1 ] || die "the name server does not know $token"

echo "== what it may do"
[ "$(of_process Uid)" = "$(id -u mtasts-host)" ] || die "it is another user"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
    [ "$(of_process $set)" = 0000000000000400 ] || die "$set is $(of_process $set), not CAP_NET_BIND_SERVICE alone"
done
[ "$(of_process NoNewPrivs):$(of_process Seccomp)" = 1:2 ] || die "no seccomp filter"
# in_place COMMAND...: with its view of the files, as root, whom no mode stops.
in_place() { nsenter --target "$(process)" --mount -- "$@"; }
as_server() { in_place setpriv --reuid mtasts-host --regid mtasts-host --clear-groups "$@"; }
for directory in / /etc /etc/mtasts /usr /usr/bin /var /var/lib /var/log /var/cache /srv /opt /root /home /boot; do
    ! in_place touch "$directory/written" 2>/dev/null || die "it can write in $directory"
done
for directory in /run /dev /dev/shm /sys /proc/sys; do
    ! as_server touch "$directory/written" 2>/dev/null || die "it can write in $directory"
done
for directory in /var/lib/mtasts-host /run/mtasts-host; do
    as_server touch "$directory/written" || die "it cannot write in $directory"
    rm "$directory/written"
done
[ -z "$(in_place ls -A /home)" ] || die "it sees /home"
in_place touch /tmp/written
[ ! -e /tmp/written ] || die "its /tmp is that of others"
systemd-analyze --no-pager security mtasts-host | tail -n 1
systemd-analyze --no-pager security --threshold=20 mtasts-host >/dev/null || die "systemd-analyze finds it exposed"

echo "== its word to the service manager"
# Of a reload it says when it begins and when it ends; of every third of the time, that it lives.
before=$(process)
printf '\n[domain."example.org"]\nmode = "testing"\nmax_age = 86400\nmx = ["mx1.example.com"]\n' >>$settings
span 'systemctl reload mtasts-host'
soon is_served example.org
[ "$(process)" = "$before" ] || die "it is another process"
for word in RELOADING=1 READY=1 WATCHDOG=1; do soon said "$word"; done
systemctl log-level info
sed -i 's/^mode = "testing"/mode = "tasting"/' $settings
span 'systemctl reload mtasts-host'
soon said 'must be "auto", "testing", "enforce" or "none". Nothing is changed'
is_served example.org || die "a file that is wrong has changed something"
sed -i 's/^mode = "tasting"/mode = "testing"/' $settings

echo "== private keys at rest"
is_plain() { cat /var/lib/mtasts-host/ledger.db* | grep -c 'PRIVATE KEY' >/dev/null; }
is_plain || die "the ledger has no private key"
typed "$(block docs/host.md 'Private keys at rest')"
! su mtasts-host --shell /bin/sh --command 'cat /etc/mtasts/seal.key' 2>/dev/null || die "the user of the server can read the key"
block docs/host.md 'Private keys at rest' 1 ini | drop_in
sed -i '1i seal_keys = ["credential:seal"]' $settings
systemctl restart mtasts-host
said '3 private keys are sealed' || die "not the account and two certificates are sealed"
soon is_served example.com
! is_plain || die "a private key is in the ledger"
# None, a wrong one, and none that the service manager knows of.
sed -i '/^seal_keys/d' $settings
refused 'is sealed; name the key'
sed -i '1i seal_keys = ["credential:seal"]' $settings
cp /etc/mtasts/seal.key /srv/seal.key
openssl rand -base64 32 >/etc/mtasts/seal.key
refused ', which is not in seal_keys'
echo 'another text' >/etc/mtasts/seal.key
refused 'is not 32 octets in base64'
echo | drop_in
refused 'credential:seal: the service manager has given no credentials'
# Another key, in a file that is encrypted itself.
cp /srv/seal.key /etc/mtasts/seal.key
openssl rand -base64 32 | systemd-creds encrypt --name=new - /etc/mtasts/new.cred
drop_in <<'END'
[Service]
LoadCredential=seal:/etc/mtasts/seal.key
LoadCredentialEncrypted=new:/etc/mtasts/new.cred
END
sed -i 's/^seal_keys.*/seal_keys = ["credential:new", "credential:seal"]/' $settings
systemctl start mtasts-host
soon is_served example.com
sed -i 's/^seal_keys.*/seal_keys = ["credential:new"]/' $settings
drop_in <<'END'
[Service]
LoadCredentialEncrypted=new:/etc/mtasts/new.cred
END
systemctl restart mtasts-host
soon is_served example.com
! is_plain || die "a private key is in the ledger"

echo "== with a socket of systemd"
sed -i '/^https/d; /^dns/d; /^name_servers/d' $settings
{
    block docs/host.md 'The sandbox' 1 ini
    echo LoadCredentialEncrypted=new:/etc/mtasts/new.cred
} | drop_in
typed "$(block docs/host.md 'The sandbox')"
[ "$(systemctl is-active mtasts-host)" = inactive ] || die "it runs before somebody asks"
soon is_served example.com
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
    [ "$(of_process $set)" = 0000000000000000 ] || die "$set is $(of_process $set)"
done
systemd-analyze --no-pager security mtasts-host | tail -n 1

echo "== and away"
systemctl disable --now mtasts-host.socket mtasts-host.service
rm -r /etc/systemd/system/mtasts-host.* $settings
