"""What comes before any method: who asks, what it may do, how it is encrypted, and whether it
is a request at all."""

from pathlib import Path

import pytest

from nwc_service.methods import METHODS
from nwc_service.nip47 import kinds
from nwc_service.nostr.event import Event
from nwc_service.nostr.keys import Keypair
from tests.clients.conversation import NIP04, NIP44_V2, Conversation
from tests.protocol.wallet import Client, WalletInProcess, now, wallet_in_process

pytestmark = pytest.mark.asyncio(loop_scope="package")

GET_INFO = '{"method": "get_info"}'
SIX_METHODS = [
    "pay_invoice",
    "make_invoice",
    "lookup_invoice",
    "list_transactions",
    "get_balance",
    "get_info",
]
# What nostr-sdk 0.44 knows, which rejects a get_info that names any other method.
FULL_METHODS = [
    "pay_invoice",
    "multi_pay_invoice",
    "make_invoice",
    "make_hold_invoice",
    "settle_hold_invoice",
    "cancel_hold_invoice",
    *SIX_METHODS[2:],
]
GOOD_PARAMS: dict[str, dict[str, object]] = {
    "make_invoice": {"amount": 1_000},
    "lookup_invoice": {"payment_hash": "ab" * 32},
    "pay_invoice": {"invoice": "lnbcrt1"},
}


def garbage(client: Client, content: str) -> Event:
    tags = client.request_tags(NIP44_V2)
    return client.conversation.sign(content, kind=kinds.REQUEST, tags=tags)


# --- the response event


@pytest.mark.parametrize("encryption", [NIP44_V2, NIP04])
@pytest.mark.parametrize("method", SIX_METHODS)
async def test_a_response_is_for_its_client_and_its_request_in_its_encryption(
    method: str, encryption: str, client: Client
) -> None:
    """NIP-47: "Both the request and response events SHOULD contain one `p` tag"; "The response
    event SHOULD contain an `e` tag with the id of the request event it is responding to"; "The
    `result_type` field MUST contain the name of the method that this event is responding to".
    protocol.md 1.2: "Reply uses the request's scheme"."""
    request = client.build_request(method, GOOD_PARAMS.get(method), encryption=encryption)

    [opened] = await client.answers(request)

    assert opened.event.kind == 23195
    assert opened.event.pubkey == client.uri.wallet_pubkey
    assert opened.event.tags == (("p", client.keypair.public_key), ("e", request.id))
    assert opened.encryption == encryption
    assert opened.payload["result_type"] == method


@pytest.mark.parametrize("method", SIX_METHODS)
async def test_keys_on_success_and_error(method: str, client: Client) -> None:
    """NIP-47: "The `error` field MUST contain a `message` field with a human readable error
    message and a `code` field with the error code if the command was not successful"; "If the
    command was successful, the `error` field must be null". Section 4, "keys on success and
    error": "`error: null` on success; `result` omitted on error"."""
    opened = await client.request(method, GOOD_PARAMS.get(method))

    if opened.error_code is None:
        assert list(opened.payload) == ["result_type", "error", "result"]
        assert isinstance(opened.result, dict)
    else:
        assert list(opened.payload) == ["result_type", "error"]
        assert list(opened.payload["error"]) == ["code", "message"]


async def test_the_nulls_of_success_and_error_can_be_switched(tmp_path: Path) -> None:
    """snstr drops an error without a null result, older Dart NDK a success with a null
    error."""
    config = tmp_path / "nwc.toml"
    config.write_text(
        "[responses]\nnull_error_on_success = false\nnull_result_on_error = true\n"
    )

    async with wallet_in_process(tmp_path, config=config) as switched:
        client = await switched.connect()
        read, made, unread, unmade = [
            (await client.request(method, params)).payload
            for method, params in [
                ("get_balance", {}),
                ("make_invoice", {"amount": 1_000}),
                ("lookup_invoice", {}),
                ("make_invoice", {"amount": 0}),
            ]
        ]

    assert [list(each) for each in (read, made)] == [["result_type", "result"]] * 2
    for each in (unread, unmade):
        assert list(each) == ["result_type", "error", "result"]
        assert each["result"] is None
        assert each["error"]["code"] == "OTHER"


@pytest.mark.parametrize("ahead_s", [0, 30, 55])
async def test_a_response_is_not_dated_before_its_request(ahead_s: int, client: Client) -> None:
    asked_at = now() + ahead_s

    opened = await client.request("get_info", created_at=asked_at)

    assert opened.event.created_at >= asked_at


async def test_the_dates_of_the_responses_of_one_connection_never_go_back(
    client: Client,
) -> None:
    ahead = await client.request("get_info", created_at=now() + 50)
    after = await client.request("get_info", created_at=now())

    assert after.event.created_at >= ahead.event.created_at


# --- who asks


async def test_unknown_client_key_is_answered_with_silence_and_leaves_nothing(
    wallet: WalletInProcess, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    """Section 4, "unknown client key": "silent: no row, no log line, no answer"."""
    stranger = Keypair(b"\x07" * 32)
    conversation = Conversation(stranger, client.uri.wallet_pubkey)
    tables = ("request", "outbox", "alarm")
    before = [await count(wallet, table) for table in tables]
    capfd.readouterr()

    for number in range(20):
        request = conversation.sign(
            conversation.encrypt(GET_INFO, NIP44_V2),
            kind=kinds.REQUEST,
            tags=[("p", client.uri.wallet_pubkey), ("n", str(number))],
        )
        await client.send_event(request)
    await wallet.idle()

    assert client.events == []
    assert [await count(wallet, table) for table in tables] == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.attack("A32")
async def test_a_service_key_that_is_nobodys_is_answered_with_silence(client: Client) -> None:
    nobody = Keypair(b"\x08" * 32).public_key

    answers = await client.ask(GET_INFO, tags=[("p", nobody)])

    assert answers == []


async def test_another_connections_client_is_answered_with_silence(
    wallet: WalletInProcess, client: Client
) -> None:
    other = await wallet.connect(client.account)
    crossed = Conversation(other.keypair, client.uri.wallet_pubkey)
    request = crossed.sign(
        crossed.encrypt(GET_INFO, NIP44_V2),
        kind=kinds.REQUEST,
        tags=[("p", client.uri.wallet_pubkey)],
    )

    await client.send_event(request)
    await wallet.idle()

    assert (client.events, other.events) == ([], [])


async def test_the_first_p_tag_names_the_service_key(client: Client) -> None:
    nobody = Keypair(b"\x08" * 32).public_key
    ours = client.uri.wallet_pubkey

    first = await client.ask(GET_INFO, tags=[("p", ours), ("p", nobody)])
    second = await client.ask(GET_INFO, tags=[("p", nobody), ("p", ours)])
    none = await client.ask(GET_INFO, tags=[])

    assert [len(answers) for answers in (first, second, none)] == [1, 0, 0]


@pytest.mark.parametrize("method", SIX_METHODS)
async def test_expired_connection_is_told_unauthorized(
    method: str, wallet: WalletInProcess
) -> None:
    """NIP-47: "`UNAUTHORIZED`: This public key has no wallet connected". NWC-08: "The
    connection cannot be used after this date". Section 4, "expired connection":
    "UNAUTHORIZED"."""
    client = await wallet.expired()

    opened = await client.request(method, GOOD_PARAMS.get(method))

    assert opened.payload["result_type"] == method
    assert opened.error_code == "UNAUTHORIZED"


async def test_revoked_connection_is_told_unauthorized_once_a_second(
    wallet: WalletInProcess, client: Client
) -> None:
    """Section 4, "unknown client key": "a revoked or expired connection's key gets
    UNAUTHORIZED, rate-limited"."""
    await wallet.revoke(client)

    requests = [client.build_request("get_balance") for _ in range(5)]
    answers = [answer for request in requests for answer in await client.answers(request)]

    assert [answer.error_code for answer in answers] == ["UNAUTHORIZED"]


async def test_a_connection_that_ended_moves_no_money(
    wallet: WalletInProcess, client: Client
) -> None:
    invoice = await (await wallet.connect()).invoice()
    await wallet.revoke(client)

    opened = await client.pay(invoice)

    assert opened.error_code == "UNAUTHORIZED"
    assert await client.balance_msat() == 100_000_000


# --- what it may do


@pytest.mark.parametrize("method", [m for m in SIX_METHODS if m != "get_info"])
async def test_a_method_without_its_scope_is_restricted(
    method: str, wallet: WalletInProcess
) -> None:
    """NIP-47: "The `result_type` field MUST contain the name of the method that this event is
    responding to"; "`RESTRICTED`: This public key is not allowed to do this operation"."""
    scopes = ",".join(other for other in SIX_METHODS if other != method)
    client = await wallet.connect(scopes=scopes)

    opened = await client.request(method, GOOD_PARAMS.get(method))

    assert opened.payload["result_type"] == method
    assert opened.error_code == "RESTRICTED"


@pytest.mark.attack("A8", "A13")
@pytest.mark.parametrize(
    "method", ["pay_offer", "multi_pay", "keysend", "GET_INFO", "get_info ", "x"]
)
async def test_a_method_that_is_not_there_is_not_implemented(
    method: str, client: Client
) -> None:
    """NIP-47: "`NOT_IMPLEMENTED`: The command is not known or is intentionally not
    implemented"."""
    opened = await client.request(method)

    if " " in method:
        assert (opened.payload["result_type"], opened.error_code) == ("", "OTHER")
    else:
        assert (opened.payload["result_type"], opened.error_code) == (method, "NOT_IMPLEMENTED")


async def test_get_info_without_the_scope_tells_methods_and_nothing_of_the_node(
    wallet: WalletInProcess,
) -> None:
    """Section 4, "get_info without the scope": "always answered; node fields only with the
    scope"."""
    client = await wallet.connect(scopes="get_balance,make_invoice")

    result = (await client.request("get_info")).result

    assert result["methods"] == ["make_invoice", "get_balance", "get_info"]
    assert set(result) == {"methods", "notifications", "extensions", "encryption"}


async def test_get_info_with_the_scope_tells_the_node(wallet: WalletInProcess) -> None:
    """Section 4, "get_info without the scope": "always answered; node fields only with the
    scope"."""
    client = await wallet.connect(scopes="full")
    result = (await client.request("get_info")).result

    assert set(result) == {
        "alias",
        "color",
        "pubkey",
        "network",
        "block_height",
        "block_hash",
        "methods",
        "notifications",
        "extensions",
        "encryption",
    }
    assert (result["network"], len(result["pubkey"])) == ("regtest", 66)
    assert result["methods"] == FULL_METHODS
    assert result["notifications"] == [
        "hold_invoice_accepted",
        "payment_received",
        "payment_sent",
    ]
    assert None not in result.values()


@pytest.mark.parametrize(
    ("wish", "methods"),
    [
        ("read", {"get_info", "get_balance", "lookup_invoice", "list_transactions"}),
        ("receive", set(FULL_METHODS) - {"pay_invoice", "multi_pay_invoice"} | {"receive"}),
        ("full", set(FULL_METHODS)),
        ("all", set(METHODS) - {"sign_message", "create_connection"}),
        ("pay_invoice", {"pay_invoice", "get_info"}),
    ],
)
async def test_get_info_tells_the_methods_of_this_connection(
    wish: str, methods: set[str], wallet: WalletInProcess
) -> None:
    client = await wallet.connect(scopes=wish)

    result = (await client.request("get_info")).result

    assert set(result["methods"]) == methods


# --- what cannot be read


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="nothing"),
        pytest.param("hello", id="no-ciphertext"),
        pytest.param("A" * 200, id="another-version"),
        pytest.param("Ag" + "x" * 130, id="a-wrong-mac"),
        pytest.param("AAAA?iv=AAAA", id="half-a-block"),
    ],
)
async def test_undecryptable_is_answered_with_other(content: str, client: Client) -> None:
    """Section 4, "undecryptable, not JSON": "OTHER with `result_type`"."""
    [opened] = await client.answers(garbage(client, content))

    assert opened.payload == {
        "result_type": "",
        "error": {"code": "OTHER", "message": "the request cannot be decrypted"},
    }


@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param("get_info", id="no-json"),
        pytest.param("[]", id="an-array"),
        pytest.param('{"params": {}}', id="no-method"),
        pytest.param('{"method": "get_info", "method": "get_info"}', id="a-key-twice"),
        pytest.param('{"method": "make_invoice", "params": {"amount": NaN}}', id="NaN"),
        pytest.param('{"method": "x", "params": ' + "[" * 50_000, id="50000-arrays"),
        pytest.param('{"method": "\\ud800"}', id="a-lone-surrogate"),
        pytest.param('{"method": "%s"}' % ("m" * 60_000), id="a-method-of-60000"),
    ],
)
async def test_not_json_is_answered_with_other(plaintext: str, client: Client) -> None:
    """Section 4, "undecryptable, not JSON": "OTHER with `result_type`"."""
    [opened] = await client.ask(plaintext)

    assert opened.payload["result_type"] == ""
    assert opened.error_code == "OTHER"


async def test_what_cannot_be_read_is_answered_once_a_second_and_leaves_no_row(
    wallet: WalletInProcess, client: Client
) -> None:
    """Section 4, "undecryptable, not JSON": "rate-limited, at most one per second and
    connection"."""
    before = await count(wallet, "request"), await count(wallet, "outbox")

    for number in range(10):
        await client.send_event(garbage(client, f"garbage {number}"))
    await wallet.idle()

    assert len(client.events) == 1
    assert (await count(wallet, "request"), await count(wallet, "outbox")) == before


@pytest.mark.attack("A6")
async def test_a_numeric_bomb_is_answered_and_hurts_nobody(client: Client) -> None:
    digits = "9" * 5000

    [opened] = await client.ask(
        f'{{"method": "make_invoice", "params": {{"amount": {digits}}}}}'
    )

    assert opened.error_code == "OTHER"
    assert digits[:20] not in opened.payload["error"]["message"]


# --- encryption


@pytest.mark.attack("A30")
async def test_nip04_is_supported_and_advertised_unless_switched_off(
    wallet: WalletInProcess, client: Client
) -> None:
    """Section 4, "nip04": "supported and advertised by default; per connection it can be
    switched off"."""
    without = await wallet.connect(encryption="nip44_v2")

    offered = (await client.request("get_info", encryption=NIP04)).result["encryption"]
    refused = await without.request("get_info", encryption=NIP04)

    assert offered == ["nip44_v2", "nip04"]
    assert refused.error_code == "UNSUPPORTED_ENCRYPTION"


@pytest.mark.attack("A27", "A30")
@pytest.mark.parametrize(
    ("allowed", "used"),
    [pytest.param("nip44_v2", NIP04, id="nip44"), pytest.param("nip04", NIP44_V2, id="nip04")],
)
async def test_an_encryption_that_was_not_offered_is_unsupported(
    allowed: str, used: str, wallet: WalletInProcess
) -> None:
    """NIP-47: "`UNSUPPORTED_ENCRYPTION`". protocol.md 1.2: "It must be one the service
    advertised; otherwise reply error `UNSUPPORTED_ENCRYPTION`"."""
    client = await wallet.connect(encryption=allowed)

    opened = await client.request("get_balance", encryption=used)

    assert opened.error_code == "UNSUPPORTED_ENCRYPTION"
    assert opened.payload["error"]["message"] == f"this connection speaks {allowed}"
    assert opened.encryption == allowed


@pytest.mark.parametrize("allowed", ["nip44_v2", "nip04"])
async def test_a_connection_with_one_encryption_speaks_and_tells_it(
    allowed: str, wallet: WalletInProcess
) -> None:
    client = await wallet.connect(encryption=allowed)

    opened = await client.request("get_info", encryption=allowed)

    assert opened.result["encryption"] == [allowed]
    assert opened.encryption == allowed


async def test_an_unknown_encryption_is_unsupported(client: Client) -> None:
    """NIP-47: "`UNSUPPORTED_ENCRYPTION`". protocol.md 1.2: "It must be one the service
    advertised; otherwise reply error `UNSUPPORTED_ENCRYPTION`"."""
    [opened] = await client.ask(
        GET_INFO, tags=[("p", client.uri.wallet_pubkey), ("encryption", "nip99")]
    )

    assert opened.error_code == "UNSUPPORTED_ENCRYPTION"


@pytest.mark.parametrize(
    ("tags", "encryption"),
    [
        pytest.param([], NIP04, id="no-tag-is-nip04"),
        pytest.param([], NIP44_V2, id="no-tag-and-a-content-of-nip44"),
        pytest.param([("v", "1.0")], NIP44_V2, id="only-v"),
        pytest.param([("v", "0.0")], NIP04, id="only-the-old-v"),
    ],
)
async def test_older_clients_are_understood(
    tags: list[tuple[str, str]], encryption: str, client: Client
) -> None:
    """protocol.md 1.2: "Request `encryption` names the scheme actually used; no tag =
    nip04"."""
    [opened] = await client.ask(
        GET_INFO, encryption=encryption, tags=[("p", client.uri.wallet_pubkey), *tags]
    )

    assert opened.error_code is None
    assert opened.encryption == encryption


async def test_an_encryption_that_the_content_belies_is_undecryptable(client: Client) -> None:
    tags = client.request_tags(NIP44_V2)

    [opened] = await client.ask(GET_INFO, encryption=NIP04, tags=tags)

    assert opened.error_code == "OTHER"


async def count(wallet: WalletInProcess, table: str) -> int:
    row = await wallet.db.read(lambda tx: tx.one(f"SELECT count(*) AS rows FROM {table}"))
    return int(row["rows"]) if row else 0
