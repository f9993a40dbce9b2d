"""Real workers that are killed while they send: each mail arrives once, or the caller learns that it may not have."""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from conftest import Lab

MAILS = int(os.environ.get("MTASTS_MAILS", "150"))
"""`make proof` sends 1,000."""

GUNICORN = """
from urllib.parse import parse_qs
from mtasts import smtp
import mtasts

# Before the fork: the workers have what the parent had.
mtasts.lookup("good.test")

def application(environment, start_response):
    (to,) = parse_qs(environment["QUERY_STRING"])["to"]
    try:
        smtp.deliver(b"Subject: x\\r\\n\\r\\nx\\r\\n", to, sender="ann@sender.test")
        status = "200 OK"
    except smtp.DeliveryError as error:
        status = "503 Wait" if error.deferred else "410 Gone"
    start_response(status, [("Content-Length", "0")])
    return [b""]
"""

CELERY = """
import sys
import celery
import mtasts
from mtasts import smtp

mtasts.lookup("good.test")
app = celery.Celery("mail", broker=REDIS, backend=REDIS)
"""


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def kill_some(parent: int, pause: float, going_on: Callable[[], bool]) -> int:
    """Kills a worker again and again, and says how often; between two kills are at most so many seconds."""
    dice, killed = random.Random(8461), 0
    while going_on():
        time.sleep(dice.uniform(0, pause))
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            workers = children(parent)
            if workers and going_on():
                os.kill(dice.choice(workers), dice.choice([signal.SIGKILL, signal.SIGTERM]))
                killed += 1
    return killed


def end(server: subprocess.Popen[bytes]) -> None:
    """All is done; how well it stops is not what is tried."""
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()


def arrivals(lab: Lab, name: str) -> Counter[str]:
    """How often each recipient got the mail."""
    mails = lab.seen()["mail"]
    return Counter(to for mail in mails for to in mail["recipients"] if to.startswith(name))


def show(name: str, killed: int, lost: list[str], got: Counter[str]) -> None:
    """For `make proof`."""
    arrived = sum(got[to] for to in lost)
    print(f"{name}: {MAILS} mails, {killed} kills, {len(lost)} reported as unknown, of which {arrived} arrived")
    print(f"{name}: {sum(got.values())} arrived, {sum(count > 1 for count in got.values())} of them twice")


def test_gunicorn(lab: Lab, tmp_path: Path) -> None:
    lab.reset()
    (tmp_path / "mailapp.py").write_text(GUNICORN)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "4", "-b", f"127.0.0.1:{port}", "mailapp"]
    said: dict[str, int] = {}

    def ask(number: int) -> None:
        to = f"gunicorn{number}@{'nowhere' if number % 50 == 49 else 'good'}.test"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/?to={to}", timeout=60) as reply:
                said[to] = reply.status
        except urllib.error.HTTPError as error:
            said[to] = error.code
        except OSError:
            said[to] = 0

    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as server:
        try:
            assert server.stderr
            while b"Booting worker" not in server.stderr.readline():
                pass
            with ThreadPoolExecutor(5) as pool, ThreadPoolExecutor(1) as other:
                asked = [pool.submit(ask, number) for number in range(MAILS)]
                killer = other.submit(kill_some, server.pid, 0.3, lambda: not all(ask.done() for ask in asked))
        finally:
            end(server)
    assert killer.result() > 1
    got = arrivals(lab, "gunicorn")
    assert len(said) == MAILS
    for to, status in said.items():
        if status == 200:
            assert got[to] == 1, (to, got[to])
        elif to.endswith("@nowhere.test") and status:
            assert status == 410
        else:
            # The program that asked knows of no reply, and does not know whether the mail arrived.
            assert status == 0 and got[to] <= 1, (to, status, got[to])
    lost = [to for to, status in said.items() if status == 0]
    show("gunicorn", killer.result(), lost, got)
    assert len(lost) <= 2 * killer.result(), (len(lost), killer.result())


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[str]:
    """A Redis of its own."""
    command = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(directory / "redis"),
        "--save",
        "",
        "--daemonize",
        "no",
    ]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL) as server:
        try:
            while not (directory / "redis").exists():
                assert server.poll() is None
                time.sleep(0.05)
            yield f"redis+socket://{directory / 'redis'}"
        finally:
            end(server)


def test_celery_prefork(lab: Lab, tmp_path: Path) -> None:
    lab.reset()
    celery = importlib.import_module("celery")
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text()
    task = readme.partition("With Celery")[2].partition("```python\n")[2].partition("```")[0]
    names = [f"celery{number}@{'nowhere' if number % 50 == 49 else 'good'}.test" for number in range(MAILS)]
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "4", "-l", "INFO"]
    log = tmp_path / "log"
    deadline = time.monotonic() + 60 + MAILS / 5
    with redis(tmp_path) as url, log.open("wb") as out:
        (tmp_path / "tasks.py").write_text(f"REDIS = {url!r}\n{CELERY}{task}")
        app = celery.Celery("mail", broker=url, backend=url)
        mail = "Subject: x\r\n\r\nx\r\n"
        tickets: dict[str, Any] = {}

        def going_on() -> bool:
            is_done = len(tickets) == MAILS and all(ticket.ready() for ticket in tickets.values())
            return not is_done and time.monotonic() < deadline

        with subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out) as worker:
            try:
                # Celery gives up if its workers die before that.
                while " ready." not in log.read_text():
                    assert worker.poll() is None and time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
                with ThreadPoolExecutor(1) as other:
                    killer = other.submit(kill_some, worker.pid, 0.8, going_on)
                    for to in names:
                        tickets[to] = app.send_task("tasks.send", (mail, "ann@sender.test", [to]))
                        # All at once would be done before anybody is killed.
                        time.sleep(0.02)
                    killed = killer.result()
            finally:
                end(worker)
        became = {to: (ticket.status, repr(ticket.result)) for to, ticket in tickets.items()}
    got = arrivals(lab, "celery")
    assert killed > 1
    for to, (status, result) in became.items():
        if status == "SUCCESS":
            assert got[to] == (0 if to.endswith("@nowhere.test") else 1), (to, got[to])
        else:
            # The program that asked learns that it does not know whether the mail arrived.
            assert status == "FAILURE" and "WorkerLost" in result, (to, status, result, log.read_text()[-3000:])
            assert got[to] <= 1, (to, result, got[to])
    lost = [to for to, (status, _) in became.items() if status == "FAILURE"]
    show("celery", killed, lost, got)
    assert len(lost) <= 2 * killed, (len(lost), killed)
