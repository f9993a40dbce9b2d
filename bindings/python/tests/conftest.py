"""The test Internet around the tests: they run inside `mtasts lab run -- pytest`, as root."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

COMMAND = os.environ.get("MTASTS_LAB_COMMAND", "mtasts")


class Lab:
    """The test Internet, as its command shows it."""

    def _run(self, *arguments: str) -> str:
        return subprocess.run([COMMAND, "lab", *arguments], check=True, capture_output=True, text=True).stdout

    def table(self) -> list[dict[str, Any]]:
        """Every domain, and what a sender must do with it."""
        table: list[dict[str, Any]] = json.loads(self._run("list", "--json"))
        return table

    def domains(self) -> list[str]:
        """The names of all domains."""
        return [entry["name"] for entry in self.table()]

    def judge(self, lines: list[str], *options: str) -> str:
        """What is wrong with these lines of a driver (tests/kit/README.md); empty if they are what the table says."""
        command = [COMMAND, "lab", "judge", *options]
        judged = subprocess.run(command, input="".join(f"{line}\n" for line in lines), capture_output=True, text=True)
        return judged.stdout + judged.stderr if judged.returncode else ""

    def seen(self) -> dict[str, Any]:
        """The mail that arrived, and the sessions with MX hosts."""
        seen: dict[str, Any] = json.loads(self._run("mail", "--json"))
        return seen

    def mail_to(self, recipient: str) -> list[dict[str, Any]]:
        """The mail that arrived for one recipient."""
        return [mail for mail in self.seen()["mail"] if recipient in mail["recipients"]]

    def counters(self) -> dict[str, dict[str, int]]:
        """What was asked how often."""
        counters: dict[str, dict[str, int]] = json.loads(self._run("counters", "--json"))
        return counters

    def set(self, domain: str, **changes: str) -> None:
        """Changes a domain."""
        self._run("set", domain, *(f"{key}={value}" for key, value in changes.items()))

    def reset(self) -> None:
        """Brings all domains back."""
        self._run("reset")


@pytest.fixture(scope="session")
def lab() -> Lab:
    if "MTASTS_LAB" not in os.environ:
        pytest.fail("the tests stand on the test Internet: make -C bindings/python test")
    return Lab()


@pytest.fixture
def cache(tmp_path: Any) -> str:
    """A cache directory of its own, of a user that is not root: who asks the network."""
    path = tmp_path / "cache"
    path.mkdir()
    os.chown(path, 65534, 65534)
    # The way there must be open for that user.
    for parent in [path, *path.parents]:
        if parent.stat().st_uid == os.getuid() and str(parent) != "/":
            os.chmod(parent, parent.stat().st_mode | 0o011)
    os.chmod(path, 0o700)
    return str(path)
