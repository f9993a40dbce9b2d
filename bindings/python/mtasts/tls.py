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

# `_ssl.ENCODING_DER`, with a method of CPython below.
_ENCODING_DER = 2


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
            if tls is Tls.RECORDS:
                context.minimum_version = ssl.TLSVersion.TLSv1_2
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
        if tls is Tls.RECORDS:
            chain, is_whole = _sent(connection)
            return Sight(Seen.CERTIFICATE, chain=chain, is_whole=is_whole)
        if tls is not Tls.VERIFIED:
            return Sight()
        # Python 3.13 shows the chain: then the library's own eyes see it too, after OpenSSL has let it pass.
        shown: Any = getattr(connection, "get_unverified_chain", None)
        check = from_openssl(0) if shown is None else self._resolver.verify_certificate(host, shown())
        return Sight(Seen.CERTIFICATE, check)


def not_offered(tls: Tls) -> Sight:
    """What was seen of a host that offers no TLS: a failure if it is required."""
    sight = Sight(Seen.STARTTLS_NOT_OFFERED)
    if tls in (Tls.VERIFIED, Tls.RECORDS):
        raise TlsFailed(sight)
    return sight


def failed(error: OSError) -> TlsFailed:
    """What a failed handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(Sight(Seen.CERTIFICATE, from_openssl(error.verify_code)))
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    said = one_line(str(reason).replace("_", " ").lower()).decode()
    return TlsFailed(Sight(Seen.HANDSHAKE_FAILED, reason=said))


def _sent(connection: Any) -> tuple[list[bytes], bool]:
    """The certificates that the host has sent, in DER, and whether these are all. From Python 3.13 on there is a method
    for it; CPython 3.10 to 3.12 have it below the surface, and so has PyPy 7.3.19. Others show the host's own alone,
    which is enough for the records that most hosts have (DANE-EE)."""
    shown = getattr(connection, "get_unverified_chain", None)
    if shown is not None:
        return list(shown()), True
    below = getattr(getattr(connection, "_sslobj", None), "get_unverified_chain", None)
    if below is not None:
        return [certificate.public_bytes(_ENCODING_DER) for certificate in below() or ()], True
    own = connection.getpeercert(binary_form=True)
    return [own] if own else [], False


def _taking_anything() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
