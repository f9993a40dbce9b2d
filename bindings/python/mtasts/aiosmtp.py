"""As `mtasts.smtp`, for `asyncio`, with aiosmtplib (`pip install mtasts[aiosmtplib]`).

>>> from mtasts import aiosmtp
>>> await aiosmtp.deliver(message, ["user@example.com"])        # doctest: +SKIP

The exceptions are those of `mtasts.smtp`, so that programs of either kind are told the same.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.message import Message
from typing import Any

import aiosmtplib

from . import aio
from .answer import Answer
from .delivery import (
    HostFailed,
    Refusals,
    Results,
    Sight,
    Tls,
    TlsFailed,
    Unreachable,
    addresses_of,
    options_of,
    reply,
    results,
)
from .delivery import deliver as _deliver
from .letter import envelope
from .tls import Contexts, failed, not_offered
from .words import Channel, Seen

__all__ = ["Client", "deliver"]


class _Session:
    def __init__(self, connection: aiosmtplib.SMTP, address: str, sight: Sight) -> None:
        self._connection = connection
        self.sight = sight
        self.peer = {
            "channel": Channel.TLS if connection.get_transport_info("ssl_object") else Channel.CLEAR,
            "address": address,
            "local_address": connection.get_transport_info("sockname")[0],
        }

    async def send(self, sender: str, recipients: Sequence[str], data: bytes) -> Refusals:
        connection = self._connection
        try:
            options = options_of(sender, recipients, data, connection.esmtp_extensions)
            refused, _ = await connection.sendmail(sender, list(recipients), data, mail_options=options)
            return {to: reply(said.code, said.message) for to, said in refused.items()}
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise smtplib.SMTPRecipientsRefused(
                {refusal.recipient: reply(refusal.code, refusal.message) for refusal in error.recipients}
            ) from None
        except aiosmtplib.SMTPResponseException as error:
            raise smtplib.SMTPResponseException(*reply(error.code, error.message)) from None
        except smtplib.SMTPException:
            raise
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _host_failed(error) from None

    async def close(self) -> None:
        try:
            await self._connection.quit()
        except (aiosmtplib.SMTPException, OSError):
            self._connection.close()


class _Door:
    """The way to the network, for `mtasts.delivery`."""

    def __init__(
        self, resolver: aio.Resolver, hostname: str | None, timeout: float, results: Results, port: int
    ) -> None:
        self._resolver = resolver
        self._hostname = hostname
        self._timeout = timeout
        self.results = results
        self._port = port
        self._contexts = Contexts(resolver.blocking)

    async def lookup(self, domain: str) -> Answer:
        return await self._resolver.lookup(domain)

    async def mx_records(self, domain: str) -> Any:
        import dns.asyncresolver

        return await dns.asyncresolver.resolve(f"{domain}.", "MX")

    async def addresses(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        return addresses_of(await loop.getaddrinfo(host, self._port, type=socket.SOCK_STREAM))

    def check_address(self, address: str) -> None:
        self._resolver.blocking.check_address(address)

    async def open(self, host: str, address: str, tls: Tls) -> _Session:
        connection = aiosmtplib.SMTP(
            hostname=address, port=self._port, local_hostname=self._hostname, timeout=self._timeout, start_tls=False
        )
        try:
            await connection.connect()
        except aiosmtplib.SMTPResponseException as error:
            raise _host_failed(error) from None
        except (aiosmtplib.SMTPConnectError, OSError) as error:
            raise Unreachable(error) from None
        except aiosmtplib.SMTPException as error:
            raise _host_failed(error) from None
        try:
            return _Session(connection, address, await self._start_tls(connection, host, tls))
        except BaseException:
            connection.close()
            raise

    async def _start_tls(self, connection: aiosmtplib.SMTP, host: str, tls: Tls) -> Sight:
        await _greet(connection)
        if tls is Tls.NONE:
            return Sight()
        if not connection.supports_extension("starttls"):
            return not_offered(tls)
        try:
            await connection.starttls(tls_context=self._contexts.of(tls), server_hostname=host)
        except aiosmtplib.SMTPResponseException:
            raise TlsFailed(Sight(Seen.STARTTLS_REFUSED)) from None
        except ssl.SSLError as error:
            raise failed(error) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise failed(OSError(str(error))) from None
        # What stands in clear behind the 220 is not the host's word (RFC 3207 4.2). Not every version of aiosmtplib
        # throws it away; what the host says over TLS comes only when it is asked.
        if connection.protocol is not None:
            del connection.protocol._buffer[:]
        sight = self._contexts.sight(tls, connection.get_transport_info("ssl_object"), host)
        await _greet(connection)
        return sight


class Client:
    """Sends mail. One client may be used in any number of tasks and loops.

    Args:
        resolver: Where policies come from; the settings of this host by default.
        hostname: The name to say in EHLO; the host's own by default.
        timeout: How long to wait for a connection and for each answer, in seconds.
        results: Where results go.
        port: The port of MX hosts.
    """

    def __init__(
        self,
        resolver: aio.Resolver | None = None,
        *,
        hostname: str | None = None,
        timeout: float = 60.0,
        results: Results = results,
        port: int = smtplib.SMTP_PORT,
    ) -> None:
        self.resolver = aio.Resolver() if resolver is None else resolver
        self.results = results
        self._door = _Door(self.resolver, hostname, timeout, results, port)

    async def deliver(
        self, message: Message | bytes, to: str | Sequence[str], *, sender: str | None = None
    ) -> Refusals:
        """Delivers a message to each of its recipients: arguments, result and exceptions are those of
        `mtasts.smtp.Client.deliver`."""
        sender, recipients, data = envelope(message, to, sender)
        return await _deliver(self._door, sender, recipients, data)


async def _greet(connection: aiosmtplib.SMTP) -> None:
    try:
        try:
            await connection.ehlo()
        except aiosmtplib.SMTPHeloError:
            await connection.helo()
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _host_failed(error) from None


def _host_failed(error: Exception) -> HostFailed:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return HostFailed(error.code, error.message)
    return HostFailed(451, f"4.4.1 {error}")


_default: Client | None = None


async def deliver(message: Message | bytes, to: str | Sequence[str], *, sender: str | None = None) -> Refusals:
    """`Client.deliver` with the settings of this host."""
    global _default
    if _default is None:
        _default = Client()
    return await _default.deliver(message, to, sender=sender)
