"""What a small Core Lightning does: invoices, payments with their parts, offers, and the
plugin `hold`, with an outside node that pays and is paid."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from nwc_service.wallet import bolt11, bolt12
from tests.backends.cln_holds import HoldPlugin
from tests.backends.cln_keysends import FEE_MSAT, Keysends
from tests.backends.cln_offers import Bolt12
from tests.backends.cln_rows import (
    NODE_ID,
    NODE_KEY,
    OUTSIDE_ID,
    PARAMETERS,
    Json,
    RpcFail,
    a_part,
    an_invoice,
    hash_of,
)

START_MSAT = 10**12
CURRENCIES = {"mainnet": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}
HOLD_COMMANDS = tuple(name for name in PARAMETERS if "holdinvoice" in name)


@dataclass(slots=True)
class Attempt:
    """How the next `xpay` goes, instead of paying."""

    parts: list[str] = field(default_factory=list)  # their states when it answers
    error: tuple[int | None, str] | None = None
    delay_s: float = 0


@dataclass(slots=True)
class ClnCore:
    has_hold: bool = True
    has_old_hold: bool = False  # older than 0.3.2
    is_slow: bool = True
    is_private: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    script: dict[str, object] = field(default_factory=dict)  # a result or RpcFail, before all
    attempts: list[Attempt] = field(default_factory=list)
    invoices: list[dict[str, Any]] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    outside: dict[str, str] = field(default_factory=dict)  # its preimages
    runes: dict[str, frozenset[str] | None] = field(default_factory=dict)
    requests: list[tuple[str, Json]] = field(default_factory=list)
    height: int = 457
    balance_msat: int = START_MSAT
    holds: HoldPlugin = field(default_factory=HoldPlugin)
    bolt12: Bolt12 = field(default_factory=Bolt12)
    keysends: Keysends = field(default_factory=Keysends)
    _updates: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def of(self, method: str) -> list[Json]:
        return [params for name, params in self.requests if name == method]

    # --- the calls

    async def handle(self, method: str, params: Mapping[str, Any]) -> object:
        """Raises RpcFail."""
        self.requests.append((method, params))
        if method in self.script:
            said = self.script[method]
            if isinstance(said, RpcFail):
                raise said
            return said
        if method not in PARAMETERS or (method in HOLD_COMMANDS and not self.has_hold):
            raise RpcFail(-32601, f"Unknown command '{method}'")
        _check_parameters(method, params)
        if method in HOLD_COMMANDS:
            return getattr(self.holds, method)(self, **params)
        if hasattr(self.bolt12, method):
            return getattr(self.bolt12, method)(self, **params)
        if hasattr(self.keysends, method):
            done = getattr(self.keysends, method)(self, **params)
        else:
            done = getattr(self, method)(**params)
        return await done if asyncio.iscoroutine(done) else done

    def getinfo(self) -> Json:
        info = {
            "id": NODE_ID,
            "alias": "alice",
            "color": "03CA8A",
            "num_peers": 1,
            "version": "v26.06",
            "blockheight": self.height,
            "network": "regtest",
            "lightning-dir": "/var/lib/.lightning/regtest",
        }
        return info | self.info

    def help(self, command: str = "") -> Json:
        names = [name for name in PARAMETERS if self.has_hold or name not in HOLD_COMMANDS]
        return {"help": [{"command": f"{name} [x]"} for name in names], "format-hint": "x"}

    def listconfigs(self, config: str = "") -> Json:
        configs: dict[str, Json] = {
            "xpay-slow-mode": {
                "value_bool": self.is_slow,
                "source": "cmdline",
                "plugin": "/usr/libexec/c-lightning/plugins/cln-xpay",
                "dynamic": True,
            }
        }
        if self.has_hold and not self.has_old_hold:
            configs["hold-expiry-deadline"] = {"value_int": 3, "source": "default"}
        if config and config not in configs:
            raise RpcFail(
                -32602, f"config: Unknown config option: invalid token '\"{config}\"'"
            )
        return {"configs": {config: configs[config]} if config else configs}

    def listpeerchannels(self) -> Json:
        channel = {
            "peer_id": OUTSIDE_ID,
            "peer_connected": True,
            "state": "CHANNELD_NORMAL",
            "private": self.is_private,
            "spendable_msat": self.balance_msat,
            "receivable_msat": 10**12,
        }
        away = channel | {"peer_connected": False, "spendable_msat": 7}
        closing = channel | {"state": "ONCHAIN", "spendable_msat": 11}
        return {"channels": [channel, away, closing]}

    def wait(self, subsystem: str, indexname: str, nextvalue: int) -> Json:
        rows = self.invoices if subsystem == "invoices" else self.parts
        newest = max((row["created_index"] for row in rows), default=0)
        value = newest if indexname == "created" else self._updates
        return {"subsystem": subsystem, indexname: value}

    def decode(self, string: str) -> Json:
        if string in self.bolt12.fetched:
            return self.bolt12.reading(string)
        try:
            read = bolt11.decode(string)
        except bolt11.InvalidInvoice:
            raise RpcFail(-32602, "invalid token: not a known bolt11/12 string") from None
        amount = {} if read.amount_msat is None else {"amount_msat": read.amount_msat}
        return {
            "type": "bolt11 invoice",
            "valid": True,
            "currency": CURRENCIES[read.network],
            "created_at": read.created_at,
            "expiry": read.expiry_s,
            "payee": read.payee,
            "payment_hash": read.payment_hash,
            **amount,
        }

    def signmessage(self, message: str) -> Json:
        digest = sha256(sha256(b"Lightning Signed Message:" + message.encode()).digest())
        signature = NODE_KEY.sign_recoverable(digest.digest(), hasher=None)
        value = int.from_bytes(bytes([signature[64] + 31]) + signature[:64], "big")
        alphabet = "ybndrfg8ejkmcpqxot1uwisza345h769"
        zbase = "".join(alphabet[value >> 5 * place & 31] for place in range(103, -1, -1))
        return {"signature": signature[:64].hex(), "recid": "00", "zbase": zbase}

    def checkrune(self, rune: str, method: str, params: Json | None = None) -> Json:
        if rune not in self.runes:
            raise RpcFail(1501, "Not authorized: Not derived from master")
        allowed = self.runes[rune]
        if allowed is not None and method not in allowed:
            raise RpcFail(1502, f"Not permitted: method is not equal to {min(allowed)}")
        return {"valid": True}

    # --- invoices

    def invoice(
        self,
        amount_msat: int | str,
        label: str,
        description: str,
        *,
        expiry: int = 604_800,
        preimage: str = "",
        deschashonly: bool = False,
        **rest: object,
    ) -> Json:
        if any(row["label"] == label for row in self.invoices):
            raise RpcFail(900, "Duplicate label")
        preimage = preimage or secrets.token_hex(32)
        payment_hash = hash_of(preimage)
        if any(row["payment_hash"] == payment_hash for row in self.invoices):
            raise RpcFail(901, "preimage already used")
        about: dict[str, Any] = {"description": description}
        if deschashonly:
            about = {"description_hash": sha256(description.encode()).hexdigest()}
        amount = None if amount_msat == "any" else int(amount_msat)
        text = an_invoice(
            amount,
            payment_hash=payment_hash,
            expiry_s=expiry,
            secret_key=NODE_KEY.secret,
            **about,
        )
        row = self.add_invoice(label, preimage, bolt11=text, amount_msat=amount)
        row |= {"description": description, "expires_at": bolt11.decode(text).expires_at}
        return {key: row[key] for key in ("bolt11", "payment_hash", "expires_at")}

    def add_invoice(self, label: str, preimage: str, **fields: Any) -> dict[str, Any]:
        newest = max((row["created_index"] for row in self.invoices), default=0)
        row = {
            "label": label,
            "payment_hash": hash_of(preimage),
            "status": "unpaid",
            "created_index": newest + 1,
            "expires_at": int(time.time()) + 7200,
            "_preimage": preimage,
            **{key: value for key, value in fields.items() if value is not None},
        }
        self.invoices.append(row)
        return row

    def listinvoices(
        self, *, index: str = "", start: int = 0, limit: int = 10**9, **query: str
    ) -> Json:
        self._expire()
        rows = [row for row in self.invoices if query.items() <= row.items()]
        if "offer_id" in query:
            rows = [r for r in self.invoices if r.get("local_offer_id") == query["offer_id"]]
        if index:
            name = f"{index}_index"
            rows = sorted(
                (row for row in rows if row.get(name, 0) >= max(1, start)),
                key=lambda row: int(row[name]),
            )
        return {"invoices": [_shown(row) for row in rows[:limit]]}

    def delinvoice(self, label: str, status: str) -> Json:
        self._expire()
        row = next((row for row in self.invoices if row["label"] == label), None)
        if row is None:
            raise RpcFail(905, "Unknown invoice")
        if row["status"] != status:
            raise RpcFail(906, f"Invoice status is {row['status']} not {status}")
        self.invoices.remove(row)
        return _shown(row)

    async def waitanyinvoice(self, *, lastpay_index: int = 0, timeout: int = 0) -> Json:
        async with self._changed:
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait_for(lambda: self._paid_after(lastpay_index))
            except TimeoutError:
                raise RpcFail(904, "Timed out") from None
            return _shown(self._paid_after(lastpay_index)[0])

    def _paid_after(self, index: int) -> list[dict[str, Any]]:
        paid = [row for row in self.invoices if row.get("pay_index", 0) > index]
        return sorted(paid, key=lambda row: int(row["pay_index"]))

    def _expire(self) -> None:
        for row in self.invoices:
            if row["status"] == "unpaid" and row["expires_at"] <= time.time():
                row["status"] = "expired"

    async def receive(self, row: dict[str, Any], amount_msat: int) -> None:
        self._updates += 1
        row |= {
            "status": "paid",
            "pay_index": max((r.get("pay_index", 0) for r in self.invoices), default=0) + 1,
            "amount_received_msat": amount_msat,
            "paid_at": int(time.time()),
            "payment_preimage": row["_preimage"],
            "updated_index": self._updates,
        }
        self.balance_msat += amount_msat
        async with self._changed:
            self._changed.notify_all()

    # --- payments

    async def xpay(
        self,
        invstring: str,
        *,
        amount_msat: int | None = None,
        maxfee: int = 5_000,
        retry_for: int = 60,
    ) -> Json:
        payment_hash, asked_msat = self._read(invstring, amount_msat)
        mine = [part for part in self.parts if part["payment_hash"] == payment_hash]
        if any(part["status"] == "complete" for part in mine):
            raise RpcFail(219, "Already paid this invoice successfully")
        if any(part["status"] == "pending" for part in mine):
            raise RpcFail(-3, "Unexpected injectpaymentonion error 200: in progress")
        if self.attempts:
            return await self._attempt(self.attempts.pop(0), payment_hash)
        if asked_msat > self.balance_msat:
            raise RpcFail(205, "Failed: We could not find a usable set of paths.")
        if maxfee < FEE_MSAT:
            raise RpcFail(206, "Failed: Could not find route without excessive cost")
        preimage = self.outside.get(payment_hash)
        if preimage is None:
            self.add_part("failed", payment_hash=payment_hash, amount_msat=asked_msat)
            raise RpcFail(203, "Destination said it doesn't know invoice")
        self.add_part(
            "complete",
            payment_hash=payment_hash,
            preimage=preimage,
            amount_msat=asked_msat,
            fee_msat=FEE_MSAT,
        )
        self.balance_msat -= asked_msat + FEE_MSAT
        return self._paid(preimage, asked_msat, FEE_MSAT)

    def add_part(self, status: str, **fields: Any) -> dict[str, Any]:
        part = a_part(status, index=len(self.parts) + 1, **fields)
        self.parts.append(part)
        return part

    async def _attempt(self, attempt: Attempt, payment_hash: str) -> Json:
        part = await self.attempt(attempt, payment_hash=payment_hash)
        fee_msat = part["amount_sent_msat"] - part["amount_msat"]
        return self._paid(part["payment_preimage"], part["amount_msat"], fee_msat)

    async def attempt(self, attempt: Attempt, **fields: Any) -> Json:
        """The first of its parts, at its end."""
        made = [self.add_part("pending", **fields) for _ in attempt.parts]
        await asyncio.sleep(attempt.delay_s)
        for part, status in zip(made, attempt.parts, strict=True):
            part |= a_part(status, index=part["created_index"], **fields)
        if attempt.error is not None:
            raise RpcFail(*attempt.error)
        return made[0]

    def _paid(self, preimage: str, amount_msat: int, fee_msat: int) -> Json:
        return {
            "payment_preimage": preimage,
            "amount_msat": amount_msat,
            "amount_sent_msat": amount_msat + fee_msat,
            "failed_parts": 0,
            "successful_parts": 1,
        }

    def _read(self, invstring: str, amount_msat: int | None) -> tuple[str, int]:
        if invstring in self.bolt12.fetched:
            read = self.bolt12.reading(invstring)
            return str(read["invoice_payment_hash"]), int(read["invoice_amount_msat"])
        try:
            invoice = bolt11.decode(invstring)
        except bolt11.InvalidInvoice as wrong:
            raise RpcFail(-32602, f"Invalid bolt11 invoice: {wrong}") from None
        if (invoice.amount_msat is None) == (amount_msat is None):
            raise RpcFail(-32602, "amount_msat required")
        if invoice.expires_at < time.time():
            raise RpcFail(207, "Invoice expired 1 seconds ago")
        return invoice.payment_hash, int(invoice.amount_msat or amount_msat or 0)

    def listsendpays(
        self, *, payment_hash: str = "", index: str = "", start: int = 0, limit: int = 10**9
    ) -> Json:
        rows = [part for part in self.parts if payment_hash in ("", part["payment_hash"])]
        return {"payments": [row for row in rows if row["created_index"] >= start][:limit]}

    def listpays(self, **query: object) -> Json:  # as between two attempts
        return {"pays": [{"status": "failed", "payment_hash": "00" * 32}]}

    # --- the outside

    def make_outside_invoice(self, amount_msat: int | None, *, expiry_s: int = 3600) -> str:
        preimage = secrets.token_hex(32)
        self.outside[hash_of(preimage)] = preimage
        return an_invoice(amount_msat, payment_hash=hash_of(preimage), expiry_s=expiry_s)

    async def pay_from_outside(self, invoice: str, amount_msat: int | None) -> None:
        read = bolt11.decode(invoice)
        wanted_msat = int(read.amount_msat or amount_msat or 0)
        if self.holds.accept(self, read, amount_msat=wanted_msat):
            return
        self._expire()
        for row in self.invoices:
            if row["payment_hash"] == read.payment_hash and row["status"] == "unpaid":
                await self.receive(row, wanted_msat)
                return
        raise ValueError("the node does not know this invoice")

    async def pay_offer_from_outside(self, offer: str, amount_msat: int | None) -> None:
        read = bolt12.decode(offer)
        row = self.bolt12.invoice_for(self, read, amount_msat=amount_msat)
        await self.receive(row, int(row["amount_msat"]))

    def mine(self, blocks: int) -> None:
        self.height += blocks
        self.holds.block_added(self.height)


def _check_parameters(method: str, params: Mapping[str, Any]) -> None:
    needed, others = (names.split() for names in PARAMETERS[method])
    for name in needed:
        if name not in params:
            raise RpcFail(-32602, f"missing required parameter: {name}")
    for name in params:
        if name not in (*needed, *others):
            raise RpcFail(-32602, f"unknown parameter: {name}, this may be caused by ...")


def _shown(row: Mapping[str, Any]) -> Json:
    return {key: value for key, value in row.items() if not key.startswith("_")}
