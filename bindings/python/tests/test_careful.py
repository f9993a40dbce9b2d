"""What a sender owes its users: nobody is lost, no worker is held, one odd address costs the others nothing."""

from __future__ import annotations

import asyncio
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from threading import Thread
from typing import Any

import pytest
from conftest import Lab

import mtasts
from mtasts import aio, aiosmtp, smtp
from mtasts.outcome import Results

SENDER = "ann@sender.test"
BODY = b"Subject: x\r\n\r\nx\r\n"
PORT = 2528


class Host:
    """An MX host that does what MX hosts should not, at one point of the session."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.cut = b""
        """A mail whose end did not come."""
        self.open = self.sessions = self.most = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.sessions += 1
        self.most = max(self.most, self.open)
        try:
            await self.session(reader, writer)
        except asyncio.IncompleteReadError as end:
            self.cut = end.partial
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def wait(reply: bytes) -> None:
            while True:
                writer.write(reply)
                await writer.drain()
                await asyncio.sleep(0.2)

        sender = ""
        recipients: list[str] = []
        taken = 0
        if self.how == "banner":
            await wait(b"220-wait\r\n")
        if self.how == "drip":
            await wait(b"2")
        if self.how == "flood":
            while True:
                writer.write(b"220-" + b"x" * 500 + b"\r\n")
                await writer.drain()
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode():
            verb = line[:4].upper()
            if self.how == verb.lower():
                return
            if self.how == f"pipelining, {verb.lower()} hangs up":
                writer.write(f"421 4.7.0 enough at {verb.lower()}\r\n".encode())
                return
            if self.how == f"{verb.lower()} waits":
                await wait(b"250-wait\r\n")
            if verb == "EHLO":
                pipelining = b"250-PIPELINING\r\n" if self.how.startswith("pipelining") else b""
                writer.write(b"250-here\r\n" + pipelining + b"250-8BITMIME\r\n250 SMTPUTF8\r\n")
            elif verb == "MAIL" and self.how == "pipelining, mail 550":
                writer.write(b"550 5.7.1 not from you\r\n")
            elif verb == "MAIL" and self.how == "pipelining, gathers":
                # It says nothing before it has heard all.
                sender, recipients = line[11:].partition(">")[0], []
                replies = b"250 ok\r\n"
                while (line := (await reader.readline()).decode()).startswith("RCPT"):
                    recipients.append(line.strip()[9:-1])
                    replies += b"250 ok\r\n"
                assert line == "DATA\r\n"
                writer.write(replies + b"354 go on\r\n")
                self.mails.append((sender, recipients, await reader.readuntil(b"\r\n.\r\n")))
                writer.write(b"250 2.0.0 queued as 4711\r\n")
            elif verb == "MAIL" and self.mails and self.how.startswith("two at a time, then waits"):
                await wait(b"250-wait\r\n")
            elif verb == "MAIL" and taken and self.how == "one mail 421":
                writer.write(b"421 4.7.0 enough for now\r\n")
                return
            elif verb == "MAIL":
                sender, recipients = line[11:].partition(">")[0], []
                writer.write(b"250 ok\r\n")
            elif verb == "RCPT" and taken and self.how == "one mail, rcpt 421":
                writer.write(b"421 4.7.0 enough for now\r\n")
                return
            elif verb == "RCPT":
                to = line.strip()[9:-1]
                if to.startswith("grey"):
                    writer.write(b"451 4.7.1 greylisted\r\n")
                elif to.startswith("gone"):
                    writer.write(b"550 5.1.1 gone\r\n")
                elif to.startswith("full"):
                    writer.write(b"552 5.2.2 full\r\n")
                elif self.how.startswith("two at a time") and len(recipients) == 2:
                    writer.write(self.how[-3:].encode() + b" 5.5.3 too many recipients\r\n")
                else:
                    recipients.append(to)
                    writer.write(b"250 ok\r\n")
            elif verb == "DATA" and self.how.startswith("data 250"):
                writer.write(b"250 2.0.0 queued as 4711\r\n")
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                body = await reader.readuntil(b"\r\n.\r\n")
                if self.how == "body":
                    return
                if self.how == "busy":
                    await asyncio.sleep(0.5)
                taken += 1
                self.mails.append((sender, recipients, body))
                writer.write(b"250 2.0.0 queued as 4711\r\n")
                if self.how == "one mail":
                    return
            elif verb == "QUIT":
                if self.how == "slow quit":
                    await asyncio.sleep(60)
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")


@contextmanager
def serving(how: str) -> Iterator[Host]:
    """Such a host for nopolicy.test."""
    host = Host(how)
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
        yield host
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def plainly(cache: str, message: Any, to: Any, patience: float, **more: Any) -> Any:
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=patience, results=Results(), port=PORT)
    return client.deliver(message, to, **more)


def waiting(cache: str, message: Any, to: Any, patience: float, **more: Any) -> Any:
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache))
    client = aiosmtp.Client(resolver, timeout=patience, results=Results(), port=PORT)
    return asyncio.run(client.deliver(message, to, **more))


BOTH = pytest.mark.parametrize("send", [plainly, waiting], ids=["smtplib", "aiosmtplib"])


@BOTH
def test_nobody_is_forgotten(lab: Lab, cache: str, send: Any) -> None:
    lab.reset()
    with serving("") as host:
        to = ["ok@nopolicy.test", "grey@nopolicy.test", "gone@nopolicy.test", "x@nowhere.test", "x@good.test", "odd"]
        with pytest.raises(smtp.TemporaryError) as failure:
            send(cache, BODY, to, 4, sender=SENDER)
        error = failure.value
        assert {to: got.reply for to, got in error.delivered.items()} == {
            "ok@nopolicy.test": "250 2.0.0 queued as 4711"
        }
        assert {to: code for to, (code, _) in error.deferred.items()} == {"grey@nopolicy.test": 451, "x@good.test": 451}
        refused = {to: code for to, (code, _) in error.refused.items()}
        assert refused == {"gone@nopolicy.test": 550, "x@nowhere.test": 550, "odd": 553}
        assert str(error).endswith(" (1 delivered, 2 deferred, 3 refused)")
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.delivered, copy.deferred, copy.refused) == (error.delivered, error.deferred, error.refused)
        # Greylisting is no success.
        with pytest.raises(smtp.TemporaryError, match="451 4.7.1 greylisted"):
            send(cache, BODY, ["grey@nopolicy.test", "ok@nopolicy.test"], 4, sender=SENDER)
        with pytest.raises(smtp.PermanentError, match="550 5.1.1 gone"):
            send(cache, BODY, ["ok@nopolicy.test", "gone@nopolicy.test"], 4, sender=SENDER)
        (got,) = send(cache, BODY, ["ok@nopolicy.test"], 4, sender=SENDER).values()
        assert (got.host, got.tls, got.check) == ("mx.nopolicy.test", None, None) and got.address
    assert [recipients for _, recipients, _ in host.mails] == [["ok@nopolicy.test"]] * 4


@BOTH
@pytest.mark.parametrize("code", [452, 552])
def test_a_host_that_takes_some_recipients_at_a_time(lab: Lab, cache: str, send: Any, code: int) -> None:
    """The others have a transaction of their own (RFC 5321 4.5.3.1.10), and so has a mailbox that is full."""
    names = [f"{name}@nopolicy.test" for name in "abcde"]
    with serving(f"two at a time {code}") as host:
        assert list(send(cache, BODY, names, 4, sender=SENDER)) == names
        assert [recipients for _, recipients, _ in host.mails] == [names[:2], names[2:4], names[4:]]
        host.mails.clear()
        with pytest.raises(smtp.TemporaryError) as failure:
            send(cache, BODY, ["full@nopolicy.test", *names[:3], "gone@nopolicy.test"], 4, sender=SENDER)
        error = failure.value
        assert list(error.delivered) == names[:3] and list(error.refused) == ["gone@nopolicy.test"]
        assert error.deferred == {"full@nopolicy.test": (452, b"4.2.2 full")}
        assert [recipients for _, recipients, _ in host.mails] == [names[:2], names[2:3]]


@BOTH
def test_who_has_the_mail_has_it_when_the_time_ends(lab: Lab, cache: str, send: Any) -> None:
    names = [f"{name}@nopolicy.test" for name in "abcde"]
    with serving("two at a time, then waits 452"):
        with pytest.raises(smtp.TemporaryError) as failure:
            send(cache, BODY, names, 30, sender=SENDER, timeout=3)
        assert list(failure.value.delivered) == names[:2] and list(failure.value.deferred) == names[2:]


@BOTH
@pytest.mark.parametrize("how", ["banner", "drip", "flood", "ehlo waits", "mail waits", "rcpt waits", "data waits"])
def test_a_slow_host_holds_nobody(lab: Lab, cache: str, send: Any, how: str) -> None:
    lab.reset()
    mtasts.Resolver(cache_dir=cache).lookup("nopolicy.test")
    with serving(how):
        for patience, more in [(1, {}), (60, {"timeout": 1.0})]:
            before = time.monotonic()
            with pytest.raises(smtp.TemporaryError):
                send(cache, BODY, "ok@nopolicy.test", patience, sender=SENDER, **more)
            assert time.monotonic() - before < 10, (how, patience)


@BOTH
def test_a_reply_without_end_fills_no_memory(lab: Lab, cache: str, send: Any) -> None:
    if send is waiting and sys.version_info < (3, 10):
        pytest.skip("the last aiosmtplib for this Python keeps all of it")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving("flood"), pytest.raises(smtp.TemporaryError):
        send(cache, BODY, "ok@nopolicy.test", 4, sender=SENDER)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


@BOTH
@pytest.mark.parametrize("how", ["ehlo", "mail", "rcpt", "data", "body"])
def test_a_host_that_hangs_up(lab: Lab, cache: str, send: Any, how: str) -> None:
    with serving(how) as host:
        with pytest.raises(smtp.TemporaryError) as failure:
            send(cache, BODY, "ok@nopolicy.test", 4, sender=SENDER)
        assert list(failure.value.deferred) == ["ok@nopolicy.test"] and not host.mails


def test_commands_at_once(lab: Lab, cache: str) -> None:
    """Where the host takes several commands at once (RFC 2920), the envelope of a mail is one."""
    names = [f"{number}@nopolicy.test" for number in range(48)]
    with serving("pipelining, gathers") as host:
        assert list(plainly(cache, BODY, names, 4, sender=SENDER)) == names
        assert host.mails == [(SENDER, names, BODY + b".\r\n")]
    # With one more DATA comes later: so much has room in the buffers on the way.
    more = [*names, "49@nopolicy.test", "grey@nopolicy.test"]
    with serving("pipelining") as host, pytest.raises(smtp.TemporaryError) as failure:
        plainly(cache, BODY, [*more, "gone@nopolicy.test"], 4, sender=SENDER)
    assert list(failure.value.delivered) == more[:-1] and host.mails == [(SENDER, more[:-1], BODY + b".\r\n")]
    assert list(failure.value.deferred) == more[-1:] and list(failure.value.refused) == ["gone@nopolicy.test"]
    # Every recipient is refused, and the host asks for the mail: not even an empty one is sent.
    with serving("pipelining") as host:
        with pytest.raises(smtp.PermanentError, match="550 5.1.1 gone"):
            plainly(cache, BODY, ["gone@nopolicy.test"], 4, sender=SENDER)
        until = time.monotonic() + 5
        while host.open and time.monotonic() < until:
            time.sleep(0.01)
    assert not host.mails and host.cut == b"QUIT\r\n"
    with serving("pipelining, mail 550") as host, pytest.raises(smtp.PermanentError, match="550 5.7.1 not from you"):
        plainly(cache, BODY, ["a@nopolicy.test"], 4, sender=SENDER)
    assert not host.mails
    for at in ["mail", "rcpt", "data"]:
        with serving(f"pipelining, {at} hangs up") as host, pytest.raises(smtp.TemporaryError, match=at):
            plainly(cache, BODY, ["a@nopolicy.test", "gone@nopolicy.test"], 4, sender=SENDER)
        assert not host.mails


@BOTH
def test_a_mail_that_was_not_asked_for_is_not_taken(lab: Lab, cache: str, send: Any) -> None:
    with serving("data 250") as host, pytest.raises(smtp.TemporaryError):
        send(cache, BODY, "ok@nopolicy.test", 4, sender=SENDER)
    assert not host.mails


@BOTH
def test_nothing_counts_after_the_mail(lab: Lab, cache: str, send: Any) -> None:
    with serving("slow quit") as host:
        before = time.monotonic()
        assert send(cache, BODY, "ok@nopolicy.test", 30, sender=SENDER)
        assert time.monotonic() - before < 10 and len(host.mails) == 1


def test_the_time_of_one_domain(lab: Lab, cache: str) -> None:
    """Who had no time is told, and comes first when the queue tries again: a slow domain holds up the others once."""
    lab.reset()
    resolver = mtasts.Resolver(cache_dir=cache)
    resolver.lookup("nopolicy.test")
    client = smtp.Client(resolver, timeout=30, results=Results(), port=PORT)
    with serving("banner"), pytest.raises(smtp.TemporaryError) as failure:
        client.deliver(BODY, ["a@nopolicy.test", "b@nopolicy.test", "c@none.test", "odd"], sender=SENDER, timeout=1.0)
    assert list(failure.value.deferred) == ["c@none.test", "a@nopolicy.test", "b@nopolicy.test"]
    assert failure.value.deferred["c@none.test"] == (451, b"4.4.1 there was no time left for this recipient")


@BOTH
@pytest.mark.parametrize("domain", ["https-silent.test", "txt-silent.test", "mx-silent.test"])
def test_silence_holds_nobody(lab: Lab, cache: str, send: Any, domain: str) -> None:
    lab.reset()
    before = time.monotonic()
    with pytest.raises(smtp.TemporaryError):
        send(cache, BODY, [f"a@{domain}"], 30, sender=SENDER, timeout=1.5)
    assert time.monotonic() - before < 10


def test_a_signal_interrupts(lab: Lab, cache: str) -> None:
    class Alarm(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    resolver = mtasts.Resolver(cache_dir=cache, timeout="20s")
    silent = "https-silent.test"
    try:
        calls: list[Callable[[], Any]] = [
            lambda: resolver.lookup(silent),
            lambda: resolver.recheck(silent),
            lambda: smtp.Client(resolver).deliver(BODY, f"x@{silent}", sender=SENDER),
        ]
        for call in calls:
            took: list[float] = []
            # The machine may be busy.
            while len(took) < 5 and (not took or min(took) >= 0.7):
                began = time.monotonic()
                signal.setitimer(signal.ITIMER_REAL, 0.5)
                with pytest.raises(Alarm):
                    call()
                took.append(time.monotonic() - began)
            assert min(took) < 0.7, took
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@BOTH
def test_addresses(lab: Lab, cache: str, send: Any) -> None:
    with serving("") as host:
        for to, arrived in [
            ("a@nopolicy.test, b@nopolicy.test", ["a@nopolicy.test", "b@nopolicy.test"]),
            (["Ann Lee <a@nopolicy.test>", '"Lee, <Ann>" <b@nopolicy.test>'], ["a@nopolicy.test", "b@nopolicy.test"]),
            ('"john doe"@nopolicy.test', ['"john doe"@nopolicy.test']),
            ('"a,b@c"@nopolicy.test', ['"a,b@c"@nopolicy.test']),
            ("<a@nopolicy.test>", ["a@nopolicy.test"]),
            ("a..b@nopolicy.test", ["a..b@nopolicy.test"]),
        ]:
            assert list(send(cache, BODY, to, 4, sender=SENDER)) == arrived
            assert host.mails.pop()[1] == arrived
        for sender, said in [("<>", ""), ("", ""), ("Ann <ann@sender.test>", SENDER), ('"a b"@sender.test',) * 2]:
            assert send(cache, BODY, "a@nopolicy.test", 4, sender=sender)
            assert host.mails.pop()[0] == said
        # One odd address is a refusal of that recipient.
        odd = ["x", "a b@nopolicy.test", "a@nopolicy.test>\r\nRCPT TO:<b@nopolicy.test", "", "a@b@nopolicy.test"]
        # The comma is inside of a quote that does not end; and nothing of such a text is read again and again.
        odd += ["a\x9b2J@nopolicy.test", '"Ann, b@nopolicy.test', '"' + '\\"' * 30_000]
        before = time.monotonic()
        with pytest.raises(smtp.PermanentError) as failure:
            send(cache, BODY, [*odd, "a@nopolicy.test"], 4, sender=SENDER)
        assert list(failure.value.delivered) == ["a@nopolicy.test"]
        assert {to: code for to, (code, _) in failure.value.refused.items()} == dict.fromkeys(odd, 553)
        assert not [text for _, text in failure.value.refused.values() if b"\r" in text or b"\n" in text]
        assert time.monotonic() - before < 10
        with pytest.raises(smtp.PermanentError, match="553 5.1.7") as failure:
            send(cache, BODY, "a@nopolicy.test", 4, sender="ann at sender")
        assert list(failure.value.refused) == ["a@nopolicy.test"]
        for wrong in [(BODY, [7]), ("text", "a@nopolicy.test")]:
            with pytest.raises(TypeError, match="to: |message: "):
                send(cache, *wrong, 4, sender=SENDER)
        with pytest.raises(ValueError, match="no recipient"):
            send(cache, BODY, [], 4, sender=SENDER)


@BOTH
def test_recipients_from_the_message(lab: Lab, cache: str, send: Any) -> None:
    message = EmailMessage()
    message["From"], message["To"] = "Ann <ann@sender.test>", "A <a@nopolicy.test>, b@nopolicy.test"
    message["Cc"], message["Bcc"] = "c@nopolicy.test", "d@nopolicy.test"
    message.set_content("x")
    with serving("") as host:
        assert len(send(cache, message, None, 4)) == 4
        sender, recipients, body = host.mails.pop()
        assert sender == SENDER and recipients == [f"{name}@nopolicy.test" for name in "abcd"]
        assert b"d@nopolicy.test" not in body and b"c@nopolicy.test" in body
        # As smtplib does.
        message["Resent-Date"], message["Resent-From"] = "Thu, 1 Jan 2026 00:00:00 +0000", "bob@sender.test"
        message["Resent-To"] = "e@nopolicy.test"
        assert list(send(cache, message, None, 4)) == ["e@nopolicy.test"]
        assert host.mails.pop()[:2] == ("bob@sender.test", ["e@nopolicy.test"])
        message["Resent-Date"] = "Thu, 1 Jan 2026 01:00:00 +0000"
        with pytest.raises(ValueError, match="resent more than once"):
            send(cache, message, None, 4)


@BOTH
@pytest.mark.parametrize("rules", [policy.default, policy.SMTP], ids=["default", "SMTP"])
def test_addresses_beyond_ascii_are_written_as_they_are(lab: Lab, cache: str, send: Any, rules: Any) -> None:
    message = EmailMessage(policy=rules)
    message["From"], message["To"] = SENDER, "gr\u00fcn@nopolicy.test"
    message.set_content("x")
    with serving("") as host:
        assert send(cache, message, None, 4)
        _, recipients, body = host.mails.pop()
        assert recipients == ["gr\u00fcn@nopolicy.test"] and "To: gr\u00fcn@nopolicy.test\r\n".encode() in body
