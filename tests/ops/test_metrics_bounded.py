"""Whatever strangers and clients send, the number of series stays what it is."""

from secrets import token_hex

from nwc_service.methods import METHODS
from nwc_service.metrics.instruments import FAMILIES, MAX_CHILDREN, OTHER, counters
from nwc_service.metrics.meters import count_refusal, relay_label, request_meter
from nwc_service.relay.pool import RelayPool
from tests.flow.parties import Client
from tests.flow.world import World
from tests.ops.test_metrics import pool_naming
from tests.relay.test_pool import Intake, forged, request_of_other

MANY = 200


def series() -> int:
    return sum(len(list(family.children())) for family in FAMILIES.values())


async def use_hostilely(world: World, client: Client, *, seed: int) -> None:
    for number in range(MANY):
        world.ask(client, f"method_{seed}_{number}")
        world.ask(client, '"},"error":{"code":"MINE')
    await world.tasks.idle()


async def test_methods_that_nobody_knows_are_one_label(world: World, alice: Client) -> None:
    await use_hostilely(world, alice, seed=1)
    before = series()

    await use_hostilely(world, alice, seed=2)

    assert series() == before
    methods = {labels[0] for labels, _ in FAMILIES["nwc_requests_total"].children()}
    assert methods == {*METHODS, OTHER}


async def test_a_code_comes_from_the_list_of_codes_alone(world: World, alice: Client) -> None:
    answer = await world.call(alice, "make_invoice", {"amount": 1, "metadata": {"x": EVIL}})

    assert "result" in answer
    outcomes = {labels[1] for labels, _ in FAMILIES["nwc_requests_total"].children()}
    assert "EVIL" not in outcomes
    request_meter("get_balance").answered("NOT_A_CODE")
    outcomes = {labels[1] for labels, _ in FAMILIES["nwc_requests_total"].children()}
    assert "NOT_A_CODE" not in outcomes


EVIL = {"": "", "error": {"code": "EVIL"}}


def test_relays_of_users_are_one_label() -> None:
    pool: RelayPool = pool_naming("wss://own.example")
    before = series()

    pool.listen((), relays=[f"wss://{token_hex(4)}.example/" for _ in range(MANY)])

    assert {relay.label for relay in pool} == {OTHER}
    assert series() - before <= 5  # the counters of the one label


def test_keys_relays_and_ids_of_strangers_are_no_label() -> None:
    intake = Intake()
    before = series()

    for number in range(MANY):
        event = request_of_other(str(number))
        intake.receive(forged(event), relay=f"wss://{token_hex(4)}.example")
        intake.receive(event, relay=f"wss://{token_hex(4)}.example")
        count_refusal(f"{token_hex(4)}: no")

    assert series() == before


def test_a_family_that_is_given_too_many_labels_all_the_same_stops() -> None:
    family = counters("nwc_test_total", "Only here.", "key")
    try:
        for number in range(2 * MAX_CHILDREN):
            family.of(str(number)).inc()

        children = dict(family.children())
        assert len(children) == MAX_CHILDREN + 1
        assert children[OTHER,].value == MAX_CHILDREN
    finally:
        del FAMILIES["nwc_test_total"]


def test_the_label_of_a_relay_holds_no_secret() -> None:
    assert relay_label("wss://a:b@relay.example:444/x?token=c#d") == "wss://relay.example:444/x"
