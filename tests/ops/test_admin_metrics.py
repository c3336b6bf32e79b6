"""/metrics of the real service: with the token, and silent about whose money it is."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.demo.parties import NOSTR_SDK, clients
from tests.demo.sandbox import SandboxOutside
from tests.e2e.conftest import rows
from tests.e2e.service import ServiceProcess, service_process
from tests.ops.scrape import samples, value

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServiceProcess]:
    """In which alice has paid, and been paid, from outside."""
    async with service_process(tmp_path_factory.mktemp("metrics") / "data") as started:
        await started.create_account("alice-canary", credit_msat=1_000_000)
        uri = await started.connect("alice-canary")
        outside = SandboxOutside(started)
        async with clients() as opened:
            alice = await opened.open(uri, library=NOSTR_SDK)
            await alice.pay_invoice(await outside.make_invoice(6_000))
            await outside.pay((await alice.make_invoice(7_000))["invoice"])
        yield started


async def scrape(service: ServiceProcess) -> str:
    response = await service.admin.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return response.text


async def test_it_wants_the_token(service: ServiceProcess) -> None:
    response = await service.admin.get("/metrics", headers={"Authorization": "Bearer no"})

    assert response.status_code == 401


async def test_it_tells_what_has_happened(service: ServiceProcess) -> None:
    found = samples(await scrape(service))

    paid = {"backend": "sandbox", "kind": "bolt11", "outcome": "settled"}
    answered = {"method": "pay_invoice", "outcome": "ok"}
    assert value(found, "nwc_payments_total", **paid) == 1
    assert value(found, "nwc_requests_total", **answered) == 1
    assert value(found, "nwc_accounts") == value(found, "nwc_connections") == 1
    assert value(found, "nwc_relays_subscribed", relay="embedded") == 1
    assert value(found, "nwc_solvency_gate_open") == 1
    assert value(found, "nwc_database_commits_total") > 0
    assert value(found, "process_open_fds") > 0
    assert value(found, "nwc_embedded_relay_sockets") >= 0


async def test_it_shows_no_secret_no_key_and_no_account(service: ServiceProcess) -> None:
    text = await scrape(service)

    [row] = rows(service, "SELECT wallet_pubkey, client_pubkey, connection_id FROM connection")
    [account] = rows(service, "SELECT account_id, name, keysend_id FROM account")
    hashes = rows(service, "SELECT payment_hash, preimage, invoice, payment_id FROM payment")
    hidden = [str(each) for found in (row, account, *hashes) for each in found]
    hidden.append((service.data_dir / "admin.token").read_text().strip())
    hidden.append((service.data_dir / "master.key").read_text().strip())
    assert len(hidden) == 12
    assert [each for each in hidden if each in text] == []
    labels = " ".join(value for _, pairs in samples(text) for _, value in pairs)
    assert re.search(r"[0-9a-f]{16}|ln(bc|bcrt|tb)[0-9]|npub|nsec", labels) is None
