"""Money by Lightning addresses: credited as all money is, asked for by strangers who can do
nothing else with it."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from nwc_service.backend import BackendUnavailable, Cap, InvoiceReport, InvoiceSpec, NodeInfo
from nwc_service.lnurl.pay import InvalidAsk
from nwc_service.payers import KEPT_UNPAID_S, MAX_MAKING
from nwc_service.store import decisions, invoices
from nwc_service.wallet import bolt11
from nwc_service.wallet.errors import ErrorCode, NotFound, Refused, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.units import Msat, PaymentHash
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.paying import AMOUNT_MSAT, NAME, Office, open_office
from tests.flow.world import World

EXPIRY_S = 600
EXPIRED_FOR_PAYERS_S = 600


@pytest.fixture
async def office(world: World, alice: Client) -> Office:
    """`alice` is an address of alice's account."""
    opened = open_office(world)
    await opened.addresses.add(NAME, account="alice")
    return opened


def hash_in(invoice: Invoice) -> PaymentHash:
    assert invoice.payment_hash is not None
    return invoice.payment_hash


async def paid(world: World, invoice: Invoice, *, msat: int | None = None) -> None:
    """From outside, and told by the node."""
    report = world.backend.receive(hash_in(invoice), msat)
    await world.crediter.credit(world.backend.name, report)
    await world.tasks.idle()


async def state_of(world: World, invoice: Invoice) -> InvoiceState | None:
    found = await world.db.read(lambda tx: invoices.invoice(tx, invoice.invoice_id))
    return found.state if found else None


# --- money


@pytest.mark.attack("A15")
async def test_who_pays_an_address_pays_its_account_exactly_once(
    world: World, alice: Client, office: Office
) -> None:
    made = await office.ask(comment="for the coffee")

    for _ in range(2):
        await paid(world, made)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    [told] = world.notifications(alice)
    assert told["notification"]["amount"] == AMOUNT_MSAT
    assert told["notification"]["metadata"] == {"comment": "for the coffee"}
    assert await world.problems() == ()


async def test_what_a_payer_is_handed_is_exactly_what_he_asked_for(
    world: World, office: Office
) -> None:
    terms = await office.payers.terms(NAME)

    made = bolt11.decode((await office.ask()).invoice)

    [spec] = world.backend.specs
    assert made.amount_msat == AMOUNT_MSAT
    assert made.description_hash == spec.description_hash
    assert made.expires_at - made.created_at == EXPIRY_S
    assert terms.answer()["metadata"] == terms.metadata


async def test_an_address_is_paid_inside_the_ledger_too(
    world: World, bob: Client, office: Office
) -> None:
    made = await office.ask()

    answer = await world.call(bob, "pay_invoice", {"invoice": made.invoice})

    assert "result" in answer
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT - AMOUNT_MSAT, 0)
    assert world.backend.sent == []
    assert await world.problems() == ()


async def test_what_is_open_when_an_address_is_removed_is_credited_all_the_same(
    world: World, office: Office
) -> None:
    made = await office.ask()
    await office.addresses.remove(NAME, reason="gone", by="owner")

    await paid(world, made)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    with pytest.raises(NotFound):
        await office.ask()
    kinds = [row["kind"] for row in await world.db.read(decisions.decisions)]
    assert kinds == ["address_removed", "address_added"]


@pytest.mark.attack("A20")
async def test_an_invoice_is_not_made_for_an_address_that_goes_meanwhile(
    world: World, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await office.payers._address(NAME)
    await office.addresses.remove(NAME)
    await world.account("mallory")
    await office.addresses.add(NAME, account="mallory")

    async def as_before(name: str) -> object:
        return found

    monkeypatch.setattr(office.payers, "_address", as_before)

    with pytest.raises(NotFound):
        await office.ask()
    assert (world.backend.specs, await world.count("invoice")) == ([], 0)


# --- what the account sees


async def test_what_strangers_ask_for_is_listed_once_they_have_paid(
    world: World, alice: Client, office: Office
) -> None:
    made = await office.ask()
    before = await world.call(alice, "list_transactions", {"unpaid": True})

    await paid(world, made)

    after = await world.call(alice, "list_transactions", {"unpaid": True})
    assert (before["result"]["transactions"], before["result"]["total_count"]) == ([], 0)
    [shown] = after["result"]["transactions"]
    assert (shown["payment_hash"], shown["state"]) == (made.payment_hash, "settled")


@pytest.mark.attack("A28")
async def test_strangers_cannot_use_up_what_the_account_may_have_open(
    world: World, alice: Client, office: Office
) -> None:
    world.receiver._max_open_invoices = 1
    for _ in range(3):
        await office.ask()

    assert "payment_hash" in await world.invoice(alice, AMOUNT_MSAT)


async def test_however_much_strangers_ask_for_the_accounts_own_are_swept_first(
    world: World, alice: Client, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nwc_service.reconciler.SWEEP_AT_MOST", 2)
    for _ in range(5):
        await office.ask()
    own = await world.invoice(alice, AMOUNT_MSAT, expiry=EXPIRY_S * 2)
    world.backend.receive(PaymentHash(own["payment_hash"]))
    world.backend.stream.clear()

    await world.reconciler.sweep_invoices(world.backend.name)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


@pytest.mark.attack("A16")
async def test_what_a_stranger_paid_is_found_by_the_sweep(world: World, office: Office) -> None:
    world.backend.receive(hash_in(await office.ask()))
    world.backend.stream.clear()

    await world.reconciler.sweep_invoices(world.backend.name)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


# --- bounds, before any row and any call of the node


async def refused(office: Office, name: str = NAME) -> ErrorCode:
    with pytest.raises(RequestError) as caught:
        await office.ask(name)
    return caught.value.code


@pytest.mark.attack("A28")
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"max_open_per_address": 2}, id="open-of-one-address"),
        pytest.param({"max_open": 2}, id="open-of-all"),
        pytest.param({"address_burst": 2, "address_rate_per_s": 0.001}, id="rate"),
    ],
)
async def test_beyond_a_bound_nothing_is_written_and_no_node_is_asked(
    world: World, alice: Client, settings: dict[str, object]
) -> None:
    office = open_office(world, **settings)
    await office.addresses.add(NAME, account="alice")
    for _ in range(2):
        await office.ask()

    assert await refused(office) is ErrorCode.RATE_LIMITED
    assert (len(world.backend.specs), await world.count("invoice")) == (2, 2)


async def test_one_flooded_address_leaves_room_for_another(world: World, alice: Client) -> None:
    office = open_office(world, max_open_per_address=1)
    for name in (NAME, "shop"):
        await office.addresses.add(name, account="alice")
    await office.ask()

    assert await refused(office) is ErrorCode.RATE_LIMITED
    assert (await office.ask("shop")).address == "shop"


async def test_what_has_expired_makes_room_for_its_address(world: World, alice: Client) -> None:
    office = open_office(world, max_open_per_address=1)
    await office.addresses.add(NAME, account="alice")
    await office.ask()

    world.clock.advance(EXPIRY_S)

    assert (await office.ask()).state is InvoiceState.PENDING


async def test_what_is_closed_makes_room_for_all_addresses(world: World, alice: Client) -> None:
    office = open_office(world, max_open=1)
    await office.addresses.add(NAME, account="alice")
    await office.ask()
    world.clock.advance(EXPIRY_S + EXPIRED_FOR_PAYERS_S)
    assert await refused(office) is ErrorCode.RATE_LIMITED

    world.clock.advance(1)
    await world.reconciler.sweep_invoices(world.backend.name)

    assert (await office.ask()).state is InvoiceState.PENDING


async def test_nodes_make_only_some_at_a_time(world: World, office: Office) -> None:
    gate, entered = asyncio.Event(), asyncio.Semaphore(0)
    create = world.backend.create_invoice

    async def slow(spec: InvoiceSpec) -> InvoiceReport:
        entered.release()
        await gate.wait()
        return await create(spec)

    world.backend.create_invoice = slow  # type: ignore[method-assign]
    asking = [asyncio.create_task(office.ask()) for _ in range(MAX_MAKING)]
    for _ in asking:
        await entered.acquire()

    code = await refused(office)
    gate.set()

    assert code is ErrorCode.RATE_LIMITED
    assert len({made.payment_hash for made in await asyncio.gather(*asking)}) == MAX_MAKING
    assert (await office.ask()).state is InvoiceState.PENDING


@pytest.mark.attack("A28")
@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", "192.0.2.2", id="ipv4"),
        pytest.param("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", id="ipv6-network"),
    ],
)
async def test_each_host_has_a_rate_of_its_own(
    world: World, first: str, same: str, other: str
) -> None:
    office = open_office(world, host_burst=1, host_rate_per_s=0.001)
    office.payers.admit(first)

    with pytest.raises(RequestError):
        office.payers.admit(same)

    office.payers.admit(other)


@pytest.mark.parametrize("query", [{"amount": "1"}, {"comment": "x" * 300}, {"nostr": "{}"}])
async def test_what_is_asked_wrongly_leaves_nothing_behind(
    world: World, office: Office, query: dict[str, str]
) -> None:
    with pytest.raises(InvalidAsk):
        await office.ask(**query)

    assert (world.backend.specs, await world.count("invoice")) == ([], 0)


async def test_unpaid_invoices_are_forgotten_and_what_comes_all_the_same_is_kept(
    world: World, office: Office
) -> None:
    unpaid, zap, settled = await office.ask(), await office.ask_for_zap(), await office.ask()
    await paid(world, settled)
    world.clock.advance(EXPIRY_S + EXPIRED_FOR_PAYERS_S + 1)
    await world.reconciler.sweep_invoices(world.backend.name)
    await office.payers.forget_unpaid()
    kept_for_now = await world.count("invoice")

    world.clock.advance(KEPT_UNPAID_S)
    await office.payers.forget_unpaid()

    assert kept_for_now == 3
    assert (await world.count("invoice"), await world.count("zap")) == (1, 0)
    assert await state_of(world, settled) is InvoiceState.SETTLED
    for gone in (unpaid, zap):
        await paid(world, gone)
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.book("suspense") == 2 * AMOUNT_MSAT
    assert await world.problems() == ()


@pytest.mark.attack("A10")
async def test_one_that_was_closed_and_is_paid_late_is_credited(
    world: World, office: Office
) -> None:
    made = await office.ask()
    world.clock.advance(EXPIRY_S + EXPIRED_FOR_PAYERS_S + 1)
    await world.reconciler.sweep_invoices(world.backend.name)
    closed = await state_of(world, made)

    await paid(world, made)

    assert closed is InvoiceState.EXPIRED
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


# --- nodes


async def test_an_account_whose_node_hashes_no_description_gets_no_address(
    world: World, alice: Client
) -> None:
    office = open_office(world)
    world.backend.caps = world.backend.caps & ~Cap.DESCRIPTION_HASH

    with pytest.raises(Refused, match="description hash"):
        await office.addresses.add(NAME, account="alice")

    assert await world.count("address") == 0


async def test_where_a_node_hashes_no_description_any_more_nothing_falls_back(
    world: World, office: Office
) -> None:
    world.backend.caps = world.backend.caps & ~Cap.DESCRIPTION_HASH

    assert await refused(office) is ErrorCode.INTERNAL
    assert world.backend.specs == []


async def test_a_node_that_hashes_itself_is_given_the_text(
    world: World, office: Office
) -> None:
    caps = world.backend.caps
    world.backend.caps = caps & ~Cap.DESCRIPTION_HASH | Cap.HASHED_DESCRIPTION

    await office.ask()

    [spec] = world.backend.specs
    assert spec.description == (await office.payers.terms(NAME)).metadata


@pytest.mark.attack("A5")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"amount_msat": Msat(AMOUNT_MSAT + 1)}, id="amount"),
        pytest.param({"description_hash": "00" * 32}, id="hash"),
        pytest.param({"description_hash": None}, id="plain-description"),
    ],
)
async def test_an_invoice_that_is_not_as_asked_is_not_handed_out(
    world: World, office: Office, change: dict[str, object]
) -> None:
    create = world.backend.create_invoice

    async def lying(spec: InvoiceSpec) -> InvoiceReport:
        return await create(replace(spec, **change))  # type: ignore[arg-type]

    world.backend.create_invoice = lying  # type: ignore[method-assign]

    assert await refused(office) is ErrorCode.INTERNAL


async def test_an_invoice_of_another_network_is_not_handed_out(
    world: World, office: Office
) -> None:
    world.reconciler.node_info[world.backend.name] = NodeInfo(network="mainnet")

    assert await refused(office) is ErrorCode.INTERNAL


async def test_what_ails_a_node_is_not_told_to_a_stranger(world: World, office: Office) -> None:
    world.backend.invoice_script.extend([BackendUnavailable("10.0.0.7 is down")] * 3)

    with pytest.raises(RequestError) as caught:
        await office.ask()

    assert caught.value.message == "no invoice can be made now: try again later"


async def test_whole_sats_are_asked_for_where_the_node_makes_no_others(
    world: World, alice: Client
) -> None:
    office = open_office(world, min_msat=1500, max_msat=9_999)
    world.backend.caps = world.backend.caps & ~Cap.MSAT_INVOICE
    await office.addresses.add(NAME, account="alice")

    terms = await office.payers.terms(NAME)

    assert (terms.min_msat, terms.max_msat) == (2000, 9000)


async def test_what_a_crash_interrupts_is_given_up(world: World, office: Office) -> None:
    entered = asyncio.Event()

    async def never(spec: InvoiceSpec) -> InvoiceReport:
        entered.set()
        return await asyncio.Future()

    create = world.backend.create_invoice
    world.backend.create_invoice = never  # type: ignore[method-assign]
    asking = asyncio.create_task(office.ask())
    await entered.wait()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    world.backend.create_invoice = create  # type: ignore[method-assign]

    await world.reconciler.sweep_invoices(world.backend.name)

    [row] = await world.db.read(lambda tx: tx.all("SELECT state FROM invoice"))
    assert row["state"] == "CANCELED"
    assert world.backend.specs == []


# --- limits of the account


async def test_a_frozen_account_is_paid_nothing_new(world: World, office: Office) -> None:
    made = await office.ask()
    await world.accounts.set_frozen(NAME, frozen=True, reason="a test", by="owner")

    assert await refused(office) is ErrorCode.RESTRICTED

    await paid(world, made)
    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)


async def test_no_more_is_asked_for_than_the_account_may_hold(
    world: World, office: Office
) -> None:
    limit_msat = CREDIT_MSAT + 1
    await limit_balance(world, limit_msat)

    terms = await office.payers.terms(NAME)

    assert terms.max_msat == limit_msat
    with pytest.raises(InvalidAsk):
        await office.ask(amount=str(limit_msat + 1))


@pytest.mark.attack("A20")
async def test_no_stranger_finds_out_what_an_account_has_by_asking_for_more_and_more(
    world: World, office: Office
) -> None:
    await limit_balance(world, CREDIT_MSAT + AMOUNT_MSAT)
    smaller, larger = "1000", str(CREDIT_MSAT + AMOUNT_MSAT)

    asked = [await office.ask(amount=amount) for amount in (smaller, larger)]

    assert [made.state for made in asked] == [InvoiceState.PENDING] * 2


async def test_an_account_that_is_full_is_paid_nothing_new(
    world: World, office: Office
) -> None:
    await limit_balance(world, CREDIT_MSAT)

    assert await refused(office) is ErrorCode.INTERNAL
    assert world.backend.specs == []


async def limit_balance(world: World, max_balance_msat: int) -> None:
    await world.accounts.set_limits(NAME, {"max_balance_msat": max_balance_msat})


# --- the operator


@pytest.mark.parametrize(
    ("name", "says"), [("Alice", "name"), ("admin", "reserved"), (NAME, "already")]
)
async def test_a_name_that_cannot_be_had_is_refused(
    office: Office, name: str, says: str
) -> None:
    with pytest.raises(Refused, match=says):
        await office.addresses.add(name, account="alice")


async def test_an_account_has_as_many_addresses_as_it_is_given(
    world: World, alice: Client, office: Office
) -> None:
    await office.addresses.add("shop", account="alice", nostr_pubkey="63" * 32)

    made = await office.ask("shop")
    await paid(world, made)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await office.payers.pubkey("shop") == "63" * 32
    assert await office.payers.pubkey(NAME) is None


@pytest.mark.parametrize(
    ("account", "pubkey"), [("nobody", None), ("alice", "not a key"), ("alice", "npub1x")]
)
async def test_an_address_of_nobody_is_refused(
    world: World, alice: Client, account: str, pubkey: str | None
) -> None:
    with pytest.raises(Refused):
        await open_office(world).addresses.add(NAME, account=account, nostr_pubkey=pubkey)

    assert (await world.count("address"), await world.count("decision")) == (0, 0)


# --- who may ask whether an invoice is paid


@pytest.mark.attack("A20")
async def test_an_invoice_is_shown_to_who_was_given_its_token_only(
    world: World, alice: Client, office: Office
) -> None:
    made = await office.ask()
    own = await world.invoice(alice, AMOUNT_MSAT)
    [own_id] = [
        row["invoice_id"]
        for row in await world.db.read(lambda tx: tx.all("SELECT * FROM invoice"))
        if row["payment_hash"] == own["payment_hash"]
    ]
    token = office.payers.verify_url(made).rpartition("/")[2]

    assert (await office.payers.verified(made.invoice_id, token)).invoice == made.invoice
    for invoice_id, wrong in (
        (made.invoice_id, "0" * 32),
        (made.invoice_id, "é"),
        (own_id, token),
        (own_id, world.edges.keyring.verify_token(own_id)),
    ):
        with pytest.raises(NotFound):
            await office.payers.verified(invoice_id, wrong)
