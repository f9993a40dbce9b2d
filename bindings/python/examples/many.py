"""Looks many domains up at once: one on each line of standard input."""

import asyncio
import sys

import mtasts
from mtasts import aio


async def tell(domain: str) -> None:
    try:
        answer = await aio.lookup(domain, timeout=20)
    except mtasts.Error as error:
        print(f"{domain}: nothing is known, its mail has to wait: {error}")
    else:
        print(f"{domain}: {answer.mode.name.lower()}: {answer.explanation}")


async def main() -> None:
    await asyncio.gather(*(tell(line.strip()) for line in sys.stdin if line.strip()))


if __name__ == "__main__":
    asyncio.run(main())
