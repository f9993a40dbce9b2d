"""The words that every face of the library shares. The numbers are those of `mtasts.h`."""

from __future__ import annotations

from enum import IntEnum

from ._library import lib, text


class Mode(IntEnum):
    """What a domain asks for (RFC 8461 5)."""

    NONE = 0
    """Nothing: it has no policy that counts, or one of mode none."""
    TESTING = 1
    """A host that fails the policy is used all the same, and reported."""
    ENFORCE = 2
    """A host that fails the policy is not used."""


class Source(IntEnum):
    """Where an answer came from."""

    FRESH = 1
    """The policy was fetched for this answer."""
    CACHED = 2
    """The policy was in the cache, and is current as far as it must be known."""
    CACHED_AFTER_FAILURE = 3
    """The policy was in the cache, and its refresh failed: it counts all the same."""
    NO_POLICY = 4
    """The domain has no policy."""
    COULD_NOT_LEARN = 5
    """It could not be learnt whether the domain has a policy, and the cache holds none."""


class Action(IntEnum):
    """What to do with an MX host, or with the mail."""

    DELIVER = 1
    """Deliver to this host, by whatever other rules there are."""
    DELIVER_AND_REPORT = 2
    """Deliver to this host, and report the failure."""
    SKIP_HOST = 3
    """Send nothing to this host; try the next, and where none is left defer the mail."""
    DEFER = 4
    """Keep the mail in the queue and try again later. Never a bounce."""


class Seen(IntEnum):
    """What was seen at an MX host."""

    NAME = 0
    """Nothing yet but its name: before connecting."""
    STARTTLS_NOT_OFFERED = 1
    """STARTTLS stands not in its answer to EHLO."""
    STARTTLS_REFUSED = 2
    """It refused the STARTTLS command."""
    HANDSHAKE_FAILED = 3
    """The handshake failed, but not over the certificate."""
    CERTIFICATE = 4
    """The certificate was checked for the name of this host."""
    NO_HOST_LEFT = 5
    """Every host was tried or skipped."""


class ResultType(IntEnum):
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
        """The word as it stands in a report: `certificate-expired`."""
        return text(lib.mtasts_result_name(self.value))
