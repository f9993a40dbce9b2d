#!/usr/bin/env python3
"""sys4's tlsrpt-reporter beside the reporter of mtasts: both get the same sessions, and must make the same reports of them.

    sys4.py PACKAGES DIR [QUEUE]

tlsrpt-reporter is in PACKAGES (tests/tlsrpt/fetch.sh), its files are in DIR. With QUEUE that many datagrams can wait, in the
whole network namespace. Says "ready" when the collector reads DIR/socket, to which every user may write. Each line of the
standard input is then answered by one line, "ok" and a number, or what is wrong:

    records MTASTS              each domain of the test Internet around us ($MTASTS_LAB) asks for reports
    compare MTASTS CACHE        ends the day by the collector's signal; its reporter makes the reports of all domains, the command
                                MTASTS makes those of the journals in CACHE, and both are compared entry by entry

The end of the input ends the collector.

The programs of tlsrpt-reporter run as they are, but not from a fresh interpreter: each is a copy of this process, because
its reporter starts one for each domain.
"""

import ctypes
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

PACKAGES, DIR = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(PACKAGES))
from tlsrpt_reporter import tlsrpt  # noqa: E402

STORAGE = f"sqlite://{DIR}/results.sqlite"
SENDER = ["--organization_name", "Sender", "--contact_info", "tlsrpt@sender.test", "--sender_address", "tlsrpt@sender.test"]
PATIENCE = 120


def until(what, holds):
    end = time.monotonic() + PATIENCE
    while not (value := holds()):
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)
    return value


class Program:
    """A program of tlsrpt-reporter, as `subprocess.Popen` would start it."""

    def __init__(self, arguments, stdout=None, **_):
        read, write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            # It ends with its parent (PR_SET_PDEATHSIG).
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)
            os.dup2(write if stdout else os.open(os.devnull, os.O_WRONLY), 1)
            # They log there as well as to their files.
            os.dup2(os.open(DIR / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.close(0)
            os.close(read)
            sys.argv = arguments
            try:
                getattr(tlsrpt, f"tlsrpt_{arguments[0]}_main")()
            finally:
                sys.stdout.flush()
                os._exit(0)
        os.close(write)
        self.stdout = os.fdopen(read, "rb")

    def end(self):
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        self.stdout.close()


class OfReporter(Program):
    """A fetcher, or the shell that takes a report."""

    def __new__(cls, arguments, **options):
        if options.get("shell"):
            return POPEN(arguments, stdout=subprocess.DEVNULL, **options)
        return super().__new__(cls)

    returncode = 0

    def communicate(self, timeout):
        return self.stdout.read(), b""

    def __del__(self):
        # Its reporter waits for no fetcher.
        self.stdout.close()
        os.waitpid(self.pid, 0)


POPEN = subprocess.Popen


def start_collector():
    (DIR / "socket").unlink(missing_ok=True)
    collector = Program([
        "collectd", "--storage", STORAGE, "--socketname", f"{DIR}/socket", "--socketmode", "0666", "--sockettimeout", "1",
        "--logfilename", f"{DIR}/collectd.log", "--log_level", "warning",
        "--dump_path_for_invalid_datagram", f"{DIR}/invalid",
    ])  # fmt: skip
    # It makes its data base and sets the mode of the socket after that.
    made = [DIR / "socket", DIR / "results.sqlite"]
    until("the collector", lambda: all(file.exists() for file in made) and made[0].stat().st_mode & 0o777 == 0o666)
    return collector


def read(file, query):
    with sqlite3.connect(f"file:{DIR}/{file}?mode=ro", uri=True) as data:
        return data.execute(query).fetchall()


def records(mtasts):
    """Has the test Internet publish a record for each of its domains."""
    table = json.loads(subprocess.check_output([mtasts, "lab", "list", "--json"]))
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(os.environ["MTASTS_LAB"])
        lines = control.makefile("rw")
        for entry in table:
            domain = entry["name"]
            record = {"_smtp._tls": f"v=TLSRPTv1; rua=mailto:reports@{domain}"}
            lines.write(json.dumps({"op": "set", "domain": domain, "txt-at": record}) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
            if "error" in answer:
                raise ValueError(answer["error"])
    return f"ok {len(table)}"


def in_order(domain, policies):
    """The entries of a report in one order, each with its failures in one order."""
    for entry in policies:
        # Postfix leaves it out without a policy, and RFC 8460 4.4 has it.
        entry["policy"].setdefault("policy-domain", domain)
        # RFC 8460 4.4 has no failure-details without a failure; an empty list says the same.
        # The journal has 4 KiB for a session, and the collector more: of a policy that is longer, the first lines.
        policy = entry["policy"]
        for key in ["policy-string", "mx-host"]:
            lines = [line for line in policy.get(key, []) if len(line) < 1000]
            if key in policy:
                policy[key] = lines[:4] if len(json.dumps(lines)) > 600 else lines
        for detail in entry.get("failure-details", []):
            # Postfix has the whole reply to EHLO there, of which we make one line.
            if helo := detail.get("receiving-mx-helo"):
                detail["receiving-mx-helo"] = " ".join(helo.split())
        entry["failure-details"] = sorted(entry.get("failure-details", []), key=lambda d: json.dumps(d, sort_keys=True))
    return sorted(json.dumps(entry, sort_keys=True) for entry in policies)


def theirs(sessions, collector):
    """The reports of the collector's day, by domain."""
    counted = "select coalesce(sum(cntrtotal), 0) from finalresults"
    until(f"{sessions} sessions", lambda: read("results.sqlite", counted)[0][0] == sessions)
    os.kill(collector.pid, signal.SIGUSR2)
    # It has made an empty one when it began.
    yesterday = DIR / "results.sqlite.yesterday"
    until("the end of the day", lambda: yesterday.exists() and read(yesterday.name, counted)[0][0] == sessions)
    collector.end()
    log = (DIR / "collectd.log").read_text()
    if log or (DIR / "invalid").exists():
        raise ValueError(f"the collector complains: {log}")
    domains = {domain for (domain,) in read(yesterday.name, "select distinct domain from finalresults")}
    (DIR / "reports").mkdir()
    subprocess.Popen = OfReporter
    reporter = Program([
        "reportd", "--fetchers", f"fetcher --storage {STORAGE}", "--dbname", f"{DIR}/reportd.sqlite", *SENDER,
        "--debug_send_file_dest", f"{DIR}/reports", "--sendmail_script", "cat", "--http_script", "cat",
        "--spread_out_delivery", "1", "--interval_main_loop", "1",
        "--logfilename", f"{DIR}/reportd.log", "--log_level", "info", "--pidfilename", f"{DIR}/reportd.pid",
    ])  # fmt: skip
    subprocess.Popen = POPEN
    try:
        # Beside the report of a mail there is the whole mail.
        are_there = lambda: [f for f in (DIR / "reports").iterdir() if "THE_EMAIL" not in f.name and f.stat().st_size]  # noqa: E731
        until(f"{len(domains)} reports", lambda: len(are_there()) == len(domains))
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {(DIR / 'reportd.log').read_text()[-2000:]}") from None
    finally:
        reporter.end()
    reports = {}
    for file in are_there():
        report = json.loads(file.read_text())
        domain = next(domain for domain in domains if file.name.startswith(f"testreport-{domain}-"))
        reports[domain] = report
    return reports


def compare(collector, mtasts, cache):
    owner = os.stat(cache)
    losses = {file.name: file.read_text() for file in Path(cache).glob(".report-*.lost")}
    if losses:
        raise ValueError(f"results are lost: {losses}")
    journals = [file.read_text() for file in Path(cache).glob(".report-*") if not file.name.endswith(".sent")]
    sessions = [json.loads(line) for journal in journals for line in journal.splitlines() if line]
    reports = theirs(len(sessions), collector)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    # As stdin: Debian 13 does not let this user into the home where the checkout is.
    show = ["/proc/self/fd/0", "report", "show", "--organization", "Sender", "--contact", "tlsrpt@sender.test", "--day", day]
    with open(mtasts, "rb") as program:
        shown = subprocess.run(
            [*show, *sorted({session["d"] for session in sessions})],
            env={**os.environ, "MTASTS_CACHE_DIR": cache}, user=owner.st_uid, group=owner.st_gid, check=True,
            stdin=program, capture_output=True, text=True,
        )  # fmt: skip
    ours, rest = {}, shown.stdout
    while rest:
        report, end = json.JSONDecoder().raw_decode(rest)
        ours[report["report-id"].split("_")[1]] = report
        rest = rest[end:].lstrip()
    wrong = []
    if set(ours) != set(reports):
        wrong.append(f"domains: {set(ours) ^ set(reports)}")
    for domain in sorted(set(ours) & set(reports)):
        our, their = ours[domain], reports[domain]
        if set(our) != set(their):
            wrong.append(f"{domain}: the keys {set(our)} and {set(their)}")
        if any(our[key] != their[key] for key in ["organization-name", "contact-info"]):
            wrong.append(f"{domain}: {our} and {their}")
        if any(our["date-range"][key][10:] != their["date-range"][key][10:] for key in our["date-range"]):
            wrong.append(f"{domain}: {our['date-range']} and {their['date-range']}")
        for here, there in zip(in_order(domain, our["policies"]), in_order(domain, their["policies"])):
            if here != there:
                wrong.append(f"{domain}: ours {here}\nsys4's {there}")
        if len(our["policies"]) != len(their["policies"]):
            wrong.append(f"{domain}: {len(our['policies'])} and {len(their['policies'])} policies")
    return "\n".join(wrong) if wrong else f"ok {len(reports)}"


def main():
    for queue in sys.argv[3:]:
        Path("/proc/sys/net/unix/max_dgram_qlen").write_text(queue)
    DIR.mkdir(exist_ok=True)
    DIR.chmod(0o755)
    collector = start_collector()
    print("ready", flush=True)
    for line in sys.stdin:
        what, *arguments = line.split()
        try:
            answer = records(*arguments) if what == "records" else compare(collector, *arguments)
        except Exception as error:  # noqa: BLE001
            answer = f"{type(error).__name__}: {error}"
        print(answer.replace("\n", "\\n"), flush=True)
        if what == "compare":
            return
    collector.end()


main()
