"""A message and its envelope, as they go to a host."""

from __future__ import annotations

import io
import re
from collections.abc import Container, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from email.generator import BytesGenerator
from email.message import Message
from typing import Any

from .outcome import HostFailed, Refusals, one_line

# RFC 5321 4.1.2, RFC 6531 3.3; lenient about dots, because there are such mailboxes.
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[^\x00-\x1f\x7f-\x9f])*"'
_ATOM = r'[^\s<>()\[\]\\,;:"@\x00-\x1f\x7f-\x9f]+'
_MAILBOX = re.compile(rf"(?:{_QUOTED}|{_ATOM})@(?:{_ATOM}|\[[^\s<>\[\]\\\x00-\x1f\x7f-\x9f]+\])")
# One entry of a list as header fields have it: up to the next comma that is not quoted. A quote need not end, so that
# nothing is read twice.
_ENTRY = re.compile(r'(?:"(?:[^"\\]|\\.)*"?|<[^<>]*>|[^",])+', re.S)
# undisclosed-recipients:;
_EMPTY_GROUP = re.compile(r'[^"<>@,;:]+:\s*;')
# Ann Lee <ann@example.com>; the name has no angle bracket but in quotes.
_NAMED = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"<>])*<([^<>]*)>\s*', re.S)


@dataclass(frozen=True)
class Letter:
    """What goes to a host."""

    sender: str | None
    """The envelope sender, empty for a bounce; `None` if what was given is no address."""
    bad_sender: tuple[int, bytes]
    """What is wrong with the sender."""
    recipients: list[str]
    """The recipients, each once."""
    refused: Refusals
    """What was given as a recipient and is no address: it costs the others nothing."""
    data: bytes
    """The message."""


def letter(message: Message | bytes, to: str | Iterable[str] | None, sender: str | None) -> Letter:
    """A message with its envelope.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: There is no recipient, or no sender.
    """
    if not isinstance(message, (bytes, Message)):
        raise TypeError(f"message: must be bytes or an email.message.Message, not {type(message).__name__}")
    recipients, refused = _recipients(_fields(message, "To", "Cc", "Bcc") if to is None else to)
    if not recipients and not refused:
        raise ValueError("no recipient")
    if sender is None:
        sender = _sender(message)
    elif not isinstance(sender, str):
        raise TypeError(f"sender: must be a str, not {type(sender).__name__}")
    address = "" if sender.strip() in ("", "<>") else mailbox(sender)
    # On the wire a recipient's domain has A-labels; the rest is as it is.
    beyond_ascii = not (address or "").isascii() or not all(to.rpartition("@")[0].isascii() for to in recipients)
    data = message if isinstance(message, bytes) else _octets(message, beyond_ascii)
    return Letter(address, (553, one_line(f"5.1.7 the sender is no address: {sender!r}")), recipients, refused, data)


def mailbox(text: str) -> str | None:
    """The address in `ann@example.com`, `<ann@example.com>` or `Ann <ann@example.com>`; `None` if there is none."""
    named = _NAMED.fullmatch(text)
    address = (named[1] if named else text).strip(" \t")
    return address if _MAILBOX.fullmatch(address) else None


def _recipients(to: str | Iterable[str]) -> tuple[list[str], Refusals]:
    found: dict[str, None] = {}
    refused: Refusals = {}
    if not isinstance(to, Iterable):
        raise TypeError(f"to: must be a str, or a list of them, not {type(to).__name__}")
    for text in [to] if isinstance(to, str) else to:
        if not isinstance(text, str):
            raise TypeError(f"to: must be a str, or a list of them, not of {type(text).__name__}")
        # Several in one text, as header fields have them.
        for entry in [entry for entry in _ENTRY.findall(text) if entry.strip()] or [text]:
            address = mailbox(entry)
            if _EMPTY_GROUP.fullmatch(entry.strip()):
                continue
            if address is None:
                refused[entry.strip()] = 553, one_line(f"5.1.3 no address: {entry.strip()!r}")
            else:
                found[address] = None
    return list(found), refused


def _fields(message: Message | bytes, *names: str) -> Sequence[str]:
    """What the header fields of these names say, as `smtplib.SMTP.send_message` reads them."""
    if isinstance(message, bytes):
        raise ValueError("the envelope of a message in bytes has to be given: its sender and recipients")
    # Who sends a message again says in fields of their own to whom (RFC 5322 3.6.6).
    resent = len(message.get_all("Resent-Date", []))
    if resent > 1:
        raise ValueError("the message was resent more than once: give the sender and the recipients")
    again = "Resent-" if resent else ""
    return [re.sub(r"[\r\n]+", "", str(field)) for name in names for field in message.get_all(again + name, [])]


def _sender(message: Message | bytes) -> str:
    # RFC 5322 3.6.2: where From has several, Sender has one.
    for field in [*_fields(message, "Sender"), *_fields(message, "From")]:
        for entry in _ENTRY.findall(field):
            address = mailbox(entry)
            if address:
                return address
    raise ValueError("the message has neither Sender nor From: give the sender")


def _octets(message: Message, beyond_ascii: bool) -> bytes:
    message = copy(message)
    # Blind copies are blind (RFC 5322 3.6.3).
    del message["Bcc"], message["Resent-Bcc"]
    policy: Any = message.policy
    if beyond_ascii and hasattr(policy, "utf8"):
        # An address in an encoded-word is no address (RFC 6532 3.2).
        policy = policy.clone(utf8=True)
    octets = io.BytesIO()
    BytesGenerator(octets, mangle_from_=False, policy=policy).flatten(message, linesep="\r\n")
    return octets.getvalue()


def by_domain(recipients: Sequence[str]) -> dict[str, list[str]]:
    """Recipients by the domain of their address, in the order given."""
    groups: dict[str, list[str]] = {}
    for recipient in recipients:
        groups.setdefault(recipient.rpartition("@")[2].lower(), []).append(recipient)
    return groups


def with_network_line_ends(data: bytes) -> bytes:
    """CRLF alone ends a line: a host that takes a bare CR or LF for one could be told of mails that nobody sent."""
    if data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n"):
        return data
    return re.sub(rb"\r\n|\r|\n", b"\r\n", data)


def with_dots(data: bytes) -> bytes:
    """The mail as it follows DATA, with the line that ends it (RFC 5321 4.5.2)."""
    octets = re.sub(rb"(?m)^\.", b"..", data)
    return octets + (b".\r\n" if octets.endswith(b"\r\n") else b"\r\n.\r\n")


def options_of(sender: str, recipients: Sequence[str], data: bytes, extensions: Container[str]) -> list[str]:
    """The parameters of MAIL (RFC 1870, RFC 6152, RFC 6531 3.4). It raises HostFailed where the host cannot take the
    addresses."""
    options = [f"SIZE={len(data)}"] if "size" in extensions else []
    if not data.isascii() and "8bitmime" in extensions:
        options.append("BODY=8BITMIME")
    if all(address.isascii() for address in (sender, *recipients)):
        return options
    if "smtputf8" not in extensions:
        raise HostFailed(550, b"5.6.7 the host takes no addresses beyond ASCII (RFC 6531)")
    return [*options, "SMTPUTF8"]
