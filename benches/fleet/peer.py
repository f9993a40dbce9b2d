"""What postfix-mta-sts-resolver's cache in Redis costs, on the server and for the policy of main.rs: peer.py URL"""

import asyncio
import sys
import time

from postfix_mta_sts_resolver.base_cache import CacheEntry
from postfix_mta_sts_resolver.redis_cache import RedisCache

POLICY = {
    "version": "STSv1",
    "mode": "enforce",
    "mx": ["aspmx.l.example.com", "*.mail.example.com", "*.backup.example.net"],
    "max_age": 604800,
}
TIMES = 2000


async def main() -> None:
    cache = RedisCache(url=sys.argv[1])
    await cache.setup()
    await cache.set("example.com", CacheEntry(time.time(), "20260101", POLICY))
    for name, work in (
        ("its GET, on a connection that is kept", lambda: cache.get("example.com")),
        ("its SET, on a connection that is kept", lambda: cache.set("example.com", CacheEntry(time.time(), "20260101", POLICY))),
    ):
        times = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            await work()
            times.append(time.perf_counter() - begun)
        times.sort()
        print(
            f"| {name} | {times[TIMES // 2] * 1e6:.1f} | {times[TIMES * 99 // 100] * 1e6:.1f} | {TIMES / sum(times):.0f} |"
        )
    await cache.teardown()


asyncio.run(main())
