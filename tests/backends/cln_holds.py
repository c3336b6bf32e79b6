"""The plugin `hold` of the double, as version 0.3.3 answers."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nwc_service.wallet import bolt11
from tests.backends.cln_rows import NODE_ID, Json, RpcFail, hash_of

if TYPE_CHECKING:
    from tests.backends.cln_core import ClnCore

DEADLINE = 3


def _now() -> str:
    """Naive, in UTC, as Rust writes it."""
    return datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None).isoformat()


@dataclass(slots=True)
class HoldPlugin:
    rows: list[dict[str, Any]] = field(default_factory=list)

    def injectholdinvoice(self, core: "ClnCore", invoice: str) -> Json:
        read = bolt11.decode(invoice)
        if read.payee != NODE_ID:
            raise RpcFail(-32700, "invoice is not related to us")
        if self.row_of(read.payment_hash) is not None:
            raise RpcFail(-32700, "UNIQUE constraint failed: invoices.payment_hash")
        self.rows.append(
            {
                "id": len(self.rows) + 1,
                "payment_hash": read.payment_hash,
                "invoice": invoice,
                "state": "unpaid",
                "created_at": _now(),
                "htlcs": [],
            }
        )
        return {}

    def listholdinvoices(self, core: "ClnCore", payment_hash: str = "") -> Json:
        rows = [row for row in self.rows if payment_hash in ("", row["payment_hash"])]
        return {"holdinvoices": rows}

    def settleholdinvoice(self, core: "ClnCore", preimage: str) -> Json:
        row = self.row_of(hash_of(preimage))
        if row is None:
            raise RpcFail(-32700, "invoice not found")
        if row["state"] == "paid":
            return {}
        if row["state"] != "accepted":
            raise RpcFail(-32700, "no HTLCs to settle")
        self._end(row, "paid")
        row |= {"preimage": preimage, "settled_at": _now()}
        core.balance_msat += sum(p["msat"] for p in row["htlcs"] if p["state"] == "paid")
        return {}

    def cancelholdinvoice(self, core: "ClnCore", payment_hash: str) -> Json:
        row = self.row_of(payment_hash)
        if row is None:
            raise RpcFail(-32700, "invoice not found")
        if row["state"] == "paid":
            raise RpcFail(-32700, "could update invoice in database: state paid is final")
        self._end(row, "cancelled")
        return {}

    def row_of(self, payment_hash: str) -> dict[str, Any] | None:
        return next((row for row in self.rows if row["payment_hash"] == payment_hash), None)

    def accept(self, core: "ClnCore", read: bolt11.Bolt11, *, amount_msat: int) -> bool:
        row = self.row_of(read.payment_hash)
        if row is None:
            return False
        if row["state"] != "unpaid":
            raise ValueError(f"invoice is in state: {row['state']}")
        row["state"] = "accepted"
        row["htlcs"].append(
            {
                "id": 1,
                "invoice_id": row["id"],
                "state": "accepted",
                "scid": "103x1x0",
                "channel_id": 0,
                "msat": amount_msat,
                "cltv_expiry": core.height + read.min_final_cltv_delta,
                "created_at": _now(),
            }
        )
        return True

    def refuse(self, payment_hash: str, *, amount_msat: int) -> None:
        """A part with a wrong payment secret, say, which the plugin writes down."""
        row = self.row_of(payment_hash)
        assert row is not None
        row["htlcs"].append({"state": "cancelled", "msat": amount_msat, "cltv_expiry": 1})

    def block_added(self, height: int) -> None:
        for row in self.rows:
            held = [part for part in row["htlcs"] if part["state"] == "accepted"]
            heights = [part["cltv_expiry"] for part in held]
            if row["state"] == "accepted" and min(heights) - height <= DEADLINE:
                self._end(row, "cancelled")

    def _end(self, row: dict[str, Any], state: str) -> None:
        row["state"] = state
        for part in row["htlcs"]:
            if part["state"] == "accepted":
                part["state"] = state
