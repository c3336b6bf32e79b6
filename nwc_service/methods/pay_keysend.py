"""pay_keysend (NWC-04): pay a node by its key, without an invoice."""

from secrets import token_hex
from typing import Annotated

from pydantic import AfterValidator, Field

from nwc_service.backend import Cap
from nwc_service.methods.method import AmountMsat, Context, Hex32, Method, Params, Preset
from nwc_service.wallet import keysend
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.node_key import is_node_key
from nwc_service.wallet.payment import Payment, PaymentKind, PaymentState
from nwc_service.wallet.units import Msat, PaymentId, Preimage


def _node_key(text: str) -> str:
    key = text.lower()
    if not is_node_key(key):
        raise ValueError("is not a node's public key of 33 bytes in hex")
    return key


PREIMAGE_BYTES = 32

NodeKey = Annotated[str, AfterValidator(_node_key)]
Tlv = Annotated[int, Field(ge=keysend.FIRST_CUSTOM_TLV, le=keysend.MAX_TLV)]
HexBytes = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})*$", max_length=2 * 1300)]


class TlvRecord(Params):
    type: Tlv
    value: HexBytes


class PayKeysend(Params):
    amount: AmountMsat
    pubkey: NodeKey
    preimage: Hex32 | None = None
    tlv_records: list[TlvRecord] | None = None


async def handle(context: Context, params: PayKeysend) -> None:
    await context.wallet.spender.spend(context.caller, _planned(context, params))


def _planned(context: Context, params: PayKeysend) -> Payment:
    wallet, connection = context.wallet, context.caller.connection
    spender, now, amount_msat = wallet.spender, wallet.clock(), Msat(params.amount)
    tlvs = _tlvs(params.tlv_records or [])
    preimage = _preimage(params.preimage, tlvs.pop(keysend.PREIMAGE_TLV, None))
    inside = params.pubkey in wallet.own_pubkeys
    if not inside:
        _check(tlvs, caps=wallet.backend.caps)
    return Payment(
        payment_id=PaymentId(token_hex(16)),
        account_id=connection.account_id,
        connection_id=connection.connection_id,
        kind=PaymentKind.INTERNAL if inside else PaymentKind.KEYSEND,
        state=PaymentState.RESERVED,
        backend=wallet.backend_name,
        payment_hash=keysend.payment_hash(preimage),
        invoice="",
        description="",
        description_hash=None,
        amount_msat=amount_msat,
        amount_is_override=False,
        fee_reserve_msat=spender.policy.fee.reserve_msat(
            amount_msat, cap_msat=wallet.backend.fee_cap_msat(amount_msat)
        ),
        metadata=keysend.metadata(tlvs),
        created_at=now,
        expires_at=now + spender.policy.max_age_s,
        payee=params.pubkey,
        own_preimage=preimage,
        tlv_records=keysend.to_text(tlvs),
    )


def _tlvs(records: list[TlvRecord]) -> dict[int, bytes]:
    """Raises RequestError, for what no node may be asked to carry."""
    tlvs = {record.type: bytes.fromhex(record.value) for record in records}
    if len(tlvs) < len(records):
        raise RequestError(ErrorCode.OTHER, "tlv_records: a type is there twice")
    if sum(map(len, tlvs.values())) > keysend.MAX_TLV_BYTES:
        raise RequestError(
            ErrorCode.OTHER, f"tlv_records: more than {keysend.MAX_TLV_BYTES} bytes"
        )
    return tlvs


def _preimage(given: str | None, record: bytes | None) -> Preimage:
    """What the client chose, by `preimage` or by the record that carries one, which the node
    adds itself. Raises RequestError where the record is none, or another."""
    if record is None:
        return Preimage(given or token_hex(32))
    if len(record) != PREIMAGE_BYTES or given not in (None, record.hex()):
        raise RequestError(
            ErrorCode.OTHER, f"tlv_records: type {keysend.PREIMAGE_TLV} is not the preimage"
        )
    return Preimage(record.hex())


def _check(tlvs: dict[int, bytes], *, caps: Cap) -> None:
    if tlvs and Cap.KEYSEND_TLV not in caps:
        raise RequestError(ErrorCode.OTHER, "tlv_records: not supported by this wallet")


METHOD = Method(
    name="pay_keysend",
    params=PayKeysend,
    handle=handle,
    preset=Preset.ALL,
    mutates=True,
    needs=Cap.KEYSEND | Cap.KEYSEND_OWN_PREIMAGE,
)
