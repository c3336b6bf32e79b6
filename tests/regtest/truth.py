"""What the real nodes say has happened, as the oracle of tests/chaos wants it."""

import re
import sqlite3
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nwc_service.wallet import keysend
from tests.chaos.books import Books
from tests.chaos.oracle import INSIDE
from tests.clients.client import JsonObject
from tests.regtest.lnd import LndNode

PAGE = 1000
ENDED = ("SETTLED", "CANCELED")

Row = dict[str, Any]


async def payments_of(node: LndNode) -> list[Row]:
    """All that it ever tried, by its own list."""
    query = {"include_incomplete": "true", "max_payments": str(PAGE)}
    return await _all(node, "/v1/payments", query, what="payments")


async def invoices_of(node: LndNode) -> list[Row]:
    """All that it ever made or took, with their hashes as hex."""
    found = await _all(node, "/v1/invoices", {"num_max_invoices": str(PAGE)}, what="invoices")
    return [row | {"hash": b64decode(row["r_hash"]).hex()} for row in found]


async def _all(node: LndNode, path: str, query: Mapping[str, str], *, what: str) -> list[Row]:
    rows: list[Row] = []
    place = "0"
    while True:
        page = await node.rest("GET", path, query={**query, "index_offset": place})
        rows += page[what]
        if len(page[what]) < PAGE:
            return rows
        place = page["last_index_offset"]


async def in_channels_msat(node: LndNode) -> int:
    """What its side of the channels is worth. Of a channel that it opened, so much less as the
    next commitment costs: always the same while nothing is held."""
    balance = await node.rest("GET", "/v1/balance/channels")
    return int(balance["local_balance"]["msat"])


async def held_hashes(node: LndNode) -> set[str]:
    """Of the HTLCs that are in its channels now."""
    channels = (await node.rest("GET", "/v1/channels"))["channels"]
    htlcs = [htlc for channel in channels for htlc in channel["pending_htlcs"]]
    return {b64decode(htlc["hash_lock"]).hex() for htlc in htlcs}


def truth(books: Books, *, payments: Iterable[Row], invoices: Iterable[Row]) -> JsonObject:
    """Of the service's node: what it has paid, by the payment in the books that it was for."""
    rows = {row["payment_hash"]: row for row in _best_last(books.payments)}
    paid = {
        rows[one["payment_hash"]]["payment_id"]
        if one["payment_hash"] in rows
        else one["payment_hash"]: {
            "amount_msat": int(one["value_msat"]),
            "fee_msat": int(one["fee_msat"]),
            "said_fee_msat": int(one["fee_msat"]),
        }
        for one in payments
        if one["status"] == "SUCCEEDED"
    }
    settled = [one for one in invoices if one["state"] == "SETTLED"]
    return {
        "paid": paid,
        "sent": {},  # LND has one payment for each hash
        "received": [(one["hash"], int(one["amt_paid_msat"])) for one in settled],
        "keysends": {one["hash"]: _named(one) for one in settled if one["is_keysend"]},
        "decided": {one["hash"] for one in invoices if one["state"] in ENDED},
        "lied": [],
        "denied": [],
    }


def _best_last(payments: Iterable[sqlite3.Row]) -> list[sqlite3.Row]:
    """Of several attempts at one hash the settled one counts, or else the last."""
    outside = [row for row in payments if row["kind"] not in INSIDE]
    return sorted(outside, key=lambda row: (row["state"] == "SETTLED", row["created_at"]))


def _named(invoice: Row) -> str | None:
    for htlc in invoice["htlcs"]:
        value = htlc["custom_records"].get(str(keysend.ACCOUNT_TLV))
        if htlc["state"] == "SETTLED" and value is not None:
            return b64decode(value).decode()
    return None


def differences(
    payments: Iterable[Row], invoices: Iterable[Row], *, payer: str, payee: str
) -> Iterator[str]:
    """What one node has paid, the other has; each hash once."""
    paid = [one for one in payments if one["status"] == "SUCCEEDED"]
    sent = {one["payment_hash"]: int(one["value_msat"]) for one in paid}
    came = {
        one["hash"]: int(one["amt_paid_msat"]) for one in invoices if one["state"] == "SETTLED"
    }
    if len(sent) != len(paid):
        yield f"{payer} lists a payment twice"
    for payment_hash in sent.keys() | came.keys():
        left_msat, arrived_msat = sent.get(payment_hash, 0), came.get(payment_hash, 0)
        if left_msat != arrived_msat:
            yield (
                f"{payment_hash}: {left_msat} msat left {payer},"
                f" {arrived_msat} msat came to {payee}"
            )


def undone(invoices: Iterable[Row], *, sent: Iterable[Row], log: str) -> list[Row]:
    """What LND calls settled, and has given back all the same.

    LND 0.21 marks an invoice as settled before its channel has the preimage. Killed in between,
    it may fail to read its own onion at the next start, and fails the HTLC: whoever trusts the
    invoice has lost that much. Its log tells, the payer's list says that the payment failed.
    """
    failed = {one["payment_hash"] for one in sent if one["status"] == "FAILED"}
    refused = set(re.findall(r"unable to decode onion hop iterator .*hash=([0-9a-f]{64})", log))
    return [
        one for one in invoices if one["state"] == "SETTLED" and one["hash"] in failed & refused
    ]
