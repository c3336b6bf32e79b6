"""lookup_payment (NWC-09): exactly one record, of exactly one form of selector."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from nwc_service.backend import Cap
from nwc_service.methods import announced
from nwc_service.nip47 import info
from nwc_service.store import invoices, payments
from nwc_service.wallet import bip321, bolt11
from nwc_service.wallet.bolt11 import Bolt11
from nwc_service.wallet.invoice import InvoiceState
from nwc_service.wallet.payment import PaymentState, Proof, ProofKind
from tests.clients.client import JsonObject
from tests.core.samples import (
    a_payment,
    a_settled_payment,
    an_invoice,
    hash_of,
    same_hash_as,
)
from tests.protocol.wallet import Client, WalletInProcess, wallet_in_process

pytestmark = pytest.mark.asyncio(loop_scope="package")

LONG_AGO = 1_000_000_000
HASH = "ab" * 32
OF_BOLT11 = {"payment_hash", "invoice", "preimage", "description", "description_hash"}
OF_BOLT12 = OF_BOLT11 - {"description_hash"} | {"offer_id", "offer", "payer_note", "issuer"}
"""Without `payer_proof` and `invoice_request`, which this service never has."""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def wallet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WalletInProcess]:
    """Of its own: rows that never happened would stain the books of the others."""
    async with wallet_in_process(tmp_path_factory.mktemp("looked-at")) as opened:
        yield opened


async def look(client: Client, **selector: object) -> JsonObject:
    opened = await client.request("lookup_payment", selector)
    return opened.payload["error"] or opened.result


async def by_offer(client: Client, **lookup: object) -> JsonObject:
    return await look(client, payment_type="bolt12", lookup=lookup)


def invoice_in(uri: str) -> str:
    [invoice] = [each for each in bip321.parse(uri).instructions if isinstance(each, Bolt11)]
    return invoice.invoice


async def offer_of(client: Client, **params: object) -> JsonObject:
    return (await client.request("make_offer", params)).result


async def pay_offer(client: Client, offer: JsonObject, amount_msat: int) -> JsonObject:
    opened = await client.request(
        "pay", {"payment": offer["bip321"], "amount": amount_msat, "payer_note": "hi"}
    )
    return opened.result


async def store(client: Client, row: Any, **changes: Any) -> Any:
    """A row of the client's account and connection, unlike any other."""
    account_id = client.connection.account_id
    own = {
        "account_id": account_id,
        "connection_id": client.connection.connection_id,
        "invoice": f"ln{account_id}",
    }
    row = replace(row, **own | changes)
    module = invoices if hasattr(row, "invoice_id") else payments
    await client.wallet.db.write(lambda tx: module.insert(tx, row))
    return row


# --- found


async def test_an_invoice_is_one_record_by_whatever_form(client: Client) -> None:
    """NWC-09: "The generic selector is the stable wallet-scoped `transaction_id` returned by
    other NWC methods"; "An implementation of this specification MUST support `bolt11`"; "All
    implementations of this specification MUST support lookup by `transaction_id`"; "Every
    successful lookup MUST resolve to exactly one payment record"; "All fields not explicitly
    marked optional are REQUIRED"; "`payment_hash` is REQUIRED. `invoice` SHOULD be returned
    when retained by the wallet"."""
    uri = (await client.request("receive", {"amount": 5_000, "description": "tea"})).result
    invoice = invoice_in(uri["bip321"])
    read = bolt11.decode(invoice)

    record = await look(client, transaction_id=uri["transaction_id"])

    assert record == {
        "transaction_id": uri["transaction_id"],
        "type": "incoming",
        "state": "pending",
        "payment_type": "bolt11",
        "amount": 5_000,
        "created_at": read.created_at,
        "expires_at": read.expires_at,
        "details": {
            "payment_hash": read.payment_hash,
            "invoice": invoice,
            "description": "tea",
        },
    }
    assert await look(client, invoice=invoice) == record
    assert await look(client, payment_hash=read.payment_hash) == record
    assert await look(client, invoice=invoice.upper(), payment_hash=read.payment_hash) == record


async def test_another_invoice_of_the_same_hash_is_not_found(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-09: "If both are present, they MUST identify the same BOLT11 invoice."."""
    made = await client.invoice(1_000)
    paid = await wallet.outside_invoice()
    await client.pay(paid)

    for own in (made, paid):
        forged = same_hash_as(own, amount_msat=900_000)
        payment_hash = bolt11.decode(own).payment_hash

        assert (await look(client, invoice=own))["details"]["invoice"] == own
        assert (await look(client, invoice=forged))["code"] == "NOT_FOUND"
        both = await look(client, invoice=forged, payment_hash=payment_hash)
        assert both["code"] == "NOT_FOUND"


async def test_a_payment_is_found_by_the_transaction_that_pay_named(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-09: "A `transaction_id` returned by that specification MUST identify the same payment
    record when used with `lookup_payment`."; "`preimage` SHOULD be returned for a settled
    payment when available"."""
    invoice = await wallet.outside_invoice(100_000)
    paid = (await client.request("pay", {"payment": f"bitcoin:?lightning={invoice}"})).result

    record = await look(client, transaction_id=paid["transaction_id"])

    assert (record["type"], record["state"], record["amount"]) == (
        "outgoing",
        "settled",
        100_000,
    )
    assert (record["fees_paid"], record["settled_at"]) == (1_000, paid["settled_at"])
    assert record["details"]["preimage"] == paid["preimage"]
    assert await look(client, invoice=invoice) == record


async def test_a_record_is_found_by_the_transaction_id_of_any_answer(client: Client) -> None:
    """NWC-09: "`transaction_id` MUST be stable within the wallet service and MUST identify the
    same payment in responses from other NWC methods". With it a client that is told
    MULTIPLE_MATCHES asks again."""
    made = (await client.request("make_invoice", {"amount": 1_000})).result
    one = {"payment_hash": made["payment_hash"]}

    looked_up = (await client.request("lookup_invoice", one)).result
    [listed] = await client.transactions(unpaid=True)
    record = await look(client, transaction_id=made["transaction_id"])

    assert looked_up["transaction_id"] == listed["transaction_id"] == made["transaction_id"]
    assert (record["transaction_id"], record["details"]["payment_hash"]) == (
        made["transaction_id"],
        made["payment_hash"],
    )


async def test_a_payment_that_was_received_through_an_offer(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-12: "a BOLT12 payment can be looked up by payment hash, invoice, or offer ID.";
    "support `bolt12` as a `payment_type` for `lookup_payment`"."""
    offer = await offer_of(client, description="tips", issuer="example.com")
    paid = await wallet.outside(
        "pay-offer", offer=offer["offer"], amount_msat=6_000, payer_note="hi"
    )
    while (record := await by_offer(client, offer_id=offer["offer_id"])).get("code"):
        assert record["code"] == "NOT_FOUND"  # it is not told here yet
        await asyncio.sleep(0.05)

    assert (record["type"], record["state"]) == ("incoming", "settled")
    assert (record["payment_type"], record["amount"]) == ("bolt12", 6_000)
    details = record["details"]
    assert (details["offer_id"], details["offer"]) == (offer["offer_id"], offer["offer"])
    assert (details["description"], details["issuer"]) == ("tips", "example.com")
    assert details["payment_hash"] == paid["payment_hash"]
    assert hash_of(details["preimage"]) == paid["payment_hash"]
    selectors = [
        {"payment_hash": paid["payment_hash"]},
        {"payment_hash": paid["payment_hash"], "offer_id": offer["offer_id"]},
    ]
    assert [await by_offer(client, **each) for each in selectors] == [record, record]
    assert await look(client, transaction_id=record["transaction_id"]) == record


async def test_a_payment_that_was_made_through_an_offer(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-12: "a BOLT12 payment can be looked up by payment hash, invoice, or offer ID";
    "`offer_id` is REQUIRED when the payment was created from an offer"; "`invoice` SHOULD be
    returned when retained by the wallet"."""
    offer = str((await wallet.outside("offer", description="coffee"))["offer"])
    paid = await pay_offer(client, {"bip321": f"bitcoin:?lno={offer}"}, 6_000)

    record = await look(client, transaction_id=paid["transaction_id"])

    details = record["details"]
    assert (record["payment_type"], record["type"]) == ("bolt12", "outgoing")
    assert (details["offer"], details["payer_note"]) == (offer, "hi")
    assert details["description"] == "coffee"
    assert details["invoice"].startswith("lni1")
    assert await by_offer(client, invoice=details["invoice"]) == record
    assert await by_offer(client, offer_id=details["offer_id"]) == record


async def test_each_type_is_found_by_its_own_selectors_only(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-09: "The absence of `payment_type` implies `bolt11` for this request form."."""
    offer = str((await wallet.outside("offer"))["offer"])
    bolt12_hash = (await pay_offer(client, {"bip321": f"bitcoin:?lno={offer}"}, 6_000))[
        "payment_hash"
    ]
    made = (await client.request("make_invoice", {"amount": 1_000})).result

    assert (await look(client, payment_hash=bolt12_hash))["code"] == "NOT_FOUND"
    assert (await by_offer(client, payment_hash=made["payment_hash"]))["code"] == "NOT_FOUND"


async def test_details_have_the_fields_of_their_type_alone(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-09: "`details` MUST contain only fields defined below for `bolt11` or by the
    extension for another `payment_type`"; "Common fields MUST NOT be duplicated inside
    `details`". NWC-12: "`payer_proof`, when returned, MUST be a valid BOLT12 payer proof for
    this payment"; "A wallet MUST return them only when visible to the requesting connection and
    SHOULD omit them when they are not needed"."""
    payer = await wallet.connect()
    offer = await offer_of(client, description="tips", issuer="example.com")
    invoice = await client.invoice(1_000, description="tea", metadata={"comment": "c"})
    await payer.pay(invoice, metadata={"comment": "c"})
    by_hash = await pay_offer(payer, offer, 2_000)

    of_bolt11 = [await look(each, invoice=invoice) for each in (client, payer)]
    of_bolt12 = [
        await by_offer(each, payment_hash=by_hash["payment_hash"]) for each in (client, payer)
    ]

    for record in of_bolt11:
        assert set(record["details"]) == OF_BOLT11 - {"description_hash"}
    for record in of_bolt12:
        assert {"payment_hash", "offer_id", "payer_note"} <= set(record["details"]) <= OF_BOLT12
    for record in of_bolt11 + of_bolt12:
        assert record.keys().isdisjoint(record["details"])


async def test_it_is_advertised_in_the_info_event_and_in_get_info(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-09: "A wallet service supporting this specification MUST advertise `lookup_payment`
    as a supported method in its NWC info event and `get_info` response"; "The wallet service
    SHOULD also advertise `09`"."""
    connection = client.connection
    methods = announced(connection.scopes, wallet.backend.caps)

    told = (await client.request("get_info")).result
    content = info.content(connection, methods).split(" ")
    tags = {name: words.split(" ") for name, words, *_ in info.tags(connection, methods)}

    assert "lookup_payment" in told["methods"]
    assert "lookup_payment" in content
    assert "09" in told["extensions"]
    assert "09" in tags["extensions"]


# --- never an arbitrary one


async def test_both_sides_of_a_payment_to_oneself_are_told_apart(client: Client) -> None:
    """NWC-09: "If a selector matches multiple wallet-visible records, the wallet MUST return
    `MULTIPLE_MATCHES`."."""
    made = (await client.request("receive", {"amount": 1_000})).result
    paid = (await client.request("pay", {"payment": made["bip321"]})).result

    both = await look(client, payment_hash=paid["payment_hash"])
    mine = await look(client, transaction_id=made["transaction_id"])
    sent = await look(client, transaction_id=paid["transaction_id"])

    assert both["code"] == "MULTIPLE_MATCHES"
    listed = {row["type"]: row["transaction_id"] for row in await client.transactions()}
    assert listed == {
        "incoming": made["transaction_id"],
        "outgoing": paid["transaction_id"],
    }
    assert (mine["type"], sent["type"]) == ("incoming", "outgoing")


async def test_several_payments_of_one_offer_need_a_payment_hash(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-12: "A BOLT12 offer can be reusable, so `offer_id` alone is not guaranteed to
    identify one payment."; "If a selector matches multiple wallet-visible records, the wallet
    MUST return `MULTIPLE_MATCHES`"."""
    offer = await offer_of(client)
    payer = await wallet.connect()
    first, second = [await pay_offer(payer, offer, amount) for amount in (1_000, 2_000)]

    many = await by_offer(client, offer_id=offer["offer_id"])
    one = await by_offer(
        client, offer_id=offer["offer_id"], payment_hash=second["payment_hash"]
    )

    assert first["payment_hash"] != second["payment_hash"]
    assert many["code"] == "MULTIPLE_MATCHES"
    assert one["amount"] == 2_000


async def test_a_payment_that_failed_and_was_made_again_is_two_records(
    client: Client,
) -> None:
    """NWC-09: "A wallet service MUST NOT select an arbitrary record when a selector matches
    multiple payments"."""
    failed = await store(
        client,
        a_payment(),
        payment_id=f"failed-{client.account}",
        payment_hash=hash_of("33" * 32),
        state=PaymentState.RELEASED,
        proof=Proof(ProofKind.FINAL_STATUS, "no_route detail of the node"),
    )
    one = await look(client, payment_hash=failed.payment_hash)
    again = replace(failed, state=PaymentState.DISPATCHED, proof=None)
    await store(client, again, payment_id=f"again-{client.account}")

    many = await look(client, payment_hash=failed.payment_hash)

    assert (one["state"], one["failure_reason"]) == ("failed", "no route to the payee")
    assert many["code"] == "MULTIPLE_MATCHES"


# --- what is not one's own


@pytest.mark.attack("A32")
async def test_another_accounts_records_are_as_if_they_were_not(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-09: "It MUST NOT reveal whether an inaccessible record exists."; "`NOT_FOUND`: No
    payment visible to this connection matches the selector"."""
    other = await wallet.connect()
    uri = (await other.request("receive", {"amount": 5_000})).result
    invoice = invoice_in(uri["bip321"])
    offer = await offer_of(other)
    paid = await pay_offer(other, offer, 1_000)

    errors = [
        await look(client, transaction_id=uri["transaction_id"]),
        await look(client, invoice=invoice),
        await look(client, transaction_id=paid["transaction_id"]),
        await by_offer(client, offer_id=offer["offer_id"]),
        await by_offer(client, payment_hash=paid["payment_hash"]),
    ]

    unknown = await look(client, transaction_id="nothing")
    assert unknown["code"] == "NOT_FOUND"
    assert errors == [unknown] * len(errors)


@pytest.mark.attack("A32")
async def test_several_connections_on_one_account_see_their_own_without_list_transactions(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-09: "The wallet service MUST match selectors only against records visible to the
    requesting connection". Section 4, "several connections on one account": "a connection
    without `list_transactions` sees only its own rows"."""
    narrow = await wallet.connect(client.account, scopes="lookup_payment,make_invoice")
    wide = await wallet.connect(client.account, scopes="read,lookup_payment")
    theirs = (await client.request("receive")).result["transaction_id"]
    own = (await narrow.request("make_invoice", {"amount": 1_000})).result["invoice"]
    offer = await offer_of(client)
    await pay_offer(client, offer, 1_000)

    assert (await look(narrow, transaction_id=theirs))["code"] == "NOT_FOUND"
    assert (await by_offer(narrow, offer_id=offer["offer_id"]))["code"] == "NOT_FOUND"
    assert (await look(narrow, invoice=own))["state"] == "pending"
    assert (await look(wide, transaction_id=theirs))["state"] == "pending"


@pytest.mark.attack("A19")
async def test_a_preimage_is_shown_only_where_it_proves_the_payment(client: Client) -> None:
    """NWC-09: "The wallet MUST NOT return `preimage` unless SHA-256 of it equals
    `payment_hash`.". NWC-12: "`preimage` MUST NOT be returned unless SHA-256 of it equals
    `payment_hash`"."""
    row = await store(
        client,
        a_settled_payment(),
        payment_id=f"wrong-{client.account}",
        payment_hash=hash_of("44" * 32),
        preimage="55" * 32,
    )

    record = await look(client, transaction_id=row.payment_id)

    assert record["state"] == "settled"
    assert "preimage" not in record["details"]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (InvoiceState.PENDING, "expired"),  # long ago
        (InvoiceState.ACCEPTED, "accepted"),
        (InvoiceState.EXPIRED, "expired"),
        (InvoiceState.CANCELED, "canceled"),
    ],
)
async def test_the_states_of_what_was_not_received(
    client: Client, state: InvoiceState, word: str
) -> None:
    """NWC-09: "Payment records MUST use one of these states"."""
    row = await store(
        client,
        an_invoice(),
        invoice_id=f"{state}-{client.account}",
        payment_hash=f"{state}-{client.account}",
        state=state,
        preimage="11" * 32,
        created_at=LONG_AGO,
        expires_at=LONG_AGO + 1,
    )

    record = await look(client, transaction_id=row.invoice_id)

    assert record["state"] == word
    assert "preimage" not in record["details"]
    assert "settled_at" not in record


async def test_what_the_node_never_made_is_no_record(client: Client) -> None:
    row = await store(
        client,
        an_invoice(),
        invoice_id=f"never-{client.account}",
        payment_hash=None,
        invoice="",
        state=InvoiceState.CANCELED,
    )

    assert (await look(client, transaction_id=row.invoice_id))["code"] == "NOT_FOUND"


# --- forms


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="none"),
        pytest.param({"transaction_id": "x", "payment_hash": HASH}, id="two"),
        pytest.param({"transaction_id": "x", "payment_type": "bolt12"}, id="id-and-type"),
        pytest.param(
            {"payment_hash": HASH, "payment_type": "bolt12", "lookup": {}}, id="hash-and-type"
        ),
        pytest.param({"payment_type": "bolt12"}, id="type-without-lookup"),
        pytest.param({"lookup": {"payment_hash": HASH}}, id="lookup-without-type"),
        pytest.param({"payment_type": "bolt12", "lookup": {}}, id="nothing-to-look-for"),
        pytest.param(
            {"payment_type": "bolt12", "lookup": {"invoice": "lni1", "payment_hash": HASH}},
            id="invoice-and-hash",
        ),
        pytest.param(
            {"payment_type": "bolt12", "lookup": {"invoice": "lni1", "offer_id": HASH}},
            id="invoice-and-offer",
        ),
        pytest.param({"payment_type": "bolt12", "lookup": {"offer_id": "x"}}, id="no-id"),
        pytest.param({"payment_type": "bolt12", "lookup": []}, id="no-object"),
        pytest.param({"payment_type": "bolt11", "lookup": {"payment_hash": HASH}}, id="bolt11"),
        pytest.param({"payment_hash": "xy" * 32}, id="not-hex"),
        pytest.param({"invoice": "lnbcrt1x"}, id="no-invoice"),
        pytest.param({"transaction_id": 1}, id="no-text"),
    ],
)
async def test_a_request_has_exactly_one_form(client: Client, params: JsonObject) -> None:
    """NWC-09: "A request MUST use exactly one of these forms"; "`BAD_REQUEST`: The request
    shape, selector, or identifier is invalid."; "type-specific selector fields MUST be placed
    inside `lookup`, not directly inside `params`"; "The request MUST contain at least one
    of". NWC-12: "The `lookup` object MUST use exactly one of these selector forms". Section 4,
    "invalid params": "BAD_REQUEST for 09, 12, 321"."""
    opened = await client.request("lookup_payment", params)

    assert opened.payload["result_type"] == "lookup_payment"
    assert opened.error_code == "BAD_REQUEST"


async def test_a_hash_that_is_not_the_invoices_is_refused(client: Client) -> None:
    """NWC-09: "The wallet MUST return `BAD_REQUEST` if they conflict."; "If both are present,
    they MUST identify the same BOLT11 invoice"."""
    found = await look(client, invoice=await client.invoice(), payment_hash=HASH)

    assert found["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("payment_type", ["ark", "onchain", "BOLT12"])
async def test_other_types_are_not_supported(client: Client, payment_type: str) -> None:
    """NWC-09: "`UNSUPPORTED_PAYMENT_TYPE`: The wallet does not support the requested
    `payment_type` for this connection."."""
    found = await look(client, payment_type=payment_type, lookup={"payment_hash": HASH})

    assert found["code"] == "UNSUPPORTED_PAYMENT_TYPE"


async def test_without_offers_there_is_no_bolt12(
    client: Client, wallet: WalletInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_offers = ~(Cap.BOLT12_SEND | Cap.BOLT12_RECEIVE)
    monkeypatch.setattr(wallet.backend, "caps", wallet.backend.caps & no_offers)

    assert (await by_offer(client, payment_hash=HASH))["code"] == "UNSUPPORTED_PAYMENT_TYPE"
