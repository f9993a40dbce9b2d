"""What a client keeps of its MX hosts: sessions for the next mail, and how many it has with each host."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

KEPT_FOR = 10.0
"""How long a session waits for the next mail, in seconds: hosts have little patience with one that says nothing."""

LONGEST = 300.0
"""After how many seconds a session takes no further mail: the check of its certificate is as old as it is."""

MOST_KEPT = 50
"""How many sessions wait in all."""

MOST_MX = 1000
"""Of how many domains the MX hosts are kept."""

MOST_PER_HOST = 10
"""How many sessions with one host there are at a time; who wants one more waits."""


class Kept:
    """Between `open` and `close` a client keeps sessions, and the MX hosts of domains. A session waits under its key:
    MX host, kind of TLS and policy. A process that was forked begins with nothing.

    A signal handler may send with the client that the main thread is inside of, between any two steps of it: the lock
    lets the same thread in again, and who removes a session from the list has it.

    Args:
        semaphore: Makes a semaphore of so many places, of the kind that the client waits for.
    """

    def __init__(self, semaphore: Callable[[int], Any]) -> None:
        self._semaphore = semaphore
        self._users = 0
        self.watched = False
        """Whether an event loop ends what has waited too long."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._sessions: list[tuple[float, Any, Any]] = []
        self._mx: dict[Any, tuple[float, list[str] | None]] = {}
        self._places: WeakValueDictionary[str, Any] = WeakValueDictionary()
        # Last: until then a signal handler begins anew too.
        self._process = os.getpid()

    def _of_this_process(self) -> None:
        # A session has one owner, and another thread of the parent may have held a lock.
        if self._process != os.getpid():
            self._begin()

    def open(self) -> None:
        """From now on sessions are kept."""
        self._of_this_process()
        with self._lock:
            self._users += 1

    def close(self) -> None:
        """Ends them, if this is as often as `open` was called."""
        self._of_this_process()
        with self._lock:
            self._users -= 1
            ended = [] if self._users else self._claim(list(self._sessions))
            if not self._users:
                self._mx = {}
        _close(ended)

    def place(self, host: str) -> Any:
        """The semaphore of a host: who has a session with it holds one of its places."""
        self._of_this_process()
        with self._lock:
            place = self._places.get(host)
            if place is None:
                place = self._places[host] = self._semaphore(MOST_PER_HOST)
            return place

    def take(self, key: Any) -> Any:
        """The session that waits under this key; `None` if there is none. A new one then has the place of another one
        with the same host."""
        self.tidy()
        with self._lock:
            there = [kept for kept in self._sessions if kept[1][0] == key[0]]
            same = [kept for kept in there if kept[1] == key]
            mine = self._claim(same[-1:] or there[:1])
        if same:
            return mine[0][2] if mine else None
        _close(mine)
        return None

    def put(self, key: Any, session: Any) -> bool:
        """Keeps a session; says no if it has to be closed. The one that waits longest makes room for it."""
        self._of_this_process()
        with self._lock:
            if not self._users or time.monotonic() - session.since > LONGEST:
                return False
            self._sessions.append((time.monotonic(), key, session))
            ended = self._claim(self._sessions[:-MOST_KEPT])
        _close(ended)
        return True

    def tidy(self) -> bool:
        """Ends the sessions that have waited too long; says whether others wait."""
        self._of_this_process()
        with self._lock:
            young = time.monotonic() - KEPT_FOR
            ended = self._claim([kept for kept in self._sessions if kept[0] < young])
            left = bool(self._sessions)
        _close(ended)
        return left

    def mx_hosts(self, domain: Any) -> list[str] | None:
        """The MX hosts of a domain, if they were looked up some seconds ago."""
        self._of_this_process()
        with self._lock:
            since, hosts = self._mx.get(domain, (0.0, None))
        return hosts if time.monotonic() < since + KEPT_FOR else None

    def keep_mx_hosts(self, domain: Any, hosts: list[str]) -> None:
        """Keeps the MX hosts of a domain, as Postfix's cache of connections does, so that its next mail asks no DNS."""
        self._of_this_process()
        with self._lock:
            if self._users:
                if len(self._mx) >= MOST_MX:
                    self._mx.clear()
                self._mx[domain] = time.monotonic(), hosts

    def _claim(self, sessions: list[tuple[float, Any, Any]]) -> list[tuple[float, Any, Any]]:
        """Removes these from the list; says which of them were still in it."""
        mine = []
        for kept in sessions:
            try:
                self._sessions.remove(kept)
            except ValueError:
                continue
            mine.append(kept)
        return mine


def _close(ended: list[tuple[float, Any, Any]]) -> None:
    for _, _, session in ended:
        session.close()
