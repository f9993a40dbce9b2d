"""The domains of the test Internet with TLSA records: DANE decides before the policy does (RFC 8461 2)."""

from __future__ import annotations

import asyncio
import re
import signal
import smtplib
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab
from test_careful import BOTH
from test_delivery import PATIENCE, letter
from test_kept import sessions, several

import mtasts
from mtasts import aio, aiosmtp, smtp, tls
from mtasts.outcome import Results

# Its MX records are signed, and its TLSA records match: the policy that does not list the host is only reported (D-15).
DIFFERS = "--differs=dane-nomatch.test=verified"
# CPython below 3.10, and PyPy as old as that of Debian 12.
CONNECTION = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")
SHOWS_OWN_ALONE = not hasattr(CONNECTION._sslobj, "get_unverified_chain")  # type: ignore[attr-defined]
OF_ISSUERS = ["dane-ta.test", "dane-private-ca.test"]


def name_server() -> str:
    found = re.search(r"^nameserver\s+(\S+)", Path("/etc/resolv.conf").read_text(), re.M)
    assert found
    return found[1]


def trusting(cache: str, **settings: Any) -> mtasts.Resolver:
    values = {"dane": "trust", "dane_resolver": name_server(), "cache_dir": cache, "timeout": "15s", **settings}
    return mtasts.Resolver(**values)


def of_dane(lab: Lab) -> list[str]:
    return [name for name in lab.domains() if name.startswith("dane") or name == "signed.test"]


def line(name: str, error: Exception | None, results: Results) -> str:
    """As in test_delivery.py, and the TLSA records verify a host too."""
    events = [result.event for result in results if result.answer.domain == name]
    asked = [event for event in events if event.policy_type is not mtasts.PolicyType.NO_POLICY_FOUND]
    fate = "deferred -"
    if error is None:
        good = [event.host for event in asked if not event.result]
        fate = f"verified {good[-1]}" if good else f"delivered {events[-1].host}"
    elif not isinstance(error, smtp.PolicyError):
        raise error
    return " ".join([name, fate, *(event.result.text for event in asked if event.result)]) + f"\t{error or ''}"


def judged(lab: Lab, lines: list[str]) -> str:
    names = [one.partition(" ")[0] for one in lines]
    differs = [] if not SHOWS_OWN_ALONE else [f"--differs={name}=deferred" for name in OF_ISSUERS]
    return lab.judge(lines, "--dane", f"--only={','.join(names)}", DIFFERS, *differs)


def test_every_domain_of_dane_with_smtplib(lab: Lab, cache: str) -> None:
    lab.reset()
    results = Results()
    client = smtp.Client(trusting(cache), timeout=PATIENCE, results=results)

    def send(name: str) -> str:
        try:
            client.deliver(letter(), f"sync@{name}")
        except smtplib.SMTPException as error:
            return line(name, error, results)
        return line(name, None, results)

    with ThreadPoolExecutor(16) as pool:
        lines = list(pool.map(send, of_dane(lab)))
    assert len(lines) > 10
    wrong = judged(lab, lines)
    assert not wrong, wrong
    counted = {
        name: [(e.event.policy_type, e.event.result) for e in results if e.answer.domain == name]
        for name in of_dane(lab)
    }
    tlsa, bad = mtasts.PolicyType.TLSA, mtasts.ResultType
    assert counted["dane-selfsigned.test"] == [(tlsa, None)]
    assert counted["dane-mismatch.test"] == [(tlsa, bad.VALIDATION_FAILURE)]
    assert counted["dane-bogus.test"] == [(tlsa, bad.DNSSEC_INVALID)]
    # Two policies were looked at.
    assert counted["dane-unusable.test"] == [(tlsa, bad.TLSA_INVALID), (mtasts.PolicyType.STS, None)]
    assert counted["signed.test"] == [(mtasts.PolicyType.STS, None)]


def test_every_domain_of_dane_with_aiosmtplib(lab: Lab, cache: str) -> None:
    lab.reset()
    results = Results()

    async def send_all() -> list[str]:
        client = aiosmtp.Client(trusting(cache), timeout=PATIENCE, results=results)

        async def send(name: str) -> str:
            try:
                await client.deliver(letter(), f"async@{name}")
            except smtplib.SMTPException as error:
                return line(name, error, results)
            return line(name, None, results)

        return await asyncio.gather(*map(send, of_dane(lab)))

    wrong = judged(lab, asyncio.run(send_all()))
    assert not wrong, wrong


@BOTH
def test_a_mail_that_dane_holds_back_says_so(lab: Lab, cache: str, send: Any) -> None:
    """Also without a policy, and although any CA would vouch for the host."""
    lab.reset()
    with pytest.raises(smtp.PolicyError) as refusal:
        several(trusting(cache), send, ["a@dane-mismatch-nopolicy.test"])
    error = refusal.value
    assert error.smtp_code == 451 and error.verdict.action is mtasts.Action.DEFER
    assert b"mx.dane-mismatch-nopolicy.test" in error.smtp_error and b"DANE" in error.smtp_error
    assert [verdict.reason_code.partition(":")[0] for verdict in error.hosts.values()] == ["dane"]
    several(mtasts.Resolver(cache_dir=cache), send, ["b@dane-mismatch-nopolicy.test"])
    assert not lab.mail_to("a@dane-mismatch-nopolicy.test") and lab.mail_to("b@dane-mismatch-nopolicy.test")


@BOTH
def test_the_chain_is_not_to_be_seen(
    lab: Lab, cache: str, send: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In such a Python records about issuers fail closed, and those about the host's own certificate pass."""
    sent = tls._sent
    monkeypatch.setattr(tls, "_sent", lambda connection: (sent(connection)[0][:1], False))
    lab.reset()
    several(trusting(cache), send, ["a@dane-selfsigned.test"])
    assert lab.mail_to("a@dane-selfsigned.test") and "DANE-TA" not in caplog.text
    with pytest.raises(smtp.PolicyError):
        several(trusting(cache), send, ["a@dane-ta.test"])
    assert not lab.mail_to("a@dane-ta.test")
    assert "this Python shows only the host's own certificate: mail waits" in caplog.text


@BOTH
def test_a_session_is_kept_under_the_same_verdict_alone(
    lab: Lab, cache: str, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.reset()
    several(trusting(cache), send, [f"{n}@dane-selfsigned.test" for n in range(3)])
    assert sessions(lab, "mx.dane-selfsigned.test") == 1

    # One of the policy alone does for no mail for which the records decide, and they refuse it.
    resolver = mtasts.Resolver(cache_dir=cache)
    strict = trusting(cache)

    def switch_on() -> None:
        resolver._context = strict._context

    with pytest.raises(smtp.PolicyError):
        several(resolver, send, ["a@dane-mismatch.test", switch_on, "b@dane-mismatch.test"])
    assert lab.mail_to("a@dane-mismatch.test") and not lab.mail_to("b@dane-mismatch.test")

    # Other records are another session.
    lab.reset()
    records = mtasts.Attempt.records.fget  # type: ignore[attr-defined]
    assert records is not None

    def change() -> None:
        monkeypatch.setattr(mtasts.Attempt, "records", property(lambda self: [*records(self), b"\3\1\1" + bytes(32)]))

    several(trusting(cache), send, ["a@dane.test", "b@dane.test", change, "c@dane.test", "d@dane.test"])
    assert sessions(lab, "mx.dane.test") == 2


def test_a_session_that_was_kept_is_asked_again(lab: Lab, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate is judged by the records of now, for each mail."""
    lab.reset()
    seen = []
    saw_chain = mtasts.Attempt.saw_chain

    def count(self: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(self)
        return saw_chain(self, *arguments, **options)

    monkeypatch.setattr(mtasts.Attempt, "saw_chain", count)
    with smtp.Client(trusting(cache), timeout=PATIENCE, results=Results()) as client:
        for n in range(3):
            client.deliver(letter(), f"{n}@dane.test")
    assert len(seen) == 3 and sessions(lab, "mx.dane.test") == 1


def test_nothing_is_asked_if_it_is_off(lab: Lab, cache: str) -> None:
    """And no thread is started: a program of one thread stays one."""
    resolver = mtasts.Resolver(cache_dir=cache, dane="off", dane_resolver="192.0.2.1:53")
    before = threading.active_count()
    hosts = resolver.hosts("dane.test", ["mx.dane.test"])
    answer = resolver.lookup("dane.test")
    attempt = mtasts.Attempt(answer, "mx.dane.test", hosts)
    assert (attempt.judge, attempt.sni, attempt.records) == (mtasts.Judge.STS, None, [])
    assert threading.active_count() == before


def test_what_an_attempt_says_of_dane(lab: Lab, cache: str) -> None:
    resolver = trusting(cache)
    hosts = resolver.hosts("dane.test")
    attempt = mtasts.Attempt(resolver.lookup("dane.test"), "MX.dane.test", hosts)
    assert (attempt.judge, attempt.sni) == (mtasts.Judge.DANE, "mx.dane.test")
    assert [record[:3] for record in attempt.records] == [b"\3\1\1"]
    assert attempt.saw().action is mtasts.Action.DELIVER
    assert attempt.saw_chain(resolver, []).result is mtasts.ResultType.VALIDATION_FAILURE
    event = attempt.finish()
    assert event and event.policy_type is mtasts.PolicyType.TLSA and event.host == "mx.dane.test"
    bogus = mtasts.Attempt(
        resolver.lookup("dane-bogus.test"),
        "mx.dane-bogus.test",
        resolver.hosts("dane-bogus.test", ["mx.dane-bogus.test"]),
    )
    assert bogus.judge is mtasts.Judge.SKIP_HOST and bogus.saw().action is mtasts.Action.SKIP_HOST
    with pytest.raises(mtasts.InvalidName):
        resolver.hosts("not a name")
    with pytest.raises(mtasts.SettingsError, match="dane"):
        mtasts.Resolver(dane="yes")


def test_a_question_is_interrupted_by_a_signal(cache: str) -> None:
    """A name server that says nothing holds up no signal handler of the main thread."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    resolver = mtasts.Resolver(
        cache_dir=cache, dane="trust", dane_resolver=f"127.0.0.1:{silent.getsockname()[1]}", timeout="20s"
    )

    class Alarmed(Exception):
        pass

    def ring(*_: object) -> None:
        raise Alarmed

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    began = time.monotonic()
    try:
        with pytest.raises(Alarmed):
            resolver.hosts("example.com", ["mx.example.com"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 8

    async def wait() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.Resolver(resolver).hosts("example.com", ["mx.example.com"]), 0.3)

    began = time.monotonic()
    asyncio.run(wait())
    assert time.monotonic() - began < 8
    silent.close()
