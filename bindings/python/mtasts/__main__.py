"""`python -m mtasts`: the `mtasts` command that comes with this package (mtasts(1))."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig


def command() -> str | None:
    """Where the command is: where this package has put it, else wherever the system has it."""
    schemes = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user")]
    beside = os.path.join(os.path.dirname(sys.executable), "mtasts")
    for path in [*(os.path.join(scheme, "mtasts") for scheme in schemes), beside]:
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return shutil.which("mtasts")


def main() -> None:
    """Becomes the command."""
    path = command()
    if path is None:
        sys.exit("mtasts: the command is not there: install this package again, or Debian's mtasts")
    os.execv(path, ["mtasts", *sys.argv[1:]])


if __name__ == "__main__":
    main()
