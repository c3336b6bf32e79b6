"""What a library itself prevents or bends, as docs/clients.md lists it. A test that fails here
says that the library was mended: take its entry out of limits.py."""

import asyncio
from urllib.parse import quote

import nostr_sdk
import pytest

from nwc_service.methods import METHODS
from nwc_service.wallet import bolt11
from tests.clients.apps import CREDIT_MSAT, App, Apps, Drivers
from tests.clients.checks import AMOUNT_MSAT, COST_MSAT, has, keysend
from tests.clients.client import LIBRARY, ClientError
from tests.clients.conversation import NIP04, NIP44_V2
from tests.clients.install import JS_DIR
from tests.clients.libraries import ALBY, APPLESAUCE, NDK, NOSTR_SDK, NOSTR_TOOLS
from tests.clients.limits import limits
from tests.clients.local_relay import local_relay
from tests.clients.node import NodeClient
from tests.clients.raw import ConnectionUri
from tests.clients.responder import Responder, responder
from tests.clients.slow_relay import slow_relay
from tests.e2e.conftest import node_rows, proves
from tests.e2e.service import ServiceProcess
from tests.parts import require_real

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEARD_TIMEOUT_S = 15
NEVER_S = 3
needs_multi_pay = pytest.mark.skipif(
    "multi_pay_invoice" not in METHODS, reason="the service has no multi_pay_invoice"
)
needs_keysend = pytest.mark.skipif(
    "pay_keysend" not in METHODS, reason="the service has no pay_keysend"
)


async def test_every_limit_is_shown_here() -> None:
    assert {limit.test for limit in limits()} <= globals().keys()


@pytest.mark.real
@needs_multi_pay
async def test_alby_tells_only_the_error_of_a_batch(apps: Apps) -> None:
    app = await apps.open(ALBY, NIP44_V2, scopes="full,multi_pay_invoice")
    good = await app.outside.make_invoice(AMOUNT_MSAT)
    bad = await app.service.sandbox("invoice", amount_msat=AMOUNT_MSAT, fail=True)
    items = [{"id": "a", "invoice": good}, {"id": "b", "invoice": bad["invoice"]}]

    with pytest.raises(ClientError) as refused:
        await app.client.request("multi_pay_invoice", {"invoices": items})

    assert refused.value.code == "PAYMENT_FAILED"
    await has(app, CREDIT_MSAT - COST_MSAT)


@pytest.mark.real
@needs_keysend
async def test_alby_cannot_look_up_a_keysend(apps: Apps) -> None:
    app = await apps.open(ALBY, NIP44_V2, scopes="full,pay_keysend")
    await app.client.request("pay_keysend", await keysend(app))
    [sent] = await app.client.list_transactions()

    with pytest.raises(ClientError, match="validation") as refused:
        await app.client.lookup_invoice(payment_hash=sent["payment_hash"])

    assert refused.value.code == LIBRARY
    found = await app.ask_raw("lookup_invoice", payment_hash=sent["payment_hash"])
    assert (found["state"], found["invoice"]) == ("settled", "")


@pytest.mark.real
async def test_ndk_cannot_use_a_connection_without_nip04(
    service: ServiceProcess, drivers: Drivers
) -> None:
    await service.create_account("without-nip04")
    uri = await service.connect("without-nip04", encryption=NIP44_V2)

    async with drivers.client(NDK, uri, timeout_s=NEVER_S) as client:
        with pytest.raises(ClientError) as refused:
            await client.balance()

    assert refused.value.code == "UNSUPPORTED_ENCRYPTION"


@pytest.mark.real
async def test_ndk_knows_no_kind_of_notification() -> None:
    built = JS_DIR / "node_modules" / NDK.package / "dist" / "index.js"
    require_real(f"the npm client {NDK} (python -m tests.clients.install)", built.exists())

    text = built.read_text()

    assert "NostrWalletConnectRes" in text
    assert not any(kind in text for kind in ("23196", "23197", "payment_received"))


@pytest.mark.real
async def test_ndk_does_not_tell_the_fee(apps: Apps) -> None:
    app = await apps.open(NDK, NIP04)
    invoice = await app.outside.make_invoice(AMOUNT_MSAT)

    paid = await node(app).call("lnPay", {"invoice": invoice})

    assert paid.keys() == {"preimage"}
    assert proves(paid["preimage"], bolt11.decode(invoice).payment_hash)
    assert await app.balance_msat() == CREDIT_MSAT - COST_MSAT


@pytest.mark.real
async def test_ndk_publishes_twice_over_a_slow_relay_and_pays_once(
    service: ServiceProcess, drivers: Drivers
) -> None:
    """\"if the timer fires first and EOSE comes later the same event is published twice\"."""
    await service.create_account("slow", credit_msat=CREDIT_MSAT)
    uri = await service.connect("slow")
    url = ConnectionUri.parse(uri).relays[0]
    made = await service.sandbox("invoice", amount_msat=AMOUNT_MSAT, hold=True)
    async with slow_relay(url, eose_after_s=4) as slow:
        elsewhere = uri.replace(quote(url, safe=""), quote(slow.url, safe=""))
        async with drivers.client(NDK, elsewhere) as client:
            paying = asyncio.create_task(client.pay_invoice(made["invoice"]))
            async with asyncio.timeout(HEARD_TIMEOUT_S):
                while len(slow.published) < 2:
                    await asyncio.sleep(0.05)
            await service.sandbox("settle", payment_hash=made["payment_hash"])
            paid = await paying

    assert proves(paid["preimage"], made["payment_hash"])
    assert len(slow.published) == 2
    assert len(set(slow.published)) == 1
    assert [row[3] for row in await node_rows(service, made["payment_hash"])] == ["settled"]
    account = await service.account("slow")
    assert account["available_msat"] == CREDIT_MSAT - COST_MSAT


@pytest.mark.real
async def test_applesauce_loses_the_code_of_a_refusal(apps: Apps) -> None:
    app = await apps.open(APPLESAUCE, NIP44_V2)
    params = {"payment_hash": "ab" * 32}

    with pytest.raises(ClientError) as told:
        await app.client.lookup_invoice(**params)
    whole = await node(app).call("answer", {"method": "lookup_invoice", "params": params})

    assert whole["error"]["code"] == "NOT_FOUND"
    assert (told.value.code, told.value.message) == ("OTHER", whole["error"]["message"])


@pytest.mark.real
async def test_applesauce_hears_twice_where_both_encryptions_are_allowed(apps: Apps) -> None:
    app = await apps.open(APPLESAUCE, NIP44_V2)
    heard = await app.client.notifications()

    made = await app.client.make_invoice(AMOUNT_MSAT)
    await app.outside.pay(made["invoice"])

    first, second = [await asyncio.wait_for(heard.get(), HEARD_TIMEOUT_S) for _ in "12"]
    assert first == second


@pytest.mark.real
@needs_multi_pay
async def test_applesauce_never_ends_a_batch(apps: Apps) -> None:
    app = await apps.open(APPLESAUCE, NIP44_V2, scopes="full,multi_pay_invoice", timeout_s=1)
    items = [
        {"id": name, "invoice": await app.outside.make_invoice(AMOUNT_MSAT)} for name in "ab"
    ]

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(NEVER_S):
            await app.client.request("multi_pay_invoice", {"invoices": items})

    await has(app, CREDIT_MSAT - 2 * COST_MSAT)


@pytest.mark.real
async def test_applesauce_waits_for_ever_for_the_info_event(drivers: Drivers) -> None:
    async with local_relay() as relay:
        nobody = Responder(relay, {}, encryption=NIP44_V2).uri
        async with drivers.client(APPLESAUCE, nobody, timeout_s=0.5) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(NEVER_S):
                    await client.balance()


@pytest.mark.real
async def test_applesauce_misses_the_info_event_that_it_waited_for(
    service: ServiceProcess, drivers: Drivers
) -> None:
    await service.create_account("missed")
    relay = ConnectionUri.parse(await service.connect("missed")).relays[0]
    methods = ["get_balance"]
    asking = drivers.asking(APPLESAUCE, relay=relay, requestMethods=methods, watches=False)

    async with asking as client:
        link = (await client.call("link"))["link"]
        await service.call("POST", "links/accept", link=link, account="missed")
        await client.call("granted")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(NEVER_S):
                await client.balance()


@pytest.mark.real
async def test_applesauce_writes_a_space_as_a_plus(drivers: Drivers) -> None:
    methods = ["get_balance", "get_info"]

    asking = drivers.asking(APPLESAUCE, relay="ws://relay.test", requestMethods=methods)
    async with asking as client:
        link = (await client.call("link"))["link"]

    assert "name=two+teas" in link
    assert "request_methods=get_balance+get_info" in link


@pytest.mark.real
async def test_nostr_tools_makes_one_request_of_nip47(apps: Apps) -> None:
    app = await apps.open(NOSTR_TOOLS, NIP04)

    exports = await node(app).call("nip47Exports")

    assert exports == {"names": ["makeNwcRequestEvent", "parseConnectionString"]}


async def test_nostr_sdk_has_these_calls_and_no_others() -> None:
    public = {name for name in vars(nostr_sdk.NostrWalletConnect) if not name.startswith("_")}

    assert public == {*NOSTR_SDK.own, "client"}


async def test_nostr_sdk_cannot_read_a_code_that_it_does_not_know(drivers: Drivers) -> None:
    script = {"get_balance": ClientError("BAD_REQUEST", "two teas at most")}

    async with (
        local_relay() as relay,
        responder(relay, script) as wallet,
        drivers.client(NOSTR_SDK, wallet.uri) as client,
    ):
        with pytest.raises(ClientError) as refused:
            await client.balance()

    assert refused.value.code == LIBRARY
    assert "two teas at most" not in refused.value.message


def node(app: App) -> NodeClient:
    assert isinstance(app.client, NodeClient)
    return app.client
