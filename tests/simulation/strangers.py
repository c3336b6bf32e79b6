"""Strangers who ask Lightning addresses for invoices, and pay some of them."""

from collections.abc import Callable, Iterable

from nwc_service.payers import Payers
from nwc_service.store import addresses
from nwc_service.wallet import bolt11
from nwc_service.wallet.errors import NotFound, RequestError
from nwc_service.wallet.units import AccountId
from tests.simulation.world import World

Pay = Callable[[str, int], None]


class Strangers:
    """In every other seed; their chance is their own, so that the rest does not change."""

    def __init__(self, world: World, *, inside: Pay, outside: Callable[[str], None]) -> None:
        """`inside`: a client pays an invoice of so much; `outside`: somebody pays a hash."""
        self._world = world
        self._random = world.random("strangers")
        self._pay_inside = inside
        self._pay_outside = outside
        self._is_on = self._random.random() < 0.5
        self._names: list[str] = []

    def set_up(self, accounts: Iterable[AccountId]) -> None:
        """Give each account an address."""
        if not self._is_on:
            return
        now = self._world.service_clock()
        for number, account_id in enumerate(accounts):
            self._add(f"address{number}", account_id, now=now)

    def steps(self) -> tuple[tuple[Callable[[], None], int], ...]:
        """And how often each is taken."""
        return ((self.ask, self._random.choice((2, 5, 9))),) if self._is_on else ()

    def ask(self) -> None:
        life = self._world.life
        if life is not None and life.is_up and not life.is_dead:
            life.spawn(self._ask(life.payers))

    def _add(self, name: str, account_id: AccountId, *, now: int) -> None:
        self._names.append(name)
        self._world.write(
            lambda tx: addresses.insert(
                tx, name=name, account_id=account_id, nostr_pubkey=None, now=now
            )
        )

    async def _ask(self, payers: Payers) -> None:
        amount_msat = self._random.randint(1, 30_000)
        try:
            made = await payers.invoice(
                self._random.choice(self._names), {"amount": str(amount_msat)}
            )
        except (RequestError, NotFound):
            return
        assert bolt11.decode(made.invoice).amount_msat == amount_msat
        payment_hash = made.payment_hash or ""
        self._world.counts["asked_by_strangers"] += 1
        self._later(lambda: self._pay_outside(payment_hash), probability=0.6)
        self._later(lambda: self._pay_outside(payment_hash), probability=0.1)
        self._later(lambda: self._pay_inside(made.invoice, amount_msat), probability=0.3)

    def _later(self, step: Callable[[], None], *, probability: float) -> None:
        if self._random.random() < probability:
            after_s = self._random.choice((self._random.uniform(0, 400), 20))
            self._world.timeline.after(after_s, step)
