"""The tour with the service on real LNbits, whose outside is another LNbits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.backends.lnbits_server import LnbitsChain, LnbitsWallet, shared_chain
from tests.clients.client import ClientError
from tests.demo.parties import Clients, Party
from tests.demo.tour import FROM_OUTSIDE_MSAT, TO_OUTSIDE_MSAT, Tour
from tests.e2e.conftest import AssertedStory, Flavour, every_library, join, refused_start
from tests.e2e.service import ServiceProcess, service_process

# The first test may have to start, or even install, LNbits.
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.real,
    pytest.mark.timeout(600),
]

FEE_CAP = "max(2000, 1%)"  # as a new LNbits has it
OUTSIDE_SAT = 100_000
CREDIT_MSAT = 5_000_000
GONE_S = 12.0  # LNbits says "pending" after five
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class LnbitsOutside:
    """A wallet on the LNbits outside."""

    wallet: LnbitsWallet

    async def make_invoice(self, amount_msat: int) -> str:
        return await self.wallet.make_invoice(amount_msat)

    async def pay(self, invoice: str) -> None:
        assert await self.wallet.pay(invoice) == "success"

    def fee_msat(self, amount_msat: int) -> int:
        """Its FakeWallet takes none, and so LNbits charges none."""
        return 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain() -> LnbitsChain:
    return await shared_chain()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def our_wallet(chain: LnbitsChain) -> LnbitsWallet:
    """What the service works with; empty at first."""
    return await chain.ours.new_wallet()


@pytest_asyncio.fixture(loop_scope="module")
async def outside(chain: LnbitsChain) -> LnbitsOutside:
    return LnbitsOutside(await chain.upstream.new_wallet(credit_sat=OUTSIDE_SAT))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    our_wallet: LnbitsWallet, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    data_dir = tmp_path_factory.mktemp("service") / "data"
    async with service_process(data_dir, **variables(our_wallet)) as started:
        yield started
        assert (await started.audit())["problems"] == []


@every_library
async def test_the_tour_on_lnbits(
    library: str,
    service: ServiceProcess,
    opened: Clients,
    our_wallet: LnbitsWallet,
    outside: LnbitsOutside,
) -> None:
    alice, bob = [await join(service, opened, flavour=Flavour(library)) for _ in range(2)]
    before_msat = await our_wallet.balance_msat()

    await Tour(alice, bob, outside=outside, story=AssertedStory()).take()

    moved_msat = FROM_OUTSIDE_MSAT - TO_OUTSIDE_MSAT
    assert await our_wallet.balance_msat() == before_msat + moved_msat
    assert await outside.wallet.balance_msat() == OUTSIDE_SAT * 1000 - moved_msat


@every_library
async def test_an_invoice_of_less_than_a_sat_is_refused(
    library: str, service: ServiceProcess, opened: Clients
) -> None:
    alice = await join(service, opened, flavour=Flavour(library))

    with pytest.raises(ClientError, match="whole sats") as refused:
        await alice.client.make_invoice(1_500)

    assert refused.value.code == "OTHER"
    assert await alice.client.list_transactions(unpaid=True) == []


async def test_the_service_is_ready_and_moves_real_money(service: ServiceProcess) -> None:
    ready = await service.admin.get("/readyz")

    assert ready.status_code == 200
    assert ready.json()["backends"] == {"lnbits": True}
    assert "notice" not in ready.json()


@pytest.mark.parametrize("library", ["nostr-sdk"])
async def test_money_that_lnbits_does_not_have_is_not_sent(
    library: str, service: ServiceProcess, opened: Clients, outside: LnbitsOutside
) -> None:
    alice: Party = await join(service, opened, flavour=Flavour(library))
    await service.call(
        "POST", f"accounts/{alice.name}/credit", amount_msat=9_000_000, reason="a", force=True
    )

    with pytest.raises(ClientError) as refused:
        await alice.client.pay_invoice(await outside.make_invoice(8_000_000))

    assert refused.value.code == "INTERNAL"
    assert "not known to cover" in str(refused.value)
    account = await service.account(alice.name)
    assert (account["available_msat"], account["held_msat"]) == (9_000_000, 0)
    await service.call(
        "POST", f"accounts/{alice.name}/debit", amount_msat=9_000_000, reason="a"
    )


@pytest.mark.attack("A4")
@pytest.mark.parametrize("library", ["nostr-sdk"])
@pytest.mark.parametrize("upstream", ["frozen", "dead"])
async def test_a_payment_whose_upstream_is_gone_stays_held_over_a_kill_and_money_comes_in_after(
    upstream: str, library: str, chain: LnbitsChain, opened: Clients, tmp_path: Path
) -> None:
    """LNbits never learns what became of it, so nobody but the operator may end it."""
    wallet = await chain.ours.new_wallet(credit_sat=OUTSIDE_SAT)
    outside = LnbitsOutside(await chain.upstream.new_wallet(credit_sat=OUTSIDE_SAT))
    async with service_process(tmp_path / "data", **variables(wallet)) as service:
        alice = await join(service, opened, flavour=Flavour(library))
        await service.call(
            "POST", f"accounts/{alice.name}/credit", amount_msat=CREDIT_MSAT, reason="a"
        )
        invoice = await outside.make_invoice(TO_OUTSIDE_MSAT)

        async with gone(chain, how=upstream):
            with pytest.raises((ClientError, TimeoutError)):
                async with asyncio.timeout(GONE_S):
                    await alice.client.pay_invoice(invoice)
            await service.kill()
            await service.start()
            account = await service.account(alice.name)

        assert account["available_msat"] + account["held_msat"] == CREDIT_MSAT
        assert account["held_msat"] >= TO_OUTSIDE_MSAT
        app = await opened.open(await service.connect(alice.name), library=library)
        made = await app.make_invoice(FROM_OUTSIDE_MSAT)
        await outside.pay(made["invoice"])
        await until_available(service, alice.name, msat=account["available_msat"])
        assert (await service.audit())["problems"] == []


@asynccontextmanager
async def gone(chain: LnbitsChain, *, how: str) -> AsyncIterator[None]:
    if how == "frozen":
        chain.pause_upstream()
    else:
        chain.kill_upstream()
    try:
        yield
    finally:
        if how == "frozen":
            chain.resume_upstream()
        else:
            await chain.restart_upstream()


async def until_available(service: ServiceProcess, name: str, *, msat: int) -> None:
    """What is received comes on top of that."""
    async with asyncio.timeout(WAIT_S):
        while (await service.account(name))["available_msat"] != msat + FROM_OUTSIDE_MSAT:
            await asyncio.sleep(0.2)


async def test_without_lnbits_own_cap_the_service_refuses_to_start(
    our_wallet: LnbitsWallet, tmp_path: Path
) -> None:
    environment = variables(our_wallet)
    del environment["NWC_LNBITS_FEE_CAP"]

    problem = await refused_start(tmp_path / "data", **environment)

    assert "fee_cap is missing" in problem
    assert our_wallet.admin_key not in problem


def variables(wallet: LnbitsWallet) -> dict[str, str]:
    return {
        "NWC_BACKEND": "lnbits",
        "NWC_LNBITS_URL": wallet.url,
        "NWC_LNBITS_ADMIN_KEY": wallet.admin_key,
        "NWC_LNBITS_INVOICE_KEY": wallet.invoice_key,
        "NWC_LNBITS_FEE_CAP": FEE_CAP,
    }
