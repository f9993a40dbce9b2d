"""The programs around it: the command, Django, a relay with aiosmtpd, the examples."""

from __future__ import annotations

import datetime
import importlib
import os
import re
import runpy
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from conftest import Lab
from test_delivery import line
from test_habits import in_place_of

import mtasts
from mtasts import smtp
from mtasts.outcome import Results

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


@pytest.fixture(scope="module")
def mail() -> Any:
    """`django.core.mail` of a project that sends with this package."""
    import django
    from django.conf import settings

    settings.configure(EMAIL_BACKEND="mtasts.django.EmailBackend", EMAIL_TIMEOUT=5)
    django.setup()
    return importlib.import_module("django.core.mail")


def test_every_domain_with_django(lab: Lab, cache: str, mail: Any) -> None:
    """What a conformant sender must do, and nothing else."""
    lab.reset()
    results = Results()
    resolver = mtasts.Resolver(cache_dir=cache, timeout="15s")

    def send(name: str) -> str:
        # A client of its own: one of them would keep a session for two domains with equal policies and one MX host, and
        # the second domain then has no event of its own.
        connection = mail.get_connection(client=smtp.Client(resolver, timeout=10, results=results))
        message = mail.EmailMessage("a letter", "Text", "ann@sender.test", [f"django@{name}"], connection=connection)
        try:
            assert message.send() == 1
        except smtplib.SMTPException as error:
            return line(name, error, results)
        return line(name, None, results)

    with ThreadPoolExecutor(48) as pool:
        wrong = lab.judge(list(pool.map(send, lab.domains())), "--results")
    assert not wrong, wrong


def test_django(lab: Lab, mail: Any, caplog: pytest.LogCaptureFixture) -> None:
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
    # One got it; the other is not forgotten.
    with pytest.raises(smtp.PolicyError) as partly:
        mail.send_mail("x", "x", "ann@sender.test", ["f@good.test", "f@nomatch.test"])
    assert list(partly.value.delivered) == ["f@good.test"] and list(partly.value.deferred) == ["f@nomatch.test"]
    assert mail.send_mail("x", "x", "ann@sender.test", ["f@good.test", "f@nomatch.test"], fail_silently=True) == 0
    assert "f@nomatch.test" in caplog.text
    # A message that waits does not hold up those behind it.
    messages = [
        mail.EmailMessage("x", "x", "ann@sender.test", [to])
        for to in ["no address", "g@expired.test", "Carl <g@good.test>", "h@good.test"]
    ]
    with pytest.raises(smtp.PolicyError) as left:
        mail.get_connection().send_messages(messages)
    assert [(place, error.smtp_code) for place, error in left.value.failures.items()] == [(0, 553), (1, 451)]
    assert len(lab.mail_to("g@good.test")) == len(lab.mail_to("h@good.test")) == 1
    # Nor does one that Django cannot write.
    broken = mail.EmailMessage("x\r\nBcc: eve@good.test", "x", "ann@sender.test", ["i@good.test"])
    with pytest.raises(mail.BadHeaderError):
        mail.get_connection().send_messages([broken, mail.EmailMessage("x", "x", "ann@sender.test", ["j@good.test"])])
    assert len(lab.mail_to("j@good.test")) == 1 and not lab.mail_to("i@good.test")
    # Sessions are kept for the messages of one call, and as long as a connection is open.
    lab.reset()
    many = [mail.EmailMessage("x", "x", "ann@sender.test", [f"{name}@good.test"]) for name in "abc"]
    assert mail.get_connection().send_messages(many) == 3
    with mail.get_connection() as connection:
        assert [connection.send_messages([message]) for message in many] == [1, 1, 1]
    assert [session["host"] for session in lab.seen()["sessions"]] == ["mx.good.test"] * 2


MAILERS = """
import mtasts.smtp
import warnings
from django.conf import settings
settings.configure(MAILERS={"default": {"BACKEND": "mtasts.django.EmailBackend", "OPTIONS": {"timeout": 7}}})
import django
django.setup()
from django.core import mail
warnings.simplefilter("error")
assert mail.send_mail("x", "x", "ann@sender.test", ["mailers@good.test"]) == 1
assert (mail.mailers.default.alias, mail.mailers.default.client.timeout) == ("default", 7)
try:
    mail.send_mail("x", "x", "ann@sender.test", ["mailers@expired.test"])
except mtasts.smtp.PolicyError:
    pass
"""


def test_mailers_of_django(lab: Lab) -> None:
    """The settings of Django 6.1 and newer; nothing of them is deprecated."""
    if importlib.import_module("django").VERSION < (6, 1):
        pytest.skip("Django has no MAILERS yet")
    done = subprocess.run([sys.executable, "-c", MAILERS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(lab.mail_to("mailers@good.test")) == 1


def flask_mail(port: int, to: str) -> None:
    """Sends as a program with Flask-Mail does, to any number of recipients."""
    flask, extension = importlib.import_module("flask"), importlib.import_module("flask_mail")
    app = flask.Flask(__name__)
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_DEFAULT_SENDER="ann@sender.test")
    mail = extension.Mail(app)
    with app.app_context():
        mail.send(extension.Message("Hello", recipients=to.split(), body="Text"))


def started(example: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, EXAMPLES / example, *arguments], stderr=subprocess.PIPE, text=True)


def test_the_relay(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # smtplib would ask DNS for it, which takes seconds here.
    monkeypatch.setattr("socket.getfqdn", lambda: "client.sender.test")
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
            assert refusal.value.smtp_code == 451 and "no MX host of expired.test" in str(refusal.value.smtp_error)
            with pytest.raises(smtplib.SMTPDataError) as refusal:
                connection.sendmail("ann@sender.test", ["relay@nowhere.test"], body)
            assert refusal.value.smtp_code == 550
            # Recipients have fates of their own: each comes in a mail of its own. Most programs would not notice that
            # one of them was refused.
            with pytest.raises(smtplib.SMTPDataError, match="one recipient at a time"):
                connection.sendmail("ann@sender.test", ["two@good.test", "three@good.test"], body)
            assert not lab.mail_to("two@good.test") and not lab.mail_to("three@good.test")
            assert connection.sendmail("ann@sender.test", ["two@good.test"], body) == {}
            flask_mail(2525, "flask@good.test")
            assert lab.mail_to("flask@good.test")[0]["sender"] == "ann@sender.test"
            for to, code in [("f@expired.test", 451), ("f@nowhere.test", 550), ("f@good.test g@good.test", 452)]:
                with pytest.raises(smtplib.SMTPDataError) as refusal:
                    flask_mail(2525, to)
                assert refusal.value.smtp_code == code
            # A bounce has no sender.
            assert connection.sendmail("<>", ["bounced@good.test"], body) == {}
            (bounce,) = lab.mail_to("bounced@good.test")
            assert bounce["sender"] == ""
    finally:
        relay.terminate()
        said = relay.communicate(timeout=30)[1]
    assert "Traceback" not in said, said


def test_a_defect_of_the_relay_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    class Client:
        async def deliver(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no")

    relay = runpy.run_path(str(EXAMPLES / "relay.py"))["Relay"]()
    relay.client = Client()
    controller = Controller(relay, "127.0.0.1", 2529)
    controller.start()
    try:
        with smtplib.SMTP("127.0.0.1", 2529, local_hostname="client.test") as connection:
            with pytest.raises(smtplib.SMTPDataError) as refusal:
                connection.sendmail("ann@sender.test", ["a@good.test"], b"x")
            assert refusal.value.smtp_code == 451
    finally:
        controller.stop()
    assert "RuntimeError" in caplog.text


def test_the_example_that_sends(lab: Lab, tmp_path: Path) -> None:
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
    # What became of each of several; one that waits keeps the mail in the queue.
    several = ["several@good.test", "b@nowhere.test", "b@selfsigned.test"]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "send.py", "ann@sender.test", *several],
        input="Subject: hello\n\nHello.\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == os.EX_TEMPFAIL and len(lab.mail_to("several@good.test")) == 1, done
    assert "b@selfsigned.test waits: 451 " in done.stderr and "b@nowhere.test refused: 550 " in done.stderr
    send = [sys.executable, str(EXAMPLES / "send.py"), "ann@sender.test", "wait@good.test"]
    assert subprocess.run(send[:3], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == os.EX_USAGE
    # A host whose settings are wrong keeps the mail.
    with in_place_of("/etc/mtasts/mtasts.toml", "timeout = 'soon'\n", tmp_path):
        done = subprocess.run(send, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == os.EX_TEMPFAIL and "all wait: " in done.stderr and "timeout" in done.stderr, done


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


def block(heading: str) -> str:
    """The first block of Python behind these words of the README."""
    readme = (EXAMPLES.parent / "README.md").read_text()
    return readme.partition(heading)[2].partition("```python\n")[2].partition("```")[0]


def recipe(heading: str, **names: Any) -> dict[str, Any]:
    """The names that this block makes."""
    names["smtp"] = smtp
    exec(compile(block(heading), heading, "exec"), names)
    return names


MESSAGE = "Subject: x\r\n\r\nx\r\n"


def until_it_arrives(lab: Lab, name: str, start: Callable[[list[str]], None], again: Callable[[], None]) -> None:
    """One recipient gets the mail at once and one later; one never does. Nobody gets it twice."""
    lab.reset()
    start([f"{name}@good.test", f"{name}@nomatch.test", f"{name}@nowhere.test"])
    assert len(lab.mail_to(f"{name}@good.test")) == 1 and not lab.mail_to(f"{name}@nomatch.test")
    policy = "version: STSv1\\nmode: enforce\\nmx: *.nomatch.test\\nmax_age: 86400\\n"
    lab.set("nomatch.test", txt=f"v=STSv1; id={name};", policy=policy)
    try:
        mtasts.recheck("nomatch.test")
        again()
        assert len(lab.mail_to(f"{name}@good.test")) == len(lab.mail_to(f"{name}@nomatch.test")) == 1
    finally:
        lab.reset()
        mtasts.default_resolver().purge("nomatch.test")


def test_the_queue_of_the_readme(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe("A queue of your own")["run"]
    queue: list[Any] = []

    def start(recipients: list[str]) -> None:
        queue[:] = run([(MESSAGE.encode(), "ann@sender.test", recipients)])
        assert [recipients for _, _, recipients in queue] == [["own@nomatch.test"]]
        assert capsys.readouterr().out == "tell ann@sender.test that nothing goes to own@nowhere.test\n"

    def again() -> None:
        assert run(queue) == []

    until_it_arrives(lab, "own", start, again)


def test_celery(lab: Lab) -> None:
    """A real worker."""
    celery = importlib.import_module("celery")
    app = celery.Celery("mail", broker="memory://", backend="cache+memory://")
    task = recipe("With Celery", app=app)["send"]
    task.default_retry_delay = 1

    def arrives(to: str) -> None:
        deadline = time.monotonic() + 30
        while not lab.mail_to(to):
            assert time.monotonic() < deadline, to
            time.sleep(0.1)

    def start(recipients: list[str]) -> None:
        task.delay(MESSAGE, "ann@sender.test", recipients)
        arrives(recipients[0])

    worker = importlib.import_module("celery.contrib.testing.worker")
    with worker.start_worker(app, perform_ping_check=False):
        until_it_arrives(lab, "celery", start, lambda: arrives("celery@nomatch.test"))


def test_huey(lab: Lab) -> None:
    huey = importlib.import_module("huey").MemoryHuey()
    send = recipe("With Huey", huey=huey)["send"]

    def work() -> None:
        later = datetime.datetime.now() + datetime.timedelta(seconds=1801)
        for task in [*huey.read_schedule(later), *iter(huey.dequeue, None)]:
            huey.execute(task, later)

    def start(recipients: list[str]) -> None:
        send(MESSAGE.encode(), "ann@sender.test", recipients)
        work()

    until_it_arrives(lab, "huey", start, work)


DJANGO_MAILER = """
import sys
import django
from django.conf import settings
from django.core.management import call_command

{settings}
settings.configure(
    EMAIL_BACKEND=EMAIL_BACKEND,
    MAILER_EMAIL_BACKEND=MAILER_EMAIL_BACKEND,
    EMAIL_TIMEOUT=5,
    MAILER_LOCK_PATH="lock",
    INSTALLED_APPS=["mailer"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "queue"}}}},
)
django.setup()
{recipe}
if sys.argv[1:]:
    call_command("migrate", verbosity=0)
    send("x", "x", "ann@sender.test", sys.argv[1:])
else:
    call_command("retry_deferred")
call_command("send_mail")
from mailer.models import Message
print(*(to for message in Message.objects.all() for to in message.to_addresses))
"""


def test_django_mailer(lab: Lab, tmp_path: Path) -> None:
    """Its commands, as cron calls them."""
    program = DJANGO_MAILER.format(settings=block("With django-mailer"), recipe=block("In place of `send_mail`"))

    def run(recipients: list[str]) -> list[str]:
        command = [sys.executable, "-c", program, *recipients]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.split()

    def start(recipients: list[str]) -> None:
        assert run(recipients) == recipients[1:]

    def again() -> None:
        # It knows no refusal for good: who was refused waits too.
        assert run([]) == ["mailer@nowhere.test"]

    until_it_arrives(lab, "mailer", start, again)


def test_the_examples_have_nothing_to_hide() -> None:
    """Each is tried above."""
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == ["many.py", "relay.py", "send.py"]
    for path in EXAMPLES.glob("*.py"):
        runpy.run_path(str(path), run_name="not_main")
