"""A Mailman site that does what it is told on standard input, in one process: each start of Mailman takes seconds. Its
runners are Mailman's own. tests/test_mailman.py starts it, with the Python of a Mailman.

    mailman_site.py CONFIGURATION

A line is a JSON list, a command with its arguments; the answer is a line of JSON.
"""

import io
import json
import pathlib
import sys

if sys.version_info >= (3, 13):
    # Mailman 3.3.10 enters the directory of its templates, which a path of Python 3.13 no longer lets it do.
    pathlib.Path.__enter__ = lambda self: self  # type: ignore[attr-defined]
    pathlib.Path.__exit__ = lambda *_: None  # type: ignore[attr-defined]

from mailman.core.initialize import initialize  # noqa: E402

initialize(sys.argv[1])

from mailman.app.inject import inject_text  # noqa: E402
from mailman.app.lifecycle import create_list  # noqa: E402
from mailman.bin.runner import make_runner  # noqa: E402
from mailman.config import config  # noqa: E402
from mailman.database.transaction import transaction  # noqa: E402
from mailman.interfaces.bounce import IBounceProcessor  # noqa: E402
from mailman.interfaces.domain import IDomainManager  # noqa: E402
from mailman.interfaces.listmanager import IListManager  # noqa: E402
from mailman.interfaces.member import MemberRole  # noqa: E402
from mailman.interfaces.usermanager import IUserManager  # noqa: E402
from mailman.utilities.datetime import now  # noqa: E402
from zope.component import getUtility  # noqa: E402

import mtasts.mailman  # noqa: E402
from mtasts import smtp  # noqa: E402


def run(name: str) -> None:
    """A runner, once through its queue."""
    runner = make_runner(name, 0, 1, once=True)
    runner.set_signals()
    runner.run()


def post(name: str, subject: str, *subscribers: str) -> None:
    """A list with these subscribers, and a mail to it as far as the queue `out`."""
    with transaction():
        if getUtility(IDomainManager).get("sender.test") is None:
            getUtility(IDomainManager).add("sender.test")
        made = create_list(f"{name}@sender.test", ["postmaster@sender.test"])
        made.send_welcome_message = False
        for to in subscribers:
            address = getUtility(IUserManager).create_address(to)
            address.verified_on = now()
            made.subscribe(address, MemberRole.member)
    mail = io.StringIO()
    for field in [
        f"From: {subscribers[0]}",
        f"To: {name}@sender.test",
        f"Subject: {subject}",
        f"Message-ID: <{name}@x>",
    ]:
        print(field, file=mail)
    print("\nHello", file=mail)
    inject_text(getUtility(IListManager).get(f"{name}@sender.test"), mail.getvalue(), switchboard="in")
    run("in")
    run("pipeline")


def verp(interval: int) -> None:
    """How many mails to a list have one that is made for each subscriber."""
    config.push("verp", f"[mta]\nverp_delivery_interval: {interval}")


def patience(seconds: float) -> None:
    """How long one mail to one domain may take."""
    mtasts.mailman.LONGEST = seconds


def wrong_settings() -> None:
    """From now on the settings file of this host is one that cannot be read."""

    def client() -> smtp.Client:
        return smtp.Client(mtasts.Resolver(settings_file="/nowhere/mtasts.toml"))

    mtasts.mailman._client = None
    setattr(mtasts.mailman, "Client", client)  # noqa: B010


def waiting() -> list[list[str]]:
    """The recipients in each mail of the queue `retry`."""
    queue = config.switchboards["retry"]
    found = []
    for file in queue.files:
        _, about = queue.dequeue(file)
        # As after a crash: the file goes back to where it was.
        queue.recover_backup_files()
        found.append(sorted(about["recipients"]))
    return found


def again() -> None:
    """What waits is due."""
    run("retry")
    run("out")


def bounces() -> list[str]:
    """Whose mail was refused."""
    return [event.email for event in getUtility(IBounceProcessor).events]


print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    command, *arguments = json.loads(line)
    print(json.dumps(globals()[command](*arguments)), flush=True)
