"""A connection of smtplib within limits of time."""

from __future__ import annotations

import io
import smtplib
import socket
import time
from typing import Any

LONGEST_ANSWER = 65536
"""How many octets a reply may have, with all its lines."""


class Connection(smtplib.SMTP):
    """That of smtplib, whose limit is for each line: a host that always begins another one could keep it for ever. Here
    it is for each reply as a whole, and none goes beyond the end of the delivery."""

    def __init__(self, address: str, port: int, hostname: str, patience: float, end: float) -> None:
        super().__init__(local_hostname=hostname, timeout=patience)
        self._patience, self._end = patience, end
        self._begin()
        code, text = self.connect(address, port)
        if code != 220:
            self.close()
            raise smtplib.SMTPConnectError(code, text)
        # Only what MAIL announces as SMTPUTF8 has more than ASCII.
        self.command_encoding = "utf-8"

    def _begin(self) -> None:
        self._until = min(self._end, time.monotonic() + self._patience)
        self._heard = 0

    def renew(self, end: float) -> None:
        """Another delivery begins, which ends at another time."""
        self._end = end

    def left(self) -> float:
        """How long this reply may still take."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no reply in time")
        return left

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection((host, port), self.left())

    def getreply(self) -> tuple[int, bytes]:
        self._begin()
        if self.file is None and self.sock is not None:
            self.file = _Lines(_Ear(self))
        return super().getreply()

    def send(self, s: Any) -> None:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        self._begin()
        rest = memoryview(s.encode(self.command_encoding) if isinstance(s, str) else s)
        try:
            while rest:
                self.sock.settimeout(self.left())
                rest = rest[self.sock.send(rest) :]
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected(str(error)) from None

    def heard(self, count: int) -> None:
        """Counts what a reply has."""
        self._heard += count
        if self._heard > LONGEST_ANSWER:
            raise OSError("the reply does not end")

    def leave(self) -> None:
        """Says QUIT and closes, and waits for nothing."""
        try:
            if self.sock is not None:
                self.sock.settimeout(0)
                self.sock.send(b"QUIT\r\n")
        except OSError:
            pass
        self.close()


class _Lines(io.BufferedReader):
    """The lines of replies. smtplib would take the beginning of one for a reply if the host hangs up in the middle, and
    one that is too long for a refusal of the mail for good."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if line and not line.endswith(b"\n"):
            raise OSError("a line of the reply does not end")
        return line


class _Ear(io.RawIOBase):
    """What a host says, within the limits of the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        sock = self._connection.sock
        if sock is None:
            return 0
        sock.settimeout(self._connection.left())
        count = sock.recv_into(buffer)
        self._connection.heard(count)
        return count
