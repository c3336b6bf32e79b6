"""What waits in suspense is assigned once, whole, and to whom the operator says."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from nwc_service import views
from nwc_service.store import decisions, receipts
from nwc_service.suspense import Suspense
from nwc_service.views import View
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.units import MAX_MSAT, BackendName, Msat, PaymentHash
from tests.doubles.scripted_backend import ScriptedBackend, hash_of, preimage_of
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import World

AMOUNT_MSAT = 100_000
FOREIGN = hash_of(preimage_of(9))
OTHER_NODE = BackendName("other")
WHY = "asked the payer"

Assign = Callable[..., Awaitable[object]]


@pytest.fixture
def assign(world: World) -> Assign:
    suspense = Suspense(world.db, books=world.db, clock=world.clock)

    async def to(
        account: str | None,
        *,
        payment_hash: PaymentHash = FOREIGN,
        backend: BackendName | None = None,
        reason: str = WHY,
    ) -> object:
        return await suspense.assign(
            payment_hash, backend=backend, account=account, reason=reason
        )

    return to


async def foreign(
    world: World, client: Client, *, htlc_set: str = "", at: BackendName | None = None
) -> None:
    """Money that nobody here asked for."""
    made = await world.invoice(client, AMOUNT_MSAT)
    ours = world.backend.receive(PaymentHash(made["payment_hash"]))
    report = replace(ours, payment_hash=FOREIGN, invoice="lnbcrt", htlc_set=htlc_set)
    await world.crediter.credit(at or world.backend.name, report)


async def too_much(world: World, client: Client) -> PaymentHash:
    """More than the account can hold, for an invoice of its own."""
    made = await world.invoice(client, AMOUNT_MSAT)
    payment_hash = PaymentHash(made["payment_hash"])
    await world.crediter.credit(
        world.backend.name, world.backend.receive(payment_hash, MAX_MSAT)
    )
    return payment_hash


async def waiting(world: World) -> list[View]:
    return await world.db.read(views.suspense_list)


async def decided(world: World) -> list[tuple[str, str, str, str]]:
    rows = await world.db.read(decisions.decisions)
    return [(row["kind"], row["subject"], row["reason"], row["detail"]) for row in rows]


async def test_what_nobody_asked_for_waits_and_is_told(world: World, alice: Client) -> None:
    await foreign(world, alice)

    [waits] = await waiting(world)

    assert waits == {
        "payment_hash": FOREIGN,
        "backend": world.backend.name,
        "htlc_set": "",
        "amount_msat": AMOUNT_MSAT,
        "received_at": world.clock(),
        "invoice_id": None,
        "account": None,
    }
    assert await world.alarms() == ["unattributed"]


async def test_assigned_to_an_account_it_is_the_accounts(
    world: World, alice: Client, assign: Assign
) -> None:
    await foreign(world, alice)
    world.clock.advance(5)

    await assign("alice")

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.book("suspense") == 0
    assert (await waiting(world), await world.alarms()) == ([], [])
    assert await decided(world) == [
        ("receipt_assigned", FOREIGN, WHY, f"{AMOUNT_MSAT} msat from node to account alice")
    ]
    assert await world.problems() == ()


async def test_assigned_to_the_operator_it_is_owed_to_nobody(
    world: World, alice: Client, assign: Assign
) -> None:
    await foreign(world, alice)

    await assign(None)

    assert await world.owed_msat() == CREDIT_MSAT
    assert await world.book("suspense") == 0
    assert await world.book("equity") == AMOUNT_MSAT - CREDIT_MSAT
    [decision] = await decided(world)
    assert decision[3] == f"{AMOUNT_MSAT} msat from node to the operator"
    assert await world.problems() == ()


async def test_it_is_assigned_once(world: World, alice: Client, assign: Assign) -> None:
    await foreign(world, alice)
    await assign("alice")

    with pytest.raises(NotFound):
        await assign(None)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert len(await decided(world)) == 1


async def test_of_two_who_saw_it_wait_one_assigns_it(
    world: World, alice: Client, assign: Assign, monkeypatch: pytest.MonkeyPatch
) -> None:
    await foreign(world, alice)
    seen = await world.db.read(lambda tx: receipts.waiting_of(tx, FOREIGN))

    async def as_before(_tx: object, _payment_hash: PaymentHash) -> list[receipts.Receipt]:
        return seen

    monkeypatch.setattr(receipts, "waiting_of", as_before)
    await assign("alice")

    with pytest.raises(Refused, match="meanwhile"):
        await assign(None)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.book("suspense") == 0
    assert await world.problems() == ()


async def test_the_parts_of_one_hash_go_together(
    world: World, alice: Client, assign: Assign
) -> None:
    await foreign(world, alice, htlc_set="a")
    await foreign(world, alice, htlc_set="b")

    await assign("alice")

    assert await world.money("alice") == (CREDIT_MSAT + 2 * AMOUNT_MSAT, 0)
    assert await world.alarms() == []
    assert await world.problems() == ()


async def test_what_waits_at_several_backends_is_assigned_by_name(
    world: World, alice: Client, assign: Assign
) -> None:
    await foreign(world, alice)
    await foreign(world, alice, at=OTHER_NODE)

    with pytest.raises(Refused, match="node and other"):
        await assign("alice")
    with pytest.raises(NotFound):
        await assign("alice", backend=BackendName("third"))
    await assign("alice", backend=OTHER_NODE)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.alarms() == ["unattributed"]
    await assign("alice")
    assert await world.alarms() == []
    assert await world.problems() == ()


@pytest.mark.parametrize(
    ("account", "payment_hash", "reason", "refusal"),
    [
        pytest.param("nobody", FOREIGN, WHY, NotFound, id="no-such-account"),
        pytest.param("alice", hash_of(preimage_of(8)), WHY, NotFound, id="no-such-receipt"),
        pytest.param("alice", FOREIGN, " ", Refused, id="no-reason"),
    ],
)
async def test_what_cannot_be_assigned_changes_nothing(
    account: str,
    payment_hash: PaymentHash,
    reason: str,
    refusal: type[Refused],
    world: World,
    alice: Client,
    assign: Assign,
) -> None:
    await foreign(world, alice)

    with pytest.raises(refusal):
        await assign(account, payment_hash=payment_hash, reason=reason)

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert len(await waiting(world)) == 1
    assert await decided(world) == []


async def test_what_was_credited_is_nobodys_to_assign(
    world: World, alice: Client, backend: ScriptedBackend, assign: Assign
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    payment_hash = PaymentHash(made["payment_hash"])
    await world.crediter.credit(backend.name, backend.receive(payment_hash))

    with pytest.raises(NotFound):
        await assign(None, payment_hash=payment_hash)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def test_what_an_account_had_no_room_for_is_assigned_where_there_is_room(
    world: World, alice: Client, assign: Assign
) -> None:
    await world.account("empty")
    payment_hash = await too_much(world, alice)
    [waits] = await waiting(world)

    with pytest.raises(Refused, match="no room"):
        await assign("alice", payment_hash=payment_hash)
    assert await waiting(world) == [waits]
    await assign("empty", payment_hash=payment_hash)

    assert (waits["account"], waits["amount_msat"]) == ("alice", MAX_MSAT)
    assert await world.money("empty") == (MAX_MSAT, 0)
    assert await world.alarms() == []
    [decision] = await decided(world)
    assert decision[1] == waits["invoice_id"]
    shown = await world.db.read(lambda tx: views.payment(tx, payment_hash, now=world.clock()))
    assert [receipt["assigned_to"] for receipt in _rows(shown["receipts"])] == ["empty"]
    assert await world.problems() == ()


async def test_an_earlier_receipt_of_the_same_invoice_that_was_credited_is_left(
    world: World, alice: Client, backend: ScriptedBackend, assign: Assign
) -> None:
    await world.account("empty")
    made = await world.invoice(alice, AMOUNT_MSAT)
    payment_hash = PaymentHash(made["payment_hash"])
    first = backend.receive(payment_hash)
    await world.crediter.credit(backend.name, first)
    second_msat = Msat(MAX_MSAT - AMOUNT_MSAT)
    second = replace(first, htlc_set="late", received_msat=second_msat)
    await world.crediter.credit(backend.name, second)

    await assign("empty", payment_hash=payment_hash)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.money("empty") == (second_msat, 0)
    assert await world.problems() == ()


def _rows(value: object) -> list[View]:
    assert isinstance(value, list)
    return value
