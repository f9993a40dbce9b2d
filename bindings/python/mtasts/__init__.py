"""MTA-STS (RFC 8461) for Python programs that send mail.

A domain can say: deliver my mail only over TLS, only to these MX hosts, only with a valid certificate. `lookup`
tells what a domain says, `Attempt` what to do with each of its MX hosts, and `mtasts.smtp` does it.

>>> import mtasts
>>> answer = mtasts.lookup("example.com")       # doctest: +SKIP
>>> answer.mode                                 # doctest: +SKIP
<Mode.ENFORCE: 2>

The functions of this module share one `Resolver` with the settings of this host; it is made when the first of
them is called. In an event loop use `mtasts.aio`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ._library import lib, text
from .answer import Answer, Check, Verdict
from .attempt import Attempt, ReportEvent
from .errors import AddressRefused, ArgumentError, Defect, Error, InvalidName, IsAddress, SettingsError, Unavailable
from .resolver import Hosts, Resolver, Time, from_openssl
from .words import Action, Channel, Judge, Mode, NoHost, PolicyType, ResultType, Seen, Source

__all__ = [
    "Action",
    "AddressRefused",
    "Answer",
    "ArgumentError",
    "Attempt",
    "Channel",
    "Check",
    "Defect",
    "Error",
    "Hosts",
    "InvalidName",
    "IsAddress",
    "Judge",
    "Mode",
    "NoHost",
    "PolicyType",
    "ReportEvent",
    "Resolver",
    "ResultType",
    "Seen",
    "SettingsError",
    "Source",
    "Unavailable",
    "Verdict",
    "default_resolver",
    "from_openssl",
    "lookup",
    "lookup_cached",
    "recheck",
    "verify_certificate",
]

__version__: str = text(lib.mtasts_version())

_default: Resolver | None = None


def default_resolver() -> Resolver:
    """The resolver that the functions of this module share: that of this host's settings.

    Raises:
        SettingsError: The settings file of this host is wrong.
    """
    global _default
    if _default is None:
        # Two threads may both make one; that costs nothing, and no lock can be left behind by a fork.
        _default = Resolver()
    return _default


def lookup(domain: str, *, timeout: Time | None = None) -> Answer:
    """Looks the policy of a domain up with the settings of this host; see `Resolver.lookup`.

    Args:
        domain: The recipient's domain, or the smart host's where there is one (RFC 8461 3.4).
        timeout: The longest time, in seconds or such as `5s`; never longer than the setting `timeout`.

    Raises:
        Unavailable: No answer is possible: defer the mail of this domain.
        SettingsError: The settings file of this host is wrong.
    """
    return default_resolver().lookup(domain, timeout=timeout)


def lookup_cached(domain: str) -> Answer:
    """Answers from the cache alone, with the settings of this host; see `Resolver.lookup_cached`.

    Args:
        domain: The recipient's domain.

    Raises:
        Unavailable: No answer is possible.
        SettingsError: The settings file of this host is wrong.
    """
    return default_resolver().lookup_cached(domain)


def recheck(domain: str, *, timeout: Time | None = None) -> Answer:
    """Asks whether there is a newer policy now, with the settings of this host; see `Resolver.recheck`.

    Args:
        domain: The policy domain, `Answer.domain`.
        timeout: The longest time, in seconds or such as `5s`; never longer than the setting `timeout`.

    Raises:
        Unavailable: No answer is possible: defer the mail of this domain.
        SettingsError: The settings file of this host is wrong.
    """
    return default_resolver().recheck(domain, timeout=timeout)


def verify_certificate(host: str, chain: Sequence[bytes], *, at: int | None = None) -> Check:
    """Checks the certificate chain of an MX host (RFC 8461 4.2) with the settings of this host; see
    `Resolver.verify_certificate`.

    Args:
        host: The name in the MX record, before any CNAME.
        chain: The certificates in DER, the host's own first.
        at: The time in Unix seconds; now by default.

    Raises:
        InvalidName: `host` is not a host name.
        Unavailable: The roots cannot be read.
        SettingsError: The settings file of this host is wrong.
    """
    return default_resolver().verify_certificate(host, chain, at=at)
