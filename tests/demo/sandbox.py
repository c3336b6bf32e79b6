"""The outside node of the sandbox, reached through the service's own commands."""

from tests.e2e.service import ServiceProcess

MIN_FEE_MSAT = 1_000


class SandboxOutside:
    def __init__(self, service: ServiceProcess) -> None:
        self._service = service

    async def make_invoice(self, amount_msat: int) -> str:
        made = await self._service.sandbox("invoice", amount_msat=amount_msat)
        return str(made["invoice"])

    async def pay(self, invoice: str) -> None:
        await self._service.sandbox("pay", invoice=invoice)

    def fee_msat(self, amount_msat: int) -> int:
        """0.1 %, rounded up, and at least 1000 msat."""
        return max(MIN_FEE_MSAT, -(-amount_msat // 1000))
