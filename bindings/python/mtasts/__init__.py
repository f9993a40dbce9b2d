"""MTA-STS (RFC 8461) for Python programs that send mail.

A domain can say: deliver my mail only over TLS, only to these MX hosts, only with a valid certificate. `lookup`
tells what a domain says, `Answer.verdict` what to do with each of its MX hosts, and `mtasts.smtp` does it.

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
from .errors import AddressRefused, ArgumentError, Defect, Error, InvalidName, IsAddress, SettingsError, Unavailable
from .resolver import Resolver, from_openssl
from .words import Action, Mode, ResultType, Seen, Source

__all__ = [
    "Action",
    "AddressRefused",
    "Answer",
    "ArgumentError",
    "Check",
    "Defect",
    "Error",
    "InvalidName",
    "IsAddress",
    "Mode",
    "Resolver",
    "ResultType",
    "Seen",
    "SettingsError",
    "Source",
    "Unavailable",
    "Verdict",
    "from_openssl",
    "default_resolver",
    "lookup",
    "lookup_cached",
    "allows_mx",
    "recheck",
    "verdict",
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


def lookup(domain: str, *, timeout: float | None = None) -> Answer:
    """`Resolver.lookup` with the settings of this host."""
    return default_resolver().lookup(domain, timeout=timeout)


def lookup_cached(domain: str) -> Answer:
    """`Resolver.lookup_cached` with the settings of this host."""
    return default_resolver().lookup_cached(domain)


def recheck(domain: str, *, timeout: float | None = None) -> Answer:
    """`Resolver.recheck` with the settings of this host."""
    return default_resolver().recheck(domain, timeout=timeout)


def verify_certificate(mx: str, chain: Sequence[bytes], *, at: int | None = None) -> Check:
    """`Resolver.verify_certificate` with the settings of this host."""
    return default_resolver().verify_certificate(mx, chain, at=at)


def allows_mx(answer: Answer, mx: str) -> bool:
    """`Answer.allows_mx`: whether the policy lists this MX host (RFC 8461 4.1)."""
    return answer.allows_mx(mx)


def verdict(
    answer: Answer, mx: str, seen: Seen = Seen.NAME, *, check: Check | None = None, reason: str = ""
) -> Verdict:
    """`Answer.verdict`: what to do with this MX host (RFC 8461 4, 5)."""
    return answer.verdict(mx, seen, check=check, reason=reason)
