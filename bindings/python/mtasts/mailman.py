"""Delivers the mail of Mailman 3 to the MX hosts of the subscribers, under MTA-STS. In mailman.cfg:

    [mta]
    outgoing: mtasts.mailman.deliver

Mailman still makes each mail: VERP, personalized mails, headers and footers, ARC signatures. `smtp_host` and its like
do not apply. A recipient that has to wait goes to Mailman's retry queue, without the others, for
`delivery_retry_period`. A refusal for good is a bounce of that subscriber.

The runner `out` sends to one domain after the other. A site with long lists has several runners (`instances`, a power
of two, in `[runner.out]`), so that a slow domain holds up fewer mails.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

try:
    from lazr.config import as_boolean
    from mailman.config import config
    from mailman.interfaces.mailinglist import Personalization
    from mailman.interfaces.mta import SomeRecipientsFailed
    from mailman.interfaces.runner import RunnerInterrupt
    from mailman.mta.bulk import BulkDelivery
    from mailman.mta.deliver import Deliver
    from mailman.utilities.string import expand
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mtasts.mailman is for Mailman 3: pip install mailman", name="mailman") from error

from .errors import Error
from .letter import by_domain
from .outcome import DeliveryError, Refusals, one_line
from .smtp import Client

__all__ = ["deliver"]

LONGEST = 600.0
"""How long one mail to one domain may take, in seconds: so long a host may think about a mail that it has, and who
gives it up before sends it twice (RFC 5321 4.5.3.2.6)."""

log = logging.getLogger("mailman.smtp")

_client: Client | None = None


class _Sender:
    """What is in the place of Mailman's connection to a mail server."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stopping = False

    def sendmail(self, sender: str, recipients: list[str], message: Any) -> Refusals:
        """Says who did not get the mail, as `smtplib` does."""
        if self.stopping:
            return dict.fromkeys(recipients, (451, b"4.3.2 Mailman is stopping"))
        if as_boolean(config.devmode.enabled):
            recipients = [config.devmode.recipient]
        try:
            self.client.deliver(message, recipients, sender=sender, timeout=LONGEST)
        except DeliveryError as error:
            return error.recipients
        return {}


class _ToAll(BulkDelivery):  # type: ignore[misc]
    """One mail for many recipients."""

    def chunkify(self, recipients: Iterable[str]) -> Iterator[list[str]]:
        """Each chunk is for one domain. Mailman's own are for one mail server that takes mail for all."""
        for group in by_domain(sorted(recipients)).values():
            most = self._max_recipients if self._max_recipients > 0 else len(group)
            for first in range(0, len(group), most):
                yield group[first : first + most]


def deliver(mlist: Any, msg: Any, msgdata: dict[str, Any]) -> None:
    """Delivers a mail of Mailman, for its setting `outgoing`.

    Raises:
        mailman.interfaces.mta.SomeRecipientsFailed: Somebody did not get the mail: who waits, and who was refused.
    """
    recipients = msgdata.get("recipients")
    if not recipients:
        return
    each = msgdata.get("verp") or mlist.personalize is not Personalization.none
    agent = Deliver() if each else _ToAll(int(config.mta.max_recipients))
    began = time.monotonic()
    refused: Refusals
    try:
        agent._connection = sender = _Sender(_the_client())
    except Error as error:
        # This host, and not a recipient: the mail waits until the operator has repaired it.
        refused = dict.fromkeys(recipients, (451, one_line(f"4.3.5 {error.reason}")))
    else:
        with sender.client, _stopped_by_signals(sender):
            refused = agent.deliver(mlist, msg, msgdata)
    _log(mlist, msg, msgdata, refused, time.monotonic() - began)
    if refused:
        waiting = [to for to, (code, _) in refused.items() if code < 500]
        gone = [(to, code, _text(said)) for to, (code, said) in refused.items() if code >= 500]
        raise SomeRecipientsFailed(waiting, gone)


def _the_client() -> Client:
    global _client
    if _client is None:
        _client = Client()
    return _client


@contextmanager
def _stopped_by_signals(sender: _Sender) -> Iterator[None]:
    """A runner that is told to stop ends with this domain, and the others wait. Mailman's handler raises in the middle:
    the whole mail would be shunted, and an `unshunt` would send it again to those who have it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}

    def stop(number: int, frame: Any) -> None:
        sender.stopping = True
        with suppress(RunnerInterrupt):
            handlers[signal.Signals(number)](number, frame)  # type: ignore[operator,misc]

    ours = [number for number, handler in handlers.items() if callable(handler)]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, handlers[number])


def _log(mlist: Any, msg: Any, msgdata: dict[str, Any], refused: Refusals, took: float) -> None:
    """The lines of smtp.log, as `[logging.smtp]` wants them."""
    about = {
        "msgid": str(msg.get("message-id", "n/a")).strip(),
        "sender": msgdata.get("original-sender", msg.sender),
        "recip": len(msgdata["recipients"]),
        "size": getattr(msg, "original_size", msgdata.get("original_size", 0)),
        "time": f"{took:.3f}",
        "refused": len(refused),
        "smtpcode": "n/a",
        "smtpmsg": "n/a",
    }

    def line(template: str, **more: Any) -> None:
        if template.lower() != "no":
            log.info("%s", expand(template, mlist, {**about, **more}))

    line(config.logging.smtp.every)
    line(config.logging.smtp.refused if refused else config.logging.smtp.success)
    for to, (code, said) in refused.items():
        line(config.logging.smtp.failure, recip=to, smtpcode=code, smtpmsg=_text(said))


def _text(said: bytes | str) -> str:
    # Mailman itself notes an exception of Python as a str.
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
