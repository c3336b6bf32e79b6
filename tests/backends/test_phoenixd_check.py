"""What an operator is told of the settings for phoenixd, and how to mend what is wrong."""

from collections.abc import AsyncIterator, Sequence

import pytest

from backends.phoenixd.checkup import NO_CHANNEL
from nwc_service.backend import Finding
from tests.backends.phoenixd_double import (
    BALANCE,
    GET_INFO,
    LIMITED_PASSWORD,
    NODE_ID,
    PASSWORD,
    PAY,
    PhoenixdDouble,
    phoenixd_double,
)
from tests.backends.phoenixd_http import Answer, Fault
from tests.backends.phoenixd_rig import a_backend

NEW_NODE = {"nodeId": NODE_ID, "chain": "regtest", "channels": [], "blockHeight": 101}


@pytest.fixture
async def phoenixd() -> AsyncIterator[PhoenixdDouble]:
    async with phoenixd_double() as double:
        yield double


async def checked(double: PhoenixdDouble, **options: object) -> Sequence[Finding]:
    backend = a_backend(double, **options)
    found = await backend.check()
    assert PASSWORD not in repr(found)
    assert LIMITED_PASSWORD not in repr(found)
    await backend.close()
    return found


def wrong(found: Sequence[Finding]) -> dict[str, str]:
    """Of what is wrong, what is said of it and how it is mended."""
    return {each.subject: f"{each.says}; {each.remedy}" for each in found if each.remedy}


async def test_what_is_right_is_told_fact_by_fact(phoenixd: PhoenixdDouble) -> None:
    found = await checked(phoenixd)

    assert found[:7] == [
        Finding("rights", "the password may pay, and do all else"),
        Finding("version", "phoenixd 0.8.0"),
        Finding("identity", NODE_ID),
        Finding("network", "regtest"),
        Finding("chain", "in sync at block 101"),
        Finding("channels", "1"),
        Finding("fee credit", "none"),
    ]
    assert [each.subject for each in found[7:]] == ["balance"]
    assert wrong(found) == {}


async def test_it_pays_nothing(phoenixd: PhoenixdDouble) -> None:
    await checked(phoenixd)

    assert [call.form for call in phoenixd.of(PAY)] == [{}]
    assert phoenixd.outgoing == []


async def test_a_new_node_is_not_wrong(phoenixd: PhoenixdDouble) -> None:
    phoenixd.script |= {
        GET_INFO: Answer(200, NEW_NODE | {"version": "0.9.1-1a2b3c"}),
        BALANCE: Answer(200, {"balanceSat": 0, "feeCreditSat": 0}),
    }

    found = await checked(phoenixd)

    assert Finding("channels", NO_CHANNEL) in found
    assert wrong(found) == {}


async def test_an_old_node_and_its_fee_credit_are_told_at_once(
    phoenixd: PhoenixdDouble,
) -> None:
    phoenixd.script |= {
        GET_INFO: Answer(200, NEW_NODE | {"version": "0.7.3", "blockHeight": None}),
        BALANCE: Answer(200, {"balanceSat": 5, "feeCreditSat": 7}),
    }

    said = wrong(await checked(phoenixd))

    assert set(said) == {"version", "chain", "fee credit"}
    assert "run phoenixd 0.8 or newer" in said["version"]
    assert "7 sat" in said["fee credit"]
    assert "--max-fee-credit=off" in said["fee credit"]
    assert "fee credit" not in wrong(await checked(phoenixd, accept_fee_credit=True))


async def test_the_password_of_limited_access(phoenixd: PhoenixdDouble) -> None:
    found = await checked(phoenixd, password=LIMITED_PASSWORD)

    assert found[0] == Finding(
        "rights", "the password of limited access: it receives, and cannot pay"
    )


async def test_a_wrong_password(phoenixd: PhoenixdDouble) -> None:
    said = wrong(await checked(phoenixd, password="another-password"))

    assert "check password against phoenix.conf" in said["connection"]


async def test_a_node_that_says_nothing(phoenixd: PhoenixdDouble) -> None:
    phoenixd.faults[GET_INFO] = Fault.AFTER_READ

    assert "see phoenixd's log" in wrong(await checked(phoenixd))["connection"]
