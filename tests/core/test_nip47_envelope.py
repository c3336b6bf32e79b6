"""Requests opened and responses sealed, with nostr-sdk as the other party."""

import json
from collections.abc import Mapping
from dataclasses import replace

import nostr_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwc_service.nip47 import kinds
from nwc_service.nip47.envelope import (
    ENTROPY_BYTES,
    USUAL_SHAPE,
    BadEnvelope,
    Channel,
    Request,
    Shape,
    error_payload,
    named_encryption,
    notification_payload,
    open_request,
    parse_request,
    result_payload,
    seal_notification,
    seal_response,
)
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr.event import Event, parse_event, sign_event
from nwc_service.nostr.keys import Keypair
from nwc_service.wallet.errors import ErrorCode, RequestError
from tests.core.samples import NOW

WALLET = Keypair(b"\x01" * 32)
CLIENT = nostr_sdk.Keys.parse("02" * 32)
CLIENT_PUBKEY = Keypair(b"\x02" * 32).public_key
WALLET_PUBKEY = nostr_sdk.PublicKey.parse(WALLET.public_key)
CHANNEL = Channel.between(WALLET, CLIENT_PUBKEY)
ENTROPY = bytes(range(ENTROPY_BYTES))
REQUEST_ID = "ee" * 32

NIP44_V2, NIP04 = Encryption.NIP44_V2, Encryption.NIP04
LOOKS_LIKE_NIP04 = "c2VjcmV0IHRleHQ=?iv=MDEyMzQ1Njc4OWFiY2RlZg=="
LOOKS_LIKE_NIP44 = "Ag" + "x" * 130

every_scheme = pytest.mark.parametrize("encryption", Encryption)


def encrypted_by_client(plaintext: str, encryption: Encryption) -> str:
    secret = CLIENT.secret_key()
    if encryption is NIP04:
        return str(nostr_sdk.nip04_encrypt(secret, WALLET_PUBKEY, plaintext))
    version = nostr_sdk.Nip44Version.V2
    return str(nostr_sdk.nip44_encrypt(secret, WALLET_PUBKEY, plaintext, version))


def decrypted_by_client(content: str, encryption: Encryption) -> str:
    decrypt = nostr_sdk.nip04_decrypt if encryption is NIP04 else nostr_sdk.nip44_decrypt
    return str(decrypt(CLIENT.secret_key(), WALLET_PUBKEY, content))


def request_event(content: str, *tags: tuple[str, ...]) -> Event:
    return sign_event(
        Keypair(b"\x02" * 32),
        kind=kinds.REQUEST,
        content=content,
        tags=[("p", WALLET.public_key), *tags],
        created_at=NOW,
        aux=bytes(32),
    )


@pytest.mark.parametrize(
    ("tags", "content", "expected"),
    [
        pytest.param([("encryption", "nip44_v2")], LOOKS_LIKE_NIP04, "nip44_v2", id="named"),
        pytest.param([("encryption", "nip04")], LOOKS_LIKE_NIP44, "nip04", id="named-nip04"),
        pytest.param([("encryption", "nip99")], LOOKS_LIKE_NIP04, "nip99", id="named-unknown"),
        pytest.param([("encryption", "")], LOOKS_LIKE_NIP04, "", id="named-nothing"),
        pytest.param(
            [("v", "1.0"), ("encryption", "nip04")],
            LOOKS_LIKE_NIP44,
            "nip04",
            id="encryption-before-v",
        ),
        pytest.param(
            [("encryption", "nip04"), ("encryption", "nip44_v2")],
            LOOKS_LIKE_NIP44,
            "nip04",
            id="the-first-of-two",
        ),
        pytest.param([("v", "1.0")], LOOKS_LIKE_NIP04, "nip44_v2", id="v-before-content"),
        pytest.param([("v", "0.0 1.0")], LOOKS_LIKE_NIP04, "nip44_v2", id="v-of-both"),
        pytest.param([("v", "0.0")], LOOKS_LIKE_NIP04, "nip04", id="v-of-nip04"),
        pytest.param([("encryption",)], LOOKS_LIKE_NIP04, "nip04", id="a-tag-without-value"),
        pytest.param([], LOOKS_LIKE_NIP04, "nip04", id="content-with-iv"),
        pytest.param([], LOOKS_LIKE_NIP44, "nip44_v2", id="content-of-version-2"),
        pytest.param([], "Ag" + "x" * 129, "nip04", id="too-short-for-version-2"),
        pytest.param([], "Aw" + "x" * 130, "nip04", id="another-version"),
        pytest.param([], "", "nip04", id="nothing-at-all"),
    ],
)
def test_the_scheme_that_a_request_names(
    tags: list[tuple[str, ...]], content: str, expected: str
) -> None:
    """protocol.md 1.2: "Request `encryption` names the scheme actually used; no tag =
    nip04"."""
    assert named_encryption(request_event(content, *tags)) == expected


@every_scheme
@pytest.mark.parametrize("plaintext_length", [60, 1_000, 40_960])
def test_a_request_that_nostr_sdk_encrypted_is_opened(
    encryption: Encryption, plaintext_length: int
) -> None:
    params = {"comment": "ü" * ((plaintext_length - 60) // 2)}
    body = json.dumps({"method": "get_info", "params": params}, ensure_ascii=False)
    event = request_event(encrypted_by_client(body, encryption))

    request = open_request(event, CHANNEL, encryption=encryption)

    assert request == Request("get_info", params)


@every_scheme
def test_nostr_sdk_verifies_and_reads_a_response(encryption: Encryption) -> None:
    sealed = seal_response(
        result_payload("get_balance", {"balance": 5}),
        CHANNEL,
        encryption=encryption,
        request_id=REQUEST_ID,
        created_at=NOW,
        entropy=ENTROPY,
    )

    event = nostr_sdk.Event.from_json(sealed.to_json())
    assert event.verify()
    assert event.kind().as_u16() == 23195
    assert event.author() == WALLET_PUBKEY
    assert json.loads(decrypted_by_client(event.content(), encryption)) == {
        "result_type": "get_balance",
        "error": None,
        "result": {"balance": 5},
    }


@every_scheme
def test_a_response_has_one_p_and_one_e_tag_in_this_order(encryption: Encryption) -> None:
    """NIP-47: "Both the request and response events SHOULD contain one `p` tag"; "The response
    event SHOULD contain an `e` tag with the id of the request event it is responding to"."""
    sealed = seal_response(
        "{}",
        CHANNEL,
        encryption=encryption,
        request_id=REQUEST_ID,
        created_at=NOW + 7,
        entropy=ENTROPY,
    )

    assert sealed.tags == (("p", CLIENT_PUBKEY), ("e", REQUEST_ID))
    assert sealed.created_at == NOW + 7


@pytest.mark.parametrize(
    ("encryption", "kind"),
    [pytest.param(NIP44_V2, 23197, id="nip44_v2"), pytest.param(NIP04, 23196, id="nip04")],
)
def test_nostr_sdk_reads_a_notification_of_either_kind(
    encryption: Encryption, kind: int
) -> None:
    payload = notification_payload("payment_received", {"amount": 5})

    sealed = seal_notification(
        payload, CHANNEL, encryption=encryption, created_at=NOW, entropy=ENTROPY
    )

    event = nostr_sdk.Event.from_json(sealed.to_json())
    assert event.verify()
    assert event.kind().as_u16() == kind
    assert sealed.tags == (("p", CLIENT_PUBKEY),)
    assert json.loads(decrypted_by_client(event.content(), encryption)) == {
        "notification_type": "payment_received",
        "notification": {"amount": 5},
    }


def test_every_message_takes_fresh_entropy() -> None:
    contents = {
        seal_response(
            "{}",
            CHANNEL,
            encryption=encryption,
            request_id=REQUEST_ID,
            created_at=NOW,
            entropy=entropy,
        ).content
        for encryption in Encryption
        for entropy in (ENTROPY, ENTROPY[::-1])
    }

    assert len(contents) == 4


SECRET_WORDS = '{"method": "pay_invoice", "params": {"invoice": "lnbcrt1secret"}}'


@pytest.mark.attack("A30")
@pytest.mark.parametrize(
    ("content", "encryption"),
    [
        pytest.param("", NIP44_V2, id="nothing"),
        pytest.param("not base64", NIP44_V2, id="not-base64"),
        pytest.param("#future", NIP44_V2, id="a-future-version"),
        pytest.param(LOOKS_LIKE_NIP44, NIP44_V2, id="a-wrong-mac"),
        pytest.param(encrypted_by_client(SECRET_WORDS, NIP04), NIP44_V2, id="the-other-scheme"),
        pytest.param("", NIP04, id="nothing-in-nip04"),
        pytest.param("AAAA?iv=AAAA", NIP04, id="no-whole-block"),
        pytest.param(LOOKS_LIKE_NIP04, NIP04, id="wrong-padding"),
        pytest.param(encrypted_by_client(SECRET_WORDS, NIP44_V2), NIP04, id="nip44-as-nip04"),
    ],
)
def test_what_cannot_be_decrypted_is_told_in_one_way(
    content: str, encryption: Encryption
) -> None:
    with pytest.raises(BadEnvelope, match=r"^the request cannot be decrypted$"):
        open_request(request_event(content), CHANNEL, encryption=encryption)


@pytest.mark.parametrize(
    ("plaintext", "params"),
    [
        pytest.param('{"method":"m","params":{"a":1}}', {"a": 1}, id="an-object"),
        pytest.param('{"method":"m","params":{}}', {}, id="an-empty-object"),
        pytest.param('{"method":"m","params":null}', {}, id="null"),  # Damus: get_balance
        pytest.param('{"method":"m"}', {}, id="missing"),
        pytest.param(' {"method" : "m"}\n', {}, id="with-white-space"),
        pytest.param('{"id":7,"method":"m","jsonrpc":"2.0"}', {}, id="with-unknown-keys"),
        pytest.param(
            '{"method":"m","params":{"tlv":18446744073709551616}}',
            {"tlv": 2**64},
            id="a-number-of-65-bits",
        ),
        pytest.param(
            '{"method":"m","params":{"a":{"b":1},"c":{"b":1}}}',
            {"a": {"b": 1}, "c": {"b": 1}},
            id="the-same-key-in-two-objects",
        ),
    ],
)
def test_params(plaintext: str, params: Mapping[str, object]) -> None:
    assert parse_request(plaintext) == Request("m", params)


@pytest.mark.attack("A6")
@pytest.mark.parametrize(
    "plaintext",
    [
        pytest.param("", id="nothing"),
        pytest.param("get_info", id="a-word"),
        pytest.param("{method:'m'}", id="javascript"),
        pytest.param('{"method":"m"', id="cut-off"),
        pytest.param('{"method":"m"} x', id="something-after-it"),
        pytest.param('\ufeff{"method":"m"}', id="a-byte-order-mark"),
        pytest.param('["m",{}]', id="an-array"),
        pytest.param('"m"', id="a-string"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="no-method"),
        pytest.param('{"method":null}', id="method-null"),
        pytest.param('{"method":7}', id="method-a-number"),
        pytest.param('{"method":["m"]}', id="method-an-array"),
        pytest.param('{"method":""}', id="method-empty"),
        pytest.param('{"method":"a b"}', id="method-of-two-words"),
        pytest.param('{"method":"\\u0000"}', id="method-a-nul"),
        pytest.param('{"method":"\\ud800"}', id="method-a-lone-surrogate"),
        pytest.param('{"method":"%s"}' % ("m" * 65), id="method-too-long"),
        pytest.param('{"method":"m","method":"m"}', id="a-key-twice"),
        pytest.param('{"method":"m","\\u006dethod":"n"}', id="a-key-twice-in-disguise"),
        pytest.param('{"method":"m","params":{"amount":1,"amount":2}}', id="a-param-twice"),
        pytest.param('{"method":"m","params":{"a":[{"b":1,"b":1}]}}', id="a-deep-key-twice"),
        pytest.param('{"method":"m","params":{"amount":NaN}}', id="NaN"),
        pytest.param('{"method":"m","params":{"amount":Infinity}}', id="Infinity"),
        pytest.param('{"method":"m","params":{"amount":-Infinity}}', id="-Infinity"),
        pytest.param('{"method":"m","params":{"amount":1e999}}', id="more-than-a-float"),
        pytest.param('{"method":"m","params":{"amount":%s}}' % ("9" * 5000), id="5000-digits"),
        pytest.param('{"method":"m","params":{"a":' + "[" * 100_000, id="100000-arrays"),
        pytest.param(
            '{"method":"m","params":' + '{"a":' * 100_000 + "1" + "}" * 100_001,
            id="100000-objects",
        ),
        pytest.param('{"method":"m","params":{"a":"tab\there"}}', id="a-control-character"),
    ],
)
def test_what_is_not_a_request_in_order_is_refused(plaintext: str) -> None:
    with pytest.raises(BadEnvelope):
        parse_request(plaintext)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.booleans())
def test_params_come_as_they_were_sent(params: dict[str, object], escaped: bool) -> None:
    body = {"method": "m", "params": params}

    request = parse_request(json.dumps(body, ensure_ascii=escaped))

    assert request == Request("m", params)


@given(json_values)
def test_any_json_is_a_request_or_refused(body: object) -> None:
    with pytest.raises(BadEnvelope):
        parse_request(json.dumps(body))


@given(st.binary(max_size=200).map(lambda noise: noise.decode("latin-1")))
def test_any_content_is_opened_or_refused(content: str) -> None:
    for encryption in Encryption:
        with pytest.raises(BadEnvelope):
            open_request(request_event(content), CHANNEL, encryption=encryption)


def test_a_success_has_a_null_error_and_a_result() -> None:
    """NIP-47: "If the command was successful, the `error` field must be null"."""
    payload = result_payload("get_balance", {"balance": 5})

    assert payload == '{"result_type":"get_balance","error":null,"result":{"balance":5}}'


def test_an_error_has_its_code_and_message_and_no_result() -> None:
    """NIP-47: "The `error` field MUST contain a `message` field with a human readable error
    message and a `code` field with the error code if the command was not successful"."""
    payload = error_payload("pay_invoice", RequestError(ErrorCode.OTHER, "amount: too small"))

    assert payload == (
        '{"result_type":"pay_invoice","error":{"code":"OTHER","message":"amount: too small"}}'
    )


SUCCESS = '{"result_type":"m","error":null,"result":{"balance":5}}'
ERROR = '{"result_type":"m","error":{"code":"OTHER","message":"no"}}'


@pytest.mark.parametrize(
    ("shape", "success", "error"),
    [
        pytest.param(USUAL_SHAPE, SUCCESS, ERROR, id="usual"),
        pytest.param(
            replace(USUAL_SHAPE, null_result_on_error=True),
            SUCCESS,
            ERROR[:-1] + ',"result":null}',
            id="snstr",
        ),
        pytest.param(
            replace(USUAL_SHAPE, null_error_on_success=False),
            '{"result_type":"m","result":{"balance":5}}',
            ERROR,
            id="older-dart-ndk",
        ),
    ],
)
def test_the_null_of_either_outcome_can_be_switched(
    shape: Shape, success: str, error: str
) -> None:
    refusal = RequestError(ErrorCode.OTHER, "no")

    assert shape.of(result_payload("m", {"balance": 5})) == success
    assert shape.of(error_payload("m", refusal)) == error


def test_a_response_is_the_same_event_for_whoever_parses_it() -> None:
    sealed = seal_response(
        "{}",
        CHANNEL,
        encryption=NIP44_V2,
        request_id=REQUEST_ID,
        created_at=NOW,
        entropy=ENTROPY,
    )

    assert parse_event(json.loads(sealed.to_json())) == sealed
