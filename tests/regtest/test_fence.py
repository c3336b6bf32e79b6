"""Rule J's fence: what a revoked root key still lets through, as
`python -m tests.regtest.fence` measures it."""

import pytest

from tests.regtest.fence import MORE_SENDS, SENDERS, measure
from tests.regtest.network import shared_network

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


async def test_what_is_sent_after_a_revocation_is_provably_refused() -> None:
    alice = (await shared_network()).nodes["alice"]

    [found] = await measure(alice, rounds=1)

    assert found.taken_at_ns
    assert found.refused == SENDERS * (1 + MORE_SENDS)
    assert len(found.taken_at_ns) + found.refused == len(found.begun_at_ns)
    assert found.unproven == []
    assert found.taken_though_begun_after == 0
