"""The programs around it: the command, Django, a relay with aiosmtpd, the examples."""

from __future__ import annotations

import os
import re
import runpy
import smtplib
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Lab

import mtasts
from mtasts import smtp

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_the_command_is_the_command(lab: Lab) -> None:
    version = subprocess.run([sys.executable, "-m", "mtasts", "--version"], check=True, capture_output=True, text=True)
    assert version.stdout == f"mtasts {mtasts.__version__}\n"
    from mtasts.__main__ import command

    path = command()
    assert path is not None and Path(path).parent == Path(sys.executable).parent, "it came with this package"
    for domain, status in [("good.test", 0), ("expired.test", 1)]:
        ours = subprocess.run([sys.executable, "-m", "mtasts", "check", domain], capture_output=True, text=True)
        theirs = subprocess.run([os.environ["MTASTS_LAB_COMMAND"], "check", domain], capture_output=True, text=True)
        assert ours.returncode == theirs.returncode == status, ours
        assert ours.stdout == theirs.stdout and domain in ours.stdout
    # The test Internet is not shipped.
    lab_in = re.compile(r"^ +lab ", re.M)
    for program, has_lab in [(path, False), (os.environ["MTASTS_LAB_COMMAND"], True)]:
        said = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
        assert bool(lab_in.search(said)) is has_lab, said
    wrong = subprocess.run([sys.executable, "-m", "mtasts", "check"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "Usage" in wrong.stderr


def test_nothing_that_is_installed_names_its_builder() -> None:
    from mtasts.__main__ import command

    shared = [path for path in (Path(mtasts.__file__).parent / "_native").iterdir() if path.suffix == ".so"]
    program = command()
    assert len(shared) == 1 and program is not None
    for path in [*shared, Path(program)]:
        content = path.read_bytes()
        for directory in [Path.home(), Path(__file__).resolve().parents[3]]:
            assert f"{directory}/".encode() not in content, f"{path} names {directory}"


def test_django(lab: Lab, cache: str, caplog: pytest.LogCaptureFixture) -> None:
    import django
    from django.conf import settings

    settings.configure(EMAIL_BACKEND="mtasts.django.EmailBackend", EMAIL_TIMEOUT=5)
    django.setup()
    from django.core import mail

    message = mail.EmailMultiAlternatives(
        "Grüße", "Text", "Ann <ann@sender.test>", ["Bob <bob@good.test>"], bcc=["eve@testing.test"], cc=["c@wild.test"]
    )
    message.attach_alternative("<p>Text</p>", "text/html")
    assert message.send() == 1
    for to in ["bob@good.test", "eve@testing.test", "c@wild.test"]:
        (arrived,) = lab.mail_to(to)
        assert arrived["sender"] == "ann@sender.test" and "eve@" not in arrived["body"] and arrived["tls"]
    with pytest.raises(smtplib.SMTPResponseException) as refusal:
        mail.send_mail("x", "x", "ann@sender.test", ["bob@expired.test"])
    assert refusal.value.smtp_code == 451 and isinstance(refusal.value, smtp.PolicyError)
    assert mail.send_mail("x", "x", "ann@sender.test", ["bob@expired.test"], fail_silently=True) == 0
    assert "no MX host of expired.test" in caplog.text
    # Somebody got it; the other is in the log.
    assert mail.send_mail("x", "x", "ann@sender.test", ["f@good.test", "f@nomatch.test"]) == 1
    assert "f@nomatch.test" in caplog.text


def started(example: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, EXAMPLES / example, *arguments], stderr=subprocess.PIPE, text=True)


def test_the_relay(lab: Lab) -> None:
    relay = started("relay.py", "127.0.0.1", "2525")
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                connection = smtplib.SMTP("127.0.0.1", 2525, timeout=60)
                break
            except OSError:
                assert time.monotonic() < deadline and relay.poll() is None
                time.sleep(0.1)
        with connection:
            body = b"Subject: relayed\r\n\r\nHello\r\n"
            assert connection.sendmail("ann@sender.test", ["relay@good.test"], body) == {}
            assert len(lab.mail_to("relay@good.test")) == 1
            with pytest.raises(smtplib.SMTPDataError) as refusal:
                connection.sendmail("ann@sender.test", ["relay@expired.test"], body)
            assert refusal.value.smtp_code == 451 and b"no MX host of expired.test" in refusal.value.smtp_error
            with pytest.raises(smtplib.SMTPDataError) as refusal:
                connection.sendmail("ann@sender.test", ["relay@nowhere.test"], body)
            assert refusal.value.smtp_code == 550
            # Recipients of several domains have fates of their own: each comes in a mail of its own.
            refused = connection.sendmail("ann@sender.test", ["two@good.test", "two@expired.test"], body)
            assert refused["two@expired.test"][0] == 452 and len(lab.mail_to("two@good.test")) == 1
    finally:
        relay.terminate()
        said = relay.communicate(timeout=30)[1]
    assert "Traceback" not in said, said


def test_the_example_that_sends(lab: Lab) -> None:
    for to, status in [
        ("example@good.test", 0),
        ("example@selfsigned.test", os.EX_TEMPFAIL),
        ("a@nowhere.test", os.EX_NOHOST),
    ]:
        done = subprocess.run(
            [sys.executable, EXAMPLES / "send.py", "ann@sender.test", to],
            input="Subject: hello\n\nHello.\n",
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done
    assert len(lab.mail_to("example@good.test")) == 1 and not lab.mail_to("example@selfsigned.test")


def test_the_example_that_looks_up_many(lab: Lab) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "many.py"],
        input="good.test\nnopolicy.test\nhttps-404.test\na..test\n",
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout
    assert (
        "good.test: enforce" in said and "nopolicy.test: none" in said and "a..test" in said and said.count("\n") == 4
    )


def test_the_readme_is_true(lab: Lab) -> None:
    import doctest

    readme = EXAMPLES.parent / "README.md"
    failed, tried = doctest.testfile(str(readme), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert tried >= 10 and failed == 0


def test_the_examples_have_nothing_to_hide() -> None:
    """Each is tried above."""
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == ["many.py", "relay.py", "send.py"]
    for path in EXAMPLES.glob("*.py"):
        runpy.run_path(str(path), run_name="not_main")
