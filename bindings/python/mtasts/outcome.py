"""What becomes of a mail: who got it, who waits, who was refused, and what a report counts."""

from __future__ import annotations

import re
import smtplib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

from .answer import Answer, Check, Verdict
from .attempt import ReportEvent

LONGEST_REPLY = 1000
"""How much of what a host says is kept, in octets."""

Said = tuple[int, Union[str, bytes]]
"""A reply of a host."""

Refusals = dict[str, tuple[int, bytes]]
"""Recipients that were refused, with the code and the text of the answer, as `smtplib` has them, but in one line."""

# Control characters; joiners, line separators, and what turns the direction of writing. As the library cleans.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
# The class of an enhanced status code.
_ENHANCED = re.compile(rb"\A[245](?=\.\d{1,3}\.\d{1,3}(?: |\Z))")


def one_line(said: str | bytes) -> bytes:
    """What a stranger said, as it may go to a log, a terminal and another mail: one bounded line of UTF-8 in which
    nothing acts."""
    text = said if isinstance(said, str) else said.decode("utf-8", "replace")
    octets = _ACTING.sub(" ", text).strip().encode("utf-8", "replace")
    return octets[:LONGEST_REPLY].decode("utf-8", "ignore").encode()


def reply(code: int, said: str | bytes) -> tuple[int, bytes]:
    """A refusal of a host. What is no refusal (RFC 5321 4.2.1) is a host that does not work: try again later. The
    enhanced code has the class of the code (RFC 3463 2)."""
    code = code if 400 <= code < 600 else 451
    return code, _ENHANCED.sub(b"%d" % (code // 100), one_line(said), count=1)


@dataclass(frozen=True)
class Delivered:
    """One recipient got the mail."""

    __slots__ = ("address", "check", "host", "reply", "tls")

    host: str
    """The MX host that took it."""
    address: str
    """The address of the host."""
    reply: str
    """What the host said at the end of the data, in one line: most hosts name their queue id."""
    tls: str | None
    """The TLS version, such as `TLSv1.3`; `None` in clear."""
    check: Check | None
    """The result of the certificate check; `None` if the certificate was not checked."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Delivered, (self.host, self.address, self.reply, self.tls, self.check)


Fates = dict[str, Union[Delivered, tuple[int, bytes]]]
"""What became of each recipient: delivered, or the code and the text of the refusal."""


class DeliveryError(smtplib.SMTPResponseException):
    """At least one recipient did not get the mail. It is a `TemporaryError` if anybody waits, else a `PermanentError`.

    Try again with the recipients in `deferred` alone: those in `delivered` have the mail.

    Attributes:
        smtp_code: 4xx: try again later; 5xx: give up.
        smtp_error: An enhanced status code (RFC 3463) and what is wrong, in one line.
        delivered: Who got the mail, and which host took it.
        deferred: Who waits, with code and text: try again later.
        refused: Who will never get it, with code and text: tell the sender.
        domain: The domain of the first recipient that did not get it; empty if that is no address.
        mx: The MX host that refused it or failed last; `None` if no host was tried.
        failures: If several messages were sent by Django: the error of each that did not reach all its recipients, by
            its place in the list.
    """

    smtp_error: bytes  # pyright: ignore[reportIncompatibleVariableOverride]
    delivered: dict[str, Delivered]
    deferred: Refusals
    refused: Refusals
    domain: str
    mx: str | None
    failures: dict[int, DeliveryError]

    def __init__(self, code: int, text: bytes, recipients: Refusals | None = None) -> None:
        super().__init__(*reply(code, text))
        self.settle(recipients or {})
        self.failures = {}
        self.domain, self.mx = "", None

    def settle(self, fates: Mapping[str, Delivered | tuple[int, bytes]]) -> None:
        """Notes what became of each recipient."""
        self.delivered, self.deferred, self.refused = {}, {}, {}
        for to, fate in fates.items():
            if isinstance(fate, Delivered):
                self.delivered[to] = fate
            elif fate[0] < 500:
                self.deferred[to] = fate
            else:
                self.refused[to] = fate

    @property
    def recipients(self) -> Refusals:
        """Code and text for each recipient that did not get the mail."""
        return {**self.deferred, **self.refused}

    def __str__(self) -> str:
        said = f"{self.smtp_code} {self.smtp_error.decode()}"
        counts = {"delivered": len(self.delivered), "deferred": len(self.deferred), "refused": len(self.refused)}
        if sum(counts.values()) < 2:
            return said
        return f"{said} ({', '.join(f'{count} {word}' for word, count in counts.items() if count)})"


class TemporaryError(DeliveryError):
    """Somebody has to wait: keep the mail in the queue for the recipients in `deferred`."""


class PolicyError(TemporaryError):
    """A recipient waits because of the MTA-STS policy of its domain, or of the TLSA records of its hosts: no MX host
    meets them. Never a reason to bounce (RFC 8461 5, RFC 7672 2.2); before a queue gives such a mail up, it asks
    `mtasts.Resolver.recheck` whether there is another policy.

    Attributes:
        answer: The policy, for `mtasts.Answer.is_same_policy`.
        verdict: The verdict on the mail.
        hosts: The verdict on each host that was refused.
    """

    answer: Answer
    verdict: Verdict
    hosts: dict[str, Verdict]

    def __init__(self, answer: Answer, verdict: Verdict, hosts: dict[str, Verdict]) -> None:
        super().__init__(451, f"4.7.5 {verdict.sentence}".encode())
        self.answer, self.verdict, self.hosts = answer, verdict, hosts

    def __reduce__(self) -> tuple[Any, ...]:
        return PolicyError, (self.answer, self.verdict, self.hosts), self.__dict__


class PermanentError(DeliveryError):
    """Nobody waits, and the recipients in `refused` will never get the mail: their own host says so, there is no such
    domain, or it is no address."""


def failure_of(fates: Fates, failures: Iterable[DeliveryError]) -> DeliveryError | None:
    """The error that says what became of all recipients; none if everybody got the mail."""
    refusals = [fate for fate in fates.values() if not isinstance(fate, Delivered)]
    if not refusals:
        return None
    # Who may yet get the mail keeps it in the queue.
    found = [error for error in failures if error.smtp_code < 500]
    waits = next((refusal for refusal in refusals if refusal[0] < 500), None)
    if found:
        error = found[0]
    elif waits:
        error = TemporaryError(*waits)
    else:
        error = next(iter(failures), PermanentError(*refusals[0]))
    error.settle(fates)
    if not error.domain:
        error.domain = next(iter(error.recipients)).rpartition("@")[2].lower()
    return error


class HostFailed(Exception):
    """A host cannot be used now, for other reasons: the next one may do."""

    def __init__(self, code: int, text: str | bytes, recipients: Refusals | None = None) -> None:
        self.code, self.text = reply(code, text)
        super().__init__(self.code, self.text)
        self.recipients = recipients or {}
        self.about_the_mail = False
        """Whether the host has said it of this mail, so that a refusal for good is one."""


class Unreachable(HostFailed):
    """Nobody answers at this address: the host may have others."""

    def __init__(self, why: object) -> None:
        super().__init__(451, f"4.4.1 {why}")


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
