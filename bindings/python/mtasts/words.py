"""The words that every face of the library shares. The numbers are those of `mtasts.h`."""

from __future__ import annotations

from enum import IntEnum

from ._library import lib, text


class _Word(IntEnum):
    """A number of the library that reads as its word: `str(Mode.ENFORCE)` is `enforce`."""

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    def __format__(self, how: str) -> str:
        # In each version of Python. As a number where a number is asked for.
        return format(int(self), how) if how[-1:] in tuple("bcdoxXn") and how else format(str(self), how)


class Mode(_Word):
    """What a domain asks of senders (RFC 8461 3.2, 5)."""

    NONE = 0
    """Nothing: the domain has no policy in force, or a policy in mode none."""
    TESTING = 1
    """Deliver to a host that fails the policy, and report the failure. Also the mode of an enforced policy while an
    operator's exception for the domain is in force."""
    ENFORCE = 2
    """Do not deliver to a host that fails the policy."""


class Source(_Word):
    """Where an answer came from."""

    FRESH = 1
    """The policy was fetched for this answer."""
    CACHED = 2
    """The policy was in the cache. DNS announces no newer one, or need not be asked yet."""
    CACHED_AFTER_FAILURE = 3
    """The policy was in the cache, and the attempt to renew it failed. It stays in force (RFC 8461 3.3)."""
    NO_POLICY = 4
    """The domain has no policy: it has no TXT record, or no valid one."""
    COULD_NOT_LEARN = 5
    """Whether the domain has a policy, or what it says, could not be determined, and the cache holds none. Deliver as
    usual (RFC 8461 3.3), unless the answer has a time until which mail must wait."""


class Action(_Word):
    """What the sender must do."""

    DELIVER = 1
    """Deliver to this host, under the sender's other rules."""
    DELIVER_AND_REPORT = 2
    """Deliver to this host, and report the failure."""
    SKIP_HOST = 3
    """Send nothing to this host. Try the next one; if none is left, defer the mail (RFC 8461 5)."""
    DEFER = 4
    """Keep the mail in the queue and try again later. Never bounce it for this."""

    @property
    def delivers(self) -> bool:
        """Whether mail may go to this host."""
        return bool(lib.mtasts_action_delivers(self.value))

    @property
    def defers(self) -> bool:
        """Whether the mail waits: no other host of the domain is to be tried now."""
        return bool(lib.mtasts_action_defers(self.value))


class Seen(_Word):
    """What the sender saw at an MX host."""

    NAME = 0
    """Only the name of the host so far: the sender has not connected yet."""
    STARTTLS_NOT_OFFERED = 1
    """The host's EHLO reply does not offer STARTTLS."""
    STARTTLS_REFUSED = 2
    """The host refused the STARTTLS command, with whatever code."""
    HANDSHAKE_FAILED = 3
    """The TLS handshake failed for a reason other than the certificate: an alert, a protocol version, a closed
    connection."""
    CERTIFICATE = 4
    """The host's certificate was checked for the name in the MX record."""


class Judge(_Word):
    """What decides about the certificate of an MX host (RFC 8461 2, RFC 7672 2.2)."""

    STS = 0
    """The policy. Without one TLS is opportunistic."""
    DANE = 1
    """The TLSA records of the host. What a CA says means nothing."""
    BOTH = 2
    """The TLSA records and the policy: `dane = strict-both`."""
    TLS_WITHOUT_NAME = 3
    """The host has TLSA records and none is usable: TLS is required, and its certificate counts only for a policy."""
    SKIP_HOST = 4
    """The host gets no mail now: what DANE asks of it cannot be learnt."""


class NoHost(_Word):
    """Why there is no MX host to deliver to."""

    LEFT = 0
    """There are MX hosts, and each was tried or passed over."""
    NXDOMAIN = 1
    """The MX lookup says that the domain does not exist."""
    NODATA = 2
    """The MX lookup says that the domain has no MX record."""
    NULL_MX = 3
    """The one MX record is `.`: the domain takes no mail (RFC 7505)."""
    NOT_LISTED = 4
    """The MX lookup gives no host that the policy lists: it denies all hosts, or names others."""


class Channel(_Word):
    """How far a session with an MX host came."""

    NONE = 0
    """There was no session: the host was passed over by its name, or did not answer."""
    CLEAR = 1
    """The session went on in clear."""
    TLS = 2
    """The session went on under TLS, whether or not the certificate is good."""


class PolicyType(_Word):
    """What a report counts a session under (RFC 8460 4.4)."""

    TLSA = 1
    """The TLSA records of an MX host (DANE)."""
    STS = 2
    """An MTA-STS policy."""
    NO_POLICY_FOUND = 9
    """No policy, or one of mode none."""


class ResultType(_Word):
    """What a TLS report calls a failure (RFC 8460 4.3)."""

    STARTTLS_NOT_SUPPORTED = 201
    CERTIFICATE_HOST_MISMATCH = 202
    CERTIFICATE_NOT_TRUSTED = 203
    CERTIFICATE_EXPIRED = 204
    VALIDATION_FAILURE = 205
    STS_POLICY_FETCH_ERROR = 301
    STS_POLICY_INVALID = 302
    STS_WEBPKI_INVALID = 303
    TLSA_INVALID = 304
    DNSSEC_INVALID = 305
    DANE_REQUIRED = 306

    @property
    def text(self) -> str:
        """The word as a report has it: `certificate-expired`."""
        return text(lib.mtasts_result_name(self.value))
