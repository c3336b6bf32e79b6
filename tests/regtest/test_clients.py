"""Client libraries, unmodified, with the service on a real node: alice is its node, bob
forwards, carol is outside."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from nwc_service.wallet import bolt11, keysend
from tests.clients.apps import CREDIT_MSAT, Drivers, offered
from tests.clients.libraries import BOTH, LIBRARIES, NOSTR_SDK, Library
from tests.demo.parties import Clients
from tests.demo.tour import FROM_OUTSIDE_MSAT, TO_OUTSIDE_MSAT, Tour
from tests.e2e.conftest import (
    AssertedStory,
    Flavour,
    every_library,
    join,
    module_clients,
    opened,
    until,
)
from tests.e2e.service import ServiceProcess
from tests.regtest.network import shared_network
from tests.regtest.outside import LndOutside
from tests.regtest.service import service_on
from tests.regtest.truth import in_channels_msat

__all__ = ["module_clients", "opened"]

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.real,
    pytest.mark.timeout(300),
]

AMOUNT_MSAT = 21_000
FEE_MSAT = 1_000
METHODS = (
    "get_info",
    "get_balance",
    "make_invoice",
    "pay_invoice",
    "lookup_invoice",
    "list_transactions",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServiceProcess]:
    alice = (await shared_network()).nodes["alice"]
    async with service_on(alice, tmp_path_factory.mktemp("service")) as started:
        yield started
        assert (await started.audit())["problems"] == []


@pytest_asyncio.fixture(loop_scope="module")
async def carol() -> LndOutside:
    return LndOutside((await shared_network()).nodes["carol"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drivers() -> AsyncIterator[Drivers]:
    async with AsyncExitStack() as stack:
        yield Drivers(stack)


@every_library
async def test_the_tour_on_lnd(
    library: str, service: ServiceProcess, opened: Clients, carol: LndOutside
) -> None:
    alice, bob = [await join(service, opened, flavour=Flavour(library)) for _ in range(2)]
    node = (await shared_network()).nodes["alice"]
    before_msat = await in_channels_msat(node)

    await Tour(alice, bob, outside=carol, story=AssertedStory()).take()

    fee_msat = carol.fee_msat(TO_OUTSIDE_MSAT)
    after_msat = before_msat + FROM_OUTSIDE_MSAT - TO_OUTSIDE_MSAT - fee_msat

    async def done() -> bool:  # LND tells of a payment before its channels have done with it
        return await in_channels_msat(node) == after_msat

    await until(done)


def flavours() -> list[object]:
    """Whoever can ask for all of it, over each encryption that it has."""
    return [
        pytest.param(library, encryption, id=f"{library}-{encryption}")
        for library in LIBRARIES
        for encryption in BOTH
        if all(library.can_call(method, encryption) for method in METHODS)
    ]


@pytest.mark.parametrize(("library", "encryption"), flavours())
async def test_every_library_pays_and_is_paid_over_lnd(
    library: Library,
    encryption: str,
    service: ServiceProcess,
    drivers: Drivers,
    carol: LndOutside,
) -> None:
    name = f"account-{library.module or NOSTR_SDK.package}-{encryption}"
    await service.create_account(name, credit_msat=CREDIT_MSAT)
    uri = await service.connect(name, encryption=offered(library, encryption))
    async with drivers.client(library, uri) as client:
        info = await client.info()
        made = await client.make_invoice(AMOUNT_MSAT, description="two teas")
        await carol.pay(made["invoice"])

        async def is_settled() -> bool:
            found = await client.lookup_invoice(payment_hash=made["payment_hash"])
            return bool(found["state"] == "settled")

        await until(is_settled)
        invoice = await carol.make_invoice(2 * AMOUNT_MSAT)
        paid = await client.pay_invoice(invoice)
        listed = await client.list_transactions()
        balance_msat = await client.balance()

    assert info["network"] == "regtest"
    assert info["alias"] == "alice"
    assert keysend.payment_hash(paid["preimage"]) == bolt11.decode(invoice).payment_hash
    assert paid["fees_paid"] == FEE_MSAT
    assert balance_msat == CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT
    assert sorted((one["type"], one["amount"], one["fees_paid"]) for one in listed) == [
        ("incoming", AMOUNT_MSAT, 0),
        ("outgoing", 2 * AMOUNT_MSAT, FEE_MSAT),
    ]
