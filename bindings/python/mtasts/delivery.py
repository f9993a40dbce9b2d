"""How a mail is delivered under MTA-STS: the order of things, the same for `mtasts.smtp` and
`mtasts.aiosmtp`, which only connect and talk.

The library decides about each host (`mtasts.Attempt`). The rest is what every sender does: MX hosts in order of
preference (RFC 5321 5.1), STARTTLS if it is offered (RFC 3207), the next host if one fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from email.parser import BytesHeaderParser
from enum import Enum
from typing import Any, Protocol, Union

from .answer import Answer, Check, Verdict
from .attempt import Attempt
from .errors import Error
from .hosts import addresses_of_host, mx_hosts
from .kept import Kept
from .letter import Letter, by_domain, options_of, with_network_line_ends
from .outcome import (
    Delivered,
    DeliveryError,
    Fates,
    HostFailed,
    PermanentError,
    PolicyError,
    Refusals,
    Result,
    Results,
    Said,
    TemporaryError,
    Unreachable,
    failure_of,
    one_line,
    reply,
)
from .resolver import Hosts, Resolver
from .words import Seen

logger = logging.getLogger("mtasts")

MOST_HOSTS = 10
"""To how many hosts of a domain a mail is offered: a stranger may list any number, and each may let us wait."""

ISSUER = 2
"""The usage of a TLSA record that names an issuer (DANE-TA, RFC 7218 2.1)."""

ALONE = (
    "%s has a TLSA record about an issuer of its certificate (DANE-TA), and this Python shows only the host's own "
    "certificate: mail waits. CPython 3.10 and newer show all."
)

TAKES_RECIPIENT = (250, 251)
"""The replies to a RCPT that is taken (RFC 5321 4.3.2)."""

MOST_DOMAINS = 50
"""How many domains of a mail are delivered to at once, where that is possible."""


class Tls(Enum):
    """How much a session asks for."""

    VERIFIED = "a certificate that is good for the host's name"
    """Required; the handshake fails without."""
    RECORDS = "a certificate that the host's TLSA records vouch for"
    """The library looks at it after the handshake, which asks nothing of it (RFC 7672 3)."""
    OFFERED = "whatever TLS the host offers"
    NONE = "none, where TLS has failed and is not required"


@dataclass(frozen=True)
class Sight:
    """What was seen of the TLS of a host, as `mtasts.Attempt.saw` takes it."""

    seen: Seen = Seen.NAME
    check: Check | None = None
    reason: str = ""
    chain: Sequence[bytes] | None = None
    """The certificates, if the attempt is to check them."""
    is_whole: bool = True
    """Whether these are all that the host has sent."""


class TlsFailed(Exception):
    """A host gave no TLS, or not the TLS that was asked for; the connection is closed."""

    def __init__(self, sight: Sight) -> None:
        super().__init__(sight)
        self.sight = sight
        self.peer: dict[str, Any] = {}


class Session(Protocol):
    """A connection to a host, after its TLS handshake. A call raises HostFailed if the connection is lost."""

    sight: Sight
    """What was seen of its TLS."""
    tls: str | None
    """The TLS version."""
    peer: dict[str, Any]
    """The other side, as `mtasts.Attempt.finish` takes it."""
    extensions: Container[str]
    """What its EHLO reply offers, in lower case."""
    since: float
    """When it was opened, in seconds of `time.monotonic`."""
    key: Any
    """For which mails it may be kept; `None` for none."""
    reused: bool
    """Whether it had a mail before."""

    at_once: int
    """How many lines it says before it waits for their replies (RFC 2920)."""

    async def commands(self, lines: Sequence[str]) -> list[Said]:
        """Says lines, in UTF-8, and gives their replies. A 421 is the last one: the host hangs up."""
        ...

    async def content(self, data: bytes) -> Said:
        """The mail, after the 354; gives the reply that ended it, good or bad. The host has time for that reply until
        the delivery ends (RFC 5321 4.5.3.2.6)."""
        ...

    def close(self) -> None:
        """Says QUIT and closes. It waits for nothing and never raises: nothing that a host says now counts."""


class Door(Protocol):
    """The way to the network for one delivery: it blocks, or waits in an event loop. Every call ends when the time of
    the delivery is over."""

    results: Results
    end: float
    """When the time of the delivery is over, in seconds of `time.monotonic`."""

    async def lookup(self, domain: str) -> Answer:
        """The policy."""
        ...

    async def records(self, name: str, kind: str) -> Any:
        """The answer of dnspython, or its exception."""

    async def dane(self, domain: str, hosts: Sequence[str]) -> Hosts:
        """What DANE says of the hosts, as `mtasts.Resolver.hosts`."""
        ...

    @property
    def resolver(self) -> Resolver:
        """The resolver that blocks, for what needs no network."""
        ...

    def check_address(self, address: str) -> None:
        """As `mtasts.Resolver.check_address`."""

    async def report(self, attempt: Attempt) -> None:
        """As `mtasts.Attempt.report`."""

    async def open(self, host: str, address: str, tls: Tls) -> Session:
        """Connects to an address, says EHLO, and starts TLS with the host of this name. It raises TlsFailed or
        HostFailed, or Unreachable where another address may do."""
        ...

    @property
    def kept(self) -> Kept:
        """What the client keeps."""
        ...

    def place(self, host: str) -> AbstractAsyncContextManager[None]:
        """Holds one of the places for sessions with a host. It raises HostFailed if none was free in time."""
        ...

    def take(self, key: Any) -> Session | None:
        """A session that was kept under this key."""

    def keep(self, session: Session) -> bool:
        """Keeps a session for the next mail; says no if it has to be closed."""
        ...

    async def each(self, deliveries: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Runs deliveries to several domains until the time is over. What is not done by then is left undone."""


async def deliver(door: Door, letter: Letter) -> dict[str, Delivered]:
    """Delivers to recipients of any domains. Says who took it for whom; raises a DeliveryError if anybody did not get
    it."""
    fates: Fates = dict.fromkeys(letter.recipients, (451, b"4.4.1 there was no time left for this recipient"))
    fates.update(letter.refused)
    failures: list[DeliveryError] = []
    tried: set[str] = set(letter.refused)
    if letter.sender is None:
        fates.update(dict.fromkeys(letter.recipients, letter.bad_sender))
    else:
        sender, data = letter.sender, with_network_line_ends(letter.data)

        async def one(domain: str, group: list[str]) -> None:
            if time.monotonic() >= door.end:
                return
            tried.update(group)
            try:
                while group and time.monotonic() < door.end:
                    got = await deliver_to(door, domain, sender, group, data)
                    fates.update(got)
                    # A host takes so many recipients at a time: the others get a transaction of their own as long as
                    # each gets the mail to somebody (RFC 5321 4.5.3.1.10).
                    group = [to for to, fate in got.items() if not isinstance(fate, Delivered) and fate[0] == 452]
                return
            except DeliveryError as error:
                failure = error
            except (ValueError, OSError) as error:
                # An odd address must not cost the other recipients their mail. Other exceptions may be those of a
                # signal handler, such as the time limit of a queue.
                logger.exception("mail to %s", domain)
                failure = TemporaryError(451, one_line(f"4.3.0 {type(error).__name__}: {error}"))
            failure.domain = domain
            failures.append(failure)
            refusals = failure.recipients
            fates.update({to: refusals.get(to, (failure.smtp_code, failure.smtp_error)) for to in group})

        try:
            await door.each([one(domain, group) for domain, group in by_domain(letter.recipients).items()])
        except BaseException:
            got = [to for to, fate in fates.items() if isinstance(fate, Delivered)]
            if got:
                logger.error("interrupted: these have the mail already: %s", ", ".join(got))
            raise
    # A queue that tries again begins with those who had no time: a slow domain holds up the others once.
    late = {to: fate for to, fate in fates.items() if to not in tried}
    failure = failure_of({**late, **fates}, failures)
    if failure:
        raise failure
    return {to: fate for to, fate in fates.items() if isinstance(fate, Delivered)}


async def deliver_to(door: Door, domain: str, sender: str, recipients: Sequence[str], data: bytes) -> Fates:
    """Delivers to the recipients of one domain."""
    try:
        answer = await door.lookup(domain)
    except Error as error:
        raise TemporaryError(451, one_line(f"4.4.3 the MTA-STS policy of {domain}: {error.reason}")) from error
    # On the wire a domain has A-labels (RFC 5321 2.3.5). What is not a domain name stays what it is.
    name = answer.domain or domain
    written: dict[str, list[str]] = {}
    for to in recipients:
        written.setdefault(f"{to.rpartition('@')[0]}@{name}", []).append(to)

    def each(fates: Mapping[str, Delivered | tuple[int, bytes]]) -> Fates:
        return {to: fate for address, fate in fates.items() for to in written[address]}

    known = door.kept.mx_hosts((name, answer.policy_key))
    hosts = known or await mx_hosts(door, domain, answer)
    # What is not a domain name has no DANE.
    try:
        dane = await door.dane(answer.domain, hosts) if answer.domain else None
    except Error as error:
        raise TemporaryError(451, one_line(f"4.4.3 the MX hosts of {domain}, for DANE: {error.reason}")) from error
    try:
        fates = each(await _try_hosts(door, answer, dane, hosts, sender, list(written), data))
        if not known:
            door.kept.keep_mx_hosts((name, answer.policy_key), hosts)
        return fates
    except DeliveryError as error:
        error.settle(each(error.recipients))
        raise
    except Error as error:
        raise TemporaryError(451, f"4.3.5 cannot check certificates: {error.reason}".encode()) from error


class _Stale(HostFailed):
    """A session that was kept is of no use any more; no mail was offered in it."""


class _Skipped(Exception):
    """Nothing may be sent to this host: the verdict, and how many connections that took."""


async def _try_hosts(
    door: Door,
    answer: Answer,
    dane: Hosts | None,
    hosts: list[str],
    sender: str,
    recipients: Sequence[str],
    data: bytes,
) -> Fates:
    skipped: dict[str, Verdict] = {}
    last = HostFailed(451, b"4.4.4 no host")
    tried = 0
    mx: str | None = None

    def failure(error: DeliveryError) -> DeliveryError:
        error.mx = mx
        return error

    for host in hosts:
        if tried == MOST_HOSTS:
            break
        mx = host
        try:
            return await _offer(door, answer, dane, host, sender, recipients, data)
        except _Skipped as skip:
            skipped[host] = skip.args[0]
            tried += skip.args[1]
            continue
        except HostFailed as error:
            last = error
            tried += 1
        if last.code >= 500 and last.about_the_mail:
            raise failure(PermanentError(last.code, last.text, last.recipients))
        logger.info("%s: %s %s", host, last.code, last.text.decode())
    if skipped:
        raise failure(PolicyError(answer, answer.verdict_without_host(hosts=skipped), skipped))
    raise failure(TemporaryError(last.code if 400 <= last.code < 500 else 451, last.text, last.recipients))


async def _offer(
    door: Door,
    answer: Answer,
    dane: Hosts | None,
    host: str,
    sender: str,
    recipients: Sequence[str],
    data: bytes,
) -> Fates:
    """Offers the mail to one host, in a session that was kept or in a new one."""
    async with door.place(host):
        for reuse in (True, False):
            session = await _connect(door, answer, dane, host, (sender, data), reuse)
            try:
                fates = await _send(session, host, sender, recipients, data)
            except _Stale:
                session.close()
                continue
            except BaseException as error:
                session.close()
                if isinstance(error, HostFailed):
                    error.about_the_mail = True
                raise
            if not door.keep(session):
                session.close()
            return fates
    raise AssertionError("a new session is not stale")


async def _send(session: Session, host: str, sender: str, recipients: Sequence[str], data: bytes) -> Fates:
    """One mail in one session (RFC 5321 3.3)."""
    options = options_of(sender, recipients, data, session.extensions)
    # A host may have had enough of a session that was kept: it takes so many mails in one, or waits so long.
    ended = _Stale if session.reused else HostFailed
    try:
        replies = await _envelope(session, " ".join([f"MAIL FROM:<{sender}>", *options]), recipients)
    except HostFailed as error:
        raise ended(error.code, error.text) from None
    if replies[0][0] != 250:
        raise ended(*replies[0])
    # RFC 821 had 552 for too many recipients (RFC 5321 4.5.3.1.10).
    refused: Refusals = {
        to: reply(452 if code == 552 else code, text)
        for to, (code, text) in zip(recipients, replies[1:])
        if code not in TAKES_RECIPIENT
    }
    if len(refused) == len(recipients):
        raise HostFailed(*min(refused.values()), refused)
    said = replies[-1]
    is_sent = said[0] == 354
    if is_sent:
        said = await session.content(data)
    if said[0] != 250 or not is_sent:
        # Whom the host refused before, it has refused all the same.
        raise HostFailed(*said, {to: fate for to, fate in refused.items() if fate[0] >= 500})
    text = one_line(said[1]).decode()
    got = Delivered(host, session.peer["address"], f"{said[0]} {text}", session.tls, session.sight.check)
    return {to: refused.get(to, got) for to in recipients}


async def _envelope(session: Session, mail: str, recipients: Sequence[str]) -> list[Said]:
    """Says MAIL, a RCPT for each recipient and DATA, and gives their replies. It ends after a MAIL that is refused, and
    before DATA if all recipients are refused. If DATA went out with them and the host asks for the mail, the caller
    closes the session and sends nothing: RFC 2920 3.1 would send an empty mail."""
    lines = [mail, *(f"RCPT TO:<{to}>" for to in recipients), "DATA"]
    replies: list[Said] = []
    while len(replies) < len(lines):
        rest = lines[len(replies) :]
        if len(rest) == 1 and not any(code in TAKES_RECIPIENT for code, _ in replies[1:]):
            break
        replies += await session.commands(rest[: session.at_once])
        if replies[-1][0] == 421:
            raise HostFailed(*replies[-1])
        if replies[0][0] != 250:
            break
    return replies


def _tls_required(data: bytes) -> str:
    """What the header of a mail says of TLS (RFC 8689)."""
    header, _, _ = data.partition(b"\r\n\r\n")
    return str(BytesHeaderParser().parsebytes(header).get("TLS-Required", ""))


async def _connect(
    door: Door, answer: Answer, dane: Hosts | None, host: str, mail: tuple[str, bytes], reuse: bool
) -> Session:
    """A session with a host, if the verdicts on it allow one. What a report counts of it is noted, once for all its
    mails. The first mail, its sender and what it says of TLS, decides whether a report counts it."""
    attempt = Attempt(answer, host, dane)
    peer: dict[str, Any] = {}

    def judge(at: TlsFailed | Session | None) -> None:
        nonlocal peer
        if at is None:
            verdict = attempt.saw()
        else:
            peer = at.peer
            verdict = _saw(attempt, door.resolver, at)
        if verdict.action.defers:
            raise PolicyError(answer, verdict, {})
        if not verdict.action.delivers:
            raise _Skipped(verdict, 0 if at is None else 1)

    sni = attempt.sni
    tls = Tls.VERIFIED if answer.applies and answer.allows_mx(host) else Tls.OFFERED
    if sni is not None:
        tls = Tls.RECORDS
    key = (host, tls, answer.policy_key, attempt.judge, sni, tuple(attempt.records))
    kept = door.take(key) if reuse else None
    if kept is not None:
        judge_or_close(kept, judge)
        kept.reused = True
        return kept
    try:
        judge(None)
        return await _session(door, host, sni or host, tls, judge, key)
    finally:
        sender, data = mail
        attempt.carries(door.resolver, sender, _tls_required(data))
        event, verdict = attempt.finish(**peer), attempt.verdict
        if event and verdict:
            while event:
                door.results.add(Result(time.time(), answer, event, verdict.sentence))
                event = attempt.finish(**peer)
            token = verdict.reason_code.partition(":")[0] or verdict.action.name.lower()
            level = logging.WARNING if verdict.result else logging.INFO
            logger.log(level, "mtasts[%s]: %s", token, verdict.sentence)
            await door.report(attempt)


def _saw(attempt: Attempt, resolver: Resolver, at: TlsFailed | Session) -> Verdict:
    """The verdict after this sight of a host. Where its TLSA records decide, they are asked about its certificates."""
    sight = at.sight
    if sight.chain is None:
        return attempt.saw(sight.seen, check=sight.check, reason=sight.reason)
    verdict = attempt.saw_chain(resolver, sight.chain)
    if verdict.action.delivers:
        at.sight = replace(sight, check=Check(None, ""))
    elif not sight.is_whole and any(record[0] == ISSUER for record in attempt.records):
        logger.warning(ALONE, attempt.sni)
    return verdict


Judged = Callable[[Union[TlsFailed, Session]], None]


def judge_or_close(session: Session, judge: Judged) -> None:
    """Judges a session, and closes it if it may not be used."""
    try:
        judge(session)
    except BaseException:
        session.close()
        raise


async def _session(door: Door, host: str, sni: str, tls: Tls, judge: Judged, key: Any) -> Session:
    """A new session with as much TLS as the host gives; `judge` raises if that is too little."""
    addresses = await addresses_of_host(door, host)
    while True:
        try:
            session = await _open(door, host, sni, addresses, tls)
        except TlsFailed as failure:
            judge(failure)
            # It may be delivered all the same: TLS that protects from listeners is better than none.
            tls = Tls.OFFERED if failure.sight.seen is Seen.CERTIFICATE else Tls.NONE
            key = None
            continue
        judge_or_close(session, judge)
        session.key = key
        return session


async def _open(door: Door, host: str, sni: str, addresses: Sequence[str], tls: Tls) -> Session:
    """A session with a host, at the first of its addresses where somebody answers (RFC 5321 5.1). TLS asks for the name
    `sni`."""
    last = Unreachable("no address")
    for address in addresses:
        try:
            return await door.open(sni, address, tls)
        except TlsFailed as failure:
            failure.peer = {"address": address}
            raise
        except Unreachable as failure:
            logger.info("%s [%s]: %s", host, address, failure.text.decode())
            last = failure
    raise last
