"""The other ways that money moves: keysends, several payments in one request, hold invoices."""

from dataclasses import dataclass
from random import Random

from nwc_service.wallet import keysend
from tests.chaos.clients import Apps, Asked, Bill, Wish
from tests.clients.client import JsonObject
from tests.clients.raw import RawClient
from tests.doubles.hostile_node import NODE_PUBKEY, PAYEE_PUBKEY, hash_of

MOST_AMOUNT_MSAT = 1_500_000
EXPIRIES_S = (60, 240, 600)
KEPT_OPEN = 60
KEPT_HOLDS = 16
KEPT_KEYSENDS = 10
MOST_ITEMS = 3


class Keysends:
    def __init__(self, random: Random, *, apps: Apps) -> None:
        self._random = random
        self._apps = apps
        self._sent: list[Wish] = []  # that can be asked for again
        self.ids: dict[str, str] = {}
        """By account: what a keysend to it names."""

    def named(self) -> str:
        """An account, or nobody."""
        return self._random.choice([*self.ids.values(), "nobody"])

    def pay(self, payer: RawClient) -> Asked:
        wish = self._draw()
        if self._sent and self._random.random() < 0.2:
            wish = self._random.choice(self._sent)
        return self._apps.build(payer, "pay_keysend", wish.params, wishes=[wish])

    def pay_several(self, payer: RawClient) -> Asked:
        wishes = [self._draw() for _ in range(self._random.randint(1, MOST_ITEMS))]
        return _several(self._apps, payer, wishes=wishes, is_named=True)

    def _draw(self) -> Wish:
        """To an account here, to nobody here, or to somebody outside."""
        params: JsonObject = {
            "amount": self._random.randint(1_000, MOST_AMOUNT_MSAT),
            "pubkey": self._random.choice((NODE_PUBKEY, NODE_PUBKEY, PAYEE_PUBKEY)),
        }
        if self._random.random() < 0.8:
            value = self.named().encode().hex()
            params["tlv_records"] = [{"type": keysend.ACCOUNT_TLV, "value": value}]
        if self._random.random() < 0.5:
            return Wish(params)
        params["preimage"] = self._random.randbytes(32).hex()
        wish = Wish(params, hash_of(params["preimage"]))
        self._sent.append(wish)
        del self._sent[:-KEPT_KEYSENDS]
        return wish


def pay_bills(apps: Apps, payer: RawClient, *, bills: list[Bill], is_named: bool) -> Asked:
    """In one request; an item without a name is known by its payment hash."""
    distinct = {bill.payment_hash: bill.wish for bill in bills[:MOST_ITEMS]}
    return _several(apps, payer, wishes=list(distinct.values()), is_named=is_named)


def _several(apps: Apps, payer: RawClient, *, wishes: list[Wish], is_named: bool) -> Asked:
    what = "invoice" if "invoice" in wishes[0].params else "keysend"
    items = [dict(wish.params) for wish in wishes]
    d_tags = [wish.payment_hash or "" for wish in wishes]
    if is_named:
        d_tags = [str(number) for number in range(len(wishes))]
        for item, name in zip(items, d_tags, strict=True):
            item["id"] = name
    return apps.build(
        payer, f"multi_pay_{what}", {f"{what}s": items}, wishes=wishes, d_tags=d_tags
    )


@dataclass(slots=True)
class Hold:
    bill: Bill
    owner: RawClient
    preimage: str
    is_decided: bool  # by its owner, at some time
    is_tried: bool = False  # somebody was about to pay it


class Holds:
    """Hold invoices, paid inside, outside, by both or by nobody; their owner decides before
    that, after it or never."""

    def __init__(self, random: Random, *, apps: Apps) -> None:
        self._random = random
        self._apps = apps
        self._secrets: dict[str, str] = {}  # the preimages by their hashes
        self._made: list[Hold] = []

    def make(self, owner: RawClient) -> Asked:
        preimage = self._random.randbytes(32).hex()
        self._secrets[hash_of(preimage)] = preimage
        params: JsonObject = {
            "amount": self._random.randint(1_000, MOST_AMOUNT_MSAT),
            "expiry": self._random.choice(EXPIRIES_S),
            "payment_hash": hash_of(preimage),
        }
        if self._random.random() < 0.5:
            params["min_cltv_expiry_delta"] = self._random.randint(18, 30)
        return self._apps.build(owner, "make_hold_invoice", params)

    def heard(self, asked: Asked) -> None:
        """Of one that is made."""
        if asked.result:
            bill = Bill(asked.result["invoice"], asked.result["payment_hash"])
            preimage = self._secrets[bill.payment_hash]
            is_decided = self._random.random() < 0.85
            self._made.append(Hold(bill, asked.client, preimage, is_decided))
            del self._made[:-KEPT_HOLDS]

    def to_pay(self, most: int) -> list[Bill]:
        """Those that nobody has tried to pay come first."""
        mixed = self._random.sample(self._made, len(self._made))
        some = sorted(mixed, key=lambda hold: hold.is_tried)[:most]
        for hold in some:
            hold.is_tried = True
        return [hold.bill for hold in some]

    def decide(self, stranger: RawClient) -> list[Asked]:
        """About one of them, if there is any; mostly about one that may be held."""
        likely = [hold for hold in self._made if hold.is_tried and hold.is_decided]
        if self._random.random() < 0.2:
            likely = [hold for hold in self._made if hold.is_decided]
        if not likely:
            return []
        hold = self._random.choice(likely)
        who = stranger if self._random.random() < 0.1 else hold.owner
        if self._random.random() < 0.7:
            params = {"preimage": hold.preimage}
            return [self._apps.build(who, "settle_hold_invoice", params)]
        params = {"payment_hash": hold.bill.payment_hash}
        return [self._apps.build(who, "cancel_hold_invoice", params)]
