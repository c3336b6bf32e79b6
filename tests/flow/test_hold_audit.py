"""The audit sees what is wrong with a hold invoice."""

import pytest

from nwc_service.store.audit import audit_live
from nwc_service.wallet.hold import LONGEST_HOLD_S
from tests.doubles.scripted_backend import ScriptedBackend
from tests.flow.holding import accepted, held_inside, settle
from tests.flow.parties import Client
from tests.flow.world import World


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        pytest.param("UPDATE invoice SET state = 'CANCELED'", "I16", id="ended-alone"),
        pytest.param(
            "UPDATE payment SET state = 'SETTLED', fee_msat = 0, preimage = '00'",
            "I16",
            id="paid-alone",
        ),
        pytest.param("UPDATE invoice SET payer_payment_id = NULL", "I16", id="of-nobody"),
        pytest.param("DELETE FROM cancellation", "I16", id="not-cancelled-at-the-node"),
        pytest.param(
            "UPDATE invoice SET accepted_at = accepted_at + 1", "I16", id="another-time"
        ),
        pytest.param("UPDATE invoice SET settle_deadline = NULL", "I17", id="no-deadline"),
        pytest.param(
            "UPDATE invoice SET is_hold = 0, payer_payment_id = NULL", "I17", id="plain"
        ),
        pytest.param("UPDATE invoice SET preimage = '00'", "I18", id="undecided-preimage"),
        pytest.param("UPDATE invoice SET resolution = 'settle'", "I18", id="no-preimage"),
        pytest.param(
            "UPDATE request SET invoice_id = (SELECT invoice_id FROM invoice)"
            " WHERE method = 'make_hold_invoice'",
            "I13",
            id="answered-before-it-ended",
        ),
    ],
)
async def test_it_is_told(
    world: World, alice: Client, bob: Client, statement: str, number: str
) -> None:
    await held_inside(world, alice, bob)
    before = await world.problems()

    await world.change_schema(statement)

    assert before == ()
    assert number in {problem.partition(":")[0] for problem in await world.problems()}


async def test_settled_to_another_account_is_told(
    world: World, alice: Client, bob: Client
) -> None:
    await held_inside(world, alice, bob)
    await settle(world, alice)
    before = await world.problems()

    await world.change_schema("DROP TRIGGER entry_is_never_updated")
    await world.change_schema("UPDATE entry SET destination = source WHERE kind = 'internal'")

    assert before == ()
    assert any("is booked to" in problem for problem in await world.problems())


@pytest.mark.parametrize("inside", [False, True])
async def test_held_for_too_long_without_an_alarm_is_told(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend, inside: bool
) -> None:
    if inside:
        await held_inside(world, alice, bob)
    else:
        await accepted(world, alice, backend)
    due_s = LONGEST_HOLD_S + 2 * 3600

    found = [
        (await audit_live(world.db, now=world.clock() + after_s, required_percent=0)).problems
        for after_s in (due_s, due_s + 1)
    ]

    assert [len([p for p in problems if "is held since" in p]) for problems in found] == [0, 1]
    assert not any("payment" in problem for problem in found[1])
