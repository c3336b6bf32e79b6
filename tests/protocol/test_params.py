"""Parameters as clients send them: what is wrong is named and never repeated, what is merely
unusual is accepted."""

import json
from secrets import token_hex
from typing import Any

import pytest

from nwc_service.wallet.units import MAX_MSAT
from tests.protocol.wallet import Client, WalletInProcess

pytestmark = pytest.mark.asyncio(loop_scope="package")

HASH = "ab" * 32
CANARY = "canary"

NOT_AMOUNTS = {
    "a-string": "1000",
    "true": True,
    "a-fraction": 1000.5,
    "a-float": 1000.0,
    "an-array": [1000],
    "an-object": {"msat": 1000},
    "zero": 0,
    "negative": -1000,
    "above-all-bitcoin": MAX_MSAT + 1,
    "of-100-digits": 10**100,
}
NOT_WHOLE = {
    "a-string": "1000",
    "true": True,
    "a-fraction": 1000.5,
    "a-float": 1000.0,
    "negative": -1000,
}
NOT_TEXT = {
    "a-number": 7777,
    "true": True,
    "an-array": [CANARY],
    "an-object": {CANARY: CANARY},
    "with-a-NUL": f"{CANARY}\0",
}
NOT_HASHES = {
    "a-number": 7777,
    "too-short": HASH[:-1],
    "too-long": HASH + "a",
    "of-spaces": " " * 64,
    "not-hex": "xy" * 32,
    "with-a-newline": HASH + "\n",
}
NOT_OBJECTS = {"an-array": [CANARY], "a-string": CANARY, "a-number": 7777, "true": True}
NOT_FLAGS = {"a-string": "true", "one": 1, "zero": 0, "a-number": 7777}
NOT_TYPES = {"another-word": CANARY, "upper-case": "INCOMING", "a-number": 7777}

WRONG: dict[tuple[str, str], dict[str, object]] = {
    ("make_invoice", "amount"): NOT_AMOUNTS | {"null": None},
    ("make_invoice", "description"): NOT_TEXT | {"of-640-bytes": "é" * 320},
    ("make_invoice", "description_hash"): NOT_HASHES,
    ("make_invoice", "expiry"): NOT_WHOLE | {"empty": "", "above-a-year": 365 * 86_400 + 1},
    ("make_invoice", "metadata"): NOT_OBJECTS | {"empty": ""},
    ("pay_invoice", "invoice"): NOT_TEXT
    | {"null": None, "empty": "", "not-an-invoice": CANARY, "too-long": CANARY * 2000},
    ("pay_invoice", "amount"): NOT_AMOUNTS,
    ("pay_invoice", "metadata"): NOT_OBJECTS,
    ("lookup_invoice", "payment_hash"): NOT_HASHES,
    ("lookup_invoice", "invoice"): NOT_TEXT | {"not-an-invoice": CANARY},
    ("list_transactions", "from"): NOT_WHOLE | {"beyond-2^53": 2**53 + 1},
    ("list_transactions", "until"): NOT_WHOLE | {"beyond-2^53": 2**53 + 1},
    ("list_transactions", "limit"): NOT_WHOLE,
    ("list_transactions", "offset"): NOT_WHOLE | {"beyond-2^53": 2**53 + 1},
    ("list_transactions", "unpaid"): NOT_FLAGS,
    ("list_transactions", "unpaid_incoming"): NOT_FLAGS,
    ("list_transactions", "unpaid_outgoing"): NOT_FLAGS,
    ("list_transactions", "type"): NOT_TYPES,
}
GOOD: dict[str, dict[str, object]] = {
    "make_invoice": {"amount": 100_000},
    "pay_invoice": {"invoice": "lnbcrt1"},
    "lookup_invoice": {},
    "list_transactions": {},
}


@pytest.mark.attack("A6")
@pytest.mark.parametrize(
    ("method", "field", "value"),
    [
        pytest.param(method, field, value, id=f"{method}-{field}-{name}")
        for (method, field), values in WRONG.items()
        for name, value in values.items()
    ],
)
async def test_invalid_params_are_told_by_field_and_their_values_never_repeated(
    method: str, field: str, value: object, client: Client
) -> None:
    """Section 4, "invalid params": "OTHER for core methods"."""
    opened = await client.request(method, GOOD[method] | {field: value})

    error = opened.payload["error"]
    assert opened.payload == {"result_type": method, "error": error}
    assert error["code"] == "OTHER"
    assert error["message"].startswith(f"{field}: ")
    assert not repeats(error["message"], value)


def repeats(message: str, value: object) -> bool:
    text = value if isinstance(value, str) else json.dumps(value)
    return CANARY in message or (len(text) > 3 and text in message)


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        pytest.param("make_invoice", "amount", id="make_invoice"),
        pytest.param("pay_invoice", "invoice", id="pay_invoice"),
        pytest.param("lookup_invoice", "payment_hash or invoice", id="lookup_invoice"),
    ],
)
@pytest.mark.parametrize(
    "params",
    ["{}", "null", None, '{"Amount": 5, "INVOICE": "x"}'],
    ids=["empty", "null", "no-params", "other-case"],
)
async def test_a_missing_parameter_is_named(
    method: str, missing: str, params: str | None, client: Client
) -> None:
    """NIP-47: "one of payment_hash or invoice is required"."""
    tail = "" if params is None else f', "params": {params}'

    [opened] = await client.ask(f'{{"method": "{method}"{tail}}}')

    assert opened.error_code == "OTHER"
    assert opened.payload["error"]["message"].startswith(missing)


@pytest.mark.parametrize("method", ["get_info", "get_balance", "list_transactions"])
@pytest.mark.parametrize("params", ['"params": {},', '"params": null,', ""], ids=repr)
async def test_a_method_without_required_parameters_needs_no_params(
    method: str, params: str, client: Client
) -> None:
    [opened] = await client.ask(f'{{{params} "method": "{method}"}}')

    assert opened.payload["error"] is None


@pytest.mark.parametrize("method", ["get_info", "make_invoice"])
@pytest.mark.parametrize("params", ["[]", '"{}"', "0", "true", '["amount"]'])
async def test_params_that_are_no_object_are_refused(
    method: str, params: str, client: Client
) -> None:
    [opened] = await client.ask(f'{{"method": "{method}", "params": {params}}}')

    assert opened.payload["result_type"] == method
    assert opened.error_code == "OTHER"
    assert opened.payload["error"]["message"].startswith("params: ")


UNUSUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "every-optional-null": (
        "make_invoice",
        {
            "amount": 100_000,
            "description": None,
            "description_hash": None,
            "expiry": None,
            "metadata": None,
        },
    ),
    "every-filter-null": (
        "list_transactions",
        dict.fromkeys(
            [
                "from",
                "until",
                "limit",
                "offset",
                "unpaid",
                "unpaid_incoming",
                "unpaid_outgoing",
                "type",
            ]
        ),
    ),
    "limit-zero-is-none": ("list_transactions", {"limit": 0}),
    "a-limit-above-the-largest": ("list_transactions", {"limit": 10**9}),
    "offset-beyond-the-end": ("list_transactions", {"offset": 2**53}),
    "no-type": ("list_transactions", {"type": ""}),
    "one-msat": ("make_invoice", {"amount": 1}),
    "an-empty-description": ("make_invoice", {"amount": 1, "description": ""}),
    "a-description-of-639-bytes": ("make_invoice", {"amount": 1, "description": "x" * 639}),
    "empty-metadata": ("make_invoice", {"amount": 1, "metadata": {}}),
    "unknown-keys": (
        "make_invoice",
        {"amount": 1, "min_cltv_expiry_delta": 5, "lnurl": {"x": [1.5]}, "since": 1},
    ),
    "unknown-keys-in-a-list": ("list_transactions", {"since": -1, "foo": None}),
    "params-that-nobody-asked-for": ("get_balance", {"unit": "sat"}),
}


@pytest.mark.parametrize(("method", "params"), UNUSUAL.values(), ids=UNUSUAL)
async def test_what_is_merely_unusual_is_accepted(
    method: str, params: dict[str, Any], client: Client
) -> None:
    opened = await client.request(method, params)

    assert opened.payload["error"] is None


EMPTY: dict[str, tuple[str, dict[str, Any]]] = {
    "no-description-hash": ("make_invoice", {"amount": 1, "description_hash": ""}),
    "no-expiry": ("make_invoice", {"amount": 1, "expiry": 0}),
    "no-expiry-of-a-hold-invoice": ("make_hold_invoice", {"amount": 1, "expiry": 0}),
    "no-type": ("list_transactions", {"type": ""}),
    "no-issuer": ("make_offer", {"issuer": ""}),
    "no-invoice-beside-a-hash": ("lookup_invoice", {"payment_hash": HASH, "invoice": ""}),
    "no-hash-to-look-up": ("lookup_invoice", {"payment_hash": ""}),
    "no-transaction": ("lookup_payment", {"payment_hash": HASH, "transaction_id": ""}),
    "no-offer": (
        "lookup_payment",
        {"payment_type": "bolt12", "lookup": {"payment_hash": HASH, "offer_id": ""}},
    ),
}


@pytest.mark.parametrize(("method", "params"), EMPTY.values(), ids=EMPTY)
async def test_what_is_optional_and_empty_counts_as_absent(
    method: str, params: dict[str, Any], client: Client
) -> None:
    opened = await client.request(method, params | own_hash(method))
    bare = await client.request(method, without_empty(params) | own_hash(method))

    assert opened.error_code == bare.error_code
    if opened.error_code is None:
        assert set(opened.result) == set(bare.result)


def own_hash(method: str) -> dict[str, Any]:
    return {"payment_hash": token_hex(32)} if method == "make_hold_invoice" else {}


def without_empty(params: dict[str, Any]) -> dict[str, Any]:
    return {
        name: without_empty(value) if isinstance(value, dict) else value
        for name, value in params.items()
        if value != "" and (name, value) != ("expiry", 0)
    }


@pytest.mark.parametrize("field", ["payment_hash", "description_hash", "preimage", "pubkey"])
async def test_hex_may_be_written_in_upper_case(
    field: str, client: Client, wallet: WalletInProcess
) -> None:
    node = str(wallet.backend.books.outside_pubkey)
    preimage = token_hex(32)
    keysend = {"amount": 1_000, "pubkey": node, "preimage": preimage}
    method, params = {
        "payment_hash": ("make_hold_invoice", {"amount": 1, "payment_hash": token_hex(32)}),
        "description_hash": ("make_invoice", {"amount": 1, "description_hash": HASH}),
        "preimage": ("pay_keysend", keysend),
        "pubkey": ("pay_keysend", keysend),
    }[field]

    opened = await client.request(method, params | {field: str(params[field]).upper()})

    assert opened.payload["error"] is None
    assert opened.result.get(field, params[field]) == params[field]


@pytest.mark.attack("A6")
async def test_the_largest_invoice_is_all_bitcoin(client: Client) -> None:
    opened = await client.request("make_invoice", {"amount": MAX_MSAT})

    assert opened.result["amount"] == MAX_MSAT
