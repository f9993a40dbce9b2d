"""Sends the message on standard input to the MX hosts of its recipients, as a sendmail(1) for cron and the like would:

    send.py SENDER RECIPIENT...  < message

Each recipient that did not get it is a line on standard error: who, `waits` or `refused`, code and text. The exit
status is for a queue (sysexits.h): 0 all got it, 75 try again later with those who wait, 68 give up, 64 wrong usage.
"""

import logging
import os
import sys

import mtasts
from mtasts import smtp


def main() -> int:
    logging.basicConfig(format="%(message)s")
    if len(sys.argv) < 3:
        print("usage: send.py SENDER RECIPIENT...  < message", file=sys.stderr)
        return os.EX_USAGE
    sender, *recipients = sys.argv[1:]
    try:
        smtp.deliver(sys.stdin.buffer.read(), recipients, sender=sender)
    except smtp.DeliveryError as error:
        for word, some in [("waits", error.deferred), ("refused", error.refused)]:
            for recipient, (code, text) in some.items():
                print(f"{recipient} {word}: {code} {text.decode()}", file=sys.stderr)
        return os.EX_TEMPFAIL if error.deferred else os.EX_NOHOST
    except mtasts.Error as error:
        # What is wrong with this host, such as its settings, is no reason to give the mail up.
        print(f"all wait: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL
    return 0


if __name__ == "__main__":
    sys.exit(main())
