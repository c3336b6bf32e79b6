"""The sandbox with its own outside node."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from backends.sandbox import SandboxBackend
from nwc_service.wallet.units import BackendName

START_MSAT = 10**12


def file_names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def a_sandbox(data_dir: Path) -> SandboxBackend:
    return SandboxBackend(BackendName("sandbox"), {}, data_dir=data_dir)


class SandboxRig:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.backend = a_sandbox(data_dir)

    async def make_outside_invoice(
        self,
        amount_msat: int | None,
        *,
        expiry_s: int = 3600,
        hold: bool = False,
        fail: bool = False,
    ) -> str:
        made = await self.backend.command(
            "invoice",
            {"amount_msat": amount_msat, "expiry_s": expiry_s, "hold": hold, "fail": fail},
        )
        return str(made["invoice"])

    async def pay_from_outside(self, invoice: str, amount_msat: int | None = None) -> None:
        await self.backend.command("pay", {"invoice": invoice, "amount_msat": amount_msat})

    async def mine(self, blocks: int) -> None:
        await self.backend.command("mine", {"blocks": blocks})

    async def outside_pubkey(self) -> str:
        return str((await self.show())["outside_pubkey"])

    async def keysend_from_outside(self, amount_msat: int, tlvs: Mapping[int, bytes]) -> None:
        records = [{"type": type_, "value": value.hex()} for type_, value in tlvs.items()]
        await self.backend.command(
            "keysend", {"amount_msat": amount_msat, "tlv_records": records}
        )

    async def make_outside_offer(
        self,
        amount_msat: int | None,
        *,
        expiry_s: int | None = None,
        hold: bool = False,
        fail: bool = False,
    ) -> str:
        made = await self.backend.command(
            "offer",
            {"amount_msat": amount_msat, "expiry_s": expiry_s, "hold": hold, "fail": fail},
        )
        return str(made["offer"])

    async def pay_offer_from_outside(self, offer: str, amount_msat: int | None = None) -> None:
        await self.backend.command("pay-offer", {"offer": offer, "amount_msat": amount_msat})

    async def show(self) -> Mapping[str, object]:
        return await self.backend.command("show", {})

    async def mode(self, mode: str) -> None:
        await self.backend.command("mode", {"mode": mode})

    async def reopen(self) -> None:
        await self.backend.close()
        self.backend = a_sandbox(self.data_dir)
        await self.backend.start()


def states(shown: Mapping[str, object]) -> list[str]:
    """Of all payments in `show`, in the order in which they reached the node."""
    payments = shown["payments"]
    assert isinstance(payments, list)
    return [payment["state"] for payment in payments]


@asynccontextmanager
async def sandbox_rig() -> AsyncIterator[SandboxRig]:
    with TemporaryDirectory() as directory:
        rig = SandboxRig(Path(directory))
        await rig.backend.start()
        try:
            yield rig
        finally:
            await rig.backend.close()
