"""The steps of the service: what a replica does next, between any two of which it may crash,
or pause until everything else has moved on."""

from collections.abc import Iterator

from nwc_service.wallet.outcome import Failed, FailReason, InFlight, NotSent, Outcome, Unknown
from nwc_service.wallet.payment import LIVE_STATES, PaymentState, Proof, ProofKind
from tests.model.rules import EPOCHS, NotFound, Operator, Rule
from tests.model.world import (
    EXPIRY,
    NOBODY,
    NODES,
    SETTLED,
    START_MSAT,
    UNPROVEN,
    Call,
    Doing,
    Phase,
    Replica,
    Row,
    Rows,
    State,
    Status,
    Stored,
)

Step = tuple[str, State]

SENT_STATES = (PaymentState.DISPATCHED, PaymentState.UNKNOWN)

UNREACHABLE = NotSent(FailReason.UNAVAILABLE)
TIMEOUT = Unknown("timeout")
NOT_KNOWN = Unknown("not known to the node")
FAILED = Failed(FailReason.NO_ROUTE)
IN_FLIGHT = InFlight()
NEVER_SENT = Proof(ProofKind.NOT_SENT, "too late")
EXPIRED = Proof(ProofKind.EXPIRY, "rule H")
FENCED = Proof(ProofKind.FINAL_STATUS, "rule J")
BY_OPERATOR = Proof(ProofKind.OPERATOR, "looked at")
NO_ANSWER = Proof(ProofKind.FINAL_STATUS, "what a broken rule takes for a proof")


class Service:
    def __init__(self, rule: Rule, rows: Rows) -> None:
        self._rule = rule
        self._rows = rows

    def steps(self, state: State) -> Iterator[Step]:
        for number, replica in enumerate(state.replicas):
            who = f"replica {number + 1}"
            for words, after in self._next(state, number, replica=replica):
                yield f"{who} {words}", after
            if replica != Replica():
                yield f"{who} crashes", self._crashed(state, number)
        if self._rule.operator is not Operator.NOBODY and state.payments:
            yield from self._resolve(state)

    def _next(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        match replica.doing:
            case Doing.NOTHING:
                yield from self._start(state, number, replica=replica)
            case Doing.SENDING:
                yield from self._send(state, number, replica=replica)
            case Doing.WAITING:
                yield from self._hear(state, number, replica=replica)
            case _ if not self._may_write(state, replica):
                yield "is refused by the database, its epoch is over", put(state, number)
            case Doing.ANSWERED:
                yield self._record(state, number, replica=replica)
            case Doing.LOOKED_UP:
                yield from self._act(state, number, replica=replica)

    def _may_write(self, state: State, replica: Replica) -> bool:
        return replica.epoch == state.epoch or not self._rule.checks_epoch

    # --- a replica that does nothing

    def _start(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        if self._rule.has_leases:
            yield from self._take_over(state, number, replica=replica)
            owns = replica.epoch and replica.phase is Phase.READY
            if not owns or not self._may_write(state, replica):
                return
        last = state.payments[-1] if state.payments else None
        if last is None or last.row.payment.state is PaymentState.RELEASED:
            yield from self._reserve(state)
        elif last.row.payment.state is PaymentState.RESERVED:
            yield from self._dispatch(state, number, replica=replica)
        elif last.row.payment.state in LIVE_STATES and self._rule.is_durable:
            yield from self._look_up(state, number, replica=replica)

    def _reserve(self, state: State) -> Iterator[Step]:
        """TX-A. The database refuses what would make the account negative."""
        number = len(state.payments)
        if number == self._rule.payments or state.clock >= EXPIRY:
            return
        nodes = range(len(NODES)) if number else (0,)  # one is enough for the first payment
        for node in nodes:
            row = self._rows.reserved(number, node)
            moved_msat = sum(one.row.moved.available_msat for one in state.payments)
            if START_MSAT + moved_msat + row.moved.available_msat >= 0:
                words = f"reserves payment {number + 1} for {NODES[node]} (TX-A)"
                yield words, state._replace(payments=(*state.payments, Stored(row)))

    def _dispatch(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        """TX-B, or the money back when it is too late."""
        payment, stored = len(state.payments) - 1, state.payments[-1]
        released = self._rows.released(stored.row, NEVER_SENT)
        yield "releases it, never sent", save(state, payment, stored._replace(row=released))
        if state.clock < EXPIRY:
            yield (
                "marks it DISPATCHED (TX-B)",
                self._sending(state, number, replica=replica, row=stored.row),
            )

    def _sending(self, state: State, number: int, *, replica: Replica, row: Row) -> State:
        payment = len(state.payments) - 1
        stored = state.payments[payment]
        is_new_epoch = self._rule.not_found is NotFound.RULE_J and replica.epoch != stored.epoch
        after = Stored(
            self._rows.dispatched(row),
            epoch=replica.epoch,
            sends=1 if is_new_epoch else stored.sends + 1,
        )
        sending = idle(replica)._replace(doing=Doing.SENDING, payment=payment)
        return put(save(state, payment, after), number, sending)

    def _take_over(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        epoch = state.epoch + 1
        if replica.epoch != state.epoch and epoch <= EPOCHS:
            phase = Phase.RAISED if self._rule.revokes else Phase.READY
            taken = put(state, number, Replica(epoch=epoch, phase=phase))
            yield f"takes over, epoch {epoch}", taken._replace(epoch=epoch)
        if replica.phase is Phase.RAISED:
            after = put(state, number, replica._replace(phase=Phase.REVOKED))
            below = max(state.revoked_below, replica.epoch)
            yield "revokes the older credentials", after._replace(revoked_below=below)
        if replica.phase is Phase.REVOKED and self._is_quiet(state, replica):
            # A call that was authorised before has its timeout to become visible.
            ready = replica._replace(phase=Phase.READY)
            words = "has waited a timeout" if self._rule.waits else "does not wait"
            yield f"{words} after that", put(state, number, ready)

    def _is_quiet(self, state: State, replica: Replica) -> bool:
        older = (call for call in state.calls if call.epoch < replica.epoch)
        return not self._rule.waits or not any(call.is_admitted for call in older)

    # --- the send

    def _send(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        refused = replica._replace(doing=Doing.ANSWERED, outcome=UNREACHABLE)
        yield "finds no connection to the node", put(state, number, refused)
        call = Call(
            payment=replica.payment,
            node=state.payments[replica.payment].row.node,
            epoch=replica.epoch,
            caller=number,
        )
        waiting = put(state, number, replica._replace(doing=Doing.WAITING))
        yield "sends it", waiting._replace(calls=tuple(sorted((*state.calls, call))))

    def _hear(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        for node, known in enumerate(state.nodes):
            if known is not None and known.caller == number:
                outcome = told(known.status, node)
                heard = replica._replace(doing=Doing.ANSWERED, outcome=outcome)
                words = f"hears {type(outcome).__name__}"
                yield words, put(forget(state, number), number, heard)
        timed_out = replica._replace(doing=Doing.ANSWERED, outcome=TIMEOUT)
        yield "hears nothing until its timeout", put(forget(state, number), number, timed_out)

    def _record(self, state: State, number: int, *, replica: Replica) -> Step:
        """TX-C."""
        outcome = replica.outcome or NOT_KNOWN
        stored = state.payments[replica.payment]
        if self._rule.releases_unknown and isinstance(outcome, Unknown) and is_live(stored):
            row = self._rows.released(stored.row, NO_ANSWER)
        else:
            row = self._rows.applied(stored.row, outcome)
        after = save(state, replica.payment, stored._replace(row=row))
        words = f"records {type(outcome).__name__} (TX-C)"
        return words, put(after, number, idle(replica))

    # --- the lookup

    def _look_up(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        payment, stored = len(state.payments) - 1, state.payments[-1]
        asked = replica._replace(
            doing=Doing.LOOKED_UP,
            payment=payment,
            was_unpayable=self._rule.not_found is NotFound.RULE_H
            and self._rows.is_unpayable(stored.row, state.clock),
        )
        known = state.nodes[stored.row.node]
        if known is not None and (known.payment == payment or self._rule.looks_up_by_hash):
            yield from self._told(state, number, asked=asked, status=known.status)
        else:
            yield "looks it up: NOT_FOUND", put(state, number, asked)

    def _told(
        self, state: State, number: int, *, asked: Replica, status: Status
    ) -> Iterator[Step]:
        stored = state.payments[asked.payment]
        outcome = told(status, stored.row.node)
        words = f"looks it up: {type(outcome).__name__}"
        yield words, put(state, number, asked._replace(outcome=outcome))
        if status is Status.IN_FLIGHT:
            lied = asked._replace(outcome=UNPROVEN)
            yield "looks it up: Settled, with a wrong preimage", put(state, number, lied)
            if stored.row.payment.accepted_at is not None:
                words = "looks it up: NOT_FOUND, for the node forgot it for a while"
                yield words, put(state, number, asked)

    def _act(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        stored = state.payments[replica.payment]
        done = put(state, number, idle(replica))
        if replica.outcome is not None:
            yield self._record(state, number, replica=replica)
        elif stored.row.payment.state is PaymentState.DISPATCHED:
            unknown = stored._replace(row=self._rows.applied(stored.row, NOT_KNOWN))
            yield "records Unknown (TX-C)", save(state, replica.payment, unknown)
        else:
            yield "leaves it as it is", done
            if stored.row.payment.state is PaymentState.UNKNOWN:
                yield from self._free(state, number, replica=replica)

    def _free(self, state: State, number: int, *, replica: Replica) -> Iterator[Step]:
        """What each rule does about a payment that its node does not know."""
        stored = state.payments[replica.payment]
        proof = self._proof(state, stored=stored, replica=replica)
        if proof is not None:
            released = stored._replace(row=self._rows.released(stored.row, proof))
            after = put(state, number, idle(replica))
            yield f"releases it: {proof.detail}", save(after, replica.payment, released)
        if self._may_resend(state, stored=stored, replica=replica):
            row = stored.row
            if self._rule.not_found is NotFound.OTHER_NODE:
                row = self._rows.repinned(row, (row.node + 1) % len(NODES))
            yield (
                f"marks it DISPATCHED again, for {NODES[row.node]}",
                self._sending(state, number, replica=replica, row=row),
            )

    def _proof(self, state: State, *, stored: Stored, replica: Replica) -> Proof | None:
        match self._rule.not_found:
            case NotFound.RELEASE:
                return None if was_accepted(stored) else NO_ANSWER
            case NotFound.RULE_H if self._rule.judges_late:
                return EXPIRED if self._rows.is_unpayable(stored.row, state.clock) else None
            case NotFound.RULE_H:
                return EXPIRED if replica.was_unpayable else None
            case NotFound.RULE_J:
                return FENCED if self._is_fenced(stored, replica) else None
            case _:
                return None

    def _may_resend(self, state: State, *, stored: Stored, replica: Replica) -> bool:
        if state.clock >= EXPIRY or was_accepted(stored):
            return False
        if self._rule.not_found is NotFound.RULE_J:
            return self._is_fenced(stored, replica)
        return stored.sends < self._rule.sends

    def _is_fenced(self, stored: Stored, replica: Replica) -> bool:
        return stored.epoch < replica.epoch and not was_accepted(stored)

    # --- the operator

    def _resolve(self, state: State) -> Iterator[Step]:
        """He may say what became of what may have been sent, once he has looked."""
        payment, stored = len(state.payments) - 1, state.payments[-1]
        if stored.row.payment.state not in SENT_STATES:
            return
        known = state.nodes[stored.row.node]
        status = known.status if known is not None and known.payment == payment else None
        if status is Status.SETTLED:
            row = self._rows.applied(stored.row, SETTLED[stored.row.node])
            words = "the operator records that it is paid, with the preimage"
        elif self._is_given_up(state, payment, status=status):
            row = self._rows.released(stored.row, BY_OPERATOR)
            words = "the operator records that it was not paid"
        else:
            return
        yield words, save(state, payment, stored._replace(row=row))

    def _is_given_up(self, state: State, payment: int, *, status: Status | None) -> bool:
        is_sending = any(
            replica.doing is Doing.SENDING and replica.payment == payment
            for replica in state.replicas
        )
        is_on_its_way = any(call.payment == payment for call in state.calls)
        is_over = status is not Status.IN_FLIGHT and not is_on_its_way
        match self._rule.operator:
            case Operator.IN_FLIGHT:
                return status is Status.IN_FLIGHT
            case Operator.NOT_FOUND:
                return status is None and not is_sending
            case Operator.NOT_SENDING:
                return is_over
            case _:
                return is_over and not is_sending

    # --- the crash

    def _crashed(self, state: State, number: int) -> State:
        after = put(forget(state, number), number)
        if not self._rule.is_durable and state.payments and is_live(state.payments[-1]):
            after = after._replace(payments=state.payments[:-1])
        return after


def told(status: Status, node: int) -> Outcome:
    return (IN_FLIGHT, SETTLED[node], FAILED)[status]


def is_live(stored: Stored) -> bool:
    return stored.row.payment.state in LIVE_STATES


def was_accepted(stored: Stored) -> bool:
    return stored.row.payment.accepted_at is not None


def idle(replica: Replica) -> Replica:
    return Replica(epoch=replica.epoch, phase=replica.phase)


def save(state: State, payment: int, stored: Stored) -> State:
    before, after = state.payments[:payment], state.payments[payment + 1 :]
    return state._replace(payments=(*before, stored, *after))


def put(state: State, number: int, replica: Replica = Replica()) -> State:  # noqa: B008
    before, after = state.replicas[:number], state.replicas[number + 1 :]
    return state._replace(replicas=(*before, replica, *after))


def forget(state: State, number: int) -> State:
    """Nobody waits for what this replica has sent any more."""
    calls = (
        call._replace(caller=NOBODY) if call.caller == number else call for call in state.calls
    )
    nodes = tuple(
        known._replace(caller=NOBODY) if known is not None and known.caller == number else known
        for known in state.nodes
    )
    return state._replace(calls=tuple(sorted(calls)), nodes=nodes)
