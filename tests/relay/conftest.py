from collections.abc import AsyncIterator

import pytest

from nwc_service.embedded import EmbeddedRelay
from nwc_service.nostr.event import Event
from tests.relay.raw import relay_of_its_own


@pytest.fixture
def requests() -> list[Event]:
    """What the relay hands to the service."""
    return []


@pytest.fixture
async def relay(requests: list[Event]) -> AsyncIterator[EmbeddedRelay]:
    async with relay_of_its_own(requests.append) as opened:
        yield opened
