"""What can go wrong with a call of the library.

Nothing in here is about a mail that was not delivered: see `mtasts.smtp` for that. A lookup that learns nothing is
no error either, but an `mtasts.Answer` that says so.
"""

from __future__ import annotations


class Error(Exception):
    """A call failed. Mail for the domain has to wait, unless the class below says otherwise.

    Attributes:
        status: The library's status, one of the `MTASTS_E_*` in `mtasts.h`.
        reason: What is wrong, in plain words on one line.
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
    """An argument is out of its range."""


class InvalidName(Error, ValueError):
    """A domain or host name is no such name. A mail domain that is refused so can have no policy: to deliver mail to it
    is not MTA-STS's business. An MX host that is refused so is allowed by no policy."""


class IsAddress(InvalidName):
    """The name is an IP address or an address literal, for which there is no policy (RFC 8461 3.4)."""


class AddressRefused(Error):
    """A host has an address that is not of the public Internet, and no setting allows it: do not connect there."""


class SettingsError(Error, ValueError):
    """A setting or a settings file is wrong; the reason names the key."""


class Unavailable(Error):
    """The system refused what the call needs: no process, no thread, no roots, no usable cache directory for root.
    Nothing is known of the domain: let its mail wait."""


class Defect(Error):
    """A defect of the library. Nothing is known of the domain: let its mail wait, and report it."""


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
