"""What the sandbox keeps when the service is killed, canceled or asked at the same time."""

import asyncio
import sys
from pathlib import Path

import pytest

from nwc_service.backend import (
    BackendUnavailable,
    Failed,
    FailReason,
    InFlight,
    PaymentRef,
    Settled,
    Unknown,
)
from nwc_service.wallet import bolt11
from nwc_service.wallet.units import PaymentHash
from tests.backends.contract import (
    AMOUNT_MSAT,
    NOBODYS_HASH,
    a_request,
    eventually,
    unmined,
    watch_until,
)
from tests.backends.rig_sandbox import START_MSAT, SandboxRig, states

CHILD = """
import asyncio, sys
from pathlib import Path
from tests.backends.contract import a_request, a_spec
from tests.backends.rig_sandbox import SandboxRig

async def main():
    rig = SandboxRig(Path(sys.argv[1]))
    await rig.backend.start()
    await rig.mode("lose-reply")
    held = a_request(await rig.make_outside_invoice(7_000, hold=True), our_id="held")
    await rig.backend.pay(held)
    print("held", held.payment_hash, flush=True)
    while True:
        request = a_request(await rig.make_outside_invoice(5_000), our_id="paid")
        await rig.backend.pay(request)
        print("paid", request.payment_hash, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("paid_count", [0, 1, 7, 20])
async def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path, paid_count: int) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    told = [await child.stdout.readline() for _ in range(1 + paid_count)]
    child.kill()
    told += (await child.stdout.read()).splitlines(keepends=True)
    await child.wait()
    held_hash, *paid_hashes = [
        PaymentHash(line.decode().split()[1]) for line in told if line.endswith(b"\n")
    ]

    rig = SandboxRig(tmp_path)
    await rig.backend.start()
    found = [
        await rig.backend.lookup_payment(PaymentRef("paid", payment_hash, 0))
        for payment_hash in paid_hashes
    ]
    held = await rig.backend.lookup_payment(PaymentRef("held", held_hash, 0))
    shown = await rig.show()
    await rig.backend.command("settle", {"payment_hash": held_hash})
    settled = await rig.backend.lookup_payment(PaymentRef("held", held_hash, 0))
    mode = rig.backend.books.mode
    await rig.backend.close()

    sent = states(shown)
    assert all(isinstance(outcome, Settled) for outcome in found)
    assert isinstance(held, InFlight)
    assert isinstance(settled, Settled)
    # One more may have been sent than was told; each is on the books once, with its money.
    assert len(sent) - 1 in (len(paid_hashes), len(paid_hashes) + 1)
    assert shown["node_available_msat"] == START_MSAT - 8_000 - 6_000 * (len(sent) - 1)
    assert mode == "lose-reply"


async def test_both_nodes_keep_their_keys(sandbox: SandboxRig) -> None:
    before = bolt11.decode(await sandbox.make_outside_invoice(1_000)).payee
    info = await sandbox.backend.start()

    await sandbox.reopen()

    assert bolt11.decode(await sandbox.make_outside_invoice(1_000)).payee == before
    assert unmined(await sandbox.backend.start()) == unmined(info)


async def test_two_sandboxes_are_two_networks(sandbox: SandboxRig, tmp_path: Path) -> None:
    other = SandboxRig(tmp_path)
    info = await other.backend.start()
    invoice = await other.make_outside_invoice(1_000)
    await other.backend.close()

    outcome = await sandbox.backend.pay(a_request(invoice))

    assert info.pubkey != (await sandbox.backend.start()).pubkey
    assert isinstance(outcome, Failed)


async def test_payments_at_the_same_time_do_not_spend_more_than_is_there(
    sandbox: SandboxRig,
) -> None:
    third_msat = START_MSAT // 3
    requests = [
        a_request(await sandbox.make_outside_invoice(third_msat), max_fee_msat=third_msat)
        for _ in range(4)
    ]

    outcomes = await asyncio.gather(*(sandbox.backend.pay(request) for request in requests))

    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert len(failed) == 2
    assert {outcome.reason for outcome in failed} == {FailReason.INSUFFICIENT_BALANCE}
    shown = await sandbox.show()
    assert sorted(states(shown)) == ["failed", "failed", "settled", "settled"]
    assert shown["received_msat"] == 2 * third_msat


@pytest.mark.attack("A24")
@pytest.mark.parametrize("steps", range(0, 24, 2))
async def test_a_canceled_caller_leaves_the_books_whole(
    sandbox: SandboxRig, steps: int
) -> None:
    request = a_request(await sandbox.make_outside_invoice(AMOUNT_MSAT))
    paying = asyncio.create_task(sandbox.backend.pay(request))
    for _ in range(steps):
        await asyncio.sleep(0.0002)

    paying.cancel()
    await asyncio.gather(paying, return_exceptions=True)

    again = await sandbox.backend.pay(request)
    shown = await sandbox.show()
    assert isinstance(again, Settled)
    assert states(shown) in (["settled"], ["settled", "duplicate"])
    assert shown["node_available_msat"] == START_MSAT - AMOUNT_MSAT - 5_000


async def test_closing_ends_every_wait(sandbox: SandboxRig) -> None:
    invoice = await sandbox.make_outside_invoice(AMOUNT_MSAT, hold=True)
    paying = asyncio.create_task(sandbox.backend.pay(a_request(invoice, timeout_s=60)))
    watching = asyncio.create_task(
        watch_until(sandbox.backend, None, payment_hash=NOBODYS_HASH)
    )
    await eventually(sandbox.show, lambda shown: states(shown) == ["pending"])

    await sandbox.backend.close()

    async with asyncio.timeout(1):
        assert isinstance(await paying, InFlight | Unknown)
        with pytest.raises(BackendUnavailable):
            await watching
