"""PyPI's nostr-sdk (rust-nostr), unmodified, behind the same methods as the other client."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import Enum
from inspect import signature
from typing import Any

import nostr_sdk as sdk

from nwc_service.nip47 import kinds
from tests.clients.client import LIBRARY, NO_ANSWER, ClientError, JsonObject, NwcClient

TIMEOUT_S = 60
CONNECT_TIMEOUT = timedelta(seconds=10)
MAX_NOTIFICATIONS = 1000


@asynccontextmanager
async def nostr_sdk_client(
    uri: str, *, timeout_s: float | None = TIMEOUT_S
) -> AsyncIterator["NostrSdkClient"]:
    """With None the library waits as long as it does by itself: 10 s, to whatever method."""
    parsed = sdk.NostrWalletConnectUri.parse(uri)
    builder = sdk.NostrWalletConnectBuilder(parsed)
    if timeout_s is not None:
        builder = builder.timeout(timedelta(seconds=timeout_s))
    client = NostrSdkClient(builder.build(), parsed)
    try:
        yield client
    finally:
        await client.close()


class NostrSdkClient(NwcClient):
    """What the binding can ask for is in CALLS; another method raises KeyError."""

    def __init__(self, nwc: sdk.NostrWalletConnect, uri: sdk.NostrWalletConnectUri) -> None:
        self._nwc = nwc
        self._uri = uri
        self._queue: asyncio.Queue[JsonObject] = asyncio.Queue(MAX_NOTIFICATIONS)
        self._listener: asyncio.Task[None] | None = None

    async def request(self, method: str, params: JsonObject | None = None) -> JsonObject:
        call = CALLS[method]
        try:
            answer = await call(self._nwc, params or {})
        except sdk.NostrSdkError.Generic as error:
            raise _client_error(error[0]) from error
        result: JsonObject | list[JsonObject] = _wire(answer)
        return {"transactions": result} if isinstance(result, list) else result

    async def notifications(self) -> asyncio.Queue[JsonObject]:
        """The binding has no call for them; they are read with the relay client that it gives
        out and decrypted with the library's own NIP-44 and NIP-04."""
        if self._listener is None:
            client = self._nwc.client()
            stream = client.notifications()
            kind = await self._subscribe(client)
            self._listener = asyncio.create_task(self._listen(stream, kind))
        return self._queue

    async def close(self) -> None:
        await self._nwc.client().shutdown()
        if self._listener is not None:
            await self._listener

    async def _subscribe(self, client: sdk.Client) -> int:
        """The kind to listen to: as NIP-47 tells, by the encryption of the info event."""
        for relay in self._uri.relays():
            await client.add_relay(relay)
        await client.connect(CONNECT_TIMEOUT)
        wallet = sdk.Filter().author(self._uri.public_key())
        me = sdk.Keys(self._uri.secret()).public_key()
        both = [sdk.Kind(kinds.NOTIFICATION), sdk.Kind(kinds.NOTIFICATION_NIP04)]
        await client.subscribe(sdk.ReqTarget.auto([wallet.kinds(both).pubkey(me)]))
        # A relay reads one socket in order: with this answered, the subscription stands.
        [info] = await client.fetch_events(
            sdk.ReqTarget.auto([wallet.kind(sdk.Kind(kinds.INFO)).limit(1)]), CONNECT_TIMEOUT
        )
        return kinds.NOTIFICATION if _speaks_nip44(info) else kinds.NOTIFICATION_NIP04

    async def _listen(self, stream: sdk.ClientNotificationStream, kind: int) -> None:
        while (news := await stream.next()) is not None:
            if news.is_new_event() and news.event.kind().as_u16() == kind:
                self._queue.put_nowait(json.loads(self._decrypt(news.event.content(), kind)))

    def _decrypt(self, content: str, kind: int) -> str:
        decrypt = sdk.nip44_decrypt if kind == kinds.NOTIFICATION else sdk.nip04_decrypt
        return str(decrypt(self._uri.secret(), self._uri.public_key(), content))


Call = Callable[[sdk.NostrWalletConnect, JsonObject], Coroutine[None, None, object]]

CALLS: dict[str, Call] = {
    "get_info": lambda nwc, _: nwc.get_info(),
    "get_balance": lambda nwc, _: nwc.get_balance(),
    "make_invoice": lambda nwc, params: nwc.make_invoice(
        _record(sdk.MakeInvoiceRequest, params)
    ),
    "pay_invoice": lambda nwc, params: nwc.pay_invoice(_record(sdk.PayInvoiceRequest, params)),
    "lookup_invoice": lambda nwc, params: nwc.lookup_invoice(
        _record(sdk.LookupInvoiceRequest, params)
    ),
    "list_transactions": lambda nwc, params: nwc.list_transactions(
        _record(sdk.ListTransactionsRequest, _list_params(params))
    ),
    "pay_keysend": lambda nwc, params: nwc.pay_keysend(
        _record(sdk.PayKeysendRequest, _keysend_params(params))
    ),
}


def _record(record: Callable[..., object], params: JsonObject) -> object:
    """The binding wants every field named. TypeError for one that it does not know."""
    return record(**(dict.fromkeys(signature(record).parameters) | params))


def _list_params(params: JsonObject) -> JsonObject:
    bound = dict(params)
    for name, field in (("from", "_from"), ("until", "until")):
        if name in bound:
            bound[field] = sdk.Timestamp.from_secs(bound.pop(name))
    if "type" in bound:
        bound["transaction_type"] = sdk.TransactionType[bound.pop("type").upper()]
    return bound


def _keysend_params(params: JsonObject) -> JsonObject:
    records = params.get("tlv_records", [])
    tlvs = [sdk.KeysendTlvRecord(tlv_type=one["type"], value=one["value"]) for one in records]
    return params | {"tlv_records": tlvs}


def _client_error(text: str) -> ClientError:
    """The binding gives only text: `message [CodeInCamelCase]` where the wallet refused."""
    refused = re.fullmatch(r"(.*) \[([A-Za-z]+)\]", text, re.DOTALL)
    if refused:
        message, camel_case = refused.groups()
        return ClientError(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", camel_case).upper(), message)
    return ClientError(NO_ANSWER if text == "response not received" else LIBRARY, text)


def _speaks_nip44(info: sdk.Event) -> bool:
    return any(
        tag[0] == "encryption" and "nip44_v2" in tag[1].split()
        for tag in (tag.to_vec() for tag in info.tags())
    )


def _wire(value: object) -> Any:
    """The binding's objects as NIP-47's JSON; absent where it has None."""
    for kind, convert in CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    return value


def _record_to_wire(record: object) -> JsonObject:
    return {
        "type" if name == "transaction_type" else name: _wire(value)
        for name, value in vars(record).items()
        if value is not None
    }


def _method_name(method: sdk.Method) -> str:
    if method.is_unknown():
        return str(method.unknown)
    return type(method).__name__.removeprefix("Method.").lower()


RECORDS = (
    sdk.GetInfoResponse,
    sdk.GetBalanceResponse,
    sdk.MakeInvoiceResponse,
    sdk.PayInvoiceResponse,
    sdk.PayKeysendResponse,
    sdk.LookupInvoiceResponse,
)
CONVERSIONS: list[tuple[Any, Callable[[Any], object]]] = [
    (RECORDS, _record_to_wire),
    (list, lambda items: [_wire(item) for item in items]),
    (dict, lambda items: {name: _wire(item) for name, item in items.items()}),
    (sdk.JsonValue, lambda variant: _wire(next(iter(vars(variant).values()), None))),
    (sdk.Method, _method_name),
    (sdk.Timestamp, lambda timestamp: timestamp.as_secs()),
    (Enum, lambda word: word.name.lower()),
]
