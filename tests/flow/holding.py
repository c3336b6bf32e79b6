"""What the tests of hold invoices share: who asks for what, and how the service dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from nwc_service import failpoint
from nwc_service.failpoint import FailpointName
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.store import invoices
from nwc_service.store.database import Work
from nwc_service.store.sqlite import SqliteDatabase
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.units import PaymentHash
from tests.doubles.scripted_backend import ScriptedBackend, hash_of, preimage_of
from tests.flow.parties import Client, JsonObject
from tests.flow.world import World

T = TypeVar("T")

AMOUNT_MSAT = 100_000
PREIMAGE = preimage_of(1)
HASH = hash_of(PREIMAGE)


async def make(
    world: World, client: Client, *, number: int = 1, **others: object
) -> JsonObject:
    """The answer to make_hold_invoice for the hash of `preimage_of(number)`."""
    params = {"amount": AMOUNT_MSAT, "payment_hash": hash_of(preimage_of(number)), **others}
    return await world.call(client, "make_hold_invoice", params)


async def made(world: World, client: Client, *, number: int = 1, **others: object) -> str:
    """The invoice."""
    return str((await make(world, client, number=number, **others))["result"]["invoice"])


async def accepted(
    world: World, client: Client, backend: ScriptedBackend, *, number: int = 1, **others: object
) -> str:
    """A hold invoice of which the node holds a payment from outside."""
    invoice = await made(world, client, number=number, **others)
    backend.accept(hash_of(preimage_of(number)))
    await world.follow_the_stream()
    return invoice


async def held_inside(
    world: World, payee: Client, payer: Client, *, number: int = 1
) -> tuple[str, Event]:
    """A hold invoice of which the ledger holds a payment, and the request that waits for it."""
    invoice = await made(world, payee, number=number)
    request = world.pay(payer, invoice)
    await world.tasks.idle()
    return invoice, request


async def settle(world: World, client: Client, *, number: int = 1) -> JsonObject:
    return await world.call(client, "settle_hold_invoice", {"preimage": preimage_of(number)})


async def cancel(world: World, client: Client, *, number: int = 1) -> JsonObject:
    payment_hash = hash_of(preimage_of(number))
    return await world.call(client, "cancel_hold_invoice", {"payment_hash": payment_hash})


async def row(world: World, payment_hash: PaymentHash = HASH) -> Invoice:
    found = await world.db.read(
        lambda tx: invoices.by_hash(tx, backend=world.backend.name, payment_hash=payment_hash)
    )
    assert found is not None
    return found


async def lookup(world: World, client: Client, payment_hash: PaymentHash = HASH) -> JsonObject:
    answer = await world.call(client, "lookup_invoice", {"payment_hash": payment_hash})
    result: JsonObject = answer["result"]
    return result


def told(world: World, client: Client) -> list[str]:
    """The types of all notifications that came to this client, each event once."""
    distinct = {
        event.id: event
        for event in world.relay.taken
        if event.kind == kinds.NOTIFICATION and event.pubkey == client.connection.wallet_pubkey
    }
    return [str(client.open(event)["notification_type"]) for event in distinct.values()]


async def reconcile(world: World) -> None:
    """One turn of everything that the reconciler does about hold invoices."""
    await world.reconciler.ask_node(world.backend.name)
    await world.flow.holds.end_overdue()
    await world.flow.holds.resolve_decided()
    await world.reconciler.sweep_invoices(world.backend.name)
    await world.reconciler.cancel_invoices(world.backend.name)
    await world.look_up()


class Died(Exception):
    """The process is gone: nothing of it becomes durable any more."""


@contextmanager
def dying_at(name: FailpointName, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """While inside, the service dies at this failpoint, as by a power cut: the transaction that
    it is in is undone, and no other begins. It is an error not to come there."""
    dead = False
    write = SqliteDatabase.write

    def die() -> None:
        nonlocal dead
        dead = True
        raise Died(name)

    async def write_while_alive(self: SqliteDatabase, work: Work[T]) -> T:
        if dead:
            raise Died(name)
        return await write(self, work)

    with monkeypatch.context() as patched:
        patched.setattr(failpoint, "_pass", die)
        patched.setattr(SqliteDatabase, "write", write_while_alive)
        failpoint.arm(name)
        try:
            yield
        finally:
            failpoint.arm(None)
    assert dead, f"nothing came to {name}"
