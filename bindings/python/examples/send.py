"""Sends the message on standard input to the MX hosts of its recipients, as a sendmail(1) for cron and the like would:

    send.py SENDER RECIPIENT...  < message

Exit status, by which a queue knows what to do (sysexits.h): 0 sent, 75 try again later, 68 give up.
"""

import logging
import os
import sys

from mtasts import smtp


def main() -> int:
    logging.basicConfig(format="%(message)s")
    sender, *recipients = sys.argv[1:]
    try:
        refused = smtp.deliver(sys.stdin.buffer.read(), recipients, sender=sender)
    except smtp.TemporaryError as error:
        print(f"it waits: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL
    except smtp.PermanentError as error:
        print(f"it cannot be delivered: {error}", file=sys.stderr)
        return os.EX_NOHOST
    for recipient, (code, text) in refused.items():
        print(f"{recipient}: {code} {text.decode('utf-8', 'replace')}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
