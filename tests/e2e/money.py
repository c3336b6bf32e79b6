"""What every test of money asks in the end: nothing lost, nothing made, nothing twice."""

import json
from collections import Counter

from nwc_service.nostr.event import Event
from tests.clients.client import JsonObject
from tests.clients.raw import Opened, RawClient
from tests.e2e.conftest import until
from tests.e2e.service import ServiceProcess

NODE_START_MSAT = 10**12
FEE_MSAT = 1_000  # the sandbox's lowest
FEE_RESERVE_MSAT = 10_000  # the service's lowest


async def send_without_waiting(client: RawClient, event: Event) -> None:
    """For a relay that may die before it says OK."""
    await client.link.send_text(json.dumps(["EVENT", event.to_dict()]))


async def sends_of(service: ServiceProcess, payment_hash: str) -> list[str]:
    """The state of each send of this payment that ever reached the node."""
    books = await service.sandbox("show")
    return [
        one["state"]
        for one in books["payments"]
        if one["direction"] == "outgoing" and one["payment_hash"] == payment_hash
    ]


async def owed_msat(service: ServiceProcess) -> tuple[int, int]:
    """Available and held, over all accounts."""
    accounts = (await service.call("GET", "accounts"))["items"]
    return (
        sum(account["available_msat"] for account in accounts),
        sum(account["held_msat"] for account in accounts),
    )


async def check_books(
    service: ServiceProcess, *, credited_msat: int, unsent_msat: int = 0
) -> None:
    """Once nothing is held but what never reached the node: what the accounts have less is
    what the node has less."""

    async def quiet() -> bool:
        return (await owed_msat(service))[1] == unsent_msat

    await until(quiet)
    books = await service.sandbox("show")
    sends = Counter(
        one["payment_hash"] for one in books["payments"] if one["direction"] == "outgoing"
    )
    spent_msat = credited_msat - sum(await owed_msat(service))
    assert spent_msat == NODE_START_MSAT - books["node_available_msat"]
    assert max(sends.values(), default=0) <= 1
    assert (await service.audit())["problems"] == []


def distinct(answers: list[Opened]) -> dict[str, JsonObject]:
    """By event id: a repeated answer counts once."""
    return {answer.event.id: answer.payload for answer in answers}
