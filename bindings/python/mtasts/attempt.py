"""Attempts to deliver to MX hosts, and what a TLS report counts of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._library import EVENT_SIZE, PEER_SIZE, Octets, check, ffi, lib, milliseconds, new_error, octets_of, text
from .answer import Answer, Check, Verdict, decide, sight_of
from .resolver import Hosts, Resolver, Time
from .words import Channel, Judge, PolicyType, ResultType, Seen


@dataclass(frozen=True)
class ReportEvent:
    """What a TLS report counts of one session with an MX host (RFC 8460 4.4): a success or a failure."""

    __slots__ = ("address", "host", "local_address", "policy_type", "reason_code", "result")

    policy_type: PolicyType
    """What the session is counted under (`policy-type`)."""
    host: str
    """The MX host (`receiving-mx-hostname`), or what the MX record has in its place as one clean line."""
    address: str | None
    """The address of the host (`receiving-ip`); `None` if no connection was made."""
    local_address: str | None
    """The address that the connection came from (`sending-mta-ip`)."""
    result: ResultType | None
    """What failed (`result-type`); `None` for a success."""
    reason_code: str
    """The `failure-reason-code`, as in a `Verdict`; empty for a success."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ReportEvent, (
            self.policy_type,
            self.host,
            self.address,
            self.local_address,
            self.result,
            self.reason_code,
        )


class Attempt:
    """One attempt to deliver to one MX host. Make one for each host, show it what was seen there, obey each verdict,
    and finish it when the session is over.

    It remembers what was seen. After a refusal every further verdict is that refusal, whatever is seen then; in testing
    the mail is delivered, and the first failure is the one that is reported. One thread at a time may use it.

    Args:
        answer: The policy of the recipient's domain.
        host: The name in the MX record, before any CNAME; the domain itself if it has no MX record. It need not be a
            host name: the verdicts say what happens with such a host.
        hosts: What DANE says of the domain's hosts (`mtasts.Resolver.hosts`); `None` for MTA-STS alone.

    Raises:
        TypeError: The answer comes out of a pickle.
    """

    verdict: Verdict | None = None
    """The last verdict."""

    def __init__(self, answer: Answer, host: str, hosts: Hosts | None = None) -> None:
        name, error, place = octets_of(host), new_error(), ffi.new("mtasts_attempt **")
        if hosts is None:
            status = lib.mtasts_attempt_new(answer._asked(), name, len(name), place, error)
        else:
            status = lib.mtasts_attempt_new_with_hosts(answer._asked(), hosts._handle, name, len(name), place, error)
        check(status, error)
        self._handle = ffi.gc(place[0], lib.mtasts_attempt_free)
        self._host = host

    def __repr__(self) -> str:
        return f"<mtasts.Attempt at {self._host!r}: {self.verdict.action if self.verdict else 'nothing seen'}>"

    @property
    def judge(self) -> Judge:
        """What decides about the certificate of the host."""
        return Judge(lib.mtasts_attempt_judge(self._handle))

    @property
    def sni(self) -> str | None:
        """The TLSA base domain, to be sent in SNI (RFC 7672 8.1); `None` where TLSA records do not decide."""
        name = lib.mtasts_attempt_name(self._handle, 0)
        return None if name == ffi.NULL else text(name)

    @property
    def records(self) -> list[bytes]:
        """The usable TLSA records as the octets of their RDATA, for the policy-string of a report; empty where they do
        not decide."""
        octets = ffi.new("mtasts_octets *")
        records: list[bytes] = []
        while lib.mtasts_attempt_record(self._handle, len(records), octets) == 1:
            records.append(bytes(ffi.buffer(octets.data, octets.length)))
        return records

    def saw_chain(self, resolver: Resolver, chain: Sequence[bytes], *, at: int | None = None) -> Verdict:
        """Checks the certificate chain of the host as its TLSA records or the policy ask for, and says what to do after
        this sight and all before it. Let the `ssl` module check nothing then, and send nothing before the verdict: DANE
        may take a self-signed certificate, and refuse one of a public CA.

        Args:
            resolver: Its roots count where the policy does.
            chain: The certificates in DER, the host's own first.
            at: The time in Unix seconds; now by default.

        Raises:
            mtasts.errors.Unavailable: The policy decides, and the roots cannot be read.
        """
        octets = Octets(chain)
        self.verdict = decide(
            lambda out, error: lib.mtasts_attempt_saw_chain(
                self._handle, resolver._context, octets.array, len(chain), at or 0, out, error
            )
        )
        return self.verdict

    def saw(self, seen: Seen = Seen.NAME, *, check: Check | None = None, reason: str = "") -> Verdict:
        """What to do with this host after this sight and all before it (RFC 8461 4, 5). Show the name before you
        connect, then what EHLO, STARTTLS or the TLS handshake showed.

        Args:
            seen: What was seen.
            check: For `Seen.CERTIFICATE`: the result of the check for the name of this host.
            reason: For `Seen.HANDSHAKE_FAILED`: how it failed, in plain words.

        Raises:
            mtasts.errors.ArgumentError: `Seen.CERTIFICATE` without `check`. The sight does not count.
        """
        sight, _words = sight_of(seen, check, reason)
        self.verdict = decide(lambda out, error: lib.mtasts_attempt_saw(self._handle, sight, out, error))
        return self.verdict

    def finish(
        self, *, channel: Channel = Channel.NONE, address: str | None = None, local_address: str | None = None
    ) -> ReportEvent | None:
        """Ends the attempt: what a report counts of it (RFC 8460 4), a failure or a success. The next call gives the
        same for another policy that was looked at: TLSA records come first. `None` if there is nothing more to count.

        Args:
            channel: How far the session came.
            address: The IP address of the host.
            local_address: The IP address that the connection came from.

        Raises:
            mtasts.errors.ArgumentError: An address is not an IP address.
        """
        peer, event, error = ffi.new("mtasts_peer *"), ffi.new("mtasts_event *"), new_error()
        peer.size, peer.channel, event.size = PEER_SIZE, channel, EVENT_SIZE
        # Without the zone of a link-local address, which means nothing elsewhere.
        texts = [
            ffi.NULL if ip is None else ffi.new("char[]", octets_of(ip.partition("%")[0]))
            for ip in (address, local_address)
        ]
        peer.address, peer.local_address = texts
        if check(lib.mtasts_attempt_finish(self._handle, peer, event, error), error) == 0:
            return None
        return ReportEvent(
            PolicyType(event.policy_type),
            text(event.host),
            text(event.address) or None,
            text(event.local_address) or None,
            ResultType(event.result) if event.result else None,
            text(event.reason_code),
        )

    def carries(self, resolver: Resolver, sender: str, tls_required: str = "") -> None:
        """Says which mail the session carries, before `finish`. A session with a TLS report (from the setting
        `tlsrpt_sender`), or with a mail that needs no TLS (RFC 8689), then gives no event and is not reported: a report
        about a report would cause the next one.

        Args:
            resolver: Its settings have the address of the reporter.
            sender: The envelope sender.
            tls_required: The value of the header field `TLS-Required`.
        """
        error, mail, required = new_error(), octets_of(sender), octets_of(tls_required)
        mark = lib.mtasts_tlsrpt_mail(resolver._context, self._handle, mail, len(mail), required, len(required), error)
        check(mark, error)

    def report(self, resolver: Resolver, *, timeout: Time | None = None) -> bool:
        """Hands what `finish` has given over to a program that makes TLS reports, as the settings `tlsrpt_journal` and
        `tlsrpt_socket` say; by default to none. With `tlsrpt_socket` DNS is asked for the record of the domain, for
        five seconds at most.

        Args:
            resolver: Its settings say where to.
            timeout: The longest time for the record.

        Returns:
            False if an event was lost, which was counted and means nothing for the mail.
        """
        error, limit = new_error(), milliseconds(timeout)
        return check(lib.mtasts_tlsrpt_report(resolver._context, self._handle, limit, error), error) == 0
