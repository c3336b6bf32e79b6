"""Requests opened and responses sealed (NIP-47 events 23194, 23195, 23196, 23197)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from nwc_service.nip47 import kinds, strict_json
from nwc_service.nip47.kinds import Encryption
from nwc_service.nostr import nip04, nip44
from nwc_service.nostr.event import Event, sign_event
from nwc_service.nostr.keys import Keypair, PublicKey
from nwc_service.wallet.errors import RequestError

ENTROPY_BYTES = 64
MAX_CONTENT_CHARS = 65_536
"""Of a request; strfry takes no larger event, and nothing larger is decrypted here."""
MAX_FUTURE_S = 900
"""Relays such as strfry refuse events dated further ahead than this."""

# Every response repeats the method's name, so it must be short and something that can be sent.
_ERROR, _CODE = ',"error":', '{"code":"'
_is_method_name = re.compile(r"[!-~]{1,64}").fullmatch


class BadEnvelope(ValueError):
    """Not a readable request. One uniform error: it must not tell what was wrong inside."""


@dataclass(frozen=True, slots=True)
class Channel:
    """The keys between one connection's service key and its client, computed once."""

    keypair: Keypair
    client_pubkey: PublicKey
    shared_x: bytes = field(repr=False)
    conversation_key: bytes = field(repr=False)

    @classmethod
    def between(cls, keypair: Keypair, client_pubkey: PublicKey) -> "Channel":
        shared_x = keypair.shared_x(client_pubkey)
        return cls(keypair, client_pubkey, shared_x, nip44.conversation_key(shared_x))

    def sign(
        self,
        *,
        kind: int,
        content: str,
        tags: tuple[tuple[str, ...], ...],
        created_at: int,
        aux: bytes,
    ) -> Event:
        """An event of the connection's service key."""
        return sign_event(
            self.keypair, kind=kind, content=content, tags=tags, created_at=created_at, aux=aux
        )


@dataclass(frozen=True, slots=True)
class Request:
    """`params` is not looked at yet: the method's own model does that."""

    method: str
    params: object


def named_encryption(event: Event) -> str:
    """The scheme that a request says it uses.

    NIP-47: no `encryption` tag means nip04. Older clients sent only a `v` tag; where there is
    neither, the content itself tells, since a NIP-04 payload ends in `?iv=` and 24 characters.
    """
    named = event.tag_value("encryption")
    if named is not None:
        return named
    if "1.0" in (event.tag_value("v") or ""):
        return Encryption.NIP44_V2
    return sniffed_encryption(event.content)


def sniffed_encryption(content: str) -> Encryption:
    if content[-28:-24] == "?iv=" or not _may_be_nip44(content):
        return Encryption.NIP04
    return Encryption.NIP44_V2


def _may_be_nip44(content: str) -> bool:
    # Base64 of version byte 2 begins with "A" and one of "g" to "v".
    return len(content) >= 132 and content[0] == "A" and "g" <= content[1] <= "v"


def open_request(event: Event, channel: Channel, *, encryption: Encryption) -> Request:
    """Decrypt and parse. Raises BadEnvelope; the signature was verified before."""
    content, limit = event.content, MAX_CONTENT_CHARS
    try:
        if encryption is Encryption.NIP04:
            # It has no MAC: whether the padding is wrong, or what lies in it, is not told.
            return parse_request(
                nip04.decrypt(content, shared_x=channel.shared_x, max_payload_chars=limit)
            )
        plaintext = nip44.decrypt(
            content, key=channel.conversation_key, max_payload_chars=limit
        )
    except ValueError as error:
        raise BadEnvelope("the request cannot be decrypted") from error
    return parse_request(plaintext)


def parse_request(plaintext: str) -> Request:
    """Raises BadEnvelope."""
    try:
        body = strict_json.loads(plaintext)
    except strict_json.NotStrictJson as error:
        raise BadEnvelope("the request is not a JSON object") from error
    if not isinstance(body, dict):
        raise BadEnvelope("the request is not a JSON object")
    method = body.get("method")
    if not isinstance(method, str) or not _is_method_name(method):
        raise BadEnvelope("the request names no method")
    params = body.get("params")
    # Damus sends "params": null with get_balance.
    return Request(method, {} if params is None else params)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which nulls a response has: some clients cannot do without one that others choke on."""

    null_error_on_success: bool
    null_result_on_error: bool

    def of(self, payload: str) -> str:
        """What `result_payload` or `error_payload` made, in this shape."""
        body = orjson.loads(payload)
        if body["error"] is not None and self.null_result_on_error:
            body["result"] = None
        if body["error"] is None and not self.null_error_on_success:
            del body["error"]
        return orjson.dumps(body).decode()


USUAL_SHAPE = Shape(null_error_on_success=True, null_result_on_error=False)
"""What `result_payload` and `error_payload` make."""


def result_payload(method: str, result: Mapping[str, object]) -> str:
    return orjson.dumps({"result_type": method, "error": None, "result": result}).decode()


def error_payload(method: str, error: RequestError) -> str:
    """Without a `result` key: Dart NDK throws on a literal null there."""
    refusal = {"code": error.code.value, "message": error.message}
    return orjson.dumps({"result_type": method, "error": refusal}).decode()


def outcome_of(payload: str) -> str | None:
    """The code, of what `error_payload` made; None of what `result_payload` made."""
    # In both the first `,"error":` is the key: in a name of a method quotes are escaped.
    at = payload.index(_ERROR) + len(_ERROR)
    if not payload.startswith(_CODE, at):
        return None
    start = at + len(_CODE)
    return payload[start : payload.index('"', start)]


def notification_payload(kind: str, body: Mapping[str, object]) -> str:
    return orjson.dumps({"notification_type": kind, "notification": body}).decode()


def seal_response(
    payload: str,
    channel: Channel,
    *,
    encryption: Encryption,
    request_id: str,
    created_at: int,
    entropy: bytes,
    d_tag: str | None = None,
) -> Event:
    """`d_tag` tells the answers to one multi_pay request apart."""
    item = () if d_tag is None else (("d", d_tag),)
    return channel.sign(
        kind=kinds.RESPONSE,
        content=_encrypt(payload, channel, encryption=encryption, entropy=entropy),
        tags=(("p", channel.client_pubkey), ("e", request_id), *item),
        created_at=created_at,
        aux=entropy[32:64],
    )


def seal_notification(
    payload: str, channel: Channel, *, encryption: Encryption, created_at: int, entropy: bytes
) -> Event:
    """Kind 23197 with NIP-44, or the legacy 23196 with NIP-04."""
    nip44_v2 = encryption is Encryption.NIP44_V2
    return channel.sign(
        kind=kinds.NOTIFICATION if nip44_v2 else kinds.NOTIFICATION_NIP04,
        content=_encrypt(payload, channel, encryption=encryption, entropy=entropy),
        tags=(("p", channel.client_pubkey),),
        created_at=created_at,
        aux=entropy[32:64],
    )


def _encrypt(payload: str, channel: Channel, *, encryption: Encryption, entropy: bytes) -> str:
    if encryption is Encryption.NIP44_V2:
        return nip44.encrypt(payload, key=channel.conversation_key, nonce=entropy[:32])
    return nip04.encrypt(payload, shared_x=channel.shared_x, iv=entropy[:16])
