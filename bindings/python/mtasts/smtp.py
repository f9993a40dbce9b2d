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

In an event loop use `mtasts.aiosmtp`.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Coroutine, Sequence
from email.message import Message
from typing import Any, TypeVar

from . import default_resolver
from .answer import Answer
from .delivery import (
    DeliveryError,
    HostFailed,
    PermanentError,
    PolicyError,
    Refusals,
    Result,
    Results,
    Sight,
    TemporaryError,
    Tls,
    TlsFailed,
    Unreachable,
    addresses_of,
    options_of,
    results,
)
from .delivery import deliver as _deliver
from .letter import envelope
from .resolver import Resolver
from .tls import Contexts, failed, not_offered
from .words import Channel, Seen

__all__ = [
    "Client",
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


class _Session:
    def __init__(self, connection: smtplib.SMTP, address: str, sight: Sight) -> None:
        self._connection = connection
        self.sight = sight
        self.peer = {
            "channel": Channel.TLS if isinstance(connection.sock, ssl.SSLSocket) else Channel.CLEAR,
            "address": address,
            "local_address": connection.sock.getsockname()[0],  # type: ignore[union-attr]
        }

    async def send(self, sender: str, recipients: Sequence[str], data: bytes) -> Refusals:
        try:
            options = options_of(sender, recipients, data, self._connection.esmtp_features)
            return self._connection.sendmail(sender, list(recipients), data, options)
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
            raise
        except OSError as error:
            raise _host_failed(error) from None

    async def close(self) -> None:
        try:
            self._connection.quit()
        except OSError:
            self._connection.close()


class _Door:
    """The way to the network, for `mtasts.delivery`."""

    def __init__(self, resolver: Resolver, hostname: str | None, timeout: float, results: Results, port: int) -> None:
        self._resolver = resolver
        self._hostname = hostname
        self._timeout = timeout
        self.results = results
        self._port = port
        self._contexts = Contexts(resolver)

    async def lookup(self, domain: str) -> Answer:
        return self._resolver.lookup(domain)

    async def mx_records(self, domain: str) -> Any:
        import dns.resolver

        return dns.resolver.resolve(f"{domain}.", "MX")

    async def addresses(self, host: str) -> list[str]:
        return addresses_of(socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM))

    def check_address(self, address: str) -> None:
        self._resolver.check_address(address)

    async def open(self, host: str, address: str, tls: Tls) -> _Session:
        try:
            connection = smtplib.SMTP(address, self._port, self._hostname, timeout=self._timeout)
        except smtplib.SMTPException as error:
            raise _host_failed(error) from None
        except OSError as error:
            raise Unreachable(error) from None
        # The name that TLS is about: smtplib takes it for the one that it has connected to.
        connection._host = host  # type: ignore[attr-defined]
        try:
            return _Session(connection, address, self._start_tls(connection, host, tls))
        except BaseException:
            connection.close()
            raise

    def _start_tls(self, connection: smtplib.SMTP, host: str, tls: Tls) -> Sight:
        _greet(connection)
        if tls is Tls.NONE:
            return Sight()
        if not connection.has_extn("starttls"):
            return not_offered(tls)
        try:
            # What stands in clear behind the 220 is thrown away by smtplib, with all that the host said before.
            connection.starttls(context=self._contexts.of(tls))
        except smtplib.SMTPResponseException:
            raise TlsFailed(Sight(Seen.STARTTLS_REFUSED)) from None
        except OSError as error:
            raise failed(error) from None
        sight = self._contexts.sight(tls, connection.sock, host)  # type: ignore[arg-type]
        _greet(connection)
        return sight


class Client:
    """Sends mail. One client may be used by any number of threads, and after a fork.

    Args:
        resolver: Where policies come from; the settings of this host by default.
        hostname: The name to say in EHLO; the host's own by default.
        timeout: How long to wait for a connection and for each answer, in seconds.
        results: Where results go.
        port: The port of MX hosts.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        *,
        hostname: str | None = None,
        timeout: float = 60.0,
        results: Results = results,
        port: int = smtplib.SMTP_PORT,
    ) -> None:
        self.resolver = default_resolver() if resolver is None else resolver
        self.results = results
        self._door = _Door(self.resolver, hostname, timeout, results, port)

    def deliver(self, message: Message | bytes, to: str | Sequence[str], *, sender: str | None = None) -> Refusals:
        """Delivers a message to each of its recipients, whatever their domains.

        Args:
            message: The message. What is said of recipients in its header fields does not count.
            to: The recipients' addresses.
            sender: The envelope sender; by default the address in Sender or From. Empty for a bounce.

        Returns:
            The recipients that were refused, with code and text, as `smtplib.SMTP.sendmail` gives them.

        Raises:
            PolicyError: It waits because of the policy of its domain (RFC 8461 5); a TemporaryError.
            TemporaryError: No recipient got it, and it has to wait.
            PermanentError: No recipient got it, and none will.
        """
        sender, recipients, data = envelope(message, to, sender)
        return _run(_deliver(self._door, sender, recipients, data))


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


def deliver(message: Message | bytes, to: str | Sequence[str], *, sender: str | None = None) -> Refusals:
    """`Client.deliver` with the settings of this host."""
    global _default
    if _default is None:
        _default = Client()
    return _default.deliver(message, to, sender=sender)
