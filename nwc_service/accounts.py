"""Accounts: made, credited and debited by the operator."""

import re
from collections.abc import Mapping
from dataclasses import replace
from secrets import token_hex

import structlog

from nwc_service.answers import Clock
from nwc_service.backend import BackendUnavailable, LightningBackend
from nwc_service.failpoint import failpoint
from nwc_service.spend import Spender
from nwc_service.store import decisions, ledger
from nwc_service.store.database import Database, Tx
from nwc_service.store.ledger import Account
from nwc_service.wallet.errors import NotFound, Refused
from nwc_service.wallet.ledger import EQUITY, Entry, EntryKind, available
from nwc_service.wallet.units import MAX_MSAT, AccountId, BackendName, Msat

log = structlog.get_logger()

LIMITED = "account_limited"
FROZEN, THAWED = "account_frozen", "account_thawed"

NAME = re.compile(r"[a-z0-9._-]{1,64}")


def new_account(
    name: str, *, backend: BackendName, now: int, made_by: str | None = None
) -> Account:
    return Account(
        AccountId(token_hex(16)),
        name,
        Msat(0),
        Msat(0),
        now,
        backend,
        keysend_id=token_hex(16),
        made_by=made_by,
    )


class Accounts:
    def __init__(
        self,
        db: Database,
        *,
        backends: Mapping[BackendName, LightningBackend],
        default_backend: BackendName,
        spender: Spender,
        clock: Clock,
    ) -> None:
        self._db = db
        self._backends = backends
        self._default_backend = default_backend
        self._spender = spender
        self._clock = clock

    async def create(
        self, name: str, *, backend: str | None = None, made_by: str | None = None
    ) -> Account:
        """Raises Refused for a bad name, one that is taken, or a backend that is not there."""
        if not NAME.fullmatch(name):
            raise Refused(f"account name {name!r} is not of [a-z0-9._-], 1 to 64 characters")
        chosen = BackendName(backend or self._default_backend)
        if chosen not in self._backends:
            known = ", ".join(sorted(self._backends))
            raise Refused(f"there is no backend {chosen!r}; choose one of {known}")
        account = new_account(name, backend=chosen, now=self._clock(), made_by=made_by)
        created = await self._db.write(lambda tx: ledger.create_account(tx, account))
        failpoint("after_account_create")
        if not created:
            raise Refused(f"there is an account {name!r} already")
        return account

    async def ensure(self, name: str) -> None:
        """Create the account unless it is there."""
        if await self._db.read(lambda tx: ledger.account_named(tx, name)) is None:
            await self.create(name)

    async def first_name(self) -> str | None:
        """The name of the oldest account."""
        found = await self._db.read(ledger.accounts)
        return found[0].name if found else None

    async def named(self, name: str) -> Account:
        """Raises NotFound."""
        return await self._db.read(lambda tx: self._in(tx, name))

    async def set_limits(
        self, name: str, wanted: Mapping[str, int | None], *, by: str = ""
    ) -> Account:
        """Only those that are named; None ends one. Raises Refused and NotFound."""
        new = {field: _limit(field, amount_msat) for field, amount_msat in wanted.items()}

        async def work(tx: Tx) -> None:
            account = await self._in(tx, name)
            await ledger.set_limits(tx, account.account_id, replace(account.limits, **new))
            detail = ", ".join(f"{field} {limit}" for field, limit in sorted(new.items()))
            await decisions.record(
                tx, LIMITED, subject=name, reason="", detail=detail, by=by, now=self._clock()
            )

        await self._db.write(work)
        return await self.named(name)

    async def set_frozen(
        self, name: str, *, frozen: bool, reason: str, by: str = ""
    ) -> Account:
        """Its apps may only read while it is frozen; what comes in is credited.

        Raises NotFound.
        """
        now = self._clock()

        async def work(tx: Tx) -> None:
            account = await self._in(tx, name)
            frozen_at = now if frozen else None
            if await ledger.set_frozen(tx, account.account_id, frozen_at=frozen_at):
                kind = FROZEN if frozen else THAWED
                await decisions.record(tx, kind, subject=name, reason=reason, by=by, now=now)

        await self._db.write(work)
        return await self.named(name)

    async def _in(self, tx: Tx, name: str) -> Account:
        account = await ledger.account_named(tx, name)
        if account is None:
            raise NotFound(f"there is no account {name!r}")
        return account

    async def credit(
        self, name: str, amount_msat: int, *, reason: str, force: bool = False, by: str = ""
    ) -> Account:
        """Owe the account more. Without `force` the backends must cover all that is owed then;
        `by` is whose decision that was.

        Raises Refused and NotFound.
        """
        account = await self.named(name)
        amount = _amount(amount_msat, reason=reason)
        cover_msat = None if force else await self._cover_msat()
        entry = Entry(EntryKind.CREDIT, EQUITY, available(account.account_id), amount)

        async def work(tx: Tx) -> None:
            # In the transaction that books it: two credits cannot use the same cover.
            owed_msat = await ledger.liabilities_msat(tx) + amount
            solvency = self._spender.solvency
            if cover_msat is not None and not solvency.covers(owed_msat, cover_msat):
                raise Refused(
                    f"the backends hold {cover_msat} msat and would owe {owed_msat} msat;"
                    " --force credits all the same"
                )
            now = self._clock()
            await ledger.post(tx, (entry,), now=now, reason=reason)
            if force:
                await decisions.record(
                    tx,
                    "credit_forced",
                    subject=name,
                    reason=reason,
                    detail=f"{amount} msat",
                    by=by,
                    now=now,
                )
            failpoint("in_credit_by_operator")

        await self._db.write(work)
        failpoint("after_credit_by_operator")
        await self._judge()
        return await self.named(name)

    async def _judge(self) -> None:
        """At once: a forced credit may leave less than is owed, a debit end that."""
        try:
            await self._spender.solvency.judge()
        except Exception:
            # The money is booked; the next reading judges.
            log.exception("solvency.failed")

    async def debit(self, name: str, amount_msat: int, *, reason: str) -> Account:
        """Raises NotFound, and Refused when the account has too little."""
        account = await self.named(name)
        amount = _amount(amount_msat, reason=reason)
        await self._spender.debit(account.account_id, amount, reason=reason)
        await self._judge()
        return await self.named(name)

    async def _cover_msat(self) -> int:
        """What the backends could pay out now. Raises Refused when one cannot tell."""
        cover_msat = 0
        for backend in self._backends.values():
            try:
                cover_msat += (await backend.balance()).spendable_msat
            except BackendUnavailable as error:
                raise Refused(
                    f"backend {backend.name} cannot tell its balance, so the cover is unknown;"
                    " --force credits all the same"
                ) from error
        return cover_msat


def _limit(field: str, amount_msat: int | None) -> Msat | None:
    if amount_msat is not None and not 0 < amount_msat <= MAX_MSAT:
        raise Refused(f"{field} {amount_msat} is not between 1 and {MAX_MSAT}")
    return None if amount_msat is None else Msat(amount_msat)


def _amount(amount_msat: int, *, reason: str) -> Msat:
    if not 0 < amount_msat <= MAX_MSAT:
        raise Refused(f"amount_msat {amount_msat} is not between 1 and {MAX_MSAT}")
    if not reason.strip():
        raise Refused("a reason is required")
    return Msat(amount_msat)
