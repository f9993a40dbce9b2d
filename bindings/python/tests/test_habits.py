"""What people who know smtplib, and Python, guess: it works, or it says what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import inspect
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from threading import Thread
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import dns.resolver
import pytest
from conftest import Lab

import mtasts
from mtasts import aio, aiosmtp, smtp
from mtasts.outcome import Results, reply

SENDER = "ann@sender.test"


def letter(to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, to, "a letter"
    message.set_content("Hello\n")
    return message


def test_clients_as_those_of_smtplib(lab: Lab, cache: str) -> None:
    lab.reset()
    resolver = mtasts.Resolver(cache_dir=cache)
    with smtp.Client(resolver, timeout="5s", results=Results()) as client:
        assert client.send_message(letter("one@good.test")) == {}
        assert client.send_message(letter("not@nowhere.test"), SENDER, ["two@good.test"]) == {}
        assert client.sendmail(SENDER, "three@good.test", "Subject: x\n\nx\n") == {}
        (got,) = client.deliver(letter("four@good.test"), timeout="10s").values()
        assert got.host == "mx.good.test" and got.tls == "TLSv1.3" and got.check and got.reply.startswith("250 ")
        with pytest.raises(smtp.PolicyError) as failure:
            client.send_message(letter("one@good.test, one@expired.test"))
        assert (failure.value.domain, failure.value.mx) == ("expired.test", "mx.expired.test")
        assert "Client" in repr(client) and "5 s" in repr(client)

    async def main() -> None:
        # The blocking resolver will do.
        async with aiosmtp.Client(resolver, timeout=5, results=Results()) as client:
            assert await client.send_message(letter("one@good.test")) == {}
            assert await client.sendmail(SENDER, "three@good.test", "Subject: x\n\nx\n") == {}
            (got,) = (await client.deliver(letter("four@good.test"), timeout="10s")).values()
            assert got.host == "mx.good.test" and got.tls == "TLSv1.3" and got.check and got.reply.startswith("250 ")

    asyncio.run(main())
    assert [len(lab.mail_to(f"{name}@good.test")) for name in ("one", "two", "three", "four")] == [3, 1, 2, 2]


def test_a_wrong_argument_is_named(cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    wrong: list[tuple[Any, str]] = [
        (lambda: mtasts.Resolver(cache_dir=7), "cache_dir: must be a path"),  # type: ignore[arg-type]
        (lambda: mtasts.Resolver(nameservers=[7]), "nameservers: must be"),  # type: ignore[list-item]
        (lambda: mtasts.Resolver(nameservers=7), "nameservers: must be"),  # type: ignore[arg-type]
        (lambda: mtasts.Resolver(timeout=[5]), "timeout: must be"),  # type: ignore[arg-type]
        (lambda: mtasts.Resolver(cache_max="many", user=7), "user: must be"),  # type: ignore[arg-type]
        (lambda: mtasts.Resolver(cache_max="7"), "cache_max: must be"),  # type: ignore[arg-type]
        (lambda: mtasts.Resolver(log="syslog"), "log: must be"),  # type: ignore[arg-type]
        (lambda: smtp.Client(aio.Resolver(resolver)), "resolver: must be a mtasts.Resolver"),  # type: ignore[arg-type]
        (lambda: aiosmtp.Client("x"), "resolver: must be a mtasts.aio.Resolver"),  # type: ignore[arg-type]
        (lambda: aio.Resolver("x"), "resolver: must be a mtasts.Resolver"),  # type: ignore[arg-type]
        (lambda: smtp.Client(resolver, timeout="soon"), "timeout: must be"),
        (lambda: smtp.Client(resolver, timeout=None), "timeout: must be"),  # type: ignore[arg-type]
        (lambda: resolver.lookup("good.test", timeout="soon"), "timeout: must be"),
        (lambda: smtp.Client(resolver, hostname=7), "hostname: must be"),  # type: ignore[arg-type]
        (lambda: smtp.Client(resolver, results=[]), "results: must be"),  # type: ignore[arg-type]
        (lambda: aiosmtp.Client(resolver, port="25"), "port: must be"),  # type: ignore[arg-type]
        (lambda: resolver.lookup(None), "must be a str, not None"),  # type: ignore[arg-type]
        (lambda: resolver.check_address(b"192.0.2.1"), "must be a str, not b"),  # type: ignore[arg-type]
        (lambda: smtp.Client(resolver).deliver(letter("x@good.test"), 7), "to: must be"),  # type: ignore[arg-type]
        (lambda: mtasts.Resolver(timeout=float("inf")), "timeout: must be"),
        (lambda: mtasts.Resolver(timeout=float("nan")), "timeout: must be"),
    ]
    for call, said in wrong:
        with pytest.raises(TypeError, match=said):
            call()
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            smtp.Client(resolver, timeout=timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e30, "99999999d"])
def test_for_ever_is_a_time_limit(lab: Lab, cache: str, timeout: Any) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    assert resolver.lookup("good.test", timeout=timeout).mode is mtasts.Mode.ENFORCE
    assert smtp.Client(resolver, timeout=timeout, results=Results()).deliver(letter("x@good.test"), timeout=timeout)
    client = aiosmtp.Client(resolver, timeout=timeout, results=Results())
    assert asyncio.run(client.deliver(letter("x@good.test"), timeout=timeout))


def test_settings_as_arguments(cache: str) -> None:
    some: list[dict[str, Any]] = [
        {"timeout": 5, "txt_life_min": 60, "txt_life_max": "1h", "silence_budget": "60s", "cache_max": 100},
        {"timeout": "5s", "cache_max_per_parent": 10, "first_contact_defer": 3600.0},
        {"nameservers": "192.0.2.1"},
        {"nameservers": "192.0.2.1, 192.0.2.2:5353", "allow_addresses": "10.0.0.0/8 192.168.0.0/16"},
        {"nameservers": ("192.0.2.1",), "nat64_prefixes": ["2001:db8:64::/96"]},
        {"fleet": ["unix:/nowhere/valkey"], "fleet_prefix": "x:", "fleet_key_file": "/nowhere/key"},
        {"fleet": "rediss://cache.example unix:/nowhere/replica", "fleet_insecure": "off"},
    ]
    for settings in some:
        assert "Resolver" in repr(mtasts.Resolver(cache_dir=cache, **settings))
    with pytest.raises(mtasts.SettingsError, match="nameservers"):
        mtasts.Resolver(cache_dir=cache, nameservers="dns.example")


def test_answers_are_values(lab: Lab, cache: str) -> None:
    lab.reset()
    answer = mtasts.Resolver(cache_dir=cache).lookup("good.test", timeout="20s")
    assert (str(answer.mode), f"{answer.mode}", f"{answer.mode:d}", f"{answer.mode:>8}") == (
        "enforce",
        "enforce",
        "2",
        " enforce",
    )
    assert all(str(result) == result.text for result in mtasts.ResultType)
    assert repr(answer) == "<mtasts.Answer good.test: enforce, fresh>"
    assert copy.deepcopy(answer).verdict_without_host() and copy.copy(answer) == answer
    said = json.loads(json.dumps(answer.to_dict()))
    assert (said["mode"], said["mx"], said["source"]) == ("enforce", ["mx.good.test"], "fresh")
    assert said["policy_text"].startswith("version: STSv1")
    attempt = mtasts.Attempt(answer, "mx.good.test")
    attempt.saw()
    assert repr(attempt) == "<mtasts.Attempt at 'mx.good.test': deliver>"


def test_the_enhanced_code_has_the_class_of_the_code() -> None:
    for given, wanted in [
        ((250, "2.0.0 what"), (451, b"4.0.0 what")),
        ((451, "5.7.1 later"), (451, b"4.7.1 later")),
        ((550, "4.2.2"), (550, b"5.2.2")),
        ((550, "5.1.1 gone"), (550, b"5.1.1 gone")),
        ((550, "4.5.6.7 is an address"), (550, b"4.5.6.7 is an address")),
        ((550, "no 4.7.1 here"), (550, b"no 4.7.1 here")),
    ]:
        assert reply(*given) == wanted


class Forwarder:
    """A name server that passes questions on to that of the test Internet, and notes them."""

    def __init__(self, ip: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: set[tuple[str, str]] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ip, port))
        self.address = f"{ip}:{self._socket.getsockname()[1]}"
        (self._upstream,) = dns.resolver.Resolver().nameservers
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                wire, client = self._socket.recvfrom(4096)
            except OSError:
                return
            if not wire:
                return
            question = dns.message.from_wire(wire)
            name, kind = question.question[0].name, question.question[0].rdtype
            self.asked.add((str(name), dns.rdatatype.to_text(kind)))
            self._socket.sendto(dns.query.udp(question, str(self._upstream), timeout=5).to_wire(), client)

    def close(self) -> None:
        # It wakes the thread, which holds the address while it receives.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()


@pytest.mark.parametrize("way", ["argument", "file"])
def test_one_resolver_for_all_questions(lab: Lab, cache: str, tmp_path: Path, way: str) -> None:
    lab.reset()
    server = Forwarder()
    try:
        settings = tmp_path / "mtasts.toml"
        settings.write_text(f"nameservers = ['{server.address}']\nallow_addresses = ['198.18.0.0/15']\n")
        if way == "file":
            resolver = mtasts.Resolver(cache_dir=cache, settings_file=settings)
        else:
            resolver = mtasts.Resolver(cache_dir=cache, nameservers=server.address)
        assert resolver.nameservers == [("127.0.0.1", int(server.address.rpartition(":")[2]))]
        assert mtasts.Resolver(cache_dir=cache).nameservers is None
        questions = {("_mta-sts.good.test.", "TXT"), ("good.test.", "MX"), ("mx.good.test.", "A")}
        assert smtp.Client(resolver, timeout=5, results=Results()).deliver(letter("dns@good.test"))
        assert questions <= server.asked
        server.asked.clear()
        assert asyncio.run(aiosmtp.Client(resolver, timeout=5, results=Results()).deliver(letter("dns@good.test")))
        assert questions - {("_mta-sts.good.test.", "TXT")} <= server.asked
    finally:
        server.close()


@contextmanager
def in_place_of(path: str, content: str, tmp_path: Path) -> Iterator[None]:
    """The file has this content; the test Internet has file systems of its own."""
    other = tmp_path / "other"
    other.write_text(content)
    subprocess.run(["mount", "--bind", other, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


BOTH = pytest.mark.parametrize(
    "send",
    [
        lambda resolver, to: smtp.Client(resolver, timeout=5, results=Results()).deliver(letter(to)),
        lambda resolver, to: asyncio.run(aiosmtp.Client(resolver, timeout=5, results=Results()).deliver(letter(to))),
    ],
    ids=["smtplib", "aiosmtplib"],
)


@BOTH
def test_dns_alone_says_where_a_host_is(lab: Lab, cache: str, tmp_path: Path, send: Any) -> None:
    lab.reset()
    resolver = mtasts.Resolver(cache_dir=cache)
    search = Path("/etc/resolv.conf").read_text() + "search good.test\n"
    with in_place_of("/etc/hosts", "198.18.255.254 mx.good.test good.test\n", tmp_path):
        assert send(resolver, "dns@good.test")
    # There is a mx.good.test.
    refused = pytest.raises(smtp.PermanentError, match="there is no domain mx")
    with in_place_of("/etc/resolv.conf", search, tmp_path), refused:
        send(resolver, "dns@mx")


@pytest.mark.parametrize("file", ["named", "none"])
@BOTH
def test_the_name_servers_of_the_host_are_read_anew(lab: Lab, cache: str, tmp_path: Path, send: Any, file: str) -> None:
    """Where the file names none, it is the one on this host (resolv.conf(5))."""
    lab.reset()
    resolver = mtasts.Resolver(cache_dir=cache)
    assert send(resolver, "dns@good.test")
    server = Forwarder("127.0.0.77" if file == "named" else "127.0.0.1", 53)
    try:
        with in_place_of("/etc/resolv.conf", "nameserver 127.0.0.77\n" if file == "named" else "", tmp_path):
            assert send(resolver, "dns@good.test")
        assert {("good.test.", "MX"), ("mx.good.test.", "A")} <= server.asked
    finally:
        server.close()


@pytest.mark.parametrize(
    "function",
    [
        mtasts.lookup,
        mtasts.lookup_cached,
        mtasts.recheck,
        mtasts.verify_certificate,
        aio.lookup,
        aio.recheck,
        smtp.deliver,
        aiosmtp.deliver,
    ],
)
def test_help_says_arguments_and_exceptions(function: Any) -> None:
    said = inspect.getdoc(function) or ""
    assert "Args:" in said and "Raises:" in said
    assert all(f"    {name}: " in said for name in inspect.signature(function).parameters)


def test_the_file_of_settings_keeps_the_place_of_the_cache(tmp_path: Path) -> None:
    settings = tmp_path / "mtasts.toml"
    settings.write_text("timeout = '5s'\n")
    assert not os.path.exists("/var/lib/mtasts")
    with pytest.raises(mtasts.Unavailable, match="/var/lib/mtasts"):
        mtasts.Resolver(settings_file=settings).lookup("good.test")


def test_a_directory_that_holds_other_things(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    resolver.lookup("good.test")
    for name in ("README", "Other.test", "other.test~", ".hidden.test", "x_y.test", "192.0.2.1", "notes", "other.test"):
        (Path(cache) / name).write_text("not a policy\n")
    (Path(cache) / "directory.test").mkdir()
    (Path(cache) / "link.test").symlink_to("good.test")
    for name, owner in [("copy.test", 65534), ("hidden.test", 0)]:
        shutil.copy(Path(cache) / "good.test", Path(cache) / name)
        os.chown(Path(cache) / name, owner, owner)
    # The last one may be an entry: its reader is not root.
    assert resolver.cached_domains() == ["good.test", "hidden.test"]


@pytest.mark.parametrize("extra, module", [("aiosmtplib", "aiosmtp"), ("django", "django")])
def test_a_missing_extra_is_named(tmp_path: Path, extra: str, module: str) -> None:
    program = f"import sys; sys.modules[{extra!r}] = None; import mtasts.{module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and f"pip install mtasts[{extra}]" in done.stderr, done.stderr
