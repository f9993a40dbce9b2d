"""Delivers mail to the MX hosts of its recipients, with `smtplib`, as MTA-STS (RFC 8461) asks.

>>> from mtasts import smtp
>>> smtp.deliver(message, ["user@example.com"])         # doctest: +SKIP

What becomes of a mail:

* Its domain enforces a policy: it goes only to MX hosts that the policy lists, over TLS with a certificate that is good
  for the host. Where no host is left, `PolicyError` is raised, an `smtplib.SMTPResponseException` with
  code 451: every queue keeps such a mail. It never bounces because of a policy.
* Its domain has a policy in testing: it goes as it would without, and what failed is logged and noted in
  `results`.
* There is no policy: it goes over TLS where the host offers it.
* An MX host has TLSA records, and the setting `dane` is on: these decide about the host before the policy does, and the
  mail waits as under a policy (RFC 8461 2, RFC 7672).

In an event loop use `mtasts.aiosmtp`.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from collections.abc import Container, Coroutine, Iterable, Sequence
from email.message import Message
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import dns.resolver

from . import default_resolver
from ._library import seconds
from .answer import Answer
from .attempt import Attempt
from .connection import Connection
from .delivery import Sight, Tls, TlsFailed
from .delivery import deliver as _deliver
from .hosts import configured
from .kept import Kept
from .letter import letter
from .outcome import (
    Delivered,
    DeliveryError,
    HostFailed,
    PermanentError,
    PolicyError,
    Refusals,
    Result,
    Results,
    Said,
    TemporaryError,
    Unreachable,
    results,
)
from .resolver import Hosts, Resolver, Time
from .tls import Contexts, failed, not_offered
from .words import Channel, Seen

__all__ = [
    "Client",
    "Delivered",
    "DeliveryError",
    "PermanentError",
    "PolicyError",
    "Refusals",
    "Result",
    "Results",
    "TemporaryError",
    "deliver",
    "results",
]

T = TypeVar("T")
C = TypeVar("C", bound="Client")

PATIENCE = 60.0
"""How long a client waits for a connection and for each reply, in seconds, if it is not told."""

WHOLE = 10
"""How many times as long a whole delivery may take, if it is not told."""


MOST_AT_ONCE = 50
"""How many commands go out before their replies are read, where a host takes several: they have to fit into the buffers
on the way, or both sides wait for each other (RFC 2920 3.1)."""


class _Session:
    def __init__(self, connection: Connection, address: str, sight: Sight) -> None:
        self._connection = connection
        self.sight = sight
        self.since = time.monotonic()
        self.key: Any = None
        self.reused = False
        sock = connection.sock
        self.tls = sock.version() if isinstance(sock, ssl.SSLSocket) else None
        self.peer = {
            "channel": Channel.CLEAR if self.tls is None else Channel.TLS,
            "address": address,
            "local_address": sock.getsockname()[0],  # type: ignore[union-attr]
        }
        self.extensions: Container[str] = connection.esmtp_features
        self.at_once = MOST_AT_ONCE if "pipelining" in self.extensions else 1

    async def commands(self, lines: Sequence[str]) -> list[Said]:
        try:
            return self._connection.commands(lines)
        except OSError as error:
            raise _host_failed(error) from None

    async def content(self, data: bytes) -> Said:
        try:
            return self._connection.content(data)
        except OSError as error:
            raise _host_failed(error) from None

    def close(self) -> None:
        self._connection.leave()


class _Place:
    """One of the places for sessions with a host."""

    def __init__(self, door: _Door, host: str) -> None:
        self._door, self._host = door, host
        self._places = door.kept.place(host)

    async def __aenter__(self) -> None:
        try:
            self._places.get(timeout=self._door._left())
        except Empty:
            raise HostFailed(451, f"4.4.5 all sessions with {self._host} were busy") from None

    async def __aexit__(self, *_: object) -> None:
        self._places.put(None)


def _places(number: int) -> SimpleQueue[None]:
    """So many places with a host. A semaphore of `threading` has a lock at which a signal handler that sends would wait
    for ever."""
    places: SimpleQueue[None] = SimpleQueue()
    for _ in range(number):
        places.put(None)
    return places


class _Door:
    """The way to the network for one delivery, for `mtasts.delivery`."""

    def __init__(self, client: Client, end: float) -> None:
        self._client = client
        self._dns: dns.resolver.Resolver | None = None
        self.end = end
        self.kept = client._kept
        self.results = client.results

    def _left(self) -> float:
        # Not zero, which would stand for no limit at all, or for the settings of the resolver.
        return max(0.001, self.end - time.monotonic())

    async def lookup(self, domain: str) -> Answer:
        return self._client.resolver.lookup(domain, timeout=self._left())

    async def records(self, name: str, kind: str) -> Any:
        if self._dns is None:
            self._dns = configured(dns.resolver.Resolver, self._client.resolver)
        return self._dns.resolve(f"{name}.", kind, lifetime=min(self._left(), self._client.timeout))

    async def dane(self, domain: str, hosts: Sequence[str]) -> Hosts:
        return self.resolver.hosts(domain, hosts, timeout=self._left())

    @property
    def resolver(self) -> Resolver:
        return self._client.resolver

    def check_address(self, address: str) -> None:
        self._client.resolver.check_address(address)

    async def report(self, attempt: Attempt) -> None:
        attempt.report(self._client.resolver, timeout=self._left())

    async def open(self, host: str, address: str, tls: Tls) -> _Session:
        client = self._client
        try:
            connection = Connection(address, client.port, client.hostname, client.timeout, self.end)
        except smtplib.SMTPException as error:
            raise _host_failed(error) from None
        except OSError as error:
            raise Unreachable(error) from None
        try:
            return _Session(connection, address, self._start_tls(connection, host, tls))
        except BaseException:
            connection.close()
            raise

    def _start_tls(self, connection: Connection, host: str, tls: Tls) -> Sight:
        _greet(connection)
        if tls is Tls.NONE:
            return Sight()
        if not connection.has_extn("starttls"):
            return not_offered(tls)
        contexts = self._client._contexts
        try:
            connection.start_tls(contexts.of(tls), host)
        except smtplib.SMTPResponseException:
            raise TlsFailed(Sight(Seen.STARTTLS_REFUSED)) from None
        except OSError as error:
            raise failed(error) from None
        sight = contexts.sight(tls, connection.sock, host)  # type: ignore[arg-type]
        _greet(connection)
        return sight

    def place(self, host: str) -> _Place:
        return _Place(self, host)

    def take(self, key: Any) -> _Session | None:
        session: _Session | None = self.kept.take(key)
        if session is not None:
            session._connection.renew(self.end)
        return session

    def keep(self, session: Any) -> bool:
        return session.key is not None and self.kept.put(session.key, session)

    async def each(self, deliveries: Sequence[Coroutine[Any, Any, None]]) -> None:
        # One domain after the other.
        try:
            for delivery in deliveries:
                await delivery
        finally:
            for delivery in deliveries:
                delivery.close()


class Client:
    """Sends mail. One client may be used by any number of threads, and after a fork.

    `with Client() as client` keeps each session for some seconds, for the next mail to the same MX host under the same
    policy.

    Args:
        resolver: Where policies come from; the settings of this host by default.
        hostname: The name to say in EHLO; the host's own by default.
        timeout: How long to wait for a connection and for each reply, in seconds or such as `30s`.
        results: Where results go.
        port: The port of MX hosts.

    Raises:
        TypeError: An argument is of the wrong kind.
        mtasts.SettingsError: The settings file of this host is wrong.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        *,
        hostname: str | None = None,
        timeout: Time = PATIENCE,
        results: Results = results,
        port: int = smtplib.SMTP_PORT,
    ) -> None:
        if resolver is not None and not isinstance(resolver, Resolver):
            raise TypeError(f"resolver: must be a mtasts.Resolver, not {resolver!r}")
        check_arguments(hostname, results, port)
        self.resolver = default_resolver() if resolver is None else resolver
        self.results = results
        self.timeout = seconds("timeout", timeout)
        self.port = port
        self._hostname = hostname
        self._contexts = Contexts(self.resolver)
        self._kept = Kept(_places)

    @property
    def hostname(self) -> str:
        """The name that the client says in EHLO."""
        if self._hostname is None:
            self._hostname = hostname_of_host()
        return self._hostname

    def deliver(
        self,
        message: Message | bytes,
        to: str | Iterable[str] | None = None,
        *,
        sender: str | None = None,
        timeout: Time | None = None,
    ) -> dict[str, Delivered]:
        """Delivers a message to each of its recipients, whatever their domains.

        Args:
            message: The message.
            to: The recipients' addresses; those in To, Cc and Bcc by default. If it is given, these fields do not
                count. A text may hold several, as in a header field.
            sender: The envelope sender; by default the address in Sender or From. Empty for a bounce.
            timeout: The longest time for the whole delivery, in seconds or such as `5m`; ten times that of the client
                by default.

        Returns:
            Each recipient, with the host that took the mail. It returns only if everybody got it.

        Raises:
            PolicyError: A recipient waits because of the policy of its domain (RFC 8461 5); a TemporaryError.
            TemporaryError: Somebody waits: try again with the recipients in its `deferred`.
            PermanentError: Nobody waits, and somebody will not get it.
            TypeError: An argument is of the wrong kind.
            ValueError: There is no recipient, or no sender.
        """
        whole = WHOLE * self.timeout if timeout is None else seconds("timeout", timeout)
        door = _Door(self, time.monotonic() + whole)
        return _run(_deliver(door, letter(message, to, sender)))

    def send_message(
        self, msg: Message, from_addr: str | None = None, to_addrs: str | Iterable[str] | None = None
    ) -> Refusals:
        """`deliver` with the arguments of `smtplib.SMTP.send_message`.

        Returns:
            Nobody: it raises if anybody did not get it. `smtplib` raises only if nobody did.
        """
        self.deliver(msg, to_addrs, sender=from_addr)
        return {}

    def sendmail(self, from_addr: str, to_addrs: str | Iterable[str], msg: str | bytes) -> Refusals:
        """`deliver` with the arguments of `smtplib.SMTP.sendmail`; returns and raises as `send_message` does."""
        self.deliver(msg.encode("ascii") if isinstance(msg, str) else msg, to_addrs, sender=from_addr)
        return {}

    def __enter__(self: C) -> C:
        self._kept.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def __repr__(self) -> str:
        return f"<mtasts.smtp.Client: port {self.port}, timeout {self.timeout:g} s>"


def check_arguments(hostname: object, results: object, port: object) -> None:
    """Raises TypeError if one of these arguments of a client is of the wrong kind."""
    if hostname is not None and not isinstance(hostname, str):
        raise TypeError(f"hostname: must be a text, not {hostname!r}")
    if not isinstance(results, Results):
        raise TypeError(f"results: must be a mtasts.smtp.Results, not {results!r}")
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port: must be a whole number, not {port!r}")


def hostname_of_host() -> str:
    """The name of this host for EHLO, as smtplib finds it: its address where it has no full name."""
    name = socket.getfqdn()
    if "." in name:
        return name
    try:
        return f"[{socket.gethostbyname(socket.gethostname())}]"
    except OSError:
        return "[127.0.0.1]"


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never waits: all its work is done by calls that block."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a blocking client has waited")


def _greet(connection: smtplib.SMTP) -> None:
    try:
        connection.ehlo_or_helo_if_needed()
    except OSError as error:
        raise _host_failed(error) from None


def _host_failed(error: Exception) -> HostFailed:
    if isinstance(error, smtplib.SMTPResponseException):
        return HostFailed(error.smtp_code, error.smtp_error)
    return HostFailed(451, f"4.4.1 {error}")


_default: Client | None = None


def deliver(
    message: Message | bytes,
    to: str | Iterable[str] | None = None,
    *,
    sender: str | None = None,
    timeout: Time | None = None,
) -> dict[str, Delivered]:
    """Delivers a message to each of its recipients, with the settings of this host; see `Client.deliver`.

    Args:
        message: The message.
        to: The recipients' addresses; those in To, Cc and Bcc by default.
        sender: The envelope sender; by default the address in Sender or From. Empty for a bounce.
        timeout: The longest time for the whole delivery, in seconds or such as `5m`; ten minutes by default.

    Returns:
        Each recipient, with the host that took the mail. It returns only if everybody got it.

    Raises:
        PolicyError: A recipient waits because of the policy of its domain (RFC 8461 5); a TemporaryError.
        TemporaryError: Somebody waits: try again with the recipients in its `deferred`.
        PermanentError: Nobody waits, and somebody will not get it.
        TypeError: An argument is of the wrong kind.
        ValueError: There is no recipient, or no sender.
        mtasts.SettingsError: The settings file of this host is wrong.
    """
    global _default
    if _default is None:
        _default = Client()
    return _default.deliver(message, to, sender=sender, timeout=timeout)
