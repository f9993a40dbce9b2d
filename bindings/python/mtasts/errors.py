"""What can go wrong with a call of the library.

These errors are not about a mail that was not delivered: see `mtasts.smtp` for that. A lookup that cannot determine the
policy is not an error: the `mtasts.Answer` says so.
"""

from __future__ import annotations


class Error(Exception):
    """A call failed. Defer mail for the domain, unless the class below says otherwise.

    Attributes:
        status: The library's status, one of the `MTASTS_E_*` in `mtasts.h`.
        reason: What is wrong, in one line of plain words.
    """

    status: int
    reason: str

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class ArgumentError(Error, ValueError):
    """An argument is out of range."""


class InvalidName(Error, ValueError):
    """Not a valid domain or host name (too long, not UTF-8, empty label, bad character)."""


class IsAddress(InvalidName):
    """The name is an IP address or an address literal."""


class AddressRefused(Error):
    """The address is not public and no setting allows it: do not connect to it."""


class SettingsError(Error, ValueError):
    """A setting or a settings file is wrong. The reason names the key."""


class Unavailable(Error):
    """No answer is possible: this host refused what the call needs (a process, a thread, a descriptor, root
    certificates, a usable cache directory). This says nothing about the domain: defer its mail."""


class Defect(Error):
    """A defect of this library. This says nothing about the domain: defer its mail, and report the defect."""


_CLASSES: dict[int, type[Error]] = {
    -1: ArgumentError,
    -2: InvalidName,
    -3: IsAddress,
    -4: SettingsError,
    -5: Unavailable,
    -6: Defect,
    -10: AddressRefused,
}


def error_of(status: int, reason: str) -> Error:
    """The exception for a status of the library."""
    return _CLASSES.get(status, Error)(status, reason)
