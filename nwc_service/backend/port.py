"""The port itself: every backend is one of these."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from nwc_service.backend.findings import Finding
from nwc_service.backend.reports import (
    Balance,
    Decoded,
    FetchedInvoice,
    HistoryPage,
    InvoiceReport,
    InvoiceSpec,
    KeysendRequest,
    NodeInfo,
    OfferReport,
    OfferSpec,
    PaymentRef,
    PayRequest,
)
from nwc_service.backend.words import Cap, Cursor, ReleaseRule
from nwc_service.wallet.outcome import Outcome
from nwc_service.wallet.payment import PaymentKind
from nwc_service.wallet.units import BackendName, Msat, PaymentHash, Preimage


class LightningBackend(Protocol):
    """One configured node. Only Unsupported, BadRequest and BackendUnavailable may leave it."""

    name: BackendName
    caps: Cap  # may change in `start`, as some are found only then
    release_rules: Mapping[PaymentKind, ReleaseRule]  # a kind that is missing is MANUAL

    def __init__(
        self, name: BackendName, options: Mapping[str, object], *, data_dir: Path
    ) -> None:
        """Check `options`, without I/O. Raises ValueError naming the wrong key."""

    async def start(self) -> NodeInfo:
        """Connect, check and report. May be called again: it then only reports."""

    async def check(self) -> Sequence[Finding]:
        """What its settings come to, for an operator, started or not: each fact, and of what is
        wrong how it is mended. Changes nothing at the node, and shows no secret."""

    async def balance(self) -> Balance: ...

    async def counters(self) -> Mapping[str, int]:
        """Numbers that the node never counts down: one that fell means that it was rolled
        back."""

    def fee_cap_msat(self, amount_msat: Msat) -> Msat | None:
        """The most that this backend may charge where it obeys no fee limit, else None."""

    async def create_invoice(self, spec: InvoiceSpec) -> InvoiceReport: ...

    async def lookup_invoice(self, payment_hash: PaymentHash) -> InvoiceReport | None: ...

    async def decode(self, invoice: str) -> Decoded:
        """How the node itself reads the invoice. Raises Unsupported, BackendUnavailable, and
        BadRequest (it cannot read it or would not pay it)."""

    async def fetch_invoice(
        self, offer: str, *, amount_msat: Msat | None, payer_note: str | None
    ) -> FetchedInvoice:
        """Ask an offer's payee for an invoice; nothing is paid (Cap.BOLT12_SEND).

        Each call gives another, which `pay` takes as any other. Raises Unsupported,
        BackendUnavailable, and BadRequest: for an offer that is unreadable, of another network,
        expired or the node's own, for an amount that it does not ask for or that is missing,
        and where its payee does not answer.
        """

    async def create_offer(self, spec: OfferSpec) -> OfferReport:
        """A BOLT12 offer that stays payable without the service (Cap.BOLT12_RECEIVE). Raises
        Unsupported, BadRequest and BackendUnavailable."""

    async def pay(self, request: PayRequest | KeysendRequest) -> Outcome:
        """Send, and wait up to `timeout_s` (and a little grace) for the end.

        Never raises for an uncertain result: that is `Unknown`. Does not retry. A keysend
        whose preimage another payment used before is NotSent.
        """

    async def lookup_payment(self, ref: PaymentRef) -> Outcome | None:
        """None: the backend knows nothing of it now, which by itself proves nothing.

        Only what became of the send of this `our_id` may be reported: an earlier attempt of
        the same hash that failed proves nothing about this one.
        """

    def watch_invoices(
        self, since: Cursor | None
    ) -> AsyncIterator[tuple[InvoiceReport, Cursor | None]]:
        """Settled (and accepted) invoices, each at least once, for as long as it is read."""

    async def list_history(
        self, side: Literal["in", "out"], cursor: Cursor | None, limit: int
    ) -> HistoryPage: ...

    async def resolve_hold(
        self, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> InvoiceReport:
        """Settle what is accepted with the preimage, or cancel with None what is open or
        accepted (Cap.HOLD).

        Idempotent: what has come about already is reported again. Raises Unsupported,
        BackendUnavailable, and BadRequest where it is not so: no hold invoice has this hash,
        the preimage is of another, nobody has paid yet, it was canceled (as by the node itself
        at the `settle_deadline`), or settled.
        """

    async def cancel_invoice(self, payment_hash: PaymentHash) -> None:
        """So that an invoice paid inside the ledger cannot be paid again. Idempotent; one that
        is settled stays so. A held payment goes back."""

    async def sign_message(self, message: str) -> str:
        """As LND and CLN do (Cap.SIGN): zbase32 of the recoverable signature by the node's key
        over "Lightning Signed Message:" and the message, hashed twice."""

    async def command(self, name: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """An operator's command that only this backend has. Raises Unsupported, BadRequest."""

    async def close(self) -> None: ...


class BakeCommand(Protocol):
    """What a backend class may have as `bake_command` where its node makes credentials."""

    def __call__(self, *, save_to: str | None, root_key_id: int | None) -> str:
        """The command that makes one with the rights that are needed and no more. Raises
        BadRequest for a wish that this node does not know."""
