"""make_invoice: a real invoice of the node, in the shape of a Transaction."""

import json
import re
from pathlib import Path

import pytest

from nwc_service.wallet import bolt11
from tests.protocol.wallet import Client, WalletInProcess, now, wallet_in_process

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_an_invoice_is_what_was_asked_for(client: Client) -> None:
    result = (
        await client.request(
            "make_invoice", {"amount": 123_456, "description": "Tee ☕", "expiry": 600}
        )
    ).result

    decoded = bolt11.decode(result["invoice"])
    assert (decoded.amount_msat, decoded.description) == (123_456, "Tee ☕")
    assert (decoded.expiry_s, decoded.network) == (600, "regtest")
    assert abs(decoded.created_at - now()) < 10
    assert re.fullmatch(r"[0-9a-f]{32}", result.pop("transaction_id"))
    assert result == {
        "type": "incoming",
        "state": "pending",
        "invoice": decoded.invoice,
        "description": "Tee ☕",
        "description_hash": "",
        "preimage": "",
        "payment_hash": decoded.payment_hash,
        "amount": 123_456,
        "fees_paid": 0,
        "created_at": decoded.created_at,
        "expires_at": decoded.expires_at,
    }


async def test_an_invoice_expires_after_an_hour_unless_asked(client: Client) -> None:
    result = (await client.request("make_invoice", {"amount": 1})).result

    assert result["expires_at"] - result["created_at"] == 3600


async def test_a_description_hash_takes_the_place_of_the_description(client: Client) -> None:
    result = (
        await client.request(
            "make_invoice",
            {"amount": 1_000, "description": "a long text", "description_hash": "ab" * 32},
        )
    ).result

    decoded = bolt11.decode(result["invoice"])
    assert (decoded.description, decoded.description_hash) == (None, "ab" * 32)
    assert (result["description"], result["description_hash"]) == ("a long text", "ab" * 32)


# --- metadata: more than 4096 characters are dropped, and the request proceeds


def sized(characters: int, *, of: str = "x") -> dict[str, object]:
    """Metadata of so many characters as compact JSON."""
    return {"comment": of * (characters - len('{"comment":""}'))}


DEEP: object = 1
for _ in range(300):
    DEEP = [DEEP]

KEPT: dict[str, dict[str, object]] = {
    "a-comment": {"comment": "thank you ☕"},
    "what-nwc-06-names": {
        "comment": "c",
        "payer_data": {"email": "a@b.c", "name": "n", "pubkey": "ab" * 32},
        "recipient_data": {"identifier": "a@b.c"},
        "nostr": {"pubkey": "ab" * 32, "tags": [["relays", "wss://a", "wss://b"]]},
        "tlv_records": [{"type": 5482373484, "value": "ab"}],
    },
    "anything-else": {"x": [1, -2, 1.5, None, True, {"y": ""}]},
    "4096-characters": sized(4096),
    "4096-wide-characters": sized(4096, of="☕"),
    "a-NUL-inside": {"comment": "a\0b"},
    "a-key-that-means-something-elsewhere": {"app_id": 1, "account": "other"},
}
DROPPED: dict[str, dict[str, object]] = {
    "empty": {},
    "4097-characters": sized(4097),
    "40000-characters": sized(40_000),
    "a-number-of-100-digits": {"number": 10**100},
}
# Not JSON that this service reads at all.
REFUSED: dict[str, dict[str, object]] = {
    "a-lone-surrogate": {"comment": "\ud800"},
    "a-lone-surrogate-in-a-key": {"\ud800": 1},
    "300-levels": {"deep": DEEP},
}


@pytest.mark.parametrize("metadata", KEPT.values(), ids=KEPT)
async def test_metadata_is_kept_and_given_back(
    metadata: dict[str, object], client: Client
) -> None:
    """NWC-06: "some properties that are recognized by some NWC clients"."""
    made = (
        await client.request("make_invoice", {"amount": 1_000, "metadata": metadata})
    ).result

    found = (
        await client.request("lookup_invoice", {"payment_hash": made["payment_hash"]})
    ).result
    assert made["metadata"] == found["metadata"] == metadata


@pytest.mark.attack("A17")
@pytest.mark.parametrize("metadata", DROPPED.values(), ids=DROPPED)
async def test_metadata_too_long_or_unstorable_is_dropped_and_the_request_proceeds(
    metadata: dict[str, object], client: Client
) -> None:
    """NWC-06: "The metadata MUST be no more than 4096 characters, otherwise MUST be dropped".
    Section 4, "metadata too long": "dropped, the request proceeds"."""
    made = await client.request("make_invoice", {"amount": 1_000, "metadata": metadata})

    assert made.error_code is None
    assert "metadata" not in made.result


@pytest.mark.parametrize("metadata", REFUSED.values(), ids=REFUSED)
async def test_metadata_that_no_strict_parser_reads_is_refused_with_its_request(
    metadata: dict[str, object], client: Client
) -> None:
    made = await client.request("make_invoice", {"amount": 1_000, "metadata": metadata})

    assert made.payload["result_type"] == ""
    assert made.error_code == "OTHER"


@pytest.mark.attack("A20")
async def test_metadata_never_says_whose_an_invoice_is(
    client: Client, wallet: WalletInProcess
) -> None:
    other = await wallet.connect()
    invoice = await client.invoice(
        5_000, metadata={"app_id": other.connection.connection_id, "account": other.account}
    )

    await (await wallet.connect()).pay(invoice)

    assert await client.balance_msat() == 100_000_000 + 5_000
    assert await other.balance_msat() == 100_000_000


async def test_metadata_goes_with_a_payment_too(
    client: Client, wallet: WalletInProcess
) -> None:
    """NWC-06: "The metadata MUST be no more than 4096 characters, otherwise MUST be
    dropped"."""
    metadata = {"comment": json.dumps({"a": 1})}
    invoice = await wallet.outside_invoice()

    await client.pay(invoice, metadata=metadata)
    await client.pay(await wallet.outside_invoice(), metadata=sized(4097))

    rows = await client.transactions(type="outgoing")
    assert [row.get("metadata") for row in rows] in ([None, metadata], [metadata, None])


# --- when the node does not do it


async def test_a_node_that_cannot_be_reached_is_told_internal(tmp_path: Path) -> None:
    """NIP-47: "`INTERNAL`: An internal error"."""
    async with wallet_in_process(tmp_path) as wallet:
        client = await wallet.connect()
        await wallet.outside("mode", mode="unreachable")

        opened = await client.request("make_invoice", {"amount": 1_000})

        assert opened.error_code == "INTERNAL"
        assert await client.transactions(unpaid=True) == []
