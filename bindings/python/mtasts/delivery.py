"""How a mail is delivered under MTA-STS: the order of things, the same for `mtasts.smtp` and
`mtasts.aiosmtp`, which only connect and talk.

The library decides about each host (`mtasts.Attempt`). The rest is what every sender does: MX hosts in order of
preference (RFC 5321 5.1), STARTTLS if it is offered (RFC 3207), the next host if one fails.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import re
import smtplib
import socket
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from .answer import Answer, Check, Verdict
from .attempt import Attempt, ReportEvent
from .errors import AddressRefused, Error
from .words import NoHost, Seen

logger = logging.getLogger("mtasts")

MOST_HOSTS = 10
"""To how many hosts of a domain a mail is offered: a stranger may list any number, and each may let us wait."""

MOST_ADDRESSES = 4
"""How many addresses of a host are tried."""

LONGEST_REPLY = 1000
"""How much of what a host says is kept, in octets."""

Refusals = dict[str, tuple[int, bytes]]
"""Recipients that were refused, with the code and the text of the answer, as `smtplib` has them, but in one line."""

# Control characters; joiners, line separators, and what turns the direction of writing. As the library cleans.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def one_line(said: str | bytes) -> bytes:
    """What a stranger said, as it may go to a log, a terminal and another mail: one bounded line of UTF-8 in which
    nothing acts."""
    text = said if isinstance(said, str) else said.decode("utf-8", "replace")
    octets = _ACTING.sub(" ", text).strip().encode("utf-8", "replace")
    return octets[:LONGEST_REPLY].decode("utf-8", "ignore").encode()


def reply(code: int, said: str | bytes) -> tuple[int, bytes]:
    """A refusal of a host. What is no refusal (RFC 5321 4.2.1) is a host that does not work: try again later."""
    return (code if 400 <= code < 600 else 451), one_line(said)


class DeliveryError(smtplib.SMTPResponseException):
    """No recipient got the mail. It is an `smtplib.SMTPResponseException`, whose code tells a queue what to do.

    Attributes:
        smtp_code: 4xx: try again later; 5xx: give up.
        smtp_error: An enhanced status code (RFC 3463) and what is wrong, in one line.
        recipients: Code and text for each recipient.
    """

    smtp_error: bytes
    recipients: Refusals

    def __init__(self, code: int, text: bytes, recipients: Refusals | None = None) -> None:
        super().__init__(*reply(code, text))
        self.recipients = recipients or {}

    def __str__(self) -> str:
        return f"{self.smtp_code} {self.smtp_error.decode()}"


class TemporaryError(DeliveryError):
    """The mail has to wait in the queue."""


class PolicyError(TemporaryError):
    """The mail has to wait because of the MTA-STS policy of its domain: no MX host meets it. Never a reason to bounce
    (RFC 8461 5); before a queue gives such a mail up, it asks `mtasts.Resolver.recheck` whether there is another
    policy.

    Attributes:
        answer: The policy, for `mtasts.Answer.is_same_policy`.
        verdict: The verdict on the mail.
        hosts: The verdict on each host that was refused.
    """

    answer: Answer
    verdict: Verdict
    hosts: dict[str, Verdict]

    def __init__(self, answer: Answer, verdict: Verdict, hosts: dict[str, Verdict]) -> None:
        said = [f"{host}: {verdict.reason_code}" for host, verdict in hosts.items()]
        text = f"4.7.5 {verdict.sentence}" + (f" [{'; '.join(said[:5])}]" if said else "")
        super().__init__(451, text.encode())
        self.answer, self.verdict, self.hosts = answer, verdict, hosts

    def __reduce__(self) -> tuple[Any, ...]:
        return PolicyError, (self.answer, self.verdict, self.hosts), {"recipients": self.recipients}


class PermanentError(DeliveryError):
    """The mail cannot be delivered: the recipient's own host says so, or there is no such domain."""


@dataclass(frozen=True)
class Result:
    """One session with an MX host, as a TLS report counts it (RFC 8460)."""

    __slots__ = ("answer", "at", "event", "sentence")

    at: float
    """When, in Unix seconds."""
    answer: Answer
    """The policy of the recipient's domain."""
    event: ReportEvent
    """What is counted: a failure has a `mtasts.ReportEvent.result`."""
    sentence: str
    """The verdict on the host, in one line."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Result, (self.at, self.answer, self.event, self.sentence)


class Results:
    """The results of this process, for reports, until somebody takes them. For any number of threads.

    Args:
        limit: How many are kept; the oldest go first. A stranger's policy may have 64 KiB.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._results: deque[Result] = deque(maxlen=limit)

    def add(self, result: Result) -> None:
        """Adds one."""
        self._results.append(result)

    def take(self) -> list[Result]:
        """Gives all, and forgets them."""
        taken = []
        try:
            while True:
                taken.append(self._results.popleft())
        except IndexError:
            return taken

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(tuple(self._results))


results = Results()
"""Where results go by default."""


class Tls(Enum):
    """How much a session asks for."""

    VERIFIED = "a certificate that is good for the host's name"
    """Required; the handshake fails without."""
    OFFERED = "whatever TLS the host offers"
    NONE = "none, where TLS has failed and is not required"


@dataclass(frozen=True)
class Sight:
    """What was seen of the TLS of a host, as `mtasts.Attempt.saw` takes it."""

    seen: Seen = Seen.NAME
    check: Check | None = None
    reason: str = ""


class TlsFailed(Exception):
    """A host gave no TLS, or not the TLS that was asked for; the connection is closed."""

    def __init__(self, sight: Sight) -> None:
        super().__init__(sight)
        self.sight = sight
        self.peer: dict[str, Any] = {}


class HostFailed(Exception):
    """A host cannot be used now, for other reasons: the next one may do."""

    def __init__(self, code: int, text: str | bytes, recipients: Refusals | None = None) -> None:
        self.code, self.text = reply(code, text)
        super().__init__(self.code, self.text)
        self.recipients = recipients or {}


class Unreachable(HostFailed):
    """Nobody answers at this address: the host may have others."""

    def __init__(self, why: object) -> None:
        super().__init__(451, f"4.4.1 {why}")


class Session(Protocol):
    """A connection to a host, after its TLS handshake."""

    sight: Sight
    """What was seen of its TLS."""
    peer: dict[str, Any]
    """The other side, as `mtasts.Attempt.finish` takes it."""

    async def send(self, sender: str, recipients: Sequence[str], data: bytes) -> Refusals:
        """One mail. It raises what `smtplib` raises, or HostFailed where the connection is lost."""

    async def close(self) -> None:
        """Says goodbye; never raises."""


class Door(Protocol):
    """The way to the network: it blocks, or waits in an event loop."""

    results: Results

    async def lookup(self, domain: str) -> Answer:
        """The policy."""

    async def mx_records(self, domain: str) -> Any:
        """The answer of dnspython, or its exception."""

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a host. It raises OSError or UnicodeError."""

    def check_address(self, address: str) -> None:
        """As `mtasts.Resolver.check_address`."""

    async def open(self, host: str, address: str, tls: Tls) -> Session:
        """Connects to an address, says EHLO, and starts TLS with the host. It raises TlsFailed or HostFailed, or
        Unreachable where another address may do."""


async def deliver(door: Door, sender: str, recipients: Sequence[str], data: bytes) -> Refusals:
    """Delivers to recipients of any domains. Gives those who did not get it; raises a DeliveryError where nobody
    did."""
    refused: Refusals = {}
    failures: list[DeliveryError] = []
    served = 0
    data = with_network_line_ends(data)
    for domain, group in by_domain(recipients).items():
        try:
            refused.update(await deliver_to(door, domain, sender, group, data))
            served += 1
        except DeliveryError as error:
            failures.append(error)
            refused.update({to: error.recipients.get(to, (error.smtp_code, error.smtp_error)) for to in group})
    if served == 0 and failures:
        # One that may yet be delivered keeps the mail in the queue.
        failure = next((failure for failure in failures if failure.smtp_code < 500), failures[0])
        failure.recipients = refused
        raise failure
    return refused


async def deliver_to(door: Door, domain: str, sender: str, recipients: Sequence[str], data: bytes) -> Refusals:
    """Delivers to the recipients of one domain."""
    try:
        answer = await door.lookup(domain)
    except Error as error:
        raise TemporaryError(451, one_line(f"4.4.3 the MTA-STS policy of {domain}: {error.reason}")) from error
    # On the wire a domain has A-labels (RFC 5321 2.3.5). What is not a domain name stays what it is.
    name = answer.domain or domain
    written = {f"{to.rpartition('@')[0]}@{name}": to for to in recipients}
    hosts = address_in(domain) or await mx_hosts(door, name, answer)
    try:
        refused = await _try_hosts(door, answer, hosts, sender, list(written), data)
    except DeliveryError as error:
        error.recipients = {written[to]: said for to, said in error.recipients.items()}
        raise
    except Error as error:
        raise TemporaryError(451, f"4.3.5 cannot check certificates: {error.reason}".encode()) from error
    return {written[to]: said for to, said in refused.items()}


def address_in(domain: str) -> list[str]:
    """The address in an address literal (RFC 5321 4.1.3); nothing if it is none."""
    literal = domain[1:-1] if domain.startswith("[") and domain.endswith("]") else ""
    try:
        return [str(ipaddress.ip_address(literal.removeprefix("ipv6:")))]
    except ValueError:
        return []


async def mx_hosts(door: Door, domain: str, answer: Answer) -> list[str]:
    """The MX hosts in order of preference, those of equal preference shuffled; the domain itself if it has no MX record
    (RFC 5321 5.1). If DNS denies what an enforced policy lists, the mail waits."""
    import dns.exception
    import dns.name
    import dns.resolver

    try:
        records = [(r.preference, str(r.exchange).rstrip(".")) for r in await door.mx_records(domain)]
        hosts = [(preference, random.random(), host) for preference, host in records if host]
        if hosts:
            return [host for _, _, host in sorted(hosts)]
        why = NoHost.NULL_MX
    except dns.resolver.NoAnswer:
        why = NoHost.NODATA
    except dns.resolver.NXDOMAIN:
        why = NoHost.NXDOMAIN
    # DNS cannot be asked for such a name; that has nothing to do with a policy.
    except (dns.exception.SyntaxError, dns.name.NameTooLong, dns.name.IDNAException, UnicodeError) as error:
        raise PermanentError(501, one_line(f"5.1.3 {domain} is not a domain name: {error}")) from None
    except (dns.exception.DNSException, OSError) as error:
        raise TemporaryError(451, one_line(f"4.4.3 the MX records of {domain}: {error}")) from error
    _waits(answer, why)
    if why is NoHost.NULL_MX:
        raise PermanentError(556, one_line(f"5.1.10 {domain} takes no mail (RFC 7505)"))
    if why is NoHost.NXDOMAIN:
        raise PermanentError(550, one_line(f"5.1.2 there is no domain {domain}"))
    if await _has_no_address(door, domain):
        _waits(answer, NoHost.NOT_LISTED)
        raise PermanentError(550, one_line(f"5.1.2 {domain} has no MX record and no address"))
    return [domain]


def _waits(answer: Answer, why: NoHost) -> None:
    """Raises if the mail has to wait because DNS denies the hosts of the policy."""
    verdict = answer.verdict_without_host(why)
    if verdict.action.defers:
        raise PolicyError(answer, verdict, {})


async def _has_no_address(door: Door, domain: str) -> bool:
    try:
        await door.addresses(domain)
    except socket.gaierror as error:
        # NXDOMAIN or NODATA, as the C library calls them; not each has the second. Other errors may pass.
        return error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
    except (OSError, UnicodeError):
        pass
    return False


class _Skipped(Exception):
    """Nothing may be sent to this host: the verdict, and how many connections that took."""


async def _try_hosts(
    door: Door, answer: Answer, hosts: list[str], sender: str, recipients: Sequence[str], data: bytes
) -> Refusals:
    skipped: dict[str, Verdict] = {}
    last = HostFailed(451, b"4.4.4 no host")
    tried = 0
    for host in hosts:
        if tried == MOST_HOSTS:
            break
        try:
            session = await _connect(door, answer, host)
        except _Skipped as skip:
            skipped[host] = skip.args[0]
            tried += skip.args[1]
            continue
        except HostFailed as failure:
            last = failure
            tried += 1
            continue
        tried += 1
        try:
            refused = await session.send(sender, recipients, data)
            return {to: reply(*said) for to, said in refused.items()}
        except smtplib.SMTPRecipientsRefused as refusal:
            codes = {to: reply(*said) for to, said in refusal.recipients.items()}
            last = HostFailed(*min(codes.values()), codes)
        except smtplib.SMTPResponseException as refusal:
            last = HostFailed(refusal.smtp_code, refusal.smtp_error)
        except HostFailed as failure:
            last = failure
        finally:
            await session.close()
        if last.code >= 500:
            raise PermanentError(last.code, last.text, last.recipients)
        logger.info("%s: %s %s", host, last.code, last.text.decode())
    if skipped:
        raise PolicyError(answer, answer.verdict_without_host(), skipped)
    raise TemporaryError(last.code if 400 <= last.code < 500 else 451, last.text, last.recipients)


async def _connect(door: Door, answer: Answer, host: str) -> Session:
    """A session with a host, if the verdicts on it allow one. What a report counts of it is noted."""
    attempt = Attempt(answer, host)
    peer: dict[str, Any] = {}

    def judge(at: TlsFailed | Session | None) -> None:
        nonlocal peer
        if at is None:
            verdict = attempt.saw()
        else:
            peer = at.peer
            verdict = attempt.saw(at.sight.seen, check=at.sight.check, reason=at.sight.reason)
        if verdict.action.defers:
            raise PolicyError(answer, verdict, {})
        if not verdict.action.delivers:
            raise _Skipped(verdict, 0 if at is None else 1)

    try:
        judge(None)
        tls = Tls.VERIFIED if answer.applies and answer.allows_mx(host) else Tls.OFFERED
        return await _session(door, host, tls, judge)
    finally:
        event, verdict = attempt.finish(**peer), attempt.verdict
        if event and verdict:
            door.results.add(Result(time.time(), answer, event, verdict.sentence))
            token = verdict.reason_code.partition(":")[0] or verdict.action.name.lower()
            level = logging.WARNING if verdict.result else logging.INFO
            logger.log(level, "mtasts[%s]: %s", token, verdict.sentence)


async def _session(door: Door, host: str, tls: Tls, judge: Callable[[TlsFailed | Session], None]) -> Session:
    """A session with as much TLS as the host gives; `judge` raises if that is too little."""
    addresses = await _addresses(door, host)
    while True:
        try:
            session = await _open(door, host, addresses, tls)
        except TlsFailed as failure:
            judge(failure)
            # It may be delivered all the same: TLS that protects from listeners is better than none.
            tls = Tls.OFFERED if failure.sight.seen is Seen.CERTIFICATE else Tls.NONE
            continue
        try:
            judge(session)
        except BaseException:
            await session.close()
            raise
        return session


def addresses_of(found: Sequence[tuple[Any, ...]]) -> list[str]:
    """The addresses in an answer of `getaddrinfo`."""
    return [str(place[0]) for *_, place in found]


async def _addresses(door: Door, host: str) -> list[str]:
    """Where a host may be asked. Whoever owns the domain chooses its addresses, and could point us at this machine and
    its network, as an address literal could. It is our own rule, so mail waits where no address is left."""
    try:
        found = await door.addresses(host)
    except (OSError, UnicodeError) as error:
        raise HostFailed(451, f"4.4.1 the addresses of {host}: {error}") from None
    good, refusals = [], []
    for address in dict.fromkeys(found):
        try:
            door.check_address(address.partition("%")[0])
            good.append(address)
        except AddressRefused as refusal:
            refusals.append(refusal.reason)
            logger.info("%s: %s", host, refusal.reason)
    if not good:
        raise HostFailed(451, f"4.4.4 {host}: {refusals[0] if refusals else 'no address'}")
    return good[:MOST_ADDRESSES]


async def _open(door: Door, host: str, addresses: Sequence[str], tls: Tls) -> Session:
    """A session with a host, at the first of its addresses where somebody answers (RFC 5321 5.1)."""
    for address in addresses:
        try:
            return await door.open(host, address, tls)
        except TlsFailed as failure:
            failure.peer = {"address": address}
            raise
        except Unreachable as failure:
            logger.info("%s [%s]: %s", host, address, failure.text.decode())
            last = failure
    raise last


def by_domain(recipients: Sequence[str]) -> dict[str, list[str]]:
    """Recipients by the domain of their address, in the order given."""
    groups: dict[str, list[str]] = {}
    for recipient in recipients:
        groups.setdefault(recipient.rpartition("@")[2].lower(), []).append(recipient)
    return groups


def with_network_line_ends(data: bytes) -> bytes:
    """CRLF alone ends a line: a host that takes a bare CR or LF for one could be told of mails that nobody sent."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", data)


def options_of(sender: str, recipients: Sequence[str], data: bytes, extensions: Container[str]) -> list[str]:
    """The parameters of MAIL (RFC 6531 3.4, RFC 6152). It raises smtplib's error where the host cannot take the
    addresses."""
    options = [] if data.isascii() or "8bitmime" not in extensions else ["BODY=8BITMIME"]
    if all(address.isascii() for address in (sender, *recipients)):
        return options
    if "smtputf8" not in extensions:
        raise smtplib.SMTPSenderRefused(550, b"5.6.7 the host takes no addresses beyond ASCII (RFC 6531)", sender)
    return [*options, "SMTPUTF8"]
