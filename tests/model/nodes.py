"""The steps of the world outside: the nodes, their payees, the network and the clock.

A node checks the expiry by its own clock, which may be off by the allowed skew, and the
credential; within the timeout of the call it then has it, if it is not paying or has not paid
that hash before. After a failure it takes the hash again, as LND does. What does not expire
it takes whenever that arrives, or refuses it for another reason.
"""

from collections.abc import Iterator

from nwc_service.wallet.outcome import Failed, FailReason, NotSent
from nwc_service.wallet.payment import CLOCK_SKEW_S
from tests.model.service import Step, put
from tests.model.world import (
    EXPIRY,
    LAST_ADMITTED,
    LAST_REGISTERED,
    LONG_AFTER,
    NOBODY,
    NODES,
    NOW,
    Call,
    Doing,
    Known,
    State,
    Status,
)

CLOCKS = (NOW, LAST_ADMITTED, LAST_REGISTERED, LONG_AFTER)

EXPIRED = Failed(FailReason.EXPIRED)
NO_ROUTE = Failed(FailReason.NO_ROUTE)
REVOKED = NotSent(FailReason.REJECTED, "the credential is revoked")


def steps(state: State, *, expires: bool) -> Iterator[Step]:
    for place, call in enumerate(state.calls):
        gone = state._replace(calls=state.calls[:place] + state.calls[place + 1 :])
        sent = _words(call)
        if call.is_admitted:
            yield sent.format("now has"), _registered(gone, call)
        else:
            yield from _arrive(gone, call, sent=sent, expires=expires)
    for node, known in enumerate(state.nodes):
        if known is not None and known.status is Status.IN_FLIGHT:
            yield f"{NODES[node]} has paid", _end(state, node, status=Status.SETTLED)
            yield f"{NODES[node]} has failed", _end(state, node, status=Status.FAILED)
    if state.clock != CLOCKS[-1]:
        yield _tick(state, expires=expires)


def _words(call: Call) -> str:
    epoch = f" of epoch {call.epoch}" if call.epoch else ""
    return f"{NODES[call.node]} {{}} the call of payment {call.payment + 1}{epoch}"


def _arrive(gone: State, call: Call, *, sent: str, expires: bool) -> Iterator[Step]:
    if call.epoch < gone.revoked_below:
        yield from _refuse(gone, call, sent=sent, outcome=REVOKED)
        return
    if gone.clock <= LAST_ADMITTED or not expires:
        admitted = call._replace(is_admitted=True)
        after = gone._replace(calls=tuple(sorted((*gone.calls, admitted))))
        yield sent.format("lets in"), after
    if not expires:
        yield from _refuse(gone, call, sent=sent, outcome=NO_ROUTE)
    elif gone.clock >= EXPIRY - CLOCK_SKEW_S:
        yield from _refuse(gone, call, sent=sent, outcome=EXPIRED)


def _refuse(gone: State, call: Call, *, sent: str, outcome: Failed | NotSent) -> Iterator[Step]:
    yield sent.format("refuses, and the reply is lost,"), gone
    if call.caller != NOBODY:
        replica = gone.replicas[call.caller]
        told = replica._replace(doing=Doing.ANSWERED, outcome=outcome)
        yield sent.format("refuses"), put(gone, call.caller, told)


def _registered(gone: State, call: Call) -> State:
    known = gone.nodes[call.node]
    if known is not None and known.status is not Status.FAILED:
        return gone  # it has the hash already; whoever waits learns nothing
    return _know(gone, call.node, Known(call.payment, Status.IN_FLIGHT, call.caller))


def _end(state: State, node: int, *, status: Status) -> State:
    known = state.nodes[node]
    assert known is not None
    return _know(state, node, known._replace(status=status))


def _know(state: State, node: int, known: Known) -> State:
    nodes = (*state.nodes[:node], known, *state.nodes[node + 1 :])
    return state._replace(nodes=nodes)


def _tick(state: State, *, expires: bool) -> Step:
    clock = CLOCKS[CLOCKS.index(state.clock) + 1]
    calls = state.calls
    if clock > LAST_REGISTERED and expires:
        calls = tuple(call for call in calls if not call.is_admitted)
    after = state._replace(clock=clock, calls=calls)
    return f"the clock says {clock - EXPIRY:+} s from the expiry", after
