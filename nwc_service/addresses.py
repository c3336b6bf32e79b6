"""Lightning addresses: given to accounts and taken away by the operator."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from nwc_service.accounts import Accounts
from nwc_service.answers import Clock
from nwc_service.backend import Cap, LightningBackend
from nwc_service.lnurl.names import InvalidName, checked
from nwc_service.store import addresses, decisions
from nwc_service.store.addresses import Address
from nwc_service.store.database import Database, Tx
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.units import AccountId, BackendName
from nwc_service.wishes import client_key

ADDED, REMOVED = "address_added", "address_removed"

Lud16Of = Callable[[AccountId], Awaitable[str | None]]
"""`name@domain` of an account, the oldest where it has several."""

HASHING = Cap.DESCRIPTION_HASH | Cap.HASHED_DESCRIPTION
"""Either will do: LNURL-pay proves by the hash that an invoice is the address's."""


class Addresses:
    def __init__(
        self,
        db: Database,
        *,
        accounts: Accounts,
        backends: Mapping[BackendName, LightningBackend],
        domain: str | None,
        clock: Clock,
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._backends = backends
        self._domain = domain
        self._clock = clock

    async def add(
        self, name: str, *, account: str, nostr_pubkey: str | None = None, by: str = ""
    ) -> Address:
        """`nostr_pubkey`, as hex or npub, is who NIP-05 says has the name.

        Raises Refused and NotFound, with nothing changed.
        """
        self._must_serve()
        try:
            checked(name)
        except InvalidName as error:
            raise Refused(f"name: {error}") from error
        pubkey = client_key("nostr_pubkey", nostr_pubkey) if nostr_pubkey else None
        owner = await self._accounts.named(account)
        self._must_hash(owner.backend)
        now = self._clock()

        async def work(tx: Tx) -> None:
            is_new = await addresses.insert(
                tx, name=name, account_id=owner.account_id, nostr_pubkey=pubkey, now=now
            )
            if not is_new:
                raise Refused(f"there is an address {name!r} already")
            await decisions.record(
                tx, ADDED, subject=name, reason="", detail=account, by=by, now=now
            )

        await self._db.write(work)
        return Address(name, owner.account_id, pubkey, now, owner.name, owner.backend)

    async def remove(self, name: str, *, reason: str = "", by: str = "") -> Address:
        """What its payers were given already credits the account all the same. Raises
        NotFound."""
        now = self._clock()

        async def work(tx: Tx) -> Address:
            found = await addresses.named(tx, name)
            if found is None or not await addresses.delete(tx, name):
                raise NotFound(f"there is no address {name!r}")
            await decisions.record(
                tx,
                REMOVED,
                subject=name,
                reason=reason,
                detail=found.account_name,
                by=by,
                now=now,
            )
            return found

        return await self._db.write(work)

    def _must_serve(self) -> None:
        if self._domain is None:
            raise Refused("the service has no domain for addresses: set [public] domain")

    def _must_hash(self, backend: BackendName) -> None:
        found = self._backends.get(backend)
        if found is None or not found.caps & HASHING:
            raise Refused(
                f"backend {backend!r} makes no invoices with a description hash, without which"
                " no payer can tell that an invoice is the address's"
            )


def lud16_reader(db: Database, domain: str | None) -> Lud16Of:
    return partial(_lud16_of, db, domain=domain)


async def _lud16_of(db: Database, account_id: AccountId, *, domain: str | None) -> str | None:
    if domain is None:
        return None
    found = await db.read(lambda tx: addresses.first_of(tx, account_id))
    return f"{found.name}@{domain}" if found else None
