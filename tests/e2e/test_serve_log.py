"""The log: readable by machines, plain about play money, and silent about secrets."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.clients.client import ClientError
from tests.clients.raw import ConnectionUri
from tests.demo.parties import NOSTR_SDK, clients
from tests.demo.sandbox import SandboxOutside
from tests.e2e.conftest import rows
from tests.e2e.service import ServiceProcess, service_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVOICE = re.compile(r"ln(?:bcrt|bc|tb)[0-9a-z]{20,}")


@dataclass(slots=True)
class Used:
    """A service at the most talkative level after it was used, and what it must not tell."""

    service: ServiceProcess
    lines: list[str]
    secrets: dict[str, str] = field(default_factory=dict)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Used]:
    data_dir = tmp_path_factory.mktemp("log") / "data"
    async with service_process(data_dir, NWC_LOG_LEVEL="debug") as service:
        found = Used(service, [])
        await use(service, found.secrets)
        await service.kill()
        await service.start()
        await service.stop()
        found.secrets |= kept_secrets(service)
        found.lines = service.log_text().splitlines()
        yield found


async def test_every_line_is_a_json_object_with_its_event(used: Used) -> None:
    events = [json.loads(line) for line in used.lines]

    assert all({"event", "level", "timestamp"} <= event.keys() for event in events)
    assert {"service.started", "payment.final"} <= {event["event"] for event in events}
    assert not [event for event in events if event["level"] in ("error", "critical")]


async def test_it_says_that_no_real_money_moves(used: Used) -> None:
    events = [json.loads(line) for line in used.lines]

    [first, again] = [event for event in events if event["event"] == "backend.simulated"]

    assert first["level"] == again["level"] == "warning"
    assert first["notice"] == "no real money moves"


@pytest.mark.attack("A31")
async def test_it_holds_no_secret_preimage_or_invoice(used: Used) -> None:
    text = "\n".join(used.lines)

    assert len(used.secrets) > 12
    assert [name for name, secret in used.secrets.items() if secret in text] == []
    assert INVOICE.search(text) is None
    assert "nostr+walletconnect" not in text


async def use(service: ServiceProcess, secrets: dict[str, str]) -> None:
    """Money in, between and out; a refusal, a failure, and commands that are refused."""
    outside = SandboxOutside(service)
    await service.create_account("alice", credit_msat=1_000_000)
    await service.create_account("bob")
    uris = [await service.connect(name) for name in ("alice", "bob")]
    async with clients() as opened:
        alice, bob = [await opened.open(uri, library=NOSTR_SDK) for uri in uris]
        invoice = (await bob.make_invoice(5_000))["invoice"]
        secrets["preimage inside"] = (await alice.pay_invoice(invoice))["preimage"]
        paid_outside = await outside.make_invoice(6_000)
        secrets["preimage outside"] = (await alice.pay_invoice(paid_outside))["preimage"]
        failing = (await service.sandbox("invoice", amount_msat=1_000, fail=True))["invoice"]
        unpayable = await outside.make_invoice(9_000_000)
        for refused in (failing, unpayable, "lnbcrt1" + "q" * 50):
            with pytest.raises(ClientError):
                await alice.pay_invoice(refused)
        received = (await bob.make_invoice(7_000))["invoice"]
        await outside.pay(received)
    for uri, name in zip(uris, ("alice", "bob"), strict=True):
        secrets[f"URI of {name}"] = uri
        secrets[f"secret of {name}"] = ConnectionUri.parse(uri).secret
    for number, each in enumerate((invoice, paid_outside, failing, unpayable, received)):
        secrets[f"invoice {number}"] = each


def kept_secrets(service: ServiceProcess) -> dict[str, str]:
    """What the data directory holds and nobody else may know."""
    preimages = rows(service, "SELECT preimage FROM payment WHERE preimage IS NOT NULL")
    return {
        "admin token": (service.data_dir / "admin.token").read_text().strip(),
        "master key": (service.data_dir / "master.key").read_text().strip(),
    } | {f"stored preimage {number}": str(row[0]) for number, row in enumerate(preimages)}
