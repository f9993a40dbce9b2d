"""As `mtasts.smtp`, for `asyncio`, with aiosmtplib (`pip install mtasts[aiosmtplib]`).

>>> from mtasts import aiosmtp
>>> await aiosmtp.deliver(message, ["user@example.com"])        # doctest: +SKIP

The exceptions are those of `mtasts.smtp`, so that programs of either kind are told the same.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import time
from collections.abc import Container, Coroutine, Iterable, Sequence
from email.message import Message
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

try:
    import aiosmtplib
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "mtasts.aiosmtp needs aiosmtplib: pip install mtasts[aiosmtplib]", name="aiosmtplib"
    ) from error
import dns.asyncresolver

from . import aio
from ._library import seconds
from .answer import Answer
from .attempt import Attempt
from .delivery import MOST_DOMAINS, Sight, Tls, TlsFailed
from .delivery import deliver as _deliver
from .hosts import configured
from .kept import KEPT_FOR, Kept
from .letter import letter, with_dots
from .outcome import Delivered, HostFailed, Refusals, Results, Said, Unreachable, results
from .resolver import Hosts, Resolver, Time
from .smtp import PATIENCE, WHOLE, check_arguments
from .tls import Contexts, failed, not_offered
from .words import Channel, Seen

__all__ = ["Client", "deliver"]

C = TypeVar("C", bound="Client")


class _Session:
    def __init__(self, connection: aiosmtplib.SMTP, address: str, sight: Sight) -> None:
        self._connection = connection
        self.sight = sight
        self.since = time.monotonic()
        self.key: Any = None
        self.reused = False
        tls = connection.get_transport_info("ssl_object")
        self.tls = tls.version() if tls else None
        self.peer = {
            "channel": Channel.TLS if tls else Channel.CLEAR,
            "address": address,
            "local_address": connection.get_transport_info("sockname")[0],
        }
        self.extensions: Container[str] = connection.esmtp_extensions

    # aiosmtplib throws away what a host says beyond the reply that it waits for.
    at_once = 1

    async def commands(self, lines: Sequence[str]) -> list[Said]:
        try:
            replies = [await self._connection.execute_command(line.encode()) for line in lines]
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _lost(error) from None
        return [(said.code, said.message) for said in replies]

    async def content(self, data: bytes) -> Said:
        protocol = self._connection.protocol
        if protocol is None:
            raise HostFailed(451, "4.4.1 the connection is closed")
        try:
            protocol.write(with_dots(data))
            # As long as the delivery lasts: see mtasts.connection.
            said = await protocol.read_response()
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _lost(error) from None
        return said.code, said.message

    def close(self) -> None:
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            transport.write(b"QUIT\r\n")  # type: ignore[attr-defined]
        self._connection.close()


class _Door:
    """The way to the network for one delivery, for `mtasts.delivery`."""

    def __init__(self, client: Client, end: float) -> None:
        self._client = client
        self._dns: dns.asyncresolver.Resolver | None = None
        self.end = end
        self.kept = client._kept()
        self.results = client.results

    async def lookup(self, domain: str) -> Answer:
        return await self._client.resolver.lookup(domain)

    async def records(self, name: str, kind: str) -> Any:
        if self._dns is None:
            self._dns = configured(dns.asyncresolver.Resolver, self._client.resolver.blocking)
        return await self._dns.resolve(f"{name}.", kind, lifetime=self._client.timeout)

    async def dane(self, domain: str, hosts: Sequence[str]) -> Hosts:
        return await self._client.resolver.hosts(domain, hosts)

    @property
    def resolver(self) -> Resolver:
        return self._client.resolver.blocking

    def check_address(self, address: str) -> None:
        self._client.resolver.blocking.check_address(address)

    async def report(self, attempt: Attempt) -> None:
        # It may wait for DNS.
        await asyncio.get_running_loop().run_in_executor(None, attempt.report, self._client.resolver.blocking)

    async def open(self, host: str, address: str, tls: Tls) -> _Session:
        client = self._client
        connection = aiosmtplib.SMTP(
            hostname=address, port=client.port, local_hostname=client.hostname, timeout=client.timeout, start_tls=False
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
            await connection.starttls(tls_context=self._client._contexts.of(tls), server_hostname=host)
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
        sight = self._client._contexts.sight(tls, connection.get_transport_info("ssl_object"), host)
        await _greet(connection)
        return sight

    def place(self, host: str) -> Any:
        return self.kept.place(host)

    def take(self, key: Any) -> _Session | None:
        session: _Session | None = self.kept.take(key)
        return session

    def keep(self, session: Any) -> bool:
        kept = self.kept
        if session.key is None or not kept.put(session.key, session):
            return False
        if not kept.watched:
            kept.watched = True
            asyncio.get_running_loop().call_later(KEPT_FOR, _tidy, kept)
        return True

    async def each(self, deliveries: Sequence[Coroutine[Any, Any, None]]) -> None:
        some = asyncio.Semaphore(MOST_DOMAINS)

        async def one(delivery: Coroutine[Any, Any, None]) -> None:
            async with some:
                await delivery

        tasks = [asyncio.ensure_future(one(delivery)) for delivery in deliveries]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=max(0.0, self.end - time.monotonic()))
        finally:
            late = [task for task in tasks if not task.done()]
            for task in late:
                task.cancel()
            if late:
                await asyncio.gather(*late, return_exceptions=True)
            for delivery in deliveries:
                # One that never had its turn.
                delivery.close()


class Client:
    """Sends mail. One client may be used in any number of tasks and loops.

    `async with Client() as client` keeps each session for some seconds, for the next mail to the same MX host under the
    same policy.

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
        resolver: aio.Resolver | Resolver | None = None,
        *,
        hostname: str | None = None,
        timeout: Time = PATIENCE,
        results: Results = results,
        port: int = smtplib.SMTP_PORT,
    ) -> None:
        if resolver is not None and not isinstance(resolver, (aio.Resolver, Resolver)):
            raise TypeError(f"resolver: must be a mtasts.aio.Resolver, not {resolver!r}")
        check_arguments(hostname, results, port)
        self.resolver = resolver if isinstance(resolver, aio.Resolver) else aio.Resolver(resolver)
        self.results = results
        self.timeout = seconds("timeout", timeout)
        self.port = port
        self.hostname = hostname
        self._contexts = Contexts(self.resolver.blocking)
        # A session belongs to a loop. When nothing is kept for a loop any more, it can go.
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Kept] = WeakKeyDictionary()

    def _kept(self) -> Kept:
        loop = asyncio.get_running_loop()
        kept = self._loops.get(loop)
        if kept is None:
            kept = self._loops[loop] = Kept(asyncio.Semaphore)
        return kept

    async def deliver(
        self,
        message: Message | bytes,
        to: str | Iterable[str] | None = None,
        *,
        sender: str | None = None,
        timeout: Time | None = None,
    ) -> dict[str, Delivered]:
        """Delivers a message to each of its recipients: arguments, result and exceptions are those of
        `mtasts.smtp.Client.deliver`. Up to fifty domains are delivered to at once.

        Raises:
            asyncio.CancelledError: The task was cancelled; some recipients may have the mail.
        """
        whole = WHOLE * self.timeout if timeout is None else seconds("timeout", timeout)
        return await _deliver(_Door(self, time.monotonic() + whole), letter(message, to, sender))

    async def send_message(
        self, message: Message, sender: str | None = None, recipients: str | Iterable[str] | None = None
    ) -> Refusals:
        """`deliver` with the arguments of `aiosmtplib.SMTP.send_message`; see `mtasts.smtp.Client.send_message`."""
        await self.deliver(message, recipients, sender=sender)
        return {}

    async def sendmail(self, sender: str, recipients: str | Iterable[str], message: str | bytes) -> Refusals:
        """`deliver` with the arguments of `aiosmtplib.SMTP.sendmail`; see `mtasts.smtp.Client.sendmail`."""
        octets = message.encode("ascii") if isinstance(message, str) else message
        await self.deliver(octets, recipients, sender=sender)
        return {}

    async def __aenter__(self: C) -> C:
        self._kept().open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._kept().close()

    def __repr__(self) -> str:
        return f"<mtasts.aiosmtp.Client: port {self.port}, timeout {self.timeout:g} s>"


def _tidy(kept: Kept) -> None:
    """Ends what has waited too long, as long as anything waits."""
    kept.watched = kept.tidy()
    if kept.watched:
        asyncio.get_running_loop().call_later(1.0, _tidy, kept)


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


def _lost(error: Exception) -> HostFailed:
    """No reply came. Some versions of aiosmtplib give a reply that they cannot read the code of a refusal for good."""
    return HostFailed(451, f"4.4.1 {getattr(error, 'message', error)}")


_default: Client | None = None


async def deliver(
    message: Message | bytes,
    to: str | Iterable[str] | None = None,
    *,
    sender: str | None = None,
    timeout: Time | None = None,
) -> dict[str, Delivered]:
    """Delivers a message to each of its recipients, with the settings of this host; result and exceptions are
    those of `mtasts.smtp.deliver`.

    Args:
        message: The message.
        to: The recipients' addresses; those in To, Cc and Bcc by default.
        sender: The envelope sender; by default the address in Sender or From. Empty for a bounce.
        timeout: The longest time for the whole delivery, in seconds or such as `5m`; ten minutes by default.

    Raises:
        mtasts.smtp.DeliveryError: Somebody waits, or will not get it.
        asyncio.CancelledError: The task was cancelled; some recipients may have the mail.
    """
    global _default
    if _default is None:
        _default = Client()
    return await _default.deliver(message, to, sender=sender, timeout=timeout)
