"""Mail to domains whose policies `mtasts host` serves (tests/host/hosted.py): what is served is obeyed."""

from __future__ import annotations

import asyncio
import smtplib
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from conftest import COMMAND, Lab

import mtasts
from mtasts import aio, aiosmtp, smtp


@pytest.fixture
def hosted(lab: Lab, cache: str) -> Iterator[None]:
    """The host, beside the cache."""
    lab.reset()
    program = Path(__file__).parents[3] / "tests/host/hosted.py"
    command = ["python3", str(program), COMMAND, str(Path(cache).parent / "hosted")]
    host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert host.stdin and host.stdout
    try:
        assert host.stdout.readline() == "ready\n"
        yield
    finally:
        host.stdin.close()
        assert host.wait() == 0
        host.stdout.close()
        lab.reset()


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["Subject"] = "ann@sender.test", "a letter"
    message.set_content("Hello.\n")
    return message


@pytest.mark.usefixtures("hosted")
def test_what_our_host_serves_is_obeyed(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    modes = [str(resolver.lookup(domain).mode) for domain in ("good.test", "twomx.test", "wild.test")]
    assert modes == ["enforce", "enforce", "testing"]

    client = smtp.Client(resolver)
    client.deliver(letter(), "sync@good.test")
    client.deliver(letter(), "sync@wild.test")
    with pytest.raises(smtp.TemporaryError):
        client.deliver(letter(), "sync@twomx.test")

    async def send() -> None:
        client = aiosmtp.Client(aio.Resolver(resolver))
        await client.deliver(letter(), "async@good.test")
        await client.deliver(letter(), "async@wild.test")
        with pytest.raises(smtplib.SMTPException):
            await client.deliver(letter(), "async@twomx.test")

    asyncio.run(send())
    for how in ("sync", "async"):
        assert lab.mail_to(f"{how}@good.test")[0]["tls"]
        assert len(lab.mail_to(f"{how}@wild.test")) == 1 and not lab.mail_to(f"{how}@twomx.test")
