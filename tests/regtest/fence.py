"""How sharp rule J's fence is: `python -m tests.regtest.fence`.

What an LND still takes after one has revoked a macaroon's root key (DELETE
/v1/macaroon/ID): many connections send payments with it without a pause, until each of them is
refused. Nobody knows their payees, so LND takes each, dates it and is done with it at once:
its own list tells when the last one was taken, by the clock that we have too.
"""

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import httpx

from backends.lnd.api import Reply
from backends.lnd.payments import refusal
from backends.lnd.rights import NEEDED
from nwc_service.backend import NotSent
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import Msat, PaymentHash
from tests.regtest.lnd import LndNode
from tests.regtest.network import regtest_network
from tests.regtest.truth import payments_of

FIRST_KEY_ID = 1_000
AMOUNT_MSAT = Msat(1_000)
SENDERS = 20
OF_EACH = 150
BEFORE_S = 0.3
MORE_SENDS = 3  # that each sender still tries once it was refused


@dataclass(slots=True)
class Round:
    """One root key, from the first send with it to the last refusal."""

    revoked_at_ns: int = 0  # when the answer was here
    asked_at_ns: int = 0
    begun_at_ns: dict[str, int] = field(default_factory=dict)  # of every send, by hash
    refused: int = 0
    unproven: list[str] = field(default_factory=list)  # refusals that prove nothing
    taken_at_ns: dict[str, int] = field(default_factory=dict)  # as LND dates them, by hash

    @property
    def last_after_asking_ms(self) -> float:
        return (max(self.taken_at_ns.values()) - self.asked_at_ns) / 1e6

    @property
    def last_after_answer_ms(self) -> float:
        """Less than 0 is before it."""
        return (max(self.taken_at_ns.values()) - self.revoked_at_ns) / 1e6

    @property
    def taken_after(self) -> int:
        """After the answer was here."""
        return sum(at_ns > self.revoked_at_ns for at_ns in self.taken_at_ns.values())

    @property
    def taken_though_begun_after(self) -> int:
        return sum(self.begun_at_ns[one] > self.revoked_at_ns for one in self.taken_at_ns)

    @property
    def revocation_ms(self) -> float:
        return (self.revoked_at_ns - self.asked_at_ns) / 1e6


async def a_round(payer: LndNode, *, root_key_id: int) -> Round:
    macaroon = await payer.bake(*(f"uri:{uri}" for uri in NEEDED), root_key_id=root_key_id)
    shares = [[_invoice() for _ in range(OF_EACH)] for _ in range(SENDERS)]
    found = Round()
    async with payer.client() as admin, _clients(payer, macaroon) as clients:
        await admin.get("/v1/getinfo")  # its connection is there
        async with asyncio.TaskGroup() as tasks:
            for client, invoices in zip(clients, shares, strict=True):
                tasks.create_task(_send_until_refused(client, invoices, found=found))
            await asyncio.sleep(BEFORE_S)
            found.asked_at_ns = time.time_ns()
            answer = await admin.delete(f"/v1/macaroon/{root_key_id}")
            found.revoked_at_ns = time.time_ns()
    assert answer.json() == {"deleted": True}, answer.text
    found.taken_at_ns = {
        one["payment_hash"]: int(one["creation_time_ns"])
        for one in await payments_of(payer)
        if one["payment_hash"] in found.begun_at_ns
    }
    return found


async def _send_until_refused(
    client: httpx.AsyncClient, invoices: Sequence[str], *, found: Round
) -> None:
    """On a connection of its own that is kept, one after the other."""
    tries_left = MORE_SENDS
    for invoice in invoices:
        found.begun_at_ns[bolt11.decode(invoice).payment_hash] = time.time_ns()
        body = {
            "payment_request": invoice,
            "fee_limit_msat": "100000",
            "timeout_seconds": 30,
        }
        answer = await client.post("/v2/router/send", json=body)
        if answer.is_success:
            continue
        reply = Reply(answer.status_code, json.loads(answer.text)["error"])
        if not isinstance(refusal(reply), NotSent):
            found.unproven.append(answer.text)
        found.refused += 1
        if not tries_left:
            return
        tries_left -= 1


@asynccontextmanager
async def _clients(payer: LndNode, macaroon: str) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Connected already, as a service's are."""
    async with payer.client(macaroon) as one:
        others = [
            httpx.AsyncClient(
                base_url=payer.url,
                headers=one.headers,
                verify=payer.tls,
                trust_env=False,
                timeout=one.timeout,
            )
            for _ in range(SENDERS)
        ]
        try:
            await asyncio.gather(*(other.get("/v1/getinfo") for other in others))
            yield others
        finally:
            await asyncio.gather(*(other.aclose() for other in others))


def _invoice() -> str:
    """Of a node that nobody knows."""
    return bolt11.encode(
        network="regtest",
        amount_msat=AMOUNT_MSAT,
        payment_hash=PaymentHash(secrets.token_hex(32)),
        payment_secret=secrets.token_hex(32),
        description="",
        created_at=int(time.time()),
        expiry_s=3600,
        secret_key=secrets.token_bytes(32),
    )


def told(rounds: Sequence[Round]) -> str:
    figures = {
        "revocations": len(rounds),
        "connections that send": SENDERS,
        "sent": sum(len(one.begun_at_ns) for one in rounds),
        "taken by LND": sum(len(one.taken_at_ns) for one in rounds),
        "refused": sum(one.refused for one in rounds),
        "refusals that do not prove it unsent": sum(len(one.unproven) for one in rounds),
        "the revocation took, ms at most": _most(one.revocation_ms for one in rounds),
        "last taken, ms after it was asked for": _most(
            one.last_after_asking_ms for one in rounds
        ),
        "last taken, ms after its answer was here": _most(
            one.last_after_answer_ms for one in rounds
        ),
        "taken after that": sum(one.taken_after for one in rounds),
        "taken though begun after that": sum(one.taken_though_begun_after for one in rounds),
    }
    return "\n".join(f"{name:<42}{figure}" for name, figure in figures.items())


def _most(times_ms: Iterable[float]) -> str:
    return f"{max(times_ms):.1f}"


async def measure(payer: LndNode, *, rounds: int) -> list[Round]:
    return [await a_round(payer, root_key_id=FIRST_KEY_ID + number) for number in range(rounds)]


async def _main(options: argparse.Namespace) -> int:
    directory = Path(mkdtemp(prefix="nwc-fence-"))
    try:
        async with regtest_network(directory / "network", nodes=2) as network:
            rounds = await measure(network.nodes["alice"], rounds=options.rounds)
    finally:
        shutil.rmtree(directory)
    print(told(rounds))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.regtest.fence", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="root keys to revoke")
    sys.exit(asyncio.run(_main(parser.parse_args())))
