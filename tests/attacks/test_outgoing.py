"""Attacks on money that leaves, of which no other test tells in these words."""

import ast
import socket
from pathlib import Path
from typing import Any

import pytest

from nwc_service.methods import METHODS
from tests.doubles.scripted_backend import ScriptedBackend, outside_invoice
from tests.flow.conftest import CREDIT_MSAT
from tests.flow.parties import Client
from tests.flow.world import World

AMOUNT_MSAT = 100_000
PRODUCT = Path(__file__).parents[2] / "nwc_service"
LNURL = "LNURL1DP68GURN8GHJ7MRWW4EXCTNXD9SHG6NPVCHXXMMD9AKXUATJDSKHQCTE8AEK2"
NOT_OFFERED = (
    "pay_offer",
    "pay_lnurl",
    "redeem_voucher",
)


@pytest.mark.attack("A9")
async def test_money_that_goes_round_in_a_circle_is_the_same_money(
    world: World, alice: Client, bob: Client, backend: ScriptedBackend
) -> None:
    for payer, payee in ((alice, bob), (bob, alice)) * 3:
        made = await world.invoice(payee, CREDIT_MSAT)
        answer = await world.call(payer, "pay_invoice", {"invoice": made["invoice"]})
        assert answer["result"]["fees_paid"] == 0

    assert await world.money("alice") == await world.money("bob") == (CREDIT_MSAT, 0)
    assert backend.sent == []
    assert await world.problems() == ()


@pytest.mark.attack("A9")
async def test_an_invoice_that_pays_oneself_settles_once_and_is_never_good_again(
    world: World, alice: Client, bob: Client
) -> None:
    made = await world.invoice(alice, AMOUNT_MSAT)
    await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})

    again = await world.call(alice, "pay_invoice", {"invoice": made["invoice"]})
    other = await world.call(bob, "pay_invoice", {"invoice": made["invoice"]})

    assert again["result"]["fees_paid"] == 0
    assert other["error"]["code"] == "OTHER"
    assert await world.money("alice") == await world.money("bob") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A13", "A14")
@pytest.mark.parametrize("method", NOT_OFFERED)
async def test_a_way_to_pay_that_is_not_offered_is_refused_and_moves_nothing(
    world: World, alice: Client, backend: ScriptedBackend, method: str
) -> None:
    params = {"amount": AMOUNT_MSAT, "pubkey": "02" * 33, "preimage": "11" * 32}

    answer = await world.call(alice, method, params)

    assert answer["error"]["code"] == "NOT_IMPLEMENTED"
    assert (backend.sent, backend.specs) == ([], [])
    assert await world.money("alice") == (CREDIT_MSAT, 0)


@pytest.mark.attack("A13", "A20")
def test_what_changes_something_is_known_here_method_by_method() -> None:
    """A new one needs its own tests of limits, budget and tenant before it stands here."""
    assert {name for name, method in METHODS.items() if method.mutates} == {
        "create_connection",
        "pay_invoice",
        "pay",
        "pay_keysend",
        "multi_pay_invoice",
        "multi_pay_keysend",
        "make_invoice",
        "make_hold_invoice",
        "settle_hold_invoice",
        "cancel_hold_invoice",
        "receive",
        "make_offer",
    }


@pytest.mark.attack("A14")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "LNURL1DP68GURN8GHJ7MRWW4EXCTNXD9SHG6NPVCHXXMMD9AKXUATJDSKHQCTE8AEK2", id="lnurl"
        ),
        pytest.param("alice@127.0.0.1", id="address"),
        pytest.param("http://127.0.0.1/pay?amount=1", id="loopback"),
        pytest.param("http://169.254.169.254/latest/meta-data", id="metadata-service"),
        pytest.param("https://[::ffff:10.0.0.1]/.well-known/lnurlp/bob", id="mapped"),
        pytest.param("lightning:alice@example.com", id="scheme"),
        pytest.param("keyauth://example.com", id="other-scheme"),
        pytest.param(
            "bitcoin:bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq?lightning=x", id="bip21"
        ),
    ],
)
async def test_nothing_but_an_invoice_is_paid_and_no_address_is_ever_asked(
    world: World, alice: Client, backend: ScriptedBackend, text: str, monkeypatch: Any
) -> None:
    asked = watch_the_network(monkeypatch)

    paid = await world.call(alice, "pay_invoice", {"invoice": text})
    made = await world.invoice(alice, AMOUNT_MSAT, description=text, metadata={"url": text})
    found = await world.call(alice, "lookup_invoice", {"invoice": text})

    assert paid["error"]["code"] == "OTHER"
    assert found["error"] is not None
    assert made["description"] == text
    assert (asked, backend.sent) == ([], [])


def watch_the_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whatever name is resolved or address connected to from now on."""
    asked: list[object] = []

    def refuse(*address: object, **_: object) -> None:
        asked.append(address)
        raise OSError("there is no network in this test")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return asked


@pytest.mark.attack("A3")
async def test_a_payee_outside_cannot_make_the_service_pay_a_fee_that_the_user_has_not(
    world: World, backend: ScriptedBackend
) -> None:
    await world.account("carol", credit_msat=AMOUNT_MSAT)
    carol = await world.connect("carol")
    backend.expect(1)
    invoice = outside_invoice(1, AMOUNT_MSAT, created_at=world.clock())

    answer = await world.call(carol, "pay_invoice", {"invoice": invoice})

    assert answer["error"]["code"] == "INSUFFICIENT_BALANCE"
    assert backend.sent == []
    assert await world.money("carol") == (AMOUNT_MSAT, 0)


RELEASES = {"release", "_release", "give_back", "_give_back"}
BEFORE_THE_SEND = {"_Paused"}  # raised in TX-B, when nothing has left


@pytest.mark.attack("A4", "A24")
def test_nothing_gives_money_back_because_something_was_raised_or_cancelled() -> None:
    handlers = [
        (path.name, block.lineno)
        for path in sorted(PRODUCT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        for block in _what_runs_after_an_exception(node)
        if RELEASES & {_called(call) for call in ast.walk(block) if isinstance(call, ast.Call)}
    ]

    assert handlers == []


def _what_runs_after_an_exception(node: ast.AST) -> list[ast.stmt]:
    if isinstance(node, ast.Try):
        return node.finalbody
    if isinstance(node, ast.ExceptHandler) and node.type is not None:
        return [] if ast.unparse(node.type) in BEFORE_THE_SEND else node.body
    return node.body if isinstance(node, ast.ExceptHandler) else []


def _called(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]
