"""A Django e-mail backend that delivers to the MX hosts of the recipients, under MTA-STS:

    EMAIL_BACKEND = "mtasts.django.EmailBackend"

No other setting is needed; `EMAIL_HOST` and its like do not count. `EMAIL_TIMEOUT` does. Since Django 6.1 it is

    MAILERS = {"default": {"BACKEND": "mtasts.django.EmailBackend", "OPTIONS": {"timeout": 60}}}

A mail that did not reach all its recipients raises `mtasts.smtp.TemporaryError` or `PermanentError`, an
`smtplib.SMTPException` as Django's own backend raises. Let the queue that calls it (Celery, Huey) try again later with
the recipients in `deferred` alone. A queue that can only send a whole message again (django-mailer) gives each
recipient a message of its own.

A mail server that sends for itself needs a static address with reverse DNS, and port 25 open.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

try:
    from django.conf import settings
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mtasts.django needs Django: pip install mtasts[django]", name="django") from error
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.utils import DNS_NAME

from .outcome import one_line
from .smtp import Client, DeliveryError

__all__ = ["EmailBackend"]

logger = logging.getLogger("mtasts")


@functools.lru_cache
def _client(timeout: float) -> Client:
    """Django makes a backend for each mail; a client is made once, because it reads the roots."""
    return Client(hostname=DNS_NAME.get_fqdn(), timeout=timeout)


class EmailBackend(BaseEmailBackend):
    """The backend. Between `open` and `close`, and for the messages of one call, it keeps its sessions with MX hosts,
    as `mtasts.smtp.Client` does.

    Args:
        fail_silently: Raise nothing; what fails is logged.
        client: The client to send with.
        timeout: How long that of this module waits for each reply, in seconds; `EMAIL_TIMEOUT` by default.
        alias: The name of this backend in `MAILERS`.
    """

    def __init__(
        self,
        fail_silently: bool = False,
        client: Client | None = None,
        timeout: float | None = None,
        alias: str | None = None,
        **_unused: Any,
    ) -> None:
        super().__init__()
        # Django 6.1 leaves the first to each backend and knows the second.
        self.fail_silently, self.alias = fail_silently, alias
        if timeout is None:
            timeout = getattr(settings, "EMAIL_TIMEOUT", None)
        self.client = client or _client(60.0 if timeout is None else timeout)
        self._open = False

    def open(self) -> bool:
        """From now on sessions are kept; says no if they are already."""
        if self._open:
            return False
        self.client.__enter__()
        self._open = True
        return True

    def close(self) -> None:
        """Ends them."""
        if self._open:
            self._open = False
            self.client.__exit__()

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Tries each message, whatever becomes of the others; says how many reached all their recipients.

        Raises:
            mtasts.smtp.DeliveryError: A message did not reach all its recipients, unless `fail_silently`. Its
                attribute `failures` has the error of each such message, by the place of the message in the list.
            ValueError: Django cannot write a message, such as one with a line end in its subject (`BadHeaderError`).
        """
        opened = self.open()
        try:
            return self._send(email_messages)
        finally:
            if opened:
                self.close()

    def _send(self, email_messages: Sequence[EmailMessage]) -> int:
        sent = 0
        failures: dict[int, DeliveryError] = {}
        unwritten: ValueError | None = None
        for place, message in enumerate(email_messages):
            if not message.recipients():
                continue
            try:
                # A text of Django may be a lazy one.
                recipients = [str(to) for to in message.recipients()]
                self.client.deliver(message.message(), recipients, sender=str(message.from_email))
                sent += 1
            except ValueError as error:
                logger.error("mail %s of %s: %s", place + 1, len(email_messages), one_line(str(error)).decode())
                unwritten = unwritten or error
            except DeliveryError as error:
                failures[place] = error
                for to, (code, text) in error.recipients.items():
                    logger.error("mail to %s: %s %s", one_line(to).decode(), code, text.decode())
        if failures and not self.fail_silently:
            # What may yet be delivered keeps the mail in the queue.
            failure = min(failures.values(), key=lambda error: error.smtp_code >= 500)
            failure.failures = failures
            raise failure
        if unwritten:
            raise unwritten
        return sent
