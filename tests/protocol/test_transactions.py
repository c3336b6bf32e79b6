"""lookup_invoice and list_transactions: what a connection sees of its account, and the shape
and the size of it."""

from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest

from nwc_service.methods.list_transactions import MAX_LIMIT
from nwc_service.nip47.envelope import result_payload
from nwc_service.store import invoices, payments
from nwc_service.wallet import bolt11
from nwc_service.wallet.invoice import InvoiceState
from tests.clients.client import JsonObject
from tests.clients.conversation import NIP04, NIP44_V2
from tests.core.samples import a_settled_payment, an_invoice, hash_of, same_hash_as
from tests.protocol.wallet import Client, WalletInProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")

STRINGS = {
    "transaction_id",
    "type",
    "state",
    "invoice",
    "description",
    "description_hash",
    "preimage",
    "payment_hash",
}
NUMBERS = {"amount", "fees_paid", "created_at", "expires_at"}
LONG_AGO = 1_000_000_000


async def store_payments(client: Client, number: int, **changes: Any) -> None:
    """Settled ones, a second apart, the newest last."""
    account_id = client.connection.account_id
    for index in range(number):
        preimage = f"{hash(account_id) % 2**64:016x}{index:048x}"
        row = a_settled_payment(
            payment_id=f"{account_id}-{index}",
            account_id=account_id,
            connection_id=client.connection.connection_id,
            payment_hash=hash_of(preimage),
            preimage=preimage,
            invoice=f"ln{account_id}{index}",
            created_at=LONG_AGO + index,
        )
        await client.wallet.db.write(partial(payments.insert, payment=replace(row, **changes)))


async def lookup(client: Client, **params: object) -> JsonObject:
    opened = await client.request("lookup_invoice", params)
    return opened.payload["error"] or opened.result


# --- lookup_invoice


async def test_an_invoice_is_found_by_its_hash_or_its_string(client: Client) -> None:
    made = (await client.request("make_invoice", {"amount": 1_000})).result
    by_hash = await lookup(client, payment_hash=made["payment_hash"])
    by_string = await lookup(client, invoice=made["invoice"])
    by_loud_string = await lookup(client, invoice=made["invoice"].upper())
    by_both = await lookup(client, invoice=made["invoice"], payment_hash=made["payment_hash"])

    assert by_hash == by_string == by_loud_string == by_both == made


async def test_a_hash_that_is_not_the_invoices_is_refused(client: Client) -> None:
    error = await lookup(client, invoice=await client.invoice(), payment_hash="ab" * 32)

    assert error["code"] == "OTHER"
    assert error["message"].startswith("payment_hash: ")


async def test_another_invoice_of_the_same_hash_is_not_found(
    client: Client, wallet: WalletInProcess
) -> None:
    """NIP-47: "`NOT_FOUND`: The invoice could not be found by the given parameters"."""
    made = await client.invoice(1_000)
    paid = await wallet.outside_invoice()
    await client.pay(paid)

    for own in (made, paid):
        forged = same_hash_as(own, amount_msat=900_000)
        payment_hash = bolt11.decode(own).payment_hash

        assert (await lookup(client, invoice=own))["invoice"] == own
        assert (await lookup(client, invoice=forged))["code"] == "NOT_FOUND"
        both = await lookup(client, invoice=forged, payment_hash=payment_hash)
        assert both["code"] == "NOT_FOUND"


async def test_an_invoice_is_settled_once_paid(client: Client, wallet: WalletInProcess) -> None:
    invoice = await client.invoice(1_000)

    before = await lookup(client, invoice=invoice)
    await (await wallet.connect()).pay(invoice)
    after = await lookup(client, invoice=invoice)

    assert (before["state"], before["preimage"]) == ("pending", "")
    assert (after["state"], hash_of(after["preimage"])) == ("settled", after["payment_hash"])
    assert isinstance(after["settled_at"], int)


async def test_a_payment_is_found_by_who_made_it(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice(100_000)
    await client.pay(invoice)

    found = await lookup(client, invoice=invoice)

    assert (found["type"], found["state"]) == ("outgoing", "settled")
    assert (found["amount"], found["fees_paid"]) == (100_000, 1_000)


async def test_both_sides_of_an_internal_payment_see_their_own(
    client: Client, wallet: WalletInProcess
) -> None:
    payee = await wallet.connect()
    invoice = await payee.invoice(1_000)
    await client.pay(invoice)

    mine = await lookup(client, invoice=invoice)
    theirs = await lookup(payee, invoice=invoice)

    assert (mine["type"], theirs["type"]) == ("outgoing", "incoming")
    assert mine["preimage"] == theirs["preimage"]


@pytest.mark.attack("A32")
@pytest.mark.parametrize(
    "by", ["payment_hash", "invoice"], ids=["by-its-hash", "by-its-string"]
)
async def test_another_accounts_invoice_is_not_found(
    by: str, client: Client, wallet: WalletInProcess
) -> None:
    """NIP-47: "`NOT_FOUND`: The invoice could not be found by the given parameters"."""
    other = await wallet.connect()
    theirs = (await other.request("make_invoice", {"amount": 1_000})).result

    error = await lookup(client, **{by: theirs[by]})
    unknown = await lookup(client, payment_hash="ab" * 32)

    assert error == unknown
    assert error["code"] == "NOT_FOUND"


@pytest.mark.attack("A32")
async def test_another_accounts_payment_is_not_found(
    client: Client, wallet: WalletInProcess
) -> None:
    invoice = await wallet.outside_invoice()
    await (await wallet.connect()).pay(invoice)

    assert (await lookup(client, invoice=invoice))["code"] == "NOT_FOUND"


# --- several connections on one account


async def test_several_connections_on_one_account_see_it_all_with_list_transactions(
    client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "several connections on one account": "list, lookup and notifications cover
    the account for connections that hold the scope"."""
    other_app = await wallet.connect(client.account, scopes="read")
    invoice = await client.invoice(1_000)

    assert (await lookup(other_app, invoice=invoice))["state"] == "pending"
    assert len(await other_app.transactions(unpaid=True)) == 1


async def test_several_connections_on_one_account_see_their_own_rows_without_it(
    client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "several connections on one account": "a connection without
    `list_transactions` sees only its own rows"."""
    narrow = await wallet.connect(
        client.account, scopes="lookup_invoice,make_invoice,pay_invoice"
    )
    of_another_app = await client.invoice(1_000)
    paid_by_another_app = await wallet.outside_invoice()
    await client.pay(paid_by_another_app)
    own = await narrow.invoice(2_000)

    assert (await lookup(narrow, invoice=of_another_app))["code"] == "NOT_FOUND"
    assert (await lookup(narrow, invoice=paid_by_another_app))["code"] == "NOT_FOUND"
    assert (await lookup(narrow, invoice=own))["amount"] == 2_000
    assert (await narrow.request("list_transactions")).error_code == "RESTRICTED"


# --- list_transactions


async def test_a_list_has_the_whole_shape_newest_first(client: Client) -> None:
    """NWC-05: "Transactions are returned in descending order of creation time". Section 4,
    "state casing": "lowercase"."""
    await store_payments(client, 3)
    await client.invoice(1_000, metadata={"comment": "c"}, description="d")

    rows = await client.transactions(unpaid=True)

    assert [row["created_at"] for row in rows[1:]] == [LONG_AGO + n for n in (2, 1, 0)]
    for row in rows:
        assert set(row) - {"settled_at", "metadata"} == STRINGS | NUMBERS
        assert all(type(row[name]) is str for name in STRINGS)
        assert all(type(row[name]) is int for name in NUMBERS)
        assert ("settled_at" in row) is (row["state"] == "settled")
        assert None not in row.values()
        assert row["state"] == row["state"].lower()


async def test_an_empty_account_has_an_empty_list(client: Client) -> None:
    opened = await client.request("list_transactions")

    assert opened.result == {"transactions": [], "total_count": 0}


@pytest.mark.parametrize(
    ("params", "seconds"),
    [
        pytest.param({"from": LONG_AGO + 2}, [4, 3, 2], id="from-is-inclusive"),
        pytest.param({"until": LONG_AGO + 2}, [2, 1, 0], id="until-is-inclusive"),
        pytest.param({"from": LONG_AGO + 1, "until": LONG_AGO + 1}, [1], id="one-second"),
        pytest.param({"from": LONG_AGO + 5}, [], id="after-all"),
        pytest.param({"from": LONG_AGO + 3, "until": LONG_AGO + 2}, [], id="no-span"),
        pytest.param({"from": 0}, [4, 3, 2, 1, 0], id="from-zero"),
        pytest.param({"until": 0}, [], id="until-zero"),
        pytest.param({"limit": 2}, [4, 3], id="limit"),
        pytest.param({"limit": 2, "offset": 1}, [3, 2], id="offset"),
        pytest.param({"offset": 4}, [0], id="the-last"),
        pytest.param({"type": "outgoing"}, [4, 3, 2, 1, 0], id="outgoing"),
        pytest.param({"type": "incoming"}, [], id="incoming"),
    ],
)
async def test_from_and_until_are_times_of_creation_and_inclusive(
    params: dict[str, Any], seconds: list[int], client: Client
) -> None:
    """NWC-05: "If `from` is not specified, it defaults to 0"; "If `until` is not specified, it
    defaults to the current time"; "starting timestamp in seconds since epoch (inclusive)";
    "ending timestamp in seconds since epoch (inclusive)". Section 4, "from/until": "created_at,
    inclusive"."""
    await store_payments(client, 5)

    rows = await client.transactions(**params)

    assert [row["created_at"] - LONG_AGO for row in rows] == seconds


async def test_total_count_ignores_the_limit(client: Client) -> None:
    """NWC-05: "total number of transactions matching request filters (excluding
    pagination)"."""
    await store_payments(client, 5)

    result = (await client.request("list_transactions", {"limit": 2, "offset": 3})).result

    assert (len(result["transactions"]), result["total_count"]) == (2, 5)


@pytest.mark.parametrize(
    ("params", "states"),
    [
        pytest.param({}, ["settled"], id="settled-only-unless-asked"),
        pytest.param(
            {"unpaid": True}, ["pending", "expired", "pending", "settled"], id="unpaid"
        ),
        pytest.param({"unpaid_incoming": True}, ["pending", "expired", "settled"], id="in"),
        pytest.param({"unpaid_outgoing": True}, ["pending", "settled"], id="out"),
        pytest.param({"unpaid": False}, ["settled"], id="unpaid-false"),
    ],
)
async def test_unpaid_ones_are_shown_when_asked_for(
    params: dict[str, Any], states: list[str], client: Client, wallet: WalletInProcess
) -> None:
    """NWC-05: "If `type` is not specified, both invoices and payments are returned"; "include
    unpaid invoices, optional, default false"."""
    account_id = client.connection.account_id
    await store_payments(client, 1)
    expired = an_invoice(
        invoice_id=f"expired-{account_id}",
        account_id=account_id,
        payment_hash=f"expired-{account_id}",
        invoice=f"lnexpired{account_id}",
        state=InvoiceState.PENDING,
        created_at=LONG_AGO + 1,
        expires_at=LONG_AGO + 2,
    )
    await wallet.db.write(lambda tx: invoices.insert(tx, expired))
    await client.invoice(1_000)

    async with client.holding(1_000):
        rows = await client.transactions(**params)

    assert sorted(row["state"] for row in rows) == sorted(states)


@pytest.mark.parametrize(
    ("limit", "shown"), [(None, 20), (0, 20), (1, 1), (50, MAX_LIMIT), (51, MAX_LIMIT)]
)
async def test_a_page_has_20_rows_and_never_more_than_50(
    limit: int | None, shown: int, client: Client
) -> None:
    await store_payments(client, 60)

    assert len(await client.transactions(limit=limit)) == shown


@pytest.mark.parametrize("encryption", [NIP44_V2, NIP04])
async def test_a_reply_fits_an_event_of_64_kib_whatever_is_in_the_rows(
    encryption: str, client: Client
) -> None:
    """NWC-05: "otherwise there is risk of `list_transactions` responses being rejected"."""
    fat = '{"comment":"' + "☕" * 1_300 + '"}'
    await store_payments(client, 60, description="\x01" * 639, metadata=fat)

    opened = await client.request("list_transactions", {"limit": 50}, encryption=encryption)

    plaintext = result_payload("list_transactions", opened.result)
    shown = len(opened.result["transactions"])
    assert 1 <= shown < 50
    assert opened.result["total_count"] == 60
    assert len(plaintext.encode()) <= 40_960
    assert len(opened.event.to_json()) <= 65_536


async def test_pages_of_fat_rows_together_are_the_whole(client: Client) -> None:
    fat = '{"comment":"' + "x" * 4_000 + '"}'
    await store_payments(client, 30, metadata=fat)

    seen: list[int] = []
    while page := await client.transactions(limit=50, offset=len(seen)):
        seen += [row["created_at"] for row in page]

    assert seen == [LONG_AGO + n for n in reversed(range(30))]


async def test_the_fattest_row_that_can_be_stored_fits_alone(client: Client) -> None:
    fat = orjson.dumps({"comment": "😀" * 4_080}).decode()
    await store_payments(client, 1, description="\x01" * 639, metadata=fat, invoice="l" * 7_089)

    assert len(await client.transactions()) == 1


async def test_the_fattest_payment_of_an_offer_fits_alone_without_what_is_optional(
    client: Client,
) -> None:
    """NWC-12: "each BOLT12 transaction item MUST include" `details`, of which `payment_hash`
    and `offer_id` are required; "`offer_id` is REQUIRED when the payment was created from an
    offer"."""
    fat = orjson.dumps({"comment": "😀" * 4_080}).decode()
    of_offer = {"offer": "l" * 7_089, "bolt12_id": "ab" * 32, "payer_note": "\x01" * 640}
    await store_payments(
        client, 1, description="\x01" * 639, metadata=fat, invoice="l" * 7_089, **of_offer
    )

    [row] = await client.transactions()

    assert set(row["details"]) == {"payment_hash", "offer_id"}
    assert len((await client.request("list_transactions")).event.to_json()) <= 65_536


async def test_a_keysend_is_listed_once_settled_and_has_no_expiry(client: Client) -> None:
    """NWC-05: `expires_at` is "invoice expiration time, optional if not applicable"."""
    account_id = client.connection.account_id
    received = an_invoice(
        invoice_id=f"keysend-{account_id}",
        account_id=account_id,
        payment_hash=f"keysend-{account_id}",
        invoice="",
        state=InvoiceState.SETTLED,
        received_msat=5,
        settled_at=LONG_AGO,
    )
    await client.wallet.db.write(lambda tx: invoices.insert(tx, received))
    await store_payments(client, 1, invoice="")

    for params in ({}, {"unpaid": True}, {"unpaid_incoming": True}):
        rows = await client.transactions(**params)
        assert sorted(row["type"] for row in rows) == ["incoming", "outgoing"]
        assert [row for row in rows if "expires_at" in row] == []


async def test_get_balance_is_what_can_be_spent(client: Client) -> None:
    async with client.holding(1_000_000):
        opened = await client.request("get_balance")

    assert opened.result == {"balance": 100_000_000 - 1_000_000 - 10_000}
