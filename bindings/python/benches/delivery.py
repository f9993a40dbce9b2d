"""How long deliveries take, as JSON: run by `bench.py`, and in few rounds by the tests, on the test Internet as root.

    delivery.py ROUNDS CACHE

In each round the cases take turns, because others use the machine too. For each case: the median of its rounds in
seconds, and the median of its ratios to what it is compared with in the same round.
"""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import aiosmtplib

import mtasts
from mtasts import aiosmtp, smtp
from mtasts.outcome import Results

MAILS = 100
DOMAINS = 40
HOST = "mx.good.test"
TO = "bench@good.test"
SENDER = "ann@sender.test"
# With what each case is compared.
FLOORS = {
    "smtplib": "smtplib",
    "mtasts.smtp": "smtplib",
    "aiosmtplib": "aiosmtplib",
    "mtasts.aiosmtp": "aiosmtplib",
    "by hand": "by hand",
    "at once": "by hand",
}
# They have hosts that are down: how long that takes is the network's.
SLOW = {"downfirst.test", "v6dead.test", "https-v6dead.test", "https-deadfirst.test", "mx-nxdomain.test"}


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["Subject"], message["To"] = SENDER, "a letter", TO
    message.set_content("Dear all,\nthis is a letter.\n" * 20)
    return message


def main(rounds: int, cache: str) -> None:
    command = [os.environ.get("MTASTS_LAB_COMMAND", "mtasts"), "lab", "list", "--json"]
    table = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    good = [entry["name"] for entry in table if "deliver-verified" in entry["expect"] and entry["name"] not in SLOW]
    recipients = [f"bench@{name}" for name in good[:DOMAINS]]
    assert len(recipients) == DOMAINS
    resolver = mtasts.Resolver(cache_dir=cache)
    for name in good[:DOMAINS]:
        resolver.lookup(name)
    settings: dict[str, Any] = {"results": Results(), "hostname": "sender.test"}
    client = smtp.Client(resolver, **settings)
    waiting = aiosmtp.Client(resolver, **settings)
    message = letter()
    anything = ssl.create_default_context()
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE

    def plainly() -> None:
        with smtplib.SMTP(HOST, local_hostname="sender.test") as connection:
            connection.starttls(context=anything)
            for _ in range(MAILS):
                connection.send_message(message, SENDER, [TO])

    def ours() -> None:
        with client:
            for _ in range(MAILS):
                client.send_message(message, SENDER, [TO])

    async def plainly_waiting() -> None:
        async with aiosmtplib.SMTP(
            hostname=HOST, port=25, local_hostname="sender.test", tls_context=anything
        ) as connection:
            for _ in range(MAILS):
                await connection.send_message(message, sender=SENDER, recipients=[TO])

    async def ours_waiting() -> None:
        async with waiting:
            for _ in range(MAILS):
                await waiting.send_message(message, SENDER, [TO])

    async def by_hand() -> None:
        await asyncio.gather(*(waiting.deliver(message, [to], sender=SENDER) for to in recipients))

    async def at_once() -> None:
        await waiting.deliver(message, recipients, sender=SENDER)

    cases: dict[str, Callable[[], object]] = {
        "smtplib": plainly,
        "mtasts.smtp": ours,
        "aiosmtplib": lambda: asyncio.run(plainly_waiting()),
        "mtasts.aiosmtp": lambda: asyncio.run(ours_waiting()),
        "by hand": lambda: asyncio.run(by_hand()),
        "at once": lambda: asyncio.run(at_once()),
    }
    taken: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, run in cases.items():
            begin = time.perf_counter()
            run()
            taken[case].append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                case: {
                    "seconds": statistics.median(times),
                    "ratio": statistics.median(took / floor for took, floor in zip(times, taken[FLOORS[case]])),
                }
                for case, times in taken.items()
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
