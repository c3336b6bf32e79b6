"""An account of a service on a real node, and an app that asks over the relay."""

from dataclasses import dataclass

from nwc_service.nostr.event import Event
from tests.clients.raw import Opened, raw_client
from tests.e2e.conftest import until
from tests.e2e.service import ServiceProcess

AMOUNT_MSAT = 21_000
FEE_MSAT = 1_000
CREDIT_MSAT = 10_000_000
ANSWER_TIMEOUT_S = 60
LOOK_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Wallet:
    """An account and an app on it."""

    service: ServiceProcess
    account: str
    uri: str

    async def ask(self, method: str, **params: object) -> Opened:
        return await self.answer(await self.send(method, **params))

    async def send(self, method: str, **params: object) -> Event:
        async with raw_client(self.uri) as client:
            event = client.build_request(method, params)
            assert (await client.send_event(event)).accepted
        return event

    async def answer(self, event: Event) -> Opened:
        """Whichever life of the service gives it."""
        async with raw_client(self.uri) as client:
            return await client.response_to(event.id, timeout_s=ANSWER_TIMEOUT_S)

    async def only_answer(self, event: Event) -> Opened:
        """Whoever asks again is told the same, and pays nothing."""
        answer = await self.answer(event)
        before = await self.figures()
        async with raw_client(self.uri) as client:
            await client.send_event(event)
            await client.request("get_balance")
            told = [one.event.id for one in client.responses_to(event.id)]
        assert told == [answer.event.id]
        assert await self.figures() == before
        return answer

    async def figures(self) -> tuple[int, int]:
        """Available and held."""
        account = await self.service.account(self.account)
        return account["available_msat"], account["held_msat"]

    async def has(self, available_msat: int, *, held_msat: int = 0) -> None:
        """Wait until it has."""

        async def so() -> bool:
            return await self.figures() == (available_msat, held_msat)

        await until(so, timeout_s=LOOK_TIMEOUT_S)
