"""Money moved by the queries of `store/` alone, in the units of work that the flow has."""

from functools import partial
from typing import Any

from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption
from nwc_service.store import connections, invoices, ledger, outbox, payments, requests
from nwc_service.store.audit import audit
from nwc_service.store.database import Database, Tx, Value
from nwc_service.store.ledger import Account
from nwc_service.store.outbox import Outgoing
from nwc_service.store.requests import Claim
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.ledger import (
    EQUITY,
    Entry,
    EntryKind,
    LedgerAccount,
    available,
    node,
)
from nwc_service.wallet.outcome import Outcome
from nwc_service.wallet.payment import Payment, apply_outcome, reserve_entries
from nwc_service.wallet.units import AccountId, ConnectionId, Msat
from tests.core.samples import ALICE, BOB, NODE, NOW, a_connection


class Books:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def open_accounts(self) -> None:
        for account_id in (ALICE, BOB):
            account = Account(account_id, str(account_id), Msat(0), Msat(0), NOW, NODE)
            await self.database.write(partial(ledger.create_account, account=account))

    # --- the units of work

    async def credit(self, account_id: AccountId, amount_msat: int) -> None:
        await self.post(EntryKind.CREDIT, EQUITY, available(account_id), amount_msat)

    async def debit(self, account_id: AccountId, amount_msat: int) -> None:
        await self.post(EntryKind.DEBIT, available(account_id), EQUITY, amount_msat)

    async def reserve(self, payment: Payment) -> bool:
        """False when the payment hash is taken. Raises InsufficientBalance."""

        async def work(tx: Tx) -> bool:
            if not await payments.insert(tx, payment):
                return False
            entries = reserve_entries(payment)
            await ledger.post(tx, entries, now=NOW, payment_id=payment.payment_id)
            return True

        return await self.database.write(work)

    async def apply(self, payment: Payment, outcome: Outcome) -> Payment:
        """The payment as it is now."""
        after, entries = apply_outcome(payment, outcome, now=NOW)

        async def work(tx: Tx) -> None:
            await payments.update(tx, after, expected=payment.state)
            await ledger.post(tx, entries, now=NOW, payment_id=payment.payment_id)

        await self.database.write(work)
        return after

    async def receive(self, invoice: Invoice) -> None:
        """A settled invoice, credited with what arrived."""
        amount_msat, payment_hash = invoice.received_msat, invoice.payment_hash
        assert amount_msat is not None
        assert payment_hash is not None
        entry = Entry(EntryKind.RECEIVE, node(NODE), available(invoice.account_id), amount_msat)

        async def work(tx: Tx) -> None:
            await invoices.insert(tx, invoice)
            await invoices.insert_receipt(
                tx,
                backend=invoice.backend,
                payment_hash=payment_hash,
                amount_msat=amount_msat,
                invoice_id=invoice.invoice_id,
                now=NOW,
            )
            await ledger.post(tx, (entry,), now=NOW, invoice_id=invoice.invoice_id)

        await self.database.write(work)

    async def pay_internally(self, payment: Payment, invoice: Invoice) -> None:
        """Both already settled. Raises InsufficientBalance."""
        entry = Entry(
            EntryKind.INTERNAL,
            available(payment.account_id),
            available(invoice.account_id),
            payment.amount_msat,
        )

        async def work(tx: Tx) -> None:
            await invoices.insert(tx, invoice)
            await payments.insert(tx, payment)
            await ledger.post(tx, (entry,), now=NOW, payment_id=payment.payment_id)
            await invoices.queue_cancellation(
                tx, backend=invoice.backend, payment_hash=payment.payment_hash, now=NOW
            )

        await self.database.write(work)

    async def post(
        self,
        kind: EntryKind,
        source: LedgerAccount,
        destination: LedgerAccount,
        amount_msat: int,
    ) -> None:
        entry = Entry(kind, source, destination, Msat(amount_msat))
        await self.database.write(lambda tx: ledger.post(tx, (entry,), now=NOW))

    # --- rows

    async def connect(self, **changes: object) -> Connection:
        connection = a_connection(**changes)
        await self.database.write(lambda tx: connections.insert(tx, connection))
        return connection

    async def claim(self, request_id: str, connection_id: str = "connection") -> Claim:
        claim = Claim(
            request_id, ConnectionId(connection_id), "pay_invoice", Encryption.NIP44_V2, NOW
        )
        await self.database.write(lambda tx: requests.claim(tx, claim, now=NOW))
        return claim

    async def answer(self, request_id: str, *, event_id: str) -> Outgoing:
        outgoing = Outgoing(event_id, "{}", ConnectionId("connection"), request_id, NOW)

        async def work(tx: Tx) -> None:
            await requests.mark_answered(tx, request_id, now=NOW)
            await outbox.insert(tx, outgoing)

        await self.database.write(work)
        return outgoing

    # --- what is there

    async def balance(self, account_id: AccountId) -> tuple[int, int]:
        """Available and held."""
        account = await self.database.read(lambda tx: ledger.account(tx, account_id))
        assert account is not None
        return account.available_msat, account.held_msat

    async def problems(self) -> tuple[str, ...]:
        """What the audit finds."""
        return (await self.database.read(audit)).problems

    async def rows(self, sql: str, **values: Value) -> list[dict[str, Any]]:
        found = await self.database.read(lambda tx: tx.all(sql, **values))
        return [dict(row) for row in found]

    async def run(self, *statements: str) -> None:
        """Any SQL at all."""

        async def work(tx: Tx) -> None:
            for statement in statements:
                await tx.run(statement)

        await self.database.write(work)
