"""What an onion says to each node on the way (BOLT 4), for a payment without an invoice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.cln.wire import Route
from nwc_service.wallet import tlv

AMOUNT, CLTV, CHANNEL = 2, 4, 6
"""`amt_to_forward`, `outgoing_cltv_value` and `short_channel_id`."""


@dataclass(frozen=True, slots=True)
class Hop:
    """As `createonion` takes it: a node, and what it is told, with its length in front."""

    pubkey: str
    payload: str


def hops(
    route: Route, *, source: str, height: int, last_records: Mapping[int, bytes]
) -> Sequence[Hop]:
    """From our own node, which unwraps the first layer, to the last one, which gets the
    records. CLTVs count from this height."""
    made, node = [], source
    after = [*route.path[1:], None]
    for step, following in zip(route.path, after, strict=True):
        amount_msat = following.amount_msat if following else route.amount_msat
        cltv = following.cltv if following else route.final_cltv
        forward = _amounts(amount_msat, height + cltv) | {CHANNEL: _channel_id(step.channel)}
        made.append(Hop(node, _payload(forward)))
        node = step.node
    last = _amounts(route.amount_msat, height + route.final_cltv)
    return [*made, Hop(node, _payload({**last, **last_records}))]


def _amounts(amount_msat: int, cltv: int) -> dict[int, bytes]:
    return {AMOUNT: _truncated(amount_msat), CLTV: _truncated(cltv)}


def _payload(records: Mapping[int, bytes]) -> str:
    stream = tlv.write_tlv(sorted(records.items()))
    return (tlv.bigsize(len(stream)) + stream).hex()


def _truncated(value: int) -> bytes:
    """BOLT 1's `tu32` and `tu64`: without zeros in front."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _channel_id(channel: str) -> bytes:
    """Of a `short_channel_id_dir`: block, transaction and output."""
    block, transaction, output = map(int, channel.split("/")[0].split("x"))
    return (block << 40 | transaction << 16 | output).to_bytes(8, "big")
