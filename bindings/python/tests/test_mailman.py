"""A real Mailman 3, with lists, whose runners hand its mail to the MX hosts of the subscribers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Lab

import mtasts

CONFIGURATION = """
[mailman]
layout: here
site_owner: postmaster@sender.test
[paths.here]
var_dir: {directory}/var
[mta]
incoming: mailman.mta.null.NullMTA
outgoing: mtasts.mailman.deliver
"""


class Site:
    """A Mailman site: tests/mailman_site.py."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        configuration = directory / "mailman.cfg"
        configuration.write_text(CONFIGURATION.format(directory=directory))
        command = [Path(os.environ["MTASTS_MAILMAN"]) / "bin" / "python", Path(__file__).parent / "mailman_site.py"]
        self.process = subprocess.Popen(
            [*command, configuration], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.answer() == "ready"

    def answer(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def __call__(self, command: str, *arguments: object) -> Any:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def log(self) -> str:
        return (self.directory / "var" / "logs" / "smtp.log").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("mailman"))
    yield site
    assert site.process.stdin
    site.process.stdin.close()
    site.process.wait(30)


def test_a_list(lab: Lab, site: Site) -> None:
    lab.reset()
    # The one who waits is first in the sequence.
    site("post", "ants", "hello", "a@nomatch.test", "b@good.test", "c@good.test", "d@nowhere.test", "e@testing.test")
    site("run", "out")
    (mail,) = lab.mail_to("b@good.test")
    assert sorted(mail["recipients"]) == ["b@good.test", "c@good.test"] and mail["tls"]
    assert mail["sender"] == "ants-bounces@sender.test" and "List-Id: <ants.sender.test>" in mail["body"]
    assert len(lab.mail_to("e@testing.test")) == 1 and not lab.mail_to("a@nomatch.test")
    log = site.log()
    assert "<ants@x> smtp to ants@sender.test for 5 recips, completed in " in log and "2 failures" in log
    assert "<ants@x> delivery to a@nomatch.test failed with code 451, 4.7.5 no MX host of nomatch.test" in log
    assert "<ants@x> delivery to d@nowhere.test failed with code 550, 5.1.2 there is no domain" in log
    assert site("waiting") == [["a@nomatch.test"]] and site("bounces") == ["d@nowhere.test"]


def test_who_waits_gets_it_once(lab: Lab, site: Site) -> None:
    lab.reset()
    site("post", "bees", "hello", "k@nomatch.test", "l@good.test")
    site("run", "out")
    policy = "version: STSv1\\nmode: enforce\\nmx: *.nomatch.test\\nmax_age: 86400\\n"
    lab.set("nomatch.test", txt="v=STSv1; id=mailman;", policy=policy)
    mtasts.recheck("nomatch.test")
    counts = [len(lab.mail_to(to)) for to in ("k@nomatch.test", "l@good.test")]
    try:
        assert counts == [0, 1]
        # Mailman's process remembers the policy for some seconds.
        deadline = time.monotonic() + 30
        while not lab.mail_to("k@nomatch.test"):
            assert time.monotonic() < deadline
            site("again")
        assert len(lab.mail_to("k@nomatch.test")) == len(lab.mail_to("l@good.test")) == 1
    finally:
        lab.reset()
        mtasts.default_resolver().purge("nomatch.test")


def test_a_mail_for_each(lab: Lab, site: Site) -> None:
    lab.reset()
    site("verp", 1)
    site("post", "wasps", "hello", "f@good.test", "g@good.test", "h@expired.test")
    site("run", "out")
    for to in ("f", "g"):
        (mail,) = lab.mail_to(f"{to}@good.test")
        assert mail["sender"] == f"wasps-bounces+{to}=good.test@sender.test"
        assert mail["recipients"] == [f"{to}@good.test"]
    assert ["h@expired.test"] in site("waiting")
    site("verp", 0)


def test_a_runner_that_is_told_to_stop(lab: Lab, site: Site) -> None:
    """Nobody gets the mail twice if the operator has no patience: those who have not got it wait."""
    lab.reset()
    site("patience", 10)
    site("post", "flies", "hello", "m@good.test", "n@https-silent.test", "o@wild.test")

    def stop() -> None:
        deadline = time.monotonic() + 30
        while not lab.mail_to("m@good.test") and time.monotonic() < deadline:
            time.sleep(0.1)
        site.process.send_signal(signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    site("run", "out")
    thread.join()
    assert len(lab.mail_to("m@good.test")) == 1 and not lab.mail_to("o@wild.test")
    assert [waiting for waiting in site("waiting") if "o@wild.test" in waiting and "m@good.test" not in waiting]
    assert "<flies@x> delivery to o@wild.test failed with code 451, 4.3.2 Mailman is stopping" in site.log()


def test_an_error_of_this_host(lab: Lab, site: Site) -> None:
    """Nobody bounces because the settings of this host are wrong."""
    lab.reset()
    bounces = site("bounces")
    site("post", "moths", "hello", "p@good.test")
    site("wrong_settings")
    site("run", "out")
    assert not lab.mail_to("p@good.test") and ["p@good.test"] in site("waiting") and site("bounces") == bounces
    assert "<moths@x> delivery to p@good.test failed with code 451, 4.3.5 /nowhere/mtasts.toml: " in site.log()
