"""Every domain of the test Internet, by smtplib and by aiosmtplib: what a conformant sender must do, and nothing
else."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import smtplib
import socket
import ssl
import subprocess
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path
from threading import Thread
from typing import Any

import dns.resolver
import pytest
from aiosmtpd.controller import Controller
from conftest import Lab, Sys4

import mtasts
from mtasts import aio, aiosmtp, smtp
from mtasts.outcome import Results

SENDER = "ann@sender.test"
PATIENCE = 10.0


def letter() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["Subject"] = SENDER, "a letter"
    message.set_content("Dear all,\n.\nis a line of its own.\n")
    return message


def line(domain: str, error: Exception | None, results: Results) -> str:
    """What became of a mail, as the line of a driver (tests/kit/README.md)."""
    events = [result.event for result in results if result.answer.domain == domain]
    sts = [event for event in events if event.policy_type is mtasts.PolicyType.STS]
    verified = [event.host for event in sts if not event.result]
    if error is None:
        fate = f"verified {verified[-1]}" if verified else f"delivered {events[-1].host}"
    elif isinstance(error, smtp.TemporaryError) and 400 <= error.smtp_code < 500:
        fate = "deferred -"
    elif isinstance(error, smtp.PermanentError) and error.smtp_code >= 500:
        fate = "bounced -"
    else:
        raise error
    failures = [event.result.text for event in sts if event.result]
    # No session, no event: DNS denies the hosts that the policy lists.
    if not events and isinstance(error, smtp.PolicyError) and error.verdict.result:
        failures.append(error.verdict.result.text)
    return " ".join([domain, fate, *failures]) + f"\t{error or ''}"


def reported(cache: str, results: Results) -> None:
    """The journal for TLS reports has what the results have, and nothing else."""
    counted = Counter(
        (result.answer.domain, int(result.event.policy_type), int(result.event.result or 0)) for result in results
    )
    lines = [line for file in Path(cache).glob(".report-*") for line in file.read_text().splitlines() if line]
    journal: Counter[tuple[str, int, int]] = Counter()
    for session in map(json.loads, lines):
        for policy in session["policies"]:
            codes = [detail["c"] for detail in policy.get("failure-details", [])]
            journal[session["d"], policy["policy-type"], codes[0] if codes else 0] += 1
    assert journal == counted and len(lines) > 100


def test_every_domain_with_smtplib(lab: Lab, cache: str, sys4: Sys4) -> None:
    lab.reset()
    sys4.records()
    results = Results()
    resolver = mtasts.Resolver(cache_dir=cache, timeout="15s", tlsrpt_journal="on", tlsrpt_socket=sys4.socket)
    client = smtp.Client(resolver, timeout=PATIENCE, results=results)

    def send(name: str) -> str:
        try:
            client.deliver(letter(), f"sync@{name}")
        except smtplib.SMTPException as error:
            return line(name, error, results)
        return line(name, None, results)

    with ThreadPoolExecutor(48) as pool:
        wrong = lab.judge(list(pool.map(send, lab.domains())), "--results")
    assert not wrong, wrong
    reported(cache, results)
    sys4.compare(cache)


def test_reports_and_mail_that_needs_no_tls_are_not_reported(lab: Lab, cache: str) -> None:
    lab.reset()
    results = Results()
    resolver = mtasts.Resolver(cache_dir=cache, tlsrpt_journal="on", tlsrpt_sender="reports@sender.test")
    client = smtp.Client(resolver, timeout=PATIENCE, results=results)
    needs_none = letter()
    needs_none["TLS-Required"] = "No"
    client.deliver(letter(), "a@good.test", sender="Reports@sender.test")
    client.deliver(needs_none, "b@good.test")
    assert not list(results) and not list(Path(cache).glob(".report-*"))
    client.deliver(letter(), "c@good.test")
    assert len(list(results)) == 1 and len(list(Path(cache).glob(".report-*"))) == 1


def test_every_domain_with_aiosmtplib(lab: Lab, cache: str) -> None:
    lab.reset()
    results = Results()

    async def send_all() -> list[str]:
        resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache, timeout="15s", tlsrpt_journal="on"))
        client = aiosmtp.Client(resolver, timeout=PATIENCE, results=results)
        some = asyncio.Semaphore(64)

        async def send(name: str) -> str:
            async with some:
                for patience in (2.0, 2.0, 4.0, 8.0, 0.0):
                    try:
                        await client.deliver(letter(), f"async@{name}")
                    except smtplib.SMTPException as error:
                        # As root a lookup whose time is over says that nothing is known. The queue tries again.
                        if patience and isinstance(error.__cause__, mtasts.Unavailable):
                            await asyncio.sleep(patience)
                            continue
                        return line(name, error, results)
                    break
                return line(name, None, results)

        return await asyncio.gather(*map(send, lab.domains()))

    wrong = lab.judge(asyncio.run(send_all()), "--results")
    assert not wrong, wrong
    reported(cache, results)


def smtplib_alone(to: str) -> None:
    """What a program does that knows no MTA-STS: the first MX host, TLS where it is offered, as `starttls()` has it."""
    records = dns.resolver.resolve(to.partition("@")[2], "MX")
    host = str(min(records, key=lambda record: record.preference).exchange).rstrip(".")
    with smtplib.SMTP(host, timeout=PATIENCE) as connection:
        connection.ehlo()
        if connection.has_extn("starttls"):
            context = ssl._create_unverified_context()  # smtplib's own default
            connection.starttls(context=context)
        connection.sendmail(SENDER, [to], b"Subject: secret\r\n\r\nThe attacker reads this.\r\n")


@pytest.mark.parametrize(
    "domain", ["stripped.test", "nostarttls.test", "selfsigned.test", "wrongname.test", "expired.test", "nomatch.test"]
)
def test_the_attack_succeeds_without(lab: Lab, cache: str, domain: str) -> None:
    smtplib_alone(f"alone@{domain}")
    assert len(lab.mail_to(f"alone@{domain}")) == 1
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=PATIENCE, results=Results())
    with pytest.raises(smtp.PolicyError) as refusal:
        client.deliver(letter(), f"with@{domain}")
    assert lab.mail_to(f"with@{domain}") == []
    error = refusal.value
    assert isinstance(error, smtplib.SMTPResponseException)
    assert error.smtp_code == 451 and error.smtp_error.startswith(b"4.7.5 no MX host of " + domain.encode())
    assert error.verdict.action is mtasts.Action.DEFER and error.answer.mode is mtasts.Mode.ENFORCE
    assert list(error.recipients) == [f"with@{domain}"]


def test_what_stands_in_clear_behind_starttls_is_not_believed(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    client = smtp.Client(resolver, timeout=PATIENCE, results=Results())
    from mtasts.delivery import Tls
    from mtasts.smtp import _Door, _run

    address = mtasts_address("mx.injected.test")
    end = time.monotonic() + 30
    session = _run(_Door(client, end).open("mx.injected.test", address, Tls.VERIFIED))
    # The attacker's answer to EHLO offers SIZE; the host does not.
    assert not session._connection.has_extn("size") and session._connection.has_extn("8bitmime")
    session.close()

    async def with_aiosmtplib() -> None:
        door = aiosmtp._Door(aiosmtp.Client(aio.Resolver(resolver), timeout=PATIENCE), end)
        session = await door.open("mx.injected.test", address, Tls.VERIFIED)
        assert not session._connection.supports_extension("size")
        assert session._connection.supports_extension("8bitmime")
        session.close()

    asyncio.run(with_aiosmtplib())


def test_a_common_name_is_no_name(lab: Lab, cache: str) -> None:
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=PATIENCE, results=Results())
    with pytest.raises(smtp.PolicyError) as refusal:
        client.deliver(letter(), "x@cnonly.test")
    (verdict,) = refusal.value.hosts.values()
    assert verdict.result is mtasts.ResultType.CERTIFICATE_HOST_MISMATCH


def test_several_domains_at_once(lab: Lab, cache: str) -> None:
    lab.reset()
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=PATIENCE, results=Results())
    with pytest.raises(smtp.PolicyError) as partly:
        client.deliver(letter(), ["a@good.test", "b@expired.test", "c@GOOD.test", "d@ñaca.test"])
    assert list(partly.value.delivered) == ["a@good.test", "c@GOOD.test", "d@ñaca.test"]
    assert list(partly.value.deferred) == ["b@expired.test"] and partly.value.deferred["b@expired.test"][0] == 451
    assert len(lab.mail_to("a@good.test")) == 1 and lab.mail_to("b@expired.test") == []
    assert len(lab.mail_to("d@xn--aca-6ma.test")) == 1
    with pytest.raises(smtp.TemporaryError) as failure:
        client.deliver(letter(), ["b@expired.test", "e@nowhere.test"])
    # One that may yet be delivered keeps the mail in the queue.
    assert failure.value.smtp_code == 451
    assert {to: code for to, (code, _) in failure.value.recipients.items()} == {
        "b@expired.test": 451,
        "e@nowhere.test": 550,
    }


def test_what_no_sender_can_deliver_is_permanent(lab: Lab, cache: str) -> None:
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=PATIENCE, results=Results())
    for to, enhanced in [("x@nowhere.test", b"5.1.2"), ("x@a_b.nowhere.test", b"5.1.2"), ("x@a..test", b"5.1.3")]:
        with pytest.raises(smtp.PermanentError) as failure:
            client.deliver(letter(), to)
        assert failure.value.smtp_code >= 500 and failure.value.smtp_error.startswith(enhanced)
    with pytest.raises(smtp.TemporaryError):
        client.deliver(letter(), "x@mx-servfail.test")


class Moody:
    """A host that takes no mail from or for some."""

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "550 5.7.1 not you" if address.startswith("evil") else "250 ok"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        name = address.partition("@")[0]
        if name in ("gone", "full"):
            return "550 5.1.1 gone" if name == "gone" else "452 4.2.2 full"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "554 5.7.1 spam" if b"spam" in envelope.content else "250 ok"


def test_a_host_s_own_word(lab: Lab, cache: str) -> None:
    controller = Controller(Moody(), "0.0.0.0", 2526, enable_SMTPUTF8=True)
    controller.start()
    resolver = mtasts.Resolver(cache_dir=cache)
    blocking = smtp.Client(resolver, timeout=PATIENCE, results=Results(), port=2526)
    letter = b"Subject: x\r\n\r\nx\r\n"

    def waiting(data: bytes, to: Any, sender: str = SENDER) -> Any:
        client = aiosmtp.Client(aio.Resolver(resolver), timeout=PATIENCE, results=Results(), port=2526)
        return asyncio.run(client.deliver(data, to, sender=sender))

    def plainly(data: bytes, to: Any, sender: str = SENDER) -> Any:
        return blocking.deliver(data, to, sender=sender)

    try:
        for send in (plainly, waiting):
            assert send(letter, "ok@nopolicy.test")
            assert send(letter, "gr\u00fcn@nopolicy.test")
            assert send(letter, "ok@nopolicy.test", "")
            with pytest.raises(smtp.PermanentError) as partly:
                send(letter, ["ok@nopolicy.test", "gone@nopolicy.test"])
            assert list(partly.value.delivered) == ["ok@nopolicy.test"]
            assert partly.value.refused == {"gone@nopolicy.test": (550, b"5.1.1 gone")}
            for data, to, sender, code in [
                (letter, ["gone@nopolicy.test"], SENDER, 550),
                (letter, ["full@nopolicy.test"], SENDER, 452),
                (letter, ["gone@nopolicy.test", "full@nopolicy.test"], SENDER, 452),
                (letter, ["ok@nopolicy.test"], "evil@sender.test", 550),
                (b"Subject: spam\n\n", ["ok@nopolicy.test"], SENDER, 554),
            ]:
                with pytest.raises(smtp.DeliveryError) as failure:
                    send(data, to, sender)
                assert failure.value.smtp_code == code, (send, data, to)
                assert isinstance(failure.value, smtp.TemporaryError if code < 500 else smtp.PermanentError)
            # Nothing goes in clear to a domain that enforces, however friendly the host is.
            with pytest.raises(smtp.PolicyError):
                send(letter, "ok@good.test")
    finally:
        controller.stop()


def test_line_ends_and_dots_arrive_as_they_were_meant(lab: Lab, cache: str) -> None:
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=PATIENCE, results=Results())
    smuggled = b"Subject: x\n\none\n.\nMAIL FROM:<evil@sender.test>\r.\r\ntwo\n"
    client.deliver(smuggled, "smuggled@good.test", sender=SENDER)
    (mail,) = lab.mail_to("smuggled@good.test")
    assert mail["body"] == "Subject: x\r\n\r\none\r\n.\r\nMAIL FROM:<evil@sender.test>\r\n.\r\ntwo\r\n"
    assert mail["sender"] == SENDER
    for bad in ["x@good.test>\r\nRCPT TO:<y@good.test", "x", "@good.test", "a b@good.test"]:
        with pytest.raises(smtp.PermanentError, match="553 5.1.3 no address"):
            client.deliver(letter(), bad)


def test_testing_is_noted_in_one_place_and_delivered(lab: Lab, cache: str) -> None:
    smtp.results.take()
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=PATIENCE)
    assert client.deliver(letter(), "noted@testing-expired.test")
    (result,) = smtp.results.take()
    event = result.event
    assert event.policy_type is mtasts.PolicyType.STS and event.result is mtasts.ResultType.CERTIFICATE_EXPIRED
    assert event.host == "mx.testing-expired.test" and event.address == mtasts_address("mx.testing-expired.test")
    assert event.local_address and result.answer.policy_text and "testing" in result.sentence
    assert abs(result.at - time.time()) < 60 and pickle.loads(pickle.dumps(result)) == result
    # It went over TLS all the same.
    (mail,) = lab.mail_to("noted@testing-expired.test")
    assert mail["tls"] is not None


def test_before_giving_up_the_domain_is_asked_again(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    client = smtp.Client(resolver, timeout=PATIENCE, results=Results())
    with pytest.raises(smtp.PolicyError) as refusal:
        client.deliver(letter(), "moved@nomatch.test")
    before = refusal.value.answer
    assert resolver.recheck("nomatch.test").is_same_policy(before)
    policy = "version: STSv1\\nmode: enforce\\nmx: *.nomatch.test\\nmax_age: 86400\\n"
    lab.set("nomatch.test", txt="v=STSv1; id=moved;", policy=policy)
    try:
        assert not resolver.recheck("nomatch.test").is_same_policy(before)
        assert client.deliver(letter(), "moved@nomatch.test")
    finally:
        lab.reset()


def test_each_session_counts_once(lab: Lab, cache: str) -> None:
    """A failure, a success, and the TLS of a domain without a policy (RFC 8460 4.3.1)."""
    sts, none = mtasts.PolicyType.STS, mtasts.PolicyType.NO_POLICY_FOUND
    not_supported = mtasts.ResultType.STARTTLS_NOT_SUPPORTED
    lab.reset()
    try:
        for domain, mx, wanted in [
            ("good.test", "ok", (sts, None)),
            ("testing.test", "no-starttls", (sts, not_supported)),
            ("nopolicy.test", "ok", (none, None)),
            ("nopolicy.test", "no-starttls", (none, not_supported)),
            ("nopolicy.test", "starttls-454", (none, not_supported)),
        ]:
            lab.set(domain, mx=mx)
            for client, results in clients(mtasts.Resolver(cache_dir=cache)):
                assert client(f"counted@{domain}")
                (event,) = [result.event for result in results.take()]
                assert (event.policy_type, event.result) == wanted, (domain, mx, event)
                assert event.address == mtasts_address(f"mx.{domain}") and event.local_address
    finally:
        lab.reset()


def test_a_domain_that_can_have_no_policy(lab: Lab, cache: str) -> None:
    """It is delivered to as any other; here an address literal (RFC 5321 4.1.3)."""
    address = mtasts_address("mx.nopolicy.test")
    controller = Controller(Moody(), "0.0.0.0", 2526)
    controller.start()
    try:
        for send, results in clients(mtasts.Resolver(cache_dir=cache), 2526):
            assert send(f"literal@[{address}]") and list(results) == []
            # As for any MX host.
            with pytest.raises(smtp.TemporaryError, match="allow_addresses"):
                send("literal@[127.0.0.1]")
            with pytest.raises(smtp.TemporaryError, match="allow_addresses"):
                send("literal@[IPv6:::1]")
            with pytest.raises(smtp.PermanentError):
                send(f"gone@[{address}]")
    finally:
        controller.stop()


@pytest.mark.parametrize("domain", ["good.test", "testing.test", "nopolicy.test"])
def test_an_mx_record_that_names_no_host(lab: Lab, cache: str, domain: str) -> None:
    lab.reset()
    lab.set(domain, hosts=f"m_x.{domain}")
    try:
        for send, results in clients(mtasts.Resolver(cache_dir=cache)):
            if domain == "good.test":
                with pytest.raises(smtp.PolicyError) as refusal:
                    send(f"odd@{domain}")
                (verdict,) = refusal.value.hosts.values()
                assert verdict.reason_code == "mx-not-a-host-name"
            else:
                assert send(f"odd@{domain}")
            (result,) = results.take()
            failed = mtasts.ResultType.VALIDATION_FAILURE if domain != "nopolicy.test" else None
            assert (result.event.host, result.event.result) == (f"m_x.{domain}", failed)
    finally:
        lab.reset()


@pytest.mark.parametrize("denial", ["NXDOMAIN", "NODATA"])
def test_dns_that_denies_what_a_policy_lists(lab: Lab, cache: str, denial: str) -> None:
    """Whoever can forge DNS could make mail bounce so."""
    resolver = mtasts.Resolver(cache_dir=cache)
    for domain in ["good.test", "testing.test"]:
        resolver.lookup(domain)
        lab.set(domain, hosts=denial)
    try:
        for send, _ in clients(resolver):
            with pytest.raises(smtp.PolicyError, match="DNS contradicts the MTA-STS policy of good.test"):
                send("denied@good.test")
            with pytest.raises(smtp.DeliveryError) as refusal:
                send("denied@testing.test")
            assert not isinstance(refusal.value, smtp.PolicyError)
    finally:
        lab.reset()


def test_a_policy_lists_a_domain_that_dns_gives_no_address(lab: Lab, cache: str) -> None:
    """Without an MX record the domain is its own host, and an answer of DNS can be forged."""
    resolver = mtasts.Resolver(cache_dir=cache)
    resolver.lookup("implicit.test")
    lab.set("implicit.test", hosts="NODATA")
    with socket.socket(socket.AF_UNIX) as control:
        # An empty list, which the command cannot say.
        control.connect(os.environ["MTASTS_LAB"])
        control.sendall(b'{"op": "set", "domain": "implicit.test", "addresses": []}\n')
        assert b"ok" in control.recv(1000)
    try:
        for send, _ in clients(resolver):
            with pytest.raises(smtp.PolicyError, match="DNS contradicts the MTA-STS policy of implicit.test"):
                send("nowhere@implicit.test")
    finally:
        lab.reset()


def test_patience_at_first_contact(lab: Lab, cache: str) -> None:
    domain = next(entry["name"] for entry in lab.table() if entry["policy"] == "unknown")
    patient = mtasts.Resolver(cache_dir=cache, timeout="5s", first_contact_defer="1h")
    with pytest.raises(smtp.TemporaryError, match="first_contact_defer"):
        smtp.Client(patient, timeout=PATIENCE, results=Results()).deliver(letter(), f"patient@{domain}")
    assert lab.mail_to(f"patient@{domain}") == []
    hasty = mtasts.Resolver(cache_dir=cache, timeout="5s")
    assert smtp.Client(hasty, timeout=PATIENCE, results=Results()).deliver(letter(), f"hasty@{domain}")


def test_the_roots_are_those_of_the_resolver(lab: Lab, cache: str, tmp_path: Path) -> None:
    """A CA that the system trusts and the settings do not: nothing passes."""
    other = tmp_path / "other.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=other -keyout /dev/null"
    )
    subprocess.run([*command.split(), "-out", str(other)], check=True, capture_output=True)
    other.chmod(0o644)
    mtasts.Resolver(cache_dir=cache).lookup("good.test")
    settings = tmp_path / "mtasts.toml"
    settings.write_text(f"ca_file = '{other}'\nallow_addresses = ['198.18.0.0/15']\n")
    for resolver in [
        mtasts.Resolver(cache_dir=cache, ca_file=other),
        mtasts.Resolver(cache_dir=cache, settings_file=settings),
    ]:
        assert resolver.ca_file == str(other)
        client = smtp.Client(resolver, timeout=PATIENCE, results=Results())
        with pytest.raises(smtp.PolicyError) as refusal:
            client.deliver(letter(), "roots@good.test")
        (verdict,) = refusal.value.hosts.values()
        assert verdict.result is mtasts.ResultType.CERTIFICATE_NOT_TRUSTED


@pytest.mark.parametrize("content", [None, "no roots\n"])
def test_without_roots_mail_waits(lab: Lab, cache: str, tmp_path: Path, content: str | None) -> None:
    """And nobody says that the host was at fault."""
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_text(content)
    for domain in ["good.test", "testing.test"]:
        mtasts.Resolver(cache_dir=cache).lookup(domain)
        results = Results()
        client = smtp.Client(mtasts.Resolver(cache_dir=cache, ca_file=roots), timeout=PATIENCE, results=results)
        with pytest.raises(smtp.TemporaryError, match=str(roots)) as refusal:
            client.deliver(letter(), f"rootless@{domain}")
        assert refusal.value.smtp_code == 451
        assert lab.mail_to(f"rootless@{domain}") == []
        assert list(results) == []


@pytest.mark.parametrize("content", [None, "", "no roots\n", "-----BEGIN CERTIFICATE-----\n"])
def test_without_roots_no_policy_is_fetched(lab: Lab, cache: str, tmp_path: Path, content: str | None) -> None:
    """That is no failure of the domain: its mail waits, and it gets the next fetch at once."""
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_text(content)
        roots.chmod(0o644)
    resolver = mtasts.Resolver(cache_dir=cache, ca_file=roots)
    with pytest.raises(mtasts.Unavailable, match=str(roots)):
        resolver.lookup("good.test")
    with pytest.raises(mtasts.Unavailable, match=str(roots)):
        asyncio.run(aio.Resolver(resolver).lookup("good.test"))
    results = Results()
    for to in ["cold@good.test", "cold@hub-unlisted.test"]:
        with pytest.raises(smtp.TemporaryError, match=str(roots)):
            smtp.Client(resolver, timeout=PATIENCE, results=results).deliver(letter(), to)
        assert lab.mail_to(to) == []
    assert list(results) == []
    assert resolver.lookup("nopolicy.test").source is mtasts.Source.NO_POLICY
    assert mtasts.Resolver(cache_dir=cache).lookup("good.test").source is mtasts.Source.FRESH


def test_a_stranger_s_list_of_hosts_ends_somewhere(lab: Lab, cache: str) -> None:
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=PATIENCE, results=Results())
    lab.reset()
    lab.set("nopolicy.test", hosts=",".join(f"mx{n}.nopolicy.test" for n in range(15)), mx="421")
    try:
        with pytest.raises(smtp.TemporaryError):
            client.deliver(letter(), "x@nopolicy.test")
        reached = [session["host"] for session in lab.seen()["sessions"] if ".nopolicy.test" in session["host"]]
        assert len(reached) == len(set(reached)) == 10, reached
    finally:
        lab.reset()


def test_a_stranger_s_list_of_hosts_is_no_flood(lab: Lab, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host that the policy does not list is a line in the log and an event."""
    monkeypatch.setattr("mtasts.hosts.MOST_MX", 5)
    lab.reset()
    lab.set("good.test", hosts=",".join(f"mx{n}.nopolicy.test" for n in range(15)))
    try:
        for send, results in clients(mtasts.Resolver(cache_dir=cache)):
            with pytest.raises(smtp.PolicyError) as failure:
                send("x@good.test")
            assert len(failure.value.hosts) == len(results) == 5
    finally:
        lab.reset()


def clients(resolver: mtasts.Resolver, port: int = smtplib.SMTP_PORT) -> list[tuple[Any, Results]]:
    """Both clients as functions that deliver one mail, each with its results."""
    some, others = Results(), Results()
    blocking = smtp.Client(resolver, timeout=PATIENCE, results=some, port=port)

    def waiting(to: Any) -> Any:
        client = aiosmtp.Client(aio.Resolver(resolver), timeout=PATIENCE, results=others, port=port)
        return asyncio.run(client.deliver(letter(), to))

    return [(lambda to: blocking.deliver(letter(), to), some), (waiting, others)]


def both(resolver: mtasts.Resolver, port: int = smtplib.SMTP_PORT) -> list[Any]:
    """Delivers one mail, by the one client and by the other."""
    return [send for send, _ in clients(resolver, port)]


@pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.1", "64:ff9b::a00:1"])
def test_no_mx_host_leads_us_inside(lab: Lab, cache: str, inside: str) -> None:
    """Whether a domain has a policy or not, as no address literal does; the mail waits, and nobody is knocked at."""
    lab.reset()
    for domain in ["nopolicy.test", "good.test"]:
        lab.set(domain, addresses=inside)
    try:
        for domain in ["nopolicy.test", "good.test"]:
            for send in both(mtasts.Resolver(cache_dir=cache)):
                with pytest.raises(smtp.TemporaryError, match="address") as failure:
                    send(f"inside@{domain}")
                assert failure.value.smtp_code == 451 and failure.value.smtp_error.startswith(b"4.4.4 mx.")
                assert b"allow_addresses" in failure.value.smtp_error
        assert lab.seen()["sessions"] == []
        # The operator's own host.
        for send in both(mtasts.Resolver(cache_dir=cache, allow_addresses=[inside, "198.18.0.0/15"])):
            assert send("inside@good.test")
    finally:
        lab.reset()


def test_the_public_addresses_of_a_host_are_tried_one_after_the_other(lab: Lab, cache: str) -> None:
    """The one inside is passed over, the dead one is no end; and the certificate is about the name."""
    lab.reset()
    address = mtasts_address("mx.good.test")
    lab.set("good.test", addresses=f"10.0.0.1,198.18.0.66,{address}")
    try:
        for send in both(mtasts.Resolver(cache_dir=cache)):
            assert send("several@good.test")
        assert {session["address"] for session in lab.seen()["sessions"]} == {address}
    finally:
        lab.reset()


def mtasts_address(host: str) -> str:
    return str(dns.resolver.resolve(host, "A")[0])


class Loud:
    """A host whose every word would act on a terminal, or begin another line of a log."""

    WORDS = "5.7.1 no\x1b]0;owned\x07\x1b[31m\x9b31m\u202e\u2028Nov 26 sshd: root"

    def __init__(self, at: str) -> None:
        self.at = at

    def line(self, stage: str) -> bytes:
        code = {"greeting": 554, "ehlo": 502, "mail": 550, "rcpt": 550, "data": 554}[stage]
        text = self.WORDS.encode()
        return b"%d-%s\r\n%d \xff\x9b second line\r\n" % (code, text, code)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(stage: str, good: bytes) -> None:
            writer.write(self.line(stage) if self.at == stage else good)

        say("greeting", b"220 here\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb in (b"EHLO", b"HELO"):
                say("ehlo", b"250 here\r\n")
            elif verb == b"MAIL":
                say("mail", b"250 ok\r\n")
            elif verb == b"RCPT":
                # One of two is refused, or both.
                refuse = self.at == "rcpt" or (self.at == "one" and b"bad@" in line)
                writer.write(Loud("rcpt").line("rcpt") if refuse else b"250 ok\r\n")
            elif verb == b"DATA":
                say("data", b"354 go on\r\n")
                if self.at != "data":
                    while await reader.readline() not in (b".\r\n", b""):
                        pass
                    writer.write(b"250 ok\r\n")
            elif verb == b"QUIT":
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()


@pytest.mark.parametrize("at", ["greeting", "ehlo", "mail", "rcpt", "one", "data"])
def test_what_a_host_says_is_one_line(lab: Lab, cache: str, caplog: Any, at: str) -> None:
    caplog.set_level("DEBUG")
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serving = asyncio.run_coroutine_threadsafe(asyncio.start_server(Loud(at), "0.0.0.0", 2527), loop).result()
    try:
        for send in both(mtasts.Resolver(cache_dir=cache), 2527):
            with pytest.raises(smtp.DeliveryError) as failure:
                send(["good@nopolicy.test", "bad@nopolicy.test"])
            error = failure.value
            assert 400 <= error.smtp_code < 600 and bool(error.delivered) == (at == "one")
            # A traceback in a log has all of it, causes too.
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            assert not [line for line in trace.splitlines() if "sshd" in line and ".7.1 no" not in line]
            said: list[Any] = [error.smtp_error, str(error), error.recipients, error.args, trace.replace("\n", "")]
            # asyncio tells of the tasks of this test's own server.
            said += [record.getMessage() for record in caplog.records if record.name == "mtasts"]
            text = "".join(repr(word) if isinstance(word, (dict, tuple)) else as_text(word) for word in said)
            assert "second line" in text
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u202e]|\\x1b|\\n|\\x9b|\\x07", text), (at, text)
    finally:
        loop.call_soon_threadsafe(serving.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def as_text(word: str | bytes) -> str:
    return word if isinstance(word, str) else word.decode()
