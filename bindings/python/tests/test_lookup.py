"""Answers, verdicts, certificates, the cache, and what goes wrong."""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab

import mtasts
from mtasts import Action, Mode, ResultType, Seen, Source


def test_an_answer_says_all(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    answer = resolver.lookup("GOOD.test")
    assert (answer.domain, answer.mode, answer.source) == ("good.test", Mode.ENFORCE, Source.FRESH)
    assert answer.mx == ("mx.good.test",) and re.fullmatch("[A-Za-z0-9]{1,32}", answer.id)
    assert answer.fetched and answer.expires and answer.fetched < answer.expires
    assert answer.policy_text is not None and answer.policy_text.startswith(b"version: STSv1")
    assert answer.result is None and answer.defer_until is None and answer.warning == ""
    assert "good.test" in answer.explanation
    assert answer.allows_mx("mx.good.test") and mtasts.allows_mx(answer, "MX.good.test.")
    assert not answer.allows_mx("mx2.good.test") and not answer.allows_mx("no name at all")
    again = mtasts.Resolver(cache_dir=cache).lookup("good.test")
    assert again.source is Source.CACHED and again.is_same_policy(answer)
    copy = pickle.loads(pickle.dumps(answer))
    assert copy == answer and repr(copy) == repr(answer)
    with pytest.raises(TypeError):
        copy.verdict("mx.good.test")
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
    resolver = mtasts.Resolver(cache_dir=cache)
    answer = resolver.lookup("good.test")
    assert answer.verdict("mx.good.test").action is Action.DELIVER
    wrong = mtasts.verdict(answer, "mx.evil.test")
    assert (wrong.action, wrong.result) == (Action.SKIP_HOST, ResultType.VALIDATION_FAILURE)
    assert wrong.reason_code == "mx-host-not-in-policy" and "mx.evil.test" in wrong.sentence
    for seen, result in [
        (Seen.STARTTLS_NOT_OFFERED, ResultType.STARTTLS_NOT_SUPPORTED),
        (Seen.STARTTLS_REFUSED, ResultType.STARTTLS_NOT_SUPPORTED),
        (Seen.HANDSHAKE_FAILED, ResultType.VALIDATION_FAILURE),
    ]:
        verdict = answer.verdict("mx.good.test", seen, reason="a\0b\r\nc")
        assert (verdict.action, verdict.result) == (Action.SKIP_HOST, result)
        assert verdict.sentence.isprintable()
    bad = mtasts.from_openssl(10)
    assert not bad and bad.result is ResultType.CERTIFICATE_EXPIRED and bad.reason
    assert mtasts.from_openssl(0)
    assert answer.verdict("mx.good.test", Seen.CERTIFICATE, check=bad).result is ResultType.CERTIFICATE_EXPIRED
    assert answer.verdict("mx.good.test", Seen.CERTIFICATE, check=mtasts.from_openssl(0)).action is Action.DELIVER
    assert answer.verdict("mx.good.test", Seen.NO_HOST_LEFT).action is Action.DEFER
    with pytest.raises(mtasts.ArgumentError):
        answer.verdict("mx.good.test", Seen.CERTIFICATE)
    with pytest.raises(mtasts.IsAddress):
        answer.verdict("192.0.2.1")


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


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name(name: str) -> None:
    resolver = mtasts.Resolver()
    for ask in [resolver.lookup, resolver.lookup_cached, resolver.recheck, resolver.purge]:
        with pytest.raises(mtasts.InvalidName) as refusal:
            ask(name)
        assert isinstance(refusal.value, ValueError) and refusal.value.reason and refusal.value.status == -2


def test_addresses_have_no_policy() -> None:
    for name in ["192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]"]:
        with pytest.raises(mtasts.IsAddress):
            mtasts.lookup(name)


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
    ]:
        header = {name: getattr(lib, name) for name in dir(lib) if name.startswith(f"MTASTS_{prefix}_")}
        assert header == {f"MTASTS_{prefix}_{word.name}": word.value for word in words}
    for result in ResultType:
        assert result.text == result.name.lower().replace("_", "-")
    codes = {name: getattr(lib, name) for name in dir(lib) if name.startswith("MTASTS_E_")}
    raised = {type(mtasts.errors.error_of(code, "")) for code in codes.values()}
    assert len(raised) == 8, "an error code without a class of its own: ABI, FORKED and CANCELLED share one"
