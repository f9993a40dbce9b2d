"""Sessions that are kept for the next mail."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

KEPT_FOR = 10.0
"""How long a session waits for the next mail, in seconds: hosts have little patience with one that says nothing."""

MOST_KEPT = 20
"""How many sessions are kept in all."""


class Kept:
    """The sessions of a client, between `open` and `close`. What is kept is for the same MX host, policy and kind of
    TLS alone, and for the same process and event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._process = os.getpid()
        self._sessions: list[tuple[float, Any, Any]] = []

    def open(self) -> None:
        """Sessions are kept from now on."""
        self._of_this_process()
        with self._lock:
            self._users += 1

    def close(self) -> None:
        """Ends them, if this is as often as `open` was called."""
        self._of_this_process()
        with self._lock:
            self._users -= 1
            ended = [] if self._users else self._sessions
            if ended:
                self._sessions = []
        for _, _, session in ended:
            session.close()

    def take(self, key: Any) -> Any:
        """A session that was kept under this key; `None` if there is none."""
        self._of_this_process()
        key, found = (key, _loop()), None
        with self._lock:
            young = time.monotonic() - KEPT_FOR
            old = [kept for kept in self._sessions if kept[0] < young and kept[1][1] is key[1]]
            self._sessions = [kept for kept in self._sessions if kept not in old]
            for place, (_, other, session) in enumerate(self._sessions):
                if other == key:
                    del self._sessions[place]
                    found = session
                    break
        for _, _, session in old:
            session.close()
        return found

    def put(self, key: Any, session: Any) -> bool:
        """Keeps a session; says no if it has to be closed."""
        self._of_this_process()
        with self._lock:
            if not self._users or len(self._sessions) >= MOST_KEPT:
                return False
            self._sessions.append((time.monotonic(), (key, _loop()), session))
            return True

    def _of_this_process(self) -> None:
        # A session has one owner, and another thread of the parent may have held the lock.
        if self._process != os.getpid():
            self._process, self._lock, self._sessions = os.getpid(), threading.Lock(), []


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
