"""Connections as stored, and budgets that concurrent payments cannot pass."""

import asyncio
from functools import partial

import pytest

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption, NotificationType
from nwc_service.store import connections
from nwc_service.store.connections import Standing
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.units import AccountId, ConnectionId, Msat
from tests.core.samples import ALICE, BOB, NOW, a_connection
from tests.store.books import Books
from tests.store.drivers import Driver

ID = ConnectionId("connection")
BUDGET = Budget(Msat(100), Renewal.DAILY)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"budget": BUDGET, "max_payment_msat": Msat(5)}, id="with-limits"),
        pytest.param({"expires_at": NOW + 5}, id="that-expires"),
        pytest.param({"encryption": (Encryption.NIP04,)}, id="nip04-only"),
        pytest.param({"notifications": frozenset()}, id="without-notifications"),
        pytest.param(
            {"notifications": frozenset({NotificationType.PAYMENT_SENT})}, id="with-one-type"
        ),
        pytest.param({"relays": ("wss://a.example", "ws://b/?x=1&y=,")}, id="with-relays"),
        pytest.param({"app": "Zoë's app, \"the\" 'best' \\ ☃"}, id="with-any-name"),
        pytest.param({"scopes": frozenset({"get_info"})}, id="with-one-scope"),
        pytest.param({"internal_only": True}, id="that-pays-inside-only"),
        pytest.param({"destinations": ("02" * 33, "03" * 33)}, id="that-pays-certain-nodes"),
        pytest.param(
            {"relays": ("wss://a.example",), "relays_by_user": True, "link_state": "ab" * 16},
            id="of-a-link",
        ),
        pytest.param({"lud16": "a@b.example", "metadata": '{"a":1}'}, id="with-what-it-tells"),
    ],
)
async def test_a_connection_comes_back_as_it_was(
    changes: dict[str, object], books: Books
) -> None:
    stored = await books.connect(**changes)

    found = await books.database.read(lambda tx: connections.connection(tx, ID))

    assert found == stored == a_connection(**changes)


async def test_what_is_not_there_is_none(books: Books) -> None:
    assert await books.database.read(lambda tx: connections.connection(tx, ID)) is None


async def test_connections_of_one_account_or_of_all(books: Books) -> None:
    for number, account_id in enumerate((ALICE, BOB, ALICE)):
        await books.connect(
            connection_id=str(number), wallet_pubkey=str(number), account_id=account_id
        )

    async def ids(account_id: AccountId | None) -> list[str]:
        found = await books.database.read(
            lambda tx: connections.connections(tx, account_id=account_id)
        )
        return [connection.connection_id for connection in found]

    assert await ids(None) == ["0", "1", "2"]
    assert await ids(ALICE) == ["0", "2"]
    assert await ids(BOB) == ["1"]


async def test_a_repeated_revoke_keeps_the_first_time(books: Books) -> None:
    await books.connect()

    for now in (NOW + 1, NOW + 2):
        await books.database.write(partial(connections.revoke, connection_id=ID, now=now))

    found = await books.database.read(lambda tx: connections.connection(tx, ID))
    assert found == a_connection(revoked_at=NOW + 1)


@pytest.mark.attack("A31")
async def test_revoking_one_revokes_what_it_made_and_no_other(books: Books) -> None:
    await books.connect()
    for name, parent_id in (("child", ID), ("other", None), ("others-child", "other")):
        await books.connect(connection_id=name, wallet_pubkey=name, parent_id=parent_id)

    revoked = await books.database.write(lambda tx: connections.revoke(tx, ID, now=NOW + 1))

    found = await books.database.read(connections.connections)
    assert {each.connection_id for each in revoked} == {ID, "child"}
    assert {each.connection_id: each.revoked_at for each in found} == {
        ID: NOW + 1,
        "child": NOW + 1,
        "other": None,
        "others-child": None,
    }


async def test_what_was_made_and_not_revoked_is_counted(books: Books) -> None:
    await books.connect()
    for name in ("one", "two"):
        await books.connect(connection_id=name, wallet_pubkey=name, parent_id=ID)
    await books.database.write(lambda tx: connections.revoke(tx, ConnectionId("one"), now=NOW))

    assert await books.database.read(lambda tx: connections.child_count(tx, ID)) == 1
    assert (
        await books.database.read(lambda tx: connections.child_count(tx, ConnectionId("two")))
        == 0
    )


@pytest.mark.parametrize(
    ("changes", "now", "judged"),
    [
        pytest.param({}, NOW, Standing.SERVED, id="for-ever"),
        pytest.param({"expires_at": NOW + 1}, NOW, Standing.SERVED, id="its-last-second"),
        pytest.param({"expires_at": NOW}, NOW, Standing.ENDED, id="at-its-expiry"),
    ],
)
async def test_the_transaction_itself_judges_whether_a_connection_lives(
    changes: dict[str, object], now: int, judged: Standing, books: Books
) -> None:
    connection = await books.connect(**changes)

    assert await standing(books, connection, now=now) is judged


async def test_a_pause_counts_for_it_and_what_it_has_made_and_not_for_others(
    books: Books,
) -> None:
    older = await books.connect()
    child = await books.connect(connection_id="child", wallet_pubkey="cc" * 32, parent_id=ID)
    other = await books.connect(connection_id="other", wallet_pubkey="dd" * 32)

    await books.database.write(lambda tx: connections.set_paused(tx, ID, paused_at=NOW))
    again = await books.database.write(
        lambda tx: connections.set_paused(tx, ID, paused_at=NOW + 1)
    )
    paused = [await standing(books, each) for each in (older, child, other)]
    await books.database.write(lambda tx: connections.set_paused(tx, ID, paused_at=None))

    assert paused == [Standing.PAUSED, Standing.PAUSED, Standing.SERVED]
    assert {each.paused_at for each in again} == {NOW}
    assert await standing(books, older) is Standing.SERVED


async def test_a_revoke_counts_for_who_holds_an_older_copy(books: Books) -> None:
    older = await books.connect()
    await books.database.write(lambda tx: connections.revoke(tx, ID, now=NOW))

    assert await standing(books, older) is Standing.ENDED


@pytest.mark.attack("A20")
async def test_another_accounts_connection_is_not_live_here(books: Books) -> None:
    await books.connect()
    forged = a_connection(account_id=BOB)

    assert await standing(books, forged) is Standing.ENDED


async def standing(books: Books, connection: Connection, *, now: int = NOW) -> Standing:
    return await books.database.read(lambda tx: connections.standing(tx, connection, now=now))


# --- budgets


async def use(books: Books, amount_msat: int, *, period_start: int = 0) -> bool:
    return await books.database.write(
        lambda tx: connections.use_budget(
            tx, ID, period_start=period_start, amount_msat=Msat(amount_msat)
        )
    )


async def used_msat(books: Books, *, period_start: int = 0) -> int:
    return await books.database.read(
        lambda tx: connections.budget_used_msat(tx, ID, period_start=period_start)
    )


@pytest.mark.parametrize(
    ("amounts", "taken"),
    [
        pytest.param([100], [True], id="all-of-it"),
        pytest.param([101], [False], id="one-too-many"),
        pytest.param([60, 41, 40], [True, False, True], id="what-fits"),
        pytest.param([100, 1], [True, False], id="nothing-left"),
    ],
)
async def test_a_budget_is_never_passed(
    amounts: list[int], taken: list[bool], books: Books
) -> None:
    await books.connect(budget=BUDGET)

    assert [await use(books, amount) for amount in amounts] == taken
    assert await used_msat(books) == sum(
        amount for amount, was in zip(amounts, taken, strict=True) if was
    )


@pytest.mark.attack("A1")
async def test_a_budget_is_never_passed_by_many_at_once(books: Books) -> None:
    await books.connect(budget=BUDGET)

    taken = await asyncio.gather(*(use(books, 30) for _ in range(20)))

    assert taken.count(True) == 3
    assert await used_msat(books) == 90


async def test_every_period_has_the_whole_budget(books: Books) -> None:
    await books.connect(budget=BUDGET)

    assert await use(books, 100, period_start=0)
    assert await use(books, 100, period_start=86_400)
    assert not await use(books, 1, period_start=86_400)


async def test_what_is_given_back_can_be_used_again(books: Books) -> None:
    await books.connect(budget=BUDGET)
    await use(books, 100)

    await books.database.write(
        lambda tx: connections.give_budget_back(tx, ID, period_start=0, amount_msat=Msat(40))
    )

    assert await used_msat(books) == 60
    assert await use(books, 40)
    assert not await use(books, 1)


async def test_no_more_is_given_back_than_was_used(books: Books, driver: Driver) -> None:
    await books.connect(budget=BUDGET)
    await use(books, 10)

    with pytest.raises(driver.refusals):
        await books.database.write(
            lambda tx: connections.give_budget_back(
                tx, ID, period_start=0, amount_msat=Msat(11)
            )
        )

    assert await used_msat(books) == 10


async def test_a_budget_that_was_never_used_is_zero(books: Books) -> None:
    await books.connect(budget=BUDGET)

    assert await used_msat(books) == 0


async def test_without_a_budget_there_is_none_to_use(books: Books) -> None:
    await books.connect(budget=None)

    assert not await use(books, 1)
