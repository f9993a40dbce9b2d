#!/bin/bash
# In a fresh system, called by fresh.sh.
#
#   inside.sh installed CONFIG     what must be there after the installation
#   inside.sh mail CONFIG          on the test Internet: mail, upgrade under load, removal, installation, purge
set -euo pipefail
config=$2
log=/var/log/exim4/mainlog
new=/root/packages/new newer=/root/packages/newer
say() { echo "ok: $*"; }
die() {
    echo "--- log"
    tail -n 40 $log /var/log/exim4/paniclog 2>/dev/null || :
    echo "inside: $*"
    exit 1
}
export DEBIAN_FRONTEND=noninteractive

# prints WORDS COMMAND...: whether the words are in what it prints. All is read: a program that is cut off in the middle of its
# output would fail, and the pipe with it.
prints() { grep -q -- "$1" <<<"$("${@:2}")"; }

# reply WORDS: the server's answer to what was sent last begins with one of these digits.
reply() {
    local line
    while IFS= read -r -t 60 line <&3; do
        case $line in
        ???-*) ;;
        $1*) return 0 ;;
        *) echo "SMTP: $line"; return 1 ;;
        esac
    done
    return 1
}

# submit RECIPIENT: over SMTP, to the running Exim.
submit() {
    exec 3<>/dev/tcp/127.0.0.1/25 || return 1
    reply 220 && printf 'HELO localhost\r\n' >&3 && reply 250 && printf 'MAIL FROM:<>\r\n' >&3 && reply 250 &&
        printf 'RCPT TO:<%s>\r\n' "$1" >&3 && reply 250 && printf 'DATA\r\n' >&3 && reply 354 &&
        printf 'Subject: test\r\n\r\ntext\r\n.\r\n' >&3 && reply 250 && printf 'QUIT\r\n' >&3
    local status=$?
    exec 3>&-
    return $status
}

# fate RECIPIENT PATTERN: the log says of the recipient, whom nobody else has, what the pattern says.
fate() {
    local waited=0
    submit "$1" || die "no mail to $1 was taken"
    until grep -qE "(=>|==|\*\*) $1 .*" $log; do
        waited=$((waited + 1))
        [ $waited -lt 600 ] || die "nothing became of the mail to $1"
        sleep 0.1
    done
    grep -E "(=>|==|\*\*) $1 " $log | tail -n 1 | grep -qE -- "$2" || die "the mail to $1 is not $2: $(grep -E "(=>|==|\*\*) $1 " $log | tail -n 1)"
    say "$1: $2"
}

# What failed before is forgotten: of mail that waits a queue run would try the host, and then it is not due again.
forget() {
    local waiting
    while waiting=$(exiqgrep -i) && [ -n "$waiting" ]; do
        # One that is under way is locked.
        xargs exim4 -Mrm <<<"$waiting" >/dev/null || sleep 0.1
    done
    rm -f /var/spool/exim4/db/retry*
}

# calm: Exim is not in a panic. Its daemon (4.96) may find its own socket of notifications in use when it is told to begin
# anew under load; it then does without it.
calm() { ! grep -sv 'daemon_notifier_socket bind: Address already in use$' /var/log/exim4/paniclog; }

# enforced PREFIX: what the policies ask is done.
enforced() {
    forget
    fate "$1@good.test" '=> .*T=remote_smtp_mtasts.* CV=yes'
    fate "$1@expired.test" '== .*mtasts\[|== .*certificate'
    fate "$1@nomatch.test" '== .*mtasts\['
    fate "$1@testing.test" '=> .*T=remote_smtp_testing'
    fate "$1@nopolicy-selfsigned.test" '=> .*T=remote_smtp '
}

# plain PREFIX: Exim is in order, and MTA-STS unknown to it.
plain() {
    forget
    exim4 -bV >/dev/null || die "Exim has no valid configuration"
    ! prints mtasts exim4 -bP transport_list || die "Exim still has our transports"
    calm || die "paniclog"
    fate "$1@good.test" '=> .*T=remote_smtp '
    fate "$1@expired.test" '=> .*T=remote_smtp '
}

listening() {
    local waited=0
    until (: </dev/tcp/127.0.0.1/25) 2>/dev/null; do
        waited=$((waited + 1))
        [ $waited -lt 100 ] || die "Exim does not listen"
        sleep 0.1
    done
}

# Debian's own files are as exim4-config has brought them.
pristine() {
    local changed
    changed=$(dpkg --verify exim4-config exim4-base exim4-daemon-heavy || :)
    # debconf's answers are no conffile. Minimal images have no documentation.
    changed=$(grep -v '/usr/share/\(doc\|man\|locale\)/' <<<"$changed" || :)
    [ -z "$changed" ] || die "changed: $changed"
}

installed() {
    prints remote_smtp_mtasts exim4 -bP transport_list || die "Exim does not have our transports"
    prints "\bmtasts\b" id -nG Debian-exim || die "Debian-exim is not in the group"
    [ "$(stat -c '%U %G %a' /var/lib/mtasts)" = 'mtasts mtasts 2770' ] || die "/var/lib/mtasts: $(stat -c '%U %G %a' /var/lib/mtasts)"
    if [ "$config" = split ]; then
        pristine
    else
        [ "$(grep -c '^### end .*/[0-9]*_mtasts$' /etc/exim4/exim4.conf.template)" = 4 ] || die "the template"
    fi
    [ -e /etc/systemd/system/timers.target.wants/mtasts-refresh.timer ] || die "the timer is not enabled"
    [ ! -e /etc/systemd/system/multi-user.target.wants/mtasts-refresh.service ] || die "the service itself is enabled"
    prints '/systemd/system/mtasts-serve.service$' dpkg-query -L mtasts || die "no package has the server"
    [ ! -e /etc/systemd/system/multi-user.target.wants/mtasts-serve.service ] || die "the server is enabled"
    for page in /usr/share/man/man1/mtasts.1.gz /usr/share/man/man5/mtasts.toml.5.gz /usr/share/bash-completion/completions/mtasts; do
        prints '^mtasts:' dpkg-query -S $page || die "no package has $page"
    done
    for package in libmtasts1 libmtasts-dev mtasts; do
        prints "/usr/share/doc/$package/third-party-licences.txt" dpkg-query -L "$package" || die "$package has no licences"
    done
    mtasts --version
    service exim4 stop
    say installed
}

mail() {
    # The directory of the packages, not the lab's own.
    sed -i '/^cache_dir/d' /etc/mtasts/mtasts.toml
    service exim4 start
    listening
    prints 'transport = remote_smtp_mtasts' exim4 -bt someone@good.test || die "exim4 -bt"
    enforced first
    [ "$(stat -c '%U %G' /var/lib/mtasts/good.test)" = 'mtasts mtasts' ] || die "the cache is $(stat -c '%U %G' /var/lib/mtasts/good.test)'s"
    # As the timer does.
    setpriv --reuid mtasts --regid mtasts --init-groups mtasts cache refresh || die "the refresh: $?"
    mtasts cache status || die "the status: $?"

    # Mail goes on while each file is replaced, up and down.
    (
        count=0
        while [ ! -e /tmp/enough ]; do
            until submit "load$count@good.test"; do sleep 0.05; done
            count=$((count + 1))
        done
        echo $count >/tmp/count
    ) >/tmp/load 2>&1 &
    load=$!
    for round in 1 2 3; do
        for folder in $newer $new; do
            dpkg -i $folder/*.deb >/tmp/dpkg 2>&1 || { cat /tmp/dpkg; die "dpkg -i $folder, round $round"; }
        done
    done
    dpkg -i $newer/*.deb
    touch /tmp/enough
    wait $load
    count=$(cat /tmp/count)
    [ "$count" -gt 20 ] || die "only $count mails during the upgrades"
    waited=0
    until [ "$(grep -cE '=> load[0-9]+@good.test ' $log)" -ge "$count" ] || [ $waited -gt 300 ]; do
        waited=$((waited + 1))
        sleep 0.1
    done
    verified=$(grep -E '=> load[0-9]+@good.test .*T=remote_smtp_mtasts.* CV=yes' $log | wc -l)
    echo "load: $verified of $count verified, $(grep -cE '== load[0-9]+@good.test ' $log || :) deferred, in 7 upgrades"
    [ "$verified" = "$count" ] || die "$verified of $count mails were delivered over verified TLS"
    calm || die "paniclog"
    listening
    enforced upgraded

    apt-get remove -q -y exim4-mtasts mtasts libmtasts1 libmtasts-dev
    [ -e /etc/exim4/conf.d/router/190_mtasts ] || die "remove has purged"
    listening
    plain removed
    pristine

    apt-get install -q -y --no-install-recommends $newer/*.deb
    listening
    enforced again

    apt-get purge -q -y exim4-mtasts mtasts libmtasts1 libmtasts-dev
    listening
    plain purged
    pristine
    ! find /etc/exim4 /etc/systemd /etc/cron.d /usr /var/lib -name '*mtasts*' -not -path '/var/lib/dpkg/*' | grep . || die "purge has left files"
    [ ! -e /var/lib/exim4/config.autogenerated ] || ! grep -i mtasts /var/lib/exim4/config.autogenerated || die "Exim's configuration"
    ! prints "\bmtasts\b" id -nG Debian-exim || die "Debian-exim is still in the group"
    service exim4 restart
    listening
    fate "restarted@good.test" '=> .*T=remote_smtp '
    say "all"
}

"$1"
