"""After a restore from a backup nothing old is executed, and nothing leaves by itself (A21)."""

import shutil
from pathlib import Path

import pytest

from nwc_service import datadir
from nwc_service.restore import Margins, Mark, use_with_care
from nwc_service.store.nodes import Stops, pauses
from nwc_service.wallet.payment import CLOCK_SKEW_S
from tests.doubles.scripted_backend import (
    FEE_MSAT,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client
from tests.flow.world import PAYMENT_TIMEOUT_S, World

AMOUNT_MSAT = 100_000
FUTURE_S = 60


def mark_of(world: World) -> Mark:
    return Mark(world.db, data_dir=world.path.parent, clock=world.clock)


async def restore(world: World, *, detail: str = "a test") -> None:
    await use_with_care(
        world.db,
        backends=[world.backend.name],
        margins=Margins(future_s=FUTURE_S, unpayable_s=PAYMENT_TIMEOUT_S + CLOCK_SKEW_S),
        detail=detail,
        now=world.clock(),
    )


@pytest.mark.attack("A21")
async def test_books_that_are_behind_their_mark_are_a_backup(
    start: Open, tmp_path: Path
) -> None:
    database, backup = tmp_path / "nwc.sqlite", tmp_path / "backup"
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        await mark_of(world).keep()
    shutil.copy(database, backup)
    async with start() as world:
        await world.account("bob", credit_msat=CREDIT_MSAT)
        await mark_of(world).keep()
        assert await mark_of(world).behind() is None
    for name in ("nwc.sqlite", "nwc.sqlite-wal", "nwc.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(backup, database)

    async with start() as world:
        assert await mark_of(world).behind() == "entries had reached 2, the database has 1"
        await mark_of(world).keep()  # accepted: it is said once
        assert await mark_of(world).behind() is None


async def test_books_without_a_mark_are_not_called_a_backup(world: World) -> None:
    assert datadir.mark(world.path.parent) == {}
    assert await mark_of(world).behind() is None


@pytest.mark.attack("A21", "A26")
async def test_no_request_from_before_the_restore_has_any_effect(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())
    old = alice.request("pay_invoice", {"invoice": invoice}, created_at=world.clock())
    older = alice.request("make_invoice", {"amount": 1_000}, created_at=world.clock())
    refused = alice.request("pay_invoice", {"invoice": "lnbc"}, created_at=world.clock())
    await restore(world)
    await world.flow.guard.resume("node", reason="compared")
    world.clock.advance(1)

    for request in (old, older, refused):
        world.deliver(request)
    await world.tasks.idle()

    assert [world.answers_to(alice, event) for event in (old, older, refused)] == [[], [], []]
    assert backend.sent == []
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.count("request") == await world.count("invoice") == 0


async def test_a_request_from_after_the_restore_is_served(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.expect(1)
    await restore(world)
    await world.flow.guard.resume("node", reason="compared")
    world.clock.advance(FUTURE_S)

    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())
    answer = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert "result" in answer


@pytest.mark.attack("A21")
async def test_after_a_restore_nothing_leaves_until_the_operator_resumes(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.expect(1)
    await restore(world, detail="from the backup of monday")
    world.clock.advance(FUTURE_S)

    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())
    answer = await world.call(alice, "pay_invoice", {"invoice": invoice})
    made = await world.call(alice, "make_invoice", {"amount": 1_000})

    assert backend.sent == []
    assert answer["error"]["code"] == "INTERNAL"
    assert "result" in made  # what comes in goes on
    [pause] = await world.db.read(pauses)
    assert (pause.stops, pause.reason, pause.detail) == (
        Stops.OUTGOING,
        "restored",
        "from the backup of monday",
    )
    assert await world.alarms() == ["backend_paused"]


@pytest.mark.parametrize("text", ["not json", "[1]", "7", ""])
async def test_a_mark_that_cannot_be_read_is_not_taken_for_none(
    world: World, text: str
) -> None:
    (world.path.parent / datadir.MARK).write_text(text)

    with pytest.raises(ValueError, match="cannot be read"):
        await mark_of(world).behind()


async def test_books_that_were_used_elsewhere_may_be_a_backup(
    world: World, tmp_path: Path
) -> None:
    await mark_of(world).keep()
    mark = datadir.mark(tmp_path)

    datadir.leave_mark(tmp_path, mark | {"database": "another"})
    assert await mark_of(world).behind() is not None
    (tmp_path / datadir.MARK).unlink()
    assert await mark_of(world).behind() is not None


async def test_new_books_beside_an_old_mark_are_no_backup(world: World, tmp_path: Path) -> None:
    datadir.leave_mark(tmp_path, {"database": "another", "entries": 10**6})

    assert await mark_of(world).behind() is None


async def test_what_a_backup_calls_reserved_may_have_been_sent_and_is_looked_up(
    world: World, alice: Client, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backup was made between the reservation and the send."""
    backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())
    with monkeypatch.context() as patch:
        patch.setattr(world.spender, "_start", lambda payment: None)
        request = world.pay(alice, invoice)
        await world.tasks.idle()
    payment_hash = hash_of(preimage_of(1))
    backend.known[payment_hash] = backend.settled(payment_hash)

    await restore(world)
    await world.look_up()

    assert backend.sent == []
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
    assert world.answer(alice, request)["result"]["preimage"] == preimage_of(1)
    assert await world.problems() == ()
