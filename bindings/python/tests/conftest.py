"""The test Internet around the tests: they run inside `mtasts lab run -- pytest`, as root."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# aiosmtpd takes a server for dead after five seconds.
os.environ.setdefault("AIOSMTPD_CONTROLLER_TIMEOUT", "60")

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


class Sys4:
    """sys4's tlsrpt-reporter beside ours (tests/tlsrpt/sys4.py), if its packages are in MTASTS_SYS4; else nothing."""

    def __init__(self, directory: Path) -> None:
        self.socket = ""
        self._process = None
        if packages := os.environ.get("MTASTS_SYS4"):
            program = Path(__file__).parents[3] / "tests/tlsrpt/sys4.py"
            command = ["python3", str(program), packages, str(directory), "10000"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.socket = str(directory / "socket")
            assert self._ask("") == "ready"

    def _ask(self, line: str) -> str:
        assert self._process and self._process.stdin and self._process.stdout
        if line:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return self._process.stdout.readline().strip().replace("\\n", "\n")

    def records(self) -> None:
        """Has each domain ask for reports."""
        if self._process:
            answer = self._ask(f"records {COMMAND}")
            assert answer.startswith("ok "), answer

    def compare(self, cache: str) -> None:
        """The reports of both are the same."""
        if self._process:
            answer = self._ask(f"compare {COMMAND} {cache}")
            assert answer.startswith("ok ") and int(answer[3:]) > 200, answer

    def end(self) -> None:
        """Ends its collector."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()


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


@pytest.fixture
def sys4(cache: str) -> Iterator[Sys4]:
    """Beside the cache, where every user finds its socket."""
    sys4 = Sys4(Path(cache).parent / "sys4")
    yield sys4
    sys4.end()
