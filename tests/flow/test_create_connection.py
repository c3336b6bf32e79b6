"""create_connection: made in one transaction with its answer, within the maker's limits."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from secrets import token_bytes
from typing import Any

import pytest

from nwc_service.backend import Cap
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair, PublicKey
from nwc_service.store import connections
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.units import Msat
from tests.clients.conversation import Conversation
from tests.doubles.scripted_backend import ScriptedBackend
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client, Clock, JsonObject
from tests.flow.world import World, broken

MAX_CHILDREN = 100
DAILY = Budget(Msat(10_000), Renewal.DAILY)


@pytest.fixture
async def maker(world: World) -> AsyncIterator[Client]:
    await world.account("alice", credit_msat=CREDIT_MSAT)
    yield await world.connect("alice")
    assert await world.problems() == ()


class App:
    """Another app, with a key of its own."""

    def __init__(self) -> None:
        self.keypair = Keypair(token_bytes(32))

    def wish(self, **asked: object) -> JsonObject:
        methods = ["pay_invoice", "make_invoice", "get_balance"]
        named = {"pubkey": self.keypair.public_key, "name": "tea", "request_methods": methods}
        return named | asked

    def client(self, connection: Connection) -> Client:
        wallet_pubkey = PublicKey(connection.wallet_pubkey)
        return Client(connection, Conversation(self.keypair, wallet_pubkey))


@pytest.fixture
def app() -> App:
    return App()


async def create(world: World, maker: Client, app: App, **asked: object) -> Connection:
    """Raises AssertionError where it is refused."""
    answer = await world.call(maker, "create_connection", app.wish(**asked))
    assert answer.get("error") is None, answer
    assert set(answer["result"]) == {"wallet_pubkey"}
    made = world.edges.directory.by_wallet(answer["result"]["wallet_pubkey"])
    assert made is not None
    return made


async def refusal(world: World, maker: Client, params: JsonObject) -> tuple[str, str]:
    before = await world.count("connection"), await world.count("account")
    answer = await world.call(maker, "create_connection", params)
    assert (await world.count("connection"), await world.count("account")) == before
    error: JsonObject = answer["error"]
    return error["code"], error["message"]


async def limited(world: World, maker: Client, **limits: Any) -> Client:
    """Another connection of the maker's account, with these limits."""
    client = await world.connect("alice")
    changed = replace(client.connection, **limits)
    columns = {"budget": "budget_msat = 10000, budget_renewal = 'daily'"}
    names = ", ".join(columns[name] for name in limits if name in columns)
    if names:
        await world.change_schema(
            f"UPDATE connection SET {names} WHERE connection_id = '{changed.connection_id}'"
        )
    world.edges.directory.put(changed)
    return replace(client, connection=changed)


async def test_the_new_app_can_do_at_once_what_it_was_granted(
    world: World, maker: Client, app: App
) -> None:
    """NIP-47: "MUST NOT rely on the knowing the client secret for general operation". Section
    4, "create_connection `isolated`": "else the same account"."""
    made = await create(world, maker, app)
    client = app.client(made)

    balance = await world.call(client, "get_balance")
    refused = await world.call(client, "list_transactions")

    assert made.parent_id == maker.connection.connection_id
    assert made.client_pubkey == app.keypair.public_key
    assert balance["result"] == {"balance": CREDIT_MSAT}
    assert refused["error"]["code"] == "RESTRICTED"


async def test_the_apps_key_may_be_written_in_upper_case(
    world: World, maker: Client, app: App
) -> None:
    made = await create(world, maker, app, pubkey=app.keypair.public_key.upper())

    assert made.client_pubkey == app.keypair.public_key


async def test_it_is_announced_before_its_answer_is_published(
    world: World, maker: Client, app: App
) -> None:
    published: list[str] = []
    announce = world.relay.announce

    async def announcing(connection: Connection) -> None:
        published.extend(event.pubkey for event in world.relay.taken)
        await announce(connection)

    world.flow.dispatcher._wallet.delegation._announce = announcing
    made = await create(world, maker, app)

    assert world.relay.announced == [made]
    assert published == []
    assert len(world.relay.taken) == 1


async def test_a_copy_of_the_request_makes_no_second_connection(
    world: World, maker: Client, app: App
) -> None:
    event = world.ask(maker, "create_connection", app.wish())
    world.deliver(event, repeated=True)
    await world.tasks.idle()
    world.deliver(event, repeated=True)
    await world.tasks.idle()

    assert await world.count("connection") == 2
    assert "wallet_pubkey" in world.answer(maker, event)["result"]


async def test_isolated_is_a_new_empty_account_under_the_same_limits(
    world: World, maker: Client, app: App
) -> None:
    """Section 4, "create_connection `isolated`": "true: a new empty account"; "limits never
    above the creator's own, and counted in it"."""
    bounded = await limited(world, maker, budget=DAILY, lud16="alice@example.org")

    made = await create(world, bounded, app, isolated=True)
    balance = await world.call(app.client(made), "get_balance")

    assert made.account_id != bounded.connection.account_id
    assert (made.budget, made.lud16) == (DAILY, None)
    assert balance["result"] == {"balance": 0}
    assert await world.count("account") == 2


async def test_the_budget_of_the_maker_goes_on_to_what_names_none(
    world: World, maker: Client, app: App
) -> None:
    bounded = await limited(world, maker, budget=DAILY)

    made = await create(world, bounded, app, budget_renewal="yearly")
    smaller = await create(world, bounded, App(), max_amount=9_000, budget_renewal="monthly")

    assert made.budget == DAILY
    assert smaller.budget == Budget(Msat(9_000), Renewal.MONTHLY)


async def test_nip04_stays_switched_off(world: World, maker: Client, app: App) -> None:
    """World's connections speak NIP-44 only; the default of a new one is both."""
    made = await create(world, maker, app)

    assert made.encryption == (Encryption.NIP44_V2,)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param({"pubkey": "ff" * 32}, "pubkey", id="key-off-the-curve"),
        pytest.param({"pubkey": "02" + "ab" * 32}, "pubkey", id="key-of-33-bytes"),
        pytest.param({"name": " "}, "name", id="no-name"),
        pytest.param({"name": "x" * 129}, "name", id="long-name"),
        pytest.param({"name": "a\nb"}, "name", id="name-of-two-lines"),
        pytest.param({"request_methods": []}, "request_methods", id="no-methods"),
        pytest.param({"request_methods": ["a b"]}, "request_methods", id="no-method-name"),
        pytest.param({"request_methods": "get_info"}, "request_methods", id="no-list"),
        pytest.param({"notification_types": ["x"]}, "notification_types", id="no-such-type"),
        pytest.param({"max_amount": 0}, "max_amount", id="budget-of-nothing"),
        pytest.param(
            {"max_amount": 1, "budget_renewal": "hourly"}, "budget_renewal", id="renewal"
        ),
        pytest.param({"expires_at": 1}, "expires_at", id="ended-already"),
        pytest.param({"isolated": "yes"}, "isolated", id="no-flag"),
    ],
)
async def test_params_that_are_not_in_order_are_a_bad_request(
    asked: JsonObject, told: str, world: World, maker: Client, app: App
) -> None:
    """protocol.md 1.5: "Hub: refuses [...] empty method list [...] (BAD_REQUEST)"."""
    code, message = await refusal(world, maker, app.wish(**asked))

    assert code == "BAD_REQUEST"
    assert message.startswith(told)


@pytest.mark.parametrize(
    "methods",
    [
        pytest.param(["create_connection"], id="itself"),
        pytest.param(["get_info", "no_such_method"], id="one-that-is-not-there"),
        pytest.param(["sign_message"], id="one-that-the-node-cannot-do"),
    ],
)
async def test_methods_that_it_may_not_hand_on_are_restricted(
    methods: list[str], world: World, maker: Client, app: App, backend: ScriptedBackend
) -> None:
    """protocol.md 1.5: "refuses granting create_connection, [...] unsupported methods"."""
    backend.caps = ~Cap.SIGN & backend.caps
    code, message = await refusal(world, maker, app.wish(request_methods=methods))

    assert (code, message.partition(":")[0]) == ("RESTRICTED", "request_methods")


async def test_only_a_connection_that_holds_the_scope_makes_others(
    world: World, maker: Client, app: App
) -> None:
    child = await create(world, maker, app)
    plain = await world.connect("alice", scopes=frozenset({"pay_invoice", "get_balance"}))

    for client in (plain, app.client(child)):
        code, _ = await refusal(world, client, App().wish(request_methods=["get_balance"]))
        assert code == "RESTRICTED"


async def test_one_connection_makes_only_so_many_and_a_revoked_one_makes_room(
    world: World, maker: Client
) -> None:
    made = [await create(world, maker, App()) for _ in range(MAX_CHILDREN)]

    code, _ = await refusal(world, maker, App().wish())
    await revoke(world, made[0])
    await create(world, maker, App())

    assert code == "RATE_LIMITED"


async def test_another_accounts_connection_gains_nothing(
    world: World, maker: Client, bob: Client, app: App
) -> None:
    made = await create(world, bob, app)

    balance = await world.call(app.client(made), "get_balance")

    assert made.account_id == bob.connection.account_id != maker.connection.account_id
    assert balance["result"] == {"balance": CREDIT_MSAT}


async def test_authority_is_never_in_the_metadata_or_in_unknown_parameters(
    world: World, maker: Client, bob: Client, app: App
) -> None:
    """protocol.md 1.7: "never let metadata drive authority"."""
    hers = bob.connection
    asked = {"account_id": hers.account_id, "parent_id": hers.connection_id, "scopes": "full"}

    made = await create(world, maker, app, metadata=asked, **asked)

    assert made.account_id == maker.connection.account_id
    assert made.parent_id == maker.connection.connection_id
    assert "list_transactions" not in made.scopes


# --- what ends the maker ends what it made


async def revoke(world: World, connection: Connection) -> None:
    now = world.clock()
    ended = await world.db.write(
        lambda tx: connections.revoke(tx, connection.connection_id, now=now)
    )
    for each in ended:
        world.edges.directory.put(each)


async def test_revoking_the_maker_revokes_what_it_made_and_nothing_else(
    world: World, maker: Client, app: App
) -> None:
    made = await create(world, maker, app)
    other = await world.connect("alice")

    await revoke(world, maker.connection)

    refused = await world.call(app.client(made), "get_balance")
    assert refused["error"]["code"] == "UNAUTHORIZED"
    assert (await world.call(other, "get_balance"))["result"] == {"balance": CREDIT_MSAT}


async def test_a_maker_that_was_revoked_meanwhile_makes_nothing(
    world: World, maker: Client, app: App
) -> None:
    """As when the request had been looked at before the revoke was committed."""
    await world.db.write(
        lambda tx: connections.revoke(tx, maker.connection.connection_id, now=world.clock())
    )

    code, _ = await refusal(world, maker, app.wish(isolated=True))

    assert code == "UNAUTHORIZED"


async def test_what_it_made_ends_with_it(world: World, clock: Clock, app: App) -> None:
    await world.account("alice", credit_msat=CREDIT_MSAT)
    maker = await world.connect("alice", expires_at=clock() + 50)

    made = await create(world, maker, app)
    clock.advance(50)

    refused = await world.call(app.client(made), "get_balance")
    assert made.expires_at == maker.connection.expires_at
    assert refused["error"]["code"] == "UNAUTHORIZED"


# --- crashes


async def test_a_transaction_that_fails_leaves_neither_connection_nor_account(
    world: World, maker: Client, app: App
) -> None:
    async with broken(world, "TRUE", table="outbox", event="INSERT"):
        event = world.ask(maker, "create_connection", app.wish(isolated=True))
        await world.tasks.idle()

    assert await world.count("connection") == 1
    assert await world.count("account") == 1
    assert await world.count("request") == 0
    assert world.answers_to(maker, event) == []


async def test_after_a_crash_behind_the_commit_the_answer_comes_and_the_app_is_served(
    start: Open, app: App
) -> None:
    """The connections that are announced at the start are those of the directory."""
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        maker = await world.connect("alice")
        world.flow.dispatcher._wallet.delegation._announce = crash
        event: Event = world.ask(maker, "create_connection", app.wish())
        await world.tasks.idle_for_now()
        assert world.answers_to(maker, event) == []

    async with start() as world:
        await world.tasks.idle()
        answer = world.answer(maker, event)
        made = world.edges.directory.by_wallet(answer["result"]["wallet_pubkey"])
        assert made is not None
        balance = await world.call(app.client(made), "get_balance")

    assert balance["result"] == {"balance": CREDIT_MSAT}


async def crash(_connection: Connection) -> None:
    """Nothing comes after this in the life of this service."""
    await asyncio.Event().wait()
