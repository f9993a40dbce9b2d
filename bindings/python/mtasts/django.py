"""A Django e-mail backend that delivers to the MX hosts of the recipients, under MTA-STS:

    EMAIL_BACKEND = "mtasts.django.EmailBackend"

No other setting is needed; `EMAIL_HOST` and its like do not count. `EMAIL_TIMEOUT` does. A mail that has to wait
raises `mtasts.smtp.TemporaryError`, an `smtplib.SMTPException` as Django's own backend raises: let the
queue that calls it (Celery, django-mailer, Huey) try again later. A mail server that sends for itself needs a static
address with reverse DNS, and port 25 open.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.utils import DNS_NAME

from .smtp import Client, DeliveryError

__all__ = ["EmailBackend"]

logger = logging.getLogger("mtasts")


@functools.lru_cache
def _client(timeout: float) -> Client:
    """Django makes a backend for each mail; a client is made once, because it reads the roots."""
    return Client(hostname=DNS_NAME.get_fqdn(), timeout=timeout)


class EmailBackend(BaseEmailBackend):
    """The backend. It keeps no connection between mails.

    Args:
        fail_silently: Raise nothing; what fails is logged.
        client: The client to send with.
    """

    def __init__(self, fail_silently: bool = False, client: Client | None = None, **_unused: Any) -> None:
        super().__init__(fail_silently=fail_silently)
        timeout = getattr(settings, "EMAIL_TIMEOUT", None)
        self.client = client or _client(60.0 if timeout is None else timeout)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Sends each message to all its recipients; says how many messages somebody got. Recipients that were refused
        while others were not are logged.

        Raises:
            mtasts.smtp.DeliveryError: Nobody got a message, unless `fail_silently`.
        """
        sent = 0
        for message in email_messages:
            # Django's addresses may have a name: "Ann <ann@example.com>".
            recipients = [parseaddr(to)[1] for to in message.recipients()]
            if not recipients:
                continue
            try:
                refused = self.client.deliver(message.message(), recipients, sender=parseaddr(message.from_email)[1])
            except DeliveryError as error:
                if not self.fail_silently:
                    raise
                logger.error("mail to %s: %s", ", ".join(recipients), error)
                continue
            for to, (code, text) in refused.items():
                logger.error("mail to %s: %s %s", to, code, text.decode("utf-8", "replace"))
            sent += 1
        return sent
