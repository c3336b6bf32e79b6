"""What a macaroon allows, read from the macaroon itself, and the one that this backend needs.

LND would tell only to whoever may also read macaroons (`macaroon:read`). But a macaroon's
identifier names its operations, and LND's signature covers it.
"""

import shlex
from collections.abc import Iterator, Mapping

Operation = tuple[str, str]  # entity and action

URI = "uri"

# Every call of this backend, with the broad right that allows it too.
NEEDED: Mapping[str, Operation] = {
    "/lnrpc.Lightning/GetInfo": ("info", "read"),
    "/lnrpc.Lightning/QueryRoutes": ("info", "read"),
    "/lnrpc.Lightning/ChannelBalance": ("offchain", "read"),
    "/lnrpc.Lightning/ListChannels": ("offchain", "read"),
    "/lnrpc.Lightning/DecodePayReq": ("offchain", "read"),
    "/lnrpc.Lightning/ListPayments": ("offchain", "read"),
    "/lnrpc.Lightning/AddInvoice": ("invoices", "write"),
    "/lnrpc.Lightning/LookupInvoice": ("invoices", "read"),
    "/lnrpc.Lightning/ListInvoices": ("invoices", "read"),
    "/lnrpc.Lightning/SubscribeInvoices": ("invoices", "read"),
    "/lnrpc.Lightning/SignMessage": ("message", "write"),
    "/routerrpc.Router/SendPaymentV2": ("offchain", "write"),
    "/routerrpc.Router/TrackPaymentV2": ("offchain", "read"),
    "/invoicesrpc.Invoices/AddHoldInvoice": ("invoices", "write"),
    "/invoicesrpc.Invoices/SettleInvoice": ("invoices", "write"),
    "/invoicesrpc.Invoices/CancelInvoice": ("invoices", "write"),
}

BAKE = "bake one as `nwc-service backend bake lnd` prints"

# The binary format of macaroons, version 2, and in its identifier LND's `MacaroonId`.
_VERSION, _BAKERY_VERSION = 2, 3
_END, _LOCATION, _IDENTIFIER = 0, 1, 2
_ID_OPERATION, _OP_ENTITY, _OP_ACTION = 3, 1, 2


def bake_command(save_to: str | None = None, *, root_key_id: int | None = None) -> str:
    """The command for LND's host. A root key id of its own can be revoked alone."""
    file = shlex.quote(save_to or "nwc-service.macaroon")
    key = f" --root_key_id={root_key_id}" if root_key_id else ""
    rights = " ".join(f"{URI}:{uri}" for uri in NEEDED)
    return f"lncli bakemacaroon --save_to={file}{key} {rights}"


def operations(macaroon: bytes) -> frozenset[Operation]:
    """Raises ValueError for what is no macaroon of LND."""
    try:
        return frozenset(_operations(_identifier(macaroon)))
    except (IndexError, UnicodeDecodeError) as broken:
        raise ValueError("it is cut off or broken") from broken


def missing(granted: frozenset[Operation]) -> list[str]:
    """The calls that this macaroon does not allow."""
    return [
        uri
        for uri, broad in NEEDED.items()
        if (URI, uri) not in granted and broad not in granted
    ]


def excess(granted: frozenset[Operation]) -> list[str]:
    """What it allows beyond the calls of this backend: each broad right allows others too, as
    `offchain:write` allows to forget payments."""
    needed = {(URI, uri) for uri in NEEDED}
    return sorted(f"{entity}:{action}" for entity, action in granted - needed)


def _identifier(macaroon: bytes) -> bytes:
    if macaroon[:1] != bytes([_VERSION]):
        raise ValueError("it is not in the binary format of LND")
    position = 1
    while True:
        kind = macaroon[position]
        if kind == _END:
            raise ValueError("it has no identifier")
        length, position = _varint(macaroon, position + 1)
        content = _taken(macaroon, position, length=length)
        if kind == _IDENTIFIER:
            break
        position += length
    if content[:1] != bytes([_BAKERY_VERSION]):
        raise ValueError("its identifier is not one of LND")
    return content[1:]


def _operations(identifier: bytes) -> Iterator[Operation]:
    for field, content in _fields(identifier):
        if field != _ID_OPERATION:
            continue
        parts = list(_fields(content))
        entity = next((text.decode() for number, text in parts if number == _OP_ENTITY), "")
        for number, text in parts:
            if number == _OP_ACTION:
                yield entity, text.decode()


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Of a protobuf message that has texts and messages only."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        if key & 7 != 2:
            raise ValueError("its identifier is not one of LND")
        length, position = _varint(message, position)
        yield key >> 3, _taken(message, position, length=length)
        position += length


def _taken(data: bytes, start: int, *, length: int) -> bytes:
    if start + length > len(data):
        raise ValueError("it is cut off or broken")
    return data[start : start + length]


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """The number, and the position after it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("it is cut off or broken")
