"""pay_keysend (NWC-04), and keysends that come in: money without an invoice."""

from dataclasses import replace

import pytest

from nwc_service.backend import Failed, FailReason, KeysendRequest, NodeInfo, Unknown
from nwc_service.inside import HASH_IN_USE
from nwc_service.store import ledger
from nwc_service.wallet.keysend import ACCOUNT_TLV, PREIMAGE_TLV
from nwc_service.wallet.payment import PaymentKind, PaymentState
from tests.doubles.scripted_backend import (
    OUTSIDE_PUBKEY,
    SERVICE_PUBKEY,
    ScriptedBackend,
    hash_of,
    outside_invoice,
    preimage_of,
)
from tests.flow.conftest import CREDIT_MSAT, Open
from tests.flow.parties import Client, Clock, JsonObject
from tests.flow.world import FEE_RESERVE_MSAT, World

AMOUNT_MSAT = 100_000
FEE_MSAT = 1_000
BOOSTAGRAM = {"type": 7_629_169, "value": b'{"podcast":"x"}'.hex()}  # bLIP-10


def params(**others: object) -> dict[str, object]:
    return {"amount": AMOUNT_MSAT, "pubkey": OUTSIDE_PUBKEY, **others}


async def keysend_id(world: World, account: str) -> str:
    found = await world.db.read(lambda tx: ledger.account_named(tx, account))
    assert found is not None
    assert found.keysend_id is not None
    return found.keysend_id


def naming(account_id: str) -> list[JsonObject]:
    return [{"type": ACCOUNT_TLV, "value": account_id.encode().hex()}]


def known_as(world: World, pubkey: str) -> None:
    """The node says who it is."""
    world.reconciler.node_info[world.backend.name] = NodeInfo(pubkey=pubkey)


# --- out


async def test_a_keysend_pays_with_a_preimage_that_the_service_chose(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-04: "preimage of the payment, optional"."""
    answer = await world.call(alice, "pay_keysend", params(tlv_records=[BOOSTAGRAM]))

    [sent] = backend.keysent
    assert answer["result"] == {"preimage": sent.preimage, "fees_paid": FEE_MSAT}
    assert sent.destination == OUTSIDE_PUBKEY
    assert sent.tlvs == {7_629_169: b'{"podcast":"x"}'}
    assert sent.max_fee_msat == FEE_RESERVE_MSAT
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT - FEE_MSAT, 0)
    assert await world.problems() == ()


async def test_the_clients_own_preimage_is_the_one_that_is_sent(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-04: "preimage of the payment, optional"."""
    answer = await world.call(alice, "pay_keysend", params(preimage=preimage_of(1)))

    assert answer["result"]["preimage"] == preimage_of(1)
    assert [sent.preimage for sent in backend.keysent] == [preimage_of(1)]


@pytest.mark.parametrize("given", [{}, {"preimage": preimage_of(1)}], ids=["alone", "twice"])
async def test_the_preimages_own_record_says_the_preimage(
    world: World, alice: Client, backend: ScriptedBackend, given: JsonObject
) -> None:
    """NIP-47's own example of pay_keysend has a record of type 5482373484; the node adds it."""
    record = {"type": PREIMAGE_TLV, "value": preimage_of(1)}

    answer = await world.call(
        alice, "pay_keysend", params(tlv_records=[record, BOOSTAGRAM], **given)
    )

    [sent] = backend.keysent
    assert answer["result"]["preimage"] == sent.preimage == preimage_of(1)
    assert set(sent.tlvs) == {BOOSTAGRAM["type"]}


async def test_the_records_are_listed_under_metadata_as_nwc_06_has_them(
    world: World, alice: Client
) -> None:
    """NWC-06: `tlv_records` is a recognised key. NWC-04: "MAY include `tlv_records` in metadata
    where relevant"."""
    await world.call(alice, "pay_keysend", params(tlv_records=[BOOSTAGRAM]))

    answer = await world.call(alice, "list_transactions")
    [listed] = answer["result"]["transactions"]
    assert listed["metadata"] == {"tlv_records": [BOOSTAGRAM]}
    assert listed["invoice"] == ""
    assert listed["type"] == "outgoing"


@pytest.mark.parametrize("name", ["amount", "pubkey"])
async def test_a_keysend_names_its_amount_and_its_payee(
    world: World, alice: Client, backend: ScriptedBackend, name: str
) -> None:
    """NWC-04: "invoice amount in msats, required"; "payee pubkey, required"."""
    without = {key: value for key, value in params().items() if key != name}

    answer = await world.call(alice, "pay_keysend", without)

    assert answer["error"]["code"] == "OTHER"
    assert answer["error"]["message"].startswith(name)
    assert backend.keysent == []


@pytest.mark.attack("A13")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"pubkey": "02" + "00" * 32}, "pubkey"),
        ({"pubkey": OUTSIDE_PUBKEY[2:]}, "pubkey"),
        ({"amount": 0}, "amount"),
        ({"amount": 1.0}, "amount"),
        ({"preimage": "ab" * 31}, "preimage"),
        ({"tlv_records": [{"type": PREIMAGE_TLV, "value": "00" * 31}]}, "preimage"),
        ({"tlv_records": [{"type": PREIMAGE_TLV, "value": ""}]}, "preimage"),
        (
            {
                "preimage": preimage_of(1),
                "tlv_records": [{"type": PREIMAGE_TLV, "value": preimage_of(2)}],
            },
            "preimage",
        ),
        ({"tlv_records": [{"type": 1, "value": "00"}]}, "tlv_records.0.type"),
        ({"tlv_records": [{"type": -1, "value": "00"}]}, "tlv_records.0.type"),
        ({"tlv_records": [{"type": 2**64, "value": "00"}]}, "tlv_records.0.type"),
        ({"tlv_records": [{"type": 70_000, "value": "0"}]}, "tlv_records.0.value"),
        ({"tlv_records": [BOOSTAGRAM, BOOSTAGRAM]}, "twice"),
        ({"tlv_records": [{"type": 70_000, "value": "00" * 1001}]}, "1000 bytes"),
    ],
)
async def test_what_no_node_may_be_asked_to_send_is_refused_in_the_fields_words(
    world: World, alice: Client, backend: ScriptedBackend, wrong: JsonObject, says: str
) -> None:
    answer = await world.call(alice, "pay_keysend", params(**wrong))

    assert answer["error"]["code"] == "OTHER"
    assert says in answer["error"]["message"]
    assert backend.keysent == []
    assert await world.money("alice") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A13")
async def test_a_preimage_that_was_used_is_never_paid_again(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """bLIP-3: who forwarded the first one knows it."""
    await world.call(alice, "pay_keysend", params(preimage=preimage_of(1)))

    again = await world.call(alice, "pay_keysend", params(preimage=preimage_of(1)))
    other = await world.call(bob, "pay_keysend", params(preimage=preimage_of(1)))

    assert again["result"]["preimage"] == preimage_of(1)  # the stored success
    assert other["error"]["code"] == "OTHER"
    assert len(backend.keysent) == 1
    assert await world.money("bob") == (CREDIT_MSAT, 0)


async def test_the_same_preimage_for_another_node_is_another_wish(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    await world.call(alice, "pay_keysend", params(preimage=preimage_of(1)))

    other = await world.call(
        alice, "pay_keysend", params(preimage=preimage_of(1), pubkey=SERVICE_PUBKEY)
    )

    assert other["error"]["code"] == "OTHER"
    assert len(backend.keysent) == 1


@pytest.mark.attack("A4", "A12")
async def test_one_with_the_preimage_of_what_was_sent_and_given_back_is_not_sent(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """The node may have paid that after all, and would call this one paid by it: for another
    amount, of another account."""
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT // 2, created_at=world.clock())
    await world.call(alice, "pay_invoice", {"invoice": invoice})
    backend.known[hash_of(preimage_of(1))] = backend.settled(hash_of(preimage_of(1)))

    refused = await world.call(bob, "pay_keysend", params(preimage=preimage_of(1)))

    assert refused["error"]["code"] == "OTHER"
    assert refused["error"]["message"] == HASH_IN_USE
    assert backend.keysent == []
    assert await world.problems() == ()


@pytest.mark.attack("A4", "A12")
async def test_an_invoice_of_a_keysends_hash_is_not_paid_once_that_was_sent(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Its payee knows the preimage, and may ask for more with it."""
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    await world.call(alice, "pay_keysend", params(preimage=preimage_of(1)))
    backend.expect(1)
    invoice = outside_invoice(1, 2 * AMOUNT_MSAT, created_at=world.clock())

    refused = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert refused["error"]["message"] == HASH_IN_USE
    assert backend.sent == []
    assert await world.money("alice") == (CREDIT_MSAT, 0)


async def test_the_same_invoice_may_be_tried_again_once_it_has_failed(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))
    backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())

    failed = await world.call(alice, "pay_invoice", {"invoice": invoice})
    paid = await world.call(alice, "pay_invoice", {"invoice": invoice})

    assert failed["error"]["code"] == "PAYMENT_FAILED"
    assert paid.get("error") is None


async def test_a_failed_keysend_gives_everything_back(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """NWC-04: "`PAYMENT_FAILED`: The payment failed"."""
    backend.pay_script.append(Failed(FailReason.NO_ROUTE))

    answer = await world.call(alice, "pay_keysend", params())

    assert answer["error"]["code"] == "PAYMENT_FAILED"
    assert await world.money("alice") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A4")
async def test_one_whose_outcome_is_unknown_is_held_for_ever_until_the_node_or_a_human_knows(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """It expires nowhere, so rule H never holds."""
    backend.pay_script.append(Unknown("the reply was lost"))
    backend.lookup_script.extend([None] * 9)

    world.ask(alice, "pay_keysend", params(preimage=preimage_of(1)))
    await world.tasks.idle()
    for _ in range(3):
        await world.look_up(after_s=10 * 86_400)

    payment = await world.payment(hash_of(preimage_of(1)))
    assert (payment.kind, payment.state) == (PaymentKind.KEYSEND, PaymentState.UNKNOWN)
    assert payment.unpayable_at is None
    assert await world.money("alice") == (
        CREDIT_MSAT - AMOUNT_MSAT - FEE_RESERVE_MSAT,
        AMOUNT_MSAT + FEE_RESERVE_MSAT,
    )
    assert "payment_stuck" in await world.alarms()


async def test_after_a_crash_a_reserved_one_is_sent_as_it_was_asked(
    start: Open, backend: ScriptedBackend, clock: Clock
) -> None:
    """RESERVED is proof that nothing was sent, and the row has all that is needed."""
    async with start() as world:
        await world.account("alice", credit_msat=CREDIT_MSAT)
        alice = await world.connect("alice")
        backend.pay_gate.clear()
        world.spender._start = lambda payment: None  # type: ignore[method-assign]
        request = world.ask(
            alice, "pay_keysend", params(preimage=preimage_of(1), tlv_records=[BOOSTAGRAM])
        )
        await world.tasks.idle()
        assert backend.keysent == []
    backend.pay_gate.set()
    async with start() as world:
        await world.look_up()

        [sent] = backend.keysent
        assert isinstance(sent, KeysendRequest)
        assert sent.preimage == preimage_of(1)
        assert sent.tlvs == {7_629_169: b'{"podcast":"x"}'}
        assert world.answer(alice, request)["result"]["preimage"] == preimage_of(1)


# --- to an account of this service


async def test_a_keysend_to_the_own_node_moves_the_money_inside(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """Section 4, "keysend inward": "TLV 696969 carries an account's random keysend id and only
    ever selects who is credited"."""
    known_as(world, SERVICE_PUBKEY)
    records = [*naming(await keysend_id(world, "bob")), BOOSTAGRAM]

    answer = await world.call(
        alice, "pay_keysend", params(pubkey=SERVICE_PUBKEY, tlv_records=records)
    )

    assert answer["result"]["fees_paid"] == 0
    assert backend.keysent == []
    assert await world.money("alice") == (CREDIT_MSAT - AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    [told] = world.notifications(bob)
    assert told["notification_type"] == "payment_received"
    assert told["notification"]["amount"] == AMOUNT_MSAT
    assert BOOSTAGRAM in told["notification"]["metadata"]["tlv_records"]
    assert await world.problems() == ()


@pytest.mark.attack("A20")
@pytest.mark.parametrize("records", [[], naming("nobody"), [BOOSTAGRAM]])
async def test_one_to_the_own_node_that_names_nobody_is_refused(
    world: World, alice: Client, backend: ScriptedBackend, records: list[JsonObject]
) -> None:
    known_as(world, SERVICE_PUBKEY)

    answer = await world.call(
        alice, "pay_keysend", params(pubkey=SERVICE_PUBKEY, tlv_records=records)
    )

    assert answer["error"]["code"] == "PAYMENT_FAILED"
    assert backend.keysent == []
    assert await world.money("alice") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A9")
async def test_a_keysend_to_oneself_changes_nothing_but_the_history(
    world: World, alice: Client
) -> None:
    known_as(world, SERVICE_PUBKEY)
    records = naming(await keysend_id(world, "alice"))

    answer = await world.call(
        alice, "pay_keysend", params(pubkey=SERVICE_PUBKEY, tlv_records=records)
    )

    assert answer["result"]["fees_paid"] == 0
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()


# --- in


async def test_a_keysend_that_names_an_account_is_credited_to_it(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """Section 4, "keysend inward": "TLV 696969 carries an account's random keysend id and only
    ever selects who is credited"."""
    tlvs = {ACCOUNT_TLV: (await keysend_id(world, "alice")).encode(), PREIMAGE_TLV: b"\1" * 32}

    backend.receive_keysend(1, AMOUNT_MSAT, tlvs)
    await world.follow_the_stream()
    await world.follow_the_stream()  # and once only

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    [told] = world.notifications(alice)
    assert told["notification"]["invoice"] == ""
    assert told["notification"]["preimage"] == preimage_of(1)
    [record] = told["notification"]["metadata"]["tlv_records"]
    assert record["type"] == ACCOUNT_TLV  # and never the preimage's
    assert await world.problems() == ()


@pytest.mark.attack("A20")
async def test_an_account_named_beside_an_invoice_of_ours_gains_nothing(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    """Section 4, "keysend inward": "TLV 696969 carries an account's random keysend id and only
    ever selects who is credited"."""
    made = await world.invoice(alice, AMOUNT_MSAT)
    tlvs = {ACCOUNT_TLV: (await keysend_id(world, "bob")).encode()}
    report = replace(backend.receive(made["payment_hash"]), tlvs=tlvs)

    await world.crediter.credit(backend.name, report)

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert await world.money("bob") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A17")
@pytest.mark.parametrize(
    "tlvs", [{}, {ACCOUNT_TLV: b"nobody"}, {ACCOUNT_TLV: b"\xff\0"}, {ACCOUNT_TLV: b""}]
)
async def test_one_that_names_nobody_waits_in_suspense(
    world: World, alice: Client, backend: ScriptedBackend, tlvs: dict[int, bytes]
) -> None:
    """Section 4, "keysend inward": "unknown goes to the suspense account"."""
    backend.receive_keysend(1, AMOUNT_MSAT, tlvs)

    await world.follow_the_stream()

    assert await world.book("suspense") == AMOUNT_MSAT
    assert await world.alarms() == ["unattributed"]
    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()


@pytest.mark.attack("A17")
async def test_records_too_long_to_keep_do_not_keep_the_money(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    tlvs = {ACCOUNT_TLV: (await keysend_id(world, "alice")).encode(), 70_000: b"x" * 60_000}

    backend.receive_keysend(1, AMOUNT_MSAT, tlvs)
    await world.follow_the_stream()

    assert await world.money("alice") == (CREDIT_MSAT + AMOUNT_MSAT, 0)
    assert "metadata" not in world.notifications(alice)[0]["notification"]


async def test_one_that_waited_before_its_account_had_a_name_stays_where_it_is(
    world: World, alice: Client, backend: ScriptedBackend
) -> None:
    """A receipt is credited once; the operator assigns what waits."""
    backend.receive_keysend(1, AMOUNT_MSAT, {ACCOUNT_TLV: b"later"})
    await world.follow_the_stream()
    await world.change_schema("UPDATE account SET keysend_id = 'later'")

    await world.follow_the_stream()

    assert await world.money("alice") == (CREDIT_MSAT, 0)
    assert await world.problems() == ()
