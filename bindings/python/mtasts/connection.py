"""A connection of smtplib within limits of time."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

from .letter import with_dots
from .outcome import Said

LONGEST_ANSWER = 65536
"""How many octets a reply may have, with all its lines."""

READ = 8192
"""How much is read at a time, in octets."""

SLOWEST = 16384
"""A mail has a second more for so many octets: a slow line is no host that does not answer."""

NEARLY = 0.01
"""How much the limit of the socket may differ from what is left, in seconds: each change of it is a system call."""


class Connection(smtplib.SMTP):
    """That of smtplib, whose limit is for each line: a host that always begins another one could keep it for ever. Here
    it is for each reply as a whole, and none goes beyond the end of the delivery. The reply to the mail itself has all
    of that time: the host may be scanning the mail, and who gives it up sends it twice (RFC 5321 4.5.3.2.6 asks for ten
    minutes)."""

    def __init__(self, address: str, port: int, hostname: str, patience: float, end: float) -> None:
        super().__init__(local_hostname=hostname, timeout=patience)
        self._patience, self._end = patience, end
        self._limit = 0.0
        self._begin()
        code, text = self.connect(address, port)
        if code != 220:
            self.close()
            raise smtplib.SMTPConnectError(code, text)
        # Only what MAIL announces as SMTPUTF8 has more than ASCII.
        self.command_encoding = "utf-8"

    def _begin(self, octets: int = 0) -> None:
        self._until = min(self._end, time.monotonic() + self._patience + octets / SLOWEST)
        self._heard = 0

    def commands(self, lines: Sequence[str]) -> list[Said]:
        """Says these lines at once, and gives their replies; a 421 is the last one."""
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a command is one line")
        self.send("".join(f"{line}\r\n" for line in lines))
        replies: list[Said] = []
        while len(replies) < len(lines) and not (replies and replies[-1][0] == 421):
            replies.append(self.getreply())
        return replies

    def content(self, data: bytes) -> Said:
        """The mail, after the 354; gives the reply that ended it, good or bad."""
        self.send(with_dots(data))
        self._until, self._heard = self._end, 0
        return self._reply()

    def renew(self, end: float) -> None:
        """Another delivery begins, which ends at another time."""
        self._end = end

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no reply in time")
        return left

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        self._limit = self._left()
        return socket.create_connection((host, port), self._limit)

    def in_time(self) -> socket.socket:
        """The socket; its next call ends when the time of this reply is over."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        left = self._left()
        if abs(left - self._limit) > NEARLY:
            self._limit = left
            self.sock.settimeout(left)
        return self.sock

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """STARTTLS (RFC 3207) with a host of this name, as smtplib has it, but the handshake ends in time too.

        Raises:
            smtplib.SMTPResponseException: The host refuses.
            OSError: The handshake failed.
        """
        code, text = self.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, text)
        self._begin()
        self.sock = context.wrap_socket(self.in_time(), server_hostname=host)
        # What the host said in clear does not count any more, and what stands behind the 220 never did (RFC 3207 4.2).
        self.file = None
        self.ehlo_resp = self.helo_resp = None
        self.esmtp_features, self.does_esmtp = {}, False

    def getreply(self) -> tuple[int, bytes]:
        self._begin()
        return self._reply()

    def _reply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Lines(self)
        return super().getreply()

    def send(self, s: Any) -> None:
        rest = memoryview(s.encode(self.command_encoding) if isinstance(s, str) else s)
        self._begin(len(rest))
        try:
            while rest:
                rest = rest[self.in_time().send(rest) :]
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected(str(error)) from None

    def hear(self) -> bytes:
        """What the host says next; nothing if it has hung up."""
        said = self.in_time().recv(READ)
        self._heard += len(said)
        if self._heard > LONGEST_ANSWER:
            raise OSError("the reply does not end")
        return said

    def leave(self) -> None:
        """Says QUIT and closes, and waits for nothing."""
        try:
            if self.sock is not None:
                self.sock.settimeout(0)
                self.sock.send(b"QUIT\r\n")
        except OSError:
            pass
        self.close()


class _Lines:
    """The lines of replies. smtplib would take the beginning of one for a reply if the host hangs up in the middle, and
    one that is too long for a refusal of the mail for good."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard = b""

    def readline(self, size: int) -> bytes:
        while (end := self._heard.find(b"\n", 0, size) + 1) == 0:
            more = self._connection.hear() if len(self._heard) < size else b""
            if not more and self._heard:
                raise OSError("a line of the reply does not end")
            if not more:
                return b""
            self._heard += more
        line, self._heard = self._heard[:end], self._heard[end:]
        return line

    def close(self) -> None:
        self._heard = b""
