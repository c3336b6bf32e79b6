"""The flow put together: requests in, money moved once, answers out."""

from collections.abc import Callable
from dataclasses import dataclass

from nwc_service.answers import Answers, Clock
from nwc_service.backend import NodeInfo
from nwc_service.config import Settings
from nwc_service.credit import Crediter
from nwc_service.dispatcher import Dispatcher, RequestPolicy
from nwc_service.edges import Edges
from nwc_service.guard import Guard
from nwc_service.methods.method import Wallet
from nwc_service.outbox import Outbox, Publish
from nwc_service.ratelimit import Rate
from nwc_service.receive import Receiver
from nwc_service.reconciler import Reconciler
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
    crediter: Crediter
    reconciler: Reconciler
    dispatcher: Dispatcher


def build_flow(edges: Edges, *, publish: Publish, clock: Clock) -> Flow:
    settings, db, backends = edges.settings, edges.db, edges.backends
    answers = Answers(edges.keyring, clock=clock)
    outbox = Outbox(
        db,
        answers=answers,
        directory=edges.directory,
        publish=publish,
        spawn=edges.spawn,
        clock=clock,
    )
    required_percent = settings.solvency.required_percent
    solvency = Solvency(db, backends=backends, required_percent=required_percent, clock=clock)
    guard = Guard(db, backends=backends, clock=clock)
    spender = Spender(
        db,
        backends=backends,
        answers=answers,
        outbox=outbox,
        keyring=edges.keyring,
        solvency=solvency,
        guard=guard,
        policy=_spend_policy(settings),
        spawn=edges.spawn,
        clock=clock,
    )
    receiver = _receiver(edges, answers=answers, outbox=outbox, clock=clock)
    crediter = Crediter(db, answers=answers, outbox=outbox, clock=clock)
    reconciler = Reconciler(
        db,
        backends=backends,
        spender=spender,
        receiver=receiver,
        crediter=crediter,
        guard=guard,
        clock=clock,
    )
    dispatcher = _dispatcher(
        edges,
        answers=answers,
        outbox=outbox,
        spender=spender,
        receiver=receiver,
        node_info=lambda name: reconciler.node_info.get(name, NodeInfo()),
        clock=clock,
    )
    return Flow(outbox, solvency, guard, spender, receiver, crediter, reconciler, dispatcher)


def _receiver(edges: Edges, *, answers: Answers, outbox: Outbox, clock: Clock) -> Receiver:
    return Receiver(
        edges.db,
        backends=edges.backends,
        answers=answers,
        outbox=outbox,
        keyring=edges.keyring,
        max_age_s=edges.settings.requests.max_mutating_age_s,
        max_open_invoices=edges.settings.invoices.max_open_per_account,
        clock=clock,
    )


def _dispatcher(
    edges: Edges,
    *,
    answers: Answers,
    outbox: Outbox,
    spender: Spender,
    receiver: Receiver,
    node_info: Callable[[BackendName], NodeInfo],
    clock: Clock,
) -> Dispatcher:
    wallet = Wallet(
        db=edges.db,
        backends=edges.backends,
        default_backend=edges.default_backend,
        node_info=node_info,
        announced=edges.methods_of,
        spender=spender,
        receiver=receiver,
        invoice_expiry_s=edges.settings.invoices.expiry_s,
        clock=clock,
    )
    return Dispatcher(
        edges.db,
        wallet=wallet,
        directory=edges.directory,
        keyring=edges.keyring,
        answers=answers,
        outbox=outbox,
        policy=_request_policy(edges.settings),
        spawn=edges.spawn,
        clock=clock,
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
        max_in_progress=requests.max_in_progress,
    )
