"""The flow put together: requests in, money moved once, answers out."""

from collections.abc import Callable
from dataclasses import dataclass

from nwc_service.addresses import lud16_reader
from nwc_service.answers import Answers, Clock
from nwc_service.backend import NodeInfo
from nwc_service.config import Settings
from nwc_service.connections import Announce
from nwc_service.credit import Crediter
from nwc_service.delegation import Delegation
from nwc_service.dispatcher import Dispatcher, RequestPolicy
from nwc_service.edges import Edges
from nwc_service.guard import Guard
from nwc_service.hold_end import HoldEnd
from nwc_service.holds import Holds
from nwc_service.methods.method import Wallet
from nwc_service.nip47.envelope import Shape
from nwc_service.offers import OfferMaker
from nwc_service.outbox import Outbox, Publish
from nwc_service.ratelimit import Rate
from nwc_service.receive import Receiver
from nwc_service.reconciler import Reconciler
from nwc_service.record import Recorder
from nwc_service.solvency import Solvency
from nwc_service.spend import Spender, SpendPolicy
from nwc_service.wallet.payment import FeePolicy
from nwc_service.wallet.units import BackendName, Msat


@dataclass(frozen=True, slots=True)
class Flow:
    outbox: Outbox
    solvency: Solvency
    guard: Guard
    spender: Spender
    receiver: Receiver
    offers: OfferMaker
    crediter: Crediter
    holds: Holds
    reconciler: Reconciler
    dispatcher: Dispatcher


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What most of the flow is made with."""

    edges: Edges
    answers: Answers
    outbox: Outbox
    node_info: Callable[[BackendName], NodeInfo]
    clock: Clock

    def height(self, name: BackendName) -> int | None:
        """None while the node cannot be asked."""
        return self.node_info(name).block_height


def build_flow(edges: Edges, *, publish: Publish, announce: Announce, clock: Clock) -> Flow:
    db, backends = edges.db, edges.backends

    def node_info(name: BackendName) -> NodeInfo:
        return reconciler.node_info.get(name, NodeInfo())

    parts = _parts(edges, publish=publish, node_info=node_info, clock=clock)
    answers, outbox = parts.answers, parts.outbox
    required_percent = edges.settings.solvency.required_percent
    solvency = Solvency(db, backends=backends, required_percent=required_percent, clock=clock)
    guard = Guard(db, backends=backends, clock=clock)
    spender = _spender(parts, solvency=solvency, guard=guard)
    receiver = _receiver(parts)
    offers = _offers(parts)
    hold_end = HoldEnd(answers=answers, recorder=spender.recorder, clock=clock)
    crediter = Crediter(db, answers=answers, hold_end=hold_end, outbox=outbox, clock=clock)
    holds = _holds(parts, recorder=spender.recorder, crediter=crediter, hold_end=hold_end)
    reconciler = Reconciler(
        db,
        backends=backends,
        spender=spender,
        receiver=receiver,
        offers=offers,
        crediter=crediter,
        holds=holds,
        guard=guard,
        clock=clock,
    )
    dispatcher = _dispatcher(
        parts,
        spender=spender,
        receiver=receiver,
        offers=offers,
        holds=holds,
        delegation=_delegation(parts, announce=announce),
    )
    return Flow(
        outbox,
        solvency,
        guard,
        spender,
        receiver,
        offers,
        crediter,
        holds,
        reconciler,
        dispatcher,
    )


def _parts(
    edges: Edges,
    *,
    publish: Publish,
    node_info: Callable[[BackendName], NodeInfo],
    clock: Clock,
) -> _Parts:
    answers = Answers(edges.keyring, clock=clock, shape=_shape(edges.settings))
    outbox = Outbox(
        edges.db,
        answers=answers,
        directory=edges.directory,
        publish=publish,
        spawn=edges.spawn,
        clock=clock,
    )
    return _Parts(edges=edges, answers=answers, outbox=outbox, node_info=node_info, clock=clock)


def _spender(parts: _Parts, *, solvency: Solvency, guard: Guard) -> Spender:
    edges = parts.edges
    return Spender(
        edges.db,
        backends=edges.backends,
        answers=parts.answers,
        outbox=parts.outbox,
        keyring=edges.keyring,
        solvency=solvency,
        guard=guard,
        policy=_spend_policy(edges.settings),
        spawn=edges.spawn,
        height=parts.height,
        clock=parts.clock,
    )


def _receiver(parts: _Parts) -> Receiver:
    edges = parts.edges
    return Receiver(
        edges.db,
        backends=edges.backends,
        answers=parts.answers,
        outbox=parts.outbox,
        keyring=edges.keyring,
        max_age_s=edges.settings.requests.max_mutating_age_s,
        max_open_invoices=edges.settings.invoices.max_open_per_account,
        max_open_holds=edges.settings.invoices.max_open_holds_per_account,
        clock=parts.clock,
    )


def _offers(parts: _Parts) -> OfferMaker:
    edges = parts.edges
    return OfferMaker(
        edges.db,
        backends=edges.backends,
        answers=parts.answers,
        outbox=parts.outbox,
        max_age_s=edges.settings.requests.max_mutating_age_s,
        max_open_offers=edges.settings.invoices.max_open_per_account,
        clock=parts.clock,
    )


def _holds(
    parts: _Parts, *, recorder: Recorder, crediter: Crediter, hold_end: HoldEnd
) -> Holds:
    edges = parts.edges
    return Holds(
        edges.db,
        backends=edges.backends,
        answers=parts.answers,
        outbox=parts.outbox,
        recorder=recorder,
        crediter=crediter,
        hold_end=hold_end,
        height=parts.height,
        longest_hold_s=edges.settings.invoices.longest_hold_s,
        clock=parts.clock,
    )


def _delegation(parts: _Parts, *, announce: Announce) -> Delegation:
    edges = parts.edges
    return Delegation(
        edges.db,
        directory=edges.directory,
        keyring=edges.keyring,
        answers=parts.answers,
        outbox=parts.outbox,
        methods=edges.methods_of,
        announce=announce,
        max_children=edges.settings.connections.max_children,
        clock=parts.clock,
    )


def _dispatcher(
    parts: _Parts,
    *,
    spender: Spender,
    receiver: Receiver,
    offers: OfferMaker,
    holds: Holds,
    delegation: Delegation,
) -> Dispatcher:
    edges = parts.edges
    wallet = Wallet(
        db=edges.db,
        backends=edges.backends,
        backend_name=edges.default_backend,
        node_info=parts.node_info,
        announced=edges.methods_of,
        spender=spender,
        receiver=receiver,
        offers=offers,
        holds=holds,
        delegation=delegation,
        lud16_of=lud16_reader(edges.db, edges.settings.public.domain),
        invoice_expiry_s=edges.settings.invoices.expiry_s,
        clock=parts.clock,
    )
    return Dispatcher(
        edges.db,
        wallet=wallet,
        directory=edges.directory,
        keyring=edges.keyring,
        answers=parts.answers,
        outbox=parts.outbox,
        policy=_request_policy(edges.settings),
        spawn=edges.spawn,
        clock=parts.clock,
    )


def _shape(settings: Settings) -> Shape:
    responses = settings.responses
    return Shape(
        null_error_on_success=responses.null_error_on_success,
        null_result_on_error=responses.null_result_on_error,
    )


def _spend_policy(settings: Settings) -> SpendPolicy:
    payments = settings.payments
    return SpendPolicy(
        fee=FeePolicy(
            floor_msat=Msat(payments.fee_reserve_floor_msat),
            share_ppm=payments.fee_reserve_share_ppm,
        ),
        payment_timeout_s=payments.timeout_s,
        max_open_payments=payments.max_open,
        max_open_payments_per_account=payments.max_open_per_account,
        max_age_s=settings.requests.max_mutating_age_s,
    )


def _request_policy(settings: Settings) -> RequestPolicy:
    requests = settings.requests
    return RequestPolicy(
        max_age_s=requests.max_age_s,
        max_mutating_age_s=requests.max_mutating_age_s,
        max_future_s=requests.max_future_s,
        rate=Rate(per_s=requests.rate_per_s, burst=requests.rate_burst),
        account_rate=Rate(per_s=requests.account_rate_per_s, burst=requests.account_rate_burst),
        max_in_progress=requests.max_in_progress,
    )
