#!/usr/bin/env python3
"""Domains of the test Internet whose policies a real `mtasts host` serves, in place of the policy hosts that they have
there.

    hosted.py MTASTS DIR

MTASTS is the command with the test Internet, which is around us ($MTASTS_LAB); its files are in DIR. Says "ready" when
the host runs and the records in DNS are those that it prints. The end of the input stops it. What a sender then does:

    good.test   verifies its host, which the policy lists
    twomx.test  lets the mail wait: its hosts are good, and the policy lists another
    wild.test   delivers: the policy is in testing
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

MTASTS, DIR = Path(sys.argv[1]), Path(sys.argv[2])
POLICIES = {
    "good.test": ("enforce", "mx.good.test"),
    "twomx.test": ("enforce", "mx.elsewhere.test"),
    "wild.test": ("testing", "mx.elsewhere.test"),
}
TRUST = Path("/etc/ssl/certs/ca-certificates.crt")
NOBODY = 65534


def openssl(*words):
    subprocess.run(["openssl", *words], cwd=DIR, check=True, stderr=subprocess.DEVNULL)


def certify():
    """An authority of our own, which all who are on this test Internet trust from now on, and its certificates."""
    if " mtasts-lab " not in Path("/proc/self/mountinfo").read_text():
        raise SystemExit("this is the machine's own /etc")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=of the host", "-days", "9")
    with TRUST.open("a") as trust:
        trust.write((DIR / "root.pem").read_text())
    for domain in POLICIES:
        name = f"mta-sts.{domain}"
        place = f"certificates/{name}"
        (DIR / place).mkdir(parents=True)
        openssl(
            "req", "-x509", *key, "-CA", "root.pem", "-CAkey", "root.key", "-days", "9", "-subj", "/",
            "-addext", f"subjectAltName=critical,DNS:{name}", "-addext", "basicConstraints=CA:FALSE",
            "-keyout", f"{place}/privkey.pem", "-out", f"{place}/fullchain.pem",
        )  # fmt: skip
        os.chown(DIR / place / "privkey.pem", NOBODY, NOBODY)


def settings():
    """As an operator writes them. The addresses are those to which the names of the policy hosts lead here."""
    hosts = {domain: socket.gethostbyname(f"mta-sts.{domain}") for domain in POLICIES}
    ledger = DIR / "ledger"
    ledger.mkdir()
    os.chown(ledger, NOBODY, NOBODY)
    addresses = list(hosts.values())
    lines = [
        f'ledger = "{ledger}/ledger.db"',
        f'certificates = "{DIR}/certificates"',
        'zone = "sts.example.net"',
        f"addresses = {json.dumps(addresses)}",
        f"https = {json.dumps([f'{address}:443' for address in addresses])}",
    ]
    for domain, (mode, mx) in POLICIES.items():
        lines += [f'[domain."{domain}"]', f'mode = "{mode}"', "max_age = 86400", f'mx = ["{mx}"]']
    (DIR / "host.toml").write_text("".join(f"{line}\n" for line in lines))
    return hosts


def until(what, holds):
    end = time.monotonic() + 60
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def is_free(host):
    with socket.socket() as probe:
        return probe.connect_ex((host, 443)) != 0


def change(domain, *changes):
    subprocess.run([MTASTS, "lab", "set", domain, *changes], check=True)


def main():
    DIR.mkdir()
    DIR.chmod(0o755)
    certify()
    for domain, host in settings().items():
        change(domain, "https=refused")
        until(f"{host} without its policy host", lambda host=host: is_free(host))
    command = [MTASTS, "host"]
    settings_file = ["--settings", DIR / "host.toml"]
    log = DIR / "log"
    with log.open("w") as file:
        host = subprocess.Popen([*command, "run", *settings_file], stdin=subprocess.DEVNULL, stderr=file)
    try:
        until("the host", lambda: "ready." in log.read_text() or host.poll() is not None)
        for domain in POLICIES:
            records = subprocess.check_output([*command, "records", *settings_file, domain, "--direct"], text=True)
            change(domain, "txt=" + re.search('"(v=STSv1; [^"]*)"', records)[1])
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        host.terminate()
        if host.wait() != 0:
            raise SystemExit(log.read_text())


main()
