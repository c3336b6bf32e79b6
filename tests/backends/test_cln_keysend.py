"""Keysends by a route, an onion and one part; what every node does is in the contract."""

from collections.abc import AsyncIterator, Mapping

import pytest

from backends._checks import hash_of
from backends.cln import ClnBackend
from nwc_service.backend import (
    Failed,
    FailReason,
    InFlight,
    KeysendRequest,
    NotSent,
    PaymentRef,
    Settled,
    Unknown,
)
from nwc_service.wallet.units import Msat, Preimage
from tests.backends.cln_double import Attempt, ClnDouble, Fault, cln_double
from tests.backends.cln_keysends import FEE_MSAT, NAMES_OF_25_12
from tests.backends.cln_rows import OUTSIDE_ID, RpcFail, a_backend, a_part, a_request, shape

KEY_PREIMAGE = Preimage("34" * 32)
BOOSTAGRAM = 7629169
NO_TLVS: Mapping[int, bytes] = {}


@pytest.fixture
async def double() -> AsyncIterator[ClnDouble]:
    async with cln_double() as opened:
        yield opened


@pytest.fixture(params=["socket", "rest"])
async def backend(
    double: ClnDouble, request: pytest.FixtureRequest
) -> AsyncIterator[ClnBackend]:
    opened = a_backend(**double.options(request.param))
    await opened.start()
    yield opened
    await opened.close()


def a_keysend(
    *, our_id: str = "our_id", tlvs: Mapping[int, bytes] = NO_TLVS, max_fee_msat: int = 2_000
) -> KeysendRequest:
    return KeysendRequest(
        our_id=our_id,
        destination=OUTSIDE_ID,
        amount_msat=Msat(21_000),
        preimage=KEY_PREIMAGE,
        tlvs=tlvs,
        max_fee_msat=Msat(max_fee_msat),
        timeout_s=0.3,
    )


def ref(request: KeysendRequest, dispatched_at: int = 0) -> PaymentRef:
    return PaymentRef(request.our_id, hash_of(request), dispatched_at)


@pytest.mark.parametrize("names", [{}, NAMES_OF_25_12], ids=["26.06", "25.12"])
async def test_the_payee_gets_the_preimage_and_the_records(
    double: ClnDouble, backend: ClnBackend, names: Mapping[str, str]
) -> None:
    double.core.keysends.names = names
    tlvs = {BOOSTAGRAM: b"boost", 2**64 - 1: b"", 65_536: b"\0"}

    outcome = await backend.pay(a_keysend(tlvs=tlvs))

    assert isinstance(outcome, Settled)
    assert (outcome.preimage, outcome.fee_msat) == (KEY_PREIMAGE, FEE_MSAT)
    assert double.core.keysends.came == [tlvs]


async def test_what_sends_money_shares_no_connection_that_may_die_under_it(
    double: ClnDouble,
) -> None:
    backend = a_backend(**double.options("rest"))
    await backend.start()
    await backend.pay(a_keysend())
    await backend.pay(a_request())
    await backend.close()

    alone = [
        methods for methods in double.shared if {"injectpaymentonion", "xpay"} & {*methods}
    ]
    assert alone == [["injectpaymentonion"], ["xpay"]]


async def test_the_part_has_our_name_for_it(double: ClnDouble, backend: ClnBackend) -> None:
    await backend.pay(a_keysend(our_id="mine"))

    [part] = double.core.parts
    assert part["label"] == "mine"


@pytest.mark.attack("A3")
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"amount_msat": 20_999}, id="less-arrives"),
        pytest.param({"final_cltv": 20}, id="another-cltv"),
        pytest.param({"path": []}, id="no-path"),
        pytest.param({"path": "first"}, id="to-somebody-else"),
        pytest.param({"path": "dear"}, id="dearer-than-allowed"),
        pytest.param({"path": "long"}, id="longer-than-any"),
        pytest.param({"path": "garbage"}, id="not-a-channel"),
    ],
)
async def test_a_route_that_was_not_asked_for_is_not_taken(
    double: ClnDouble, backend: ClnBackend, changed: Mapping[str, object]
) -> None:
    step: dict[str, object] = {
        "short_channel_id_dir": "103x1x0/1",
        "node_id_out": OUTSIDE_ID,
        "amount_in_msat": 22_000,
        "cltv_in": 48,
    }
    paths: dict[object, list[Mapping[str, object]]] = {
        "first": [step | {"node_id_out": "02" + "11" * 32}],
        "dear": [step | {"amount_in_msat": 23_001}],
        "long": [step | {"cltv_in": 2017}],
        "garbage": [step | {"short_channel_id_dir": "../.."}],
    }
    path = changed.get("path")
    double.core.keysends.changed = dict(changed) | (
        {"path": paths[path]} if isinstance(path, str) else {}
    )

    outcome = await backend.pay(a_keysend())

    assert shape(outcome) == (NotSent, FailReason.UNAVAILABLE)
    assert double.core.of("injectpaymentonion") == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (205, FailReason.NO_ROUTE),
        (206, FailReason.FEE_TOO_HIGH),
        (215, FailReason.INSUFFICIENT_BALANCE),
        (220, FailReason.NO_ROUTE),
        (-32602, FailReason.BAD_REQUEST),
        (-1, FailReason.OTHER),
    ],
)
async def test_without_a_route_nothing_is_sent(
    double: ClnDouble, backend: ClnBackend, code: int, reason: FailReason
) -> None:
    double.core.script["getroutes"] = RpcFail(code, "no")

    assert shape(await backend.pay(a_keysend())) == (NotSent, reason)
    assert double.core.of("injectpaymentonion") == []


@pytest.mark.attack("A4")
@pytest.mark.parametrize("method", ["getroutes", "getinfo", "createonion"])
async def test_a_reply_lost_before_the_send_sends_nothing(
    double: ClnDouble, backend: ClnBackend, method: str
) -> None:
    double.faults[method] = Fault.AFTER_COMMIT

    assert shape(await backend.pay(a_keysend())) == (NotSent, FailReason.UNAVAILABLE)
    assert double.core.of("injectpaymentonion") == []


@pytest.mark.attack("A4")
@pytest.mark.parametrize("fault", [Fault.AFTER_COMMIT, Fault.MID_REPLY, Fault.HANG])
async def test_a_lost_answer_is_found_in_the_list(
    double: ClnDouble, backend: ClnBackend, fault: Fault
) -> None:
    double.faults["injectpaymentonion"] = fault

    outcome = await backend.pay(a_keysend())

    assert isinstance(outcome, Settled)
    assert len(double.core.of("injectpaymentonion")) == 1


@pytest.mark.attack("A4")
async def test_a_call_that_was_read_and_not_done_stays_unknown(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.faults["injectpaymentonion"] = Fault.AFTER_READ

    assert isinstance(await backend.pay(a_keysend()), Unknown)
    assert await backend.lookup_payment(ref(a_keysend())) is None
    assert double.core.of("injectpaymentonion") == []  # another call would be there


async def test_what_the_payee_refuses_has_failed(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.keysends.refuses = True

    outcome = await backend.pay(a_keysend())

    assert isinstance(outcome, Failed)
    assert len(double.core.of("injectpaymentonion")) == 1


@pytest.mark.attack("A4")
async def test_an_error_while_the_part_is_out_is_not_the_end(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt(["pending"], error=(218, "WIRE_TEMPORARY_NODE_FAILURE"))]

    assert isinstance(await backend.pay(a_keysend()), InFlight)


@pytest.mark.attack("A4")
@pytest.mark.parametrize("code", [None, -4, -5])
async def test_an_error_of_a_node_that_stops_is_not_the_end(
    double: ClnDouble, backend: ClnBackend, code: int | None
) -> None:
    double.core.attempts = [Attempt([], error=(code, "stopping"))]

    assert isinstance(await backend.pay(a_keysend()), Unknown)


async def test_a_local_refusal_without_a_part_sent_nothing(
    double: ClnDouble, backend: ClnBackend
) -> None:
    double.core.attempts = [Attempt([], error=(218, "WIRE_UNKNOWN_NEXT_PEER"))]

    assert isinstance(await backend.pay(a_keysend()), NotSent)


async def test_a_part_that_failed_after_a_lost_answer_has_failed_at_once(
    double: ClnDouble, backend: ClnBackend
) -> None:
    """No other route is tried, so there is nothing to wait for."""
    double.core.keysends.refuses = True
    double.faults["injectpaymentonion"] = Fault.AFTER_COMMIT

    assert isinstance(await backend.pay(a_keysend()), Failed)


@pytest.mark.attack("A4")
async def test_the_same_keysend_asked_for_after_a_restart_is_looked_up(
    double: ClnDouble, backend: ClnBackend
) -> None:
    first = await backend.pay(a_keysend())
    await backend.close()
    await backend.start()

    assert await backend.pay(a_keysend()) == first
    assert len(double.core.of("injectpaymentonion")) == 1


@pytest.mark.attack("A12")
@pytest.mark.parametrize("status", ["pending", "failed", "complete"])
async def test_a_hash_that_another_payment_had_is_not_sent(
    double: ClnDouble, backend: ClnBackend, status: str
) -> None:
    request = a_keysend()
    double.core.parts.append(a_part(status, index=1, payment_hash=hash_of(request)))

    assert shape(await backend.pay(request)) == (NotSent, FailReason.REJECTED)
    assert double.core.of("injectpaymentonion") == []


async def test_a_wrong_preimage_proves_nothing(double: ClnDouble, backend: ClnBackend) -> None:
    double.core.script["injectpaymentonion"] = {
        "created_index": 1,
        "created_at": 1,
        "completed_at": 2,
        "payment_preimage": "56" * 32,
    }

    assert isinstance(await backend.pay(a_keysend()), Unknown)
