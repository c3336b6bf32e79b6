"""What clients, payers, the operator, nodes and machines do in a seed's few minutes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from nwc_service.backend import Failed, FailReason, PaymentRef, ReleaseRule, Settled
from nwc_service.methods import METHODS
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.kinds import Encryption, NotificationType
from nwc_service.nostr.keys import Keypair
from nwc_service.store import connections, ledger
from nwc_service.store.ledger import Account
from nwc_service.wallet import bolt11, keysend
from nwc_service.wallet.budget import Budget, Renewal
from nwc_service.wallet.ledger import EQUITY, Entry, EntryKind, available
from nwc_service.wallet.units import (
    AccountId,
    BackendName,
    ConnectionId,
    Msat,
    PaymentHash,
)
from tests.doubles.hostile_node import (
    NODE_PUBKEY,
    OPENING_MSAT,
    PAYEE_KEY,
    PAYEE_PUBKEY,
    Faults,
    HostileNode,
    hash_of,
)
from tests.simulation import oracle, sources
from tests.simulation.database import DatabaseFaults
from tests.simulation.life import KEYRING
from tests.simulation.offers import Offers
from tests.simulation.parties import Asked, Client, RelayFaults
from tests.simulation.strangers import Strangers
from tests.simulation.world import PLACES, World

LONGEST_EXPIRY_S = 600
LONGEST_IN_FLIGHT_S = 1500.0
CLOSING_TIME_S = 4800.0  # past all expiries, and past the hour after which an alarm is raised


@dataclass(frozen=True, slots=True)
class Offer:
    """An invoice that somebody can pay."""

    invoice: str
    amount_msat: int | None


class Scenario:
    def __init__(self, world: World) -> None:
        self.world = world
        self.random: Random = world.random("scenario")
        self.busy_s = self.random.uniform(150, 400)
        self._bursts = [self.random.uniform(5, self.busy_s - 5) for _ in range(3)]
        self._offers: list[Offer] = []  # of payees outside
        self._issued: list[Offer] = []  # by the service, as clients heard
        self._backends_of: dict[AccountId, BackendName] = {}
        self._keysends: list[Mapping[str, object]] = []
        self._secrets: dict[str, str] = {}  # of hold invoices: the preimages by their hashes
        self._paused_seen: dict[str, float] = {}
        self._operations = 0
        self._bolt12 = Offers(
            world, ask=self._ask, invoice=lambda: self._offer_outside().invoice
        )
        self._strangers = Strangers(
            world, inside=self._pay_shown, outside=self._pay_from_outside
        )
        self._patience_s = self.random.choice((30, 400))  # of the operator
        world.on_answer = self._answered

    def play(self) -> None:
        self._set_up()
        self._plan()
        while self.world.timeline.now < self.busy_s and not self.world.problems:
            self._one_life()
        if not self.world.problems:
            self._close()

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _when(self) -> float:
        """Half of all happens in bursts, so that it meets."""
        if self._chance(0.5):
            return self.random.choice(self._bursts) + self.random.uniform(0, 0.1)
        return self.random.uniform(1, self.busy_s)

    # --- before the service lives

    def _set_up(self) -> None:
        world, random = self.world, self.random
        for number in range(random.choice((1, 1, 2))):
            self._add_node(BackendName(f"node{number}"))
        world.default_backend = random.choice(list(world.nodes))
        for number in range(random.randint(2, 3)):
            account_id = AccountId(f"{number:032x}")
            self._add_account(account_id)
            for place in range(random.choice((1, 1, 2))):
                self._add_client(account_id, place=place)
        self._strangers.set_up(self._backends_of)
        world.relay.faults = RelayFaults(
            request_lost=self._some(0.3),
            request_twice=self._some(0.3),
            not_taken=self._some(0.5),
            ok_lost=self._some(0.4),
            delay_s=random.choice((0.02, 0.5, 4.0)),
        )

    def _some(self, most: float) -> float:
        """Half of the time nothing of it at all, so that each can be seen without the rest."""
        return self.random.uniform(0, most) if self._chance(0.5) else 0.0

    def _add_node(self, name: BackendName) -> None:
        world, random = self.world, self.random
        rule = ReleaseRule.EXPIRY if self._chance(0.75) else ReleaseRule.MANUAL
        lies = self._chance(0.4)
        world.rules[name] = rule
        world.nodes[name] = HostileNode(
            world.random(name),
            clock=world.now,
            opening_msat=random.choice((OPENING_MSAT,) * 5 + (random.randint(0, 10**6),)),
            faults=self._bolt12.faults(
                Faults(
                    fails=self._some(0.4),
                    refuses=self._some(0.2),
                    accepts_late=self._some(0.6),
                    accepts_at_expiry=self._some(0.3),
                    stays_in_flight=self._some(0.6),
                    reply_lost=self._some(0.6),
                    reply_reset=self._some(0.4),
                    settles_after_failed=self._some(0.4) if lies else 0.0,
                    pays_expired=rule is ReleaseRule.MANUAL and self._chance(0.5),
                    fee_above_cap=self._some(0.3) if lies else 0.0,
                    fee_untold=self._some(0.3),
                    fee_negative=self._some(0.3) if lies else 0.0,
                    wrong_preimage=self._some(0.5) if lies else 0.0,
                    unavailable=self._some(0.3),
                    forgets=self._some(0.4) if lies else 0.0,
                    created_unheard=self._some(0.3),
                    overpaid=self._some(0.3),
                    underpaid=self._some(0.3),
                    settles_dead=self._some(1.0),
                    event_late=self._some(0.5),
                    event_repeats=self._some(0.5),
                    events_reordered=self._some(0.5),
                    index_gap=self._some(0.5),
                    resolved_unheard=self._some(0.5),
                    held_shortly=self._some(0.5),
                    in_flight_s=LONGEST_IN_FLIGHT_S,
                    skew_s=random.randint(-60, 60),
                )
            ),
        )

    def _add_account(self, account_id: AccountId) -> None:
        name = f"account{int(account_id, 16)}"
        backend = self.random.choice(list(self.world.nodes))
        self._backends_of[account_id] = backend
        opened_at = self.world.service_clock()
        account = Account(
            account_id, name, Msat(0), Msat(0), opened_at, backend, keysend_id=name
        )
        amount_msat = Msat(self.random.randint(20_000, 300_000))
        entry = Entry(EntryKind.CREDIT, EQUITY, available(account_id), amount_msat)
        now = self.world.service_clock()
        self.world.write(
            lambda tx: ledger.create_account(tx, account),
            lambda tx: ledger.post(tx, (entry,), now=now, reason="opening"),
        )

    def _add_client(self, account_id: AccountId, *, place: int) -> None:
        random, world = self.random, self.world
        keypair = Keypair(random.randbytes(32))
        connection_id = ConnectionId(f"{account_id[-8:]}{place}")
        budget = None
        if self._chance(0.3):
            budget = Budget(Msat(random.randint(10_000, 100_000)), random.choice(list(Renewal)))
        connection = Connection(
            connection_id=connection_id,
            account_id=account_id,
            backend=self._backends_of[account_id],
            app="an app",
            wallet_pubkey=KEYRING.wallet_pubkey(connection_id),
            client_pubkey=keypair.public_key,
            scopes=frozenset(METHODS),
            notifications=frozenset(NotificationType if self._chance(0.5) else ()),
            encryption=(Encryption.NIP44_V2,),
            relays=(),
            budget=budget,
            max_payment_msat=None,
            created_at=world.service_clock(),
            expires_at=None,
        )
        world.write(lambda tx: connections.insert(tx, connection))
        world.clients.append(Client.of(connection, keypair=keypair, random=random))

    # --- the lives

    def _one_life(self) -> None:
        """Until it crashes, is stopped, or the busy time is over."""
        world, random = self.world, self.random
        timeline = world.timeline
        life_s = random.choice((random.uniform(0.1, 3), random.uniform(5, 250)))
        ends_at = timeline.now + life_s
        number = len(world.pasts)
        if ends_at < self.busy_s:
            place, count = random.choice(PLACES), random.randint(1, 4)
            stops = self._chance(0.2)

            def end() -> None:
                if world.life is not None and len(world.pasts) == number + 1:
                    world.life.stop() if stops else world.doom(place, count=count)

            timeline.at(ends_at, end)
        world.live(until=self.busy_s)
        if timeline.now < self.busy_s:
            down_s = random.choice((0.1, random.uniform(0, 20), random.uniform(0, 200)))
            timeline.run_until(min(timeline.now + down_s, self.busy_s))
        if self._chance(0.3):
            world.default_backend = random.choice(list(world.nodes))

    def _close(self) -> None:
        """Everything works again; what is open must come to its end."""
        world = self.world
        world.is_closing = True
        world.relay.faults, world.relay.is_down = RelayFaults(), False
        world.database_faults = DatabaseFaults()
        for node in world.nodes.values():
            node.heal()
        until = world.timeline.now + CLOSING_TIME_S
        for after_s in (self._patience_s, 700, 1400, 2800):
            world.timeline.after(after_s, lambda: self._resume(patient=False))
        for client in world.clients:
            ask = self._asking(client, "get_balance", {})
            world.timeline.at(until - 60, ask)
        if self._chance(0.5):
            world.timeline.at(until - 300, self._resolve)
        if self._chance(0.3):
            self._trouble_at_last()
        sources.set_pace(sources.CLOSING_S)
        world.live(until=until)
        oracle.judge(world)

    def _trouble_at_last(self) -> None:
        """The database fails once more, and no start of the service comes after it."""
        self._database_trouble()
        offers = (self._bolt12.make, self._bolt12.receive, self._bolt12.pay_outside)
        outside = (self._pay_outside, self._pay_several)
        steps = (*outside, *offers, self._make_invoice, self._make_hold)
        for _ in range(4):
            self.world.timeline.after(self.random.uniform(1, 20), self.random.choice(steps))

    # --- what happens meanwhile

    def _plan(self) -> None:
        random, timeline = self.random, self.world.timeline
        steps: tuple[tuple[Callable[[], None], int], ...] = (
            (self._pay_outside, random.randint(5, 14)),
            (self._pay_again, random.randint(2, 6)),
            (self._make_invoice, random.randint(2, 6)),
            (self._pay_issued, random.randint(1, 5)),
            (self._pay_forged, random.choice((0, 0, 0, 1))),
            (self._pay_keysend, random.choice((0, 1, 3))),
            (self._pay_several, random.choice((0, 0, 1, 2))),
            (self._make_hold, random.choice((0, 1, 4))),
            (self._receive_keysend, random.choice((0, 0, 1))),
            (self._receive, random.randint(2, 5)),
            (self._read, random.randint(1, 2)),
            (self._replay, random.randint(1, 3)),
            (self._operate, random.randint(0, 2)),
            (self._jump_clock, random.choice((0, 0, 1, 2))),
            (self._suspend, random.choice((0, 0, 0, 1))),
            (self._relay_outage, random.choice((0, 0, 1))),
            (self._database_trouble, random.choice((0, 1, 2))),
            (self._stray, random.choice((0, 0, 1))),
            (self._revoke, random.choice((0,) * 5 + (1,))),
        )
        for step, times in steps + self._bolt12.steps() + self._strangers.steps():
            for _ in range(times):
                timeline.at(self._when(), step)
        if self._chance(0.25):
            timeline.at(random.uniform(1, self.busy_s / 3), self._back_up)
        for at in range(40, int(self.busy_s), 40):
            timeline.at(at, lambda: self._resume(patient=True))

    def _ask(
        self, client: Client, method: str, params: Mapping[str, object], *, items: int = 1
    ) -> None:
        world = self.world
        event = client.request(method, params, created_at=int(world.now()))
        world.asked[event.id] = Asked(client, event, method, params, items)
        world.counts["requests"] += 1
        self._send(event.id)
        if METHODS[method].mutates:
            for after_s in (self.random.uniform(5, 40), self.random.uniform(45, 105)):
                world.timeline.after(after_s, lambda: self._insist(event.id))

    def _asking(
        self, client: Client, method: str, params: Mapping[str, object]
    ) -> Callable[[], None]:
        return lambda: self._ask(client, method, params)

    def _send(self, request_id: str) -> None:
        world = self.world
        event = world.asked[request_id].event
        for delay_s in world.relay.ways():
            world.timeline.after(delay_s, lambda: world.arrive(event))

    def _insist(self, request_id: str) -> None:
        """A client that has no answer sends the same event once more."""
        asked = self.world.asked[request_id]
        if len(asked.answers) < asked.items:
            self._send(request_id)

    def _client(self) -> Client:
        return self.random.choice(self.world.clients)

    def _pay(self, client: Client, offer: Offer) -> None:
        self._ask(client, "pay_invoice", self._payable(offer))

    def _payable(self, offer: Offer) -> dict[str, object]:
        params: dict[str, object] = {"invoice": offer.invoice}
        if offer.amount_msat is None:
            params["amount"] = self.random.randint(1, 20_000)
        return params

    def _pay_outside(self) -> None:
        self._pay(self._client(), self._offer_outside())

    def _offer_outside(self) -> Offer:
        random = self.random
        amount_msat = random.choice((random.randint(1, 40_000), random.randint(1, 2_000), None))
        preimage = random.randbytes(32).hex()
        nodes = list(self.world.nodes.values())
        for node in nodes:
            node.expect(preimage)
        expiry_s = random.randint(20, LONGEST_EXPIRY_S)
        offer = Offer(
            nodes[0].offer(amount_msat, expiry_s=expiry_s, preimage=preimage), amount_msat
        )
        self._offers.append(offer)
        return offer

    def _pay_again(self) -> None:
        if self._offers:
            self._pay(self._client(), self.random.choice(self._offers[-3:]))

    def _pay_keysend(self) -> None:
        """Of an account here, of nobody here, or of somebody outside; some of them twice."""
        if not self._keysends or self._chance(0.7):
            self._keysends.append(self._keysend())
        self._ask(self._client(), "pay_keysend", self.random.choice(self._keysends))

    def _keysend(self) -> dict[str, object]:
        params: dict[str, object] = {"amount": self.random.randint(1, 30_000)}
        params["pubkey"] = self.random.choice((NODE_PUBKEY, PAYEE_PUBKEY))
        if self._chance(0.5):
            params["preimage"] = self.random.randbytes(32).hex()
        if self._chance(0.8):
            value = self._named().encode().hex()
            params["tlv_records"] = [{"type": keysend.ACCOUNT_TLV, "value": value}]
        return params

    def _named(self) -> str:
        """Whom a keysend names: an account, perhaps one that is not there."""
        return f"account{self.random.randrange(4)}"

    def _pay_several(self) -> None:
        """In one request: invoices from outside and of other accounts, or keysends."""
        count = self.random.randint(1, 4)
        if self._chance(0.3):
            items = [self._keysend() for _ in range(count)]
            self._ask_for_each("multi_pay_keysend", "keysends", items)
            return
        offers = [self._offer_outside() for _ in range(count)]
        if self._issued and self._chance(0.7):
            offers[0] = self.random.choice(self._issued)
        items = [self._payable(offer) for offer in offers]
        self._ask_for_each("multi_pay_invoice", "invoices", items)

    def _ask_for_each(self, method: str, name: str, items: list[dict[str, object]]) -> None:
        named = [{**item, "id": str(number)} for number, item in enumerate(items)]
        self._ask(self._client(), method, {name: named}, items=len(items))

    def _make_invoice(self) -> None:
        params: dict[str, object] = {"amount": self.random.randint(1, 30_000)}
        params["expiry"] = self.random.randint(20, LONGEST_EXPIRY_S)
        self._ask(self._client(), "make_invoice", params)

    def _make_hold(self) -> None:
        preimage = self.random.randbytes(32).hex()
        params: dict[str, object] = {"amount": self.random.randint(1, 30_000)}
        params["expiry"] = self.random.randint(20, LONGEST_EXPIRY_S)
        params["payment_hash"] = hash_of(preimage)
        if self._chance(0.5):
            params["min_cltv_expiry_delta"] = self.random.randint(18, 30)
        self._secrets[hash_of(preimage)] = preimage
        self._ask(self._client(), "make_hold_invoice", params)

    def _use_hold(self, client: Client, offer: Offer) -> None:
        """Somebody pays it, or two do, and its owner decides before or after that, or never."""
        payment_hash = bolt11.decode(offer.invoice).payment_hash
        steps = (
            (lambda: self._pay(self._client(), offer), 0.5),
            (lambda: self._pay_from_outside(payment_hash), 0.6),
            (lambda: self._decide(client, payment_hash), 0.8),
            (lambda: self._decide(client, payment_hash), 0.3),
        )
        for step, probability in steps:
            if self._chance(probability):
                after_s = self.random.choice((self.random.uniform(0, 150), 20))
                self.world.timeline.after(after_s, step)

    def _decide(self, client: Client, payment_hash: str) -> None:
        if self._chance(0.1):
            client = self._client()
        if self._chance(0.65):
            preimage = self._secrets[payment_hash]
            self._ask(client, "settle_hold_invoice", {"preimage": preimage})
        else:
            self._ask(client, "cancel_hold_invoice", {"payment_hash": payment_hash})

    def _pay_issued(self) -> None:
        if self._issued:
            self._pay(self._client(), self.random.choice(self._issued))

    def _pay_shown(self, invoice: str, amount_msat: int) -> None:
        self._pay(self._client(), Offer(invoice, amount_msat))

    def _pay_forged(self) -> None:
        """A2: an invoice of one's own with the hash of somebody's here."""
        if not self._issued:
            return
        shown = bolt11.decode(self.random.choice(self._issued).invoice)
        amount_msat = Msat(self.random.randint(1, 40_000))
        forged = bolt11.encode(
            network="regtest",
            amount_msat=amount_msat,
            payment_hash=shown.payment_hash,
            payment_secret=self.random.randbytes(32).hex(),
            description="forged",
            created_at=int(self.world.now()),
            expiry_s=LONGEST_EXPIRY_S,
            secret_key=PAYEE_KEY,
        )
        self._pay(self._client(), Offer(forged, amount_msat))

    def _answered(self, asked: Asked) -> None:
        [payload] = asked.answers.values()
        result = payload.get("result")
        if isinstance(result, dict):
            self._bolt12.answered(asked, result)
        if asked.method in ("make_invoice", "make_hold_invoice") and isinstance(result, dict):
            offer = Offer(str(result["invoice"]), int(result["amount"]))
            self._issued.append(offer)
            if asked.method == "make_hold_invoice":
                self._use_hold(asked.client, offer)

    def _receive(self) -> None:
        """A payer outside pays an invoice that he was shown, whoever else has paid it."""
        if not self._issued:
            return
        shown = self.random.choice(self._issued)
        self._pay_from_outside(bolt11.decode(shown.invoice).payment_hash)

    def _pay_from_outside(self, payment_hash: str) -> None:
        for node in self.world.nodes.values():
            received_msat = node.receive(PaymentHash(payment_hash))
            self.world.trace("received", payment_hash[:8], received_msat)

    def _receive_keysend(self) -> None:
        tlvs = {keysend.ACCOUNT_TLV: self._named().encode()} if self._chance(0.8) else {}
        self._node().receive_keysend(self.random.randint(1, 20_000), tlvs)

    def _stray(self) -> None:
        self._node().receive_stray(self.random.randint(1, 20_000))

    def _node(self) -> HostileNode:
        return self.random.choice(list(self.world.nodes.values()))

    def _read(self) -> None:
        self._ask(self._client(), self.random.choice(("get_balance", "list_transactions")), {})

    def _replay(self) -> None:
        """Anybody may send what a relay has kept."""
        if self.world.asked:
            self._send(self.random.choice(list(self.world.asked)))

    # --- the operator

    def _operate(self) -> None:
        life = self.world.life
        if life is None or not life.is_up:
            return
        self._operations += 1
        name = f"account{self.random.randrange(2)}"
        amount_msat = self.random.randint(1, 50_000)
        move = self.random.choice((life.accounts.credit, life.accounts.debit))
        life.spawn(move(name, amount_msat, reason=f"operation {self._operations}"))

    def _resume(self, *, patient: bool) -> None:
        """Look at what is paused, mend the node, and let it go on."""
        world, life = self.world, self.world.life
        if life is None or not life.is_up:
            return
        for row in world.connection.execute("SELECT backend FROM pause ORDER BY backend"):
            name = BackendName(row["backend"])
            since = self._paused_seen.setdefault(name, world.timeline.now)
            if patient and world.timeline.now - since < self._patience_s:
                continue
            del self._paused_seen[name]
            world.nodes[name].recover()
            world.trace("resume", name)
            life.spawn(life.flow.guard.resume(name, reason="looked at"))

    def _resolve(self) -> None:
        """State what became of the payments that are stuck, as the nodes show it."""
        world, life = self.world, self.world.life
        if life is None:
            return
        for row in world.connection.execute(
            "SELECT payment_id, payment_hash, backend FROM payment WHERE state = 'UNKNOWN'"
        ):
            ref = PaymentRef(row["payment_id"], row["payment_hash"], dispatched_at=0)
            seen = world.nodes[row["backend"]].lookup_payment(ref)
            outcome = seen if isinstance(seen, Settled) else Failed(FailReason.OTHER)
            life.spawn(
                life.flow.spender.recorder.resolve(
                    row["payment_id"], outcome, reason="looked at"
                )
            )

    def _revoke(self) -> None:
        if len(self.world.clients) < 3:
            return
        client = self.world.clients[-1]
        now = self.world.service_clock()
        revoked = replace(client.connection, revoked_at=now)
        self.world.write(lambda tx: connections.revoke(tx, revoked.connection_id, now=now))
        client.connection = revoked
        if self.world.life is not None:
            self.world.life.directory.put(revoked)

    # --- machines

    def _jump_clock(self) -> None:
        """Within what rule H allows for, together with the node's own error. What is on its way
        may be too old, or too new, when it comes."""
        self.world.disturbed()
        self.world.offset_s = self.random.randint(-60, 60)
        self.world.trace("clock", self.world.offset_s)

    def _suspend(self) -> None:
        """The machine sleeps: what was under way is old when it wakes."""
        self.world.disturbed()
        self.world.timeline.now += self.random.uniform(10, 300)
        self.world.trace("suspended")

    def _relay_outage(self) -> None:
        relay = self.world.relay
        relay.is_down = True

        def end() -> None:
            relay.is_down = False

        self.world.timeline.after(self.random.uniform(5, 120), end)

    def _database_trouble(self) -> None:
        world, random = self.world, self.random
        world.database_faults = DatabaseFaults(
            busy=self._some(0.3), breaks_before=self._some(0.2), breaks_after=self._some(0.3)
        )

        def end() -> None:
            world.database_faults = DatabaseFaults()

        world.timeline.after(random.uniform(2, 60), end)

    def _back_up(self) -> None:
        """A copy of a node, to which it goes back some time later."""
        world = self.world
        name = self.random.choice(list(world.nodes))
        snapshot = world.nodes[name].snapshot()

        def roll_back() -> None:
            if not world.is_closing:
                world.nodes[name].restore(snapshot)
                world.happened(f"rolled back {name}")

        world.timeline.after(self.random.uniform(20, self.busy_s / 2), roll_back)


def play(world: World) -> None:
    Scenario(world).play()
