"""What whoever pays a Lightning address is told, and the invoices that he is given.

He is a stranger, perhaps a hostile one: each thing that he can cause is bounded before it is
done, first by buckets that cost nothing, then by the number of invoices that are open. None of
these bounds is the account's own, and nothing that he is told depends on what it has.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from secrets import compare_digest, token_hex

import structlog

from nwc_service import limits
from nwc_service.addresses import HASHING
from nwc_service.answers import Clock
from nwc_service.backend import Cap, LightningBackend, NodeInfo
from nwc_service.config import PublicSettings
from nwc_service.keyring import Keyring
from nwc_service.lnurl.names import NAME
from nwc_service.lnurl.pay import Ask, Terms, parse_ask
from nwc_service.ratelimit import Buckets, Rate
from nwc_service.receive import Receiver
from nwc_service.store import addresses, invoices, zaps
from nwc_service.store.addresses import Address
from nwc_service.store.database import Database, Tx
from nwc_service.wallet import bolt11
from nwc_service.wallet.errors import ErrorCode, NotFound, RequestError
from nwc_service.wallet.invoice import Invoice, InvoiceState
from nwc_service.wallet.units import MSAT_PER_SAT, BackendName, InvoiceId, Msat

log = structlog.get_logger()

MAX_MAKING = 8
"""Invoices for payers that nodes make at a time, so that accounts' own have room."""
KEPT_UNPAID_S = 24 * 3600
TIDY_EVERY_S = 600.0

NO_ADDRESS = "there is no such address"
TOO_MANY = "too many requests: try again later"
NOT_NOW = "no invoice can be made now: try again later"


class Payers:
    def __init__(
        self,
        db: Database,
        *,
        receiver: Receiver,
        backends: Mapping[BackendName, LightningBackend],
        keyring: Keyring,
        node_info: Callable[[BackendName], NodeInfo],
        settings: PublicSettings,
        clock: Clock,
    ) -> None:
        """Raises ValueError where the settings name no domain."""
        if settings.domain is None:
            raise ValueError("public.domain is not set")
        self._db = db
        self._receiver = receiver
        self._backends = backends
        self._keyring = keyring
        self._node_info = node_info
        self._settings = settings
        self._domain = settings.domain
        self._clock = clock
        self._hosts = Buckets(Rate(settings.host_rate_per_s, settings.host_burst))
        self._names = Buckets(Rate(settings.address_rate_per_s, settings.address_burst))
        self._nostr_pubkey = keyring.zap_keypair().public_key
        self._being_made = 0

    @property
    def base_url(self) -> str:
        return self._settings.base_url or f"https://{self._domain}"

    def admit(self, host: str) -> None:
        """Before anything else is done for a host. Raises RequestError."""
        self._take(self._hosts, _network_of(host))

    async def terms(self, name: str) -> Terms:
        """Raises NotFound, and RequestError where its node can make no such invoice."""
        return self._terms(await self._address(name))

    async def pubkey(self, name: str) -> str | None:
        """Who has the name, as NIP-05 tells it."""
        found = await self._named(name)
        return found.nostr_pubkey if found else None

    async def invoice(self, name: str, query: Mapping[str, str]) -> Invoice:
        """Raises NotFound, InvalidAsk, and RequestError whose message is for the payer."""
        address = await self._address(name)
        terms = self._terms(address)
        ask = parse_ask(terms, query)
        self._take(self._names, address.name)
        invoice = self._requested(address, ask, description=f"To {terms.lud16}")
        with self._room_to_make():
            made = await self._made(invoice, address=address, ask=ask)
        self._check(made, ask)
        return made

    def verify_url(self, invoice: Invoice) -> str:
        """LUD-21."""
        token = self._keyring.verify_token(invoice.invoice_id)
        return f"{self.base_url}/lnurlp/verify/{invoice.invoice_id}/{token}"

    async def verified(self, invoice_id: str, token: str) -> Invoice:
        """Raises NotFound."""
        expected = self._keyring.verify_token(InvoiceId(invoice_id))
        if not compare_digest(token.encode(), expected.encode()):
            raise NotFound("there is no such invoice")
        found = await self._db.read(lambda tx: invoices.invoice(tx, InvoiceId(invoice_id)))
        if found is None or found.address is None or not found.invoice:
            raise NotFound("there is no such invoice")
        return found

    async def tidy(self) -> None:
        """For ever; in a task of its own."""
        while True:
            try:
                await self.forget_unpaid()
            except Exception:
                log.exception("addresses.tidy_failed")
            await asyncio.sleep(TIDY_EVERY_S)

    async def forget_unpaid(self) -> None:
        """What was never paid, once it has been closed for a day."""
        before = self._clock() - KEPT_UNPAID_S
        await self._db.write(lambda tx: addresses.forget_unpaid(tx, expired_before=before))

    async def _address(self, name: str) -> Address:
        found = await self._named(name)
        if found is None:
            raise NotFound(NO_ADDRESS)
        return found

    async def _named(self, name: str) -> Address | None:
        if not NAME.fullmatch(name):
            return None  # whatever else it is, no database is asked
        return await self._db.read(lambda tx: addresses.named(tx, name))

    def _terms(self, address: Address) -> Terms:
        backend = self._backends.get(BackendName(address.backend or ""))
        if backend is None or not backend.caps & HASHING:
            raise RequestError(ErrorCode.INTERNAL, NOT_NOW)
        whole_sats = Cap.MSAT_INVOICE not in backend.caps
        step_msat = MSAT_PER_SAT if whole_sats else 1
        settings = self._settings
        min_msat = Msat(-(-settings.min_msat // step_msat) * step_msat)
        most_msat = min(settings.max_msat, address.max_balance_msat or settings.max_msat)
        max_msat = Msat(most_msat // step_msat * step_msat)
        if address.is_frozen or min_msat > max_msat:
            raise RequestError(ErrorCode.RESTRICTED, NOT_NOW)
        return Terms(
            name=address.name,
            domain=self._domain,
            callback=f"{self.base_url}/lnurlp/{address.name}/callback",
            min_msat=min_msat,
            max_msat=max_msat,
            whole_sats=whole_sats,
            nostr_pubkey=self._nostr_pubkey,
        )

    def _requested(self, address: Address, ask: Ask, *, description: str) -> Invoice:
        now = self._clock()
        return Invoice(
            invoice_id=InvoiceId(token_hex(16)),
            account_id=address.account_id,
            connection_id=None,
            request_id=None,
            backend=BackendName(address.backend or ""),
            state=InvoiceState.REQUESTED,
            payment_hash=None,
            invoice="",
            description=description,
            description_hash=ask.description_hash,
            amount_msat=ask.amount_msat,
            received_msat=None,
            preimage=None,
            metadata=ask.metadata,
            created_at=now,
            expires_at=now + self._settings.invoice_expiry_s,
            settled_at=None,
            address=address.name,
        )

    async def _made(self, invoice: Invoice, *, address: Address, ask: Ask) -> Invoice:
        async def claim(tx: Tx) -> None:
            still = await addresses.named(tx, address.name)
            if still is None or still.account_id != address.account_id:
                raise NotFound(NO_ADDRESS)
            if still.is_frozen:
                raise RequestError(ErrorCode.RESTRICTED, NOT_NOW)
            # Not for this amount: whoever may ask for any could find out what is there.
            await limits.check_room(tx, address.account_id, amount_msat=None)
            # This one is among them.
            of_one, in_all = await addresses.open_counts(
                tx, address.name, now=invoice.created_at
            )
            if of_one > self._settings.max_open_per_address or in_all > self._settings.max_open:
                raise RequestError(ErrorCode.RATE_LIMITED, TOO_MANY)
            if ask.zap is not None:
                await zaps.insert(
                    tx,
                    invoice.invoice_id,
                    request=ask.zap.raw,
                    relays=ask.zap.relays,
                    now=invoice.created_at,
                )

        try:
            return await self._receiver.issue_to_payer(
                invoice, claim=claim, hashed_text=ask.hashed_text
            )
        except RequestError as error:
            if error.code is ErrorCode.RATE_LIMITED:
                raise
            # What ails the node is none of his business.
            raise RequestError(ErrorCode.INTERNAL, NOT_NOW) from error

    def _check(self, made: Invoice, ask: Ask) -> None:
        """Read again what is handed out: it must be just what the payer will check. Raises
        RequestError."""
        decoded = bolt11.decode(made.invoice)
        network = self._node_info(made.backend).network
        is_asked = (
            decoded.amount_msat == ask.amount_msat
            and decoded.description_hash == ask.description_hash
            and network in (None, decoded.network)
        )
        if not is_asked:
            log.error("address.wrong_invoice", backend=made.backend)
            raise RequestError(ErrorCode.INTERNAL, NOT_NOW)

    @contextmanager
    def _room_to_make(self) -> Iterator[None]:
        if self._being_made >= MAX_MAKING:
            raise RequestError(ErrorCode.RATE_LIMITED, TOO_MANY)
        self._being_made += 1
        try:
            yield
        finally:
            self._being_made -= 1

    def _take(self, buckets: Buckets, key: str) -> None:
        if not buckets.take(key, now=self._clock()):
            raise RequestError(ErrorCode.RATE_LIMITED, TOO_MANY)


def _network_of(host: str) -> str:
    """Of IPv6 anybody has a whole /64 at least."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
