"""What CLN says of itself: who it is, what it can spend, and how it reads an invoice."""

import re
from collections.abc import Mapping
from hashlib import sha256

from coincurve import PublicKey

from backends.cln import rights
from backends.cln.api import BAD_PARAMS, ClnApi, Reply
from backends.cln.options import Options
from backends.cln.wire import (
    Channel,
    Channels,
    Configs,
    Help,
    Info,
    Reading,
    Rights,
    Signature,
    Waited,
)
from nwc_service.backend import (
    BackendUnavailable,
    BadRequest,
    Balance,
    Decoded,
    FailReason,
    NodeInfo,
)
from nwc_service.wallet.bolt11 import MAX_INVOICE_LENGTH, Network
from nwc_service.wallet.units import Msat, PaymentHash

OLDEST_VERSION = (25, 12)
UPDATE = "use Core Lightning 25.12 or newer"
USABLE_STATES = ("CHANNELD_NORMAL", "CHANNELD_AWAITING_SPLICE")
NETWORKS: Mapping[str, Network] = {
    "bitcoin": "mainnet",
    "testnet": "testnet",
    "testnet4": "testnet",  # its invoices are those of testnet
    "signet": "signet",
    "regtest": "regtest",
}
CURRENCIES: Mapping[Network, str] = {
    "mainnet": "bc",
    "testnet": "tb",
    "signet": "tbs",
    "regtest": "bcrt",
}
BOLT11_READING, BOLT12_READING = "bolt11 invoice", "bolt12 invoice"
MAX_MESSAGE_BYTES = 65_535

SLOW_MODE_IS_OFF = "xpay-slow-mode is off, so xpay may fail while a payment is still under way"
SLOW_MODE_REMEDY = (
    "turn it on for good: `lightning-cli setconfig xpay-slow-mode true`, or the line"
    " xpay-slow-mode=true in CLN's config"
)

_VERSION = re.compile(r"v?(\d+)\.(\d+)")
_INVOICE = re.compile(rf"[0-9A-Za-z]{{1,{4 * MAX_INVOICE_LENGTH}}}")  # BOLT12's are long
_COLOR = re.compile(r"[0-9a-f]{6}")
_ZBASE32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


class ClnNode:
    """Every method may raise BackendUnavailable."""

    def __init__(self, api: ClnApi, options: Options) -> None:
        self._api = api
        self._options = options
        self._rune_is_checked = False
        self.may_hold = True  # its rune allows what the plugin hold has
        self.network: Network | None = None
        self.pubkey = ""

    async def info(self) -> NodeInfo:
        info = await self.told(operation="start")
        if is_too_old(info.version):
            what = f"it is Core Lightning {info.version[:40]}"
            raise self._api.problem("start", what, remedy=UPDATE)
        self.network, self.pubkey = NETWORKS.get(info.network), info.id
        return node_info(info)

    async def told(self, *, operation: str) -> Info:
        return await self._api.ask(Info, "getinfo", operation=operation)

    async def check_slow_mode(self) -> None:
        """Without it nothing that `xpay` says is final."""
        if not await self.is_slow(operation="start"):
            raise self._api.problem("start", SLOW_MODE_IS_OFF, remedy=SLOW_MODE_REMEDY)

    async def is_slow(self, *, operation: str) -> bool:
        found = await self._api.ask(
            Configs, "listconfigs", params={"config": rights.SLOW_MODE}, operation=operation
        )
        config = found.configs.get(rights.SLOW_MODE)
        return config is not None and config.value_bool is True

    async def hold_deadline(self, *, operation: str) -> int | None:
        """Blocks before an HTLC's expiry at which the hold plugin gives it back. None of a
        plugin that has no such option, as it is older than 0.3.2."""
        params = {"config": rights.HOLD_DEADLINE}
        reply = await self._api.call("listconfigs", params, operation=operation)
        if reply.code == BAD_PARAMS:
            return None
        found = reply.read(Configs)
        if found is None:
            raise self._api.unusable(reply, operation=operation)
        config = found.configs.get(rights.HOLD_DEADLINE)
        return (config.value_int if config else None) or 0

    async def commands(self) -> frozenset[str]:
        return (await self._api.ask(Help, "help", operation="start")).commands

    async def check_rune(self) -> None:
        """Once: each question counts as a use of the rune."""
        if not self._api.has_rune or self._rune_is_checked:
            return
        found = await self.rune_rights()
        if found.missing:
            raise self._api.problem("start", found.too_few, remedy=rights.CREATE)
        if found.excess and not self._options.allow_broad_rune:
            raise self._api.problem("start", found.too_many, remedy=rights.NARROW)
        self.may_hold = found.may_hold
        self._rune_is_checked = True

    async def rune_rights(self) -> rights.RuneRights:
        plain = [method for method in rights.NEEDED if method not in rights.HOLD]
        return rights.RuneRights(
            missing=[method for method in plain if not await self._is_allowed(method)],
            excess=[method for method in rights.FORBIDDEN if await self._is_allowed(method)],
            may_hold=all([await self._is_allowed(method) for method in rights.HOLD]),
        )

    async def height(self, *, operation: str) -> int:
        return (await self.told(operation=operation)).blockheight

    async def balance(self) -> Balance:
        """Of the channels that can be used now, without their reserves."""
        usable = [
            channel
            for channel in await self._channels("balance")
            if channel.state in USABLE_STATES and channel.peer_connected
        ]
        return Balance(
            spendable_msat=Msat(sum(channel.spendable_msat for channel in usable)),
            receivable_msat=Msat(sum(channel.receivable_msat for channel in usable)),
        )

    async def is_announced(self, *, operation: str) -> bool:
        """Whether strangers find the node."""
        channels = await self._channels(operation)
        return any(c.state in USABLE_STATES and not c.private for c in channels)

    async def counters(self) -> Mapping[str, int]:
        return {
            f"{subsystem}_{index}": getattr(
                await self.index(subsystem, index, operation="counters"), index
            )
            for subsystem in ("invoices", "sendpays")
            for index in ("created", "updated")
        }

    async def index(self, subsystem: str, index: str, *, operation: str) -> Waited:
        """As it stands now."""
        params = {"subsystem": subsystem, "indexname": index, "nextvalue": 0}
        return await self._api.ask(Waited, "wait", params=params, operation=operation)

    async def decode(self, invoice: str, *, operation: str = "decode") -> Decoded:
        """Raises also BadRequest."""
        read = await self._read(invoice, operation=operation)
        if read.type == BOLT12_READING:
            payment_hash, amount_msat = read.invoice_payment_hash, read.invoice_amount_msat
            expires_at = read.invoice_created_at + read.invoice_relative_expiry
            payee = read.invoice_node_id
        else:
            payment_hash, amount_msat = read.payment_hash, read.amount_msat
            expires_at, payee = read.created_at + read.expiry, read.payee
            self._check_currency(read)
        if payment_hash is None:
            raise BadRequest("CLN cannot read the invoice")
        return Decoded(
            payment_hash=PaymentHash(payment_hash),
            amount_msat=Msat(amount_msat) if amount_msat else None,
            expires_at=expires_at,
            payee=payee,
        )

    async def sign(self, message: str) -> str:
        """Raises also BadRequest."""
        try:
            size_bytes = len(message.encode())
        except UnicodeEncodeError:
            raise BadRequest("the message has a character that cannot be written") from None
        if size_bytes > MAX_MESSAGE_BYTES:
            raise BadRequest(f"CLN signs no message of more than {MAX_MESSAGE_BYTES} bytes")
        signed = await self._api.ask(
            Signature, "signmessage", params={"message": message}, operation="sign_message"
        )
        # CLN may sign the JSON of the message, in which some characters are escaped
        if _signer(message, signed.zbase) != self.pubkey:
            raise BadRequest(
                "CLN cannot sign this message: it has quotes, or control characters"
            )
        return signed.zbase

    async def why(self, amount_msat: int, reason: FailReason) -> FailReason:
        """CLN finds no route also where there is not enough money."""
        if reason not in (FailReason.NO_ROUTE, FailReason.OTHER):
            return reason
        try:
            spendable_msat = (await self.balance()).spendable_msat
        except BackendUnavailable:
            return reason
        return FailReason.INSUFFICIENT_BALANCE if amount_msat > spendable_msat else reason

    async def _read(self, invoice: str, *, operation: str) -> Reading:
        if not _INVOICE.fullmatch(invoice):
            raise BadRequest("CLN cannot read the invoice")
        reply = await self._api.call("decode", {"string": invoice}, operation=operation)
        if reply.code == BAD_PARAMS:
            raise BadRequest("CLN cannot read the invoice")
        read = reply.read(Reading)
        if read is None:
            raise self._api.unusable(reply, operation=operation)
        if not read.valid or read.type not in (BOLT11_READING, BOLT12_READING):
            raise BadRequest("CLN cannot read the invoice")
        return read

    def _check_currency(self, read: Reading) -> None:
        if self.network is not None and read.currency != CURRENCIES[self.network]:
            raise BadRequest("the invoice is of another network")

    async def _is_allowed(self, method: str) -> bool:
        params = {"rune": self._api.rune(), "method": method, "params": {}}
        if method == "listconfigs":
            params["params"] = {"config": rights.SLOW_MODE}
        reply: Reply = await self._api.call("checkrune", params, operation="start")
        found = reply.read(Rights)
        if found is not None:
            return found.valid
        if reply.is_unread or reply.problem is None:
            raise self._api.unusable(reply, operation="start")
        return False

    async def _channels(self, operation: str) -> tuple[Channel, ...]:
        found = await self._api.ask(Channels, "listpeerchannels", operation=operation)
        return found.channels


def node_info(info: Info) -> NodeInfo:
    color = info.color.lower()
    return NodeInfo(
        alias=info.alias or None,
        color=color if _COLOR.fullmatch(color) else None,
        pubkey=info.id,
        network=NETWORKS.get(info.network) or info.network,
        block_height=info.blockheight,
        synced=info.warning_bitcoind_sync is None and info.warning_lightningd_sync is None,
    )


def is_too_old(version: str) -> bool:
    """Not known of somebody's own build."""
    found = _VERSION.match(version)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST_VERSION


def _signer(message: str, zbase: str) -> str | None:
    """Whose signature it is."""
    value = 0
    for char in zbase:
        value = value << 5 | max(0, _ZBASE32.find(char))
    digest = sha256(sha256(b"Lightning Signed Message:" + message.encode()).digest()).digest()
    try:
        header, *compact = value.to_bytes(65, "big")
        recoverable = bytes(compact) + bytes([header - 31])
        key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
    except (ValueError, OverflowError):
        return None
    return key.format().hex()
