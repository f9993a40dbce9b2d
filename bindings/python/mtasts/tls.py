"""The TLS of a sender: what is asked of a host's certificate, and what came of it."""

from __future__ import annotations

import ssl
from typing import Any

from ._library import lib
from .delivery import Sight, Tls, TlsFailed
from .errors import Unavailable
from .outcome import one_line
from .resolver import Resolver, from_openssl
from .words import Seen


class Contexts:
    """The contexts of a client, made when they are first needed.

    Args:
        resolver: Its roots count for MX hosts too.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._made: dict[Tls, ssl.SSLContext] = {}

    def of(self, tls: Tls) -> ssl.SSLContext:
        """The context to start TLS with."""
        context = self._made.get(tls)
        if context is None:
            context = self._made[tls] = self._verifying() if tls is Tls.VERIFIED else _taking_anything()
        return context

    def _verifying(self) -> ssl.SSLContext:
        # It requires a certificate and checks its name, which is the one the client connects to.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # RFC 8461 4.2 knows the subjectAltName alone.
        context.hostname_checks_common_name = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        roots = self._resolver.ca_file
        try:
            if roots is None:
                context.load_default_certs()
            else:
                # The library's reader says what is wrong with the file; OpenSSL passes over what it cannot read.
                self._resolver.verify_certificate("example.com", [])
                context.load_verify_locations(roots)
        except OSError as error:
            # That is not the host's fault.
            raise Unavailable(lib.MTASTS_E_UNAVAILABLE, f"the roots in {roots} cannot be used: {error}") from error
        return context

    def sight(self, tls: Tls, connection: ssl.SSLSocket | ssl.SSLObject | None, host: str) -> Sight:
        """What was seen of a host with whom the handshake came about."""
        if tls is not Tls.VERIFIED:
            return Sight()
        # Python 3.13 shows the chain: then the library's own eyes see it too, after OpenSSL has let it pass.
        chain: Any = getattr(connection, "get_unverified_chain", None)
        check = from_openssl(0) if chain is None else self._resolver.verify_certificate(host, chain())
        return Sight(Seen.CERTIFICATE, check)


def not_offered(tls: Tls) -> Sight:
    """What was seen of a host that offers no TLS: a failure if it is required."""
    sight = Sight(Seen.STARTTLS_NOT_OFFERED)
    if tls is Tls.VERIFIED:
        raise TlsFailed(sight)
    return sight


def failed(error: OSError) -> TlsFailed:
    """What a failed handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(Sight(Seen.CERTIFICATE, from_openssl(error.verify_code)))
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    said = one_line(str(reason).replace("_", " ").lower()).decode()
    return TlsFailed(Sight(Seen.HANDSHAKE_FAILED, reason=said))


def _taking_anything() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
