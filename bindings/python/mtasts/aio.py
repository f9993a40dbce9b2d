"""Lookups for `asyncio`, also with uvloop: many at once, on the library's own threads, with one descriptor for the
loop to watch.

A lookup ends at its time limit, or when its task is cancelled: `asyncio.wait_for` and `asyncio.timeout` do what
they say. Nothing has to be closed.

Forks. A lookup belongs to the process that asked for it. A child that is forked while the parent has lookups under way
drops its copy of them at once, by `os.register_at_fork`, and disturbs no parent; the first lookup in a loop of
the child's own starts anew. The loop of the parent is not the child's to run, which is asyncio's own rule: a child
calls `asyncio.run` for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from . import default_resolver
from ._library import COMPLETION_SIZE, check, ffi, lib, milliseconds, new_error, octets_of, text
from .answer import Answer, answer_of
from .errors import Error, error_of
from .resolver import Hosts, HostsAsked, Time
from .resolver import Resolver as BlockingResolver

__all__ = ["Resolver", "lookup", "recheck"]


TURN = 32
"""How many lookups are completed before the loop turns to something else; the descriptor stays readable meanwhile."""


class _Queue:
    """The library's queue for one loop. It does not know the loop, so that it goes when the loop goes."""

    def __init__(self, resolver: BlockingResolver) -> None:
        # What completes is told to the log of the resolver, which therefore has to live as long.
        self._resolver = resolver
        error, place = new_error(), ffi.new("mtasts_queue **")
        check(lib.mtasts_queue_new(resolver._context, place, error), error)
        self._handle = ffi.gc(place[0], lib.mtasts_queue_free)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._id = ffi.new("uint64_t *")
        self._done = ffi.new("mtasts_completion *")
        self._done.size = COMPLETION_SIZE
        asyncio.get_running_loop().add_reader(lib.mtasts_queue_fd(self._handle), self._drain)

    async def ask(self, submit: Any, domain: str, limit: int) -> Answer:
        number = self._submit(submit, domain, limit)
        # A hit in the cache is complete already: it need not wait for the loop to look at the descriptor.
        outcome = self._drain(number)
        if outcome is not None:
            if isinstance(outcome, Answer):
                return outcome
            raise outcome
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.pop(number, None)
            lib.mtasts_queue_cancel(self._handle, number)
            raise

    def _submit(self, submit: Any, domain: str, limit: int) -> int:
        name, error = octets_of(domain), new_error()
        check(submit(self._handle, name, len(name), limit, ffi.NULL, self._id, error), error)
        return int(self._id[0])

    def _drain(self, wanted: int = 0) -> Answer | Error | None:
        """Hands out what is complete; gives back what came of the lookup `wanted`, if that is."""
        done = self._done
        for _ in range(TURN):
            if lib.mtasts_queue_next(self._handle, done) != 1:
                break
            outcome: Answer | Error
            if done.status == lib.MTASTS_OK:
                outcome = answer_of(done.answer)
            else:
                outcome = error_of(done.status, text(done.message))
            if done.id == wanted:
                return outcome
            future = self._waiting.pop(done.id, None)
            if future is None or future.done():
                continue
            if isinstance(outcome, Answer):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        return None


class Resolver:
    """As `mtasts.Resolver`, for coroutines of any number of loops. It shares settings and cache with the one it
    is made of.

    Args:
        resolver: The resolver; that of this host's settings by default.

    Raises:
        mtasts.SettingsError: The settings file of this host is wrong.
    """

    def __init__(self, resolver: BlockingResolver | None = None) -> None:
        if resolver is not None and not isinstance(resolver, BlockingResolver):
            raise TypeError(f"resolver: must be a mtasts.Resolver, not {resolver!r}")
        self.blocking = default_resolver() if resolver is None else resolver
        self._queues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = weakref.WeakKeyDictionary()
        _resolvers.add(self)

    async def lookup(self, domain: str, *, timeout: Time | None = None) -> Answer:
        """Looks the policy of a domain up, as `mtasts.Resolver.lookup` does.

        Raises:
            mtasts.Unavailable: No answer is possible: defer the mail of this domain.
            asyncio.CancelledError: The task was cancelled. The cache still gets what the lookup finds.
        """
        return await self._queue().ask(lib.mtasts_queue_submit, domain, milliseconds(timeout))

    async def recheck(self, domain: str, *, timeout: Time | None = None) -> Answer:
        """Asks whether there is a newer policy now, as `mtasts.Resolver.recheck` does (RFC 8461 5).

        Raises:
            mtasts.Unavailable: No answer is possible: defer the mail of this domain.
            asyncio.CancelledError: The task was cancelled. The cache still gets what the lookup finds.
        """
        return await self._queue().ask(lib.mtasts_queue_recheck, domain, milliseconds(timeout))

    async def hosts(self, domain: str, hosts: Iterable[str] = (), *, timeout: Time | None = None) -> Hosts:
        """What DANE says of the MX hosts of a domain, as `mtasts.Resolver.hosts` does.

        Raises:
            mtasts.InvalidName: `domain` is not a domain name.
            mtasts.Unavailable: No answer is possible: defer the mail of this domain.
            asyncio.CancelledError: The task was cancelled.
        """
        asked = HostsAsked(self.blocking, domain, hosts, timeout)
        at_hand = asked.at_hand()
        if at_hand is not None:
            return at_hand
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Callable[[], Hosts]] = loop.create_future()

        def done(outcome: Callable[[], Hosts]) -> None:
            if not future.done():
                future.set_result(outcome)

        def wake(outcome: Callable[[], Hosts]) -> None:
            # The loop may have ended, and then nobody waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done, outcome)

        asked.ask_on_own_thread(wake)
        return (await future)()

    def _queue(self) -> _Queue:
        loop = asyncio.get_running_loop()
        queue = self._queues.get(loop)
        if queue is None:
            queue = self._queues[loop] = _Queue(self.blocking)
        return queue

    def _forget(self) -> None:
        # The descriptors are taken out of no loop: its epoll is the parent's too. They are closed here and stay open
        # there.
        self._queues = weakref.WeakKeyDictionary()


_resolvers: weakref.WeakSet[Resolver] = weakref.WeakSet()
_default: Resolver | None = None


def _after_fork_in_child() -> None:
    for resolver in list(_resolvers):
        resolver._forget()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _shared() -> Resolver:
    global _default
    if _default is None:
        _default = Resolver()
    return _default


async def lookup(domain: str, *, timeout: Time | None = None) -> Answer:
    """Looks the policy of a domain up with the settings of this host; see `Resolver.lookup`.

    Args:
        domain: The recipient's domain, or the smart host's where there is one (RFC 8461 3.4).
        timeout: The longest time, in seconds or such as `5s`; never longer than the setting `timeout`.

    Raises:
        mtasts.Unavailable: No answer is possible: defer the mail of this domain.
        mtasts.SettingsError: The settings file of this host is wrong.
    """
    return await _shared().lookup(domain, timeout=timeout)


async def recheck(domain: str, *, timeout: Time | None = None) -> Answer:
    """Asks whether there is a newer policy now, with the settings of this host; see `Resolver.recheck`.

    Args:
        domain: The policy domain, `mtasts.Answer.domain`.
        timeout: The longest time, in seconds or such as `5s`; never longer than the setting `timeout`.

    Raises:
        mtasts.Unavailable: No answer is possible: defer the mail of this domain.
        mtasts.SettingsError: The settings file of this host is wrong.
    """
    return await _shared().recheck(domain, timeout=timeout)
