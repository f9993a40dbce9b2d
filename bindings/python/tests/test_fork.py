"""Forks, as prefork servers and multiprocessing do them: after the parent was warm, at any time, from any thread."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from conftest import Lab

import mtasts
from mtasts import Mode, aio, smtp
from mtasts.outcome import Results

DOMAINS = ["good.test", "testing.test", "none.test", "twomx.test", "wild.test", "hub.test", "tls12.test", "v6.test"]

resolver: mtasts.Resolver


def in_child(work: Callable[[], Any], limit: float = 60) -> None:
    """Does it in a forked child, which must end well in time."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    deadline = time.monotonic() + limit
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0
            return
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.01)


def answer_for(domain: str) -> mtasts.Answer:
    return resolver.lookup(domain)


def mode_of(domain: str) -> str:
    return resolver.lookup(domain).mode.name


def test_a_pool_after_a_warm_parent(lab: Lab, cache: str) -> None:
    global resolver
    resolver = mtasts.Resolver(cache_dir=cache)
    resolver.lookup("good.test")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        modes = pool.map(mode_of, DOMAINS * 4)
        answer = pool.apply(answer_for, ["good.test"])
    assert modes == [mode_of(domain) for domain in DOMAINS] * 4 and "TESTING" in modes
    assert answer.mode is Mode.ENFORCE and answer.mx == ("mx.good.test",)


def test_prefork_workers_look_up_and_deliver(lab: Lab, cache: str) -> None:
    """As gunicorn with preload_app and Celery: the parent loads all and sends once, then forks its workers."""
    client = smtp.Client(mtasts.Resolver(cache_dir=cache), timeout=10, results=Results())
    client.deliver(b"Subject: x\r\n\r\nx\r\n", "parent@good.test", sender="a@sender.test")

    def worker(number: int) -> None:
        client.deliver(b"Subject: x\r\n\r\nx\r\n", f"child{number}@good.test", sender="a@sender.test")
        with pytest.raises(smtp.PolicyError):
            client.deliver(b"Subject: x\r\n\r\nx\r\n", "child@expired.test", sender="a@sender.test")

    for number in range(3):
        in_child(partial(worker, number))
        assert len(lab.mail_to(f"child{number}@good.test")) == 1


def test_a_fork_in_a_thread_while_others_look_up(lab: Lab, cache: str) -> None:
    resolver = mtasts.Resolver(cache_dir=cache)
    end = threading.Event()

    def busy(n: int) -> None:
        while not end.is_set():
            resolver.lookup(DOMAINS[n % len(DOMAINS)])
            resolver.purge(DOMAINS[n % len(DOMAINS)])

    threads = [threading.Thread(target=busy, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        failures: list[BaseException] = []

        def forks() -> None:
            try:
                for _ in range(10):
                    in_child(lambda: resolver.lookup("good.test"))
            except BaseException as error:
                failures.append(error)

        forking = threading.Thread(target=forks)
        forking.start()
        forking.join(120)
        assert not forking.is_alive() and not failures, failures
    finally:
        end.set()
        for thread in threads:
            thread.join(60)


def test_a_child_s_own_loop(lab: Lab, cache: str) -> None:
    """The parent's queue is warm and busy; the child drops its copy and has lookups of its own."""
    resolver = aio.Resolver(mtasts.Resolver(cache_dir=cache))

    async def parent() -> None:
        await resolver.lookup("good.test")
        under_way = [asyncio.ensure_future(resolver.lookup(name)) for name in ("https-silent.test", "testing.test")]
        await asyncio.sleep(0)
        queue = resolver._queue()
        assert queue._waiting

        def child() -> None:
            assert not resolver._queues, "the parent's queue is dropped at the fork"
            asyncio.events._set_running_loop(None)
            answer = asyncio.run(resolver.lookup("twomx.test"))
            assert answer.mode is Mode.ENFORCE

        await asyncio.get_running_loop().run_in_executor(None, in_child, child)
        # The parent goes on with what was under way.
        assert resolver._queue() is queue
        assert (await under_way[1]).mode is Mode.TESTING
        under_way[0].cancel()
        assert (await resolver.lookup("hub.test")).mode is Mode.ENFORCE

    asyncio.run(parent())
