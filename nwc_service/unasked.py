"""What came in without an invoice of ours: whose it is.

Written by strangers, and the money is there: nothing in it may raise (A17), and it selects
whom to credit and no more (A20).
"""

from secrets import token_hex

from nwc_service.backend import InvoiceReport
from nwc_service.store import invoices, ledger, offers
from nwc_service.store.database import Tx
from nwc_service.wallet import keysend
from nwc_service.wallet.bolt11 import MAX_INVOICE_LENGTH
from nwc_service.wallet.invoice import Invoice
from nwc_service.wallet.offer import MAX_NOTE_CHARACTERS, received_through
from nwc_service.wallet.payment import told_time
from nwc_service.wallet.units import BackendName, InvoiceId, Msat


async def unasked(
    tx: Tx, backend: BackendName, report: InvoiceReport, *, amount_msat: Msat, now: int
) -> Invoice | None:
    """The row that it gets, not stored yet; None where it names nobody here."""
    if await invoices.is_known(tx, report.payment_hash):
        return None
    if report.node_offer_id is not None:
        return await _of_offer(tx, backend, report, amount_msat=amount_msat, now=now)
    if report.tlvs is None:
        return None
    name = keysend.keysend_id(report.tlvs)
    account = await ledger.account_of_keysend(tx, name) if name else None
    if account is None:
        return None
    return keysend.unasked(
        invoice_id=InvoiceId(token_hex(16)),
        account_id=account.account_id,
        backend=backend,
        payment_hash=report.payment_hash,
        amount_msat=amount_msat,
        metadata=keysend.metadata(report.tlvs),
        now=now,
    )


async def _of_offer(
    tx: Tx, backend: BackendName, report: InvoiceReport, *, amount_msat: Msat, now: int
) -> Invoice | None:
    name = _storable(report.node_offer_id, at_most=MAX_INVOICE_LENGTH)
    offer = await offers.of_node(tx, backend=backend, node_offer_id=name) if name else None
    if offer is None:
        return None
    invoice = _storable(report.invoice, at_most=MAX_INVOICE_LENGTH)
    if invoice and await invoices.by_string(tx, invoice) is not None:
        invoice = None
    return received_through(
        offer,
        invoice_id=InvoiceId(token_hex(16)),
        payment_hash=report.payment_hash,
        amount_msat=amount_msat,
        now=now,
        invoice=invoice or "",
        expires_at=told_time(report.expires_at) or now,
        payer_note=_storable(report.payer_note, at_most=MAX_NOTE_CHARACTERS),
    )


def _storable(text: str | None, *, at_most: int) -> str | None:
    """A lone surrogate cannot be encoded, PostgreSQL stores no NUL, and a record must fit an
    answer. What does not is left out, for a note "MUST NOT be synthesized or modified"."""
    if text is None or "\0" in text or len(text) > at_most:
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text
