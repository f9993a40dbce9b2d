"""Answers, verdicts, certificates, the cache, and what goes wrong."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab

import mtasts
from mtasts import Action, Attempt, Channel, Mode, NoHost, PolicyType, ResultType, Seen, Source


def test_an_answer_says_all(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    answer = resolver.lookup("GOOD.test")
    assert (answer.domain, answer.mode, answer.source) == ("good.test", Mode.ENFORCE, Source.FRESH)
    assert answer.mx == ("mx.good.test",) and re.fullmatch("[A-Za-z0-9]{1,32}", answer.id)
    assert answer.fetched and answer.expires and answer.fetched < answer.expires
    assert answer.policy_text is not None and answer.policy_text.startswith(b"version: STSv1")
    assert answer.result is None and answer.defer_until is None and answer.warning == ""
    assert "good.test" in answer.explanation
    assert answer.enforces and answer.applies
    assert answer.allows_mx("mx.good.test") and answer.allows_mx("MX.good.test.")
    assert not answer.allows_mx("mx2.good.test") and not answer.allows_mx("no name at all")
    again = mtasts.Resolver(cache_dir=cache).lookup("good.test")
    assert again.source is Source.CACHED and again.is_same_policy(answer)
    copy = pickle.loads(pickle.dumps(answer))
    assert copy == answer and repr(copy) == repr(answer)
    # A fetch of the unchanged policy makes no new one.
    time.sleep(1.1)
    assert resolver.purge("good.test")
    fetched = resolver.lookup("good.test")
    assert fetched.fetched and fetched.fetched > answer.fetched
    for now in [fetched, *map(resolver.lookup, ["testing.test", "nopolicy.test"])]:
        assert now.is_same_policy(answer) is now.is_same_policy(copy) is copy.is_same_policy(now) is (now is fetched)
    # What a version without the key has pickled.
    made, values = answer.__reduce__()[:2]
    with pytest.raises(TypeError, match="policy_key"):
        made(*values[:-1])
    with pytest.raises(TypeError):
        Attempt(copy, "mx.good.test")
    with pytest.raises(TypeError):
        copy.verdict_without_host()
    with pytest.raises(AttributeError):
        answer.mode = Mode.NONE  # type: ignore[misc]


def test_answers_without_a_policy(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    answer = resolver.lookup("nopolicy.test")
    assert (answer.source, answer.mode, answer.id, answer.mx) == (Source.NO_POLICY, Mode.NONE, "", ())
    assert answer.fetched is None and answer.policy_text is None and answer.detail
    answer = resolver.lookup("https-expired.test")
    assert (answer.source, answer.result) == (Source.COULD_NOT_LEARN, ResultType.STS_WEBPKI_INVALID)


def test_verdicts(lab: Lab, cache: str) -> None:
    answer = mtasts.Resolver(cache_dir=cache).lookup("good.test")
    assert Attempt(answer, "mx.good.test").saw().action is Action.DELIVER
    wrong = Attempt(answer, "mx.evil.test").saw()
    assert (wrong.action, wrong.result) == (Action.SKIP_HOST, ResultType.VALIDATION_FAILURE)
    assert wrong.reason_code == "mx-host-not-in-policy" and "mx.evil.test" in wrong.sentence
    for name in ["a_b.good.test", "192.0.2.1", "", "a\r\nb", "\ud800"]:
        verdict = Attempt(answer, name).saw()
        assert (verdict.action, verdict.reason_code) == (Action.SKIP_HOST, "mx-not-a-host-name")
        assert verdict.sentence.isprintable()
    for seen, result in [
        (Seen.STARTTLS_NOT_OFFERED, ResultType.STARTTLS_NOT_SUPPORTED),
        (Seen.STARTTLS_REFUSED, ResultType.STARTTLS_NOT_SUPPORTED),
        (Seen.HANDSHAKE_FAILED, ResultType.VALIDATION_FAILURE),
    ]:
        verdict = Attempt(answer, "mx.good.test").saw(seen, reason="a\0b\r\nc")
        assert (verdict.action, verdict.result) == (Action.SKIP_HOST, result)
        assert verdict.sentence.isprintable()
    bad = mtasts.from_openssl(10)
    assert not bad and bad.result is ResultType.CERTIFICATE_EXPIRED and bad.reason
    assert mtasts.from_openssl(0)
    attempt = Attempt(answer, "mx.good.test")
    with pytest.raises(mtasts.ArgumentError):
        attempt.saw(Seen.CERTIFICATE)
    assert attempt.saw(Seen.CERTIFICATE, check=bad).result is ResultType.CERTIFICATE_EXPIRED
    # A refusal stays, whatever a second connection shows.
    assert attempt.saw(Seen.CERTIFICATE, check=mtasts.from_openssl(0)).action is Action.SKIP_HOST
    assert {action for action in Action if action.delivers} == {Action.DELIVER, Action.DELIVER_AND_REPORT}
    assert [action for action in Action if action.defers] == [Action.DEFER]


def test_an_attempt_counts_once(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    answer = resolver.lookup("testing.test")
    attempt = Attempt(answer, "MX.testing.test")
    assert attempt.saw().action is Action.DELIVER
    assert attempt.saw(Seen.CERTIFICATE, check=mtasts.from_openssl(10)).action is Action.DELIVER_AND_REPORT
    assert attempt.verdict == attempt.saw()
    with pytest.raises(mtasts.ArgumentError):
        attempt.finish(address="localhost")
    event = attempt.finish(channel=Channel.TLS, address="2001:db8::0001%eth0", local_address="192.0.2.1")
    assert event == mtasts.ReportEvent(
        PolicyType.STS,
        "mx.testing.test",
        "2001:db8::1",
        "192.0.2.1",
        ResultType.CERTIFICATE_EXPIRED,
        f"certificate-expired: {mtasts.from_openssl(10).reason}",
    )
    assert pickle.loads(pickle.dumps(event)) == event
    assert attempt.finish() is None
    good = Attempt(answer, "mx.testing.test")
    good.saw(Seen.CERTIFICATE, check=mtasts.from_openssl(0))
    event = good.finish(channel=Channel.TLS)
    assert event and event.result is None and event.address is None
    assert Attempt(answer, "mx.testing.test").finish() is None
    plain = Attempt(resolver.lookup("nopolicy.test"), "mx.nopolicy.test")
    assert plain.saw(Seen.STARTTLS_NOT_OFFERED).action is Action.DELIVER
    event = plain.finish(channel=Channel.CLEAR)
    assert event and event.policy_type is PolicyType.NO_POLICY_FOUND
    assert event.result is ResultType.STARTTLS_NOT_SUPPORTED


def test_mail_without_a_host(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    for why in NoHost:
        assert resolver.lookup("good.test").verdict_without_host(why).action is Action.DEFER
        assert resolver.lookup("nopolicy.test").verdict_without_host(why).action.delivers
    assert "DNS contradicts" in resolver.lookup("good.test").verdict_without_host(NoHost.NULL_MX).sentence


def chain_of(host: str) -> list[bytes]:
    """What a host sends after STARTTLS."""
    import ssl

    command = ["openssl", "s_client", "-starttls", "smtp", "-showcerts", "-connect", f"{host}:25"]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    found = re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", said, re.S)
    assert found, said
    return [ssl.PEM_cert_to_DER_cert(pem) for pem in found]


def test_certificates(lab: Lab) -> None:
    resolver = mtasts.Resolver()
    good = chain_of("mx.good.test")
    assert resolver.verify_certificate("mx.good.test", good)
    assert mtasts.verify_certificate("mx.good.test.", [good[0], *reversed(good[1:])]) == mtasts.Check(None, "")
    for chain, host, result in [
        (good, "mx2.good.test", ResultType.CERTIFICATE_HOST_MISMATCH),
        (good[:1], "mx.good.test", ResultType.CERTIFICATE_NOT_TRUSTED),
        (chain_of("mx.expired.test"), "mx.expired.test", ResultType.CERTIFICATE_EXPIRED),
        (chain_of("mx.cnonly.test"), "mx.cnonly.test", ResultType.CERTIFICATE_HOST_MISMATCH),
        ([b"no certificate"], "mx.good.test", ResultType.VALIDATION_FAILURE),
        ([], "mx.good.test", ResultType.VALIDATION_FAILURE),
    ]:
        check = resolver.verify_certificate(host, chain)
        assert check.result is result and check.reason, (host, check)
    assert resolver.verify_certificate("mx.good.test", good, at=4_000_000_000).result is ResultType.CERTIFICATE_EXPIRED
    with pytest.raises(mtasts.IsAddress):
        resolver.verify_certificate("192.0.2.1", good)


def test_the_cache_is_read_and_purged(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    assert resolver.cached_domains() == []
    for domain in ["testing.test", "good.test", "nopolicy.test"]:
        resolver.lookup(domain)
    assert resolver.cached_domains() == ["good.test", "testing.test"] == sorted(os.listdir(cache))[-2:]
    lab.reset()
    other = mtasts.Resolver(cache_dir=cache)
    assert other.lookup_cached("good.test").mode is Mode.ENFORCE
    assert other.lookup_cached("none.test").source is Source.COULD_NOT_LEARN
    assert lab.counters()["dns"] == {}
    assert resolver.purge("Good.test") and not resolver.purge("good.test")
    assert resolver.cached_domains() == ["testing.test"]
    # It is gone from memory too.
    assert resolver.lookup_cached("good.test").source is Source.COULD_NOT_LEARN


def test_a_user_who_is_not_root(lab: Lab, tmp_path: Path) -> None:
    """The same as nobody, who does all by himself."""
    home = tmp_path / "home"
    home.mkdir()
    for path in [home, *home.parents][:-2]:
        os.chmod(path, 0o711)
    os.chown(home, 65534, 65534)
    program = f"""if True:
        import os, sys
        sys.path[:] = {sys.path!r}
        # While Python can be read: it may lie where only root may look.
        import mtasts
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        for cache in [{str(home / "cache")!r}, ""]:
            resolver = mtasts.Resolver(cache_dir=cache)
            assert resolver.lookup("good.test").mode is mtasts.Mode.ENFORCE
            assert resolver.cached_domains() == ["good.test"]
            assert resolver.purge("good.test") and resolver.cached_domains() == []
        """
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/")


BAD_NAMES = ["", ".", "a..test", "a b.test", "x\0y.test", "\ud800.test", "a" * 300, "-.test/../etc"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_no_name(name: str) -> None:
    resolver = mtasts.Resolver()
    for ask in [resolver.lookup, resolver.lookup_cached, resolver.recheck]:
        answer = ask(name)
        assert (answer.source, answer.mode, answer.domain) == (Source.NO_POLICY, Mode.NONE, "")
        assert "is not a domain name" in answer.detail and answer.result is None
        assert Attempt(answer, "mx.example.com").saw().action is Action.DELIVER
    with pytest.raises(mtasts.InvalidName) as refusal:
        resolver.purge(name)
    assert isinstance(refusal.value, ValueError) and refusal.value.reason
    assert refusal.value.status == (-2 if name in BAD_NAMES else -3)


def test_settings(tmp_path: Path) -> None:
    wrongs: list[dict[str, Any]] = [
        {"timeout": "soon"},
        {"nameservers": ["nobody"]},
        {"cache_dir": "relative"},
        {"ca_file": "x\0y"},
        {"nat64_prefixes": ["64:ff9b::/95"]},
    ]
    for wrong in wrongs:
        with pytest.raises(mtasts.SettingsError) as refusal:
            mtasts.Resolver(**wrong)
        assert next(iter(wrong)) in str(refusal.value)
    file = tmp_path / "mtasts.toml"
    file.write_text("cache_dirr = '/tmp'\n")
    with pytest.raises(mtasts.SettingsError, match="cache_dirr"):
        mtasts.Resolver(settings_file=file)
    # The tests run as root, who asks no network and has nobody to become.
    with pytest.raises(mtasts.Unavailable, match="install -d"):
        mtasts.Resolver(cache_dir="/nowhere").lookup("good.test")


def test_the_administrator_is_told(lab: Lab, cache: str, caplog: Any) -> None:
    lines: list[str] = []
    exceptions = Path(cache).parent / "exceptions"
    exceptions.write_text("expired.test 2099-12-31 they renew it tomorrow\n")
    resolver = mtasts.Resolver(cache_dir=cache, exceptions=exceptions, log=lines.append)
    assert resolver.lookup("expired.test").mode is Mode.TESTING
    assert any("they renew it tomorrow" in line for line in lines), lines
    with caplog.at_level(logging.WARNING, "mtasts"):
        mtasts.Resolver(cache_dir=cache, exceptions=exceptions).lookup("expired.test")
    assert "they renew it tomorrow" in caplog.text


def test_the_words_are_the_header_s() -> None:
    from mtasts._native import lib

    for words, prefix in [
        (Mode, "MODE"),
        (Source, "SOURCE"),
        (Action, "ACTION"),
        (Seen, "SEEN"),
        (NoHost, "NO_HOST"),
        (Channel, "CHANNEL"),
        (PolicyType, "POLICY"),
    ]:
        header = {name: getattr(lib, name) for name in dir(lib) if name.startswith(f"MTASTS_{prefix}_")}
        assert header == {f"MTASTS_{prefix}_{word.name}": word.value for word in words}
    for result in ResultType:
        assert result.text == result.name.lower().replace("_", "-")
    codes = {name: getattr(lib, name) for name in dir(lib) if name.startswith("MTASTS_E_")}
    raised = {type(mtasts.errors.error_of(code, "")) for code in codes.values()}
    assert len(raised) == 8, "an error code without a class of its own: ABI, FORKED and CANCELLED share one"
