"""Routes, onions and single parts, as a small Core Lightning has them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coincurve import PrivateKey, PublicKey

from nwc_service.wallet import tlv
from tests.backends.cln_rows import NODE_ID, OUTSIDE_ID, Json, RpcFail, hash_of

if TYPE_CHECKING:
    from tests.backends.cln_core import ClnCore

MIDDLE_ID = PrivateKey(b"\x06" * 32).public_key.format().hex()
CHANNELS = ("103x1x0/1", "16777215x2x65535/0")
FEE_MSAT = 1_000
MIDDLE_CLTV = 6
PREIMAGE_TLV = 5482373484
AMOUNT, CLTV, CHANNEL = 2, 4, 6

NAMES_OF_25_12 = {
    "amount_in_msat": "amount_msat",
    "node_id_out": "next_node_id",
    "cltv_in": "delay",
}


@dataclass(slots=True)
class Keysends:
    """Our node, one in the middle that takes a fee, and the outside."""

    names: Mapping[str, str] = field(default_factory=dict)
    changed: dict[str, object] = field(default_factory=dict)  # in the route
    came: list[dict[int, bytes]] = field(default_factory=list)  # what the outside got
    refuses: bool = False  # the outside does

    def getroutes(
        self,
        core: "ClnCore",
        *,
        source: str,
        destination: str,
        amount_msat: int,
        layers: Sequence[str],
        maxfee_msat: int,
        final_cltv: int,
        maxparts: int,
    ) -> Json:
        _check_key(destination)
        assert (source, maxparts) == (NODE_ID, 1)
        assert set(layers) == {"auto.localchans", "auto.sourcefree"}
        if destination != OUTSIDE_ID:
            raise RpcFail(205, "Unknown destination node")
        if amount_msat + FEE_MSAT > core.balance_msat:
            raise RpcFail(215, "Insufficient funds")
        if maxfee_msat < FEE_MSAT:
            raise RpcFail(206, "Could not find route without excessive cost")
        to_middle = {
            "short_channel_id_dir": CHANNELS[0],
            "node_id_in": NODE_ID,
            "node_id_out": MIDDLE_ID,
            "amount_in_msat": amount_msat + FEE_MSAT,
            "amount_out_msat": amount_msat + FEE_MSAT,
            "cltv_in": final_cltv + MIDDLE_CLTV,
            "cltv_out": final_cltv + MIDDLE_CLTV,
        }
        to_outside = to_middle | {
            "short_channel_id_dir": CHANNELS[1],
            "node_id_in": MIDDLE_ID,
            "node_id_out": OUTSIDE_ID,
            "amount_out_msat": amount_msat,
            "cltv_out": final_cltv,
        }
        path = [self._named(hop) for hop in (to_middle, to_outside)]
        route = {"amount_msat": amount_msat, "final_cltv": final_cltv, "path": path}
        return {"probability_ppm": 999_000, "routes": [route | self.changed]}

    def createonion(
        self, core: "ClnCore", *, hops: Sequence[Mapping[str, str]], assocdata: str
    ) -> Json:
        for hop in hops:
            _check_key(hop["pubkey"])
        text = json.dumps({"hops": hops, "assocdata": assocdata})
        return {"onion": text.encode().hex(), "shared_secrets": ["00" * 32 for _ in hops]}

    async def injectpaymentonion(
        self,
        core: "ClnCore",
        *,
        onion: str,
        payment_hash: str,
        amount_msat: int,
        cltv_expiry: int,
        partid: int,
        groupid: int,
        label: str,
        destination_msat: int,
    ) -> Json:
        """Peels the onion as the nodes on the way do."""
        before = [part for part in core.parts if part["payment_hash"] == payment_hash]
        if any(part["status"] == "complete" for part in before):
            raise RpcFail(219, "Already paid")
        if any(part["status"] == "pending" for part in before):
            raise RpcFail(200, "payment is in progress")
        assert partid > 0
        last = _peeled(
            onion, payment_hash, first=(amount_msat, cltv_expiry), height=core.height
        )
        preimage = last.pop(PREIMAGE_TLV).hex()
        fields: dict[str, Any] = {
            "payment_hash": payment_hash,
            "label": label,
            "group": groupid,
        }
        fields |= {"amount_msat": destination_msat, "fee_msat": amount_msat - destination_msat}
        if core.attempts:
            done = await core.attempt(core.attempts.pop(0), preimage=preimage, **fields)
            return _done(done)
        if self.refuses or hash_of(preimage) != payment_hash:
            core.add_part("failed", **fields)
            raise RpcFail(218, "incorrect_or_unknown_payment_details")
        self.came.append(last)
        core.add_part("complete", preimage=preimage, **fields)
        core.balance_msat -= amount_msat
        return _done(core.parts[-1])

    def _named(self, hop: Mapping[str, object]) -> dict[str, object]:
        if not self.names:
            return dict(hop)
        return {self.names.get(name, name): value for name, value in hop.items()}


def _peeled(
    onion: str, payment_hash: str, *, first: tuple[int, int], height: int
) -> dict[int, bytes]:
    """What the last node is told, beside amount and height; every node checks its own."""
    packet: dict[str, Any] = json.loads(bytes.fromhex(onion))
    assert packet["assocdata"] == payment_hash
    told = [_records(hop["payload"]) for hop in packet["hops"]]
    assert [hop["pubkey"] for hop in packet["hops"]] == [NODE_ID, MIDDLE_ID, OUTSIDE_ID]
    assert [hop.get(CHANNEL) for hop in told] == [*map(_scid, CHANNELS), None]
    came_msat, came_cltv = first
    for hop, fee_msat, delta in zip(told, (0, FEE_MSAT, 0), (0, MIDDLE_CLTV, 0), strict=True):
        amount_msat, cltv = tlv.truncated_int(hop[AMOUNT]), tlv.truncated_int(hop[CLTV])
        assert came_msat - amount_msat >= fee_msat, "fee_insufficient"
        assert came_cltv - cltv >= delta, "incorrect_cltv_expiry"
        came_msat, came_cltv = amount_msat, cltv
    assert came_cltv > height + 18, "expiry_too_soon"
    return {type_: value for type_, value in told[-1].items() if type_ not in (AMOUNT, CLTV)}


def _records(payload: str) -> dict[int, bytes]:
    """Of a payload with its length in front."""
    raw = bytes.fromhex(payload)
    start = {0xFD: 3}.get(raw[0], 1)
    length = int.from_bytes(raw[1:3], "big") if start == 3 else raw[0]
    assert len(raw) == start + length
    return {record.type: record.value for record in tlv.read_tlv(raw[start:])}


def _scid(channel: str) -> bytes:
    block, transaction, output = map(int, channel.split("/")[0].split("x"))
    parts = (
        block.to_bytes(3, "big"),
        transaction.to_bytes(3, "big"),
        output.to_bytes(2, "big"),
    )
    return b"".join(parts)


def _done(part: Mapping[str, Any]) -> Json:
    names = ("created_index", "created_at", "completed_at", "payment_preimage")
    return {name: part[name] for name in names}


def _check_key(pubkey: str) -> None:
    try:
        PublicKey(bytes.fromhex(pubkey))
    except ValueError:
        raise RpcFail(-32602, "pubkey: should be a public key: invalid token") from None
