"""MX hosts that mean harm, or do it: at each point of the session, in sync and in asyncio."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import SO_LINGER, SOL_SOCKET
from threading import Thread
from typing import Any

import pytest
from conftest import Lab
from test_careful import BODY, BOTH, PORT, SENDER

import mtasts
from mtasts import smtp

POINTS = ["banner", "ehlo", "mail", "rcpt", "data", "body"]
GOOD = {
    "banner": b"220 here\r\n",
    "ehlo": b"250-here\r\n250 8BITMIME\r\n",
    "mail": b"250 ok\r\n",
    "rcpt": b"250 ok\r\n",
    "data": b"354 go on\r\n",
    "body": b"250 2.0.0 queued\r\n",
    "quit": b"221 bye\r\n",
}
# What is not a reply of SMTP, or not one that fits; the connection stays open.
ODD = {
    "no code": b"hello\r\n",
    "binary": bytes(range(1, 256)) + b"\r\n",
    "NUL": b"\0\0\0 \0\r\n",
    "empty": b"\r\n",
    "a code of no class": b"700 7.7.7 welcome\r\n",
    "a code out of place": b"199 wait for it\r\n",
    "a long line": b"250 " + b"x" * 100_000 + b"\r\n",
    "two codes": b"250-yes\r\n451 4.3.0 no\r\n",
}


class Host:
    """An MX host that says this at this point, and what it should at the others."""

    def __init__(self, point: str, said: bytes, then: str = "") -> None:
        self.replies = {**GOOD, point: said}
        self.point, self.then = point, then
        self.taken = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(point: str) -> bool:
            said = self.replies[point]
            if point == self.point and self.then == "drips":
                for octet in said:
                    writer.write(bytes([octet]))
                    await asyncio.sleep(0.3)
            writer.write(said if self.then != "drips" or point != self.point else b"")
            await writer.drain()
            if point == self.point and self.then == "resets":
                # A TCP reset in place of an orderly end.
                writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            return not (point == self.point and self.then == "hangs up")

        try:
            if not await say("banner"):
                return
            while line := await reader.readline():
                verb = line[:4].decode("latin-1").lower()
                if verb in self.replies and not await say(verb):
                    return
                if verb == "quit":
                    return
                if verb == "helo":
                    writer.write(b"502 EHLO\r\n")
                if verb == "rset":
                    writer.write(b"250 ok\r\n")
                if verb == "data" and self.replies["data"].startswith(b"354"):
                    await reader.readuntil(b"\r\n.\r\n")
                    self.taken += 1
                    if not await say("body"):
                        return
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.close()


@contextmanager
def serving(host: Callable[..., Any]) -> Iterator[None]:
    """Such a host for nopolicy.test."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(host, "0.0.0.0", PORT), loop).result()

    async def end() -> None:
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def fails(send: Any, cache: str, limit: float = 15) -> smtp.DeliveryError:
    """What is raised, in time; no recipient is forgotten."""
    before = time.monotonic()
    with pytest.raises(smtp.DeliveryError) as failure:
        send(cache, BODY, ["a@nopolicy.test", "b@nopolicy.test"], 3, sender=SENDER)
    assert time.monotonic() - before < limit
    assert set(failure.value.recipients) == {"a@nopolicy.test", "b@nopolicy.test"}
    for _, text in failure.value.recipients.values():
        assert len(text) <= 1000 and not any(octet < 32 or octet == 127 for octet in text), text
    return failure.value


@pytest.fixture(autouse=True)
def known(lab: Lab, cache: str) -> None:
    """There is no policy: that is not what is tried here."""
    lab.reset()
    mtasts.Resolver(cache_dir=cache).lookup("nopolicy.test")


@BOTH
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("then", ["hangs up", "resets"])
def test_who_goes_without_a_word(lab: Lab, cache: str, send: Any, point: str, then: str) -> None:
    for said in (b"", GOOD[point][:5]):
        with serving(Host(point, said, then)):
            assert isinstance(fails(send, cache), smtp.TemporaryError)


@BOTH
@pytest.mark.parametrize("odd", ODD)
def test_who_says_what_is_no_reply(lab: Lab, cache: str, send: Any, odd: str) -> None:
    """A host that does not speak SMTP is one that does not work: the mail waits."""
    for point in POINTS:
        with serving(Host(point, ODD[odd], "hangs up" if odd != "two codes" else "")):
            error = fails(send, cache)
            assert isinstance(error, smtp.TemporaryError), (point, error)


@BOTH
def test_replies_that_act_on_a_terminal(lab: Lab, cache: str, send: Any) -> None:
    said = b"550-5.1.1 \x1b[2J\x1b]0;owned\x07gone\r\n550-5.1.1 \xe2\x80\xaereversed\x00\r\n550 5.1.1 for good\r\n"
    for point in ("mail", "rcpt", "data", "body"):
        with serving(Host(point, said)):
            error = fails(send, cache)
            assert isinstance(error, smtp.PermanentError) and error.smtp_code == 550, point
            assert error.smtp_error.startswith(b"5.1.1 ") and b"for good" in error.smtp_error
            assert "\x1b" not in str(error) and "\u202e" not in str(error)
    # Such a host takes the mail; its reply is in the log of whoever sent it.
    with serving(Host("body", said.replace(b"550", b"250").replace(b"5.1.1", b"2.1.1"))):
        (got, _) = send(cache, BODY, ["a@nopolicy.test", "b@nopolicy.test"], 3, sender=SENDER).values()
        assert got.reply.startswith("250 2.1.1 ") and not set(got.reply) & {"\x1b", "\x07", "\n", "\x00", "\u202e"}


@BOTH
def test_the_last_word_may_be_slow(lab: Lab, cache: str, send: Any) -> None:
    """A host that scans the mail has it already, and who hangs up sends it again (RFC 5321 4.5.3.2.6)."""
    host = Host("body", GOOD["body"], "drips")
    with serving(host):
        assert len(send(cache, BODY, ["a@nopolicy.test", "b@nopolicy.test"], 3, sender=SENDER)) == 2 and host.taken == 1
        # The delivery ends in time anyway. The mail waits, and is not refused.
        before = time.monotonic()
        with pytest.raises(smtp.TemporaryError):
            send(cache, BODY, "a@nopolicy.test", 3, sender=SENDER, timeout=4)
        assert time.monotonic() - before > 3.9 and host.taken == 2


@BOTH
@pytest.mark.parametrize("then", ["hangs up", "resets", "drips"])
def test_nothing_at_quit_counts(lab: Lab, cache: str, send: Any, then: str) -> None:
    for said in (b"", b"\x1b[2J", b"500 no\r\n", b"221-x\r\n" * 1000):
        host = Host("quit", said, then)
        with serving(host):
            before = time.monotonic()
            assert len(send(cache, BODY, ["a@nopolicy.test", "b@nopolicy.test"], 60, sender=SENDER)) == 2
            assert time.monotonic() - before < 20 and host.taken == 1


@BOTH
def test_a_handshake_ends_with_the_delivery(lab: Lab, cache: str, send: Any) -> None:
    """The answer to STARTTLS comes late, and then nothing: no host has the time twice."""

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        await reader.readline()
        writer.write(b"250-here\r\n250 STARTTLS\r\n")
        await reader.readline()
        await asyncio.sleep(2)
        writer.write(b"220 go on\r\n")
        await reader.read()
        await asyncio.sleep(60)

    with serving(host):
        before = time.monotonic()
        with pytest.raises(smtp.TemporaryError):
            send(cache, BODY, "a@nopolicy.test", 30, sender=SENDER, timeout=3)
        assert time.monotonic() - before < 20


@BOTH
def test_a_large_mail_has_more_time(lab: Lab, cache: str, send: Any) -> None:
    """A slow line is no host that does not answer."""
    host = Host("data", GOOD["data"])

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read = reader.readuntil

        async def readuntil(end: bytes) -> bytes:
            if end == b"\n":
                return await read(end)
            await asyncio.sleep(4)
            while not (line := await read(b"\n")).startswith(b".\r\n"):
                pass
            return line

        reader.readuntil = readuntil  # type: ignore[method-assign,assignment]
        await host(reader, writer)

    with serving(slow):
        large = BODY + b"x" * 70 + (b"\r\n" + b"x" * 70) * 100_000
        assert send(cache, large, "a@nopolicy.test", 3, sender=SENDER, timeout=60) and host.taken == 1
