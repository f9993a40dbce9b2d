"""A relay for the programs of this host: it takes mail by SMTP and passes it on to the MX hosts of its recipient, as
MTA-STS asks, while the sender waits. It keeps no queue: the program that sends has one.

    relay.py 127.0.0.1 2525

What the relay answers is what became of the mail: 250 delivered, 4xx keep it and try again, 5xx give up. It takes one
recipient at a time, because another may have another fate. A mail for several is not sent to anybody: many programs do
not look at a recipient that is refused alone, and would lose it. (A mail server in front of the relay is told the same:
Postfix has `smtp_destination_recipient_limit = 1`.)
"""

import asyncio
import logging
import sys
from typing import Any

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, Envelope, Session

from mtasts import aiosmtp, smtp

SEVERAL = "452 4.5.3 one recipient at a time: send each a mail of its own"


class Relay:
    def __init__(self) -> None:
        self.client = aiosmtp.Client()

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok" if len(envelope.rcpt_tos) == 1 else SEVERAL

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        if len(envelope.rcpt_tos) > 1:
            return SEVERAL
        try:
            delivered = await self.client.deliver(envelope.content, envelope.rcpt_tos, sender=envelope.mail_from or "")
        except smtp.DeliveryError as error:
            return reply(error.smtp_code, error.smtp_error)
        (got,) = delivered.values()
        return reply(250, f"2.0.0 {got.host} said: {got.reply}")

    async def handle_exception(self, error: Exception) -> str:
        # aiosmtpd would answer 500, and the mail would be given up.
        logging.exception("a defect")
        return "451 4.3.0 a defect of the relay"


def reply(code: int, text: "bytes | str") -> str:
    """One line of an answer, at most as long as RFC 5321 4.5.3.1.5 has it."""
    words = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"[:510]


async def main(host: str, port: int) -> None:
    controller = UnthreadedController(Relay(), host, port, loop=asyncio.get_running_loop())
    await controller._create_server()
    await asyncio.Event().wait()


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
