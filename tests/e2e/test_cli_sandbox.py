"""The outside node's half of keysends and offers, and the chain, from the command line."""

import pytest

from nwc_service.wallet import bolt12
from tests.backends.contract import STRANGER
from tests.e2e.conftest import Cli

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_blocks_are_mined(cli: Cli) -> None:
    first = await cli.json("sandbox", "mine")
    second = await cli.json("sandbox", "mine", "6")

    # One may be found by the clock meanwhile.
    assert second["block_height"] - first["block_height"] in (6, 7)
    assert (await cli.json("sandbox", "show"))["block_height"] >= second["block_height"]


async def test_the_outside_node_makes_an_offer(cli: Cli) -> None:
    asked = ("--description", "tea", "--expiry-s", "60")
    made = await cli.json("sandbox", "offer", "21000", *asked)

    offer = bolt12.decode(made["offer"])
    assert (offer.amount_msat, offer.description) == (21_000, "tea")
    assert offer.expires_at is not None
    assert offer.issuer_id == (await cli.json("sandbox", "show"))["outside_pubkey"]


async def test_an_offer_that_is_not_the_services_is_not_paid(cli: Cli) -> None:
    offer = bolt12.encode(network="regtest", issuer_id=STRANGER)

    refused = await cli.failure("sandbox", "pay-offer", offer, "1000", "--payer-note", "hi")

    assert "not one of the service's node" in refused


async def test_a_keysend_comes_in_with_its_records(cli: Cli) -> None:
    records = ("--tlv", "7629169=7b7d", "--tlv", "696969=AB")
    sent = await cli.json("sandbox", "keysend", "5000", *records)

    shown = await cli.json("sandbox", "show")
    [paid] = [p for p in shown["payments"] if p["payment_hash"] == sent["payment_hash"]]
    assert (paid["direction"], paid["amount_msat"], paid["state"]) == (
        *("incoming", 5_000),
        "settled",
    )
    assert paid["tlv_records"] == [
        {"type": 696969, "value": "ab"},
        {"type": 7629169, "value": "7b7d"},
    ]


@pytest.mark.parametrize("record", ["", "7629169", "x=00", "-1=00", "\u0661=00"])
async def test_a_record_is_written_as_type_and_hex(cli: Cli, record: str) -> None:
    told = await cli.usage("sandbox", "keysend", "5000", "--tlv", record)

    assert "TYPE=HEX" in told


async def test_what_the_outside_node_does_with_keysends_is_chosen(cli: Cli) -> None:
    chosen = [await cli.json("sandbox", "keysends", each) for each in ("hold", "settle")]

    assert chosen == [{"answer": "hold"}, {"answer": "settle"}]
    assert "answer" in await cli.failure("sandbox", "keysends", "perhaps")
