"""Sessions that are kept for the next mail."""

from __future__ import annotations

import asyncio
import os
import smtplib
import time
from typing import Any

import pytest
from conftest import Lab
from test_careful import BODY, BOTH, PORT, SENDER, plainly, serving

import mtasts
from mtasts import aiosmtp, kept, smtp
from mtasts.outcome import Results


def several(resolver: mtasts.Resolver, kind: Any, mails: list[Any], port: int = smtplib.SMTP_PORT) -> Results:
    """Sends to each of these in one client; calls what can be called in between."""
    results = Results()
    if kind is plainly:
        with smtp.Client(resolver, timeout=4, results=results, port=port) as client:
            for mail in mails:
                mail() if callable(mail) else client.deliver(BODY, mail, sender=SENDER)
        return results

    async def main() -> None:
        async with aiosmtp.Client(resolver, timeout=4, results=results, port=port) as client:
            for mail in mails:
                mail() if callable(mail) else await client.deliver(BODY, mail, sender=SENDER)

    asyncio.run(main())
    return results


def sessions(lab: Lab, host: str) -> int:
    return len([session for session in lab.seen()["sessions"] if session["host"] == host])


@BOTH
def test_one_session_for_many_mails(lab: Lab, cache: str, send: Any) -> None:
    lab.reset()
    results = several(mtasts.Resolver(cache_dir=cache), send, [f"m{n}@good.test" for n in range(5)])
    assert sessions(lab, "mx.good.test") == 1
    assert [len(lab.mail_to(f"m{n}@good.test")) for n in range(5)] == [1] * 5
    # A report counts sessions (RFC 8460 4.3.1).
    assert len(results) == 1


@BOTH
def test_another_policy_is_another_session(lab: Lab, cache: str, send: Any) -> None:
    lab.reset()
    resolver = mtasts.Resolver(cache_dir=cache)

    def change(mx: str) -> Any:
        def to() -> None:
            policy = f"version: STSv1\\nmode: enforce\\nmx: {mx}\\nmax_age: 86400\\n"
            lab.set("good.test", txt=f"v=STSv1; id={len(mx)};", policy=policy)
            resolver.recheck("good.test")

        return to

    try:
        several(resolver, send, ["a@good.test", change("*.good.test"), "b@good.test", "c@good.test"])
        assert sessions(lab, "mx.good.test") == 2
        with pytest.raises(smtp.PolicyError):
            several(resolver, send, ["d@good.test", change("other.good.test"), "e@good.test"])
        assert sessions(lab, "mx.good.test") == 3 and not lab.mail_to("e@good.test")
    finally:
        lab.reset()


@BOTH
def test_a_host_that_has_had_enough(lab: Lab, cache: str, send: Any) -> None:
    """It hangs up after a mail, or refuses the next: there is a new session, and each mail arrives once."""
    for how in ["one mail", "one mail 421"]:
        with serving(how) as host:
            several(mtasts.Resolver(cache_dir=cache), send, [f"m{n}@nopolicy.test" for n in range(3)], PORT)
            assert [recipients for _, recipients, _ in host.mails] == [[f"m{n}@nopolicy.test"] for n in range(3)]


def test_a_child_has_sessions_of_its_own(lab: Lab, cache: str) -> None:
    lab.reset()
    with smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=4, results=Results()) as client:
        client.deliver(BODY, "parent@good.test", sender=SENDER)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.deliver(BODY, "child@good.test", sender=SENDER)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0 and sessions(lab, "mx.good.test") == 2
        client.deliver(BODY, "parent@good.test", sender=SENDER)
    assert sessions(lab, "mx.good.test") == 2
    assert (len(lab.mail_to("parent@good.test")), len(lab.mail_to("child@good.test"))) == (2, 1)


def test_a_session_is_kept_for_some_time(lab: Lab, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.reset()
    monkeypatch.setattr(kept, "KEPT_FOR", 0.2)
    several(mtasts.Resolver(cache_dir=cache), plainly, ["a@good.test", lambda: time.sleep(0.5), "b@good.test"])
    assert sessions(lab, "mx.good.test") == 2
