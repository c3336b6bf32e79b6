"""The hostile node as a process of its own: it outlives every life of the service.

A call that the node leaves unanswered keeps its connection open, one whose reply breaks off is
reset. Whoever plays the world outside speaks to the same socket.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Cursor,
    InvoiceSpec,
    KeysendRequest,
    PaymentRef,
    PayRequest,
    Unknown,
)
from nwc_service.wallet import keysend
from tests.chaos.wire import (
    MAX_LINE_BYTES,
    JsonObject,
    from_outcome,
    from_report,
    to_line,
    to_request,
)
from tests.doubles.hostile_node import NODE_PUBKEY, Faults, HostileNode, SendState

POLL_S = 0.05
INFO = {"alias": "hostile", "pubkey": NODE_PUBKEY, "network": "regtest"}


@dataclass(frozen=True, slots=True)
class NodeSpec:
    socket: str
    seed: str
    offset_s: int


async def run_node(spec: NodeSpec, *, ready: Callable[[], None]) -> None:
    """Serve until killed."""
    server = NodeServer(spec)
    await server.open()
    ready()
    await asyncio.Event().wait()


class NodeServer:
    def __init__(self, spec: NodeSpec) -> None:
        self._socket = spec.socket
        self._offset_s = spec.offset_s
        self._node = HostileNode(Random(spec.seed), clock=self._clock)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._denied: set[str] = set()  # sends that it had, and said that it had not

    async def open(self) -> None:
        Path(self._socket).unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, self._socket, limit=MAX_LINE_BYTES, backlog=500
        )

    def _clock(self) -> float:
        return time.time() + self._offset_s

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            line = await reader.readline()
            if line.endswith(b"\n"):
                request = orjson.loads(line)
                await self._answer(request["call"], request["arguments"], writer=writer)
        except (BackendUnavailable, OSError):
            pass  # the reset below is the answer
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _answer(
        self, call: str, arguments: JsonObject, *, writer: asyncio.StreamWriter
    ) -> None:
        if call == "watch":
            await self._watch(writer, **arguments)
            return
        try:
            if call == "pay":
                result = await self._pay(writer, to_request(arguments))
            else:
                result = getattr(self, f"_on_{call}")(**arguments)
            reply = {"result": result}
        except BadRequest as error:
            reply = {"refused": str(error)}
        writer.write(to_line(reply))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    # --- the backend's calls that take time

    async def _pay(
        self, writer: asyncio.StreamWriter, request: PayRequest | KeysendRequest
    ) -> Any:
        self._node.submit(request)
        while not writer.is_closing():
            outcome = self._node.answer(request.our_id)
            if isinstance(outcome, Unknown):
                raise BackendUnavailable
            if outcome is not None:
                return from_outcome(outcome)
            await asyncio.sleep(POLL_S)
        return None

    async def _watch(self, writer: asyncio.StreamWriter, *, since: Cursor | None) -> None:
        reached = since
        while not writer.is_closing():
            for report, cursor in self._node.events_after(reached):
                reached = cursor or reached
                writer.write(to_line({"report": from_report(report), "cursor": cursor}))
            await writer.drain()
            await asyncio.sleep(POLL_S)

    # --- the others

    def _on_info(self) -> JsonObject:
        self._node.counters()  # as unavailable as any call
        return INFO | {"block_height": self._node.height()}

    def _on_balance(self) -> int:
        return self._node.balance_msat()

    def _on_counters(self) -> dict[str, int]:
        return self._node.counters()

    def _on_create_invoice(self, **spec: Any) -> JsonObject | None:
        return from_report(self._node.create_invoice(InvoiceSpec(**spec)))

    def _on_lookup_invoice(self, payment_hash: Any) -> JsonObject | None:
        return from_report(self._node.lookup_invoice(payment_hash))

    def _on_lookup_payment(self, **ref: Any) -> JsonObject | None:
        outcome = self._node.lookup_payment(PaymentRef(**ref))
        if outcome is None and self._has(ref["our_id"]):
            self._denied.add(ref["our_id"])
        return from_outcome(outcome)

    def _has(self, our_id: str) -> bool:
        sends = self._node._sends
        return any(sends[number].our_id == our_id for number in self._node._memory.sends)

    def _on_decode(self, invoice: str) -> JsonObject:
        return asdict(self._node.decode(invoice))

    def _on_cancel_invoice(self, payment_hash: Any) -> None:
        self._node.cancel_invoice(payment_hash)

    def _on_resolve_hold(self, payment_hash: Any, preimage: Any) -> JsonObject | None:
        return from_report(self._node.resolve_hold(payment_hash, preimage))

    # --- the world outside

    def _on_offer(self, offers: list[tuple[int, int]]) -> list[str]:
        return [self._node.offer(amount, expiry_s=expiry_s) for amount, expiry_s in offers]

    def _on_receive(self, hashes: list[Any]) -> list[int]:
        return [self._node.receive(payment_hash) for payment_hash in hashes]

    def _on_receive_keysend(self, amount_msat: int, keysend_id: str) -> str:
        return self._node.receive_keysend(
            amount_msat, {keysend.ACCOUNT_TLV: keysend_id.encode()}
        )

    def _on_receive_stray(self, amount_msat: int) -> str:
        return self._node.receive_stray(amount_msat)

    def _on_examine(self, our_id: str) -> JsonObject:
        """What an operator finds who looks at the node itself, long after the send."""
        paid = self._node.truth.paid.get(our_id)
        return {
            "arrived": any(
                send.our_id == our_id and send.state is not SendState.DROPPED
                for send in self._node._sends
            ),
            "preimage": self._node._payees[paid.payment_hash] if paid else None,
            "fee_msat": paid.said_fee_msat if paid else None,
        }

    def _on_reset(self) -> None:
        """Every connection breaks off, whatever it waits for; this one has its reply first."""
        asyncio.get_running_loop().call_later(POLL_S, self._abort_all)

    def _abort_all(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    def _on_refuse(self, for_s: float) -> None:
        """Nobody can connect for a while."""
        assert self._server is not None
        self._server.close()
        Path(self._socket).unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        loop.call_later(for_s, lambda: loop.create_task(self.open()))

    def _on_pass_time(self, offset_s: int) -> None:
        self._offset_s = offset_s
        self._node.step()

    def _on_turn(self, **faults: Any) -> None:
        """From now on it behaves as badly as this."""
        self._node.faults = Faults(**faults)

    def _on_heal(self) -> None:
        self._node.heal()

    def _on_truth(self) -> JsonObject:
        truth, sends = self._node.truth, self._node._sends
        return {
            "sent": truth.sends,
            "paid": {our_id: asdict(paid) for our_id, paid in truth.paid.items()},
            "denied": sorted(self._denied),
            "lied": [send.our_id for send in sends if send.says_failed],
            "open": len(self._node._open),
            "received": [(h, msat) for (h, _), msat in truth.received_msat.items()],
            "keysends": {h: keysend.keysend_id(tlvs) for h, tlvs in truth.keysends.items()},
            "decided": sorted(truth.decided),
        }
