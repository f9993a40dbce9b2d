"""A message and its envelope, as they go to a host."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from email.generator import BytesGenerator
from email.message import Message
from email.utils import getaddresses


def envelope(message: Message | bytes, to: str | Sequence[str], sender: str | None) -> tuple[str, list[str], bytes]:
    """The envelope sender, the recipients, and the message in octets.

    Raises:
        ValueError: There is no recipient or no sender, or an address holds a line break.
    """
    recipients = [to] if isinstance(to, str) else list(dict.fromkeys(to))
    if not recipients:
        raise ValueError("no recipient")
    if sender is None:
        sender = _sender(message)
    for address in (sender, *recipients):
        if any(character in address for character in "\r\n\0<> "):
            raise ValueError(f"no address: {address!r}")
    for address in recipients:
        if "@" not in address[1:-1]:
            raise ValueError(f"no address: {address!r}")
    return sender, recipients, message if isinstance(message, bytes) else _octets(message)


def _sender(message: Message | bytes) -> str:
    if isinstance(message, bytes):
        raise ValueError("the sender of octets has to be given")
    # RFC 5322 3.6.2: where From has several, Sender has one.
    fields = [str(field) for field in message.get_all("Sender") or message.get_all("From") or []]
    for _, address in getaddresses(fields):
        if address:
            return address
    raise ValueError("the message has neither Sender nor From: give the sender")


def _octets(message: Message) -> bytes:
    message = copy.copy(message)
    # Blind copies are blind (RFC 5322 3.6.3).
    del message["Bcc"], message["Resent-Bcc"]
    octets = io.BytesIO()
    BytesGenerator(octets, mangle_from_=False).flatten(message, linesep="\r\n")
    return octets.getvalue()
