"""The numbers of RESULTS.md: run by `make bench` on the test Internet, as root.

Each block is one run, in which the cases took turns; a ratio is over the first row of its block.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import dns.message
import dns.rcode
from postfix_mta_sts_resolver.resolver import STSResolver

import mtasts
from mtasts import aio

NOBODY = 65534
SLOW_DNS = ("127.0.0.1", 5354)
DELAY = 0.25
LOOKUPS = 10_000


def main() -> None:
    print(f"""# Speed, measured

By `make bench` on {time.strftime("%Y-%m-%d")}: {os.cpu_count()} cores, {platform.python_implementation()} \
{platform.python_version()}, libmtasts {mtasts.__version__}, load {os.getloadavg()[0]:.2f} at the start. Absolute values
move with the machine; a ratio is over the first row of its block and was taken in one run, in which the cases took
turns.""")
    cached()
    cold()
    many()
    deliveries()


def table(title: str, rows: list[tuple[str, str, float | None]]) -> None:
    print(f"\n## {title}\n\n| case | measured | ratio |\n| --- | --- | --- |")
    for case, measured, ratio in rows:
        print(f"| {case} | {measured} | {'' if ratio is None else f'{ratio:.2f}'} |")


def new_cache() -> str:
    path = tempfile.mkdtemp(prefix="mtasts-bench-")
    os.chown(path, NOBODY, NOBODY)
    return path


def cached() -> None:
    """A hit: nothing but the call, against the smallest call there is through cffi."""
    from mtasts._native import lib

    resolver = mtasts.Resolver(cache_dir=new_cache())
    loop = asyncio.new_event_loop()
    waiting = aio.Resolver(resolver)
    answer = resolver.lookup("good.test")
    keep_warm = time.monotonic()

    async def many_times(count: int) -> None:
        for _ in range(count):
            await waiting.lookup("good.test")

    def read(answer: mtasts.Answer) -> object:
        return answer.mode, answer.id, answer.mx

    cases: dict[str, Callable[[int], object]] = {
        "a call that does nothing, through cffi": lambda n: [lib.mtasts_version_number() for _ in range(n)],
        "lookup": lambda n: [resolver.lookup("good.test") for _ in range(n)],
        "lookup, and its mode, id and patterns": lambda n: [read(resolver.lookup("good.test")) for _ in range(n)],
        "aio lookup": lambda n: loop.run_until_complete(many_times(n)),
        "verdict": lambda n: [mtasts.Attempt(answer, "mx.good.test").saw() for _ in range(n)],
    }
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(200):
        if time.monotonic() - keep_warm > 2:
            resolver.lookup("good.test")
            keep_warm = time.monotonic()
        for case, run in cases.items():
            begin = time.thread_time()
            run(500)
            times[case].append((time.thread_time() - begin) / 500)
    # Of this thread's own time, and a tenth of the way up: the machine has other things to do.
    best = {case: statistics.quantiles(taken, n=10)[0] for case, taken in times.items()}
    floor = next(iter(best.values()))
    table(
        "A lookup that the cache knows (time of the thread, 10th percentile)",
        [(case, f"{taken * 1e6:.2f} us", taken / floor) for case, taken in best.items()],
    )
    loop.close()


COLD = [
    "good",
    "wild",
    "wildcert",
    "twomx",
    "tls12",
    "v6",
    "hub",
    "sameip",
    "mixed",
    "implicit",
    "cname-mx",
    "downfirst",
]


def cold() -> None:
    """The same domains, nothing cached: DNS and HTTPS, one after another."""
    names = [f"{name}.test" for name in COLD]

    async def peer() -> None:
        resolver = STSResolver(loop=asyncio.get_running_loop())
        for name in names:
            result, policy = await resolver.resolve(name)
            assert policy is not None, (name, result)

    def ours() -> None:
        resolver = mtasts.Resolver(cache_dir=new_cache())
        for name in names:
            assert resolver.lookup(name).source is mtasts.Source.FRESH

    async def ours_waiting() -> None:
        resolver = aio.Resolver(mtasts.Resolver(cache_dir=new_cache()))
        for name in names:
            assert (await resolver.lookup(name)).source is mtasts.Source.FRESH

    # As an ordinary user, who does the work by himself; and in a process of root, which lets a child do it.
    cases: dict[str, Callable[[], object]] = {
        "postfix-mta-sts-resolver (stores nothing)": lambda: asyncio.run(peer()),
        "mtasts (and the policy is on disk, synced)": lambda: as_nobody(ours),
        "mtasts, aio": lambda: as_nobody(lambda: asyncio.run(ours_waiting())),
        "mtasts in a process of root": ours,
    }
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(15):
        for case, run in cases.items():
            begin = time.perf_counter()
            took = run()
            # A child measures itself: its fork is not the library's.
            times[case].append((took if isinstance(took, float) else time.perf_counter() - begin) / len(names))
    best = {case: min(taken) for case, taken in times.items()}
    floor = next(iter(best.values()))
    table(
        "A lookup of which nothing is known (the best of 15 rounds over 12 domains)",
        [(case, f"{taken * 1e3:.2f} ms", taken / floor) for case, taken in best.items()],
    )


def as_nobody(work: Callable[[], object]) -> float:
    """Does it in a child that is an ordinary user, and says how long it took there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        begin = time.perf_counter()
        work()
        os.write(writer, str(time.perf_counter() - begin).encode())
        os._exit(0)
    os.close(writer)
    took = os.read(reader, 100)
    os.close(reader)
    os.waitpid(child, 0)
    return float(took)


def serve_slowly() -> None:
    """A name server that takes its time, and knows nothing."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    server.bind(SLOW_DNS)
    waiting: list[tuple[float, bytes, Any]] = []
    come = threading.Condition()

    def answer() -> None:
        while True:
            with come:
                while not waiting:
                    come.wait()
                due, query, client = waiting.pop(0)
            time.sleep(max(0.0, due - time.monotonic()))
            reply = dns.message.make_response(dns.message.from_wire(query))
            reply.set_rcode(dns.rcode.NXDOMAIN)
            server.sendto(reply.to_wire(), client)

    threading.Thread(target=answer, daemon=True).start()
    while True:
        query, client = server.recvfrom(4096)
        with come:
            waiting.append((time.monotonic() + DELAY, query, client))
            come.notify()


def many() -> None:
    """Ten thousand lookups at once, of as many domains, each with a name server that takes a quarter of a second; and
    a timer that has nothing to do with them."""
    server = subprocess.Popen([sys.executable, __file__, "--serve-slowly"])
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=new_cache(), nameservers=[":".join(map(str, SLOW_DNS))]))
    try:
        time.sleep(1)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, json.dumps(asyncio.run(measure(resolver))).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as said:
            idle, busy, took, before, pending, peak = json.load(said)
        os.waitpid(child, 0)
    finally:
        server.terminate()
        server.wait()

    def late(delays: list[float]) -> str:
        delays = sorted(delays)
        return f"median {delays[len(delays) // 2] * 1e3:.2f} ms, 99 % {delays[int(len(delays) * 0.99)] * 1e3:.2f} ms"

    table(
        f"{LOOKUPS} aio lookups at once, of name servers that take {DELAY} s",
        [
            ("a timer of 5 ms is late by, before", late(idle), None),
            ("the same during the lookups", late(busy), None),
            ("all lookups", f"{took:.1f} s", None),
            ("the least that 256 threads need", f"{LOOKUPS * DELAY / 256:.1f} s", took / (LOOKUPS * DELAY / 256)),
            ("memory of the process before", f"{before / 1024:.1f} MiB", None),
            ("more when all are under way, for each lookup", f"{(pending - before) * 1024 / LOOKUPS:.0f} octets", None),
            ("more at the peak, with 256 threads", f"{(peak - before) / 1024:.1f} MiB", None),
        ],
    )


async def measure(resolver: aio.Resolver) -> tuple[Any, ...]:
    delays: list[float] = []

    async def timer() -> None:
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            delays.append(time.monotonic() - due)

    await resolver.lookup("warm.example")
    ticking = asyncio.ensure_future(timer())
    await asyncio.sleep(2)
    idle, before = delays[:], memory()
    begin = time.monotonic()
    tasks = []
    for n in range(LOOKUPS):
        tasks.append(asyncio.ensure_future(resolver.lookup(f"d{n}.example", timeout=60)))
        if n % 100 == 99:
            # As mails come: some at a time.
            await asyncio.sleep(0)
    delays.clear()
    pending = memory()
    answers = await asyncio.gather(*tasks)
    took = time.monotonic() - begin
    busy = delays[:]
    ticking.cancel()
    sources = {answer.source for answer in answers}
    assert sources == {mtasts.Source.NO_POLICY}, sources
    return idle, busy, took, before, pending, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def deliveries() -> None:
    """Against smtplib and aiosmtplib on one connection, and against gathering deliveries to one domain each."""
    program = os.path.join(os.path.dirname(__file__), "delivery.py")
    done = subprocess.run([sys.executable, program, "25", new_cache()], check=True, capture_output=True)
    took = json.loads(done.stdout)
    for title, cases in [
        ("100 mails to one MX host", ["smtplib", "mtasts.smtp"]),
        ("100 mails to one MX host, asyncio", ["aiosmtplib", "mtasts.aiosmtp"]),
        ("One mail to 40 domains, asyncio", ["by hand", "at once"]),
    ]:
        table(
            f"{title} (the medians of 25 rounds)",
            [(NAMES[case], f"{took[case]['seconds'] * 1e3:.0f} ms", took[case]["ratio"]) for case in cases],
        )


NAMES = {
    "smtplib": "smtplib, one connection with STARTTLS",
    "mtasts.smtp": "with mtasts.smtp.Client()",
    "aiosmtplib": "aiosmtplib, one connection with STARTTLS",
    "mtasts.aiosmtp": "async with mtasts.aiosmtp.Client()",
    "by hand": "asyncio.gather over a delivery to each",
    "at once": "one delivery",
}


def memory() -> int:
    """What the process has in memory, in KiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


if __name__ == "__main__":
    if "--serve-slowly" in sys.argv:
        serve_slowly()
    elif "--deliveries" in sys.argv:
        deliveries()
    else:
        main()
