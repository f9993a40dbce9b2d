"""The C interface: texts out, statuses into exceptions."""

from __future__ import annotations

from typing import Any

from ._native import ffi, lib
from .errors import error_of

__all__ = ["check", "ffi", "lib", "milliseconds", "new_error", "octets_of", "text"]

# What `size` of each struct has to be: the library looks at no struct of another size.
ERROR_SIZE: int = ffi.sizeof("mtasts_error")
CHECK_SIZE: int = ffi.sizeof("mtasts_check")
SEEN_SIZE: int = ffi.sizeof("mtasts_seen")
DECISION_SIZE: int = ffi.sizeof("mtasts_decision")
COMPLETION_SIZE: int = ffi.sizeof("mtasts_completion")

if lib.mtasts_abi_check(lib.MTASTS_ABI) != lib.MTASTS_OK:
    raise ImportError("mtasts: the shared library belongs to another version of this package")


def text(pointer: Any) -> str:
    """A text that the library lends."""
    octets: bytes = ffi.string(pointer)
    return octets.decode()


def new_error() -> Any:
    """A struct for a call to tell its error in."""
    error = ffi.new("mtasts_error *")
    error.size = ERROR_SIZE
    return error


def check(status: int, error: Any) -> int:
    """Gives the status back, or raises what the call told."""
    if status < 0:
        raise error_of(status, text(error.message))
    return status


def octets_of(name: str) -> bytes:
    """A name as the library takes it. What is no text at all is refused there, as no name."""
    return name.encode("utf-8", "surrogatepass")


def milliseconds(seconds: float | None) -> int:
    """A time limit as the library takes it; 0 stands for its setting."""
    return 0 if seconds is None else min(max(1, int(seconds * 1000)), 0xFFFFFFFF)
