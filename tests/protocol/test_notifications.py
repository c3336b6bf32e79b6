"""Who is told of a settled payment, in which kinds, and in what shape."""

import pytest

from tests.clients.raw import Opened
from tests.protocol.wallet import Client, WalletInProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")

FIELDS = {
    "transaction_id",
    "type",
    "state",
    "invoice",
    "description",
    "description_hash",
    "preimage",
    "payment_hash",
    "amount",
    "fees_paid",
    "created_at",
    "expires_at",
    "settled_at",
}


def told(client: Client) -> list[Opened]:
    return [client.notifications.get_nowait() for _ in range(client.notifications.qsize())]


async def pay_between(payer: Client, payee: Client, amount_msat: int = 1_000) -> None:
    opened = await payer.pay(await payee.invoice(amount_msat))
    assert opened.error_code is None
    await payer.wallet.idle()


async def test_both_notification_kinds_are_published_if_nip04_is_allowed(
    client: Client, wallet: WalletInProcess
) -> None:
    """NIP-47: "it should publish two notification events for each notification". NWC-02: "it
    should publish two notification events for each notification: kind `23196` encrypted with
    NIP-04, and kind `23197` encrypted with NIP-44". Section 4, "both notification kinds": "both
    if nip04 is allowed for the connection"."""
    payer = await wallet.connect()

    await pay_between(payer, client)

    received = told(client)
    assert [(n.event.kind, n.encryption) for n in received] == [
        (23197, "nip44_v2"),
        (23196, "nip04"),
    ]
    assert received[0].payload == received[1].payload


@pytest.mark.parametrize(("encryption", "kind"), [("nip44_v2", 23197), ("nip04", 23196)])
async def test_only_the_kind_of_an_allowed_encryption_is_published(
    encryption: str, kind: int, wallet: WalletInProcess
) -> None:
    """NWC-02: "If the wallet service only supports NIP-44, it should only publish kind `23197`
    events"."""
    payee = await wallet.connect(encryption=encryption)
    invoice = (
        await payee.request("make_invoice", {"amount": 1_000}, encryption=encryption)
    ).result["invoice"]

    await (await wallet.connect()).pay(invoice)
    await wallet.idle()

    assert [n.event.kind for n in told(payee)] == [kind]


async def test_a_notification_is_for_its_client_alone(
    client: Client, wallet: WalletInProcess
) -> None:
    """NIP-47: "The notification event SHOULD contain one `p` tag, the public key of the
    client". NWC-02: "The notification event is a kind `23197` event and SHOULD contain one `p`
    tag, the public key of the client"."""
    await pay_between(await wallet.connect(), client)

    for notification in told(client):
        assert notification.event.tags == (("p", client.keypair.public_key),)
        assert notification.event.pubkey == client.uri.wallet_pubkey


@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])
async def test_payment_sent_has_the_whole_transaction(
    outside: bool, client: Client, wallet: WalletInProcess
) -> None:
    """NWC-02: "`payment_sent`: A payment was successfully sent by the wallet"."""
    payee = await wallet.connect()
    invoice = await (wallet.outside_invoice(1_000) if outside else payee.invoice(1_000))

    result = (await client.pay(invoice)).result
    await wallet.idle()

    sent = told(client)[0].payload
    body = sent["notification"]
    assert sent["notification_type"] == "payment_sent"
    assert set(body) == FIELDS
    assert (body["type"], body["state"], body["invoice"]) == ("outgoing", "settled", invoice)
    assert (body["preimage"], body["fees_paid"]) == (result["preimage"], result["fees_paid"])
    assert (await client.transactions(limit=1))[0] == body


@pytest.mark.parametrize("outside", [False, True], ids=["inside", "outside"])
async def test_payment_received_has_the_whole_transaction(
    outside: bool, client: Client, wallet: WalletInProcess
) -> None:
    """NWC-02: "`payment_received`: A payment was successfully received by the wallet"."""
    invoice = await client.invoice(1_000, description="tea", metadata={"comment": "c"})

    if outside:
        await wallet.outside("pay", invoice=invoice)
    else:
        await (await wallet.connect()).pay(invoice)
    received = (await client.notifications.get()).payload

    body = received["notification"]
    assert received["notification_type"] == "payment_received"
    assert set(body) == FIELDS | {"metadata"}
    assert (body["type"], body["state"], body["invoice"]) == ("incoming", "settled", invoice)
    assert (body["amount"], body["description"]) == (1_000, "tea")
    assert (await client.transactions(limit=1))[0] == body


async def test_every_app_of_an_account_that_sees_it_is_told(
    client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "several connections on one account": "list, lookup and notifications cover
    the account for connections that hold the scope"."""
    watcher = await wallet.connect(client.account, scopes="read")
    narrow = await wallet.connect(client.account, scopes="make_invoice,pay_invoice")

    await pay_between(await wallet.connect(), client)

    assert watcher.notification_types() == ["payment_received"] * 2
    assert narrow.notification_types() == []


async def test_a_connection_without_list_transactions_is_told_of_its_own(
    client: Client, wallet: WalletInProcess
) -> None:
    """Section 4, "several connections on one account": "a connection without
    `list_transactions` sees only its own rows"."""
    narrow = await wallet.connect(client.account, scopes="make_invoice,pay_invoice")

    await pay_between(await wallet.connect(), narrow)
    await pay_between(narrow, await wallet.connect())

    assert narrow.notification_types() == ["payment_received"] * 2 + ["payment_sent"] * 2
    assert client.notification_types() == ["payment_received"] * 2 + ["payment_sent"] * 2


@pytest.mark.parametrize(
    ("wish", "types"),
    [
        pytest.param("payment_received", {"payment_received"}, id="received"),
        pytest.param("payment_sent", {"payment_sent"}, id="sent"),
        pytest.param("", set(), id="none"),
        pytest.param(None, {"payment_received", "payment_sent"}, id="all-unless-asked"),
    ],
)
async def test_a_connection_is_told_what_it_wished_to_know(
    wish: str | None, types: set[str], wallet: WalletInProcess
) -> None:
    """NWC-02: "If notifications are authorized for a specific connection, `get_info` MAY also
    include"."""
    client = await wallet.connect(notifications=wish)
    other = await wallet.connect()

    await pay_between(client, other)
    await pay_between(other, client)

    assert set(client.notification_types()) == types
    announced = set((await client.request("get_info")).result["notifications"])
    assert announced == (types if wish is not None else types | {"hold_invoice_accepted"})


async def test_another_account_is_told_nothing(client: Client, wallet: WalletInProcess) -> None:
    stranger = await wallet.connect()

    await pay_between(await wallet.connect(), client)

    assert stranger.events == []


async def test_a_connection_that_ended_is_told_nothing(
    client: Client, wallet: WalletInProcess
) -> None:
    ended = await wallet.connect(client.account)
    expired = await wallet.expired(client.account)
    await wallet.revoke(ended)

    await pay_between(await wallet.connect(), client)

    assert (ended.events, expired.events) == ([], [])


async def test_what_failed_or_waits_is_no_notification(
    client: Client, wallet: WalletInProcess
) -> None:
    await client.pay(await wallet.outside_invoice(1_000, fail=True))

    async with client.holding(1_000):
        assert client.notification_types() == []


async def test_who_pays_itself_is_told_of_both_sides(
    client: Client, wallet: WalletInProcess
) -> None:
    await pay_between(client, client)

    assert (
        sorted(client.notification_types()) == ["payment_received"] * 2 + ["payment_sent"] * 2
    )
