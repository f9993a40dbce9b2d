"""Lookups in event loops: many at once, limits, cancellation, several loops, uvloop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from conftest import Lab

import mtasts
from mtasts import Mode, Source, aio


def run_plainly(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def run_in_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    uvloop = pytest.importorskip("uvloop") if sys.implementation.name == "pypy" else importlib.import_module("uvloop")
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


LOOPS = [run_plainly, run_in_uvloop]


@pytest.mark.parametrize("run", LOOPS)
def test_many_at_once(lab: Lab, cache: str, run: Any) -> None:
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache))
    names = [e["name"] for e in lab.table() if e["policy"] in ("enforce", "testing", "none")][:60]

    async def main() -> None:
        answers = await asyncio.gather(*(resolver.lookup(name) for name in names))
        assert [answer.domain for answer in answers] == names
        assert {answer.source for answer in answers} == {Source.FRESH}
        again = await asyncio.gather(*(resolver.lookup(name) for name in names))
        assert all(one.is_same_policy(other) for one, other in zip(answers, again))
        assert (await resolver.recheck(names[0])).is_same_policy(answers[0])

    run(main())
    # Another loop of the same resolver, in another thread.
    found: list[mtasts.Answer] = []
    thread = threading.Thread(target=lambda: found.append(run(resolver.lookup("good.test"))))
    thread.start()
    thread.join(30)
    assert found[0].mode is Mode.ENFORCE


@pytest.mark.parametrize("run", LOOPS)
def test_a_time_limit_and_a_cancelled_task(lab: Lab, cache: str, run: Any) -> None:
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache))

    async def main() -> None:
        begin = time.monotonic()
        with pytest.raises((mtasts.Unavailable, AssertionError)):
            # In a process of root nothing is known of it; else the answer is that nothing could be learnt.
            answer = await resolver.lookup("https-silent.test", timeout=0.5)
            assert answer.source is not Source.COULD_NOT_LEARN
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(resolver.lookup("https-blackhole.test"), 0.5)
        task = asyncio.ensure_future(resolver.lookup("https-drip.test"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begin < 15
        assert (await resolver.lookup("good.test")).mode is Mode.ENFORCE
        assert not resolver._queue()._waiting

    run(main())


def test_a_silent_crowd_starves_nobody(lab: Lab, cache: str) -> None:
    """Names that a stranger can make any number of: what was not asked has no answer, and the others have theirs."""
    lab.set("txt-silent.test", **{"every-name": "yes"})
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache, timeout="20s"))
    names = [f"s{number}.p{number % 10}.txt-silent.test" for number in range(600)]

    async def main() -> tuple[float, list[mtasts.Answer | BaseException]]:
        crowd = [asyncio.ensure_future(resolver.lookup(name)) for name in names]
        await asyncio.sleep(0.5)
        begin = time.monotonic()
        answer = await resolver.lookup("good.test")
        took = time.monotonic() - begin
        assert answer.mode is Mode.ENFORCE
        return took, await asyncio.gather(*crowd, return_exceptions=True)

    try:
        took, outcomes = asyncio.run(main())
        asked = lab.counters()["dns"]
    finally:
        lab.reset()
    assert took < 12, took
    waits = [name for name, outcome in zip(names, outcomes) if isinstance(outcome, mtasts.Unavailable)]
    answered = [name for name, outcome in zip(names, outcomes) if isinstance(outcome, mtasts.Answer)]
    assert len(waits) + len(answered) == len(names) and waits
    assert not [name for name in answered if f"_mta-sts.{name} TXT" not in asked]


def test_the_loop_turns_meanwhile(lab: Lab, cache: str) -> None:
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache))

    async def main() -> int:
        turns = 0
        task = asyncio.ensure_future(resolver.lookup("https-silent.test", timeout=1))
        while not task.done():
            await asyncio.sleep(0.01)
            turns += 1
        task.exception()
        return turns

    assert asyncio.run(main()) > 5


def test_what_can_have_no_policy(cache: str) -> None:
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache))
    assert asyncio.run(resolver.lookup("a..test")).source is mtasts.Source.NO_POLICY
    assert asyncio.run(resolver.recheck("192.0.2.1")).source is mtasts.Source.NO_POLICY


def test_a_loop_that_is_gone_leaves_no_descriptor(lab: Lab, cache: str) -> None:
    # Enough for a first lookup on a busy machine; those that are left behind below end at it.
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache, timeout="10s"))
    asyncio.run(resolver.lookup("good.test"))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        asyncio.run(resolver.lookup("good.test"))
    # Also where something was under way.
    for _ in range(5):
        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(asyncio.wait_for(resolver.lookup("https-silent.test"), 0.05))
    deadline = time.monotonic() + 90
    # Lookups that were left behind end at their limit; and a collector may take several turns.
    while resolver._queues or len(os.listdir("/proc/self/fd")) > before:
        assert time.monotonic() < deadline, (len(resolver._queues), os.listdir("/proc/self/fd"))
        gc.collect()
        time.sleep(0.1)
