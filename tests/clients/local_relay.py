"""nostr-sdk's LocalRelay: a real, independent relay in this process, on a free port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nostr_sdk

# Far above what a test sends: its default would refuse events after a second of work.
RATE_LIMIT = nostr_sdk.RateLimit(max_reqs=10_000, notes_per_minute=1_000_000)


@asynccontextmanager
async def local_relay(*, auth: bool = False) -> AsyncIterator[str]:
    """Its URL. With `auth` it wants NIP-42 before it reads or writes anything.

    It stops answering after some thousand messages on one connection.
    """
    builder = nostr_sdk.LocalRelayBuilder().addr("127.0.0.1").rate_limit(RATE_LIMIT)
    if auth:
        mode = nostr_sdk.LocalRelayBuilderNip42Mode.BOTH
        builder = builder.nip42(nostr_sdk.LocalRelayBuilderNip42(mode=mode))
    relay = builder.build()
    await relay.run()
    try:
        yield str(await relay.url())
    finally:
        relay.shutdown()
