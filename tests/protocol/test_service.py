"""The real service as a process, on its own relay and on an independent one: what a client
reads without asking, and what arrives that is no request in order."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event, is_authentic
from nwc_service.nostr.keys import Keypair
from tests.clients.conversation import NIP04, NIP44_V2, Conversation
from tests.clients.local_relay import local_relay
from tests.clients.raw import RawClient, raw_client
from tests.e2e.service import ServiceProcess, service_process
from tests.protocol.wallet import now

pytestmark = pytest.mark.asyncio(loop_scope="module")

GET_INFO = '{"method": "get_info"}'
STRANGER = Keypair(b"\x07" * 32)
FULL_METHODS = (
    "pay_invoice multi_pay_invoice make_invoice make_hold_invoice settle_hold_invoice"
    " cancel_hold_invoice lookup_invoice list_transactions get_balance get_info"
)
SIX_METHODS = "pay_invoice make_invoice lookup_invoice list_transactions get_balance get_info"


@dataclass(frozen=True, slots=True)
class Opened:
    service: ServiceProcess
    uri: str


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "independent"])
async def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Opened]:
    data_dir = tmp_path_factory.mktemp(request.param)
    async with local_relay() as relay:
        variables = {"NWC_RELAYS": relay} if request.param == "independent" else {}
        async with service_process(data_dir, **variables) as service:
            await service.create_account("main", credit_msat=10_000_000)
            yield Opened(service, await service.connect("main"))
            log = service.log_text()
            assert "Traceback" not in log
            assert "exception" not in log


@pytest_asyncio.fixture(loop_scope="module")
async def client(opened: Opened) -> AsyncIterator[RawClient]:
    async with raw_client(opened.uri) as client:
        yield client


async def answered(client: RawClient, event: Event) -> bool:
    """Whether it was, by the time a later request is: get_info is answered in turn."""
    await client.send_event(event)
    await client.request("get_info")
    return bool(client.responses_to(event.id))


def tagged(client: RawClient, *tags: tuple[str, str]) -> Event:
    return client.build_event(GET_INFO, tags=[*tags, ("encryption", NIP44_V2)])


# --- read without asking


@pytest.mark.parametrize(
    ("wish", "content", "tags"),
    [
        pytest.param(
            {},
            f"{FULL_METHODS} notifications",
            {
                "encryption": "nip44_v2 nip04",
                "notifications": "hold_invoice_accepted payment_received payment_sent",
                "extensions": "02 03 05 06",
            },
            id="full",
        ),
        pytest.param(
            {"scopes": "get_balance", "notifications": "", "encryption": "nip44_v2"},
            "get_balance get_info",
            {"encryption": "nip44_v2", "extensions": "06"},
            id="narrow",
        ),
        pytest.param(
            {"scopes": "read", "notifications": "payment_sent", "encryption": "nip04"},
            "lookup_invoice list_transactions get_balance get_info notifications",
            {"encryption": "nip04", "notifications": "payment_sent", "extensions": "02 05 06"},
            id="old",
        ),
    ],
)
async def test_the_info_event_says_what_a_connection_may_do(
    wish: dict[str, str], content: str, tags: dict[str, str], opened: Opened
) -> None:
    """NIP-47: "The info event should be a replaceable event that is published by the wallet
    service on the relay to indicate which capabilities it supports"."""
    async with raw_client(await opened.service.connect("main", **wish)) as client:
        info = client.info

    assert info is not None
    assert is_authentic(info)
    assert (info.kind, info.pubkey) == (13194, client.uri.wallet_pubkey)
    assert info.content == content
    assert info.tags == (*tags.items(), ("p", client.keypair.public_key))


@pytest.mark.attack("A29")
async def test_every_connection_has_a_service_key_of_its_own(opened: Opened) -> None:
    """NIP-47: "`pubkey`, which SHOULD be unique per client connection". NWC-08: "Wallet
    services SHOULD use a unique wallet service public key per connection"."""
    uris = [await opened.service.connect("main") for _ in range(3)]

    assert len({uri.partition("?")[0] for uri in uris}) == 3


@pytest.mark.parametrize("encryption", [NIP44_V2, NIP04])
async def test_a_response_is_for_its_client_and_its_request(
    encryption: str, client: RawClient
) -> None:
    request = client.build_request("get_balance", encryption=encryption)

    await client.send_event(request)
    response = await client.response_to(request.id)

    assert response.event.tags == (("p", client.keypair.public_key), ("e", request.id))
    assert response.encryption == encryption
    assert response.event.created_at >= request.created_at


async def test_both_notification_kinds_are_published(opened: Opened) -> None:
    async with raw_client(await opened.service.connect("main")) as client:
        invoice = (await client.request("make_invoice", {"amount": 1_000})).result
        await opened.service.sandbox("pay", invoice=invoice["invoice"])
        both = [await client.notifications.get() for _ in range(2)]

    assert {(n.event.kind, n.encryption) for n in both} == {
        (23197, NIP44_V2),
        (23196, NIP04),
    }
    assert all(n.event.tags == (("p", client.keypair.public_key),) for n in both)
    assert {n.payload["notification"]["payment_hash"] for n in both} == {
        invoice["payment_hash"]
    }


@pytest.mark.attack("A27")
async def test_the_info_event_of_a_revoked_connection_promises_nothing(
    opened: Opened,
) -> None:
    uri = await opened.service.connect("main")
    listed = await opened.service.call("GET", "connections?account=main")
    async with raw_client(uri) as client:
        [mine] = [c for c in listed["items"] if c["wallet_pubkey"] == client.uri.wallet_pubkey]
        await opened.service.call("POST", f"connections/{mine['connection_id']}/revoke")
        told = await client.request("get_balance")
    async with raw_client(uri) as later:
        info = later.info

    assert told.error_code == "UNAUTHORIZED"
    assert info is None or info.content == ""


# --- no request in order


async def test_the_first_p_tag_must_be_the_service_key(client: RawClient) -> None:
    ours, other = ("p", client.uri.wallet_pubkey), ("p", STRANGER.public_key)

    assert await answered(client, tagged(client, ours))
    assert not await answered(client, tagged(client, other, ours))
    assert not await answered(client, tagged(client, other))
    assert not await answered(client, tagged(client))


@pytest.mark.parametrize("kind", [1, 4, 13194, 23195, 23196, 23197, 23199])
async def test_another_kind_is_no_request(kind: int, client: RawClient) -> None:
    assert not await answered(client, client.build_event(GET_INFO, kind=kind))


@pytest.mark.attack("A28")
@pytest.mark.parametrize("length", [64 * 1024 + 1, 100_000])
async def test_content_above_64_kib_is_not_even_decrypted(
    length: int, client: RawClient
) -> None:
    tags = client.request_tags(NIP44_V2)
    event = client.conversation.sign("A" * length, kind=kinds.REQUEST, tags=tags)

    assert not await answered(client, event)


@pytest.mark.attack("A30")
async def test_a_forged_event_is_not_answered_and_burns_nothing(client: RawClient) -> None:
    honest = client.build_request("get_info")

    forged = [
        replace(honest, sig="00" * 64),
        replace(honest, content=client.conversation.encrypt(GET_INFO, NIP44_V2)),
        replace(honest, created_at=honest.created_at + 1),
    ]
    answers = [await answered(client, event) for event in forged]

    assert answers == [False] * 3
    assert await answered(client, honest)


async def test_a_stranger_is_answered_with_silence_and_without_a_log_line(
    opened: Opened, client: RawClient
) -> None:
    stranger = Conversation(STRANGER, client.uri.wallet_pubkey)
    before = len(opened.service.log_text())

    for number in range(20):
        event = stranger.sign(
            stranger.encrypt(GET_INFO, NIP44_V2),
            kind=kinds.REQUEST,
            tags=[("p", client.uri.wallet_pubkey), ("n", str(number))],
        )
        assert not await answered(client, event)

    assert len(opened.service.log_text()) == before


@pytest.mark.parametrize("expiration", ["1", "0", "-1", "soon", ""])
async def test_a_request_that_has_expired_or_may_have_is_ignored(
    expiration: str, client: RawClient
) -> None:
    """NIP-47: "If the request is received after this timestamp, it should be ignored"."""
    ours = ("p", client.uri.wallet_pubkey)

    assert not await answered(client, tagged(client, ours, ("expiration", expiration)))
    assert await answered(client, tagged(client, ours, ("expiration", str(now() + 60))))


async def test_what_cannot_be_read_is_complained_of_and_stops_nothing(
    opened: Opened,
) -> None:
    async with raw_client(await opened.service.connect("main")) as client:
        events = [
            client.conversation.sign(
                f"garbage {number}", kind=kinds.REQUEST, tags=client.request_tags(NIP44_V2)
            )
            for number in range(30)
        ]
        answers = [await answered(client, event) for event in events]

    assert 1 <= answers.count(True) <= 5


async def test_after_all_of_this_the_service_is_well(opened: Opened) -> None:
    ready = await opened.service.admin.get("/readyz")

    assert ready.json()["ready"] is True
    assert (await opened.service.audit())["problems"] == []
